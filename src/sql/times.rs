//! TIMESTAMP means microseconds.
//!
//! The planner reads it as nanoseconds, which end in 1677 and 2262: to be compared with a moment
//! that is written in a query, a column would be cast to them, and fail for every time beyond.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::expr::{Cast, TryCast};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{Expr, LogicalPlan};

/// `plan` with microseconds wherever it casts to TIMESTAMP.
pub(super) fn in_microseconds(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let cast = expr.transform_up(|part| Ok(microseconds(part)))?;
            Ok(cast.update_data(|expr| name.restore(expr)))
        })?;
        if !node.transformed {
            return Ok(node);
        }
        node.map_data(LogicalPlan::recompute_schema)
    });
    plan.map(|plan| plan.data)
}

fn microseconds(expr: Expr) -> Transformed<Expr> {
    let written = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let kept = DataType::Timestamp(TimeUnit::Microsecond, None);
    match expr {
        Expr::Cast(cast) if *cast.field.data_type() == written => {
            Transformed::yes(Expr::Cast(Cast::new(cast.expr, kept)))
        }
        Expr::TryCast(cast) if *cast.field.data_type() == written => {
            Transformed::yes(Expr::TryCast(TryCast::new(cast.expr, kept)))
        }
        other => Transformed::no(other),
    }
}
