//! `date_trunc` and `date_bin` for all times that microseconds reach.
//!
//! DataFusion computes them in nanoseconds, which end in 1677 and 2262; beyond, the one fails and
//! the other is null. The calendar repeats itself every 400 years, and so do the days of the week,
//! so a time far away is cut like the one in the same place of the cycle around 1970. Bins of a
//! fixed width are plain arithmetic. Within the reach of nanoseconds every answer is DataFusion's
//! own.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

/// Microseconds of 400 years.
const CYCLE: i64 = 146_097 * 86_400_000_000;
/// Times up to here, before and after 1970, are a cycle and a bit within what nanoseconds hold.
const REACHED: i64 = i64::MAX / 1000 - 366 * 86_400_000_000;

/// `date_trunc(part, time)`.
pub fn date_trunc() -> ScalarUDF {
    ScalarUDF::new_from_impl(Wide {
        narrow: datafusion_functions::datetime::date_trunc(),
        bins: false,
    })
}

/// `date_bin(interval, time [, origin])`.
pub fn date_bin() -> ScalarUDF {
    ScalarUDF::new_from_impl(Wide {
        narrow: datafusion_functions::datetime::date_bin(),
        bins: true,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wide {
    /// DataFusion's function.
    narrow: Arc<ScalarUDF>,
    /// Whether it is `date_bin`.
    bins: bool,
}

impl ScalarUDFImpl for Wide {
    fn name(&self) -> &str {
        self.narrow.name()
    }

    fn aliases(&self) -> &[String] {
        self.narrow.aliases()
    }

    fn signature(&self) -> &Signature {
        self.narrow.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.narrow.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.narrow.return_field_from_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.narrow.documentation()
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(times) = far_times(&args.args[1])? else {
            return self.narrow.invoke_with_args(args);
        };
        if self.bins
            && let Some(width) = fixed_width(&args.args[0])
            && let Some(origin) = origin(args.args.get(2))
        {
            return Ok(ColumnarValue::Array(bins(&times, width, origin)?));
        }
        if self.bins {
            return exec_err!(
                "date_bin by months, or by parts of a microsecond, of a time before 1677 or after 2262"
            );
        }
        // Each time moved into the cycle around 1970, cut there, and moved back.
        let cycles: Int64Array = times.unary(|time| (time + CYCLE / 2).div_euclid(CYCLE));
        let near: TimestampMicrosecondArray =
            arrow::compute::binary(&times, &cycles, |time, cycles| time - cycles * CYCLE)?;
        args.args[1] = ColumnarValue::Array(Arc::new(near));
        let rows = times.len();
        let cut = self.narrow.invoke_with_args(args)?.into_array(rows)?;
        let cut = cut.as_primitive::<TimestampMicrosecondType>();
        let moved: TimestampMicrosecondArray =
            arrow::compute::try_binary(cut, &cycles, |time, cycles| {
                let moved = cycles
                    .checked_mul(CYCLE)
                    .and_then(|by| time.checked_add(by));
                moved.ok_or_else(out_of_range)
            })?;
        Ok(ColumnarValue::Array(Arc::new(moved)))
    }
}

fn out_of_range() -> arrow::error::ArrowError {
    arrow::error::ArrowError::ComputeError("the time is out of range".to_owned())
}

/// Timestamps in microseconds, if one of them is beyond what nanoseconds hold. At the very ends of
/// time none is left to move.
fn far_times(times: &ColumnarValue) -> Result<Option<TimestampMicrosecondArray>> {
    if times.data_type() != DataType::Timestamp(TimeUnit::Microsecond, None) {
        return Ok(None);
    }
    let times: ArrayRef = match times {
        ColumnarValue::Array(times) => Arc::clone(times),
        ColumnarValue::Scalar(time) => time.to_array()?,
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let is_near = |time: &i64| (-REACHED..=REACHED).contains(time);
    if times.values().iter().all(is_near) {
        return Ok(None);
    }
    let near_enough = |time: i64| (i64::MIN + CYCLE..=i64::MAX - CYCLE).contains(&time);
    if times.iter().flatten().all(near_enough) {
        // What a null hides is arbitrary.
        let kept = times
            .iter()
            .map(|time| time.filter(|&time| near_enough(time)));
        return Ok(Some(kept.collect()));
    }
    exec_err!("the time is out of range")
}

/// The microseconds of an interval without months, if they are whole.
fn fixed_width(width: &ColumnarValue) -> Option<i128> {
    let ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(width))) = width else {
        return None;
    };
    let nanoseconds = i128::from(width.days) * 86_400_000_000_000 + i128::from(width.nanoseconds);
    (width.months == 0 && nanoseconds > 0 && nanoseconds % 1000 == 0).then_some(nanoseconds / 1000)
}

/// Where bins begin, in microseconds.
fn origin(origin: Option<&ColumnarValue>) -> Option<i128> {
    match origin {
        None => Some(0),
        Some(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(origin), _)))
            if origin % 1000 == 0 =>
        {
            Some(i128::from(origin / 1000))
        }
        Some(_) => None,
    }
}

