//! An interval as often as a whole number says: `t + n * INTERVAL '15 minutes'`, for which
//! DataFusion has no operator.

use std::sync::Arc;

use arrow::array::{AsArray, IntervalMonthDayNanoArray};
use arrow::compute::try_binary;
use arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use arrow::error::ArrowError;
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The function of an interval and a number. It has no name in SQL, where `*` stands for it.
pub fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(IntervalTimes {
        signature: Signature::exact(vec![INTERVAL, DataType::Int64], Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalTimes {
    signature: Signature,
}

impl ScalarUDFImpl for IntervalTimes {
    fn name(&self) -> &str {
        "interval_times"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [interval, number] = args.args.as_slice() else {
            return internal_err!("interval_times takes an interval and a number");
        };
        let scalars = [interval, number].map(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let is_constant = scalars == [true, true];
        let rows = if is_constant { 1 } else { args.number_rows };
        let intervals = interval.clone().into_array(rows)?;
        let numbers = number.clone().into_array(rows)?;
        let products: IntervalMonthDayNanoArray = try_binary(
            intervals.as_primitive::<IntervalMonthDayNanoType>(),
            numbers.as_primitive::<Int64Type>(),
            |interval, number| times(interval, number).ok_or_else(|| overflow(number)),
        )?;
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&products, 0)?),
            false => ColumnarValue::Array(Arc::new(products)),
        })
    }
}

fn times(interval: IntervalMonthDayNano, number: i64) -> Option<IntervalMonthDayNano> {
    let small = |part: i32| i32::try_from(i64::from(part).checked_mul(number)?).ok();
    Some(IntervalMonthDayNano {
        months: small(interval.months)?,
        days: small(interval.days)?,
        nanoseconds: interval.nanoseconds.checked_mul(number)?,
    })
}

fn overflow(number: i64) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("Overflow: {number} times an interval is too long"))
}
