//! GROUP BY and DISTINCT.
//!
//! An aggregation reads columns only, so whatever its calls compute with (arguments, filters,
//! orders) is made a column below it first.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Schema};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{AggregateFunction, Cast, NullTreatment, Sort as SortExpr};
use datafusion_expr::{self as logical, Expr as LogicalExpr, ExprSchemable};

use super::expr::{number, sort_options};
use super::map::{casts, nullable};
use super::{Lowered, Lowering};
use crate::definition::DefinitionError;
use crate::plan::{Aggregate, Aggregation, Fraction, Function, Op};

/// An aggregate call, its expressions still logical.
struct Call {
    function: Function,
    argument: Option<LogicalExpr>,
    filter: Option<LogicalExpr>,
    order: Vec<SortExpr>,
    distinct: bool,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &logical::Aggregate) -> Lowered {
        if aggregate
            .group_expr
            .iter()
            .any(|expr| matches!(expr, LogicalExpr::GroupingSet(_)))
        {
            return self.refuse(
                &["ROLLUP", "CUBE", "GROUPING"],
                "ROLLUP, CUBE and GROUPING SETS are not maintained",
                "write one GROUP BY view for each set and UNION ALL them",
            );
        }
        let input = self.node(&aggregate.input)?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.call(expr, aggregate.input.schema()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut exprs: Vec<&LogicalExpr> = aggregate.group_expr.iter().collect();
        for call in &calls {
            exprs.extend(call.argument.as_ref());
            exprs.extend(call.filter.as_ref());
            exprs.extend(call.order.iter().map(|sort| &sort.expr));
        }
        let (input, places) = self.compute(input, &aggregate.input, &exprs)?;
        let mut places = places.into_iter();
        let mut next = || places.next().expect("one place for each expression");
        let group: Vec<usize> = aggregate.group_expr.iter().map(|_| next()).collect();
        let schema = nullable(aggregate.schema.as_arrow());
        let mut exact = Vec::from_iter(schema.fields().iter().map(|field| field.as_ref().clone()));
        let mut aggregates = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            let argument = call.argument.as_ref().map(|_| next());
            let filter = call.filter.as_ref().map(|_| next());
            let order = call
                .order
                .iter()
                .map(|sort| (next(), sort_options(sort)))
                .collect();
            let output = &mut exact[group.len() + index];
            let data_type = wide(&call.function, output.data_type());
            *output = output.clone().with_data_type(data_type);
            aggregates.push(Aggregate {
                function: call.function,
                argument,
                filter,
                order,
                distinct: call.distinct,
                output: output.clone(),
            });
        }
        let aggregation = Aggregation { group, aggregates };
        let exact = Arc::new(Schema::new(exact));
        let casts = casts(&exact, &schema);
        let node = self.nodes.add(Op::Aggregate { input, aggregation }, exact);
        Ok(match casts {
            Some(map) => self.nodes.map(node, map),
            None => node,
        })
    }

    /// Distinct rows are an aggregation over all columns that computes nothing.
    pub(super) fn distinct(&mut self, distinct: &logical::Distinct) -> Lowered {
        let logical::Distinct::All(input) = distinct else {
            return self.refuse(
                &["DISTINCT"],
                "DISTINCT ON is not maintained",
                "number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1",
            );
        };
        let input = self.node(input)?;
        let schema = Arc::clone(self.nodes.schema(input));
        let aggregation = Aggregation {
            group: (0..schema.fields().len()).collect(),
            aggregates: Vec::new(),
        };
        Ok(self.nodes.add(Op::Aggregate { input, aggregation }, schema))
    }

    fn call(&self, expr: &LogicalExpr, input: &DFSchema) -> Result<Call, DefinitionError> {
        let LogicalExpr::AggregateFunction(AggregateFunction { func, params }) =
            expr.clone().unalias()
        else {
            return self.refuse(
                &["GROUP"],
                format!("`{expr}` is not an aggregate"),
                "aggregate columns with count, sum, ..",
            );
        };
        let name = func.name();
        let mut order = params.order_by;
        let mut argument = params.args.first().cloned();
        let function = match name {
            "count" => {
                // Of a constant: it counts rows, unless the constant is null.
                if let Some(value) = argument
                    .as_ref()
                    .and_then(constant)
                    .filter(|_| !params.distinct)
                    && !value.is_null()
                {
                    argument = None;
                }
                Function::Count
            }
            "sum" => Function::Sum,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            "median" => Function::Median,
            "percentile_cont" | "percentile_disc" => {
                let fraction = self.fraction(name, &params.args)?;
                let mut descending = false;
                if let Some(sort) = order.first() {
                    argument = Some(sort.expr.clone());
                    descending = !sort.asc;
                }
                if name == "percentile_cont" {
                    Function::PercentileCont {
                        fraction,
                        descending,
                    }
                } else {
                    Function::PercentileDisc {
                        fraction,
                        descending,
                    }
                }
            }
            "bool_and" => Function::BoolAnd,
            "bool_or" => Function::BoolOr,
            "array_agg" => Function::ArrayAgg,
            "string_agg" => Function::StringAgg(self.separator(name, &params.args)?),
            _ => {
                return self.refuse(
                    &[name],
                    format!("the aggregate `{name}` is not maintained"),
                    "use count, sum, avg, min, max, median, percentile_cont, percentile_disc, bool_and, bool_or, array_agg or string_agg",
                );
            }
        };
        if !matches!(function, Function::ArrayAgg | Function::StringAgg(_)) {
            order.clear();
        }
        let computes = matches!(
            function,
            Function::Sum | Function::Avg | Function::Median | Function::PercentileCont { .. }
        );
        if computes {
            argument = argument.map(|argument| computable(argument, input));
        }
        if params.null_treatment == Some(NullTreatment::IgnoreNulls)
            && matches!(function, Function::ArrayAgg)
        {
            return self.refuse(
                &["IGNORE"],
                "IGNORE NULLS is not maintained",
                "write FILTER (WHERE column IS NOT NULL)",
            );
        }
        Ok(Call {
            function,
            argument,
            filter: params.filter.map(|filter| *filter),
            order,
            distinct: params.distinct,
        })
    }

    /// Which percentile: the value comes first, and then the fraction, however the call is written.
    fn fraction(&self, name: &str, args: &[LogicalExpr]) -> Result<Fraction, DefinitionError> {
        let fraction = args
            .get(1)
            .and_then(constant)
            .and_then(|value| number(&value))
            .and_then(Fraction::new);
        match fraction {
            Some(fraction) => Ok(fraction),
            None => self.refuse(
                &[name],
                format!("{name} wants a constant fraction between 0 and 1"),
                "write percentile_disc(0.5) WITHIN GROUP (ORDER BY column)",
            ),
        }
    }

    /// What stands between the values of `string_agg`.
    fn separator(&self, name: &str, args: &[LogicalExpr]) -> Result<String, DefinitionError> {
        let between = args
            .get(1)
            .and_then(constant)
            .and_then(|value| value.try_as_str().flatten().map(str::to_owned));
        match between {
            Some(between) => Ok(between),
            None => self.refuse(
                &[name],
                "string_agg wants a constant text between the values",
                "write string_agg(column, ', ' ORDER BY column)",
            ),
        }
    }
}

