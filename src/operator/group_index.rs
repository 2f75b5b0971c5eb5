//! Distinct keys numbered: the groups of an aggregation, the partitions of a top-k.
//!
//! A key is kept in Arrow's row format in one arena of bytes, behind its length; its number indexes whatever state the caller keeps for it. Numbers of
//! keys that are gone are given again.
//!
//! # Invariants
//! 1. A number is in `free` exactly when it is not in `index`.
//! 2. `garbage` is the length of the arena's spans that belong to no number.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};

/// Where a key is in the arena, and its hash: the index grows without looking at keys, and keys are compared only if their hashes are equal.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    hash: u32,
}

impl Span {
    /// The key's bytes.
    fn of(self, arena: &[u8]) -> &[u8] {
        let (length, key) = length_of(&arena[self.start as usize..]);
        &key[..length]
    }
}

/// Appends a key behind its length: one byte, or 255 and four more.
fn put(arena: &mut Vec<u8>, key: &[u8]) {
    match u8::try_from(key.len()) {
        Ok(length) if length < u8::MAX => arena.push(length),
        _ => {
            arena.push(u8::MAX);
            arena.extend_from_slice(&(key.len() as u32).to_le_bytes());
        }
    }
    arena.extend_from_slice(key);
}

/// The length that [`put`] wrote, and what comes behind it.
fn length_of(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes {
        [u8::MAX, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [length, rest @ ..] => (usize::from(*length), rest),
        [] => (0, bytes),
    }
}

/// What a hash table asks for: the hash in its low bits, and in the high ones too.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The number of no key.
const NONE: u32 = u32::MAX;

/// Numbers for keys.
pub struct GroupIndex {
    converter: RowConverter,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    arena: Vec<u8>,
    spans: Vec<Span>,
    free: Vec<u32>,
    garbage: usize,
    no_columns: bool,
}

impl GroupIndex {
    /// No keys yet; keys are of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(GroupIndex {
            converter: RowConverter::new(types.iter().cloned().map(SortField::new).collect())?,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            arena: Vec::new(),
            spans: Vec::new(),
            free: Vec::new(),
            garbage: 0,
            no_columns: types.is_empty(),
        })
    }

    /// All numbers ever given are below this.
    pub fn numbers(&self) -> usize {
        self.spans.len()
    }

    /// The number of each row's key, new ones for new keys. Without columns every row has the number 0.
    ///
    /// First what is probably each key's number is looked up, then keys are compared: memory answers questions that do not wait for one another together.
    pub fn intern(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        numbers: &mut Vec<u32>,
    ) -> Result<(), ArrowError> {
        numbers.clear();
        if self.no_columns {
            if self.spans.is_empty() {
                self.spans.push(Span::default());
            }
            numbers.resize(rows, 0);
            return Ok(());
        }
        let keys = self.converter.convert_columns(columns)?;
        let hash = |row| self.hasher.hash_one(keys.row(row).as_ref()) as u32;
        let hashes: Vec<u32> = (0..rows).map(hash).collect();
        let probably = |&hash: &u32| {
            let found = self.index.find(spread(hash), |_| true);
            found.copied().unwrap_or(NONE)
        };
        numbers.extend(hashes.iter().map(probably));
        let known = |&number: &u32| self.spans.get(number as usize).copied().unwrap_or_default();
        let spans: Vec<Span> = numbers.iter().map(known).collect();
        for (row, number) in numbers.iter_mut().enumerate() {
            let (key, hash, span) = (keys.row(row), hashes[row], spans[row]);
            let same = *number != NONE && span.hash == hash && span.of(&self.arena) == key.as_ref();
            if !same {
                *number = self.number(key.as_ref(), hash)?;
            }
        }
        Ok(())
    }

    /// Gives the numbers of gone keys back.
    pub fn release(&mut self, number: u32) {
        if self.no_columns {
            return;
        }
        let span = self.spans[number as usize];
        if let Ok(entry) = self
            .index
            .find_entry(spread(span.hash), |&other| other == number)
        {
            entry.remove();
            self.free.push(number);
            self.garbage += span.of(&self.arena).len();
        }
        if self.garbage > 1 << 20 && self.garbage > self.arena.len() / 2 {
            self.compact();
        }
    }

    /// The key columns of `numbers`, in that order.
    pub fn keys(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.no_columns {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        self.converter.convert_rows(
            numbers
                .iter()
                .map(|&number| parser.parse(self.spans[number as usize].of(&self.arena))),
        )
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.arena.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.index.capacity() * 5
    }

    fn number(&mut self, key: &[u8], hash: u32) -> Result<u32, ArrowError> {
        let GroupIndex {
            index,
            arena,
            spans,
            free,
            ..
        } = self;
        let same = |&number: &u32| {
            let span = spans[number as usize];
            span.hash == hash && span.of(arena) == key
        };
        if let Some(&found) = index.find(spread(hash), same) {
            return Ok(found);
        }
        let start = u32::try_from(arena.len()).map_err(|_| {
            ArrowError::MemoryError(
                "the keys of one aggregation hold more than 4 GiB on one worker; use more workers"
                    .into(),
            )
        })?;
        let span = Span { start, hash };
        put(arena, key);
        let number = match free.pop() {
            Some(number) => {
                spans[number as usize] = span;
                number
            }
            None => {
                spans.push(span);
                (spans.len() - 1) as u32
            }
        };
        index.insert_unique(spread(hash), number, |&number| {
            spread(spans[number as usize].hash)
        });
        Ok(number)
    }

    /// Copies the keys in use to a new arena.
    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage);
        for &number in &self.index {
            let span = &mut self.spans[number as usize];
            let start = arena.len() as u32;
            put(&mut arena, span.of(&self.arena));
            span.start = start;
        }
        self.arena = arena;
        self.garbage = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, StringViewArray};
    use std::sync::Arc;

    fn column(texts: &[&str]) -> Vec<ArrayRef> {
        vec![Arc::new(StringViewArray::from_iter_values(texts))]
    }

    #[test]
    fn equal_keys_share_a_number_and_gone_numbers_are_given_again() {
        let mut index = GroupIndex::new(&[DataType::Utf8View]).unwrap();
        let mut numbers = Vec::new();
        index
            .intern(&column(&["a", "b", "a"]), 3, &mut numbers)
            .unwrap();
        assert_eq!(numbers, [0, 1, 0]);
        index.release(0);
        index.intern(&column(&["c", "b"]), 2, &mut numbers).unwrap();
        assert_eq!(numbers, [0, 1]);
        let keys = index.keys(&[1, 0]).unwrap();
        assert_eq!(
            keys[0]
                .as_string_view()
                .iter()
                .flatten()
                .collect::<Vec<_>>(),
            ["b", "c"]
        );
    }

    #[test]
    fn long_keys_and_keys_that_moved_are_read_back() {
        let mut index = GroupIndex::new(&[DataType::Utf8View]).unwrap();
        let mut numbers = Vec::new();
        let texts: Vec<String> = (0..6000).map(|n| format!("{n:0>400}")).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter_values(&texts))];
        index.intern(&columns, texts.len(), &mut numbers).unwrap();
        let before = index.bytes();
        for &number in &numbers[1..] {
            index.release(number);
        }
        assert!(
            index.bytes() < before / 2,
            "the keys that are gone still take memory"
        );
        let keys = index.keys(&numbers[..1]).unwrap();
        assert_eq!(keys[0].as_string_view().value(0), texts[0]);
        index
            .intern(&column(&[&texts[0]]), 1, &mut numbers)
            .unwrap();
        assert_eq!(numbers, [0]);
    }
}
