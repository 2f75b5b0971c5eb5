//! What each kind of statement declares.
//!
//! A statement is parsed, planned and optimised here, once, against what the statements above it have declared; what it declares, those below it can name.

use std::sync::Arc;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{DdlStatement, Distinct, Expr, LogicalPlan, Volatility};
use datafusion_sql::parser::{CreateExternalTable, DFParserBuilder, Statement};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::complaint::{node_name, sql_error};
use super::types::canonical_schema;
use super::{Definition, DefinitionError, StatementText, StreamDef, TableDef, ViewDef};
use crate::decode::Decoder;

impl Definition {
    /// Takes in the next statement of the file.
    pub(super) fn add(&mut self, text: StatementText) -> Result<(), DefinitionError> {
        let mut parser = DFParserBuilder::new(text.sql.as_str())
            .with_dialect(&GenericDialect {})
            .build()
            .map_err(|error| sql_error(&text, error))?;
        let parsed = parser
            .parse_statement()
            .map_err(|error| sql_error(&text, error))?;
        // The parser stops where a statement may end; what is left over would go unread.
        let next = parser.parser.peek_token();
        if next.token != Token::EOF {
            return Err(DefinitionError {
                place: Some(text.place_in_file(next.span.start.line, next.span.start.column)),
                ..text.error(
                    &[],
                    format!(
                        "the statement could end before `{next}`, which does not go on with it"
                    ),
                    None,
                )
            });
        }
        match parsed {
            Statement::CreateExternalTable(create) => self.add_stream(text, create),
            Statement::Statement(statement) => match *statement {
                ast::Statement::CreateTable(create) => self.add_table(text, create),
                ast::Statement::CreateView(create) => self.add_view(text, create),
                _ => Err(unknown_statement(&text)),
            },
            _ => Err(unknown_statement(&text)),
        }
    }

