//! Order statistics: `min`, `max`, `median`, `percentile_cont`, `percentile_disc`.
//!
//! Each group keeps the ordered multiset of its values with counts of subtrees
//! ([`OrderedMultiset`]), so any rank is found in O(log n) after any insert or retraction. Numbers
//! are kept as order-preserving 64-bit keys, everything else in Arrow's row format.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::accumulator::{Accumulator, Input};
use crate::operator::ordered_multiset::OrderedMultiset;
use crate::operator::quantile::{self, key_to_f64, key_to_i64};
use crate::plan::Function;
use crate::segmented::Segmented;

/// The state of `function(value_type)`.
pub fn ordered(
    function: &Function,
    value_type: &DataType,
    output: &DataType,
) -> Result<Box<dyn Accumulator>, ArrowError> {
    let continuous = matches!(function, Function::Median | Function::PercentileCont { .. });
    match value_type {
        DataType::Int64
        | DataType::Int32
        | DataType::Float64
        | DataType::Date32
        | DataType::Boolean
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(Box::new(Ordered {
            function: function.clone(),
            output: output.clone(),
            codec: Numbers(value_type.clone()),
            groups: Segmented::default(),
            changes: Vec::new(),
        })),
        DataType::Decimal128(_, scale) => Ok(Box::new(Ordered {
            function: function.clone(),
            output: output.clone(),
            codec: Decimals {
                data_type: value_type.clone(),
                one: 10f64.powi(i32::from(*scale)),
            },
            groups: Segmented::default(),
            changes: Vec::new(),
        })),
        other if continuous => Err(ArrowError::NotYetImplemented(format!(
            "median and percentile_cont of {other}; cast the column to BIGINT or DOUBLE, or use percentile_disc"
        ))),
        other => Ok(Box::new(Ordered {
            function: function.clone(),
            output: output.clone(),
            codec: Bytes(RowConverter::new(vec![SortField::new(other.clone())])?),
            groups: Segmented::default(),
            changes: Vec::new(),
        })),
    }
}

/// How values become keys that sort like them, and back.
trait Codec {
    type Key: Ord + Clone;
    fn encode(
        &self,
        input: &Input,
        values: &ArrayRef,
        changes: &mut Vec<(u32, Self::Key, i64)>,
    ) -> Result<(), ArrowError>;
    fn decode(&self, keys: &[Option<Self::Key>]) -> Result<ArrayRef, ArrowError>;
    /// The key as a number, for functions that compute between two values.
    fn number(&self, key: &Self::Key) -> f64;
    /// The middle of two values, in the arithmetic of their type.
    fn middle(&self, low: &Self::Key, high: &Self::Key) -> Self::Key;
}

struct Ordered<C: Codec> {
    function: Function,
    output: DataType,
    codec: C,
    groups: Segmented<OrderedMultiset<C::Key>>,
    changes: Vec<(u32, C::Key, i64)>,
}

impl<C: Codec> Accumulator for Ordered<C> {
    fn resize(&mut self, groups: usize) {
        self.groups.grow(groups, OrderedMultiset::default());
    }

    fn clear(&mut self, group: usize) {
        self.groups[group] = OrderedMultiset::default();
    }

