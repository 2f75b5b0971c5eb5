//! Deletions as lines of a file.
//!
//! A chunk keeps the key that a tombstone deletes beside its text, where a blank line has its
//! offset. In a file there is only the text, so the archive writes the line `{"__tombstone":"75"}`
//! there instead, with the key as a JSON string (`{"__tombstone":{"base64":".."}}` if it is no
//! UTF-8), and whoever reads files takes it out again.
//!
//! A value that begins like such a line is escaped by a leading blank, which JSON ignores, wherever
//! values are written in this layout: a producer's value never acts as a deletion.
//!
//! # Invariants
//! 1. Lines keep their numbers, so offsets stay what they are.
//! 2. A line that begins like one of these and is none is a record like any other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::{Delete, Refused};

const BEGIN: &[u8] = b"{\"__tombstone\":";
/// What a line begins with that holds the beginning of a record whose end could not be read. What
/// had begun may be JSON by itself; this line is not, so its reader has a dead letter, too.
const CUT: &[u8] = b"cut: ";

/// Whether a value must be escaped by a blank before it is written as a line.
#[inline]
pub fn is_like(value: &[u8]) -> bool {
    value.starts_with(BEGIN)
}

/// Appends a producer's value as a line of a file, which is a record to whoever reads it.
pub fn push_value(lines: &mut Vec<u8>, value: &[u8]) {
    if is_like(value) {
        lines.push(b' ');
    }
    crate::decode::push_value(lines, value);
}

/// The values of `text`, a record a line, none of which begins like a deletion any more.
fn escape(text: &Bytes) -> Bytes {
    let mut escaped = Vec::new();
    let mut copied = 0;
    for begin in memchr::memmem::find_iter(text, BEGIN) {
        if begin == 0 || text[begin - 1] == b'\n' {
            escaped.extend_from_slice(&text[copied..begin]);
            escaped.push(b' ');
            copied = begin;
        }
    }
    if escaped.is_empty() {
        return text.clone();
    }
    escaped.extend_from_slice(&text[copied..]);
    escaped.into()
}

/// The text of a chunk whose first record is at `first_offset`, with a line for each of its
/// deletions.
pub fn write(text: &Bytes, first_offset: u64, deletes: &[Delete]) -> Bytes {
    let text = escape(text);
    if deletes.is_empty() {
        return text;
    }
    let mut written = Vec::with_capacity(text.len() + deletes.len() * 32);
    let (mut rest, mut offset) = (&text[..], first_offset);
    for delete in deletes {
        copy_lines(&mut written, &mut rest, delete.offset - offset);
        offset = delete.offset;
        written.extend_from_slice(BEGIN);
        let key = match std::str::from_utf8(&delete.key) {
            Ok(key) => Value::from(key),
            Err(_) => serde_json::json!({"base64": STANDARD.encode(&delete.key)}),
        };
        written.extend_from_slice(key.to_string().as_bytes());
        written.push(b'}');
    }
    written.extend_from_slice(rest);
    Bytes::from(written)
}

/// `text` as [`write`] made it, with what had begun of a record where a file could not be read on,
/// behind [`CUT`].
pub fn write_refused(text: Bytes, first_offset: u64, refused: &[Refused]) -> Bytes {
    if refused.is_empty() {
        return text;
    }
    let (mut written, mut rest) = (Vec::new(), &text[..]);
    let mut offset = first_offset;
    for refused in refused {
        copy_lines(&mut written, &mut rest, refused.offset - offset);
        // The line ends itself, and takes the place of the blank one.
        crate::decode::push_record(&mut written, &[CUT, &refused.begun].concat());
        rest = &rest[line_length(rest)..];
        offset = refused.offset + 1;
    }
    written.extend_from_slice(rest);
    Bytes::from(written)
}

/// Moves `count` lines from the front of `rest`.
fn copy_lines(written: &mut Vec<u8>, rest: &mut &[u8], count: u64) {
    for _ in 0..count {
        let (line, after) = rest.split_at(line_length(rest));
        written.extend_from_slice(line);
        *rest = after;
    }
}

/// The text of a chunk whose first record is at `first_offset`, as sources hand it over: with blank
/// lines where something is deleted, and what that is.
pub fn read(text: Bytes, first_offset: u64) -> (Bytes, Vec<Delete>) {
    let mut deletes = Vec::new();
    let mut blanked = Vec::new();
    // Up to where the text was copied, and the offset there.
    let (mut copied, mut offset) = (0, first_offset);
    for begin in memchr::memmem::find_iter(&text, BEGIN) {
        if begin > 0 && text[begin - 1] != b'\n' {
            continue;
        }
        let length = line_length(&text[begin..]);
        let line = text[begin..begin + length].trim_ascii_end();
        let Some(key) = key(line) else { continue };
        offset += memchr::memchr_iter(b'\n', &text[copied..begin]).count() as u64;
        deletes.push(Delete { offset, key });
        blanked.extend_from_slice(&text[copied..begin]);
        // The newline stays, if there is one; a blank last line needs it to be a line.
        copied = begin + line.len();
        if copied == text.len() {
            blanked.push(b'\n');
        }
    }
    if deletes.is_empty() {
        return (text, deletes);
    }
    blanked.extend_from_slice(&text[copied..]);
    (Bytes::from(blanked), deletes)
}

