//! `sum` and `avg`, exactly.
//!
//! Integers add up in 128 bits, decimals in 256, which no number of rows fills; floats in
//! [`ExactSum`], so that adding and retracting in any order ends at the same bits. An average is
//! the exact sum, rounded once, divided by the count.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Decimal256Array, Float64Array, PrimitiveArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, i256,
};
use arrow::error::ArrowError;

use super::accumulator::{Accumulator, Input};
use crate::operator::exact_sum::ExactSum;
use crate::segmented::Segmented;
use crate::sql::numbers::one_zero_f64;

/// The state of `sum(value_type)`.
pub fn sum(value_type: &DataType, output: &DataType) -> Result<Box<dyn Accumulator>, ArrowError> {
    make(value_type, output, false)
}

/// The state of `avg(value_type)`.
pub fn average(
    value_type: &DataType,
    output: &DataType,
) -> Result<Box<dyn Accumulator>, ArrowError> {
    make(value_type, output, true)
}

fn make(
    value_type: &DataType,
    output: &DataType,
    average: bool,
) -> Result<Box<dyn Accumulator>, ArrowError> {
    let scale = match value_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    let shape = Shape {
        output: output.clone(),
        scale,
        average,
    };
    Ok(match value_type {
        DataType::Int64 => Box::new(Sum::<Int64Type, i128>::new(shape)),
        DataType::Int32 => Box::new(Sum::<Int32Type, i128>::new(shape)),
        DataType::Float64 => Box::new(Sum::<Float64Type, ExactSum>::new(shape)),
        DataType::Decimal128(_, _) => Box::new(Sum::<Decimal128Type, i256>::new(shape)),
        other => {
            let name = if average { "avg" } else { "sum" };
            return Err(ArrowError::NotYetImplemented(format!(
                "{name} of {other}; cast the column to BIGINT or DOUBLE"
            )));
        }
    })
}

struct Shape {
    output: DataType,
    /// The digits behind the point of the values.
    scale: i8,
    average: bool,
}

/// The quotient, rounded half away from zero.
fn divide(total: i256, count: i64) -> Option<i128> {
    let count = i256::from_i128(i128::from(count));
    let half = count.wrapping_div(i256::from_i128(2));
    let rounding = if total.is_negative() {
        half.wrapping_neg()
    } else {
        half
    };
    total.wrapping_add(rounding).wrapping_div(count).to_i128()
}

/// A total to which multiples of values are added.
trait Total<V>: Default + Clone {
    fn add(&mut self, value: V, times: i64);
    fn rounded(&self) -> f64;
    fn integer(&self) -> i256;
    fn heap_bytes(&self) -> usize;
}

impl<V: Into<i128>> Total<V> for i128 {
    fn add(&mut self, value: V, times: i64) {
        *self = self.wrapping_add(value.into().wrapping_mul(i128::from(times)));
    }
    fn rounded(&self) -> f64 {
        *self as f64
    }
    fn integer(&self) -> i256 {
        i256::from_i128(*self)
    }
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Total<i128> for i256 {
    fn add(&mut self, value: i128, times: i64) {
        let times = i256::from_i128(i128::from(times));
        *self = self.wrapping_add(i256::from_i128(value).wrapping_mul(times));
    }
    fn rounded(&self) -> f64 {
        // Averages of decimals are decimals, so nobody asks.
        self.to_i128().map_or(f64::NAN, |total| total as f64)
    }
    fn integer(&self) -> i256 {
        *self
    }
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Total<f64> for ExactSum {
    fn add(&mut self, value: f64, times: i64) {
        ExactSum::add(self, value, times);
    }
    fn rounded(&self) -> f64 {
        self.value()
    }
    fn integer(&self) -> i256 {
        i256::from_i128(self.value() as i128)
    }
    fn heap_bytes(&self) -> usize {
        ExactSum::heap_bytes(self)
    }
}

struct Sum<T: ArrowPrimitiveType, S> {
    shape: Shape,
    totals: Segmented<S>,
    /// Values in each sum; a sum of no values is null.
    counts: Segmented<i64>,
    _type: std::marker::PhantomData<T>,
}

impl<T: ArrowPrimitiveType, S: Total<T::Native>> Sum<T, S> {
    fn new(shape: Shape) -> Self {
        Sum {
            shape,
            totals: Segmented::default(),
            counts: Segmented::default(),
            _type: std::marker::PhantomData,
        }
    }
}

impl<T: ArrowPrimitiveType, S: Total<T::Native>> Accumulator for Sum<T, S> {
    fn resize(&mut self, groups: usize) {
        self.totals.grow(groups, S::default());
        self.counts.grow(groups, 0);
    }

    fn clear(&mut self, group: usize) {
        self.totals[group] = S::default();
        self.counts[group] = 0;
    }

    fn update(&mut self, input: &Input) -> Result<(), ArrowError> {
        let Some(values) = input.argument.map(|argument| argument.as_primitive::<T>()) else {
            return Ok(());
        };
        let values: &PrimitiveArray<T> = values;
        input.for_each(|row, group, diff| {
            self.totals[group].add(values.value(row), diff);
            self.counts[group] += diff;
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let present = |&group: &u32| (self.counts[group as usize] != 0).then_some(group as usize);
        let groups = groups.iter().map(present);
        let count = |group: usize| self.counts[group];
        let integer = |group: usize| self.totals[group].integer();
        let Shape {
            output,
            scale,
            average,
        } = &self.shape;
        Ok(match (output, average) {
            (DataType::Float64, false) => {
                let sum = |group: usize| one_zero_f64(self.totals[group].rounded());
                Arc::new(groups.map(|group| group.map(sum)).collect::<Float64Array>())
            }
            (DataType::Decimal128(precision, more), true) => {
                let factor = i256::from_i128(10).wrapping_pow((*more - scale).max(0) as u32);
                let average = |group| divide(integer(group).wrapping_mul(factor), count(group));
                let averages = groups.map(|group| group.and_then(average));
                let averages = averages.collect::<Decimal128Array>();
                Arc::new(averages.with_precision_and_scale(*precision, *more)?)
            }
            (output, true) => {
                let average =
                    |group: usize| one_zero_f64(self.totals[group].rounded() / count(group) as f64);
                let averages = groups.map(|group| group.map(average));
                cast(&averages.collect::<Float64Array>(), output)?
            }
            (DataType::Decimal256(precision, scale), false) => {
                let sums = groups.map(|group| group.map(integer));
                let sums = sums.collect::<Decimal256Array>();
                Arc::new(sums.with_precision_and_scale(*precision, *scale)?)
            }
            (output, false) => {
                // 64 bits as often as there can be rows are fewer than 128.
                let sums = groups.map(|group| group.and_then(|group| integer(group).to_i128()));
                cast(
                    &sums
                        .collect::<Decimal128Array>()
                        .with_precision_and_scale(38, 0)?,
                    output,
                )?
            }
        })
    }

    fn bytes(&self) -> usize {
        self.totals.bytes()
            + self.totals.iter().map(Total::heap_bytes).sum::<usize>()
            + self.counts.bytes()
    }
}
