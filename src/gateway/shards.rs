//! Partitions told in the words of Kinesis, for backends that have none of their own.

/// The id of a shard.
pub fn shard_id(partition: u32) -> String {
    format!("shardId-{partition:012}")
}

/// The number in a shard's id.
pub fn shard_number(id: &str) -> Option<u32> {
    id.strip_prefix("shardId-")?.parse().ok()
}

/// A sequence number: digits without leading zero, all of one length, larger for later records, and
/// different in each topic of a shared stream.
pub fn sequence(topic: &str, partition: u32, offset: u64) -> String {
    let mut hash = 0x811c_9dc5_u32;
    for byte in topic.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    format!("49{hash:010}{partition:010}{offset:020}")
}

/// The offset in a sequence number, if it is one of this partition.
pub fn offset_of(topic: &str, partition: u32, told: &str) -> Option<u64> {
    let offset = told.get(told.len().checked_sub(20)?..)?.parse().ok()?;
    // Everything else in it follows from the place, and must be as told.
    (sequence(topic, partition, offset) == told).then_some(offset)
}

/// The first and the last hash of a shard's keys, if all shards have equal shares of 2^128.
pub fn hash_range(shard: u32, shards: u32) -> (String, String) {
    let shards = u128::from(shards.max(1));
    let share = u128::MAX / shards;
    let first = share * u128::from(shard);
    let last = if u128::from(shard) + 1 == shards {
        u128::MAX
    } else {
        first + share - 1
    };
    (first.to_string(), last.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_grow_with_offsets_and_begin_with_a_digit_above_zero() {
        let numbers = [0, 1, 9, 10, u64::MAX].map(|offset| sequence("pin", 3, offset));
        assert!(numbers.is_sorted());
        assert!(numbers.iter().all(|number| number.len() == 42));
        assert_ne!(sequence("a.pin", 0, 0), sequence("a.geo", 0, 0));
    }

    #[test]
    fn a_sequence_number_tells_its_offset_where_it_was_told() {
        for offset in [0, 17, u64::MAX] {
            let number = sequence("pin", 3, offset);
            assert_eq!(offset_of("pin", 3, &number), Some(offset));
            assert_eq!(offset_of("pin", 2, &number), None);
            assert_eq!(offset_of("geo", 3, &number), None);
        }
        let beyond =
            sequence("pin", 3, u64::MAX).replace("18446744073709551615", "99999999999999999999");
        for wrong in ["", "7", "ä", &sequence("pin", 3, 1)[1..], beyond.as_str()] {
            assert_eq!(offset_of("pin", 3, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shards_share_all_hashes() {
        assert_eq!(hash_range(0, 1), ("0".to_owned(), u128::MAX.to_string()));
        let ranges: Vec<_> = (0..5).map(|shard| hash_range(shard, 5)).collect();
        let number = |text: &str| text.parse::<u128>().unwrap();
        assert_eq!(number(&ranges[0].0), 0);
        assert_eq!(number(&ranges[4].1), u128::MAX);
        for pair in ranges.windows(2) {
            assert_eq!(number(&pair[0].1) + 1, number(&pair[1].0));
        }
        assert_eq!(shard_number(&shard_id(7)), Some(7));
    }
}
