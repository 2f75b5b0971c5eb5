//! Conditions that can fail stay behind those that guard them.
//!
//! DataFusion's rules take every expression to have a value for every row: they push conditions
//! below joins and projections, put cheap ones before others, compute once what occurs twice. Of
//! `length(t) > 2 AND CAST(t AS BIGINT) > 1` the cast then comes first, and fails for texts that
//! the query never meant to cast. Here is what keeps them from it:
//!
//! * Of the conditions joined by AND in WHERE, HAVING or ON, those that cannot fail are evaluated
//!   first, wherever the rules put them. Those that can, themselves or through a column that is
//!   computed below, stay where they were written, in their order.
//! * A condition that is the same for all rows stays where it was written: below an aggregate of
//!   all rows it would drop what is counted, and not the row that counts it.
//! * A NULL in a list of IN stands beside the list.
//! * The argument and the order of an aggregate with FILTER are evaluated on the rows that the
//!   filter keeps.
//! * A number that is cast to a narrower type and compared is cast: to compare it as it is would
//!   find an answer where there is none.
//! * A CASE of truth values stays one: as ANDs and ORs it would evaluate conditions that an earlier
//!   one has decided.
//!
//! An AND or OR within an expression is evaluated from left to right by `expression/lazy.rs`.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::{AggregateFunction, InList};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{Case, Expr, ExprSchemable, Filter, Join, LogicalPlan, Projection};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{Optimizer, OptimizerConfig, OptimizerRule};
use datafusion_physical_expr::create_physical_expr;

use crate::expression::may_fail;

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// DataFusion's rules, with the order of conditions kept.
pub(super) fn rules() -> Vec<Rule> {
    let rules = Optimizer::new().rules.into_iter();
    rules
        .map(|rule| match rule.name() {
            "push_down_filter" => Arc::new(PushDownSafely(PushDownFilter::new())) as Rule,
            _ => rule,
        })
        .collect()
}

/// The plan, its types resolved, with guards where the rules look for none.
pub(super) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let inputs = plan.inputs();
        let schemas = inputs.iter().map(|input| Arc::clone(input.schema()));
        let schemas: Vec<_> = schemas.collect();
        let fails = |expr: &Expr| schemas.iter().any(|schema| fails_over(expr, schema));
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = expr.transform_up(|part| match part {
                Expr::Case(case) if stays_a_case(&case, &fails, &schemas)? => {
                    Ok(Transformed::yes(Expr::Case(Case {
                        expr: Some(Box::new(Expr::Literal(
                            ScalarValue::Boolean(Some(true)),
                            None,
                        ))),
                        ..case
                    })))
                }
                Expr::AggregateFunction(call) => Ok(filtered_first(call, &fails)),
                Expr::BinaryExpr(mut pair) if pair.op.supports_propagation() => {
                    let narrow = |side: &Expr| is_narrowed(side, &fails, &schemas);
                    let sides = [&mut pair.left, &mut pair.right];
                    let kept = keep_casts(sides.map(AsMut::as_mut), &narrow);
                    Ok(Transformed::new_transformed(Expr::BinaryExpr(pair), kept))
                }
                Expr::Between(mut range) => {
                    let narrow = |side: &Expr| is_narrowed(side, &fails, &schemas);
                    let kept = keep_casts([range.expr.as_mut()], &narrow);
                    Ok(Transformed::new_transformed(Expr::Between(range), kept))
                }
                Expr::InList(mut list) => {
                    let narrow = |side: &Expr| is_narrowed(side, &fails, &schemas);
                    let kept = keep_casts([list.expr.as_mut()], &narrow);
                    let mut apart = null_apart(list);
                    apart.transformed |= kept;
                    Ok(apart)
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(match settled.transformed {
                true => Transformed::yes(name.restore(settled.data)),
                false => settled,
            })
        })
    })
    .data()
}

/// Whether `case` is one of truth values that can fail: as `CASE true WHEN ..` it means the same,
/// and no rule takes it apart.
fn stays_a_case(
    case: &Case,
    fails: &dyn Fn(&Expr) -> bool,
    schemas: &[datafusion_common::DFSchemaRef],
) -> Result<bool> {
    let Some((_, first)) = case.when_then_expr.first() else {
        return Ok(false);
    };
    let is_boolean = |schema: &datafusion_common::DFSchemaRef| {
        first
            .get_type(schema.as_ref())
            .is_ok_and(|data_type| data_type == arrow::datatypes::DataType::Boolean)
    };
    let whole = || Expr::Case(case.clone());
    Ok(case.expr.is_none() && schemas.iter().any(is_boolean) && fails(&whole()))
}