    fn add_stream(
        &mut self,
        text: StatementText,
        create: CreateExternalTable,
    ) -> Result<(), DefinitionError> {
        let relation = relation_name(&create.name);
        if !create.file_type.eq_ignore_ascii_case("JSON") {
            return Err(text.error(
                &[&create.file_type],
                format!(
                    "stream `{relation}` is stored as {}, which pinflow does not decode",
                    create.file_type
                ),
                Some("write STORED AS JSON"),
            ));
        }
        let [location] = create.locations.as_slice() else {
            return Err(text.error(
                &["LOCATION"],
                "a stream has one location",
                Some("write LOCATION 'stream name'"),
            ));
        };
        let location = location.clone();
        let plan = self
            .session
            .plan(Statement::CreateExternalTable(create))
            .map_err(|error| sql_error(&text, error))?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(declared)) = plan else {
            return Err(unknown_statement(&text));
        };
        let schema = canonical_schema(declared.schema.fields());
        if let Err(unsupported) = Decoder::new(Arc::clone(&schema)) {
            return Err(text.error(&[&unsupported.column], unsupported.to_string(), None));
        }
        self.name_is_free(&text, &relation)?;
        self.session.declare(&relation, Arc::clone(&schema));
        self.streams.push(StreamDef {
            relation,
            name: location,
            schema,
            text,
        });
        Ok(())
    }

    fn add_table(
        &mut self,
        text: StatementText,
        create: ast::CreateTable,
    ) -> Result<(), DefinitionError> {
        let name = relation_name(&create.name);
        let Some(query) = create.query else {
            return Err(text.error(
                &["TABLE"],
                format!("table `{name}` has no query"),
                Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .., or CREATE EXTERNAL TABLE for a stream"),
            ));
        };
        let sql = query.to_string();
        let plan = self.plan(&text, *query)?;
        let stream = self.stream_read_by(&text, &name, &plan)?;
        let schema = plan.schema();
        let key_columns = create
            .constraints
            .iter()
            .find_map(|constraint| match constraint {
                ast::TableConstraint::PrimaryKey(key) => Some(
                    key.columns
                        .iter()
                        .map(|c| c.column.expr.to_string())
                        .collect::<Vec<_>>(),
                ),
                _ => None,
            });
        let Some(key_columns) = key_columns.filter(|columns| !columns.is_empty()) else {
            return Err(text.error(
                &["TABLE"],
                format!("table `{name}` has no primary key, so pinflow could not tell a new row from a changed one"),
                Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .."),
            ));
        };
        let key = key_columns
            .iter()
            .map(|column| {
                let plain = column.trim_matches('"');
                schema.fields().iter().position(|field| field.name() == plain).ok_or_else(|| {
                    text.error(
                        &["KEY"],
                        format!("the primary key of `{name}` names `{plain}`, which its query does not return"),
                        Some("name a column of the SELECT list"),
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = canonical_schema(schema.fields());
        self.name_is_free(&text, &name)?;
        self.session.declare(&name, rows);
        self.tables.push(TableDef {
            name,
            stream,
            query: plan,
            key,
            text,
            sql,
        });
        Ok(())
    }

    fn add_view(
        &mut self,
        text: StatementText,
        create: ast::CreateView,
    ) -> Result<(), DefinitionError> {
        let name = relation_name(&create.name);
        let materialized = create.materialized;
        let sql = create.query.to_string();
        let logical = self.logical(&text, *create.query)?;
        let plan = self.optimised(&text, &logical)?;
        self.name_is_free(&text, &name)?;
        if materialized {
            let rows = canonical_schema(plan.schema().fields());
            self.session.declare(&name, rows);
        } else {
            self.session.declare_query(&name, logical);
        }
        self.views.push(ViewDef {
            name,
            query: plan,
            text,
            sql,
            materialized,
        });
        Ok(())
    }

    fn name_is_free(&self, text: &StatementText, name: &str) -> Result<(), DefinitionError> {
        if self.session.knows(name) {
            return Err(text.error(
                &[name],
                format!("the name `{name}` is used twice"),
                Some("give one of them another name"),
            ));
        }
        Ok(())
    }

    fn plan(
        &self,
        text: &StatementText,
        query: ast::Query,
    ) -> Result<LogicalPlan, DefinitionError> {
        let logical = self.logical(text, query)?;
        self.optimised(text, &logical)
    }

    /// The plan of a query as it was written, names resolved.
    fn logical(
        &self,
        text: &StatementText,
        query: ast::Query,
    ) -> Result<LogicalPlan, DefinitionError> {
        // Planned as joins, they would forget how often a row occurs.
        for operation in ["EXCEPT", "INTERSECT"] {
            if let Some(place) = text.find_pair(operation, "ALL") {
                let what = format!("{operation} ALL is not maintained");
                let help = format!("write {operation}, which returns each row once");
                return Err(DefinitionError {
                    place: Some(place),
                    ..text.error(&[], what, Some(&help))
                });
            }
        }
        let statement = Statement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let plan = self
            .session
            .plan(statement)
            .map_err(|error| sql_error(text, error))?;
        refuse_before_optimising(text, &plan)?;
        Ok(plan)
    }

    fn optimised(
        &self,
        text: &StatementText,
        plan: &LogicalPlan,
    ) -> Result<LogicalPlan, DefinitionError> {
        self.session
            .optimised(plan)
            .map_err(|error| sql_error(text, error))
    }

    /// The one stream a table's query reads, if the query is stateless.
    fn stream_read_by(
        &self,
        text: &StatementText,
        name: &str,
        plan: &LogicalPlan,
    ) -> Result<usize, DefinitionError> {
        match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                self.stream_read_by(text, name, plan.inputs()[0])
            }
            LogicalPlan::TableScan(scan) => {
                let relation = scan.table_name.table();
                self.streams.iter().position(|stream| stream.relation == relation).ok_or_else(|| {
                    text.error(
                        &[relation],
                        format!("table `{name}` reads `{relation}`, which is not a stream"),
                        Some("read a CREATE EXTERNAL TABLE here; use CREATE MATERIALIZED VIEW for queries over tables"),
                    )
                })
            }
            other => Err(text.error(
                &["JOIN", "GROUP", "DISTINCT", "OVER", "UNION", "LIMIT", "ORDER"],
                format!("table `{name}` is cleaned from one stream row by row, but its query needs {}", node_name(other)),
                Some("keep the table a plain SELECT .. FROM stream [WHERE ..] and put the rest into a view over it"),
            )),
        }
    }
}

/// Refuses what the optimiser would hide: it turns `now()` into the instant at which the file is loaded, and DISTINCT ON into aggregates.
fn refuse_before_optimising(
    text: &StatementText,
    plan: &LogicalPlan,
) -> Result<(), DefinitionError> {
    let mut refusal = None;
    // The visitor itself does not fail, so neither do the walks.
    let _ = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Distinct(Distinct::On(_))) {
            refusal = Some(text.error(
                &["DISTINCT"],
                "DISTINCT ON is not maintained",
                Some("number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1"),
            ));
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    let name = call.name();
                    refusal = Some(text.error(
                        &[name],
                        format!("`{name}` is not a function of the row: its answer changes while the data does not"),
                        Some("use a column, such as an event time, instead of the clock or chance"),
                    ));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    refusal.map_or(Ok(()), Err)
}

fn unknown_statement(text: &StatementText) -> DefinitionError {
    text.error(
        &[],
        "a dataflow file does not hold this kind of statement",
        Some("it holds CREATE EXTERNAL TABLE (a stream), CREATE TABLE .. AS (a table), CREATE [MATERIALIZED] VIEW"),
    )
}

fn relation_name(name: &ast::ObjectName) -> String {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map(|ident| {
            if ident.quote_style.is_some() {
                ident.value.clone()
            } else {
                ident.value.to_lowercase()
            }
        })
        .unwrap_or_default()
}
