//! Rows of one view as bytes, and the place a row has among the view's buckets.
//!
//! The live store keeps rows as bytes that compare like the rows themselves (arrow's row format):
//! the key columns first, then the rest, each in the order of the view's columns. One comparison of
//! bytes sorts, one tells whether two rows are the same, and a hash of the key's bytes says which
//! bucket a row lies in.
//!
//! # Invariants
//! 1. Equal rows have equal bytes, and a smaller row (key columns first) has smaller bytes; nulls
//!    come first.
//! 2. A row's place depends on its key's bytes only: not on the process, the run or the machine,
//!    because the lake keeps files by bucket and rewrites one bucket without reading it.
//!    [`PLACEMENT`] names the rule; a test pins places of every type, so that a changed encoding
//!    cannot go unnoticed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// The version of the rule that places rows in buckets. Buckets written under another version say
/// nothing about where a row is now.
pub const PLACEMENT: u32 = 1;

/// Turns rows of one view into bytes and back.
#[derive(Debug)]
pub(super) struct Codec {
    schema: SchemaRef,
    key: Part,
    rest: Part,
}

/// Some of a view's columns, in the order of the view; possibly none.
#[derive(Debug)]
struct Part {
    columns: Vec<usize>,
    /// None if there are no columns: arrow cannot count rows that have none.
    converter: Option<RowConverter>,
}

/// The encoded rows of one batch.
pub(super) struct Encoded {
    key: Option<Rows>,
    rest: Option<Rows>,
}

impl Codec {
    /// `key` are the columns that identify a row; they choose the bucket. An error if a column's
    /// type has no row format.
    pub(super) fn new(schema: SchemaRef, key: &[usize]) -> Result<Codec, ArrowError> {
        let (key, rest) = (0..schema.fields().len()).partition(|column| key.contains(column));
        Ok(Codec {
            key: Part::new(&schema, key)?,
            rest: Part::new(&schema, rest)?,
            schema,
        })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// An error if the columns are not of the view's types, or a null stands where the view has
    /// none.
    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<Encoded, ArrowError> {
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(ArrowError::InvalidArgumentError(format!(
                    "column `{}` cannot be null, yet {} of {} rows are",
                    field.name(),
                    column.null_count(),
                    column.len()
                )));
            }
        }
        Ok(Encoded {
            key: self.key.encode(batch)?,
            rest: self.rest.encode(batch)?,
        })
    }

    /// The rows whose bytes are given, in their order.
    pub(super) fn decode(&self, rows: &[RowBytes<'_>]) -> RecordBatch {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        self.key
            .decode(rows.iter().map(|row| row.key()), &mut columns);
        self.rest
            .decode(rows.iter().map(|row| row.rest()), &mut columns);
        let columns = columns
            .into_iter()
            .map(|column| column.expect("every column is in the key or in the rest"))
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .expect("rows fit the schema they were checked against when they were encoded")
    }
}

impl Part {
    fn new(schema: &SchemaRef, columns: Vec<usize>) -> Result<Part, ArrowError> {
        let fields: Vec<SortField> = columns
            .iter()
            .map(|&column| SortField::new(schema.field(column).data_type().clone()))
            .collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(Part { columns, converter })
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Option<Rows>, ArrowError> {
        let Some(converter) = &self.converter else {
            return Ok(None);
        };
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|&column| Arc::clone(batch.column(column)))
            .collect();
        converter.convert_columns(&columns).map(Some)
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>, columns: &mut [Option<ArrayRef>]) {
        let Some(converter) = &self.converter else {
            return;
        };
        let parser = converter.parser();
        let arrays = converter
            .convert_rows(rows.map(|bytes| parser.parse(bytes)))
            .expect("the bytes were encoded by this converter");
        for (&column, array) in self.columns.iter().zip(arrays) {
            columns[column] = Some(array);
        }
    }
}

impl Encoded {
    /// Row `row` of the batch.
    #[inline]
    pub(super) fn row(&self, row: usize) -> (&[u8], &[u8]) {
        let key = self.key.as_ref().map_or(&[][..], |rows| data(rows, row));
        let rest = self.rest.as_ref().map_or(&[][..], |rows| data(rows, row));
        (key, rest)
    }
}

