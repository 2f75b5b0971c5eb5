//! DataFusion's `date_part`, with the year of a timestamp by arithmetic alone, and the seconds of
//! long differences.
//!
//! Years are what views group and filter by. DataFusion makes a calendar date of every timestamp to
//! look at its year, which takes ten times as long as the division and the few multiplications that
//! the year needs. It counts the seconds of a difference of times in 32 bits, so that 68 years are
//! null, and loses the fraction of those below zero. Everything else is DataFusion's own function,
//! and so is every answer: a year that the calendar of DataFusion cannot reach is left to it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::Result;
use datafusion_expr::preimage::PreimageResult;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;
/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// After so many days, and so many years, the calendar repeats itself.
const DAYS_A_CYCLE: i64 = 146_097;
const YEARS_A_CYCLE: i64 = 400;
/// Cycles that are added, so that no day is negative, and taken off again.
const CYCLES_ADDED: i64 = 600;
/// Days around 1970 that calendars reach, and that leave room in 32 bits: some 200,000 years.
const DAYS_REACHED: i64 = 73_000_000;

/// `date_part(part, value)`.
pub fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(DatePart {
        whole: datafusion_functions::datetime::date_part(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart {
    /// DataFusion's function.
    whole: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DatePart {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn aliases(&self) -> &[String] {
        self.whole.aliases()
    }

    fn signature(&self) -> &Signature {
        self.whole.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.whole.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.whole.return_field_from_args(args)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        context: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.whole.preimage(args, literal, context)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [ColumnarValue::Scalar(part), ColumnarValue::Array(times)] = args.args.as_slice()
            && let Some(Some(part)) = part.try_as_str()
            && part.eq_ignore_ascii_case("year")
            && let Some(years) = years(times)
        {
            return Ok(ColumnarValue::Array(years));
        }
        if let [
            ColumnarValue::Scalar(part),
            ColumnarValue::Array(differences),
        ] = args.args.as_slice()
            && let Some(Some(part)) = part.try_as_str()
            && part.eq_ignore_ascii_case("epoch")
            && let DataType::Duration(unit) = differences.data_type()
        {
            return Ok(ColumnarValue::Array(seconds(differences, *unit)?));
        }
        self.whole.invoke_with_args(args)
    }
}

/// The differences of times in seconds.
fn seconds(differences: &ArrayRef, unit: TimeUnit) -> Result<ArrayRef> {
    let a_second = match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    };
    let counts = cast(differences, &DataType::Int64)?;
    let seconds: Float64Array = counts
        .as_primitive::<Int64Type>()
        .unary(|count| count as f64 / a_second);
    Ok(Arc::new(seconds))
}

/// The years of a column of timestamps without zone; `None` if it is another column, or has a year
/// out of reach.
fn years(times: &ArrayRef) -> Option<ArrayRef> {
    if *times.data_type() != DataType::Timestamp(TimeUnit::Microsecond, None) {
        return None;
    }
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let reached =
        |&time: &i64| (-DAYS_REACHED..=DAYS_REACHED).contains(&time.div_euclid(MICROSECONDS_A_DAY));
    // What a null hides is arbitrary, and may as well be out of reach.
    if !times.values().iter().all(reached) {
        return None;
    }
    let years: Int32Array = times.unary(year);
    Some(Arc::new(years))
}

/// The year of a moment in microseconds since 1970.
///
/// The year begins in March here, so that leap days are last. C. Neri, L. Schneider, "Euclidean
/// affine functions and their application to calendar algorithms", Software: Practice and
/// Experience 53 (2023), figure 12: divisions become multiplications of 32 bits.
#[inline]
fn year(time: i64) -> i32 {
    const SHIFT: i64 = DAYS_BEFORE_1970 + CYCLES_ADDED * DAYS_A_CYCLE;
    let day = (time.div_euclid(MICROSECONDS_A_DAY) + SHIFT) as u32;
    let of_centuries = 4 * day + 3;
    let century = of_centuries / DAYS_A_CYCLE as u32;
    let of_years = u64::from((of_centuries % DAYS_A_CYCLE as u32) | 3) * 2_939_745;
    let year_of_century = (of_years >> 32) as u32;
    let day_of_year = of_years as u32 / 2_939_745 / 4;
    let is_january_or_february = day_of_year >= 306;
    let year = 100 * century + year_of_century + u32::from(is_january_or_february);
    year as i32 - (CYCLES_ADDED * YEARS_A_CYCLE) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DurationMicrosecondArray, TimestampMicrosecondArray};
    use arrow::datatypes::Field;
    use datafusion_common::ScalarValue;
    use datafusion_common::config::ConfigOptions;
    use proptest::prelude::*;

    fn of(function: &ScalarUDF, part: &str, times: &ArrayRef) -> ArrayRef {
        let part = ScalarValue::Utf8(Some(part.to_owned()));
        let field = |kind| Arc::new(Field::new("argument", kind, true));
        let fields = vec![field(DataType::Utf8), field(times.data_type().clone())];
        let result = function
            .return_field_from_args(ReturnFieldArgs {
                arg_fields: &fields,
                scalar_arguments: &[Some(&part), None],
            })
            .unwrap();
        let args = ScalarFunctionArgs {
            args: vec![
                ColumnarValue::Scalar(part),
                ColumnarValue::Array(Arc::clone(times)),
            ],
            arg_fields: fields,
            number_rows: times.len(),
            return_field: result,
            config_options: Arc::new(ConfigOptions::default()),
        };
        let answer = function.invoke_with_args(args).unwrap();
        answer.to_array(times.len()).unwrap()
    }

    #[test]
    fn a_difference_of_times_has_all_its_seconds() {
        let differences: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![
            Some(-1_500_000),
            Some(100 * 366 * 86_400_000_000),
            None,
        ]));
        let seconds = of(&function(), "epoch", &differences);
        let expected: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(-1.5),
            Some(100.0 * 366.0 * 86_400.0),
            None,
        ]));
        assert_eq!(&seconds, &expected);
    }

    proptest! {
        #[test]
        fn it_answers_as_the_one_of_datafusion(
            times in prop::collection::vec(
                prop_oneof![
                    Just(None),
                    any::<i64>().prop_map(Some),
                    (-6_000_000_000_000_000_i64..6_000_000_000_000_000).prop_map(Some),
                    // The days around the turns of years.
                    (-3_000_i64..3_000, -2_i64..3, 0_i64..MICROSECONDS_A_DAY)
                        .prop_map(|(year, day, time)| Some((year * 146_097 / 400 + day - 719_528) * MICROSECONDS_A_DAY + time)),
                ],
                0..50,
            ),
            part in prop::sample::select(vec!["year", "YEAR", "month", "dow", "second", "epoch"]),
        ) {
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
            let stock = datafusion_functions::datetime::date_part();
            prop_assert_eq!(&of(&function(), part, &times), &of(&stock, part, &times));
        }
    }
}
