//! `array_agg` and `string_agg`: all values of a group, in order.
//!
//! Values are kept in the order asked for; where none is asked, or it leaves ties, by the value
//! itself, so that the answer is one. `array_agg` keeps nulls, `string_agg` leaves them out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, StringViewArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, cast, take};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::accumulator::{Accumulator, Input};
use crate::operator::ordered_multiset::OrderedMultiset;
use crate::segmented::Segmented;

/// The state of one list aggregate.
pub struct List {
    /// The order columns, then the value.
    converter: RowConverter,
    order: Vec<usize>,
    value_type: DataType,
    output: DataType,
    between: Option<String>,
    distinct: bool,
    groups: Segmented<OrderedMultiset<Box<[u8]>>>,
}

impl List {
    /// No values yet. With `between`, the values are texts to be joined by it.
    pub fn new(
        value_type: &DataType,
        output: &DataType,
        order: &[(usize, DataType, SortOptions)],
        between: Option<String>,
        distinct: bool,
    ) -> Result<Self, ArrowError> {
        let mut fields: Vec<SortField> = order
            .iter()
            .map(|(_, data_type, options)| SortField::new_with_options(data_type.clone(), *options))
            .collect();
        fields.push(SortField::new(value_type.clone()));
        Ok(List {
            converter: RowConverter::new(fields)?,
            order: order.iter().map(|(column, _, _)| *column).collect(),
            value_type: value_type.clone(),
            output: output.clone(),
            between,
            distinct,
            groups: Segmented::default(),
        })
    }

    /// The values of all `groups`, one group after the other, and how many each has.
    fn values(&self, groups: &[u32]) -> Result<(ArrayRef, Vec<usize>), ArrowError> {
        let parser = self.converter.parser();
        let mut repeats: Vec<u64> = Vec::new();
        let mut lengths = Vec::with_capacity(groups.len());
        let mut keys: Vec<&[u8]> = Vec::new();
        for &group in groups {
            let mut length = 0;
            for (key, count) in self.groups[group as usize].iter() {
                let count = if self.distinct {
                    1
                } else {
                    count.max(0) as usize
                };
                repeats.extend(std::iter::repeat_n(keys.len() as u64, count));
                keys.push(key);
                length += count;
            }
            lengths.push(length);
        }
        let mut columns = self
            .converter
            .convert_rows(keys.into_iter().map(|key| parser.parse(key)))?;
        let values = columns
            .pop()
            .expect("the value is the last column of the row format");
        Ok((take(&values, &UInt64Array::from(repeats), None)?, lengths))
    }
}

impl Accumulator for List {
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
        let mut columns: Vec<ArrayRef> = self
            .order
            .iter()
            .map(|&column| Arc::clone(input.rows.column(column)))
            .collect();
        columns.push(Arc::clone(values));
        let keys = self.converter.convert_columns(&columns)?;
        let nulls = match self.between {
            Some(_) => values.logical_nulls(),
            None => None,
        };
        let filter: Option<&BooleanArray> = input.filter;
        let mut changes: Vec<(u32, Box<[u8]>, i64)> = Vec::new();
        for (row, (&group, &diff)) in input.groups.iter().zip(input.diffs).enumerate() {
            if filter.is_none_or(|filter| filter.value(row))
                && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
            {
                changes.push((group, keys.row(row).as_ref().into(), diff));
            }
        }
        changes.sort_unstable();
        for same in changes.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let diff: i64 = same.iter().map(|change| change.2).sum();
            if diff != 0 {
                self.groups[same[0].0 as usize].update(same[0].1.clone(), diff);
            }
        }
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef, ArrowError> {
        let (values, lengths) = self.values(groups)?;
        if let Some(between) = &self.between {
            let texts = cast(&values, &DataType::Utf8View)?;
            let texts = texts.as_string_view();
            let mut next = 0;
            let joined: StringViewArray = lengths
                .iter()
                .map(|&length| {
                    let parts: Vec<&str> =
                        (next..next + length).map(|row| texts.value(row)).collect();
                    next += length;
                    (length > 0).then(|| parts.join(between))
                })
                .collect();
            return cast(&joined, &self.output);
        }
        let nulls = lengths.iter().map(|&length| length > 0).collect::<Vec<_>>();
        let list = ListArray::try_new(
            Arc::new(Field::new_list_field(self.value_type.clone(), true)),
            OffsetBuffer::from_lengths(lengths),
            values,
            Some(nulls.into()),
        )?;
        cast(&list, &self.output)
    }

    fn bytes(&self) -> usize {
        let values = |set: &OrderedMultiset<Box<[u8]>>| {
            set.heap_bytes() + set.iter().map(|(key, _)| key.len() + 16).sum::<usize>()
        };
        self.groups.bytes() + self.groups.iter().map(values).sum::<usize>()
    }
}
