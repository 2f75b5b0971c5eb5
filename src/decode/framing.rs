//! How bytes are framed into records: one a line.

use bytes::Bytes;

/// What editors of Windows put at the start of a file; it is no part of a record.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Where the lines of a chunk are: for the records that fail after decoding.
pub struct LineIndex<'a> {
    bytes: &'a Bytes,
    newlines: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Reads `bytes` once.
    pub fn new(bytes: &'a Bytes) -> Self {
        let newlines = memchr::memchr_iter(b'\n', bytes).collect();
        LineIndex { bytes, newlines }
    }

    /// The record on line `line` (from 0), without its newline; `None` when there are not so many
    /// lines.
    pub fn record(&self, line: u64) -> Option<Bytes> {
        let line = usize::try_from(line).ok()?;
        let start = match line.checked_sub(1) {
            None => 0,
            Some(before) => self.newlines.get(before)? + 1,
        };
        let end = self.newlines.get(line).copied();
        let end = end.unwrap_or(self.bytes.len());
        (start < self.bytes.len()).then(|| self.bytes.slice(start..end))
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
/// Newlines inside become carriage returns. To JSON both are blanks between tokens and both are
/// errors inside a string, so a pretty-printed record stays the same record and a broken one stays
/// broken.
pub fn push_record(chunk: &mut Vec<u8>, record: &[u8]) {
    let start = chunk.len();
    chunk.extend_from_slice(record);
    newlines_to_returns(&mut chunk[start..]);
    chunk.push(b'\n');
}

/// Appends the value of a message, as one line that readers of lines do not pass over: a value of
/// nothing but blanks is the line `""`, which is nobody's row and so becomes a dead letter.
pub fn push_value(chunk: &mut Vec<u8>, value: &[u8]) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    if value.iter().all(blank) {
        chunk.extend_from_slice(b"\"\"\n");
    } else {
        push_record(chunk, value);
    }
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
        }
        assert_eq!(last_newline(b"a\nb\nc"), Some(3));
        assert_eq!(last_newline(b"a"), None);
    }

    #[test]
    fn a_record_is_found_by_its_line() {
        let bytes = Bytes::from("first\n\nthird");
        let lines = LineIndex::new(&bytes);
        for (line, record) in [
            (0, Some("first")),
            (1, Some("")),
            (2, Some("third")),
            (3, None),
        ] {
            assert_eq!(lines.record(line).as_deref(), record.map(str::as_bytes));
        }
    }

    #[test]
    fn a_value_of_blanks_is_a_line_that_is_not_blank() {
        let mut bytes = Vec::new();
        for value in ["", "  ", "\r\n", "{} "] {
            push_value(&mut bytes, value.as_bytes());
        }
        assert_eq!(bytes, b"\"\"\n\"\"\n\"\"\n{} \n");
    }

    #[test]
    fn a_pretty_printed_message_becomes_one_line() {
        let mut bytes = Vec::new();
        push_record(&mut bytes, b"{\n  \"a\": 1\n}");
        push_record(&mut bytes, b"{}");
        assert_eq!(bytes, b"{\r  \"a\": 1\r}\n{}\n");
    }
}
