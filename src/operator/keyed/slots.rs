//! Keys and their slots.
//!
//! A slot is a small number that a key is given when it is first seen; kept columns are indexed by it. Single integer keys are kept as they
//! are; every other key in Arrow's row format.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::operator::route::mix;

/// The slot of no key.
const NONE: u32 = u32::MAX;

/// The slots of a group of tables that share their keys.
pub enum Slots {
    /// Keys of one BIGINT column.
    Integer {
        index: HashTable<u32>,
        keys: Vec<i64>,
    },
    /// Any other key, as row bytes.
    Bytes {
        index: HashTable<u32>,
        keys: Vec<Box<[u8]>>,
        converter: RowConverter,
        hasher: DefaultHashBuilder,
    },
}

impl Slots {
    /// No keys yet; keys are of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(match types {
            [DataType::Int64] => Slots::Integer {
                index: HashTable::new(),
                keys: Vec::new(),
            },
            _ => Slots::Bytes {
                index: HashTable::new(),
                keys: Vec::new(),
                converter: RowConverter::new(types.iter().cloned().map(SortField::new).collect())?,
                hasher: DefaultHashBuilder::default(),
            },
        })
    }

    /// How many keys have a slot.
    pub fn len(&self) -> usize {
        match self {
            Slots::Integer { keys, .. } => keys.len(),
            Slots::Bytes { keys, .. } => keys.len(),
        }
    }

    /// The slot of each key in `columns` (all of them valid), new ones for new keys.
    pub fn intern(&mut self, columns: &[ArrayRef], slots: &mut Vec<u32>) -> Result<(), ArrowError> {
        slots.clear();
        match self {
            Slots::Integer { index, keys } => {
                let column = columns[0].as_primitive::<Int64Type>();
                // First what is probably each key's slot is looked up, then keys are compared: memory answers questions that do not wait for one another together.
                let hash = |key: i64| mix(key as u64);
                let probably = |&key: &i64| index.find(hash(key), |_| true).copied();
                slots.extend(
                    column
                        .values()
                        .iter()
                        .map(|key| probably(key).unwrap_or(NONE)),
                );
                let known: Vec<i64> = slots
                    .iter()
                    .map(|&slot| keys.get(slot as usize).copied().unwrap_or_default())
                    .collect();
                for ((slot, &key), known) in slots.iter_mut().zip(column.values()).zip(known) {
                    if *slot != NONE && known == key {
                        continue;
                    }
                    let same = |&slot: &u32| keys[slot as usize] == key;
                    *slot = match index.find(hash(key), same) {
                        Some(&slot) => slot,
                        None => {
                            let slot = keys.len() as u32;
                            keys.push(key);
                            index.insert_unique(hash(key), slot, |&slot| hash(keys[slot as usize]));
                            slot
                        }
                    };
                }
            }
            Slots::Bytes {
                index,
                keys,
                converter,
                hasher,
            } => {
                let rows = converter.convert_columns(columns)?;
                for row in &rows {
                    let key: &[u8] = row.as_ref();
                    let hash = hasher.hash_one(key);
                    let slot = match index.find(hash, |&slot| *keys[slot as usize] == *key) {
                        Some(&slot) => slot,
                        None => {
                            let slot = keys.len() as u32;
                            keys.push(key.into());
                            index.insert_unique(hash, slot, |&slot| {
                                hasher.hash_one(&*keys[slot as usize])
                            });
                            slot
                        }
                    };
                    slots.push(slot);
                }
            }
        }
        Ok(())
    }

    /// The key columns of `slots`, in that order.
    pub fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            Slots::Integer { keys, .. } => {
                let values: Int64Array = slots
                    .iter()
                    .map(|&slot| keys[slot as usize])
                    .collect::<Vec<_>>()
                    .into();
                Ok(vec![Arc::new(values)])
            }
            Slots::Bytes {
                keys, converter, ..
            } => {
                let parser = converter.parser();
                converter.convert_rows(slots.iter().map(|&slot| parser.parse(&keys[slot as usize])))
            }
        }
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Slots::Integer { index, keys } => index.capacity() * 5 + keys.capacity() * 8,
            Slots::Bytes { index, keys, .. } => {
                index.capacity() * 5 + keys.iter().map(|key| key.len() + 32).sum::<usize>()
            }
        }
    }
}
