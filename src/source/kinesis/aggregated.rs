//! Records that the Kinesis Producer Library packed into one.
//!
//! ```text
//!  F3 89 9A C2 | protobuf AggregatedRecord | MD5 of the protobuf
//!
//!  AggregatedRecord { 1: partition keys.., 2: explicit hash keys.., 3: Record.. }
//!  Record { 1: index of its partition key, 2: index of its explicit hash key, 3: data }
//! ```
//! Data that begins so but does not verify is a record of its own, as Amazon's library has it.
//!
//! When a shard is split, the producer may have packed for the old one: it sends again what does
//! not belong to the shard where the packet arrived. Those records are left out here, or they would
//! come twice.

use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const DIGEST_BYTES: usize = 16;

/// The hash keys of a shard, first and last.
pub type HashRange = (u128, u128);

/// A record that a producer handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// Its data.
    pub data: &'a [u8],
}

/// The records packed in `data` that belong to the shard with the hash keys `range`; `None` when it
/// is not packed.
pub fn unpack(data: &[u8], range: Option<HashRange>) -> Option<Vec<Packed<'_>>> {
    let packed = data.strip_prefix(&MAGIC)?;
    let (message, digest) = packed.split_at_checked(packed.len().checked_sub(DIGEST_BYTES)?)?;
    if Md5::digest(message).as_slice() != digest {
        return None;
    }
    let (mut keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(key)) => keys.push(std::str::from_utf8(key).ok()?),
            (2, Value::Bytes(key)) => {
                hash_keys.push(std::str::from_utf8(key).ok()?.parse::<u128>().ok()?)
            }
            (3, Value::Bytes(record)) => records.push(record),
            _ => {}
        }
    }
    let mut unpacked = Vec::with_capacity(records.len());
    for record in records {
        let (mut key, mut hash_key, mut data) = (None, None, None);
        for field in Fields(record) {
            match field? {
                (1, Value::Number(index)) => key = keys.get(usize::try_from(index).ok()?).copied(),
                (2, Value::Number(index)) => {
                    hash_key = hash_keys.get(usize::try_from(index).ok()?).copied()
                }
                (3, Value::Bytes(bytes)) => data = Some(bytes),
                _ => {}
            }
        }
        let (partition_key, data) = (key?, data?);
        let hash =
            hash_key.unwrap_or_else(|| u128::from_be_bytes(Md5::digest(partition_key).into()));
        if range.is_none_or(|(first, last)| (first..=last).contains(&hash)) {
            unpacked.push(Packed {
                partition_key,
                data,
            });
        }
    }
    Some(unpacked)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message; `None` where it is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Bytes(self.bytes(4)?),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs records of (index of the key, data).
    fn pack(keys: &[&str], hash_keys: &[&str], records: &[(u8, Option<u8>, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut bytes = |field: u8, bytes: &[u8]| {
            message.extend([field << 3 | 2, bytes.len() as u8]);
            message.extend_from_slice(bytes);
        };
        keys.iter().for_each(|key| bytes(1, key.as_bytes()));
        hash_keys.iter().for_each(|key| bytes(2, key.as_bytes()));
        for (key, hash_key, data) in records {
            let mut record = vec![1 << 3, *key];
            record.extend(hash_key.iter().flat_map(|hash_key| [2 << 3, *hash_key]));
            record.extend([3 << 3 | 2, data.len() as u8]);
            record.extend_from_slice(data);
            bytes(3, &record);
        }
        let digest = Md5::digest(&message);
        [&MAGIC, message.as_slice(), digest.as_slice()].concat()
    }

    #[test]
    fn packed_records_come_out_in_order_with_their_keys() {
        let data = pack(
            &["a_pin", "a_geo"],
            &[],
            &[(0, None, b"{}"), (1, None, b"[]"), (0, None, b"")],
        );
        let records = unpack(&data, None).expect("it is packed");
        let expected = [("a_pin", &b"{}"[..]), ("a_geo", b"[]"), ("a_pin", b"")];
        assert_eq!(
            records,
            expected.map(|(partition_key, data)| Packed {
                partition_key,
                data
            })
        );
    }

    #[test]
    fn what_belongs_to_another_shard_is_left_out() {
        // The MD5 of `a` begins with 0x0c, that of `b` with 0x92.
        let data = pack(
            &["a", "b"],
            &["5"],
            &[(0, None, b"1"), (1, None, b"2"), (1, Some(0), b"3")],
        );
        let half = 1 << 127;
        let texts = |range| {
            let records = unpack(&data, Some(range)).expect("it is packed");
            records
                .iter()
                .map(|record| record.data[0] as char)
                .collect::<String>()
        };
        assert_eq!(texts((0, half - 1)), "13");
        assert_eq!(texts((half, u128::MAX)), "2");
    }

    #[test]
    fn other_data_is_not_packed() {
        let good = pack(&["a"], &[], &[(0, None, b"{}")]);
        let mut bad_digest = good.clone();
        *bad_digest.last_mut().expect("bytes") ^= 1;
        let no_key = pack(&[], &[], &[(0, None, b"{}")]);
        for data in [
            &b"{}"[..],
            b"",
            &MAGIC,
            &good[..good.len() - 1],
            &bad_digest,
            &no_key,
        ] {
            assert_eq!(unpack(data, None), None);
        }
        for cut in 0..good.len() {
            assert_eq!(unpack(&good[..cut], None), None);
        }
    }
}
