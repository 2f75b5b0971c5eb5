//! Which partition a record goes to when the client names none: as Kafka's own producers decide.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses partitions: by the key's hash, else one for a whole request and the next one for the
/// next, so that batches stay batches.
#[derive(Debug, Default)]
pub struct Partitioner {
    turn: AtomicUsize,
}

impl Partitioner {
    /// The partition of keyless records of one request.
    pub fn sticky(&self, partitions: u32) -> u32 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (turn % partitions.max(1) as usize) as u32
    }
}

/// The partition of a key.
pub fn of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// The hash of Kafka's default partitioner.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafka_sends_them() {
        // From the tests of Kafka's own `Utils.murmur2`.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107_i32),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn keyless_requests_take_turns() {
        let partitioner = Partitioner::default();
        let turns: Vec<u32> = (0..5).map(|_| partitioner.sticky(3)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
    }
}
