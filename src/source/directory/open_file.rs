//! A file that is being read: its bytes come in blocks, and records go out.

use bytes::{Bytes, BytesMut};

use super::frame::{Framing, HEAD_BYTES, Lines, RECORD_BYTES_MAX, Values};
use super::place::ReadTo;
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
    pub from: Option<ReadTo>,
    /// Ends in the text, with how far the file was read there; the last is the end of the text.
    pub marks: Vec<(usize, ReadTo)>,
}

/// What is handed out at the end of a file.
#[derive(Debug, PartialEq)]
pub(super) struct End {
    pub framed: Vec<Framed>,
    /// Whether all of the file was read, and nothing more is expected.
    pub done: bool,
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
    begun: bool,
}

impl OpenFile {
    /// A file that is read on from `start`. Compressed ones must be given from their first byte, others from `start`; `head` is how the file begins,
    /// if `start` is not its beginning.
    pub(super) fn new(path: &str, start: ReadTo, head: &[u8]) -> Self {
        let (ReadTo::Stored(at) | ReadTo::Text(at)) = start;
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
            begun: false,
        }
    }

    /// Whether a block costs more than looking for its last newline.
    pub(super) fn is_slow(&self) -> bool {
        self.unzip.is_some() || self.framing != Some(Framing::Lines)
    }

    /// How much was handed out.
    pub(super) fn read_to(&self) -> ReadTo {
        let at = match self.framing {
            Some(Framing::Values) => self.values.ended(),
            _ => self.seen - self.carry.len() as u64,
        };
        self.place(at)
    }

    /// The line that has begun, to be put before the next block by whoever fetches it; empty if it cannot be.
    pub(super) fn take_carry(&mut self) -> Bytes {
        if self.unzip.is_some() {
            return Bytes::new();
        }
        self.seen -= self.carry.len() as u64;
        std::mem::take(&mut self.carry)
    }

    /// Takes the front of `block`, and hands out what became whole by it. To be called until the block is empty.
    pub(super) fn push(&mut self, block: &mut Bytes) -> Result<Vec<Framed>, String> {
        if !self.begun {
            self.begun = true;
            if self.seen == 0 {
                self.unzip = Unzip::for_file(&self.path, block).map_err(|e| e.to_string())?;
            }
        }
        let Some(unzip) = &mut self.unzip else {
            return self.frame(std::mem::take(block));
        };
        let mut text = Vec::new();
        // What the file is shows in its head, however little of it a block holds.
        let enough = match self.framing {
            None => HEAD_BYTES,
            Some(_) => TEXT_BYTES,
        };
        while !block.is_empty() && text.len() < enough {
            let done = unzip
                .step(block, &mut text)
                .map_err(|error| format!("it is not {}: {error}", unzip.format()))?;
            let _ = block.split_to(done);
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

    /// Hands out what is left at the end of the file. If more may be written to the file, that is only what is whole: of a compressed file all, once its
    /// compression has ended.
    pub(super) fn finish(&mut self, complete: bool) -> Result<End, String> {
        let mut framed = Vec::new();
        let mut done = complete;
        if let Some(unzip) = &mut self.unzip {
            let mut text = Vec::new();
            done = match unzip.finish(&mut text) {
                Ok(()) => true,
                Err(_) if !complete => false,
                Err(error) => {
                    return Err(format!(
                        "it is not {}, or was cut short: {error}; write it again, or move it out of the folder",
                        unzip.format()
                    ));
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
            framed.extend(self.lines(lines));
        } else if !self.carry.is_empty() {
            let text = std::mem::take(&mut self.carry);
            framed.extend(self.whole(text));
        }
        Ok(End { framed, done })
    }

    fn frame(&mut self, mut text: Bytes) -> Result<Vec<Framed>, String> {
        // Text that was read in an earlier life.
        let framing = *self.framing.get_or_insert_with(|| Framing::of(&text));
        let known = self.start.saturating_sub(self.seen).min(text.len() as u64);
        let _ = text.split_to(known as usize);
        self.seen += known;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if framing == Framing::Values {
            self.seen += text.len() as u64;
            let mut lines = Lines::default();
            self.values.push(&text, &mut lines);
            if self.values.begun_bytes() > RECORD_BYTES_MAX {
                return Err(too_long());
            }
            return Ok(self.lines(lines).into_iter().collect());
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
    fn whole(&self, text: Bytes) -> Option<Framed> {
        (!text.is_empty()).then(|| Framed {
            from: Some(self.place(self.seen - text.len() as u64)),
            marks: vec![(text.len(), self.place(self.seen))],
            text,
        })
    }

    fn lines(&self, lines: Lines) -> Option<Framed> {
        (!lines.text.is_empty()).then(|| Framed {
            text: Bytes::from(lines.text),
            from: None,
            marks: lines
                .marks
                .into_iter()
                .map(|(end, at)| (end, self.place(at)))
                .collect(),
        })
    }

    fn place(&self, at: u64) -> ReadTo {
        match &self.unzip {
            None => ReadTo::Stored(at),
            Some(_) => ReadTo::Text(at),
        }
    }
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(first.len() + second.len());
    joined.extend_from_slice(first);
    joined.extend_from_slice(second);
    joined.freeze()
}

fn too_long() -> String {
    format!(
        "one record is longer than {} MiB; split the file into one record a line",
        RECORD_BYTES_MAX >> 20
    )
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

    /// The records of a file that comes in blocks, each with the place behind it where the text was cut.
    fn read(file: &[u8], start: ReadTo, block: usize) -> (String, Vec<ReadTo>) {
        let from = match start {
            ReadTo::Stored(at) => at as usize,
            ReadTo::Text(_) => 0,
        };
        let mut open = OpenFile::new("file", start, file);
        let (mut text, mut places) = (String::new(), Vec::new());
        let mut take = |framed: Vec<Framed>| {
            for framed in framed {
                text.push_str(std::str::from_utf8(&framed.text).unwrap());
                assert_eq!(framed.marks.last().unwrap().0, framed.text.len());
                places.extend(framed.marks.iter().map(|(_, place)| *place));
            }
        };
        for block in file[from..].chunks(block) {
            let mut block = Bytes::copy_from_slice(block);
            while !block.is_empty() {
                take(open.push(&mut block).unwrap());
            }
        }
        take(open.finish(true).unwrap().framed);
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
                    let (all, places) = read(&file, ReadTo::START, block);
                    assert_eq!(all, lines);
                    for place in places.into_iter().step_by(3) {
                        let (rest, _) = read(&file, place, block);
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
    fn lines_are_slices_of_their_block() {
        let mut block = Bytes::from(b"{}\n{}\n{".to_vec());
        let begin = block.as_ptr();
        let mut open = OpenFile::new("file", ReadTo::START, b"");
        let framed = open.push(&mut block).unwrap();
        assert_eq!((framed.len(), framed[0].text.as_ptr()), (1, begin));
        assert_eq!(open.read_to(), ReadTo::Stored(6));
        assert_eq!(open.take_carry(), &b"{"[..]);
        let framed = open.push(&mut Bytes::from("{}\n")).unwrap();
        assert_eq!(framed[0].from, Some(ReadTo::Stored(6)));
    }

    #[test]
    fn only_what_is_whole_leaves_a_file_that_may_grow() {
        let mut open = OpenFile::new("file", ReadTo::START, b"");
        assert_eq!(open.push(&mut Bytes::from("{}\n{")).unwrap().len(), 1);
        assert_eq!(open.finish(false).unwrap().framed, vec![]);
        assert_eq!(open.read_to(), ReadTo::Stored(3));
        let mut open = OpenFile::new("file", ReadTo::Stored(3), b"{}\n{}");
        assert_eq!(open.push(&mut Bytes::from("{}")).unwrap(), vec![]);
        assert_eq!(open.finish(true).unwrap().framed[0].text, "{}");
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
            let mut open = OpenFile::new("file.gz", ReadTo::START, b"");
            let mut text = push(&mut open, &file[..cut]);
            let end = open.finish(false).unwrap();
            assert_eq!((end.framed.len(), end.done), (0, false), "{cut}");
            let mut open = OpenFile::new("file.gz", open.read_to(), b"");
            text += &push(&mut open, &file);
            let end = open.finish(false).unwrap();
            assert!(end.done, "{cut}");
            for framed in end.framed {
                text.push_str(std::str::from_utf8(&framed.text).unwrap());
            }
            assert_eq!(text, lines, "{cut}");
            let mut open = OpenFile::new("file.gz", ReadTo::START, b"");
            push(&mut open, &file[..cut]);
            let error = open.finish(true).unwrap_err();
            assert!(error.contains("was cut short"), "{error}");
        }
    }
}
