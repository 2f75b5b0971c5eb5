//! Rows of key columns as short bytes, equal exactly when the keys are.
//!
//! Arrow's row format sorts too, and pays for it: nine bytes a number, texts in blocks of eight
//! with a byte each. A group's key is kept as long as the group, so here it takes what it needs:
//!
//! | column | bytes |
//! |---|---|
//! | whole numbers, dates, times | 0 for null, else 1 + n, and the n low bytes of the zigzag number |
//! | texts, byte strings | 0 for null, else 1 + the length as a [`varint`], and the bytes |
//! | all others | the length as a [`varint`], and Arrow's row format |

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, Date32Array, Int32Array, Int64Array,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::varint;

/// Turns columns of these types into keys and back.
pub struct GroupKeys {
    columns: Vec<Codec>,
}

/// How a column's values become bytes.
enum Codec {
    Number(DataType),
    Text,
    Bytes,
    Rows(RowConverter),
}

/// The keys of a batch, row by row.
#[derive(Default)]
pub struct EncodedKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A column of a batch.
enum Values<'a> {
    Long(&'a [i64], Option<&'a NullBuffer>),
    Int(&'a [i32], Option<&'a NullBuffer>),
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Rows(Rows),
}

impl GroupKeys {
    /// Keys are of these types. An error if one has no row format.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        let codec = |data_type: &DataType| {
            Ok(match data_type {
                DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, _) => Codec::Number(data_type.clone()),
                DataType::Utf8View => Codec::Text,
                DataType::BinaryView => Codec::Bytes,
                other => Codec::Rows(RowConverter::new(vec![SortField::new(other.clone())])?),
            })
        };
        Ok(GroupKeys {
            columns: types.iter().map(codec).collect::<Result<_, ArrowError>>()?,
        })
    }

    /// The keys of `rows` rows, instead of what `keys` held.
    pub fn encode(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        keys: &mut EncodedKeys,
    ) -> Result<(), ArrowError> {
        keys.bytes.clear();
        keys.ends.clear();
        let values = self
            .columns
            .iter()
            .zip(columns)
            .map(|(codec, column)| codec.values(column));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        for row in 0..rows {
            for column in &values {
                column.put(row, &mut keys.bytes);
            }
            keys.ends.push(keys.bytes.len());
        }
        Ok(())
    }

    /// The columns of `keys`, which were encoded here.
    pub fn decode(&self, mut keys: Vec<&[u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        self.columns
            .iter()
            .map(|codec| codec.take(&mut keys))
            .collect()
    }
}

impl EncodedKeys {
    /// The key of a row.
    #[inline]
    pub fn key(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

impl Codec {
    fn values<'a>(&self, column: &'a ArrayRef) -> Result<Values<'a>, ArrowError> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(match self {
            Codec::Number(DataType::Int32) => {
                Values::Int(column.as_primitive::<Int32Type>().values(), nulls)
            }
            Codec::Number(DataType::Date32) => {
                Values::Int(column.as_primitive::<Date32Type>().values(), nulls)
            }
            Codec::Number(DataType::Int64) => {
                Values::Long(column.as_primitive::<Int64Type>().values(), nulls)
            }
            Codec::Number(_) => Values::Long(
                column.as_primitive::<TimestampMicrosecondType>().values(),
                nulls,
            ),
            Codec::Text => Values::Text(column.as_string_view()),
            Codec::Bytes => Values::Bytes(column.as_binary_view()),
            Codec::Rows(converter) => {
                Values::Rows(converter.convert_columns(std::slice::from_ref(column))?)
            }
        })
    }

    /// Takes the next column off all keys.
    fn take(&self, keys: &mut [&[u8]]) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Codec::Number(data_type) => {
                let values = keys.iter_mut().map(take_number);
                let int = |value: Option<i64>| value.map(|value| value as i32);
                match data_type {
                    DataType::Int32 => Arc::new(values.map(int).collect::<Int32Array>()),
                    DataType::Date32 => Arc::new(values.map(int).collect::<Date32Array>()),
                    DataType::Int64 => Arc::new(values.collect::<Int64Array>()),
                    _ => {
                        let times: TimestampMicrosecondArray = values.collect();
                        Arc::new(times.with_data_type(data_type.clone()))
                    }
                }
            }
            Codec::Text => {
                let text = |bytes| std::str::from_utf8(bytes).expect("a text was put here");
                let texts = keys.iter_mut().map(|key| take_bytes(key).map(text));
                Arc::new(texts.collect::<StringViewArray>())
            }
            Codec::Bytes => Arc::new(keys.iter_mut().map(take_bytes).collect::<BinaryViewArray>()),
            Codec::Rows(converter) => {
                let parser = converter.parser();
                let rows = keys.iter_mut().map(|key| {
                    let length = varint::take(key) as usize;
                    parser.parse(split(key, length))
                });
                converter.convert_rows(rows)?.remove(0)
            }
        })
    }
}

impl Values<'_> {
    fn put(&self, row: usize, bytes: &mut Vec<u8>) {
        let is_null = |nulls: &Option<&NullBuffer>| nulls.is_some_and(|nulls| nulls.is_null(row));
        match self {
            Values::Long(_, nulls) | Values::Int(_, nulls) if is_null(nulls) => bytes.push(0),
            Values::Long(values, _) => put_number(bytes, values[row]),
            Values::Int(values, _) => put_number(bytes, i64::from(values[row])),
            Values::Text(texts) if texts.is_null(row) => bytes.push(0),
            Values::Text(texts) => put_bytes(bytes, texts.value(row).as_bytes()),
            Values::Bytes(strings) if strings.is_null(row) => bytes.push(0),
            Values::Bytes(strings) => put_bytes(bytes, strings.value(row)),
            Values::Rows(rows) => {
                let row = rows.row(row).data();
                varint::put(bytes, row.len() as u64);
                bytes.extend_from_slice(row);
            }
        }
    }
}

fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let number = varint::zigzag(number);
    let length = 8 - number.leading_zeros() as usize / 8;
    bytes.push(1 + length as u8);
    // All eight bytes and back again: a copy of a length that is known is one instruction.
    let end = bytes.len() + length;
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.truncate(end);
}

fn take_number(key: &mut &[u8]) -> Option<i64> {
    let length = usize::from(split(key, 1)[0]).checked_sub(1)?;
    let mut number = [0; 8];
    number[..length].copy_from_slice(split(key, length));
    Some(varint::unzigzag(u64::from_le_bytes(number)))
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    varint::put(bytes, 1 + value.len() as u64);
    bytes.extend_from_slice(value);
}

fn take_bytes<'a>(key: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint::take(key).checked_sub(1)?;
    Some(split(key, length as usize))
}

/// Takes the first `length` bytes off.
fn split<'a>(key: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (first, rest) = key.split_at(length);
    *key = rest;
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::UInt32Array;
    use arrow::array::{BooleanArray, Float64Array, ListArray};
    use arrow::compute::take;
    use proptest::prelude::*;

    fn encoded(columns: &[ArrayRef]) -> (GroupKeys, Vec<Vec<u8>>) {
        let types: Vec<DataType> = columns
            .iter()
            .map(|column| column.data_type().clone())
            .collect();
        let codec = GroupKeys::new(&types).unwrap();
        let mut keys = EncodedKeys::default();
        let rows = columns[0].len();
        codec.encode(columns, rows, &mut keys).unwrap();
        let keys = (0..rows).map(|row| keys.key(row).to_vec()).collect();
        (codec, keys)
    }

    fn assert_come_back(columns: &[ArrayRef]) {
        let (codec, keys) = encoded(columns);
        let back = codec
            .decode(keys.iter().map(Vec::as_slice).collect())
            .unwrap();
        assert_eq!(back, columns);
    }

    #[test]
    fn a_half_hour_and_a_category_take_eighteen_bytes() {
        let columns: [ArrayRef; 2] = [
            Arc::new(TimestampMicrosecondArray::from(vec![1_600_000_200_000_000])),
            Arc::new(StringViewArray::from(vec!["christmas"])),
        ];
        let (_, keys) = encoded(&columns);
        assert_eq!(keys[0].len(), 18);
    }

    #[test]
    fn every_type_comes_back() {
        let numbers = [
            Some(0),
            None,
            Some(-1),
            Some(i64::MIN),
            Some(i64::MAX),
            Some(255),
        ];
        let small = numbers.map(|number| number.map(|number| number as i32));
        let long =
            "a text that no view holds inside of itself, and of more than 127 bytes".repeat(3);
        let texts = [
            Some(""),
            None,
            Some("a"),
            Some(&long),
            Some("é\0"),
            Some("a\0"),
        ];
        let lists = vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![None]),
            Some(vec![Some(1)]),
            None,
        ];
        assert_come_back(&[
            Arc::new(Int64Array::from_iter(numbers)),
            Arc::new(StringViewArray::from_iter(texts)),
            Arc::new(Int32Array::from_iter(small)),
            Arc::new(Date32Array::from_iter(small)),
            Arc::new(TimestampMicrosecondArray::from_iter(numbers).with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from_iter(numbers)),
            Arc::new(BinaryViewArray::from_iter(
                texts.map(|text| text.map(str::as_bytes)),
            )),
            Arc::new(BooleanArray::from_iter([
                Some(true),
                None,
                Some(false),
                None,
                None,
                Some(true),
            ])),
            Arc::new(Float64Array::from_iter([
                Some(0.5),
                None,
                Some(f64::INFINITY),
                Some(-1.0),
                Some(0.0),
                None,
            ])),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ]);
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_all_columns_are(
            rows in prop::collection::vec(
                (
                    prop::option::of(prop_oneof![-2..3_i64, Just(256), Just(1 << 40)]),
                    prop::option::of("[ab\0]{0,3}"),
                    prop::option::of(any::<bool>()),
                    prop::option::of("[ab\0]{0,3}"),
                ),
                1..30,
            ),
        ) {
            let columns: [ArrayRef; 4] = [
                Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringViewArray>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>()),
                Arc::new(rows.iter().map(|row| row.3.as_deref().map(str::as_bytes)).collect::<BinaryViewArray>()),
            ];
            let (codec, keys) = encoded(&columns);
            for (a, key_a) in rows.iter().zip(&keys) {
                for (b, key_b) in rows.iter().zip(&keys) {
                    prop_assert_eq!(a == b, key_a == key_b);
                }
            }
            let reversed: Vec<u32> = (0..rows.len() as u32).rev().collect();
            let picked = reversed.iter().map(|&row| keys[row as usize].as_slice()).collect();
            let indices = UInt32Array::from(reversed.clone());
            for (back, column) in codec.decode(picked).unwrap().iter().zip(&columns) {
                prop_assert_eq!(back, &take(column, &indices, None).unwrap());
            }
        }
    }
}
