//! The clauses of queries that the planner would pass over are refused, wherever a query stands.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{self, Visit, Visitor};

use super::super::error::DefinitionError;
use super::super::statement::StatementText;
use super::{Clause, LEAVE_OUT, refuse};

/// Refuses the clauses of a query, and of all queries in it, that the planner would pass over.
pub(in crate::definition) fn query(
    text: &StatementText,
    query: &ast::Query,
) -> Result<(), DefinitionError> {
    match query.visit(&mut Clauses { text }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Clauses<'a> {
    text: &'a StatementText,
}

impl Clauses<'_> {
    fn refuse(&self, clauses: &[Clause]) -> ControlFlow<DefinitionError> {
        match refuse(self.text, "a query of a dataflow", clauses) {
            Err(error) => ControlFlow::Break(error),
            Ok(()) => ControlFlow::Continue(()),
        }
    }

    fn alias(&self, alias: Option<&ast::TableAlias>) -> ControlFlow<DefinitionError> {
        let Some(alias) = alias else {
            return ControlFlow::Continue(());
        };
        let ast::TableAlias {
            explicit: _,
            name: _,
            columns,
            at,
        } = alias;
        let typed = columns.iter().any(|column| {
            let ast::TableAliasColumnDef { name: _, data_type } = column;
            data_type.is_some()
        });
        self.refuse(&[
            (at.is_some(), "AT", LEAVE_OUT),
            (
                typed,
                "types in the list of an alias",
                "cast the columns in a SELECT list",
            ),
        ])
    }
}

