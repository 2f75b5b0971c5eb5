//! Where a file was read to, and what it was: what a position must know to go on in the same file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A tail covers at most so many bytes.
pub(super) const TAIL_BYTES: usize = 4 << 10;

/// How much of a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTo {
    /// So many bytes, as they are stored.
    Stored(u64),
    /// So many bytes of the text that a compressed file holds.
    Text(u64),
}

impl ReadTo {
    /// The beginning of a file.
    pub(super) const START: ReadTo = ReadTo::Stored(0);

    /// The bytes that were read, as they are stored; 0 if that is not known.
    pub(super) fn stored(self) -> u64 {
        match self {
            ReadTo::Stored(bytes) => bytes,
            ReadTo::Text(_) => 0,
        }
    }
}

impl fmt::Display for ReadTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadTo::Stored(bytes) => write!(f, "{bytes}"),
            ReadTo::Text(bytes) => write!(f, "0~{bytes}"),
        }
    }
}

impl FromStr for ReadTo {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0~") {
            Some(bytes) => bytes.parse().map(ReadTo::Text),
            None => text.parse().map(ReadTo::Stored),
        }
    }
}

/// The last bytes before a place, as length and CRC-32: whether they are still there tells a file
/// that grew from one that was written anew.
///
/// They are bytes of the file where the place is [`ReadTo::Stored`], of its text otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// How many, at most [`TAIL_BYTES`].
    pub bytes: u32,
    crc: u32,
}

impl Tail {
    /// The tail of what ends in `first` followed by `second`; `None` where there is nothing.
    pub(super) fn of(first: &[u8], second: &[u8]) -> Option<Tail> {
        let second = last(second, TAIL_BYTES);
        let first = last(first, TAIL_BYTES - second.len());
        let mut crc = crc32fast::Hasher::new();
        crc.update(first);
        crc.update(second);
        let bytes = (first.len() + second.len()) as u32;
        (bytes > 0).then(|| Tail {
            bytes,
            crc: crc.finalize(),
        })
    }

    /// Whether `before`, which ends at the place, ends in these bytes.
    pub(super) fn ends(self, before: &[u8]) -> bool {
        let bytes = self.bytes as usize;
        before.len() >= bytes && Tail::of(&[], last(before, bytes)) == Some(self)
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.bytes, self.crc)
    }
}

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(bytes, crc)| {
            Some(Tail {
                bytes: bytes.parse().ok().filter(|b| *b <= TAIL_BYTES as u32)?,
                crc: u32::from_str_radix(crc, 16).ok()?,
            })
        });
        parsed.ok_or_else(|| format!("`{text}` is not a length and a sum"))
    }
}

/// The last `count` bytes, or all.
pub(super) fn last(bytes: &[u8], count: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(count)..]
}

/// The last bytes of a text that comes in parts.
#[derive(Debug, Default)]
pub(super) struct Ending(Vec<u8>);

impl Ending {
    /// The text goes on with `more`.
    pub(super) fn push(&mut self, more: &[u8]) {
        let more = last(more, TAIL_BYTES);
        let kept = self.0.len().min(TAIL_BYTES - more.len());
        self.0.drain(..self.0.len() - kept);
        self.0.extend_from_slice(more);
    }

    /// The last bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A file as it looked when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileSeen {
    /// Its path in the store.
    pub path: String,
    /// What tells whether it changed since: see [`super::storage::Entry::id`].
    pub id: Option<u64>,
    /// Of an object below a date: which one it is.
    pub object: Option<(i64, Object)>,
}

/// An object of a day; they are read in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    /// When it was modified, in milliseconds since 1970.
    pub modified: i64,
    /// A hash of its name, its size, and of a bucket its entity tag.
    pub key: u64,
}

/// Where a partition is read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub file: Arc<FileSeen>,
    /// How much of it was read.
    pub read: ReadTo,
    /// What is there just before.
    pub tail: Option<Tail>,
}

/// Values that are stored as they are printed.
pub(super) mod printed {
    use super::*;

    pub(crate) fn serialize<T: fmt::Display, S: serde::Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: serde::Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Tail {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tail {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        printed::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_of_what_ends_there_however_it_came() {
        let text: Vec<u8> = (0..10_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let whole = Tail::of(&[], &text).unwrap();
        assert_eq!(whole.bytes as usize, TAIL_BYTES);
        for cut in [0, 1, 5_000, 9_999, 10_000] {
            let (first, second) = text.split_at(cut);
            assert_eq!(Tail::of(first, second), Some(whole));
            let mut ending = Ending::default();
            first.chunks(999).for_each(|part| ending.push(part));
            ending.push(second);
            assert!(whole.ends(ending.bytes()));
        }
        assert!(!whole.ends(&text[..9_999]) && !whole.ends(&text[9_000..]));
        assert_eq!(whole.to_string().parse(), Ok(whole));
        assert!("4097-00000000".parse::<Tail>().is_err());
        assert_eq!(Tail::of(&[], &[]), None);
    }
}
