//! A line that is more, or less, than one object that fits the columns.
//!
//! ```text
//!  line  = item item ..                one after the other, blanks between
//!  item  = object | array | string     the string only outside a string
//!  array = [ object, object, .. ]
//! ```
//! Objects become rows one by one. What an object (or a string) became stands once what follows is
//! allowed: another item, `,` or `]` in an array, or the end of the line. Otherwise it is taken
//! back and rejected with all that follows.

use std::ops::Range;

use bytes::Bytes;

use super::base64;
use super::decoder::{Decoder, Reject};
use super::fault::{Fault, Why};
use super::framing::{BYTE_ORDER_MARK, newlines_to_returns};
use super::scan::Baseline;
use super::strings::unescape;
use super::value::{self, Kind, skip_blanks};

/// After this many rejects the rest of a line is one more, so that a short record cannot become
/// endless dead letters.
const REJECTS_PER_LINE: usize = 1000;

/// The record that is being read.
struct Record<'a> {
    bytes: &'a Bytes,
    offset: u64,
    /// Where in the chunk it is.
    place: Range<usize>,
    /// How many rejects there were before it.
    rejects_before: usize,
    /// Where in the chunk the string is whose content is being read, if one is.
    unwrapped: Option<Range<usize>>,
}

/// What the reader of a line has done so far.
#[derive(Clone, Copy)]
struct Progress {
    at: usize,
    in_array: bool,
    /// What must be taken back if the text goes on as it must not.
    last: Option<Item>,
}

/// An object, a string, or what stands in the place of one: where it began, and how much there was
/// before it.
#[derive(Clone, Copy)]
struct Item {
    start: usize,
    rows: usize,
    side: usize,
    rejects: usize,
}

impl Decoder {
    /// Makes rows or rejects of a line of the chunk, which is UTF-8.
    #[inline(never)]
    pub(super) fn line(&mut self, bytes: &Bytes, line: Range<usize>, offset: u64) {
        // Positions in the text are positions in the chunk, so that views may point to it.
        let text = &bytes[..line.end];
        let record = Record {
            bytes,
            offset,
            place: line,
            rejects_before: self.rejects.len(),
            unwrapped: None,
        };
        let start = record.place.start;
        let mark = text[start..].starts_with(BYTE_ORDER_MARK);
        let start = start + if mark { BYTE_ORDER_MARK.len() } else { 0 };
        self.items(text, start, &record);
    }

    /// Makes rows or rejects of the items from `at` to the end of the text.
    fn items(&mut self, text: &[u8], at: usize, record: &Record<'_>) {
        let mut progress = Progress {
            at: skip_blanks(text, at),
            in_array: false,
            last: None,
        };
        if progress.at == text.len() && record.unwrapped.is_none() {
            return; // a blank line
        }
        loop {
            if self.rejects.len() - record.rejects_before >= REJECTS_PER_LINE {
                let fault = Fault {
                    at: progress.at,
                    why: Why::TooMany,
                };
                return self.reject_rest(text, &progress, fault, record);
            }
            let step = self
                .item(text, &mut progress, record)
                .and_then(|()| between(text, &mut progress));
            match step {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => return self.reject_rest(text, &progress, *fault, record),
            }
        }
    }

    /// Reads one object, unwraps one string, or rejects one other value. The error is text that is
    /// not JSON.
    fn item(
        &mut self,
        text: &[u8],
        progress: &mut Progress,
        record: &Record<'_>,
    ) -> Result<(), Box<Fault>> {
        let start = progress.at;
        let item = Item {
            start,
            rows: self.batch.rows(),
            side: self.strings.side_length(),
            rejects: self.rejects.len(),
        };
        progress.last = None;
        match text.get(start) {
            Some(b'[') if !progress.in_array => {
                let inside = skip_blanks(text, start + 1);
                if text.get(inside) == Some(&b']') {
                    progress.at = inside + 1;
                    progress.last = Some(item);
                    let fault = Fault {
                        at: start,
                        why: Why::EmptyArray,
                    };
                    self.reject(text, start..inside + 1, fault, record);
                    return Ok(());
                }
                progress.in_array = true;
                progress.at = inside;
                return self.item(text, progress, record);
            }
            Some(b'{') => {
                self.batch.reserve();
                let object = match record.unwrapped {
                    None => self.object::<Baseline, true>(text, start),
                    Some(_) => self.object::<Baseline, false>(text, start),
                };
                match object {
                    Ok(end) => {
                        self.batch.push(record.offset);
                        progress.at = end;
                    }
                    Err(fault) => {
                        self.take_back(item.rows, item.side);
                        // If the object is JSON, the fault is its own and its neighbours go
                        // through.
                        progress.at = value::skip::<Baseline>(text, start)?;
                        self.reject(text, start..progress.at, *fault, record);
                    }
                }
                progress.last = Some(item);
                return Ok(());
            }
            _ => {}
        }
        let value = value::read(text, start)?;
        progress.at = value.end;
        progress.last = Some(item);
        let is_wrapped = matches!(value.kind, Kind::Text { .. })
            && !progress.in_array
            && record.unwrapped.is_none();
        if is_wrapped {
            self.unwrap(text, value.start..value.end, record)
        } else {
            let fault = Fault {
                at: start,
                why: Why::NotAnObject { end: value.end },
            };
            self.reject(text, value.start..value.end, fault, record);
        }
        Ok(())
    }

