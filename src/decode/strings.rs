//! Where the text of TEXT columns lives: string views, and the side buffer for text that is not in
//! the chunk as it should be.
//!
//! A view is Arrow's 16 bytes: the length, and either up to 12 bytes of text or its first four, a
//! buffer's number and an offset.

use super::fault::{Fault, Why};
use super::scan::{Baseline, Scan, block_at, plain_end};

/// Text up to this length is in its view.
const INLINE: usize = 12;

/// The number of the chunk among a batch's buffers.
const CHUNK: u64 = 0;

/// The number of the side buffer among a batch's buffers.
const SIDE: u64 = 1;

/// The bits of the first bytes of a word, by how many.
const FIRST: [u128; INLINE + 1] = {
    let mut masks = [0; INLINE + 1];
    let mut count = 1;
    while count <= INLINE {
        masks[count] = masks[count - 1] << 8 | 0xFF;
        count += 1;
    }
    masks
};

/// Makes views.
pub(super) struct Strings {
    side: Vec<u8>,
    /// Whether the text being read is the chunk, so that views may point to it.
    in_chunk: bool,
}

impl Strings {
    pub(super) fn new() -> Strings {
        Strings {
            side: Vec::new(),
            in_chunk: true,
        }
    }

    /// From here on the text is the chunk, or something else whose strings must be copied. Says
    /// what it was before.
    pub(super) fn set_in_chunk(&mut self, in_chunk: bool) -> bool {
        std::mem::replace(&mut self.in_chunk, in_chunk)
    }

    /// How much of the side buffer is used.
    #[inline(always)]
    pub(super) fn side_length(&self) -> usize {
        self.side.len()
    }

    /// Forgets the side buffer's text from `length` on; no view may point there.
    pub(super) fn truncate_side(&mut self, length: usize) {
        self.side.truncate(length);
    }

    /// Hands over the side buffer.
    pub(super) fn take_side(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.side)
    }

    /// A view of the string whose quote is at `at` in the chunk, and the position after its closing
    /// quote, when it is plain and not near the end of the chunk.
    #[inline(always)]
    pub(super) fn plain_in_chunk<S: Scan>(text: &[u8], at: usize) -> Option<(u128, usize)> {
        let block = block_at::<65>(text, at)?;
        if block[0] != b'"' {
            return None;
        }
        let start = at + 1;
        let content = block[1..].first_chunk::<64>()?;
        let special = S::first_special(content);
        let end = if special < 64 {
            if content[special] != b'"' {
                return None;
            }
            if special <= INLINE {
                let bytes = u128::from_le_bytes(*content.first_chunk::<16>()?);
                return Some((inline(bytes, special), start + special + 1));
            }
            start + special
        } else {
            let end = plain_end::<S>(text, start + 64);
            if text.get(end) != Some(&b'"') {
                return None;
            }
            end
        };
        Some((
            outline(content.first_chunk::<4>()?, end - start, CHUNK, start),
            end + 1,
        ))
    }

    /// A view of `text[start..end]`, which is plain.
    pub(super) fn plain(&mut self, text: &[u8], start: usize, end: usize) -> u128 {
        if self.in_chunk {
            view(&text[start..end], CHUNK, start)
        } else if end - start <= INLINE {
            view(&text[start..end], SIDE, 0)
        } else {
            let from = self.side.len();
            self.side.extend_from_slice(&text[start..end]);
            view(&text[start..end], SIDE, from)
        }
    }

    /// What `use_content` makes of the string with escapes whose content begins at `start`; nothing
    /// is kept.
    pub(super) fn with_unescaped<T>(
        &mut self,
        text: &[u8],
        start: usize,
        use_content: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Box<Fault>> {
        let from = self.side.len();
        let result = unescape(text, start, &mut self.side).map(|_| use_content(&self.side[from..]));
        self.side.truncate(from);
        result
    }

    /// A view of the string whose content begins at `start`, and the position of its closing quote.
    pub(super) fn string(
        &mut self,
        text: &[u8],
        start: usize,
    ) -> Result<(u128, usize), Box<Fault>> {
        let end = plain_end::<Baseline>(text, start);
        if text.get(end) == Some(&b'"') {
            return Ok((self.plain(text, start, end), end));
        }
        self.unescaped(text, start)
    }

    /// A view of the string with escapes whose content begins at `start`, and the position of its
    /// closing quote.
    fn unescaped(&mut self, text: &[u8], start: usize) -> Result<(u128, usize), Box<Fault>> {
        let from = self.side.len();
        let end = unescape(text, start, &mut self.side)?;
        let view = view(&self.side[from..], SIDE, from);
        if self.side.len() - from <= INLINE {
            self.side.truncate(from);
        }
        Ok((view, end))
    }
}

/// The view of a text that is found in `buffer` at `offset`, if it does not fit into the view.
fn view(content: &[u8], buffer: u64, offset: usize) -> u128 {
    match content.first_chunk::<4>() {
        Some(prefix) if content.len() > INLINE => outline(prefix, content.len(), buffer, offset),
        _ => {
            let mut bytes = [0; 16];
            bytes[..content.len()].copy_from_slice(content);
            inline(u128::from_le_bytes(bytes), content.len())
        }
    }
}

/// A view that holds its text: the first `length` of `bytes`.
#[inline(always)]
fn inline(bytes: u128, length: usize) -> u128 {
    let kept = bytes & FIRST[length];
    kept << 32 | length as u128
}

