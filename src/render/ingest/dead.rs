//! Dead letters: what could not become a row, with its bytes, its place and why.
//!
//! A record is text nearly always, and people read it and search in it; so it is in `text` wherever
//! it is UTF-8. Only what is not is in `record`, as bytes.
//!
//! An input of nothing but bad records must not cost much more than a good one. So letters are
//! gathered as columns: their records are views of the chunk, which nothing copies, and their
//! reasons are written one behind the other.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, Int64Array, RecordBatch, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::buffer::Buffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::delta::{Delta, take_rows};

/// The column of records that are UTF-8.
const TEXT: &str = "text";
/// The column of records that are not.
const RECORD: &str = "record";

/// The columns of dead letters, as a table and as a view.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("stream", DataType::Utf8View, true),
        Field::new("partition", DataType::Utf8View, true),
        Field::new("offset", DataType::Int64, true),
        Field::new(
            "time",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ),
        Field::new("reason", DataType::Utf8View, true),
        Field::new(TEXT, DataType::Utf8View, true),
        Field::new(RECORD, DataType::BinaryView, true),
    ]))
}

/// What is wrong, beside that the record cannot become a row of a table.
const NO_ROW: (&str, &str) = ("the record cannot become a row of `", "`: ");
const NO_KEY: (&str, &str) = (
    "the record has no key: a column of the primary key of `",
    "` is null; send it again with the key",
);
const NO_DELETE: &str = "the tombstone deletes nothing from ";
const NO_REST: &str = "the rest of the file `";

/// The reason of a record that cannot become a row of `table`: why, and what to do.
pub(super) fn no_row(table: &str, why: impl Display) -> impl Display {
    let (before, after) = NO_ROW;
    fmt::from_fn(move |f| write!(f, "{before}{table}{after}{why}"))
}

/// The reason of a record without a key of `table`.
pub(super) fn no_key(table: &str) -> impl Display {
    let (before, after) = NO_KEY;
    fmt::from_fn(move |f| write!(f, "{before}{table}{after}"))
}

/// The reason of a tombstone that deletes nothing from `table`, or from any: why, and what to do.
pub(super) fn no_delete(table: Option<&str>, why: impl Display) -> impl Display {
    fmt::from_fn(move |f| match table {
        Some(table) => write!(f, "{NO_DELETE}`{table}`: {why}"),
        None => write!(f, "{NO_DELETE}any table: {why}"),
    })
}

/// The reason of the rest of a file that cannot be read on: why, and what to do.
pub(super) fn no_rest(file: &str, why: impl Display) -> impl Display {
    fmt::from_fn(move |f| {
        write!(
            f,
            "{NO_REST}{file}` could not be read: {why}; \
             write what is missing to a file with a new name"
        )
    })
}

/// What the reason of a letter says of the record beside the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// Whether the record is none, but what had begun of one where a file could not be read on.
    pub is_rest: bool,
    /// Whether the record is the key of a tombstone.
    pub deletes: bool,
    /// The table that it concerns; `None` if any.
    pub table: Option<&'a str>,
}

impl<'a> About<'a> {
    /// Reads a reason that one of the functions above made, or the decoder.
    pub fn of(reason: &'a str) -> About<'a> {
        let within = |text: &'a str| text.split_once('`').map(|(table, _)| table);
        if let Some(of) = reason.strip_prefix(NO_DELETE) {
            let table = of.strip_prefix('`').and_then(within);
            return About {
                is_rest: false,
                deletes: true,
                table,
            };
        }
        let after = [NO_ROW.0, NO_KEY.0];
        let table = after.iter().find_map(|before| reason.strip_prefix(before));
        About {
            is_rest: reason.starts_with(NO_REST),
            deletes: false,
            table: table.and_then(within),
        }
    }
}

/// The dead letters of a chunk while it is worked on.
pub(super) struct Letters<'a> {
    chunk: &'a Bytes,
    offsets: Vec<u64>,
    reasons: StringViewBuilder,
    texts: StringViewBuilder,
    /// The number of the chunk among the buffers of `texts`, once it is one of them.
    block: Option<u32>,
    records: BinaryViewBuilder,
    /// The reason that is being written.
    reason: String,
}

impl<'a> Letters<'a> {
    /// None yet, of records that are mostly slices of `chunk`.
    pub fn of(chunk: &'a Bytes) -> Self {
        Letters {
            chunk,
            offsets: Vec::new(),
            reasons: StringViewBuilder::new(),
            texts: StringViewBuilder::new(),
            block: None,
            records: BinaryViewBuilder::new(),
            reason: String::new(),
        }
    }

    /// Adds the record at `offset`, or a part of it.
    pub fn push(&mut self, offset: u64, record: &[u8], reason: impl Display) {
        self.offsets.push(offset);
        self.reason.clear();
        write!(self.reason, "{reason}").expect("a sentence is written to memory");
        self.reasons.append_value(&self.reason);
        if self.push_view(record) {
            self.records.append_null();
        } else if let Ok(text) = simdutf8::basic::from_utf8(record) {
            self.texts.append_value(text);
            self.records.append_null();
        } else {
            self.texts.append_null();
            self.records.append_value(record);
        }
    }