/// Whether `expr` is a cast of a number or a time that can fail. Numbers without sign are ranks and
/// counts, which never do.
fn is_narrowed(
    expr: &Expr,
    fails: &dyn Fn(&Expr) -> bool,
    schemas: &[datafusion_common::DFSchemaRef],
) -> bool {
    let Expr::Cast(cast) = expr else {
        return false;
    };
    let is_other = |schema: &datafusion_common::DFSchemaRef| {
        cast.expr
            .get_type(schema.as_ref())
            .is_ok_and(|data_type| data_type.is_string() || data_type.is_unsigned_integer())
    };
    !schemas.iter().any(is_other) && fails(expr)
}

/// Puts those of `sides` that are `narrow` where no rule finds the cast; tells whether any was.
fn keep_casts<const N: usize>(sides: [&mut Expr; N], narrow: &dyn Fn(&Expr) -> bool) -> bool {
    let mut kept = false;
    for side in sides.into_iter().filter(|side| narrow(side)) {
        let always = || Box::new(Expr::Literal(ScalarValue::Boolean(Some(true)), None));
        *side = Expr::Case(Case {
            expr: Some(always()),
            when_then_expr: vec![(always(), Box::new(std::mem::take(side)))],
            else_expr: None,
        });
        kept = true;
    }
    kept
}

/// `x IN (a, NULL)` as `x IN (a) OR NULL`, which is the same: the rules that make one list of two
/// take NULL for a value.
fn null_apart(list: InList) -> Transformed<Expr> {
    fn is_null(expr: &Expr) -> bool {
        match expr {
            Expr::Literal(value, _) => value.is_null(),
            Expr::Cast(cast) => is_null(&cast.expr),
            _ => false,
        }
    }
    if !list.list.iter().any(is_null) {
        return Transformed::no(Expr::InList(list));
    }
    let (mut list, unknown) = (list, Expr::Literal(ScalarValue::Boolean(None), None));
    list.list.retain(|item| !is_null(item));
    Transformed::yes(match (list.list.is_empty(), list.negated) {
        (true, _) => unknown,
        (false, true) => Expr::InList(list).and(unknown),
        (false, false) => Expr::InList(list).or(unknown),
    })
}

/// `call` with its argument and its order evaluated only where its filter is true, if they can
/// fail.
fn filtered_first(call: AggregateFunction, fails: &dyn Fn(&Expr) -> bool) -> Transformed<Expr> {
    let AggregateFunction { func, mut params } = call;
    let mut changed = false;
    if let Some(filter) = params.filter.clone() {
        let orders = params.order_by.iter_mut().map(|sort| &mut sort.expr);
        for expr in params.args.iter_mut().chain(orders) {
            if fails(expr) {
                *expr = guarded(filter.as_ref().clone(), std::mem::take(expr));
                changed = true;
            }
        }
    }
    let call = Expr::AggregateFunction(AggregateFunction { func, params });
    Transformed::new_transformed(call, changed)
}

/// `expr` where `guard` is true, else null.
pub(crate) fn guarded(guard: Expr, expr: Expr) -> Expr {
    Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(Box::new(guard), Box::new(expr))],
        else_expr: None,
    })
}

/// Whether `expr`, over rows of `schema`, can fail. What cannot be evaluated yet (a subquery) is
/// left to the rules.
pub(crate) fn fails_over(expr: &Expr, schema: &datafusion_common::DFSchema) -> bool {
    let properties = ExecutionProps::new();
    create_physical_expr(
        expr,
        schema,
        &properties,
        &PhysicalPlanningContext::default(),
    )
    .is_ok_and(|physical| may_fail(&physical, schema.as_arrow()))
}

/// Whether the value of `expr` for a row of `plan` can fail, where it is computed or where its
/// columns are.
fn fails_at(expr: &Expr, plan: &LogicalPlan) -> bool {
    fails_over(expr, plan.schema())
        || expr
            .column_refs()
            .into_iter()
            .any(|column| column_fails(column, plan))
}