    /// Reads the items inside a string.
    fn unwrap(&mut self, text: &[u8], string: Range<usize>, record: &Record<'_>) {
        let mut content = Vec::new();
        if let Err(fault) = unescape(text, string.start + 1, &mut content) {
            return self.reject(text, string, *fault, record);
        }
        let is_json =
            |content: &[u8]| matches!(content.trim_ascii_start().first(), Some(b'{' | b'['));
        if !is_json(&content)
            && let Some(bytes) = base64::decode(content.trim_ascii())
        {
            content = bytes;
        }
        if !is_json(&content) || std::str::from_utf8(&content).is_err() {
            let fault = Fault {
                at: string.start,
                why: Why::NotWrapped { end: string.end },
            };
            return self.reject(text, string, fault, record);
        }
        // Only the newlines between records end a record.
        newlines_to_returns(&mut content);
        let inside = Record {
            bytes: record.bytes,
            offset: record.offset,
            place: record.place.clone(),
            rejects_before: record.rejects_before,
            unwrapped: Some(string),
        };
        let was_in_chunk = self.strings.set_in_chunk(false);
        self.items(&content, 0, &inside);
        self.strings.set_in_chunk(was_in_chunk);
    }

    /// Rejects everything from the last item on, and takes back what that became.
    fn reject_rest(&mut self, text: &[u8], progress: &Progress, fault: Fault, record: &Record<'_>) {
        let mut start = progress.at;
        if let Some(item) = progress.last {
            self.take_back(item.rows, item.side);
            self.rejects.truncate(item.rejects);
            start = item.start;
        }
        self.reject(text, start..text.len(), fault, record);
    }

    fn reject(&mut self, text: &[u8], part: Range<usize>, fault: Fault, record: &Record<'_>) {
        let (part, origin, inside) = match &record.unwrapped {
            Some(string) => (
                string.clone(),
                0,
                " (bytes are counted in the JSON text inside the string)",
            ),
            None => {
                // A record that fails as a whole is kept as a whole, blanks and brackets included.
                let part = if part.end == record.place.end
                    && text[record.place.start..part.start]
                        .iter()
                        .all(|byte| b" \t\r[".contains(byte))
                {
                    record.place.clone()
                } else {
                    part
                };
                (part.clone(), part.start, "")
            }
        };
        let reason = fault.sentence(text, origin, &self.batch.schema) + inside;
        self.rejects.push(Reject {
            offset: record.offset,
            record: record.bytes.slice(part),
            reason,
        });
    }
}

/// Goes on to the next item; false when there is none.
fn between(text: &[u8], progress: &mut Progress) -> Result<bool, Box<Fault>> {
    loop {
        let at = skip_blanks(text, progress.at);
        match text.get(at) {
            Some(b',') if progress.in_array => {
                progress.at = skip_blanks(text, at + 1);
                progress.last = None;
                return Ok(true);
            }
            Some(b']') if progress.in_array => {
                progress.in_array = false;
                progress.at = at + 1;
            }
            _ if progress.in_array => {
                return Fault::err(at, Why::Expected("`,` or `]` after an object of an array"));
            }
            None => return Ok(false),
            Some(b'{' | b'[' | b'"') => {
                progress.at = at;
                progress.last = None;
                return Ok(true);
            }
            Some(_) => return Fault::err(at, Why::Trailing),
        }
    }
}
