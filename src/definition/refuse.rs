//! What a query may not say, told before the optimiser hides it.
//!
//! The optimiser turns `now()` into the instant at which the file is loaded, DISTINCT ON and
//! `count(DISTINCT x)` into other aggregates, and subqueries into joins that answer something else
//! where a query is not what SQL allows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion_common::DFSchema;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::expr::{AggregateFunction, Exists, InSubquery, Sort as SortExpr};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{
    BinaryExpr, Distinct, Expr, FetchType, Join, LogicalPlan, Operator, SkipType, Subquery,
};

use super::calls::refuse_call;
use super::{Definition, DefinitionError, StatementText};
use crate::sql::subquery::always_one_row;
use crate::sql::using::hidden;

/// Refuses a query, whose names are resolved and nothing else, if it says what cannot be maintained
/// or is not SQL.
pub(super) fn refuse(
    definition: &Definition,
    text: &StatementText,
    plan: &LogicalPlan,
) -> Result<(), DefinitionError> {
    let mut refusal = Ok(());
    let mut note = |found: Result<(), DefinitionError>| {
        if refusal.is_ok() {
            refusal = found;
        }
    };
    // The visitor itself does not fail, so neither do the walks.
    let _ = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Distinct(Distinct::On(_))) {
            note(Err(text.error(
                &["DISTINCT"],
                "DISTINCT ON is not maintained",
                Some("number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1"),
            )));
        }
        if let LogicalPlan::Join(join) = node {
            note(merged_column(text, join));
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                note(match part {
                    Expr::ScalarFunction(call) => refuse_call(definition, text, call),
                    Expr::BinaryExpr(_) => constant(definition, text, part),
                    Expr::AggregateFunction(call) => aggregate(text, call),
                    Expr::ScalarSubquery(subquery) => several_rows(definition, text, subquery),
                    Expr::Exists(Exists { subquery, .. }) => exists(text, subquery),
                    Expr::InSubquery(InSubquery { subquery, .. }) => {
                        lone_aggregate(text, "IN", subquery)
                    }
                    _ => Ok(()),
                });
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    refusal
}

/// A side's own column of a join whose columns are merged.
fn merged_column(text: &StatementText, join: &Join) -> Result<(), DefinitionError> {
    for column in hidden(join, text.has_wildcard()) {
        let (name, relation) = (&column.name, column.relation.as_ref());
        let place = relation.and_then(|relation| text.find_qualified(relation.table(), name));
        if place.is_some() {
            return Err(DefinitionError {
                place,
                ..text.error(
                    &[],
                    format!("an outer join USING ({name}) has one column `{name}`, which is not `{column}` alone"),
                    Some(&format!(
                        "write `{name}` for the merged column, or ON instead of USING, and name the columns that are selected"
                    )),
                )
            });
        }
    }
    Ok(())
}

/// Arithmetic of constants that overflows: the optimiser would do it, and let it wrap around.
fn constant(
    definition: &Definition,
    text: &StatementText,
    expr: &Expr,
) -> Result<(), DefinitionError> {
    let varies = expr.exists(|part| {
        Ok(!matches!(
            part,
            Expr::Literal(..) | Expr::BinaryExpr(_) | Expr::Negative(_) | Expr::Cast(_)
        ))
    });
    if varies.unwrap_or(true) {
        return Ok(());
    }
    let physical = definition
        .session
        .physical(expr.clone(), &DFSchema::empty());
    // Without columns it returns one value for any batch.
    let value =
        physical.and_then(|expr| expr.evaluate(&RecordBatch::new_empty(Arc::new(Schema::empty()))));
    match value {
        Err(error) if error.find_root().to_string().contains("verflow") => Err(text.error(
            &[],
            format!("`{expr}` overflows"),
            Some("cast one of the numbers to DOUBLE or DECIMAL"),
        )),
        _ => Ok(()),
    }
}

/// Aggregates over several columns, or without repeats in an order of their own: neither is SQL's.
fn aggregate(text: &StatementText, call: &AggregateFunction) -> Result<(), DefinitionError> {
    let (name, params) = (call.func.name(), &call.params);
    if name == "count" && params.args.len() > 1 {
        let columns: Vec<String> = params.args.iter().map(ToString::to_string).collect();
        let help = match params.distinct {
            true => format!("count the rows of SELECT DISTINCT {}", columns.join(", ")),
            false => format!(
                "write count(*) FILTER (WHERE {} IS NOT NULL)",
                columns.join(" IS NOT NULL AND ")
            ),
        };
        return Err(text.error(&[name], "`count` takes one column", Some(&help)));
    }
    let by_value = |sort: &SortExpr| params.args.first() == Some(&sort.expr);
    if params.distinct && !params.order_by.iter().all(by_value) {
        return Err(text.error(
            &[name],
            format!("`{name}` without repeats has no order but that of its values: of equal values any could be the first"),
            Some("order by the value itself, or leave DISTINCT out"),
        ));
    }
    Ok(())
}