fn data(rows: &Rows, row: usize) -> &[u8] {
    rows.row(row).data()
}

/// One row's bytes: the key's, then the rest's.
#[derive(Clone, Copy)]
pub(super) struct RowBytes<'a> {
    bytes: &'a [u8],
    key_length: usize,
}

impl<'a> RowBytes<'a> {
    pub(super) fn new(bytes: &'a [u8], key_length: usize) -> RowBytes<'a> {
        RowBytes { bytes, key_length }
    }

    /// All bytes; they order rows.
    pub(super) fn all(self) -> &'a [u8] {
        self.bytes
    }

    /// The key's bytes and the rest's.
    #[inline]
    pub(super) fn parts(self) -> (&'a [u8], &'a [u8]) {
        self.bytes.split_at(self.key_length)
    }

    fn key(self) -> &'a [u8] {
        &self.bytes[..self.key_length]
    }

    fn rest(self) -> &'a [u8] {
        &self.bytes[self.key_length..]
    }

    /// The first 16 bytes as a number that orders rows as far as these bytes do: most comparisons
    /// of a sort need no more, and stay in the cache.
    pub(super) fn prefix(self) -> u128 {
        let mut prefix = [0; 16];
        let length = self.bytes.len().min(16);
        prefix[..length].copy_from_slice(&self.bytes[..length]);
        u128::from_be_bytes(prefix)
    }
}

/// Where a row lies: its bucket among `2^n`, and its hash inside the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: u64,
    pub(super) row: u64,
}

impl Place {
    #[inline]
    pub(super) fn of(key: &[u8], rest: &[u8]) -> Place {
        let key = hash(key, 0);
        let row = if rest.is_empty() {
            key
        } else {
            hash(rest, key)
        };
        Place { key, row }
    }

    /// `buckets` is a power of two. The bits are from the middle of the hash: a hash table takes
    /// its own from both ends, and would find rows of one bucket all alike.
    #[inline]
    pub(super) fn bucket(self, buckets: u32) -> u32 {
        (self.key >> 28) as u32 & (buckets - 1)
    }
}

/// A small hash that will never change, unlike that of any library (invariant 2): 16 bytes at a
/// time, each mixed in by a multiplication folded from 128 bits.
#[inline]
fn hash(bytes: &[u8], seed: u64) -> u64 {
    const FIRST: u64 = 0x9E37_79B9_7F4A_7C15;
    const SECOND: u64 = 0xD6E8_FEB8_6659_FD93;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mix = |state: u64, block: &[u8; 16]| {
        let block = u128::from_le_bytes(*block);
        // The rotated state keeps what came before even where a factor happens to be zero.
        fold(state ^ block as u64 ^ FIRST, (block >> 64) as u64 ^ SECOND) ^ state.rotate_left(29)
    };
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(FIRST);
    let (blocks, last) = bytes.as_chunks::<16>();
    for block in blocks {
        state = mix(state, block);
    }
    state = mix(state, &last_block(last));
    fold(state ^ SECOND, FIRST)
}