/// Whether a column of `plan` is computed by an expression that can fail, in `plan` or below.
fn column_fails(column: &Column, plan: &LogicalPlan) -> bool {
    let Some(index) = plan.schema().maybe_index_of_column(column) else {
        return false;
    };
    let below = |input: &LogicalPlan, index: usize| {
        let columns = input.schema().columns();
        columns
            .get(index)
            .is_some_and(|column| column_fails(column, input))
    };
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            expr.get(index).is_some_and(|expr| fails_at(expr, input))
        }
        LogicalPlan::Aggregate(aggregate) => aggregate
            .group_expr
            .get(index)
            .is_some_and(|expr| fails_at(expr, &aggregate.input)),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            let inputs = [&join.left, &join.right];
            match inputs
                .iter()
                .find(|input| input.schema().has_column(column))
            {
                Some(input) => column_fails(column, input),
                None => index < left && below(&join.left, index),
            }
        }
        LogicalPlan::Union(union) => union.inputs.iter().any(|input| below(input, index)),
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Window(_) => plan.inputs().iter().any(|input| below(input, index)),
        _ => false,
    }
}

/// DataFusion's rule, for conditions that cannot fail.
#[derive(Debug)]
struct PushDownSafely(PushDownFilter);

impl OptimizerRule for PushDownSafely {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join) => self.join(join, None, config),
            LogicalPlan::Filter(_) => self.filter(plan, config),
            other => self.0.rewrite(other, config),
        }
    }
}

impl PushDownSafely {
    fn filter(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        // Filters one above the other are one; what is below comes first.
        let mut layers = Vec::new();
        let mut below = &plan;
        while let LogicalPlan::Filter(filter) = below {
            layers.push(&filter.predicate);
            below = &filter.input;
        }
        let conditions = layers
            .iter()
            .rev()
            .flat_map(|layer| split_conjunction(layer));
        let (risky, safe): (Vec<Expr>, Vec<Expr>) = conditions
            .cloned()
            .partition(|condition| fails_at(condition, below) || is_literal(condition));
        let Some(risky_together) = conjunction(risky) else {
            return match below.clone() {
                LogicalPlan::Join(join) => self.join(join, conjunction(safe), config),
                _ => self.0.rewrite(plan, config),
            };
        };
        let in_place =
            layers.len() == 1 + usize::from(!safe.is_empty()) && *layers[0] == risky_together;
        let pushed = match (conjunction(safe), below.clone()) {
            (safe, LogicalPlan::Join(join)) => self.join(join, safe, config)?,
            (Some(safe), below) => {
                let safe = LogicalPlan::Filter(Filter::try_new(safe, Arc::new(below))?);
                self.0.rewrite(safe, config)?
            }
            (None, below) => Transformed::no(below),
        };
        let changed = pushed.transformed || !in_place;
        let kept = Filter::try_new(risky_together, Arc::new(pushed.data))?;
        Ok(Transformed::new_transformed(
            LogicalPlan::Filter(kept),
            changed,
        ))
    }

    /// A join below a condition that cannot fail: what can fail of its own conditions stays where
    /// it is.
    fn join(
        &self,
        mut join: Join,
        above: Option<Expr>,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let own = join
            .filter
            .take()
            .map_or_else(Vec::new, split_conjunction_owned);
        let stays = |condition: &Expr| {
            let pair = join.left.schema().join(join.right.schema());
            is_literal(condition)
                || pair.is_ok_and(|pair| fails_over(condition, &pair))
                || condition.column_refs().into_iter().any(|column| {
                    let inputs = [&join.left, &join.right];
                    inputs.iter().any(|input| column_fails(column, input))
                })
        };
        let (risky, safe): (Vec<Expr>, Vec<Expr>) = own.into_iter().partition(stays);
        join.filter = conjunction(safe);
        let join = LogicalPlan::Join(join);
        let plan = match above {
            Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(join))?),
            None => join,
        };
        let pushed = self.0.rewrite(plan, config)?;
        pushed.map_data(|plan| with_conditions(plan, risky))
    }
}

/// Whether a condition is false or null for every row.
fn is_literal(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(..))
}

/// Puts conditions back into the join at the top of `plan`.
fn with_conditions(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    if conditions.is_empty() {
        return Ok(plan);
    }
    Ok(match plan {
        LogicalPlan::Join(mut join) => {
            join.filter = conjunction(join.filter.into_iter().chain(conditions));
            LogicalPlan::Join(join)
        }
        LogicalPlan::Filter(Filter {
            predicate, input, ..
        }) => {
            let input = with_conditions(Arc::unwrap_or_clone(input), conditions)?;
            LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)
        }
        other => {
            return datafusion_common::internal_err!(
                "pushing conditions down has left no join, but {}",
                other.display()
            );
        }
    })
}