    /// Adds a text that is a slice of the chunk; false if it is not.
    fn push_view(&mut self, record: &[u8]) -> bool {
        let start = record
            .as_ptr()
            .addr()
            .wrapping_sub(self.chunk.as_ptr().addr());
        let is_slice = start < self.chunk.len() && record.len() <= self.chunk.len() - start;
        let (Ok(start), Ok(length)) = (u32::try_from(start), u32::try_from(record.len())) else {
            return false;
        };
        if !is_slice || i32::try_from(self.chunk.len()).is_err() {
            return false;
        }
        let (texts, chunk) = (&mut self.texts, self.chunk);
        let block = *self
            .block
            .get_or_insert_with(|| texts.append_block(Buffer::from(chunk.clone())));
        texts.try_append_view(block, start, length).is_ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// All of them as rows, in the order of their offsets; `now_us` is the time in microseconds
    /// since 1970.
    pub fn rows(mut self, stream: &str, partition: &str, now_us: i64) -> Delta {
        let count = self.len();
        let columns: Vec<ArrayRef> = vec![
            repeated(stream, count),
            repeated(partition, count),
            Arc::new(Int64Array::from_iter_values(
                self.offsets.iter().map(|&offset| offset as i64),
            )),
            Arc::new(TimestampMicrosecondArray::from(vec![now_us; count])),
            Arc::new(self.reasons.finish()),
            Arc::new(self.texts.finish()),
            Arc::new(self.records.finish()),
        ];
        let mut rows = RecordBatch::try_new(dead_letter_schema(), columns)
            .expect("the columns are the schema's");
        if !self.offsets.is_sorted() {
            let mut order: Vec<u64> = (0..count as u64).collect();
            order.sort_by_key(|&letter| self.offsets[letter as usize]);
            rows = take_rows(&rows, &order).expect("row numbers come from the batch itself");
        }
        Delta::insert(rows)
    }
}

/// A column of one text.
fn repeated(text: &str, count: usize) -> ArrayRef {
    let one = StringViewArray::from_iter_values([text]);
    take(&one, &UInt64Array::from(vec![0; count]), None).expect("there is a row 0")
}

/// Dead letters that were read from a lake, as [`letters`] makes them.
///
/// Their files may have types of Parquet's, and those of earlier versions have all records as
/// bytes.
pub fn restored_letters(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = dead_letter_schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match rows.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        });
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<_, _>>()?)?;
    let (text, record) = (schema.index_of(TEXT)?, schema.index_of(RECORD)?);
    let mut columns = rows.columns().to_vec();
    let (mut texts, mut records) = (StringViewBuilder::new(), BinaryViewBuilder::new());
    let known = rows.column(text).as_string_view();
    for (row, bytes) in rows.column(record).as_binary_view().iter().enumerate() {
        let read = bytes.and_then(|bytes| simdutf8::basic::from_utf8(bytes).ok());
        let written = known.is_valid(row).then(|| known.value(row));
        texts.append_option(written.or(read));
        records.append_option(bytes.filter(|_| read.is_none()));
    }
    columns[text] = Arc::new(texts.finish());
    columns[record] = Arc::new(records.finish());
    RecordBatch::try_new(schema, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BinaryArray;
    use arrow::datatypes::Int64Type;

    #[test]
    fn a_reason_says_of_which_table_the_record_is_no_row() {
        let about = |reason: &dyn Display| {
            let reason = reason.to_string();
            let About {
                is_rest,
                deletes,
                table,
            } = About::of(&reason);
            assert_eq!(is_rest, reason.starts_with("the rest"), "{reason}");
            (deletes, table.map(str::to_owned))
        };
        let pin = Some("pin".to_owned());
        assert_eq!(about(&no_row("pin", "`geo` fails")), (false, pin.clone()));
        assert_eq!(about(&no_key("pin")), (false, pin.clone()));
        assert_eq!(about(&no_delete(Some("pin"), "why")), (true, pin));
        assert_eq!(about(&no_delete(None, "why `pin`")), (true, None));
        assert_eq!(about(&"not JSON: `pin`"), (false, None));
        assert_eq!(about(&no_rest("1.gz", "it is `cut`")), (false, None));
    }

    #[test]
    fn a_record_is_text_where_it_is_text_and_bytes_where_it_is_not() {
        let chunk = Bytes::from_static(b"{\"a\": 1\n\xff\0\n");
        let mut letters = Letters::of(&chunk);
        letters.push(1, &chunk[8..10], "why");
        letters.push(0, &chunk[..7], format_args!("because of {}", 7));
        letters.push(2, b"key", "why");
        let letters = letters.rows("pin", "0", 0).rows;
        let offsets = letters["offset"].as_primitive::<Int64Type>();
        assert_eq!(offsets.values(), &[0, 1, 2]);
        let text = letters["text"].as_string_view();
        let record = letters["record"].as_binary_view();
        let bytes: &[u8] = b"\xff\0";
        assert_eq!(
            text.iter().collect::<Vec<_>>(),
            [Some("{\"a\": 1"), None, Some("key")]
        );
        assert_eq!(record.iter().collect::<Vec<_>>(), [None, Some(bytes), None]);
        assert_eq!(restored_letters(&letters).unwrap(), letters);

        // As the first version wrote them.
        let all: &[&[u8]] = &[b"{\"a\": 1", bytes, b"key"];
        let before = RecordBatch::try_from_iter([
            ("stream", letters["stream"].clone()),
            ("partition", letters["partition"].clone()),
            ("offset", letters["offset"].clone()),
            ("time", letters["time"].clone()),
            ("reason", letters["reason"].clone()),
            (
                "record",
                Arc::new(BinaryArray::from(all.to_vec())) as ArrayRef,
            ),
        ]);
        assert_eq!(restored_letters(&before.unwrap()).unwrap(), letters);
    }
}
