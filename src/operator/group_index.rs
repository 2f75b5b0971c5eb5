//! Distinct keys numbered: the groups of an aggregation, the partitions of a top-k, the keys of a
//! table.
//!
//! A key is kept as short bytes ([`GroupKeys`]) in an [`Arena`]; its number indexes whatever state
//! the caller keeps for it. Numbers of keys that are gone are given again.
//!
//! # Invariants
//! 1. A number is in `free` exactly when it is not in `index`.
//! 2. `used` and `garbage` are the sums of the lengths of the arena's keys that belong to a number,
//!    and to none.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::arena::{Address, Arena};
use super::group_key::{EncodedKeys, GroupKeys};
use crate::segmented::Segmented;

/// Where a key is, and its hash: the index grows without looking at keys, and keys are compared
/// only if their hashes are equal.
#[derive(Clone, Copy, Default)]
#[repr(C, packed)]
struct Known {
    address: Address,
    hash: u32,
}

/// What a hash table asks for: the hash in its low bits, and in the high ones too.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The number of no key.
const NONE: u32 = u32::MAX;

/// Numbers for keys.
pub struct GroupIndex {
    codec: GroupKeys,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    arena: Arena,
    known: Segmented<Known>,
    free: Vec<u32>,
    used: usize,
    garbage: usize,
    no_columns: bool,
    /// The keys of the batch that was looked up last.
    scratch: EncodedKeys,
}

impl GroupIndex {
    /// No keys yet; keys are of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(GroupIndex {
            codec: GroupKeys::new(types)?,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            arena: Arena::default(),
            known: Segmented::default(),
            free: Vec::new(),
            used: 0,
            garbage: 0,
            no_columns: types.is_empty(),
            scratch: EncodedKeys::default(),
        })
    }

    /// All numbers ever given are below this.
    pub fn numbers(&self) -> usize {
        self.known.len()
    }

    /// The number of each row's key, new ones for new keys. Without columns every row has the
    /// number 0.
    ///
    /// First what is probably each key's number is looked up, then keys are compared: memory
    /// answers questions that do not wait for one another together.
    pub fn intern(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        numbers: &mut Vec<u32>,
    ) -> Result<(), ArrowError> {
        numbers.clear();
        if self.no_columns {
            self.known.grow(1, Known::default());
            numbers.resize(rows, 0);
            return Ok(());
        }
        let mut keys = std::mem::take(&mut self.scratch);
        self.codec.encode(columns, rows, &mut keys)?;
        let hash = |row| self.hasher.hash_one(keys.key(row)) as u32;
        let hashes: Vec<u32> = (0..rows).map(hash).collect();
        let probably = |&hash: &u32| {
            let found = self.index.find(spread(hash), |_| true);
            found.copied().unwrap_or(NONE)
        };
        numbers.extend(hashes.iter().map(probably));
        let known = |&number: &u32| self.known.get(number as usize).copied().unwrap_or_default();
        let known: Vec<Known> = numbers.iter().map(known).collect();
        for (row, number) in numbers.iter_mut().enumerate() {
            let (key, hash, known) = (keys.key(row), hashes[row], known[row]);
            let same =
                *number != NONE && known.hash == hash && self.arena.key(known.address) == key;
            if !same {
                *number = self.number(key, hash);
            }
        }
        self.scratch = keys;
        Ok(())
    }

    /// Gives the numbers of gone keys back.
    pub fn release(&mut self, number: u32) {
        if self.no_columns {
            return;
        }
        let Known { address, hash } = self.known[number as usize];
        if let Ok(entry) = self
            .index
            .find_entry(spread(hash), |&other| other == number)
        {
            entry.remove();
            self.free.push(number);
            let length = self.arena.key(address).len();
            self.used -= length;
            self.garbage += length;
        }
        if self.garbage > 1 << 20 && self.garbage > self.used {
            self.compact();
        }
    }

    /// The key columns of `numbers`, in that order.
    pub fn keys(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.no_columns {
            return Ok(Vec::new());
        }
        let key = |&number: &u32| self.arena.key(self.known[number as usize].address);
        self.codec.decode(numbers.iter().map(key).collect())
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.arena.bytes()
            + self.known.bytes()
            + self.index.allocation_size()
            + self.free.capacity() * size_of::<u32>()
    }

    fn number(&mut self, key: &[u8], hash: u32) -> u32 {
        let GroupIndex {
            index,
            arena,
            known,
            free,
            ..
        } = self;
        let same = |&number: &u32| {
            let known = known[number as usize];
            known.hash == hash && arena.key(known.address) == key
        };
        if let Some(&found) = index.find(spread(hash), same) {
            return found;
        }
        let new = Known {
            address: arena.put(key),
            hash,
        };
        self.used += key.len();
        let number = match free.pop() {
            Some(number) => {
                known[number as usize] = new;
                number
            }
            None => {
                known.push(new);
                (known.len() - 1) as u32
            }
        };
        index.insert_unique(spread(hash), number, |&number| {
            spread(known[number as usize].hash)
        });
        number
    }

    /// Copies the keys in use to a new arena.
    fn compact(&mut self) {
        let mut arena = Arena::default();
        for &number in &self.index {
            let known = &mut self.known[number as usize];
            known.address = arena.put(self.arena.key(known.address));
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
