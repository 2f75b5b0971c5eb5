//! Runs of records as sources hand them over, and the framing that makes them.

use std::sync::Arc;

use bytes::Bytes;

/// A run of consecutive records of one partition, one record a line.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Which stream of the dataflow, by its place in the definition.
    pub stream: usize,
    /// Which partition of the stream's source.
    pub partition: Arc<str>,
    /// The offset of the first record; the others follow without gap.
    pub first_offset: u64,
    /// The records; the newline of the last one may be missing.
    pub bytes: Bytes,
}

impl Chunk {
    /// How many offsets the chunk covers, blank lines included.
    pub fn records(&self) -> u64 {
        count_records(&self.bytes)
    }

    /// The bytes of the record at `offset`, without newline; `None` when the chunk does not cover it.
    ///
    /// Reads the chunk from its start: meant for the rare record that fails after decoding.
    pub fn record_at(&self, offset: u64) -> Option<Bytes> {
        let nth = usize::try_from(offset.checked_sub(self.first_offset)?).ok()?;
        let start = match nth.checked_sub(1) {
            None => 0,
            Some(newlines_before) => {
                memchr::memchr_iter(b'\n', &self.bytes).nth(newlines_before)? + 1
            }
        };
        let rest = &self.bytes[start..];
        if rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        Some(self.bytes.slice(start..start + length))
    }
}

/// How many records `bytes` holds: its lines, the last with or without newline.
pub fn count_records(bytes: &[u8]) -> u64 {
    let newlines = memchr::memchr_iter(b'\n', bytes).count() as u64;
    newlines + u64::from(bytes.last().is_some_and(|&byte| byte != b'\n'))
}

/// Where the last newline is: everything up to and including it is whole records.
pub fn last_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}

/// Appends one record that came as a message (or a file) of its own, as one line.
///
/// Newlines inside become carriage returns. To JSON both are blanks between tokens and both are errors inside a string,
/// so a pretty-printed record stays the same record and a broken one stays broken.
pub fn push_record(chunk: &mut Vec<u8>, record: &[u8]) {
    let start = chunk.len();
    chunk.extend_from_slice(record);
    newlines_to_returns(&mut chunk[start..]);
    chunk.push(b'\n');
}

/// See [`push_record`].
pub(super) fn newlines_to_returns(text: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &text[from..]) {
        text[from + at] = b'\r';
        from += at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: &'static str) -> Chunk {
        Chunk {
            stream: 0,
            partition: "0".into(),
            first_offset: 10,
            bytes: Bytes::from(bytes),
        }
    }

    #[test]
    fn records_are_lines_and_the_last_newline_is_optional() {
        for (bytes, records) in [
            ("", 0),
            ("\n", 1),
            ("a", 1),
            ("a\n", 1),
            ("a\nb", 2),
            ("a\n\nb\n", 3),
        ] {
            assert_eq!(count_records(bytes.as_bytes()), records, "{bytes:?}");
            assert_eq!(chunk(bytes).records(), records, "{bytes:?}");
        }
        assert_eq!(last_newline(b"a\nb\nc"), Some(3));
        assert_eq!(last_newline(b"a"), None);
    }

    #[test]
    fn a_record_is_found_by_its_offset() {
        let chunk = chunk("first\n\nthird");
        assert_eq!(chunk.record_at(9), None);
        assert_eq!(chunk.record_at(10).as_deref(), Some(&b"first"[..]));
        assert_eq!(chunk.record_at(11).as_deref(), Some(&b""[..]));
        assert_eq!(chunk.record_at(12).as_deref(), Some(&b"third"[..]));
        assert_eq!(chunk.record_at(13), None);
    }

    #[test]
    fn a_pretty_printed_message_becomes_one_line() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, b"{\n  \"a\": 1\n}");
        push_record(&mut bytes, b"{}");
        assert_eq!(bytes, b"{\r  \"a\": 1\r}\n{}\n");
    }
}
