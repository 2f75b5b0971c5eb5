//! Numbered rows: ROW_NUMBER, RANK and DENSE_RANK, of which a filter keeps the first.
//!
//! Without a bound every row would be numbered, and one change could renumber all of them; so there must be a filter on the number somewhere above
//! the window. On the way down filters come first: each notes what it says about the numbers below it, and the window finds its bound
//! there when it is reached.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_expr::expr::WindowFunctionParams;
use datafusion_expr::{self as logical, BinaryExpr, Expr as LogicalExpr, LogicalPlan, Operator};

use super::expr::{columns_of, number, sort_options};
use super::map::{nullable, projection};
use super::{Lowered, Lowering};
use crate::plan::keyed::column;
use crate::plan::{Op, Rank};

/// What to write instead of a window that is refused.
const HELP: &str = "number the rows in a subquery and keep the first ones: SELECT .. FROM (SELECT .., RANK() OVER \
                    (PARTITION BY .. ORDER BY ..) AS place FROM ..) t WHERE place <= 10";

impl Lowering<'_> {
    /// Remembers what a filter says about row numbers computed below it.
    pub(super) fn note_bounds(&mut self, filter: &logical::Filter) {
        for part in logical::utils::split_conjunction(&filter.predicate) {
            let LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
                continue;
            };
            let (name, value, op) = match (left.as_ref(), right.as_ref()) {
                (LogicalExpr::Column(name), LogicalExpr::Literal(value, _)) => (name, value, *op),
                (LogicalExpr::Literal(value, _), LogicalExpr::Column(name)) => match op.swap() {
                    Some(swapped) => (name, value, swapped),
                    None => continue,
                },
                _ => continue,
            };
            let Some(value) = number(value).filter(|value| *value >= 0.0) else {
                continue;
            };
            let most = match op {
                Operator::Eq | Operator::LtEq => value.floor() as u64,
                Operator::Lt => (value.ceil() as u64).saturating_sub(1),
                _ => continue,
            };
            let Ok(index) = filter.input.schema().index_of_column(name) else {
                continue;
            };
            if let Some(window) = window_of(&filter.input, index) {
                let bound = self.bounds.entry(window).or_insert(most);
                *bound = (*bound).min(most);
            }
        }
    }

    pub(super) fn window(&mut self, window: &logical::Window) -> Lowered {
        let [expr] = window.window_expr.as_slice() else {
            return self.refuse(
                &["OVER"],
                "several window functions over one window are not maintained",
                HELP,
            );
        };
        let LogicalExpr::WindowFunction(call) = expr.clone().unalias() else {
            return self.refuse(
                &["OVER"],
                format!("`{expr}` is not a window function"),
                HELP,
            );
        };
        let name = call.fun.name().to_lowercase();
        let rank = match name.as_str() {
            "row_number" => Rank::RowNumber,
            "rank" => Rank::Rank,
            "dense_rank" => Rank::DenseRank,
            _ => {
                return self.refuse(
                    &[&name, "OVER"],
                    format!("the window function `{name}` is not maintained"),
                    HELP,
                );
            }
        };
        let Some(&limit) = self.bounds.get(&std::ptr::from_ref(window).addr()) else {
            return self.refuse(
                &[&name, "OVER"],
                format!("`{name}` without a bound would number every row, and one change could renumber all of them"),
                HELP,
            );
        };
        let params = &call.params;
        let repeated = repeated_input(&window.input, params);
        let input = self.node(repeated.unwrap_or(&window.input))?;
        let columns = columns_of(&window.input);
        let width = columns.len();
        let mut exprs: Vec<&LogicalExpr> = columns.iter().collect();
        exprs.extend(&params.partition_by);
        exprs.extend(params.order_by.iter().map(|sort| &sort.expr));
        let (input, places) = self.compute(input, &window.input, &exprs)?;
        let partition = places[width..width + params.partition_by.len()].to_vec();
        let order = params
            .order_by
            .iter()
            .zip(&places[width + params.partition_by.len()..])
            .map(|(sort, &place)| (place, sort_options(sort)))
            .collect();
        let computed = Arc::clone(self.nodes.schema(input));
        let number = Field::new(expr.schema_name().to_string(), DataType::UInt64, true);
        let fields: Vec<Field> = computed
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .chain([number.clone()])
            .collect();
        let top = self.nodes.add(
            Op::TopK {
                input,
                partition,
                order,
                rank,
                limit,
                skip: 0,
                emit_rank: true,
                distinct: repeated.is_some(),
            },
            Arc::new(Schema::new(fields)),
        );
        // Back to the window's own columns: the input's, then the number.
        let project = places[..width]
            .iter()
            .map(|&place| column(computed.field(place).name(), place))
            .chain([column(number.name(), computed.fields().len())])
            .collect();
        let map = projection(project, nullable(window.schema.as_arrow()));
        Ok(self.nodes.map(top, map))
    }
}

/// The window node (by address) that computes column `index` of `plan`, if one does.
fn window_of(plan: &LogicalPlan, index: usize) -> Option<usize> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => window_of(&alias.input, index),
        LogicalPlan::Filter(filter) => window_of(&filter.input, index),
        LogicalPlan::Projection(projection) => match projection.expr[index].clone().unalias() {
            LogicalExpr::Column(name) => window_of(
                &projection.input,
                projection.input.schema().index_of_column(&name).ok()?,
            ),
            _ => None,
        },
        LogicalPlan::Window(window) => {
            if index >= window.input.schema().fields().len() {
                Some(std::ptr::from_ref(window).addr())
            } else {
                window_of(&window.input, index)
            }
        }
        _ => None,
    }
}

/// The plan below a window's input, if that only makes rows distinct.
///
/// Rows that are distinct only to be numbered need no operator of their own: the partitions count equal rows anyway. Without partitions they do,
/// since one worker would get them all.
fn repeated_input<'p>(
    input: &'p LogicalPlan,
    params: &WindowFunctionParams,
) -> Option<&'p LogicalPlan> {
    let mut by = params
        .partition_by
        .iter()
        .chain(params.order_by.iter().map(|sort| &sort.expr));
    let plain = by.all(|expr| matches!(expr, LogicalExpr::Column(_)));
    (plain && !params.partition_by.is_empty())
        .then(|| below_distinct(input))
        .flatten()
}

/// The plan that `plan` is the distinct rows of, all columns in their order.
fn below_distinct(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => below_distinct(&alias.input),
        LogicalPlan::Distinct(logical::Distinct::All(input)) => Some(input),
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.is_empty() => {
            columns_of(&aggregate.input)
                .eq(&aggregate.group_expr)
                .then(|| aggregate.input.as_ref())
        }
        _ => None,
    }
}
