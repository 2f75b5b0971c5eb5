//! TIMESTAMP means microseconds, and a DATE beside one is its midnight.
//!
//! The planner reads TIMESTAMP as nanoseconds, which end in 1677 and 2262: to be compared with a
//! date, or with a moment that is written in a query, a column would be cast to them, and fail for
//! every time beyond, such as the 31 December 9999 that means for ever. So what meets a timestamp
//! in microseconds becomes one here, before the planner looks for a type that holds both. A DATE
//! that is moved by an INTERVAL would stay a DATE, and lose the hours: it becomes a timestamp too.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::{Cast, InSubquery, ScalarFunction, SetComparison, TryCast};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{
    BinaryExpr, Expr, ExprSchemable, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, Union, lit,
};

/// What a TIMESTAMP is.
const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// What DataFusion takes it for.
const NANOSECONDS: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// Functions that return one of their arguments.
const CHOICES: [&str; 5] = ["coalesce", "greatest", "least", "nullif", "nvl"];

/// `plan`, as it was written, with timestamps in microseconds.
pub(super) fn in_microseconds(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let preserver = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            let expr = in_expression(expr, &schema)?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        let node = node.transform_data(columns)?;
        // What is below may have other types now.
        let has_own_schema = matches!(
            node.data,
            LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Join(_)
        );
        if !node.transformed && !has_own_schema {
            return Ok(node);
        }
        node.map_data(LogicalPlan::recompute_schema)
    });
    plan.map(|plan| plan.data)
}

/// The same of an expression over columns of `schema`.
pub(super) fn in_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        let mut part = written(part);
        let changed = beside(&mut part.data, schema)?;
        part.transformed |= changed;
        Ok(part)
    })
}

/// A cast to what the planner takes for TIMESTAMP.
fn written(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Cast(mut cast) if *cast.field.data_type() == NANOSECONDS => {
            with_seconds(&mut cast.expr);
            Transformed::yes(Expr::Cast(Cast::new(cast.expr, MICROSECONDS)))
        }
        Expr::TryCast(mut cast) if *cast.field.data_type() == NANOSECONDS => {
            with_seconds(&mut cast.expr);
            Transformed::yes(Expr::TryCast(TryCast::new(cast.expr, MICROSECONDS)))
        }
        other => Transformed::no(other),
    }
}

/// Casts what is compared with a timestamp, or stands for one. Tells whether there was something.
fn beside(expr: &mut Expr, schema: &DFSchema) -> Result<bool> {
    let type_of = |part: &Expr| part.get_type(schema).ok();
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus | Operator::Minus if moves(type_of(left), type_of(right)) => {
                to_timestamp(left);
                true
            }
            Operator::Plus if moves(type_of(right), type_of(left)) => {
                to_timestamp(right);
                true
            }
            Operator::Minus => aligned([&mut **left, &mut **right], schema, is_date),
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => {
                aligned([&mut **left, &mut **right], schema, is_date_or_text)
            }
            _ => false,
        },
        Expr::Between(between) => {
            let parts = [&mut *between.expr, &mut *between.low, &mut *between.high];
            aligned(parts, schema, is_date_or_text)
        }
        Expr::InList(list) => {
            let parts = std::iter::once(&mut *list.expr).chain(&mut list.list);
            aligned(parts, schema, is_date_or_text)
        }
        Expr::Case(case) => {
            let mut results = Vec::new();
            let mut operands: Vec<&mut Expr> =
                case.expr.iter_mut().map(|expr| &mut **expr).collect();
            let is_compared = !operands.is_empty();
            for (when, then) in &mut case.when_then_expr {
                operands.push(when);
                results.push(&mut **then);
            }
            results.extend(case.else_expr.iter_mut().map(|expr| &mut **expr));
            let compared = is_compared && aligned(operands, schema, is_date_or_text);
            aligned(results, schema, is_date_or_text) || compared
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if CHOICES.contains(&func.name()) => {
            aligned(args, schema, is_date_or_text)
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "date_bin" => {
            // Its signature has the origin in nanoseconds; with another one DataFusion would cast
            // the time too, which may be beyond them.
            let origin = args.get_mut(2);
            let origin = origin.filter(|origin| type_of(origin) == Some(MICROSECONDS));
            origin.map(|origin| cast(origin, NANOSECONDS)).is_some()
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. })
        | Expr::SetComparison(SetComparison { expr, subquery, .. }) => {
            with_subquery(expr, subquery, schema)?
        }
        _ => false,
    })
}

fn is_date(of: &DataType) -> bool {
    *of == DataType::Date32
}

