//! CAST as PostgreSQL has it.
//!
//! DataFusion cuts off a fraction where a number becomes an integer, and compares what a cast
//! rounds with what it rounded: of `CAST(price AS DECIMAL(12, 1)) = 2.3` it makes `price = 2.30`.
//! Its texts of times have a `T` in the middle. Here such a cast becomes a call of [`Conversion`],
//! which rounds (a DOUBLE to the even neighbour where it is in the middle, a decimal away from
//! zero) and which no rule takes apart.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The name of the conversion of a time to text, which never fails.
pub const TEXT_OF_TIME: &str = "text_of_time";

/// The plan, its types resolved, with PostgreSQL's casts.
pub(super) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let settled = settled_in(expr, &schema)?;
            Ok(settled.update_data(|expr| name.restore(expr)))
        })
    })
    .data()
}

/// An expression over columns of `schema`, its types resolved, with PostgreSQL's casts.
pub(super) fn settled_in(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        let (arg, to, is_lenient) = match &part {
            Expr::Cast(cast) => (&cast.expr, cast.field.data_type(), false),
            Expr::TryCast(cast) => (&cast.expr, cast.field.data_type(), true),
            _ => return Ok(Transformed::no(part)),
        };
        // The type of a lambda's argument is not known here.
        let is_own = arg.get_type(schema).is_ok_and(|from| is_own(&from, to));
        if !is_own {
            return Ok(Transformed::no(part));
        }
        let function = ScalarUDF::new_from_impl(Conversion::new(to.clone(), is_lenient));
        let call = ScalarFunction::new_udf(Arc::new(function), vec![arg.as_ref().clone()]);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    })
}

/// Whether a cast means something else than Arrow's, or than DataFusion's rules make of it.
fn is_own(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Float32 | DataType::Float64, to) => to.is_integer(),
        (DataType::Decimal128(_, scale), to) if to.is_integer() => *scale > 0,
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => to < from,
        (DataType::Timestamp(_, None), to) => to.is_string(),
        _ => false,
    }
}

/// A cast to one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    to: DataType,
    /// Whether it is null where it fails.
    is_lenient: bool,
    signature: Signature,
}

impl Conversion {
    fn new(to: DataType, is_lenient: bool) -> Conversion {
        Conversion {
            to,
            is_lenient,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }

    fn of(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let options = CastOptions {
            safe: self.is_lenient,
            ..CastOptions::default()
        };
        let whole: ArrayRef = match array.data_type() {
            DataType::Float64 => {
                let numbers = array.as_primitive::<Float64Type>();
                Arc::new(numbers.unary::<_, Float64Type>(f64::round_ties_even))
            }
            DataType::Float32 => {
                let numbers = array.as_primitive::<Float32Type>();
                Arc::new(numbers.unary::<_, Float32Type>(f32::round_ties_even))
            }
            DataType::Decimal128(digits, _) if self.to.is_integer() => {
                cast_with_options(array, &DataType::Decimal128(*digits, 0), &options)?
            }
            DataType::Timestamp(..) => {
                let texts = cast(array, &DataType::Utf8View)?;
                Arc::new(
                    texts
                        .as_string_view()
                        .iter()
                        .map(written)
                        .collect::<StringViewArray>(),
                )
            }
            _ => Arc::clone(array),
        };
        Ok(cast_with_options(&whole, &self.to, &options)?)
    }
}

/// A time as PostgreSQL writes it: a blank between date and time, and no zeros at the end of a
/// fraction.
fn written(time: Option<&str>) -> Option<String> {
    let time = time?.replacen('T', " ", 1);
    Some(match time.contains('.') {
        true => time.trim_end_matches('0').to_owned(),
        false => time,
    })
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        match self.to.is_string() {
            true => TEXT_OF_TIME,
            false => "rounded",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = self.is_lenient || args.arg_fields.iter().any(|arg| arg.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(array) => ColumnarValue::Array(self.of(array)?),
            ColumnarValue::Scalar(value) => {
                let converted = self.of(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Session;
    use arrow::array::{Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};

    /// What `sql` is over one row with a DOUBLE `d`, a decimal `m` and a TIMESTAMP `t`, as text.
    fn value(sql: &str, number: f64) -> String {
        let d: ArrayRef = Arc::new(Float64Array::from(vec![number]));
        let m = cast(&d, &DataType::Decimal128(12, 2)).unwrap();
        let t: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![(number * 1e6) as i64]));
        let n: ArrayRef = Arc::new(Int64Array::from(vec![number as i64]));
        let batch = RecordBatch::try_from_iter([("d", d), ("m", m), ("t", t), ("n", n)]).unwrap();
        let schema = DFSchema::try_from(batch.schema()).unwrap();
        let session = Session::new();
        let expr = session.expression(sql, &schema).unwrap();
        let value = session
            .physical(expr, &schema)
            .unwrap()
            .evaluate(&batch)
            .and_then(|value| value.into_array(1))
            .and_then(|array| ScalarValue::try_from_array(&array, 0));
        match value {
            Ok(value) => value.to_string(),
            Err(error) => error.find_root().to_string(),
        }
    }

    #[test]
    fn a_number_becomes_the_nearest_integer() {
        for (number, double, decimal) in [
            (0.5, "0", "1"),
            (1.5, "2", "2"),
            (2.5, "2", "3"),
            (-2.5, "-2", "-3"),
            (2.25, "2", "2"),
            (-0.75, "-1", "-1"),
        ] {
            assert_eq!(value("CAST(d AS BIGINT)", number), double, "{number}");
            assert_eq!(value("CAST(d AS INT)", number), double, "{number}");
            assert_eq!(value("TRY_CAST(d AS SMALLINT)", number), double, "{number}");
            assert_eq!(value("CAST(m AS BIGINT)", number), decimal, "{number}");
            assert_eq!(value("CAST(m AS INT)", number), decimal, "{number}");
        }
        assert!(value("CAST(d * 1e300 AS BIGINT)", 1.0).contains("Can't cast"));
        assert_eq!(value("TRY_CAST(d * 1e300 AS BIGINT)", 1.0), "NULL");
        assert_eq!(value("CAST(1.5 AS BIGINT)", 0.0), "2");
    }

    #[test]
    fn what_a_cast_rounded_is_compared_as_it_was_rounded() {
        for condition in [
            "CAST(m AS DECIMAL(12, 1)) = CAST('2.3' AS DECIMAL(12, 1))",
            "CAST(m AS DECIMAL(12, 1)) >= CAST('2.3' AS DECIMAL(12, 1))",
            "CAST(m AS DECIMAL(12, 0)) = 2",
            "CAST(m AS BIGINT) = 2",
            "CAST(m AS BIGINT) IN (2, 4)",
        ] {
            assert_eq!(value(condition, 2.25), "true", "{condition}");
        }
    }

    #[test]
    fn a_time_is_written_as_in_postgresql() {
        assert_eq!(value("CAST(t AS TEXT)", 86_399.5), "1970-01-01 23:59:59.5");
        assert_eq!(value("CAST(t AS VARCHAR)", 0.0), "1970-01-01 00:00:00");
        assert_eq!(value("'at ' || t", 10.0), "at 1970-01-01 00:00:10");
        assert_eq!(value("CAST(CAST(t AS DATE) AS TEXT)", 0.0), "1970-01-01");
    }
}