/// A subquery that stands for one value must have one row at most, whatever the tables hold.
fn several_rows(
    definition: &Definition,
    text: &StatementText,
    subquery: &Subquery,
) -> Result<(), DefinitionError> {
    if at_most_one_row(definition, &subquery.subquery, &BTreeSet::new()) {
        return Ok(());
    }
    let mut error = text.error(
        &["SELECT"],
        "this subquery stands for one value, but may return several rows",
        Some(
            "aggregate it (max(..), sum(..)), ask for one row by its whole primary key, or join it",
        ),
    );
    error.place = text.find_value_subquery().or(error.place);
    Err(error)
}

/// Whether `plan` returns one row at most when each of the columns `fixed` has one value only.
fn at_most_one_row(definition: &Definition, plan: &LogicalPlan, fixed: &BTreeSet<usize>) -> bool {
    let below = |input| at_most_one_row(definition, input, fixed);
    match plan {
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() <= 1,
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1))))
                || below(&limit.input)
        }
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Subquery(subquery) => below(&subquery.subquery),
        LogicalPlan::Sort(sort) => below(&sort.input),
        LogicalPlan::Window(window) => {
            let own = window.input.schema().fields().len();
            let fixed = fixed.iter().copied().filter(|&column| column < own);
            at_most_one_row(definition, &window.input, &fixed.collect())
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            (0..input.schema().fields().len()).all(|column| fixed.contains(&column)) || below(input)
        }
        LogicalPlan::Projection(projection) => {
            let of_input = |&column: &usize| {
                let expr = projection.expr[column].clone().unalias();
                let index = projection
                    .input
                    .schema()
                    .index_of_column(expr.try_as_col()?);
                index.ok()
            };
            let fixed = fixed.iter().filter_map(of_input).collect();
            at_most_one_row(definition, &projection.input, &fixed)
        }
        LogicalPlan::Filter(filter) => {
            let mut fixed = fixed.clone();
            for part in split_conjunction(&filter.predicate) {
                let index = fixed_by(part)
                    .and_then(|column| filter.input.schema().index_of_column(column).ok());
                fixed.extend(index);
            }
            at_most_one_row(definition, &filter.input, &fixed)
        }
        LogicalPlan::Aggregate(aggregate) => {
            (0..aggregate.group_expr.len()).all(|column| fixed.contains(&column))
                || at_most_one_row(definition, &aggregate.input, &BTreeSet::new())
        }
        LogicalPlan::TableScan(scan) => {
            if let Some(query) = scan.source.get_logical_plan() {
                return at_most_one_row(definition, &query, fixed);
            }
            let table = definition.table(scan.table_name.table());
            table.is_some_and(|table| {
                let key = &definition.tables[table].key;
                key.iter().all(|column| fixed.contains(column))
            })
        }
        _ => false,
    }
}

/// The column that `condition` sets equal to what is the same for all rows.
fn fixed_by(condition: &Expr) -> Option<&datafusion_common::Column> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), other) | (other, Expr::Column(column))
            if other.column_refs().is_empty() =>
        {
            Some(column)
        }
        _ => None,
    }
}

/// EXISTS asks for a row. Which rows a limit leaves is forgotten when it becomes a join.
fn exists(text: &StatementText, subquery: &Subquery) -> Result<(), DefinitionError> {
    let limited = |node: &LogicalPlan| {
        let LogicalPlan::Limit(limit) = node else {
            return false;
        };
        let skips = !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)));
        skips || matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0))))
    };
    if has(&subquery.subquery, limited) {
        return Err(text.error(
            &["OFFSET", "LIMIT"],
            "EXISTS asks for any row: OFFSET and LIMIT 0 are not maintained in it",
            Some("count the rows: (SELECT count(*) ..) > number"),
        ));
    }
    lone_aggregate(text, "EXISTS", subquery)
}

/// An aggregate without GROUP BY has a row for every row outside, also where a join finds no
/// partner.
fn lone_aggregate(
    text: &StatementText,
    word: &str,
    subquery: &Subquery,
) -> Result<(), DefinitionError> {
    let lone = |node: &LogicalPlan| {
        matches!(node, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())
            && !node.all_out_ref_exprs().is_empty()
    };
    if always_one_row(&subquery.subquery) || !has(&subquery.subquery, lone) {
        return Ok(());
    }
    Err(text.error(
        &[word],
        format!("{word} over an aggregate without GROUP BY that depends on the row outside is not maintained"),
        Some("compare the aggregate itself: WHERE (SELECT count(*) FROM .. WHERE ..) > 0"),
    ))
}

fn has(plan: &LogicalPlan, is: impl Fn(&LogicalPlan) -> bool) -> bool {
    plan.exists(|node| Ok(is(node))).unwrap_or(false)
}
