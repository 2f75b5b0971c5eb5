//! Joins: those of tables on their primary keys, which `plan/keyed.rs` finds, and all others.
//!
//! A general join returns the columns of its left input, then those of its right one, and knows no
//! right joins: such a join is a left join of the swapped inputs, and a map puts the columns back
//! in order.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{self as logical, Expr as LogicalExpr, LogicalPlan};

use super::expr::columns_of;
use super::map::nullable;
use super::{Lowered, Lowering};
use crate::definition::DefinitionError;
use crate::plan::keyed::{Finder, column, inputs, over};
use crate::plan::{Expr, Join, JoinKind, NodeId, Op};
use crate::sql::{fails_over, guarded};

impl Lowering<'_> {
    /// The node of a tree of joins on primary keys (a scan of one table is the smallest), if `plan`
    /// is one.
    pub(super) fn keyed(&mut self, plan: &LogicalPlan) -> Option<NodeId> {
        let (op, op_schema, map) = {
            let physical =
                |expr: &LogicalExpr, input: &LogicalPlan| self.expr(expr, input.schema()).ok();
            let finder = Finder {
                tables: self.tables,
                physical: &physical,
            };
            let tree = finder.find(plan)?;
            finder.finish(tree, nullable(plan.schema().as_arrow()))?
        };
        let input = self.nodes.add(op, op_schema);
        Some(self.nodes.map(input, map))
    }

    pub(super) fn join(&mut self, join: &logical::Join) -> Lowered {
        let kind = self.kind(join)?;
        let (left_plan, right_plan, swap) = inputs(join);
        let left = self.node(left_plan)?;
        let right = self.node(right_plan)?;
        let keys: Vec<(&LogicalExpr, &LogicalExpr)> = join
            .on
            .iter()
            .map(|(l, r)| if swap { (r, l) } else { (l, r) })
            .collect();
        let left_keys = keys.iter().map(|pair| safe_key(join, left_plan, pair.0));
        let right_keys = keys.iter().map(|pair| safe_key(join, right_plan, pair.1));
        let left = self.side(left, left_plan, &left_keys.collect::<Vec<_>>())?;
        let right = self.side(right, right_plan, &right_keys.collect::<Vec<_>>())?;
        let on = std::iter::zip(left.keys, right.keys).collect();

        let fields = |node: NodeId| {
            self.nodes
                .schema(node)
                .fields()
                .iter()
                .map(|f| f.as_ref().clone())
                .collect::<Vec<_>>()
        };
        let mut out_fields = fields(left.node);
        let right_starts = out_fields.len();
        let only_left = matches!(kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark);
        if kind == JoinKind::Mark {
            out_fields.push(Field::new("mark", DataType::Boolean, true));
        } else if !only_left {
            out_fields.extend(fields(right.node));
        }
        // Where the columns of the logical pair of rows stand here: the inputs may be swapped, and
        // have key columns besides.
        let right_columns = right.columns.iter().map(|&place| right_starts + place);
        let right_columns: Vec<usize> = right_columns.collect();
        let pair = if swap {
            [right_columns, left.columns.clone()].concat()
        } else {
            [left.columns.clone(), right_columns].concat()
        };
        let residual = match &join.filter {
            None => None,
            Some(condition) => Some(self.residual(join, condition, &pair)?),
        };
        let joined = self.nodes.add(
            Op::Join {
                left: left.node,
                right: right.node,
                join: Join {
                    on,
                    kind,
                    residual,
                    null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
                },
            },
            Arc::new(Schema::new(out_fields)),
        );
        let mark = (kind == JoinKind::Mark).then_some(right_starts);
        let returned = match only_left {
            true => left.columns.into_iter().chain(mark).collect(),
            false => pair,
        };
        let schema = nullable(join.schema.as_arrow());
        Ok(self.nodes.pick(joined, &returned, schema))
    }

    fn kind(&self, join: &logical::Join) -> Result<JoinKind, DefinitionError> {
        use JoinType as T;
        Ok(match join.join_type {
            T::Inner => JoinKind::Inner,
            T::Left | T::Right => JoinKind::Left,
            T::Full => JoinKind::Full,
            T::LeftSemi | T::RightSemi => JoinKind::Semi,
            // NOT IN comes here said with NOT EXISTS, so a join that is aware of nulls is one of
            // the optimiser's own.
            T::LeftAnti | T::RightAnti if !join.null_aware => JoinKind::Anti,
            T::LeftMark => JoinKind::Mark,
            _ => {
                return self.refuse(
                    &["NOT", "EXISTS", "IN"],
                    "this subquery cannot be turned into a join that is maintained",
                    "write it as a JOIN, or as a view of its own that is joined",
                );
            }
        })
    }

    /// An input with its keys as columns.
    fn side(
        &mut self,
        input: NodeId,
        plan: &LogicalPlan,
        keys: &[LogicalExpr],
    ) -> Result<Side, DefinitionError> {
        let own = columns_of(plan);
        let exprs: Vec<&LogicalExpr> = own.iter().chain(keys).collect();
        let (node, mut columns) = self.compute(input, plan, &exprs)?;
        let keys = columns.split_off(own.len());
        Ok(Side {
            node,
            columns,
            keys,
        })
    }

    /// The condition beyond the equalities, over the pair of rows as the join has it.
    fn residual(
        &self,
        join: &logical::Join,
        condition: &LogicalExpr,
        pair: &[usize],
    ) -> Result<Expr, DefinitionError> {
        let logical_pair = join
            .left
            .schema()
            .join(join.right.schema())
            .map_err(|error| {
                self.text
                    .error(&["ON"], error.find_root().to_string(), None)
            })?;
        let physical = self.expr(condition, &logical_pair)?;
        let columns: Vec<Expr> = pair.iter().map(|&place| column("", place)).collect();
        Ok(over(&physical, &columns).expect("a column can stand for a column anywhere"))
    }
}

/// A key of one side; if it can fail, null where a condition of the join that cannot, on that side
/// alone, is not true. Such a row has no partner anyway.
fn safe_key(join: &logical::Join, side: &LogicalPlan, key: &LogicalExpr) -> LogicalExpr {
    if !fails_over(key, side.schema()) {
        return key.clone();
    }
    let conditions = join.filter.iter().flat_map(split_conjunction);
    let guards = conditions.filter(|condition| {
        let columns = condition.column_refs();
        let here = columns
            .iter()
            .all(|column| side.schema().has_column(column));
        here && !columns.is_empty() && !fails_over(condition, side.schema())
    });
    match conjunction(guards.cloned()) {
        Some(guard) => guarded(guard, key.clone()),
        None => key.clone(),
    }
}

/// One input of a join.
struct Side {
    /// The node, which may have computed keys as further columns.
    node: NodeId,
    /// Where the input's own columns stand.
    columns: Vec<usize>,
    /// Where the keys stand.
    keys: Vec<usize>,
}