fn is_date_or_text(of: &DataType) -> bool {
    is_date(of) || of.is_string() || *of == NANOSECONDS
}

/// Whether a DATE is moved by an INTERVAL.
fn moves(date: Option<DataType>, interval: Option<DataType>) -> bool {
    date.is_some_and(|date| is_date(&date))
        && interval.is_some_and(|interval| matches!(interval, DataType::Interval(_)))
}

fn to_timestamp(expr: &mut Expr) {
    with_seconds(expr);
    cast(expr, MICROSECONDS);
}

fn cast(expr: &mut Expr, to: DataType) {
    let arg = Box::new(std::mem::take(expr));
    *expr = Expr::Cast(Cast::new(arg, to));
}

/// Writes the seconds of a time that is written without (`'2020-01-01 10:30'`): Arrow wants them.
fn with_seconds(expr: &mut Expr) {
    let Expr::Literal(value, _) = expr else {
        return;
    };
    let text = value.try_as_str().flatten().map(str::trim_end);
    let Some((text, (_, time))) = text.and_then(|text| Some((text, text.rsplit_once([' ', 'T'])?)))
    else {
        return;
    };
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let is_short =
        matches!(time.as_bytes(), [a, b, b':', c, d] if [a, b, c, d].into_iter().all(is_digit));
    if is_short {
        *expr = lit(format!("{text}:00"));
    }
}

/// Casts those of `parts` that are `other` than a timestamp, if one of them is one.
fn aligned<'a>(
    parts: impl IntoIterator<Item = &'a mut Expr>,
    schema: &DFSchema,
    other: fn(&DataType) -> bool,
) -> bool {
    let parts = parts.into_iter();
    let parts: Vec<_> = parts
        .map(|part| (part.get_type(schema).ok(), part))
        .collect();
    if !parts.iter().any(|(of, _)| *of == Some(MICROSECONDS)) {
        return false;
    }
    let mut changed = false;
    for (_, part) in parts
        .into_iter()
        .filter(|(of, _)| of.as_ref().is_some_and(other))
    {
        to_timestamp(part);
        changed = true;
    }
    changed
}

/// The same of a value that is compared with those of a subquery.
fn with_subquery(expr: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> Result<bool> {
    let [field] = &**subquery.subquery.schema().fields() else {
        return Ok(false);
    };
    let (Ok(left), right) = (expr.get_type(schema), field.data_type().clone()) else {
        return Ok(false);
    };
    if right == MICROSECONDS && is_date_or_text(&left) {
        to_timestamp(expr);
        return Ok(true);
    }
    if left == MICROSECONDS && is_date_or_text(&right) {
        let query = Arc::clone(&subquery.subquery);
        subquery.subquery = Arc::new(cast_columns(query, &[true])?);
        return Ok(true);
    }
    Ok(false)
}

/// The columns of a UNION, and those by which EXCEPT and INTERSECT join.
fn columns(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => {
            let width = union.schema.fields().len();
            let types = |column: usize| {
                let inputs = union.inputs.iter();
                inputs.filter_map(move |input| {
                    let fields = input.schema().fields();
                    Some(fields.get(column)?.data_type().clone())
                })
            };
            let meets: Vec<bool> = (0..width)
                .map(|column| {
                    types(column).any(|of| of == MICROSECONDS)
                        && types(column).any(|of| is_date_or_text(&of))
                })
                .collect();
            if !meets.contains(&true) {
                return Ok(Transformed::no(LogicalPlan::Union(union)));
            }
            let inputs = union.inputs.into_iter();
            let inputs = inputs.map(|input| Ok(Arc::new(cast_columns(input, &meets)?)));
            let inputs: Vec<_> = inputs.collect::<Result<_>>()?;
            let union = Union::try_new_with_loose_types(inputs)?;
            Ok(Transformed::yes(LogicalPlan::Union(union)))
        }
        LogicalPlan::Join(mut join) if join.join_constraint == JoinConstraint::On => {
            let schema = merge_schema(&[&join.left, &join.right]);
            let mut changed = false;
            for (left, right) in &mut join.on {
                changed |= aligned([left, right], &schema, is_date_or_text);
            }
            let join = LogicalPlan::Join(join);
            Ok(Transformed::new_transformed(join, changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The rows of `plan` with timestamps in the `chosen` columns.
fn cast_columns(plan: Arc<LogicalPlan>, chosen: &[bool]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().zip(chosen);
    let columns: Vec<Expr> = columns
        .map(|(column, is_chosen)| {
            let name = column.name.clone();
            let mut expr = Expr::Column(column);
            if *is_chosen {
                to_timestamp(&mut expr);
                expr = expr.alias(name);
            }
            expr
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
