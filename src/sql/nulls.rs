//! Which columns of a plan are never null.
//!
//! The schema tells it of keys; filters tell it of the rows that pass them.

use datafusion_common::Column;
use datafusion_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, Operator};

/// The conditions that all hold where `predicate` does.
pub(super) fn conjunction_of(predicate: &Expr) -> Vec<Expr> {
    let parts = datafusion_expr::utils::split_conjunction(predicate);
    parts.into_iter().cloned().collect()
}

/// Whether column `index` of `plan` has a value in every row for which `known` holds.
pub(super) fn never_null(plan: &LogicalPlan, index: usize, known: &[Expr]) -> bool {
    let (qualifier, field) = plan.schema().qualified_field(index);
    if !field.is_nullable() {
        return true;
    }
    let column = Column::from((qualifier, field));
    if known
        .iter()
        .any(|condition| rejects_null(condition, &column))
    {
        return true;
    }
    match plan {
        LogicalPlan::Filter(filter) => {
            never_null(&filter.input, index, &conjunction_of(&filter.predicate))
        }
        LogicalPlan::SubqueryAlias(alias) => never_null(&alias.input, index, &[]),
        LogicalPlan::Sort(sort) => never_null(&sort.input, index, &[]),
        LogicalPlan::Limit(limit) => never_null(&limit.input, index, &[]),
        LogicalPlan::Distinct(Distinct::All(input)) => never_null(input, index, &[]),
        LogicalPlan::Projection(projection) => {
            column_never_null(&projection.input, &projection.expr[index])
        }
        LogicalPlan::Aggregate(aggregate) => aggregate
            .group_expr
            .get(index)
            .is_some_and(|group| column_never_null(&aggregate.input, group)),
        LogicalPlan::TableScan(scan) => scan.source.get_logical_plan().is_some_and(|query| {
            let index = scan
                .projection
                .as_ref()
                .map_or(index, |columns| columns[index]);
            never_null(&query, index, &[])
        }),
        _ => false,
    }
}

/// Whether `expr` over the rows of `input` is a column that is never null there.
fn column_never_null(input: &LogicalPlan, expr: &Expr) -> bool {
    match expr.clone().unalias() {
        Expr::Column(column) => input
            .schema()
            .index_of_column(&column)
            .is_ok_and(|index| never_null(input, index, &[])),
        _ => false,
    }
}

/// Whether `condition` holds for no row in which `column` is null.
fn rejects_null(condition: &Expr, column: &Column) -> bool {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(found) if found == column);
    match condition {
        Expr::IsNotNull(expr) => is_column(expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let compares = matches!(
                op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
            );
            compares && (is_column(left) || is_column(right))
        }
        _ => false,
    }
}
