//! From the text of a file to records, one a line.
//!
//! Most files hold a record a line already, and are handed on as they are. Others hold JSON values
//! that follow each other without newline, arrays that hold everything, or values over several
//! lines: there each value, and each element of an array that is not inside an object, becomes a
//! line. [`Framing::of`] tells which of the two a file is by its first value, and what follows that
//! on its line: a first line that was cut, at its end or at its beginning, is one record.
//!
//! # Invariants
//! 1. What a file is, and where its records end, depends on its bytes alone, not on how they were
//!    fetched.
//! 2. No byte that could belong to a record is dropped: what is not JSON becomes records too, and
//!    is refused later, with its bytes.
//! 3. Broken text costs the records it touches: a newline inside a string, and an object where none
//!    can begin, end the record before.

use crate::decode::{BYTE_ORDER_MARK, push_record};

/// What some programs begin text with; it belongs to no record.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// How much of a file is looked at to tell what it is.
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// The longest record.
pub(super) const RECORD_BYTES_MAX: usize = 32 << 20;

/// Text of values is cut at least every so many bytes.
const MARK_BYTES: usize = 64 << 10;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A record a line.
    Lines,
    /// JSON values, whatever stands between them.
    Values,
}

impl Framing {
    /// What a file is that begins with `head`: up to [`HEAD_BYTES`], less only if the file is
    /// shorter.
    pub(super) fn of(head: &[u8]) -> Framing {
        let head = head.strip_prefix(BOM).unwrap_or(head);
        let head = &head[..head.len().min(HEAD_BYTES)];
        let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
        let Some(first) = head.iter().position(|byte| !byte.is_ascii_whitespace()) else {
            return Framing::Lines;
        };
        if !matches!(head[first], b'{' | b'[' | b'"') {
            return Framing::Lines;
        }
        // The brackets that are open, and the last byte before this one that is not blank.
        let (mut open, mut before) = (Vec::new(), b'\0');
        let (mut string, mut lines, mut at) = (false, false, first);
        while at < head.len() {
            let byte = head[at];
            let begins = !string && matches!(byte, b'{' | b'[' | b'"');
            // A line that was cut ends like one that goes on, but then what follows does not fit.
            if begins && lines && !may_begin(byte, before, open.last().copied()) {
                return Framing::Lines;
            }
            match byte {
                b'\n' if string => return Framing::Lines,
                b'\\' if string => at += 1,
                b'"' => string = !string,
                b'{' | b'[' if !string => open.push(byte),
                b'}' | b']' if !string => drop(open.pop()),
                b'\n' if !value_goes_on(&head[..at], &head[at..]) => return Framing::Lines,
                b'\n' => lines = true,
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
            at += 1;
            if open.is_empty() && !string {
                let after = head.get(at..).unwrap_or_default();
                return match lines || values_follow(head[first], after) {
                    true => Framing::Values,
                    false => Framing::Lines,
                };
            }
        }
        // Even its first value is long, or was cut. A line of a file of lines is hardly ever that
        // long, and framing values suits both.
        Framing::Values
    }
}

/// Whether the line whose first value began with `first` and ended before `after` goes on with
/// other values. If it does not, but goes on, it is a record whose beginning was cut off.
fn values_follow(first: u8, after: &[u8]) -> bool {
    let newline = memchr::memchr(b'\n', after);
    let line = &after[..newline.unwrap_or(after.len())];
    let rest = line.trim_ascii();
    match rest.first() {
        None => false,
        // As in `"key": 1}`.
        Some(next) if first == b'"' => matches!(next, b'{' | b'[' | b'"') && !is_cut(rest),
        // Without a next line there is no record that must be told from this one.
        Some(_) => after[line.len()..].trim_ascii().is_empty() || !is_cut(rest),
    }
}

/// Whether `rest`, which follows a value on its line, closes or names what did not begin there.
fn is_cut(mut rest: &[u8]) -> bool {
    loop {
        let taken = match rest.first() {
            None => return false,
            Some(b'}' | b']' | b':') => return true,
            Some(b',') => 1,
            Some(_) => {
                let values = serde_json::Deserializer::from_slice(rest);
                let mut values = values.into_iter::<serde::de::IgnoredAny>();
                match values.next() {
                    Some(Ok(_)) => values.byte_offset(),
                    _ => return false,
                }
            }
        };
        rest = rest[taken..].trim_ascii_start();
    }
}

/// Whether JSON allows that `byte` begins a value or a key behind `before`, in an object or an
/// array.
fn may_begin(byte: u8, before: u8, inside: Option<u8>) -> bool {
    match before {
        b':' | b'[' => true,
        b',' => byte == b'"' || inside == Some(b'['),
        b'{' => byte == b'"',
        _ => false,
    }
}

/// Whether a newline between `before` and `after` stands inside a value. If not, the line before it
/// was cut short.
fn value_goes_on(before: &[u8], after: &[u8]) -> bool {
    let visible = |byte: &&u8| !byte.is_ascii_whitespace();
    let opens = before.iter().rfind(visible);
    let closes = after.iter().find(visible);
    matches!(opens, Some(b'{' | b'[' | b',' | b':'))
        || matches!(closes, None | Some(b'}' | b']' | b',' | b':'))
}

/// Finds values in text that comes in blocks.
#[derive(Debug, Default)]
pub(super) struct Values {
    inside: Inside,
    /// What came of the value so far, in earlier blocks.
    begun: Vec<u8>,
    /// How many bytes came in all.
    seen: u64,
    /// Where the last whole value ended.
    ended: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    /// Between values.
    #[default]
    Nothing,
    /// An object, with so many braces open.
    Object(usize),
    /// A string, in an object with so many braces open; `true` behind a backslash.
    String(usize, bool),
    /// Something that is not JSON, or a number.
    Other,
}

/// Values as lines, and where they ended in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// A record a line.
    pub text: Vec<u8>,
    /// Ends in the text, with where they are in the file; the last is the end of the text.
    pub marks: Vec<(usize, u64)>,
}

