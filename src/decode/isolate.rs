//! A record on which the decoder panics costs itself, and not the run.
//!
//! No record is known to do that. If one does, the chunk is halved between its lines until the
//! record is alone, and it is a reject.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::count_records;
use super::decoder::{Decoded, Decoder, Reject};
use super::offsets::RowOffsets;
use crate::expression::catching;

impl Decoder {
    /// Decodes as [`Decoder::decode`] does; a record that makes it panic is a reject.
    pub fn decode_or_reject(&mut self, bytes: &Bytes, first_offset: u64) -> Decoded {
        let schema = Arc::clone(&self.batch.schema);
        isolate(&schema, bytes, first_offset, &mut |bytes, offset| {
            let decoded = catching(|| Ok(self.decode(bytes, offset)));
            if decoded.is_err() {
                // Whatever it was in the middle of.
                *self = Decoder::new(Arc::clone(&schema)).expect("it was made for these columns");
            }
            decoded.map_err(|error| error.find_root().to_string())
        })
    }
}

/// What `decode` makes of `bytes`, in parts if it fails on the whole.
fn isolate(
    schema: &SchemaRef,
    bytes: &Bytes,
    first_offset: u64,
    decode: &mut dyn FnMut(&Bytes, u64) -> Result<Decoded, String>,
) -> Decoded {
    let why = match decode(bytes, first_offset) {
        Ok(decoded) => return decoded,
        Err(why) => why,
    };
    let middle = bytes.len() / 2;
    let ahead = memchr::memchr(b'\n', &bytes[middle..]).map(|at| middle + at + 1);
    let behind = || memchr::memrchr(b'\n', &bytes[..middle]).map(|at| at + 1);
    let cut = ahead.filter(|&at| at < bytes.len()).or_else(behind);
    let Some(cut) = cut else {
        let record = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        return Decoded {
            rows: RecordBatch::new_empty(Arc::clone(schema)),
            offsets: RowOffsets::default(),
            rejects: vec![Reject {
                offset: first_offset,
                record: bytes.slice_ref(record),
                reason: format!("the record cannot be decoded ({why}): please report it"),
            }],
            records: 1,
        };
    };
    let mut first = isolate(schema, &bytes.slice(..cut), first_offset, decode);
    let next_offset = first_offset + count_records(&bytes[..cut]);
    let second = isolate(schema, &bytes.slice(cut..), next_offset, decode);
    first.rows = concat_batches(schema, [&first.rows, &second.rows])
        .expect("both have the columns that were declared");
    first.offsets.extend(second.offsets);
    first.rejects.extend(second.rejects);
    first.records += second.records;
    first
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn a_record_that_makes_the_decoder_panic_is_a_reject_and_its_neighbours_are_rows() {
        let field = Field::new("n", DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field]));
        let mut decoder = Decoder::new(Arc::clone(&schema)).expect("BIGINT is supported");
        for (text, expected, failed) in [
            (
                "{\"n\":1}\nboom\n{\"n\":3}\n",
                vec![(7, 1), (9, 3)],
                vec![8],
            ),
            ("boom", vec![], vec![7]),
            ("boom\n\nboom\n{\"n\":4}", vec![(10, 4)], vec![7, 9]),
        ] {
            let bytes = Bytes::from(text);
            let decoded = isolate(&schema, &bytes, 7, &mut |bytes, offset| {
                if bytes.windows(4).any(|four| four == b"boom") {
                    return Err("it panicked".to_owned());
                }
                Ok(decoder.decode(bytes, offset))
            });
            let numbers = decoded.rows.column(0).as_primitive::<Int64Type>().values();
            let rows: Vec<(u64, i64)> =
                std::iter::zip(decoded.offsets.iter(), numbers.iter().copied()).collect();
            assert_eq!(rows, expected);
            let rejected: Vec<u64> = decoded.rejects.iter().map(|reject| reject.offset).collect();
            assert_eq!(rejected, failed);
            assert!(decoded.rejects.iter().all(|reject| reject.record == "boom"));
        }
    }
}
