//! The decoder: a chunk in, a batch and rejects out.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;

use super::batch::Batch;
use super::fault::{Fault, UnsupportedColumn, Why};
use super::keys::{Before, END, Keys};
use super::offsets::RowOffsets;
use super::scan::{self, Scan};
use super::strings::Strings;
use super::value::{self, skip_blanks};

/// The most bytes decoded in one go, so that positions and counts fit the 31 bits that Arrow's
/// views and lists have.
pub(super) const PIECE: usize = 1 << 30;

/// What a chunk became.
#[derive(Debug)]
pub struct Decoded {
    /// The rows, in the order of their records. Their strings keep the chunk's bytes alive.
    pub rows: RecordBatch,
    /// The offset of the record that each row came from; rows of one record share it.
    pub offsets: RowOffsets,
    /// What could not become rows, in order.
    pub rejects: Vec<Reject>,
    /// How many records were read: offsets from the chunk's first up to this many were used.
    pub records: u64,
}

/// A record, or a part of one, that could not become a row: a dead letter without its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The offset of the record.
    pub offset: u64,
    /// The bytes: of the record, or of the object in it that failed. They keep the chunk alive.
    pub record: Bytes,
    /// What is wrong, at which byte of `record` (counted from 0), and what to do, as a sentence.
    pub reason: String,
}

/// Decodes the records of one stream; made once and fed chunk after chunk, as it learns what its
/// records look like.
pub struct Decoder {
    pub(super) batch: Batch,
    pub(super) keys: Keys,
    pub(super) strings: Strings,
    pub(super) rejects: Vec<Reject>,
    /// Mean length of the records of the last chunk, to guess how many rows the next one has.
    record_length: usize,
    width: Width,
}

/// Which scanner objects are read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Width {
    /// The widest that this machine has.
    pub(super) fn detect() -> Width {
        #[cfg(target_arch = "x86_64")]
        {
            // What `decode_text_avx2` and `decode_text_avx512` enable.
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            let has_avx512 = has_avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw");
            if has_avx512 {
                return Width::Avx512;
            }
            if has_avx2 {
                return Width::Avx2;
            }
        }
        Width::Baseline
    }
}

impl Decoder {
    /// A decoder into the declared columns.
    ///
    /// # Errors
    /// When a column has a type other than Utf8View, Int64, Int32, Float64, Boolean,
    /// Timestamp(Microsecond, None), Date32, or List of Utf8View or Float64.
    pub fn new(schema: SchemaRef) -> Result<Decoder, UnsupportedColumn> {
        Ok(Decoder {
            keys: Keys::new(schema.fields().iter().map(|field| field.name().as_str())),
            batch: Batch::new(schema)?,
            strings: Strings::new(),
            rejects: Vec::new(),
            record_length: 128,
            width: Width::detect(),
        })
    }

    /// The same with a given scanner, which the machine must have.
    #[cfg(test)]
    pub(super) fn with_width(mut self, width: Width) -> Decoder {
        self.width = width;
        self
    }

    /// The declared columns.
    pub fn schema(&self) -> &Schema {
        &self.batch.schema
    }

    /// Decodes a run of records, one a line; the first has offset `first_offset`.
    ///
    /// The outcome depends on the arguments alone, not on what was decoded before.
    pub fn decode(&mut self, bytes: &Bytes, first_offset: u64) -> Decoded {
        self.decode_in_pieces(bytes, first_offset, PIECE)
    }

