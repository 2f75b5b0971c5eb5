//! What decoding promises: `records` and `values` say it one rule a test, `oracle` holds it against
//! `serde_json` on records that nobody would write.

mod oracle;
mod records;
mod values;

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;

use super::*;

/// `name TYPE [NOT NULL], ...`
fn schema(columns: &str) -> SchemaRef {
    let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
    let field = |column: &str| {
        let (name, sql) = column.trim().split_once(' ').unwrap();
        let data_type = match sql.trim_end_matches(" NOT NULL") {
            "TEXT" => DataType::Utf8View,
            "BIGINT" => DataType::Int64,
            "INT" => DataType::Int32,
            "DOUBLE" => DataType::Float64,
            "BOOLEAN" => DataType::Boolean,
            "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "DATE" => DataType::Date32,
            "DOUBLE[]" => list(DataType::Float64),
            "TEXT[]" => list(DataType::Utf8View),
            other => panic!("no type {other}"),
        };
        Field::new(name, data_type, !sql.ends_with("NOT NULL"))
    };
    Arc::new(Schema::new(
        columns.split(',').map(field).collect::<Vec<_>>(),
    ))
}

fn decoder(columns: &str) -> Decoder {
    Decoder::new(schema(columns)).unwrap()
}

/// Decodes and makes sure that Arrow finds nothing wrong with the rows.
fn decode(decoder: &mut Decoder, input: &[u8], first_offset: u64) -> Decoded {
    let decoded = decoder.decode(&Bytes::copy_from_slice(input), first_offset);
    for column in decoded.rows.columns() {
        column.to_data().validate_full().unwrap();
    }
    assert_eq!(decoded.offsets.len(), decoded.rows.num_rows());
    assert_eq!(decoded.records, count_records(input));
    decoded
}

fn cell(rows: &RecordBatch, column: usize, row: usize) -> String {
    let column = rows.column(column);
    if column.is_null(row) {
        "null".to_owned()
    } else {
        let value = array_value_to_string(column, row).unwrap();
        if *column.data_type() == DataType::Utf8View {
            format!("{value:?}")
        } else {
            value
        }
    }
}

/// Each row as `offset: values`, then each reject as `offset! bytes` with its reason below.
fn show(decoded: &Decoded) -> String {
    let mut out = String::new();
    for (row, offset) in decoded.offsets.iter().enumerate() {
        let values = (0..decoded.rows.num_columns()).map(|column| cell(&decoded.rows, column, row));
        writeln!(out, "{offset}: {}", values.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    for Reject {
        offset,
        record,
        reason,
    } in &decoded.rejects
    {
        writeln!(
            out,
            "{offset}! {}\n   {reason}",
            String::from_utf8_lossy(record)
        )
        .unwrap();
    }
    out
}
