//! Keys and their slots.
//!
//! A slot is a small number that a key is given when it is first seen; kept columns are indexed by
//! it. Single integer keys are kept as they are, every other key as an aggregation keeps its
//! groups'.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use hashbrown::HashTable;

use crate::operator::group_index::GroupIndex;
use crate::operator::route::mix;
use crate::segmented::Segmented;

/// The slot of no key.
const NONE: u32 = u32::MAX;

/// The slots of a group of tables that share their keys.
pub enum Slots {
    /// Keys of one BIGINT column.
    Integer {
        index: HashTable<u32>,
        keys: Segmented<i64>,
    },
    /// Any other key.
    Other(GroupIndex),
}

impl Slots {
    /// No keys yet; keys are of these types.
    pub fn new(types: &[DataType]) -> Result<Self, ArrowError> {
        Ok(match types {
            [DataType::Int64] => Slots::Integer {
                index: HashTable::new(),
                keys: Segmented::default(),
            },
            _ => Slots::Other(GroupIndex::new(types)?),
        })
    }

    /// How many keys have a slot.
    pub fn len(&self) -> usize {
        match self {
            Slots::Integer { keys, .. } => keys.len(),
            Slots::Other(index) => index.numbers(),
        }
    }

    /// The slot of each key in `columns` (all of them valid), new ones for new keys.
    pub fn intern(&mut self, columns: &[ArrayRef], slots: &mut Vec<u32>) -> Result<(), ArrowError> {
        slots.clear();
        match self {
            Slots::Integer { index, keys } => {
                let column = columns[0].as_primitive::<Int64Type>();
                // First what is probably each key's slot is looked up, then keys are compared:
                // memory answers questions that do not wait for one another together.
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
            Slots::Other(index) => index.intern(columns, columns[0].len(), slots)?,
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
            Slots::Other(index) => index.keys(slots),
        }
    }

    /// The number of bytes it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Slots::Integer { index, keys } => index.allocation_size() + keys.bytes(),
            Slots::Other(index) => index.bytes(),
        }
    }
}