    fn update(&mut self, input: &Input) -> Result<(), ArrowError> {
        let Some(values) = input.argument else {
            return Ok(());
        };
        let mut changes = std::mem::take(&mut self.changes);
        self.codec.encode(input, values, &mut changes)?;
        changes.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        // Equal values of a batch are one change of the multiset, and retractions meet their values
        // before they are applied.
        let mut changes_of_group: Vec<(C::Key, i64)> = Vec::new();
        let mut rest = changes.drain(..).peekable();
        while let Some((group, key, mut diff)) = rest.next() {
            while let Some((_, _, more)) = rest.next_if(|next| next.0 == group && next.1 == key) {
                diff += more;
            }
            if diff != 0 {
                changes_of_group.push((key, diff));
            }
            if rest.peek().is_none_or(|next| next.0 != group) {
                self.groups[group as usize].update_all(&mut changes_of_group);
                changes_of_group.clear();
            }
        }
        drop(rest);
        self.changes = changes;
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let sets = groups.iter().map(|&group| &self.groups[group as usize]);
        let number = |key: &C::Key| self.codec.number(key);
        let array = match &self.function {
            Function::PercentileCont {
                fraction,
                descending,
            } => {
                let value = if *descending {
                    quantile::percentile_cont_descending
                } else {
                    quantile::percentile_cont
                };
                Arc::new(
                    sets.map(|set| value(set, fraction.value(), number))
                        .collect::<Float64Array>(),
                ) as ArrayRef
            }
            function => {
                let pick = |set: &OrderedMultiset<C::Key>| match function {
                    Function::Min => set.first().cloned(),
                    Function::Max => set.last().cloned(),
                    Function::PercentileDisc {
                        fraction,
                        descending: false,
                    } => quantile::percentile_disc(set, fraction.value()).cloned(),
                    Function::PercentileDisc { fraction, .. } => {
                        quantile::percentile_disc_descending(set, fraction.value()).cloned()
                    }
                    _ => {
                        let (low, high) = quantile::middle(set)?;
                        Some(self.codec.middle(low, high))
                    }
                };
                self.codec.decode(&sets.map(pick).collect::<Vec<_>>())?
            }
        };
        if array.data_type() == &self.output {
            Ok(array)
        } else {
            cast(&array, &self.output)
        }
    }

    fn bytes(&self) -> usize {
        self.groups.bytes()
            + self
                .groups
                .iter()
                .map(OrderedMultiset::heap_bytes)
                .sum::<usize>()
    }
}

/// Values of at most 64 bits.
struct Numbers(DataType);

impl Numbers {
    fn push<T: ArrowPrimitiveType>(
        input: &Input,
        values: &ArrayRef,
        changes: &mut Vec<(u32, u64, i64)>,
        key: impl Fn(T::Native) -> u64,
    ) {
        let values = values.as_primitive::<T>().values();
        input.for_each(|row, group, diff| changes.push((group as u32, key(values[row]), diff)));
    }

    fn array<T: ArrowPrimitiveType>(
        &self,
        keys: &[Option<u64>],
        value: impl Fn(u64) -> T::Native,
    ) -> ArrayRef {
        let values: PrimitiveArray<T> = keys.iter().map(|key| key.map(&value)).collect();
        Arc::new(values.with_data_type(self.0.clone()))
    }
}

impl Codec for Numbers {
    type Key = u64;

    fn encode(
        &self,
        input: &Input,
        values: &ArrayRef,
        changes: &mut Vec<(u32, u64, i64)>,
    ) -> Result<(), ArrowError> {
        use quantile::{f64_to_key, i64_to_key};
        match &self.0 {
            DataType::Int64 => Self::push::<Int64Type>(input, values, changes, i64_to_key),
            DataType::Int32 => {
                Self::push::<Int32Type>(input, values, changes, |v| i64_to_key(i64::from(v)))
            }
            DataType::Date32 => {
                Self::push::<Date32Type>(input, values, changes, |v| i64_to_key(i64::from(v)))
            }
            DataType::Float64 => Self::push::<Float64Type>(input, values, changes, f64_to_key),
            DataType::Boolean => {
                let values = values.as_boolean();
                input.for_each(|row, group, diff| {
                    changes.push((group as u32, i64_to_key(i64::from(values.value(row))), diff));
                });
            }
            _ => Self::push::<TimestampMicrosecondType>(input, values, changes, i64_to_key),
        }
        Ok(())
    }

