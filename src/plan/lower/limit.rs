//! The first rows of a view: LIMIT, and OFFSET before it, over an ORDER BY.

use std::sync::Arc;

use datafusion_expr::expr::Sort as SortExpr;
use datafusion_expr::{self as logical, Expr as LogicalExpr, LogicalPlan};

use super::expr::{columns_of, sort_options, whole_number};
use super::map::nullable;
use super::{Lowered, Lowering};
use crate::plan::{Op, Rank, TopK};

impl Lowering<'_> {
    pub(super) fn limit(&mut self, limit: &logical::Limit) -> Lowered {
        let constant = |expr: &Option<Box<LogicalExpr>>| match expr.as_deref() {
            None => Some(None),
            Some(LogicalExpr::Literal(value, _)) => Some(whole_number(value)),
            Some(_) => None,
        };
        let (Some(skip), Some(fetch)) = (constant(&limit.skip), constant(&limit.fetch)) else {
            return self.refuse(
                &["LIMIT", "OFFSET"],
                "LIMIT and OFFSET must be constants",
                "write a number",
            );
        };
        let mut below = limit.input.as_ref();
        // Projections between the limit and its order do not change which rows are first.
        let mut above = Vec::new();
        while let LogicalPlan::Projection(projection) = below {
            above.push(projection);
            below = projection.input.as_ref();
        }
        let LogicalPlan::Sort(sort) = below else {
            return self.refuse(
                &["LIMIT", "OFFSET"],
                "LIMIT without ORDER BY returns arbitrary rows",
                "add ORDER BY, so that the first rows are always the same",
            );
        };
        let skip = skip.unwrap_or(0);
        let Some(fetch) = fetch.or(sort.fetch.map(|fetch| (fetch as u64).saturating_sub(skip)))
        else {
            return self.refuse(
                &["OFFSET"],
                "OFFSET without LIMIT is not maintained",
                "add a LIMIT",
            );
        };
        let mut node = self.first_rows(&sort.input, &sort.expr, skip, fetch)?;
        for projection in above.into_iter().rev() {
            let map = self.project(projection)?;
            node = self.nodes.map(node, map);
        }
        Ok(node)
    }

    /// The `fetch` rows of `plan` that come after the first `skip` in the order `by`.
    pub(super) fn first_rows(
        &mut self,
        plan: &LogicalPlan,
        by: &[SortExpr],
        skip: u64,
        fetch: u64,
    ) -> Lowered {
        let input = self.node(plan)?;
        let columns = columns_of(plan);
        let width = columns.len();
        let mut exprs: Vec<&LogicalExpr> = columns.iter().collect();
        exprs.extend(by.iter().map(|sort| &sort.expr));
        let (input, places) = self.compute(input, plan, &exprs)?;
        let order = by
            .iter()
            .zip(&places[width..])
            .map(|(sort, &place)| (place, sort_options(sort)))
            .collect();
        let top = TopK {
            partition: Vec::new(),
            order,
            rank: Rank::RowNumber,
            limit: fetch,
            skip,
            emit_rank: false,
            distinct: false,
        };
        let computed = Arc::clone(self.nodes.schema(input));
        let top = self.nodes.add(Op::TopK { input, top }, computed);
        let schema = nullable(plan.schema().as_arrow());
        Ok(self.nodes.pick(top, &places[..width], schema))
    }
}
