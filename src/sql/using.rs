//! JOIN .. USING: the joined rows have one column of that name, which is the one of whichever side
//! has the row.
//!
//! The planner takes one side's column for it: always the same, also where an outer join has no row
//! of that side. Here each such join gets a projection in which both sides' columns are the merged
//! one. A side's own column cannot be told from it any more, so whoever names a [`hidden`] column
//! must be refused.

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, JoinConstraint, JoinType, Result};
use datafusion_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};
use datafusion_functions::core::expr_fn::coalesce;

/// `plan` with the columns of its joins merged; `wildcard` says whether it has a `SELECT *`.
pub fn merged(plan: LogicalPlan, wildcard: bool) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else {
            return Ok(Transformed::no(node));
        };
        let pairs = pairs(join, wildcard);
        if pairs.is_empty() {
            return Ok(Transformed::no(node));
        }
        let value = |(left, right): &(Column, Column)| {
            let (left, right) = (Expr::Column(left.clone()), Expr::Column(right.clone()));
            match join.join_type {
                JoinType::Left => left,
                JoinType::Right => right,
                _ => coalesce(vec![left, right]),
            }
        };
        let columns = join.schema.columns().into_iter().map(|column| {
            match pairs.iter().find(|(l, r)| *l == column || *r == column) {
                Some(pair) => value(pair).alias_qualified(column.relation, column.name),
                None => Expr::Column(column),
            }
        });
        let columns: Vec<Expr> = columns.collect();
        let plan = LogicalPlanBuilder::from(node).project(columns)?.build()?;
        Ok(Transformed::yes(plan))
    });
    plan.map(|plan| plan.data)
}

/// The columns of one side that have the merged column's value instead of their own.
pub fn hidden(join: &Join, wildcard: bool) -> Vec<Column> {
    let own = |(left, right)| match join.join_type {
        JoinType::Left => vec![right],
        JoinType::Right => vec![left],
        _ => vec![left, right],
    };
    pairs(join, wildcard).into_iter().flat_map(own).collect()
}

/// The pairs of columns, of the left side and of the right, that must be merged.
fn pairs(join: &Join, wildcard: bool) -> Vec<(Column, Column)> {
    if join.join_constraint != JoinConstraint::Using {
        return Vec::new();
    }
    let pairs = join.on.iter().filter_map(|(left, right)| {
        Some((left.try_as_col()?.clone(), right.try_as_col()?.clone()))
    });
    match join.join_type {
        JoinType::Right | JoinType::Full => pairs.collect(),
        // A name alone means the left column, which is right. A wildcard takes that of the name
        // that sorts first.
        JoinType::Left if wildcard => pairs.filter(|(left, right)| right < left).collect(),
        _ => Vec::new(),
    }
}