impl Values {
    /// Begins at byte `at` of the text, which is not inside a value.
    pub(super) fn from(at: u64) -> Self {
        Values {
            seen: at,
            ended: at,
            ..Values::default()
        }
    }

    /// Where the last whole value ended.
    #[cfg(test)]
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// How long the value is that has begun and not ended.
    pub(super) fn begun_bytes(&self) -> usize {
        self.begun.len()
    }

    /// Takes a block, and hands out the values that end in it.
    pub(super) fn push(&mut self, block: &[u8], lines: &mut Lines) {
        let mut at = 0;
        while at < block.len() {
            if self.inside == Inside::Nothing {
                match block[at..].iter().position(|byte| !is_between(*byte)) {
                    None => break,
                    Some(blanks) => at += blanks,
                }
                self.inside = match block[at] {
                    b'{' => Inside::Object(0),
                    b'"' => Inside::String(0, false),
                    _ => Inside::Other,
                };
                let end = self.end_of_value(block, at, at + usize::from(block[at] == b'"'));
                at = self.take(block, at, end, lines);
            } else {
                let end = self.end_of_value(block, at, at);
                at = self.take(block, at, end, lines);
            }
        }
        self.seen += block.len() as u64;
    }

    /// Passes over bytes at the beginning of the text.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.seen += bytes;
        self.ended += bytes;
    }

    /// What came of the value that has begun and not ended.
    pub(super) fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// Hands out what has begun: the file ends here.
    pub(super) fn finish(&mut self, lines: &mut Lines) {
        if !self.begun.is_empty() {
            for record in cut_apart(&self.begun) {
                push_record(&mut lines.text, record);
            }
            self.begun.clear();
            self.ended = self.seen;
            lines.marks.push((lines.text.len(), self.ended));
        }
        self.inside = Inside::Nothing;
    }

    fn take(&mut self, block: &[u8], start: usize, end: Option<usize>, lines: &mut Lines) -> usize {
        let Some(end) = end else {
            self.begun.extend_from_slice(&block[start..]);
            return block.len();
        };
        if self.begun.is_empty() {
            push_record(&mut lines.text, &block[start..end]);
        } else {
            self.begun.extend_from_slice(&block[start..end]);
            push_record(&mut lines.text, &self.begun);
            self.begun.clear();
        }
        self.inside = Inside::Nothing;
        self.ended = self.seen + end as u64;
        let mark = (lines.text.len(), self.ended);
        let previous = lines.marks.len().checked_sub(2);
        let begin = previous.map_or(0, |previous| lines.marks[previous].0);
        match lines.marks.last_mut() {
            Some(last) if mark.0 - begin <= MARK_BYTES => *last = mark,
            _ => lines.marks.push(mark),
        }
        end
    }

    /// Behind the value that is being read: `start` is where it begins in the block, or the block's
    /// begin, and `at` is where to look on.
    fn end_of_value(&mut self, block: &[u8], start: usize, mut at: usize) -> Option<usize> {
        loop {
            match self.inside {
                Inside::Nothing => return Some(at),
                Inside::Other => {
                    let rest = &block[at..];
                    let end = |byte: &u8| matches!(byte, b'\n' | b'{' | b',' | b']');
                    return rest.iter().position(end).map(|length| at + length);
                }
                Inside::String(depth, escaped) => {
                    if escaped {
                        if at >= block.len() {
                            return None;
                        }
                        at += 1;
                        self.inside = Inside::String(depth, false);
                    }
                    let found = at + memchr::memchr3(b'"', b'\\', b'\n', block.get(at..)?)?;
                    match block[found] {
                        b'"' if depth == 0 => return Some(found + 1),
                        b'"' => self.inside = Inside::Object(depth),
                        b'\\' => self.inside = Inside::String(depth, true),
                        _ => return Some(found),
                    }
                    at = found + 1;
                }
                Inside::Object(depth) => {
                    let found = at + memchr::memchr3(b'"', b'{', b'}', block.get(at..)?)?;
                    match block[found] {
                        b'"' => self.inside = Inside::String(depth, false),
                        b'{' if depth > 0 && !self.may_hold_object(&block[start..found]) => {
                            return Some(found);
                        }
                        b'{' => self.inside = Inside::Object(depth + 1),
                        _ if depth <= 1 => return Some(found + 1),
                        _ => self.inside = Inside::Object(depth - 1),
                    }
                    at = found + 1;
                }
            }
        }
    }

    /// Whether an object can begin behind what came so far of a value.
    fn may_hold_object(&self, before: &[u8]) -> bool {
        let visible = |byte: &&u8| !byte.is_ascii_whitespace();
        let last = before
            .iter()
            .rfind(visible)
            .or_else(|| self.begun.iter().rfind(visible));
        matches!(last, Some(b':' | b',' | b'['))
    }
}

