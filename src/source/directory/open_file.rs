//! A file that is being read: its bytes come in blocks, and records go out.

use bytes::{Bytes, BytesMut};

use super::frame::{BOM, Framing, HEAD_BYTES, Lines, RECORD_BYTES_MAX, Values};
use super::place::{Ending, ReadTo, Tail};
use super::unzip::Unzip;
use crate::decode::last_newline;

/// Decompressed text is handed on in about these.
const TEXT_BYTES: usize = 1 << 20;

/// Whole records of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Framed {
    /// A record a line; only at the end of the file may the last newline be missing.
    pub text: Bytes,
    /// Where the text begins in the file, if its bytes are the file's.
    pub from: Option<From>,
    /// Ends in the text, with how far the file was read there; the last is the end of the text.
    pub marks: Vec<Marked>,
}

/// Where a text begins in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct From {
    /// How much of the file is before.
    pub read: ReadTo,
    /// The last bytes of that, up to the length of a tail.
    pub before: Bytes,
}

/// A place in a text where reading may go on in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Marked {
    /// Where that is in the text.
    pub end: usize,
    /// How much of the file is before.
    pub read: ReadTo,
    /// The last bytes of that.
    pub tail: Option<Tail>,
}

/// Whether more may be written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// It is the last of its partition.
    GoesOn,
    /// There are later files: what is whole is all there is, but half a record may be waited for.
    Ceases,
    /// Nobody waits for it, but a later run reads on: half a record at its end is left to that.
    Rests,
    /// It is as it will be.
    Over,
}

/// What is handed out at the end of a file.
#[derive(Debug, PartialEq)]
pub(super) struct End {
    pub framed: Vec<Framed>,
    /// Whether all of the file was read, and nothing more is expected.
    pub done: bool,
}

/// Why a file cannot be read on.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    /// Its bytes are not what they should be; a sentence.
    Damaged(String),
    /// What was read of it before is not in it any more.
    Rewritten,
}

/// How a file is read.
pub(super) struct OpenFile {
    path: String,
    unzip: Option<Unzip>,
    /// Known from the first block on.
    framing: Option<Framing>,
    values: Values,
    /// The line that has begun and not ended.
    carry: Bytes,
    /// How much of the text came in.
    seen: u64,
    /// Where reading goes on: text before was read in an earlier life.
    start: u64,
    /// What was at the end of the text that was read in an earlier life, until it has been
    /// compared.
    expected: Option<Tail>,
    /// The end of what was handed out as it is in the file, or in its text.
    handed: Ending,
    /// The end of what is stored, where that is not the same.
    stored: Ending,
    begun: bool,
}

impl OpenFile {
    /// A file that is read on from `start`. Compressed ones must be given from their first byte,
    /// others from `start`; `head` is how the file begins, if `start` is not its beginning, and
    /// `before` ends at `start`. Text before `start` must end in `expected`.
    pub(super) fn new(
        path: &str,
        start: ReadTo,
        expected: Option<Tail>,
        head: &[u8],
        before: &[u8],
    ) -> Self {
        let (ReadTo::Stored(at) | ReadTo::Text(at)) = start;
        let (mut handed, mut stored) = (Ending::default(), Ending::default());
        handed.push(before);
        stored.push(before);
        OpenFile {
            path: path.to_owned(),
            unzip: None,
            framing: (at > 0 && matches!(start, ReadTo::Stored(_))).then(|| Framing::of(head)),
            values: Values::from(at),
            carry: Bytes::new(),
            seen: if matches!(start, ReadTo::Stored(_)) {
                at
            } else {
                0
            },
            start: at,
            expected: expected.filter(|_| matches!(start, ReadTo::Text(_))),
            handed,
            stored,
            begun: false,
        }
    }

    /// Whether a block costs more than looking for its last newline.
    pub(super) fn is_slow(&self) -> bool {
        self.unzip.is_some() || self.framing != Some(Framing::Lines)
    }

    /// How much was handed out.
    #[cfg(test)]
    fn read_to(&self) -> ReadTo {
        let at = match self.framing {
            Some(Framing::Values) => self.values.ended(),
            _ => self.seen - self.carry.len() as u64,
        };
        self.place(at)
    }

