//! Dead letters: what could not become a row, with its bytes, its place and why.
//!
//! A record is text nearly always, and people read it and search in it; so it is in `text` wherever it is
//! UTF-8. Only what is not is in `record`, as bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, Int64Array, RecordBatch, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::delta::Delta;

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

/// A dead letter without its stream and partition.
pub(super) struct Dead {
    pub offset: u64,
    pub reason: String,
    pub record: Bytes,
}

/// The dead letters of a chunk as rows; `now_us` is the time in microseconds since 1970.
pub(super) fn letters(stream: &str, partition: &str, dead: &[Dead], now_us: i64) -> Delta {
    let count = dead.len();
    let (mut texts, mut records) = (StringViewBuilder::new(), BinaryViewBuilder::new());
    for letter in dead {
        let text = simdutf8::basic::from_utf8(&letter.record).ok();
        texts.append_option(text);
        records.append_option(text.is_none().then_some(&letter.record));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
            stream, count,
        ))),
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
            partition, count,
        ))),
        Arc::new(Int64Array::from_iter_values(
            dead.iter().map(|letter| letter.offset as i64),
        )),
        Arc::new(TimestampMicrosecondArray::from(vec![now_us; count])),
        Arc::new(StringViewArray::from_iter_values(
            dead.iter().map(|letter| letter.reason.as_str()),
        )),
        Arc::new(texts.finish()),
        Arc::new(records.finish()),
    ];
    let rows =
        RecordBatch::try_new(dead_letter_schema(), columns).expect("the columns are the schema's");
    Delta::insert(rows)
}

/// Dead letters that were read from a lake, as [`letters`] makes them.
///
/// Their files may have types of Parquet's, and those of earlier versions have all records as bytes.
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

    #[test]
    fn a_record_is_text_where_it_is_text_and_bytes_where_it_is_not() {
        let dead = |record: &'static [u8]| Dead {
            offset: 0,
            reason: "why".to_owned(),
            record: Bytes::from_static(record),
        };
        let letters = letters("pin", "0", &[dead(b"{\"a\": 1"), dead(b"\xff\0")], 0).rows;
        let text = letters["text"].as_string_view();
        let record = letters["record"].as_binary_view();
        assert_eq!(text.iter().collect::<Vec<_>>(), [Some("{\"a\": 1"), None]);
        let bytes: &[u8] = b"\xff\0";
        assert_eq!(record.iter().collect::<Vec<_>>(), [None, Some(bytes)]);
        assert_eq!(restored_letters(&letters).unwrap(), letters);

        // As the first version wrote them.
        let all: &[&[u8]] = &[b"{\"a\": 1", bytes];
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
