//! Which column comes next: speculation on the order of keys.
//!
//! Producers write the keys of every record in the same order and with the same blanks. So for each
//! key there is a guess of the bytes that follow its value, from the comma to the first byte of the
//! next value (`,"title":` or `, "title": ` or the closing `}`), learned from earlier records.
//! Comparing up to 32 bytes under a mask then replaces skipping blanks, scanning the key and
//! looking it up. There are two guesses after each key: the likely one, and the one seen before it,
//! so that one odd record does not spoil the next. Where both are wrong the key is read as any JSON
//! parser would, and learned.
//!
//! Guesses belong to keys, not to whole records: an extra, missing or moved key costs one look-up,
//! no more.

use rustc_hash::FxHashMap;

use super::fault::{Fault, Why};
use super::scan::{Baseline, block_at, plain_end};
use super::strings::unescape;
use super::value::skip_blanks;

/// A declared column by its index, an undeclared key by a number above those, or [`END`].
pub(super) type Key = usize;

/// In place of a key: the object is closed.
pub(super) const END: Key = usize::MAX;

/// The longest text between two values that is guessed.
const GUESS: usize = 32;

/// How many undeclared keys get guesses of their own; the others share theirs.
const UNDECLARED: usize = 64;

/// Undeclared keys longer than this share their guesses too, so that memory stays bounded.
const UNDECLARED_LENGTH: usize = 64;

/// The keys of one stream and the order in which they were last seen.
pub(super) struct Keys {
    by_name: FxHashMap<Box<[u8]>, Key>,
    /// Undeclared keys that may still be named.
    nameable: usize,
    /// The key of undeclared keys that have no name here.
    nameless: Key,
    /// What follows: first the beginning of an object, then each key.
    after: Vec<Guesses>,
    unescaped: Vec<u8>,
}

/// Aligned so that finding one takes a shift.
#[derive(Clone, Default)]
#[repr(align(256))]
struct Guesses {
    likely: Guess,
    other: Guess,
}

/// The text between two values, padded, with a mask of the bytes that count.
#[derive(Clone)]
struct Guess {
    text: [u8; GUESS],
    mask: [u8; GUESS],
    length: usize,
    key: Key,
}

impl Default for Guess {
    /// A guess that is never right: no text contains a byte 0xFF.
    fn default() -> Self {
        Guess {
            text: [0xFF; GUESS],
            mask: [0xFF; GUESS],
            length: GUESS,
            key: END,
        }
    }
}

impl Guess {
    fn new(text: &[u8], key: Key) -> Option<Guess> {
        let mut guess = Guess {
            text: [0; GUESS],
            mask: [0; GUESS],
            length: text.len(),
            key,
        };
        guess.text.get_mut(..text.len())?.copy_from_slice(text);
        guess.mask[..text.len()].fill(0xFF);
        Some(guess)
    }

    #[inline(always)]
    fn matches(&self, block: &[u8; GUESS]) -> bool {
        let expected = self.text.iter().zip(&self.mask);
        let differs = expected
            .zip(block)
            .fold(0, |differs, ((text, mask), byte)| {
                differs | ((text ^ byte) & mask)
            });
        differs == 0
    }
}

/// The state between two values: what came before.
#[derive(Clone, Copy)]
pub(super) struct Before(usize);

impl Before {
    /// At the `{` of an object.
    pub(super) const OBJECT: Before = Before(0);

    /// After the value of `key`.
    #[inline(always)]
    pub(super) fn after(key: Key) -> Before {
        Before(key + 1)
    }
}

impl Keys {
    /// The declared names, in column order.
    pub(super) fn new<'a>(columns: impl ExactSizeIterator<Item = &'a str>) -> Keys {
        let nameless = columns.len() + UNDECLARED;
        let mut by_name = FxHashMap::default();
        for (key, name) in columns.enumerate() {
            by_name.insert(name.as_bytes().into(), key);
        }
        Keys {
            by_name,
            nameable: UNDECLARED,
            nameless,
            after: vec![Guesses::default(); nameless + 2],
            unescaped: Vec::new(),
        }
    }

    /// The next key and where its value begins, or [`END`] and where the object ended.
    #[inline(always)]
    pub(super) fn next(
        &mut self,
        before: Before,
        text: &[u8],
        at: usize,
    ) -> Result<(Key, usize), Box<Fault>> {
        if let Some(block) = block_at::<GUESS>(text, at) {
            let Guesses { likely, other } = &self.after[before.0];
            if likely.matches(block) {
                return Ok((likely.key, at + likely.length));
            }
            if other.matches(block) {
                return Ok(self.swap(before, at));
            }
        }
        self.read(before, text, at)
    }

    /// The other guess was right, so it becomes the likely one.
    #[inline(never)]
    fn swap(&mut self, before: Before, at: usize) -> (Key, usize) {
        let Guesses { likely, other } = &mut self.after[before.0];
        std::mem::swap(likely, other);
        (likely.key, at + likely.length)
    }

    /// Reads and learns the next key.
    #[inline(never)]
    fn read(
        &mut self,
        before: Before,
        text: &[u8],
        start: usize,
    ) -> Result<(Key, usize), Box<Fault>> {
        let is_first = before.0 == Before::OBJECT.0;
        let mut at = skip_blanks(text, if is_first { start + 1 } else { start });
        match text.get(at) {
            Some(b'}') => {
                self.learn(before, &text[start..=at], END);
                return Ok((END, at + 1));
            }
            Some(b',') if !is_first => at = skip_blanks(text, at + 1),
            _ if !is_first => return Fault::err(at, Why::Expected("`,` or `}` after a value")),
            _ => {}
        }
        if text.get(at) != Some(&b'"') {
            let what = if is_first {
                "a key in double quotes, or `}`"
            } else {
                "a key in double quotes"
            };
            return Fault::err(at, Why::Expected(what));
        }
        let name_start = at + 1;
        let name_end = plain_end::<Baseline>(text, name_start);
        let key = if text.get(name_end) == Some(&b'"') {
            at = name_end + 1;
            self.key(&text[name_start..name_end])
        } else {
            let mut name = std::mem::take(&mut self.unescaped);
            name.clear();
            let end = unescape(text, name_start, &mut name);
            let key = self.key(&name);
            self.unescaped = name;
            at = end? + 1;
            key
        };
        at = skip_blanks(text, at);
        if text.get(at) != Some(&b':') {
            return Fault::err(at, Why::Expected("`:` after a key"));
        }
        at = skip_blanks(text, at + 1);
        self.learn(before, &text[start..at], key);
        Ok((key, at))
    }

    fn key(&mut self, name: &[u8]) -> Key {
        if let Some(&key) = self.by_name.get(name) {
            return key;
        }
        if self.nameable == 0 || name.len() > UNDECLARED_LENGTH {
            return self.nameless;
        }
        let key = self.nameless - self.nameable;
        self.nameable -= 1;
        self.by_name.insert(name.into(), key);
        key
    }

    fn learn(&mut self, before: Before, text: &[u8], key: Key) {
        if let Some(guess) = Guess::new(text, key) {
            self.after[before.0].other = guess;
        }
    }
}
