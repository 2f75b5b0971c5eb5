//! Arithmetic as SQL has it.
//!
//! DataFusion's integers wrap around where they overflow, and its floats are those of the
//! processor: there are two zeros, and many values that are not a number. Keys, orders and
//! comparisons then disagree about which values are equal. In SQL what overflows is an error, zero
//! is one value, and so is NaN, which equals itself and is greater than every number.
//!
//! Both are seen to in one place, where expressions are made: integer arithmetic is checked, and
//! whatever computes a float returns its zero without a sign and its NaN in one form
//! ([`one_zero`]). The decoder reads `-0.0` as zero too, so a column never holds anything else, and
//! Arrow's total order of floats is SQL's.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, DecimalType, Float32Type, Float64Type,
    Schema,
};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::expressions::{
    BinaryExpr, CastExpr, Literal, NegativeExpr, TryCastExpr,
};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// `expr`, which reads columns of `schema`, with SQL's arithmetic.
pub fn exact(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let exact = expr.transform_up(|node| {
        if let Some(literal) = node.downcast_ref::<Literal>() {
            return Ok(match one_zero_scalar(literal.value()) {
                Some(value) => Transformed::yes(Arc::new(Literal::new(value)) as _),
                None => Transformed::no(node),
            });
        }
        // The type of a lambda's argument is not known here, and neither is that of what is
        // computed with it.
        let Ok(data_type) = node.data_type(schema) else {
            return Ok(Transformed::no(node));
        };
        let node = match checked(&node, &data_type)? {
            Some(checked) => Transformed::yes(checked),
            None => Transformed::no(node),
        };
        let settle = computes(&node.data, schema)
            && matches!(
                data_type,
                DataType::Float64 | DataType::Float32 | DataType::Decimal128(MOST_DIGITS, _)
            );
        Ok(match settle {
            true => Transformed::yes(Arc::new(Settled { arg: node.data }) as _),
            false => node,
        })
    });
    exact.map(|exact| exact.data)
}

/// Whether a float that `expr` returns may be one that no column and no other expression has, or a
/// decimal one with more digits than its type.
fn computes(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let casts_integer = |cast: &CastExpr| {
        let from = cast.expr().data_type(schema);
        from.is_ok_and(|from| from.is_integer())
    };
    expr.is::<BinaryExpr>()
        || expr.is::<NegativeExpr>()
        || expr.is::<TryCastExpr>()
        || expr.is::<ScalarFunctionExpr>()
        || expr
            .downcast_ref::<CastExpr>()
            .is_some_and(|cast| !casts_integer(cast))
}

/// `expr` with an error where it overflows; `None` if it cannot.
fn checked(
    expr: &Arc<dyn PhysicalExpr>,
    data_type: &DataType,
) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let operation = |left: &Arc<dyn PhysicalExpr>, op: Operator, right: &Arc<dyn PhysicalExpr>| {
        let operation = BinaryExpr::new(Arc::clone(left), op, Arc::clone(right));
        Arc::new(operation.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>
    };
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let op = *binary.op();
        let overflows = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
            && (data_type.is_integer() || data_type.is_decimal());
        return Ok(overflows.then(|| operation(binary.left(), op, binary.right())));
    }
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>()
        && data_type.is_integer()
    {
        let zero: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::new_zero(data_type)?));
        return Ok(Some(operation(&zero, Operator::Minus, negative.arg())));
    }
    Ok(None)
}

/// The digits of the widest decimals. Sums and products of others are given a type that holds them.
const MOST_DIGITS: u8 = DECIMAL128_MAX_PRECISION;

/// A computed float, its zero without a sign and its NaN in one form; or a computed decimal, an
/// error if it has too many digits.
#[derive(Debug, Eq)]
struct Settled {
    arg: Arc<dyn PhysicalExpr>,
}

/// Whether `expr` only brings what it computes over into the one form.
pub fn is_settled(expr: &dyn PhysicalExpr) -> bool {
    expr.is::<Settled>()
}

impl PartialEq for Settled {
    fn eq(&self, other: &Self) -> bool {
        self.arg.eq(&other.arg)
    }
}

impl Hash for Settled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.arg.hash(state);
    }
}

impl Display for Settled {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.arg.fmt(f)
    }
}