    fn decode(&self, keys: &[Option<u64>]) -> Result<ArrayRef, ArrowError> {
        Ok(match &self.0 {
            DataType::Int64 => self.array::<Int64Type>(keys, key_to_i64),
            DataType::Int32 => self.array::<Int32Type>(keys, |key| key_to_i64(key) as i32),
            DataType::Date32 => self.array::<Date32Type>(keys, |key| key_to_i64(key) as i32),
            DataType::Float64 => self.array::<Float64Type>(keys, key_to_f64),
            DataType::Boolean => Arc::new(
                keys.iter()
                    .map(|key| key.map(|key| key_to_i64(key) != 0))
                    .collect::<BooleanArray>(),
            ),
            _ => self.array::<TimestampMicrosecondType>(keys, key_to_i64),
        })
    }

    fn number(&self, key: &u64) -> f64 {
        if self.0 == DataType::Float64 {
            key_to_f64(*key)
        } else {
            key_to_i64(*key) as f64
        }
    }

    fn middle(&self, low: &u64, high: &u64) -> u64 {
        // Integer division cuts towards zero, as SQL's does.
        match &self.0 {
            DataType::Float64 => quantile::f64_to_key((key_to_f64(*low) + key_to_f64(*high)) / 2.0),
            _ => {
                let sum = i128::from(key_to_i64(*low)) + i128::from(key_to_i64(*high));
                quantile::i64_to_key((sum / 2) as i64)
            }
        }
    }
}

/// Decimals, as the integers that they are.
struct Decimals {
    data_type: DataType,
    /// The integer of the decimal 1.
    one: f64,
}

impl Codec for Decimals {
    type Key = i128;

    fn encode(
        &self,
        input: &Input,
        values: &ArrayRef,
        changes: &mut Vec<(u32, i128, i64)>,
    ) -> Result<(), ArrowError> {
        let values = values.as_primitive::<Decimal128Type>().values();
        input.for_each(|row, group, diff| changes.push((group as u32, values[row], diff)));
        Ok(())
    }

    fn decode(&self, keys: &[Option<i128>]) -> Result<ArrayRef, ArrowError> {
        let values: PrimitiveArray<Decimal128Type> = keys.iter().copied().collect();
        Ok(Arc::new(values.with_data_type(self.data_type.clone())))
    }

    fn number(&self, key: &i128) -> f64 {
        *key as f64 / self.one
    }

    fn middle(&self, low: &i128, high: &i128) -> i128 {
        match low.checked_add(*high) {
            Some(sum) => sum / 2,
            // 38 digits fill 127 bits, so the sum of two of one sign may need one more.
            None => low / 2 + high / 2 + (low % 2 + high % 2) / 2,
        }
    }
}

/// Values of any other type, in Arrow's row format, which sorts like them.
struct Bytes(RowConverter);

impl Codec for Bytes {
    type Key = Box<[u8]>;

    fn encode(
        &self,
        input: &Input,
        values: &ArrayRef,
        changes: &mut Vec<(u32, Box<[u8]>, i64)>,
    ) -> Result<(), ArrowError> {
        let rows = self.0.convert_columns(std::slice::from_ref(values))?;
        input.for_each(|row, group, diff| {
            changes.push((group as u32, rows.row(row).as_ref().into(), diff))
        });
        Ok(())
    }

    fn decode(&self, keys: &[Option<Box<[u8]>>]) -> Result<ArrayRef, ArrowError> {
        let parser = self.0.parser();
        let present = self
            .0
            .convert_rows(keys.iter().flatten().map(|key| parser.parse(key)))?
            .remove(0);
        let mut next = 0u64..;
        let indices: arrow::array::UInt64Array = keys
            .iter()
            .map(|key| key.as_ref().and_then(|_| next.next()))
            .collect();
        arrow::compute::take(&present, &indices, None)
    }

    fn number(&self, _key: &Box<[u8]>) -> f64 {
        f64::NAN
    }

    fn middle(&self, low: &Box<[u8]>, _high: &Box<[u8]>) -> Box<[u8]> {
        low.clone()
    }
}
