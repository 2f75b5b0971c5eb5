//! The statistics of a data file in the Delta log: rows, and per column smallest, largest and
//! number of nulls.
//!
//! Readers skip files by them, so a bound must hold, and need not be tight. Only numbers, dates and
//! timestamps get bounds. Strings do not, although Delta has a place for them: files hold the rows
//! of an interval, or of a hash bucket, so that the strings of every file span the whole alphabet
//! and no reader could skip anything, while comparing them costs a fifth of the whole encoding.
//! Lists, bytes and booleans have none in other writers either.

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Schema, TimestampMicrosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use serde_json::{Map, Value, json};

/// Gathers the statistics of one file, batch by batch.
#[derive(Debug)]
pub(super) struct FileStats {
    rows: u64,
    columns: Vec<ColumnStats>,
}

#[derive(Debug)]
struct ColumnStats {
    name: String,
    data_type: DataType,
    nulls: u64,
    bounds: Bounds,
}

/// Smallest and largest value so far.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    None,
    Integer(i64, i64),
    /// In Arrow's total order: not a number is greater than any number.
    Float(f64, f64),
}

impl FileStats {
    /// Of no rows yet.
    pub(super) fn new(schema: &Schema) -> FileStats {
        let column = |field: &arrow::datatypes::FieldRef| ColumnStats {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nulls: 0,
            bounds: Bounds::None,
        };
        FileStats {
            rows: 0,
            columns: schema.fields().iter().map(column).collect(),
        }
    }

    /// Takes in the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (stats, column) in self.columns.iter_mut().zip(batch.columns()) {
            stats.nulls += column.null_count() as u64;
            stats.bounds = stats.bounds.and(Bounds::of(column));
        }
    }

    /// How many rows were taken in.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The statistics as Delta writes them, a JSON text.
    pub(super) fn to_json(&self) -> String {
        let (mut smallest, mut largest, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in self.columns.iter().filter(|c| !c.data_type.is_nested()) {
            nulls.insert(column.name.clone(), json!(column.nulls));
            if let Some((low, high)) = column.bounds.to_json(&column.data_type) {
                smallest.insert(column.name.clone(), low);
                largest.insert(column.name.clone(), high);
            }
        }
        json!({ "numRecords": self.rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls }).to_string()
    }
}

impl Bounds {
    fn of(array: &ArrayRef) -> Bounds {
        fn extremes<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<(T::Native, T::Native)> {
            let array = array.as_primitive::<T>();
            Some((min(array)?, max(array)?))
        }
        fn integer<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Bounds {
            extremes::<T>(array).map_or(Bounds::None, |(low, high)| {
                Bounds::Integer(low.into(), high.into())
            })
        }
        fn float<T: ArrowPrimitiveType<Native: Into<f64>>>(array: &ArrayRef) -> Bounds {
            extremes::<T>(array).map_or(Bounds::None, |(low, high)| {
                Bounds::Float(low.into(), high.into())
            })
        }
        match array.data_type() {
            DataType::Int64 => integer::<Int64Type>(array),
            DataType::Int32 => integer::<Int32Type>(array),
            DataType::Int16 => integer::<Int16Type>(array),
            DataType::Date32 => integer::<Date32Type>(array),
            DataType::Timestamp(_, _) => integer::<TimestampMicrosecondType>(array),
            DataType::Float64 => float::<Float64Type>(array),
            DataType::Float32 => float::<Float32Type>(array),
            _ => Bounds::None,
        }
    }

    fn and(self, other: Bounds) -> Bounds {
        match (self, other) {
            (Bounds::Integer(a, b), Bounds::Integer(c, d)) => Bounds::Integer(a.min(c), b.max(d)),
            (Bounds::Float(a, b), Bounds::Float(c, d)) => Bounds::Float(
                if c.is_lt(a) { c } else { a },
                if d.is_gt(b) { d } else { b },
            ),
            (Bounds::None, other) => other,
            (known, _) => known,
        }
    }

    /// Lower and upper bound; `None` where there is none, or JSON cannot say it (infinite, not a
    /// number, a year beyond the calendar).
    fn to_json(self, data_type: &DataType) -> Option<(Value, Value)> {
        match (self, data_type) {
            (Bounds::Integer(low, high), DataType::Date32) => {
                let text = |days: i64| {
                    let date = date32_to_datetime(i32::try_from(days).ok()?)?;
                    Some(json!(date.format("%Y-%m-%d").to_string()))
                };
                Some((text(low)?, text(high)?))
            }
            (Bounds::Integer(low, high), DataType::Timestamp(_, _)) => {
                // Milliseconds are what the format knows: down for the lower bound, up for the
                // upper.
                let text = |millis: i64| {
                    let at = timestamp_us_to_datetime(millis.checked_mul(1000)?)?;
                    Some(json!(at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
                };
                let up = high.div_euclid(1000) + i64::from(high.rem_euclid(1000) > 0);
                Some((text(low.div_euclid(1000))?, text(up)?))
            }
            (Bounds::Integer(low, high), _) => Some((json!(low), json!(high))),
            (Bounds::Float(low, high), _) => {
                let number = |f: f64| serde_json::Number::from_f64(f).map(Value::Number);
                Some((number(low)?, number(high)?))
            }
            (Bounds::None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date32Array, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
    };
    use std::sync::Arc;

    /// The statistics of these columns, taken in a row at a time.
    fn stats_of(columns: Vec<(&str, ArrayRef)>) -> Value {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, a)| (n, a, true)),
        )
        .unwrap();
        let mut stats = FileStats::new(&batch.schema());
        for row in 0..batch.num_rows() {
            stats.add(&batch.slice(row, 1));
        }
        serde_json::from_str(&stats.to_json()).unwrap()
    }

    #[test]
    fn bounds_and_nulls_of_every_column() {
        let at = vec![Some(-1), None, Some(1_577_934_245_000_001)];
        let found = stats_of(vec![
            (
                "ind",
                Arc::new(Int64Array::from(vec![Some(3), None, Some(-7)])),
            ),
            ("ratio", Arc::new(Float64Array::from(vec![0.5, 2.0, 1.0]))),
            (
                "name",
                Arc::new(StringViewArray::from(vec![Some("b"), Some("é"), None])),
            ),
            ("at", Arc::new(TimestampMicrosecondArray::from(at))),
            ("day", Arc::new(Date32Array::from(vec![0, 18_262, 1]))),
            ("empty", Arc::new(Int64Array::from(vec![None, None, None]))),
        ]);
        let expected = json!({
            "numRecords": 3,
            "minValues": {"ind": -7, "ratio": 0.5, "at": "1969-12-31T23:59:59.999Z", "day": "1970-01-01"},
            "maxValues": {"ind": 3, "ratio": 2.0, "at": "2020-01-02T03:04:05.001Z", "day": "2020-01-01"},
            "nullCount": {"ind": 1, "ratio": 0, "name": 1, "at": 1, "day": 0, "empty": 3},
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_json_cannot_say_has_no_bound() {
        for odd in [f64::NAN, f64::INFINITY] {
            let found = stats_of(vec![(
                "x",
                Arc::new(Float64Array::from(vec![1.0, odd, 2.0])),
            )]);
            assert_eq!(found["maxValues"], json!({}), "{odd}");
        }
    }
}