impl PhysicalExpr for Settled {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.arg.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.arg.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        Ok(match self.arg.evaluate(batch)? {
            ColumnarValue::Array(array) => {
                if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
                    decimals.validate_decimal_precision(decimals.precision())?;
                }
                ColumnarValue::Array(one_zero(array))
            }
            ColumnarValue::Scalar(value) => {
                if let ScalarValue::Decimal128(Some(number), precision, scale) = value {
                    Decimal128Type::validate_decimal_precision(number, precision, scale)?;
                }
                ColumnarValue::Scalar(one_zero_scalar(&value).unwrap_or(value))
            }
        })
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.arg]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let arg = children.swap_remove(0);
        Ok(Arc::new(Settled { arg }))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.arg.fmt_sql(f)
    }
}

/// The same values, where they are floats: zero without a sign, NaN in one form.
pub fn one_zero(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => changed::<Float64Type>(array, one_zero_f64),
        DataType::Float32 => changed::<Float32Type>(array, one_zero_f32),
        _ => array,
    }
}

/// Changes values in place if nobody else reads them.
fn changed<T: ArrowPrimitiveType>(
    array: ArrayRef,
    change: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let values: PrimitiveArray<T> = array.as_primitive().clone();
    drop(array);
    match values.unary_mut(&change) {
        Ok(values) => Arc::new(values),
        Err(shared) => Arc::new(shared.unary::<_, T>(change)),
    }
}

fn one_zero_scalar(value: &ScalarValue) -> Option<ScalarValue> {
    match *value {
        ScalarValue::Float64(Some(number)) => {
            Some(ScalarValue::Float64(Some(one_zero_f64(number))))
        }
        ScalarValue::Float32(Some(number)) => {
            Some(ScalarValue::Float32(Some(one_zero_f32(number))))
        }
        _ => None,
    }
}

/// The number, a zero without its sign, a NaN as the one that sorts behind all numbers.
pub fn one_zero_f64(number: f64) -> f64 {
    if number.is_nan() {
        f64::NAN
    } else {
        number + 0.0
    }
}

fn one_zero_f32(number: f32) -> f32 {
    if number.is_nan() {
        f32::NAN
    } else {
        number + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Session;
    use arrow::array::{Float64Array, Int64Array};
    use datafusion_common::DFSchema;

    /// What `sql` is over one row with these columns, as text.
    fn value(sql: &str) -> String {
        let d: ArrayRef = Arc::new(Float64Array::from(vec![0.0]));
        let most: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let least: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
        let batch =
            RecordBatch::try_from_iter([("d", d), ("most", most), ("least", least)]).unwrap();
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
            Ok(ScalarValue::Float64(Some(number))) if number.is_nan() => {
                format!("positive {} NaN", number.is_sign_positive())
            }
            Ok(value) => value.to_string(),
            Err(error) => error.find_root().to_string(),
        }
    }

    #[test]
    fn zero_has_no_sign() {
        for zero in [
            "-d",
            "d * -1",
            "-0.0 * 1e0",
            "round(d - 0.1e0)",
            "CAST('-0' AS DOUBLE)",
            "CASE WHEN d = 0 THEN -d END",
        ] {
            assert_eq!(value(zero), "0", "{zero}");
        }
        assert_eq!(value("nullif(-d, 0)"), "NULL");
        assert_eq!(value("CASE -d WHEN 0 THEN 'zero' ELSE 'not' END"), "zero");
        assert_eq!(value("1 / -d"), "inf");
    }

    #[test]
    fn not_a_number_is_one_value() {
        for nan in [
            "d / d",
            "-(d / d)",
            "CAST('NaN' AS DOUBLE)",
            "CAST('-NaN' AS DOUBLE)",
        ] {
            assert_eq!(value(nan), "positive true NaN", "{nan}");
        }
        assert_eq!(value("d / d = -(d / d)"), "true");
        assert_eq!(value("d / d > 1e300"), "true");
    }

    #[test]
    fn integers_that_overflow_are_errors() {
        for sum in ["most + 1", "least - 1", "most * 2", "-least", "abs(least)"] {
            assert!(value(sum).contains("verflow"), "{sum} = {}", value(sum));
        }
        let decimal = |digit: u8| format!("CAST('{digit}{}' AS DECIMAL(38, 0))", "0".repeat(37));
        let sum = value(&format!("{} + {}", decimal(9), decimal(6)));
        assert!(sum.contains("too large"), "{sum}");
        assert_eq!(value("most - 1"), (i64::MAX - 1).to_string());
        assert_eq!(value("-most"), (-i64::MAX).to_string());
        assert_eq!(value("least + 0"), i64::MIN.to_string());
    }
}