fn bins(times: &TimestampMicrosecondArray, width: i128, origin: i128) -> Result<ArrayRef> {
    let bins: TimestampMicrosecondArray = times.try_unary(|time| {
        let begins = (i128::from(time) - origin).div_euclid(width) * width + origin;
        i64::try_from(begins).map_err(|_| out_of_range())
    })?;
    Ok(Arc::new(bins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Session;
    use arrow::array::RecordBatch;
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use datafusion_common::DFSchema;
    use proptest::prelude::*;

    /// What `sql` is over one row with the time `t`, as text.
    fn value(sql: &str, time: Option<i64>) -> String {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![time]));
        let batch = RecordBatch::try_from_iter_with_nullable([("t", times, true)]).unwrap();
        let schema = DFSchema::try_from(batch.schema()).unwrap();
        let session = Session::new();
        let expr = session.expression(sql, &schema).unwrap();
        let answer = session.physical(expr, &schema).unwrap().evaluate(&batch);
        match answer.and_then(|value| value.into_array(1)) {
            Ok(array) => {
                let options = FormatOptions::new().with_null("NULL");
                let shown = ArrayFormatter::try_new(&array, &options).unwrap();
                shown.value(0).to_string()
            }
            Err(error) => error.find_root().to_string(),
        }
    }

    /// 1500-06-15 12:34:56.789 in microseconds.
    const FAR: i64 = -14_817_468_303_211_000;

    #[test]
    fn times_beyond_nanoseconds_are_cut_like_others() {
        let cut = |part: &str| value(&format!("date_trunc('{part}', t)"), Some(FAR));
        assert_eq!(value("t", Some(FAR)), "1500-06-15T12:34:56.789");
        assert_eq!(cut("second"), "1500-06-15T12:34:56");
        assert_eq!(cut("hour"), "1500-06-15T12:00:00");
        assert_eq!(cut("week"), "1500-06-11T00:00:00");
        assert_eq!(cut("month"), "1500-06-01T00:00:00");
        assert_eq!(cut("quarter"), "1500-04-01T00:00:00");
        assert_eq!(cut("year"), "1500-01-01T00:00:00");
        let bin = value("date_bin(INTERVAL '15 minutes', t)", Some(FAR));
        assert_eq!(bin, "1500-06-15T12:30:00");
        let bin = value(
            "date_bin(INTERVAL '1 day', t, TIMESTAMP '2020-01-01 06:00:00')",
            Some(FAR),
        );
        assert_eq!(bin, "1500-06-15T06:00:00");
        assert_eq!(value("date_trunc('year', t)", None), "NULL");
        let months = value("date_bin(INTERVAL '1 month', t)", Some(FAR));
        assert!(months.contains("by months"), "{months}");
    }

    proptest! {
        #[test]
        fn the_cycle_changes_no_answer(
            time in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            part in prop::sample::select(vec!["second", "minute", "hour", "day", "week", "month", "quarter", "year"]),
        ) {
            let sql = format!("date_part('epoch', date_trunc('{part}', t))");
            let near: f64 = value(&sql, Some(time)).parse().unwrap();
            for cycles in [-2, 2] {
                let far: f64 = value(&sql, Some(time + cycles * CYCLE)).parse().unwrap();
                prop_assert_eq!(far, near + (cycles * CYCLE / 1_000_000) as f64);
            }
        }

        #[test]
        fn bins_are_those_of_datafusion(
            time in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            width in 1_i64..1_000_000_000,
        ) {
            let sql = format!("date_bin(INTERVAL '{width} milliseconds', t)");
            let stock = value(&sql, Some(time));
            let times = TimestampMicrosecondArray::from(vec![time]);
            let ours = bins(&times, i128::from(width) * 1000, 0).unwrap();
            let options = FormatOptions::new();
            let shown = ArrayFormatter::try_new(&ours, &options).unwrap();
            prop_assert_eq!(shown.value(0).to_string(), stock);
        }
    }
}
