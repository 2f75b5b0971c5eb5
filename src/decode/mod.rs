//! Turns bytes of JSON records into typed Arrow batches, or into dead letters.
//!
//! ```text
//!  bytes of a chunk ──> UTF-8 check ──> record by record ──> columns ──> Arrow batch + offset of each row
//!                                             │
//!                                             └── what cannot be a row ──> Reject: bytes, offset, reason
//! ```
//!
//! # Records
//! A record is a line; record `i` of a chunk has offset `first_offset + i`. A blank line has an
//! offset and nothing else. A byte order mark at the start of a line is no part of its record.
//! Every other record becomes rows, or rejects, or both; none vanishes. A line may hold
//! * one object: a row, whatever columns it names (`{}` is a row of nulls);
//! * several objects one after the other, `{..}{..}`: a row each (what Firehose makes of records
//!   without newline);
//! * an array of objects, `[{..}, {..}]`: a row each;
//! * a JSON string that holds any of these as JSON text, or as the base64 of such text: it is
//!   unwrapped, once.
//!
//! An object that cannot be a row is a reject of its own and its neighbours on the line go through.
//! Where the text stops being JSON, nothing after it can be trusted: the object at fault and the
//! rest of its line are one reject. So is an object followed by anything but another object (or the
//! array's `,` or `]`).
//!
//! # Columns
//! Keys match column names exactly. Undeclared keys are ignored, missing keys and `null` are null,
//! and of a key given twice the last value counts (but all of them must fit). A value that is not
//! of its column's type is converted where nothing is lost:
//!
//! | column | also accepts |
//! |---|---|
//! | TEXT | numbers, booleans, objects and arrays, as the JSON text they were written as |
//! | BIGINT, INT | whole numbers written otherwise (`12.0`, `1.2e1`), and any of these in a string (`" 12 "`) |
//! | DOUBLE | any number in range, also in a string |
//! | BOOLEAN | `"true"` and `"false"` |
//! | TIMESTAMP, DATE | the date forms of `date.rs`, in a string; DATE keeps the day, TIMESTAMP is UTC |
//! | DOUBLE\[\], TEXT\[\] | an array whose elements are accepted as above |
//!
//! Everything else (text in BIGINT, a fraction in INT, a number out of range, null in a NOT NULL
//! column) is a reject. JSON itself is read as strictly as `serde_json` does: no `NaN`, no trailing
//! comma, no lone surrogate in a string that is used, no raw control byte in a string.
//!
//! # How it is fast
//! * Producers write every record with the same keys in the same order, so the bytes between two
//!   values are guessed from the record before and compared in one go (`keys`). A wrong guess costs
//!   one ordinary look at one key.
//! * A string is scanned 64 bytes at a time for the byte that ends it (`scan`). One without escapes
//!   is never copied: its view points into the chunk. Escapes are resolved into one side buffer of
//!   the batch.
//! * A line's end is found by reading the record, not beforehand; UTF-8 is checked once for the
//!   chunk.
//! * Values go straight to their place in the columns; no allocation belongs to a record.
//!
//! # Invariants
//! 1. No input panics; should one, it is a reject (`isolate`). A chunk of any size is accepted
//!    (above 1 GiB it is decoded piecewise).
//! 2. Every string view points to valid UTF-8 within the batch's buffers. All text is validated
//!    before it is looked at.
//! 3. What was learned from earlier records changes how fast a record is decoded, never its
//!    outcome.

mod base64;
mod batch;
mod column;
mod date;
mod decoder;
mod fault;
mod framing;
mod isolate;
mod keys;
mod line;
mod number;
mod offsets;
mod scan;
mod strings;
mod value;

#[cfg(test)]
mod tests;

pub use decoder::{Decoded, Decoder, Reject};
pub use fault::UnsupportedColumn;
pub use framing::{
    BYTE_ORDER_MARK, LineIndex, count_records, last_newline, push_record, push_value,
};
pub use offsets::RowOffsets;
