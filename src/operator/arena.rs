//! Keys of any length, one behind the other in blocks that never move.
//!
//! # Invariants
//! A key lies behind its length ([`varint`]) in one block; its address, the block's number and the
//! offset in it, is good as long as the arena.

use crate::varint;

/// The bits of an address that are an offset.
const OFFSET_BITS: u32 = 20;
/// The size of a block; a longer key has a block of its own.
const BLOCK: usize = 1 << OFFSET_BITS;
/// Blocks are numbered with 20 bits: a tebibyte of keys.
const BLOCKS_MAX: usize = 1 << 20;

/// Where a key is: 40 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address([u8; 5]);

impl Address {
    fn new(block: usize, offset: usize) -> Self {
        let number = (block as u64) << OFFSET_BITS | offset as u64;
        let [a, b, c, d, e, ..] = number.to_le_bytes();
        Address([a, b, c, d, e])
    }

    fn block_and_offset(self) -> (usize, usize) {
        let [a, b, c, d, e] = self.0;
        let number = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
        ((number >> OFFSET_BITS) as usize, number as usize % BLOCK)
    }
}

/// The keys.
#[derive(Debug, Default)]
pub struct Arena {
    blocks: Vec<Vec<u8>>,
}

impl Arena {
    /// Appends a key.
    pub fn put(&mut self, key: &[u8]) -> Address {
        let needed = key.len() + varint::BYTES_MAX;
        if self
            .blocks
            .last()
            .is_none_or(|last| last.len() + needed > BLOCK)
        {
            // The first block grows as it is filled, so that what is small stays small.
            let capacity = if self.blocks.is_empty() { 0 } else { BLOCK };
            assert!(
                self.blocks.len() < BLOCKS_MAX,
                "a worker's memory does not hold a tebibyte of keys"
            );
            self.blocks.push(Vec::with_capacity(capacity.max(needed)));
        }
        let block = self.blocks.len() - 1;
        let bytes = &mut self.blocks[block];
        let offset = bytes.len();
        varint::put(bytes, key.len() as u64);
        bytes.extend_from_slice(key);
        Address::new(block, offset)
    }

    /// The key at an address that [`put`](Self::put) returned.
    #[inline]
    pub fn key(&self, address: Address) -> &[u8] {
        let (block, offset) = address.block_and_offset();
        let mut bytes = &self.blocks[block][offset..];
        let length = varint::take(&mut bytes) as usize;
        &bytes[..length]
    }

    /// The number of bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum::<usize>()
            + self.blocks.capacity() * size_of::<Vec<u8>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_found_where_they_were_put() {
        let mut arena = Arena::default();
        let lengths = [
            0,
            1,
            127,
            128,
            5000,
            BLOCK - 11,
            BLOCK,
            3 * BLOCK,
            7,
            BLOCK / 2,
            BLOCK / 2,
        ];
        let key = |number: usize, length: usize| vec![number as u8; length];
        let addresses: Vec<Address> = lengths
            .iter()
            .enumerate()
            .map(|(number, &length)| arena.put(&key(number, length)))
            .collect();
        for (number, (&length, &address)) in lengths.iter().zip(&addresses).enumerate() {
            assert_eq!(arena.key(address), key(number, length));
        }
    }

    #[test]
    fn many_short_keys_take_their_bytes_and_one_each() {
        let mut arena = Arena::default();
        arena.put(b"key");
        assert!(arena.bytes() < 200);
        for _ in 0..2_000_000 {
            arena.put(b"seven77");
        }
        assert!(arena.bytes() < 2_000_000 * 8 + 2 * BLOCK);
    }
}