/// A view that points to its text, which begins with `prefix` and has more than [`INLINE`] bytes.
#[inline(always)]
fn outline(prefix: &[u8; 4], length: usize, buffer: u64, offset: usize) -> u128 {
    let low = u64::from(u32::from_le_bytes(*prefix)) << 32 | length as u64;
    let high = (offset as u64) << 32 | buffer;
    u128::from(high) << 64 | u128::from(low)
}

/// Appends the content of the string that begins at `from` (after its quote) to `out`, escapes
/// resolved, and returns the position of the closing quote. On a fault `out` holds the part before
/// it.
pub(super) fn unescape(text: &[u8], from: usize, out: &mut Vec<u8>) -> Result<usize, Box<Fault>> {
    let mut at = from;
    loop {
        let end = plain_end::<Baseline>(text, at);
        out.extend_from_slice(&text[at..end]);
        match text.get(end) {
            Some(b'"') => return Ok(end),
            Some(b'\\') => {}
            Some(_) => return Fault::err(end, Why::ControlByte),
            None => return Fault::err(from.saturating_sub(1), Why::UnclosedString),
        }
        at = end + 2;
        out.push(match text.get(end + 1) {
            Some(b'u') => {
                let (character, next) = unicode(text, end)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at = next;
                continue;
            }
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(&itself @ (b'"' | b'\\' | b'/')) => itself,
            Some(_) => return Fault::err(end, Why::Escape),
            None => return Fault::err(from.saturating_sub(1), Why::UnclosedString),
        });
    }
}

/// The character that the `\u` escape at `at` (perhaps with the one after it) stands for, and where
/// the text goes on.
fn unicode(text: &[u8], at: usize) -> Result<(char, usize), Box<Fault>> {
    let first = hex(text, at)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, at + 6));
    }
    if first >= 0xDC00 || text.get(at + 6..at + 8) != Some(b"\\u") {
        return Fault::err(at, Why::LoneSurrogate);
    }
    let second = hex(text, at + 6)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Fault::err(at, Why::LoneSurrogate);
    }
    match char::from_u32(0x10000 + ((first - 0xD800) << 10 | (second - 0xDC00))) {
        Some(character) => Ok((character, at + 12)),
        None => Fault::err(at, Why::LoneSurrogate),
    }
}

/// The four hexadecimal digits of the `\u` escape at `at`.
pub(super) fn hex(text: &[u8], at: usize) -> Result<u32, Box<Fault>> {
    let digits = text.get(at + 2..).and_then(|rest| rest.first_chunk::<4>());
    let mut number = 0;
    for &digit in digits.map_or(&b"-"[..], |digits| digits) {
        match char::from(digit).to_digit(16) {
            Some(digit) => number = number << 4 | digit,
            None => return Fault::err(at, Why::Escape),
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(content: &str) -> Result<String, Why> {
        let mut out = Vec::new();
        match unescape(format!("\"{content}\"").as_bytes(), 1, &mut out) {
            Ok(end) => {
                assert_eq!(end, content.len() + 1);
                Ok(String::from_utf8(out).unwrap())
            }
            Err(fault) => Err(fault.why),
        }
    }

    #[test]
    fn every_escape_is_resolved() {
        assert_eq!(
            unescaped(r#"\"\\\/\b\f\n\r\t"#).unwrap(),
            "\"\\/\u{8}\u{c}\n\r\t"
        );
        assert_eq!(
            unescaped(r"a\u00e9\u00E9 \u2026\u00a0z").unwrap(),
            "aéé …\u{a0}z"
        );
        assert_eq!(unescaped(r"\ud83d\ude00\u0000").unwrap(), "😀\0");
    }

    #[test]
    fn escapes_that_mean_nothing_are_faults() {
        for content in [
            r"\x",
            r"\u12",
            r"\u12g4",
            r"\U0041",
            r"\u+123",
            r"\ud83d\u12",
        ] {
            assert_eq!(unescaped(content), Err(Why::Escape), "{content}");
        }
        for content in [
            r"\ud83d",
            r"\ude00",
            r"\ud83dx",
            r"\ud83d\n",
            r"\ud83d\u0041",
            r"\ud83d\ud83d",
        ] {
            assert_eq!(unescaped(content), Err(Why::LoneSurrogate), "{content}");
        }
        assert_eq!(unescaped("a\tb"), Err(Why::ControlByte));
        assert_eq!(unescaped(r"a\"), Err(Why::UnclosedString));
    }

    #[test]
    fn short_text_is_in_its_view_and_long_text_is_pointed_to() {
        let text = b"0123456789abcdef";
        let mut strings = Strings::new();
        assert_eq!(strings.plain(text, 3, 3).to_le_bytes(), [0; 16]);
        assert_eq!(
            &strings.plain(text, 3, 15).to_le_bytes(),
            b"\x0c\0\0\x003456789abcde"
        );
        assert_eq!(
            &strings.plain(text, 2, 15).to_le_bytes(),
            b"\x0d\0\0\x002345\0\0\0\0\x02\0\0\0"
        );
        strings.set_in_chunk(false);
        strings.plain(text, 0, 16);
        assert_eq!(
            &strings.plain(text, 2, 15).to_le_bytes(),
            b"\x0d\0\0\x002345\x01\0\0\0\x10\0\0\0"
        );
    }
}