    /// Decodes at most `limit` bytes at once, cut between records.
    pub(super) fn decode_in_pieces(
        &mut self,
        bytes: &Bytes,
        first_offset: u64,
        limit: usize,
    ) -> Decoded {
        if bytes.len() <= limit {
            return self.decode_piece(bytes, first_offset);
        }
        let mut batches = Vec::new();
        let mut all = Decoded {
            rows: RecordBatch::new_empty(self.batch.schema.clone()),
            offsets: RowOffsets::default(),
            rejects: Vec::new(),
            records: 0,
        };
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let offset = first_offset + all.records;
            let window = &rest[..rest.len().min(limit)];
            let cut = if window.len() == rest.len() {
                Some(rest.len())
            } else {
                memchr::memrchr(b'\n', window).map(|newline| newline + 1)
            };
            let Some(cut) = cut else {
                let end = memchr::memchr(b'\n', &rest).unwrap_or(rest.len());
                let record = rest.slice(..end);
                let reason = Fault {
                    at: 0,
                    why: Why::TooLong,
                }
                .sentence(&record, 0, &self.batch.schema);
                all.rejects.push(Reject {
                    offset,
                    record,
                    reason,
                });
                all.records += 1;
                rest = rest.slice((end + 1).min(rest.len())..);
                continue;
            };
            let piece = self.decode_piece(&rest.split_to(cut), offset);
            batches.push(piece.rows);
            all.offsets.extend(piece.offsets);
            all.rejects.extend(piece.rejects);
            all.records += piece.records;
        }
        all.rows = concat_batches(&self.batch.schema, &batches)
            .expect("the batches have the schema they are joined by");
        all
    }

    fn decode_piece(&mut self, bytes: &Bytes, first_offset: u64) -> Decoded {
        // A few rows more than expected, so that a little variation needs no growing.
        let expected_rows = bytes.len() / self.record_length;
        self.batch.grow(expected_rows + expected_rows / 16 + 1);
        let is_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let records = match self.width {
            // The bytes are not all text: each record is looked at on its own.
            _ if !is_utf8 => self.decode_lines(bytes, first_offset),
            Width::Baseline => self.decode_text::<scan::Baseline>(bytes, first_offset),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the width was detected.
            Width::Avx2 => unsafe { self.decode_text_avx2(bytes, first_offset) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the width was detected.
            Width::Avx512 => unsafe { self.decode_text_avx512(bytes, first_offset) },
        };
        if records > 0 {
            self.record_length =
                (bytes.len() / usize::try_from(records).unwrap_or(usize::MAX)).max(16);
        }
        // In the order of their numbers in views. Most batches need no side buffer.
        let mut buffers = vec![Buffer::from(bytes.clone())];
        let side = self.strings.take_side();
        if !side.is_empty() {
            buffers.push(Buffer::from(side));
        }
        let (rows, offsets) = self.batch.finish(buffers.into());
        Decoded {
            rows,
            offsets,
            rejects: std::mem::take(&mut self.rejects),
            records,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn decode_text_avx2(&mut self, bytes: &Bytes, first_offset: u64) -> u64 {
        self.decode_text::<scan::Avx2>(bytes, first_offset)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    fn decode_text_avx512(&mut self, bytes: &Bytes, first_offset: u64) -> u64 {
        self.decode_text::<scan::Avx512>(bytes, first_offset)
    }

    /// Decodes bytes that are UTF-8 and returns the number of records.
    ///
    /// A record is expected to be one object. Its end is found by reading it. Whatever else the
    /// line is, it is read again as a line.
    #[inline(always)]
    fn decode_text<S: Scan>(&mut self, bytes: &Bytes, first_offset: u64) -> u64 {
        let text: &[u8] = bytes;
        let mut offset = first_offset;
        let mut at = 0;
        while at < text.len() {
            if text[at] == b'{' {
                self.batch.reserve();
                let side = self.strings.side_length();
                if let Ok(end) = self.object::<S, true>(text, at)
                    && let Some(next) = next_line(text, end)
                {
                    self.batch.push(offset);
                    offset += 1;
                    at = next;
                    continue;
                }
                self.take_back(self.batch.rows(), side);
            }
            let end = line_end(text, at);
            self.line(bytes, at..end, offset);
            offset += 1;
            at = end + 1;
        }
        offset - first_offset
    }

    /// Decodes bytes that are not all UTF-8, line by line, and returns the number of records.
    fn decode_lines(&mut self, bytes: &Bytes, first_offset: u64) -> u64 {
        let mut offset = first_offset;
        let mut at = 0;
        while at < bytes.len() {
            let end = line_end(bytes, at);
            match std::str::from_utf8(&bytes[at..end]) {
                Ok(_) => self.line(bytes, at..end, offset),
                Err(error) => {
                    let fault = Fault {
                        at: at + error.valid_up_to(),
                        why: Why::Utf8,
                    };
                    let reason = fault.sentence(bytes, at, &self.batch.schema);
                    self.rejects.push(Reject {
                        offset,
                        record: bytes.slice(at..end),
                        reason,
                    });
                }
            }
            offset += 1;
            at = end + 1;
        }
        offset - first_offset
    }

    /// Reads the object that begins at `at` into the next row's slots, and returns the position
    /// after it. `IN_CHUNK` only if the text is the chunk.
    #[inline(always)]
    pub(super) fn object<S: Scan, const IN_CHUNK: bool>(
        &mut self,
        text: &[u8],
        at: usize,
    ) -> Result<usize, Box<Fault>> {
        let row = self.batch.rows();
        let mut before = Before::OBJECT;
        let mut at = at;
        let end = loop {
            let (key, value) = self.keys.next(before, text, at)?;
            at = match self.batch.columns.get_mut(key) {
                Some(column) => {
                    match column.assign::<S, IN_CHUNK>(row, text, value, &mut self.strings) {
                        Ok(end) => end,
                        Err(fault) => return Err(fault.in_column(key)),
                    }
                }
                None if key == END => break value,
                None => value::skip::<S>(text, value)?,
            };
            before = Before::after(key);
        };
        match self.batch.missing() {
            None => Ok(end),
            Some(column) => Fault::err(at, Why::Null { column }),
        }
    }

    /// Takes back the rows from `rows` on, with what the row being read left behind, and cuts the
    /// side buffer to `side`.
    #[cold]
    #[inline(never)]
    pub(super) fn take_back(&mut self, rows: usize, side: usize) {
        self.batch.truncate(rows);
        self.strings.truncate_side(side);
    }
}

/// Where the next line begins when nothing but blanks is left on this one.
#[inline(always)]
fn next_line(text: &[u8], end: usize) -> Option<usize> {
    match text.get(end) {
        Some(b'\n') => Some(end + 1),
        None => Some(end),
        Some(_) => {
            let end = skip_blanks(text, end);
            match text.get(end) {
                Some(b'\n') => Some(end + 1),
                None => Some(end),
                Some(_) => None,
            }
        }
    }
}

/// Where the line that `at` is in ends.
fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length)
}
