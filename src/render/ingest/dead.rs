//! Dead letters: what could not become a row, with its bytes, its place and why.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use crate::delta::Delta;

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
        Field::new("record", DataType::BinaryView, true),
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
    let mut records = BinaryViewBuilder::new();
    for letter in dead {
        records.append_value(&letter.record);
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
        Arc::new(records.finish()),
    ];
    let rows =
        RecordBatch::try_new(dead_letter_schema(), columns).expect("the columns are the schema's");
    Delta::insert(rows)
}