    /// The end of the file as it is stored, once all of it came.
    pub(super) fn tail(&self) -> Option<Tail> {
        let is_stored = self.unzip.is_some() || self.framing == Some(Framing::Values);
        let end = if is_stored {
            &self.stored
        } else {
            &self.handed
        };
        Tail::of(&[], end.bytes())
    }

    /// The line that has begun, to be put before the next block by whoever fetches it; empty if it
    /// cannot be.
    pub(super) fn take_carry(&mut self) -> Bytes {
        if self.unzip.is_some() {
            return Bytes::new();
        }
        self.seen -= self.carry.len() as u64;
        std::mem::take(&mut self.carry)
    }

    /// Takes the front of `block`, and hands out what became whole by it. To be called until the
    /// block is empty.
    pub(super) fn push(&mut self, block: &mut Bytes) -> Result<Vec<Framed>, Unreadable> {
        if !self.begun {
            self.begun = true;
            if self.seen == 0 {
                self.unzip = Unzip::for_file(&self.path, block)
                    .map_err(|e| Unreadable::Damaged(e.to_string()))?;
            }
        }
        let Some(unzip) = &mut self.unzip else {
            let block = std::mem::take(block);
            let framed = self.frame(block.clone());
            if self.framing == Some(Framing::Values) {
                self.stored.push(&block);
            }
            return framed;
        };
        let mut text = Vec::new();
        // What the file is shows in its head, however little of it a block holds.
        let enough = match self.framing {
            None => HEAD_BYTES,
            Some(_) => TEXT_BYTES,
        };
        while !block.is_empty() && text.len() < enough {
            let done = unzip.step(block, &mut text).map_err(|error| {
                Unreadable::Damaged(format!("it is not {}: {error}", unzip.format()))
            })?;
            self.stored.push(&block.split_to(done));
        }
        if self.framing.is_none() && self.carry.len() + text.len() < HEAD_BYTES {
            self.seen += text.len() as u64;
            self.carry = join(&self.carry, &text);
            return Ok(Vec::new());
        }
        if self.framing.is_none() {
            self.seen -= self.carry.len() as u64;
            text = join(&std::mem::take(&mut self.carry), &text).into();
        }
        self.frame(Bytes::from(text))
    }

    /// Hands out what is left at the end of the file. If more may be written to the file, that is
    /// only what is whole: of a compressed file all, once its compression has ended.
    pub(super) fn finish(&mut self, writing: Writing) -> Result<End, Unreadable> {
        let complete = matches!(writing, Writing::Over | Writing::Rests);
        let mut framed = Vec::new();
        let mut done = match writing {
            Writing::GoesOn => false,
            Writing::Ceases => self.is_whole(),
            Writing::Rests => !self.is_cut(),
            Writing::Over => true,
        };
        if let Some(unzip) = &mut self.unzip {
            let mut text = Vec::new();
            done = match unzip.finish(&mut text) {
                Ok(()) => true,
                Err(_) if !complete => false,
                Err(error) => {
                    return Err(Unreadable::Damaged(format!(
                        "it is not {}, or was cut short: {error}; write it again, or move it out of the folder",
                        unzip.format()
                    )));
                }
            };
            if done {
                if self.framing.is_none() {
                    self.seen -= self.carry.len() as u64;
                    text = join(&std::mem::take(&mut self.carry), &text).into();
                }
                framed = self.frame(Bytes::from(text))?;
            }
        }
        if !done {
            return Ok(End { framed, done });
        }
        if self.framing == Some(Framing::Values) {
            let mut lines = Lines::default();
            self.values.finish(&mut lines);
            framed.extend(self.lines(lines, |_| None));
        } else if !self.carry.is_empty() {
            let text = std::mem::take(&mut self.carry);
            framed.extend(self.whole(text));
        }
        Ok(End { framed, done })
    }

    /// Whether all text that came is whole records.
    fn is_whole(&self) -> bool {
        match self.framing {
            Some(Framing::Values) => self.values.begun_bytes() == 0,
            _ => self.carry.is_empty() || is_json(&self.carry),
        }
    }

