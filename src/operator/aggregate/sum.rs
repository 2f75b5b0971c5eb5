//! `sum` and `avg`, exactly.
//!
//! Integers and decimals add up in 128 bits; floats in [`ExactSum`], so that adding and retracting in any order ends at the same bits. An
//! average is the exact sum, rounded once, divided by the count.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int32Type, Int64Type,
};
use arrow::error::ArrowError;

use super::accumulator::{Accumulator, Input};
use crate::operator::exact_sum::ExactSum;
use crate::segmented::Segmented;

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
    let shape = Shape {
        output: output.clone(),
        average,
    };
    Ok(match value_type {
        DataType::Int64 => Box::new(Sum::<Int64Type, i128>::new(shape)),
        DataType::Int32 => Box::new(Sum::<Int32Type, i128>::new(shape)),
        DataType::Float64 => Box::new(Sum::<Float64Type, ExactSum>::new(shape)),
        DataType::Decimal128(_, _) if !average => Box::new(Sum::<Decimal128Type, i128>::new(shape)),
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
    average: bool,
}

/// A total to which multiples of values are added.
trait Total<V>: Default + Clone {
    fn add(&mut self, value: V, times: i64);
    fn rounded(&self) -> f64;
    fn integer(&self) -> i128;
    fn heap_bytes(&self) -> usize;
}

impl<V: Into<i128>> Total<V> for i128 {
    fn add(&mut self, value: V, times: i64) {
        *self = self.wrapping_add(value.into().wrapping_mul(i128::from(times)));
    }
    fn rounded(&self) -> f64 {
        *self as f64
    }
    fn integer(&self) -> i128 {
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
    fn integer(&self) -> i128 {
        self.value() as i128
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
        if self.shape.average {
            let values: Float64Array = groups
                .map(|group| {
                    group.map(|group| self.totals[group].rounded() / self.counts[group] as f64)
                })
                .collect();
            return cast(&values, &self.shape.output);
        }
        Ok(match &self.shape.output {
            DataType::Float64 => Arc::new(
                groups
                    .map(|group| group.map(|group| self.totals[group].rounded()))
                    .collect::<Float64Array>(),
            ),
            DataType::Decimal128(precision, scale) => Arc::new(
                groups
                    .map(|group| group.map(|group| self.totals[group].integer()))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            // DataFusion's integer sums wrap around, and so do ours.
            output => {
                let values: Int64Array = groups
                    .map(|group| group.map(|group| self.totals[group].integer() as i64))
                    .collect();
                cast(&values, output)?
            }
        })
    }

    fn bytes(&self) -> usize {
        self.totals.bytes()
            + self.totals.iter().map(Total::heap_bytes).sum::<usize>()
            + self.counts.bytes()
    }
}