/// A block that holds fewer than 16 bytes, all of them. By overlapping words: a copy of unknown
/// length would be a call.
#[inline]
fn last_block(bytes: &[u8]) -> [u8; 16] {
    let mut low = 0;
    let mut high = 0;
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        low = u64::from_le_bytes(*first);
        high = u64::from_le_bytes(*last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        low = u64::from(u32::from_le_bytes(*first));
        high = u64::from(u32::from_le_bytes(*last));
    } else {
        for byte in bytes {
            low = low << 8 | u64::from(*byte);
        }
    }
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Array, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
        StringViewArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{DataType, Field, Float64Type, Schema};

    /// Two rows of every type a view can have: one of values, one of nulls.
    fn every_type() -> RecordBatch {
        let text = "a text longer than the thirty-two bytes of a block, with ünïcode 🧶";
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "text",
                Arc::new(StringViewArray::from(vec![Some(text), None])),
            ),
            ("bigint", Arc::new(Int64Array::from(vec![Some(-7), None]))),
            ("int", Arc::new(Int32Array::from(vec![Some(2022), None]))),
            (
                "double",
                Arc::new(Float64Array::from(vec![Some(-89.5), None])),
            ),
            (
                "boolean",
                Arc::new(BooleanArray::from(vec![Some(true), None])),
            ),
            (
                "timestamp",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(1_600_000_000_000_000),
                    None,
                ])),
            ),
            (
                "date",
                Arc::new(Date32Array::from(vec![Some(18_000), None])),
            ),
            (
                "coordinates",
                Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
                    Some(vec![Some(1.5), Some(-2.5)]),
                    None,
                ])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    #[test]
    fn rows_of_every_type_come_back_whatever_columns_are_the_key() {
        let batch = every_type();
        for key in [vec![], vec![0], vec![3, 1], (0..8).collect()] {
            let codec = Codec::new(batch.schema(), &key).unwrap();
            let encoded = codec.encode(&batch).unwrap();
            let bytes: Vec<(Vec<u8>, usize)> = (0..2)
                .map(|row| {
                    let (key, rest) = encoded.row(row);
                    ([key, rest].concat(), key.len())
                })
                .collect();
            let rows: Vec<RowBytes> = bytes
                .iter()
                .map(|(bytes, key)| RowBytes::new(bytes, *key))
                .collect();
            assert_eq!(codec.decode(&rows), batch, "key {key:?}");
        }
    }

    /// If this fails because a library encodes rows anew, do not only write the new numbers down:
    /// raise [`PLACEMENT`] too, or lakes written before would hold rows twice.
    #[test]
    fn places_never_change() {
        let batch = every_type();
        let places: Vec<String> = (0..8)
            .map(|column| {
                let codec = Codec::new(batch.schema(), &[column]).unwrap();
                let encoded = codec.encode(&batch).unwrap();
                let place = |row| Place::of(encoded.row(row).0, encoded.row(row).1).key;
                format!(
                    "{} {:016x} {:016x}",
                    batch.schema().field(column).name(),
                    place(0),
                    place(1)
                )
            })
            .collect();
        expect_test::expect![[r#"
            text ca8a2b6fb9360e10 eb12b12ecc31c831
            bigint e7c52d7d4cb7082d c809d879d72bbad8
            int 8b76421bb859e763 d80491cf23cefa43
            double 4f7785552d10e8bb c809d879d72bbad8
            boolean 07e7133bb7575069 0fdb27be081e5c25
            timestamp 18ac8bbc80abe2f4 c809d879d72bbad8
            date 126277b887a6ee24 d80491cf23cefa43
            coordinates e93f3b5fcc1ecbdb eb12b12ecc31c831"#]]
        .assert_eq(&places.join("\n"));
    }

    #[test]
    fn keys_spread_evenly_over_buckets_and_agree_when_buckets_double() {
        let mut sizes = [0; 16];
        for number in 0..16_000_i64 {
            let mut key = vec![1];
            key.extend(number.to_be_bytes());
            let place = Place::of(&key, b"rest");
            sizes[place.bucket(16) as usize] += 1;
            assert_eq!(place.bucket(8), place.bucket(16) & 7);
            assert_eq!(place.bucket(1), 0);
        }
        assert!(
            sizes.iter().all(|size| (850..1150).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn a_null_where_the_view_has_none_is_refused() {
        let schema = Arc::new(Schema::new(vec![Field::new(
            "posts",
            DataType::Int64,
            false,
        )]));
        let codec = Codec::new(schema, &[]).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert_eq!(column.null_count(), 1);
        let batch =
            RecordBatch::try_from_iter_with_nullable(vec![("posts", column, true)]).unwrap();
        let error = codec.encode(&batch).err().unwrap().to_string();
        assert!(
            error.ends_with("column `posts` cannot be null, yet 1 of 2 rows are"),
            "{error}"
        );
    }
}