/// The records of a value that never ended. If each line behind its first is a value, the first was
/// cut, and they are its neighbours.
fn cut_apart(begun: &[u8]) -> Vec<&[u8]> {
    let is_value = |line: &&[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let mut lines = begun.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&[u8]> = lines.filter(|line| !line.trim_ascii().is_empty()).collect();
    if rest.is_empty() || !rest.iter().all(is_value) {
        return vec![begun];
    }
    [vec![first], rest].concat()
}

/// What stands between values: blanks, commas, and the brackets of arrays that hold everything.
fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(text: &str, block: usize) -> (Vec<String>, Vec<(usize, u64)>) {
        let mut values = Values::default();
        let mut lines = Lines::default();
        for block in text.as_bytes().chunks(block) {
            values.push(block, &mut lines);
        }
        values.finish(&mut lines);
        let all = String::from_utf8(lines.text).unwrap();
        let records = all.split_terminator('\n').map(str::to_owned);
        (records.collect(), lines.marks)
    }

    #[test]
    fn files_of_lines_are_told_from_files_of_values() {
        for (head, framing) in [
            ("", Framing::Lines),
            ("\n\n", Framing::Lines),
            ("{\"a\":1}", Framing::Lines),
            ("{\"a\":1}\n{\"a\":2}", Framing::Lines),
            ("{\"a\":\"}{\"} \r\n{}", Framing::Lines),
            ("[{\"a\":1},{\"a\":2}]\n", Framing::Lines),
            ("\"e30=\"\n", Framing::Lines),
            ("not json", Framing::Lines),
            ("{\"cut\": 1\n{\"a\":2}\n", Framing::Lines),
            ("{\"cut\": \"sho\n{\"a\":2}\n", Framing::Lines),
            ("{\"cut\": [\n{\"a\":2}\n{\"a\":3}\n", Framing::Lines),
            ("{\"cut\": {\n{\"a\":2}\n{\"a\":3}\n", Framing::Lines),
            ("{\"cut\": 1,\n{\"a\":2}\n{\"a\":3}\n", Framing::Lines),
            ("{\"cut\":\n{\"a\":2}\n{\"a\":3}\n", Framing::Lines),
            (
                "\"key\": 1, \"b\": {\"c\": 1}}\n{\"a\":2}\n",
                Framing::Lines,
            ),
            ("\"key\": 1}", Framing::Lines),
            ("\",\"b\": \"x\"}\n{\"a\":2}\n", Framing::Lines),
            ("\"x\", \"y\"], \"b\": 1}\n{\"a\":2}\n", Framing::Lines),
            ("{\"c\": 1}}\n{\"a\":2}\n", Framing::Lines),
            ("{\"c\": 1}, \"b\": 2}\n{\"a\":2}\n", Framing::Lines),
            ("{\"c\": 1}, {\"c\": 2}], \"b\": 2}\n{}\n", Framing::Lines),
            ("[1, 2], \"b\": 2}\n{\"a\":2}\n", Framing::Lines),
            ("[1, 2], 3]}\n{\"a\":2}\n", Framing::Lines),
            ("\"e30=\"\"e30=\"", Framing::Values),
            ("\"e30=\" {\"a\":1}\n", Framing::Values),
            ("{\"a\":1}, {\"a\":2}\n{\"a\":3}", Framing::Values),
            ("{\"a\":1} junk {\"a\":2}\n{\"a\":3}", Framing::Values),
            ("{\"a\":1}}{\"a\":2}", Framing::Values),
            ("{\"a\":1}}{\"a\":2}\r\n", Framing::Values),
            ("{\"a\":1},{\"a\":2}]", Framing::Values),
            ("{\"a\":1},{\"a\":2}]\n", Framing::Values),
            ("{\"a\":1},{\"a\":2}]\n \n", Framing::Values),
            ("{\"a\":1},{\"a\":2}]\n{\"a\":3}\n", Framing::Lines),
            ("{\"xs\": [\n{\"a\":2},\n{\"a\":3}\n]\n}", Framing::Values),
            (
                "{\n\"a\":\n{\n\"b\": [\n1,\n\"x\"\n]},\n\"c\": {}}\n",
                Framing::Values,
            ),
            ("\u{feff}{\"a\":1}\n", Framing::Lines),
            ("{\"a\":1}{\"a\":2}", Framing::Values),
            ("{\"a\":1} {\"a\":2}\n", Framing::Values),
            ("{\n  \"a\": 1\n}\n", Framing::Values),
            ("{ \"a\": 1\n, \"b\": 2 }\n", Framing::Values),
            ("[\n{\"a\":1},\n{\"a\":2}\n]\n", Framing::Values),
            ("[{\"a\":1},\n{\"a\":2}]", Framing::Values),
            ("\u{feff}{\n\"a\":1}", Framing::Values),
            ("\u{feff}{\"a\":1}\n", Framing::Lines),
        ] {
            assert_eq!(Framing::of(head.as_bytes()), framing, "{head:?}");
        }
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(HEAD_BYTES));
        assert_eq!(Framing::of(long.as_bytes()), Framing::Values);
    }

    #[test]
    fn values_are_found_whatever_stands_between_them() {
        let objects = ["{\"a\":\"}{\\\"\\\\\"}", "{\"b\":{\"c\":[{}]}}", "{}"];
        for text in [
            objects.join(""),
            objects.join("\n"),
            objects.join(" , "),
            format!("[{}]", objects.join(",")),
            format!("[\n {}\n]\n[]", objects.join(",\n ")),
            format!("[{}][{},{}]", objects[0], objects[1], objects[2]),
        ] {
            for block in [1, 2, 3, 7, 100] {
                assert_eq!(records(&text, block).0, objects, "{text:?} by {block}");
            }
        }
        assert_eq!(records("\"e30=\"\"e30=\"", 4).0, ["\"e30=\"", "\"e30=\""]);
    }

    #[test]
    fn a_value_over_several_lines_stays_one_record() {
        let (found, _) = records("{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", 5);
        assert_eq!(found.len(), 2);
        let value: serde_json::Value = serde_json::from_str(&found[1]).unwrap();
        assert_eq!(value["a"], 2);
    }

    #[test]
    fn broken_text_costs_the_records_it_touches_and_nothing_is_dropped() {
        for (text, expected) in [
            (
                "{\"a\":\"cut\n{\"a\":2}{\"a\":3}",
                vec!["{\"a\":\"cut", "{\"a\":2}", "{\"a\":3}"],
            ),
            (
                "{\"a\":1{\"a\":2}{\"a\":3}",
                vec!["{\"a\":1", "{\"a\":2}", "{\"a\":3}"],
            ),
            ("{}junk here\n{}", vec!["{}", "junk here", "{}"]),
            ("{}}{}", vec!["{}", "}", "{}"]),
            ("{\"a\":1},{}]\n", vec!["{\"a\":1}", "{}"]),
            ("[1,2]{}", vec!["1", "2", "{}"]),
            ("{}{\"a\":", vec!["{}", "{\"a\":"]),
            ("{\"xs\":[\n{\"a\":2}\n", vec!["{\"xs\":[", "{\"a\":2}"]),
        ] {
            for block in [1, 2, 5, 100] {
                assert_eq!(records(text, block).0, expected, "{text:?} by {block}");
            }
        }
    }

    proptest! {
        #[test]
        fn blocks_do_not_matter_and_every_mark_is_a_place_to_read_on(
            text in "[\\{\\}\\[\\]\",:\\\\a \n]{0,60}", block in 1_usize..20
        ) {
            let (whole, _) = records(&text, 1000);
            let (parts, marks) = records(&text, block);
            prop_assert_eq!(&whole, &parts);
            let joined = whole.iter().map(|record| format!("{record}\n")).collect::<String>();
            for (end, at) in marks {
                let (rest, _) = records(&text[at as usize..], 1000);
                let rest = rest.iter().map(|record| format!("{record}\n")).collect::<String>();
                prop_assert_eq!(&joined[end..], &rest);
            }
        }
    }
}