/// The type that holds every answer of an aggregate of this type. Cast to the aggregate's own type
/// afterwards, one that is too large is an error of its row.
fn wide(function: &Function, answer: &DataType) -> DataType {
    let whole = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);
    match (function, answer) {
        (Function::Sum | Function::Avg, DataType::Duration(_)) => whole,
        (Function::Sum, DataType::Decimal128(_, scale)) => {
            DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)
        }
        (Function::Sum, integer) if integer.is_integer() => whole,
        (_, other) => other.clone(),
    }
}

/// An argument in a type that can be computed with: places of a ranking and lengths of lists are
/// unsigned, and differences of timestamps count some unit.
fn computable(argument: LogicalExpr, input: &DFSchema) -> LogicalExpr {
    let to = |of, data_type| LogicalExpr::Cast(Cast::new(Box::new(of), data_type));
    match argument.get_type(input) {
        Ok(DataType::Float32 | DataType::Float16) => to(argument, DataType::Float64),
        Ok(DataType::Int64 | DataType::Int32) | Err(_) => argument,
        Ok(integer) if integer.is_integer() => to(argument, DataType::Int64),
        Ok(DataType::Duration(_)) => {
            // Decimals have exact averages.
            to(to(argument, DataType::Int64), DataType::Decimal128(19, 0))
        }
        Ok(_) => argument,
    }
}

/// The value of a literal, with a cast around it or without.
fn constant(expr: &LogicalExpr) -> Option<ScalarValue> {
    match expr {
        LogicalExpr::Literal(value, _) => Some(value.clone()),
        LogicalExpr::Cast(cast) => match cast.expr.as_ref() {
            LogicalExpr::Literal(value, _) => Some(value.clone()),
            _ => None,
        },
        _ => None,
    }
}