    /// Whether the text ends in the middle of a record that may be completed.
    fn is_cut(&self) -> bool {
        let begun = self.begun().trim_ascii();
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(begun);
        !begun.is_empty() && read.is_err_and(|error| error.is_eof())
    }

    /// What came of the record that has begun and not ended.
    pub(super) fn begun(&self) -> &[u8] {
        match self.framing {
            Some(Framing::Values) => self.values.begun(),
            _ => &self.carry,
        }
    }

    fn frame(&mut self, mut text: Bytes) -> Result<Vec<Framed>, Unreadable> {
        if self.seen == 0 && self.carry.is_empty() && text.starts_with(BOM) {
            let _ = text.split_to(BOM.len());
            self.seen = BOM.len() as u64;
            if self.start == 0 {
                self.values.skip(self.seen);
            }
        }
        // Text that was read in an earlier life.
        let framing = *self.framing.get_or_insert_with(|| Framing::of(&text));
        let known = self.start.saturating_sub(self.seen).min(text.len() as u64);
        if known > 0 {
            self.handed.push(&text.split_to(known as usize));
            self.seen += known;
        }
        if self.seen >= self.start
            && let Some(expected) = self.expected.take()
            && !expected.ends(self.handed.bytes())
        {
            return Err(Unreadable::Rewritten);
        }
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if framing == Framing::Values {
            let began = self.seen;
            self.seen += text.len() as u64;
            let mut lines = Lines::default();
            self.values.push(&text, &mut lines);
            if self.values.begun_bytes() > RECORD_BYTES_MAX {
                return Err(too_long());
            }
            let tail = |at: u64| Tail::of(&[], &text[..at.saturating_sub(began) as usize]);
            return Ok(self.lines(lines, tail).into_iter().collect());
        }
        let mut framed = Vec::new();
        if !self.carry.is_empty() {
            let Some(newline) = memchr::memchr(b'\n', &text) else {
                self.seen += text.len() as u64;
                self.carry = join(&self.carry, &text);
                return if self.carry.len() > RECORD_BYTES_MAX {
                    Err(too_long())
                } else {
                    Ok(framed)
                };
            };
            let line = join(
                &std::mem::take(&mut self.carry),
                &text.split_to(newline + 1),
            );
            self.seen += newline as u64 + 1;
            framed.extend(self.whole(line));
        }
        let whole = last_newline(&text).map_or(0, |newline| newline + 1);
        let lines = text.split_to(whole);
        self.seen += whole as u64;
        framed.extend(self.whole(lines));
        self.seen += text.len() as u64;
        self.carry = text;
        if self.carry.len() > RECORD_BYTES_MAX {
            return Err(too_long());
        }
        Ok(framed)
    }

    /// Text as it is in the file, up to what was seen of it.
    fn whole(&mut self, text: Bytes) -> Option<Framed> {
        if text.is_empty() {
            return None;
        }
        let from = From {
            read: self.place(self.seen - text.len() as u64),
            before: Bytes::copy_from_slice(self.handed.bytes()),
        };
        self.handed.push(&text);
        let mark = Marked {
            end: text.len(),
            read: self.place(self.seen),
            tail: Tail::of(&[], self.handed.bytes()),
        };
        Some(Framed {
            from: Some(from),
            marks: vec![mark],
            text,
        })
    }

    fn lines(&self, lines: Lines, tail: impl Fn(u64) -> Option<Tail>) -> Option<Framed> {
        let mark = |(end, at)| Marked {
            end,
            read: self.place(at),
            tail: tail(at),
        };
        (!lines.text.is_empty()).then(|| Framed {
            text: Bytes::from(lines.text),
            from: None,
            marks: lines.marks.into_iter().map(mark).collect(),
        })
    }

    fn place(&self, at: u64) -> ReadTo {
        match &self.unzip {
            None => ReadTo::Stored(at),
            Some(_) => ReadTo::Text(at),
        }
    }
}