/// The key that a line deletes, if it is such a line.
fn key(line: &[u8]) -> Option<Bytes> {
    let value = line.strip_prefix(BEGIN)?.strip_suffix(b"}")?;
    match serde_json::from_slice(value).ok()? {
        Value::String(key) => Some(Bytes::from(key)),
        Value::Object(fields) if fields.len() == 1 => {
            let encoded = fields.get("base64")?.as_str()?;
            STANDARD.decode(encoded).ok().map(Bytes::from)
        }
        _ => None,
    }
}

/// The length of the first line, its newline included.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_deletion_is_a_line_that_names_the_key() {
        let deletes = [
            Delete {
                offset: 11,
                key: Bytes::from("75"),
            },
            Delete {
                offset: 13,
                key: Bytes::from(&b"\xff"[..]),
            },
        ];
        let text = write(&Bytes::from("{\"a\":1}\n\n{\"a\":2}\n\n"), 10, &deletes);
        let lines = "{\"a\":1}\n{\"__tombstone\":\"75\"}\n{\"a\":2}\n{\"__tombstone\":{\"base64\":\"/w==\"}}\n";
        assert_eq!(text, lines);
    }

    #[test]
    fn a_value_that_looks_like_a_deletion_stays_a_value() {
        let value = "{\"__tombstone\":\"75\"}";
        let mut line = Vec::new();
        push_value(&mut line, value.as_bytes());
        let archived = write(&Bytes::from(format!("{{}}\n{value}\n")), 0, &[]);
        for (text, records) in [(Bytes::from(line), 1), (archived, 2)] {
            let (read, deletes) = read(text.clone(), 0);
            assert_eq!((&read, deletes.len()), (&text, 0));
            let last = String::from_utf8(read.to_vec()).unwrap();
            assert_eq!(last.lines().count(), records);
            assert_eq!(last.lines().last().unwrap().trim_start(), value);
        }
    }

    #[test]
    fn what_had_begun_of_a_record_in_a_bad_file_is_a_line() {
        let refused = |offset, begun: &'static str| Refused {
            offset,
            file: "pin/1.jsonl.gz".to_owned(),
            why: "it was cut short".to_owned(),
            begun: begun.into(),
        };
        let text = Bytes::from("{}\n\n\n{}\n\n");
        let refused = [
            refused(11, "{\"a\":\n"),
            refused(12, "{\"a\":1}"),
            refused(14, ""),
        ];
        let written = write_refused(text.clone(), 10, &refused);
        assert_eq!(written, "{}\ncut: {\"a\":\r\ncut: {\"a\":1}\n{}\ncut: \n");
        assert_eq!(write_refused(text.clone(), 10, &[]), text);
    }

    #[test]
    fn what_only_begins_like_a_deletion_is_a_record() {
        let text = "{\"__tombstone\":75}\n{\"__tombstone\":\"75\",\"b\":1}\n{\"__tombstone\":\"7\n {\"__tombstone\":\"75\"}";
        let (read, deletes) = read(Bytes::from(text), 0);
        assert_eq!((read, deletes), (Bytes::from(text), Vec::new()));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            lines in prop::collection::vec(
                prop_oneof![
                    Just(Ok(String::new())),
                    "[a-z\\{\\}:\"_]{1,12}".prop_map(Ok),
                    "[0-9]{1,3}".prop_map(|key| Ok(format!("{{\"__tombstone\":\"{key}\"}}"))),
                    prop::collection::vec(any::<u8>(), 0..6).prop_map(Err),
                ],
                1..12,
            ),
            first_offset in 0_u64..1000,
        ) {
            let mut text = String::new();
            let mut deletes = Vec::new();
            for (offset, line) in (first_offset..).zip(&lines) {
                match line {
                    Ok(record) => text.push_str(record),
                    Err(key) => deletes.push(Delete { offset, key: Bytes::from(key.clone()) }),
                }
                text.push('\n');
            }
            let written = write(&Bytes::from(text.clone()), first_offset, &deletes);
            prop_assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), lines.len());
            // Without the last newline, too.
            for written in [written.clone(), written.slice(..written.len() - 1)] {
                let (read, found) = read(written, first_offset);
                let read = String::from_utf8_lossy(&read).into_owned();
                let read = read.replace(" {", "{");
                prop_assert_eq!(read.trim_end_matches('\n'), text.trim_end_matches('\n'));
                prop_assert_eq!(&found, &deletes);
            }
        }
    }
}
