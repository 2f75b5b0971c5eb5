//! Numbered rows: ROW_NUMBER, RANK and DENSE_RANK, of which a filter keeps the first.
//!
//! Without a bound every row would be numbered, and one change could renumber all of them; so there
//! must be a filter on the number somewhere above the window. On the way down the [`Bounds`] that
//! filters set go with the plan, past nodes that treat each row for itself and no further: whatever
//! looks at several rows, a second window among them, may need the rows that the bound would drop.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::Column;
use datafusion_expr::expr::WindowFunctionParams;
use datafusion_expr::{self as logical, BinaryExpr, Expr as LogicalExpr, LogicalPlan, Operator};

use super::expr::{columns_of, number, sort_options};
use super::map::{nullable, projection};
use super::{Lowered, Lowering};
use crate::plan::keyed::column;
use crate::plan::{Op, Rank, TopK};

/// What to write instead of a window that is refused.
const HELP: &str = "number the rows in a subquery and keep the first ones: SELECT .. FROM (SELECT .., RANK() OVER \
                    (PARTITION BY .. ORDER BY ..) AS place FROM ..) t WHERE place <= 10";

/// What to write instead of two numbers in one query.
const HELP_SEVERAL: &str = "a bound on one number cannot keep rows from the other: number the rows and keep the first ones in a \
                            subquery or a view for each, and join those on the key of the rows";

/// What to write instead of an aggregate over a window.
const HELP_AGGREGATE: &str = "aggregate with GROUP BY and join the result: SELECT .. FROM t JOIN (SELECT g, sum(n) AS total FROM t \
                              GROUP BY g) AS totals ON totals.g = t.g";

/// What to write instead of another window function.
const HELP_OTHER: &str = "only ROW_NUMBER, RANK and DENSE_RANK are, up to a bound; a row before or after another is found by joining \
                          the table with itself on what is before and after";

/// The greatest values of columns that are still read, by column.
#[derive(Clone, Default)]
pub(super) struct Bounds(HashMap<usize, u64>);

impl Bounds {
    /// These bounds and those that `filter` sets, for its input.
    pub(super) fn within(mut self, filter: &logical::Filter) -> Bounds {
        for part in logical::utils::split_conjunction(&filter.predicate) {
            if let Some((column, most)) = upper_bound(part)
                && let Ok(index) = filter.input.schema().index_of_column(column)
            {
                let bound = self.0.entry(index).or_insert(most);
                *bound = (*bound).min(most);
            }
        }
        self
    }

    /// These bounds on the columns of a projection, as bounds on the columns of its input.
    pub(super) fn below(self, projection: &logical::Projection) -> Bounds {
        let mut below: HashMap<usize, u64> = HashMap::new();
        for (index, most) in self.0 {
            if let LogicalExpr::Column(name) = projection.expr[index].clone().unalias()
                && let Ok(index) = projection.input.schema().index_of_column(&name)
            {
                let bound = below.entry(index).or_insert(most);
                *bound = (*bound).min(most);
            }
        }
        Bounds(below)
    }
}

/// The column that is at most some number wherever `condition` holds.
fn upper_bound(condition: &LogicalExpr) -> Option<(&Column, u64)> {
    match condition {
        LogicalExpr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let ((column, left), (other, right)) = (upper_bound(left)?, upper_bound(right)?);
            (column == other).then_some((column, left.max(right)))
        }
        LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, value, op) = match (plain(left), plain(right)) {
                (LogicalExpr::Column(column), LogicalExpr::Literal(value, _)) => {
                    (column, value, *op)
                }
                (LogicalExpr::Literal(value, _), LogicalExpr::Column(column)) => {
                    (column, value, op.swap()?)
                }
                _ => return None,
            };
            let value = number(value).filter(|value| !value.is_nan())?;
            match op {
                Operator::Eq | Operator::LtEq => Some((column, place(value.floor()))),
                Operator::Lt => Some((column, place(value.ceil() - 1.0))),
                _ => None,
            }
        }
        LogicalExpr::InList(list) if !list.negated => {
            let LogicalExpr::Column(column) = plain(&list.expr) else {
                return None;
            };
            let values = list.list.iter().map(|value| match value {
                LogicalExpr::Literal(value, _) => number(value),
                _ => None,
            });
            let most = values.collect::<Option<Vec<f64>>>()?.into_iter();
            Some((column, place(most.fold(0.0, f64::max))))
        }
        _ => None,
    }
}

/// A row's number as the optimiser compares it: it may have cast it to another type of numbers, in
/// which the order is the same.
fn plain(side: &LogicalExpr) -> &LogicalExpr {
    match side {
        LogicalExpr::Cast(cast) if cast.field.data_type().is_numeric() => cast.expr.as_ref(),
        side => side,
    }
}

/// Numbers begin at 1: below that there is none.
fn place(most: f64) -> u64 {
    most.max(0.0) as u64
}

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &logical::Window, bounds: &Bounds) -> Lowered {
        let [expr] = window.window_expr.as_slice() else {
            return self.refuse(
                &["OVER"],
                "several window functions in one query are not maintained",
                HELP_SEVERAL,
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
                let is_aggregate = matches!(
                    call.fun,
                    datafusion_expr::WindowFunctionDefinition::AggregateUDF(_)
                );
                return self.refuse(
                    &[&name, "OVER"],
                    format!("the window function `{name}` is not maintained"),
                    if is_aggregate {
                        HELP_AGGREGATE
                    } else {
                        HELP_OTHER
                    },
                );
            }
        };
        let Some(&limit) = bounds.0.get(&window.input.schema().fields().len()) else {
            return self.refuse(
                &[&name, "OVER"],
                format!("`{name}` without a bound would number every row, and one change could renumber all of them"),
                if self.text.count("OVER") > 1 { HELP_SEVERAL } else { HELP },
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
                top: TopK {
                    partition,
                    order,
                    rank,
                    limit,
                    skip: 0,
                    emit_rank: true,
                    distinct: repeated.is_some(),
                },
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

/// The plan below a window's input, if that only makes rows distinct.
///
/// Rows that are distinct only to be numbered need no operator of their own: the partitions count
/// equal rows anyway. Without partitions they do, since one worker would get them all.
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