/// Whether a line without newline is one whole value: half of one is not JSON, unless it is a
/// number.
fn is_json(line: &[u8]) -> bool {
    matches!(line.trim_ascii_end().last(), Some(b'}' | b']' | b'"'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(first.len() + second.len());
    joined.extend_from_slice(first);
    joined.extend_from_slice(second);
    joined.freeze()
}

fn too_long() -> Unreadable {
    Unreadable::Damaged(format!(
        "one record is longer than {} MiB; split the file into one record a line",
        RECORD_BYTES_MAX >> 20
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// The records of a file that comes in blocks, each with the place behind it where the text was
    /// cut.
    fn read(
        file: &[u8],
        start: ReadTo,
        tail: Option<Tail>,
        block: usize,
    ) -> (String, Vec<(ReadTo, Option<Tail>)>) {
        let from = match start {
            ReadTo::Stored(at) => at as usize,
            ReadTo::Text(_) => 0,
        };
        let mut open = OpenFile::new("file", start, tail, file, &file[..from]);
        let (mut text, mut places) = (String::new(), Vec::new());
        let mut take = |framed: Vec<Framed>| {
            for framed in framed {
                text.push_str(std::str::from_utf8(&framed.text).unwrap());
                assert_eq!(framed.marks.last().unwrap().end, framed.text.len());
                places.extend(framed.marks.iter().map(|mark| (mark.read, mark.tail)));
            }
        };
        for block in file[from..].chunks(block) {
            let mut block = Bytes::copy_from_slice(block);
            while !block.is_empty() {
                take(open.push(&mut block).unwrap());
            }
        }
        take(open.finish(Writing::Over).unwrap().framed);
        (text, places)
    }

    #[test]
    fn a_file_is_read_on_from_every_place_it_was_left_at() {
        let lines: String = (0..9_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let values = lines.replace('\n', "");
        for text in [&lines, &values] {
            for zipped in [false, true] {
                let file = if zipped {
                    gzip(text)
                } else {
                    text.clone().into_bytes()
                };
                for block in [700, 1 << 20] {
                    let (all, places) = read(&file, ReadTo::START, None, block);
                    assert_eq!(all, lines);
                    for (place, tail) in places.into_iter().step_by(3) {
                        if let (ReadTo::Stored(at), Some(tail)) = (place, tail) {
                            assert!(tail.ends(&file[..at as usize]), "{place}");
                        }
                        let (rest, _) = read(&file, place, tail, block);
                        assert!(all.ends_with(&rest), "{place}");
                        let (ReadTo::Stored(at) | ReadTo::Text(at)) = place;
                        let records = text[..at as usize].matches('{').count();
                        assert_eq!(rest.lines().count(), 9_000 - records, "{place}");
                    }
                }
            }
        }
    }

    #[test]
    fn half_a_record_is_waited_for_in_a_file_that_has_a_successor() {
        for (text, whole) in [
            ("{}\n", true),
            ("{}\n{\"a\":1}", true),
            ("{}\n{\"a\":", false),
            ("{}\n{\"a\":{\"b\":1}", false),
            ("{}\n12", false),
        ] {
            let mut open = OpenFile::new("file", ReadTo::START, None, b"", b"");
            open.push(&mut Bytes::from(text)).unwrap();
            assert_eq!(open.finish(Writing::Ceases).unwrap().done, whole, "{text}");
        }
    }

    #[test]
    fn half_a_record_is_left_to_a_later_run_and_what_is_none_is_not() {
        for (text, done) in [
            ("{}\n{\"a\":1}", true),
            ("{}\n{\"a\":", false),
            ("{}{}{\"a\":{\"b\":1}", false),
            ("{}\n  ", true),
            ("{}\nnonsense", true),
            ("{}\n{\"a\":}", true),
        ] {
            let mut open = OpenFile::new("file", ReadTo::START, None, b"", b"");
            open.push(&mut Bytes::from(text)).unwrap();
            assert_eq!(open.finish(Writing::Rests).unwrap().done, done, "{text}");
        }
        let mut open = OpenFile::new("file.gz", ReadTo::START, None, b"", b"");
        open.push(&mut Bytes::from(gzip("{}\n{\"a\":"))).unwrap();
        assert!(open.finish(Writing::Rests).unwrap().done);
    }

    #[test]
    fn text_that_was_written_anew_is_not_read_on() {
        let lines: String = (0..900).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let (first, second) = (gzip(&lines), gzip(&lines.replace("5", "6")));
        let (_, places) = read(&first, ReadTo::START, None, 100);
        let (read_to, tail) = places[0];
        let mut open = OpenFile::new("file.gz", read_to, tail, b"", b"");
        let mut block = Bytes::from(second);
        let mut pushed = Ok(Vec::new());
        while pushed.is_ok() && !block.is_empty() {
            pushed = open.push(&mut block);
        }
        // A short text is framed at its end.
        let pushed = pushed.and_then(|_| open.finish(Writing::Over));
        assert_eq!(pushed, Err(Unreadable::Rewritten));
    }

    #[test]
    fn a_mark_at_the_beginning_belongs_to_no_record() {
        for text in ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":1}{\"a\":2}"] {
            let file = format!("\u{feff}{text}").into_bytes();
            let (all, places) = read(&file, ReadTo::START, None, 1 << 20);
            assert_eq!(all, "{\"a\":1}\n{\"a\":2}\n");
            assert_eq!(places.last().unwrap().0, ReadTo::Stored(file.len() as u64));
        }
    }

    #[test]
    fn lines_are_slices_of_their_block() {
        let mut block = Bytes::from(b"{}\n{}\n{".to_vec());
        let begin = block.as_ptr();
        let mut open = OpenFile::new("file", ReadTo::START, None, b"", b"");
        let framed = open.push(&mut block).unwrap();
        assert_eq!((framed.len(), framed[0].text.as_ptr()), (1, begin));
        assert_eq!(open.read_to(), ReadTo::Stored(6));
        assert_eq!(open.take_carry(), &b"{"[..]);
        let framed = open.push(&mut Bytes::from("{}\n")).unwrap();
        assert_eq!(framed[0].from.as_ref().unwrap().read, ReadTo::Stored(6));
    }

    #[test]
    fn only_what_is_whole_leaves_a_file_that_may_grow() {
        let mut open = OpenFile::new("file", ReadTo::START, None, b"", b"");
        assert_eq!(open.push(&mut Bytes::from("{}\n{")).unwrap().len(), 1);
        assert_eq!(open.finish(Writing::GoesOn).unwrap().framed, vec![]);
        assert_eq!(open.read_to(), ReadTo::Stored(3));
        let mut open = OpenFile::new("file", ReadTo::Stored(3), None, b"{}\n{}", b"{}\n");
        assert_eq!(open.push(&mut Bytes::from("{}")).unwrap(), vec![]);
        assert_eq!(open.finish(Writing::Over).unwrap().framed[0].text, "{}");
        assert_eq!(open.read_to(), ReadTo::Stored(5));
    }

    #[test]
    fn a_compressed_file_that_may_grow_is_done_when_its_compression_ends() {
        let lines: String = (0..9_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let file = gzip(&lines);
        let push = |open: &mut OpenFile, bytes: &[u8]| {
            let mut block = Bytes::copy_from_slice(bytes);
            let mut text = String::new();
            while !block.is_empty() {
                for framed in open.push(&mut block).unwrap() {
                    text.push_str(std::str::from_utf8(&framed.text).unwrap());
                }
            }
            text
        };
        for cut in [1, 5, file.len() / 2, file.len() - 4] {
            let mut open = OpenFile::new("file.gz", ReadTo::START, None, b"", b"");
            let mut text = push(&mut open, &file[..cut]);
            let end = open.finish(Writing::GoesOn).unwrap();
            assert_eq!((end.framed.len(), end.done), (0, false), "{cut}");
            let mut open = OpenFile::new("file.gz", open.read_to(), None, b"", b"");
            text += &push(&mut open, &file);
            let end = open.finish(Writing::GoesOn).unwrap();
            assert!(end.done, "{cut}");
            for framed in end.framed {
                text.push_str(std::str::from_utf8(&framed.text).unwrap());
            }
            assert_eq!(text, lines, "{cut}");
            let mut open = OpenFile::new("file.gz", ReadTo::START, None, b"", b"");
            push(&mut open, &file[..cut]);
            let error = open.finish(Writing::Over).unwrap_err();
            let Unreadable::Damaged(why) = error else {
                panic!("{error:?}");
            };
            assert!(why.contains("was cut short"), "{why}");
        }
    }
}