impl Visitor for Clauses<'_> {
    type Break = DefinitionError;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<DefinitionError> {
        let ast::Query {
            with,
            body: _,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators: _, // The planner knows them, or says that it does not.
        } = query;
        for cte in with.iter().flat_map(|with| &with.cte_tables) {
            let ast::Cte {
                alias,
                query: _,
                from,
                materialized: _, // About the way to the answer, which stays the same.
                closing_paren_token: _,
            } = cte;
            self.alias(Some(alias))?;
            self.refuse(&[(from.is_some(), "FROM there", LEAVE_OUT)])?;
        }
        let filled = order_by.as_ref().is_some_and(|order_by| {
            let ast::OrderBy { kind, interpolate } = order_by;
            let filled = match kind {
                ast::OrderByKind::All(_) => false,
                ast::OrderByKind::Expressions(by) => by.iter().any(|by| by.with_fill.is_some()),
            };
            filled || interpolate.is_some()
        });
        let limit_by = matches!(
            limit_clause,
            Some(ast::LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty()
        );
        self.refuse(&[
            (
                fetch.is_some(),
                "FETCH",
                "write LIMIT; for rows that tie with the last one, RANK() .. <= n in a subquery",
            ),
            (
                limit_by,
                "LIMIT BY",
                "number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep the first ones",
            ),
            (!locks.is_empty(), "FOR", "leave it out: a view is read at one epoch"),
            (for_clause.is_some(), "FOR", LEAVE_OUT),
            (settings.is_some(), "SETTINGS", LEAVE_OUT),
            (
                format_clause.is_some(),
                "FORMAT",
                "leave it out; readers choose a format when they ask",
            ),
            (filled, "WITH FILL", LEAVE_OUT),
        ])
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<DefinitionError> {
        let ast::Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        let modified = match group_by {
            ast::GroupByExpr::All(modifiers) | ast::GroupByExpr::Expressions(_, modifiers) => {
                !modifiers.is_empty()
            }
        };
        let global = from
            .iter()
            .flat_map(|table| &table.joins)
            .any(|join| join.global);
        self.refuse(&[
            (!optimizer_hints.is_empty(), "hints", LEAVE_OUT),
            (
                select_modifiers.is_some(),
                "modifiers of SELECT",
                "leave them out",
            ),
            (top.is_some(), "TOP", "write ORDER BY .. LIMIT"),
            (
                exclude.is_some(),
                "EXCLUDE there",
                "write SELECT * EXCLUDE (..) with it right behind the star",
            ),
            (
                into.is_some(),
                "INTO",
                "name the answer with CREATE MATERIALIZED VIEW name AS SELECT ..",
            ),
            (!lateral_views.is_empty(), "LATERAL VIEW", LEAVE_OUT),
            (prewhere.is_some(), "PREWHERE", "write WHERE"),
            (!connect_by.is_empty(), "CONNECT BY", LEAVE_OUT),
            (
                modified,
                "GROUP BY .. WITH",
                "write one GROUP BY view for each set and UNION ALL them",
            ),
            (!cluster_by.is_empty(), "CLUSTER BY", LEAVE_OUT),
            (!distribute_by.is_empty(), "DISTRIBUTE BY", LEAVE_OUT),
            (!sort_by.is_empty(), "SORT BY", "write ORDER BY .. LIMIT"),
            (
                value_table_mode.is_some(),
                "AS STRUCT or AS VALUE",
                LEAVE_OUT,
            ),
            (global, "GLOBAL", LEAVE_OUT),
        ])
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<DefinitionError> {
        let is_unnest = |function: &ast::Function| {
            let name = function.name.0.last().and_then(|part| part.as_ident());
            name.is_some_and(|name| name.value.eq_ignore_ascii_case("unnest"))
        };
        self.refuse(&[
            (
                matches!(expr, ast::Expr::Collate { .. }),
                "COLLATE",
                "leave it out: texts are compared byte by byte",
            ),
            (
                matches!(expr, ast::Expr::SimilarTo { .. }),
                "SIMILAR TO",
                "write LIKE, or a regular expression: text ~ '^(a|b).*$'",
            ),
            (
                matches!(expr, ast::Expr::Function(function) if is_unnest(function)),
                "UNNEST",
                ROWS,
            ),
        ])
    }

    fn pre_visit_table_factor(
        &mut self,
        factor: &ast::TableFactor,
    ) -> ControlFlow<DefinitionError> {
        match factor {
            ast::TableFactor::Table {
                name,
                alias,
                args: _, // A function as a table, which the planner does not find.
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.alias(alias.as_ref())?;
                if let [_, .., last] = name.0.as_slice() {
                    let what = format!("`{name}`: names in a dataflow have no schema");
                    let help = format!("write {last}");
                    let word = last.to_string();
                    let word = word.trim_matches('"');
                    return ControlFlow::Break(self.text.error(&[word], what, Some(&help)));
                }
                self.refuse(&[
                    (!with_hints.is_empty(), "WITH", LEAVE_OUT),
                    (
                        version.is_some(),
                        "FOR",
                        "leave it out: a view is of the tables as they are now",
                    ),
                    (*with_ordinality, "WITH ORDINALITY", LEAVE_OUT),
                    (
                        !partitions.is_empty(),
                        "PARTITION",
                        "write a condition in WHERE",
                    ),
                    (json_path.is_some(), "a path behind a table", LEAVE_OUT),
                    (sample.is_some(), "TABLESAMPLE", SAMPLE),
                    (!index_hints.is_empty(), "index hints", "leave them out"),
                ])
            }
            ast::TableFactor::Derived {
                lateral: _,
                subquery: _,
                alias,
                sample,
            } => {
                self.alias(alias.as_ref())?;
                self.refuse(&[(sample.is_some(), "TABLESAMPLE", SAMPLE)])
            }
            ast::TableFactor::NestedJoin {
                table_with_joins: _,
                alias,
            } => self.alias(alias.as_ref()),
            ast::TableFactor::UNNEST { .. } | ast::TableFactor::Function { .. } => {
                ControlFlow::Break(self.text.error(
                    &["UNNEST", "LATERAL"],
                    "a query does not take UNNEST, nor other functions that return rows",
                    Some(ROWS),
                ))
            }
            // The planner takes these whole, or says that it does not know them.
            _ => ControlFlow::Continue(()),
        }
    }
}

const ROWS: &str = "ask whether a list holds a value, with array_has(list, value), or let the source send a record for \
                    each";
const SAMPLE: &str = "leave it out, or keep a part of the keys: WHERE id % 100 = 0";
