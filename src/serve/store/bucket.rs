//! A bucket: a multiset of encoded rows in one block of memory, with a hash table over it.
//!
//! A view is stored as buckets so that each stays small (some 30,000 rows): applying a batch bucket
//! by bucket keeps its rows in the processor's cache, a reader can hold a bucket while the writer
//! goes on with a copy, and a bucket is what the lake rewrites as one file.
//!
//! A row costs its bytes, one to three bytes of lengths, and 5 to 10 of the hash table:
//! ```text
//! bytes:  | key length | rest length | key | rest || key length | ...
//! table:  hash of row -> address in bytes (u32)
//! counts: address -> count, only of rows whose count is not 1
//! ```
//! The room of a row that went is kept in a list for the next row of the same length (a changed
//! count is such a pair), and all such rooms are squeezed out once they are half of the bucket.
//!
//! # Invariants
//! 1. The table holds each row once; its count is never zero.
//! 2. A count may be negative only inside a batch of changes: see [`Bucket::settle`].

use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

use super::codec::{Place, RowBytes};
use super::frozen::Digest;
use crate::delta::Diff;
use crate::varint;

/// Rows with their counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    bytes: Vec<u8>,
    table: HashTable<u32>,
    counts: HashMap<u32, Diff>,
    /// For a length of a row with its header, the addresses of the free rooms of that length.
    free: HashMap<u32, Vec<u32>>,
    /// Bytes in `bytes` that belong to no row.
    free_bytes: usize,
    /// The sum of the counts.
    rows: Diff,
}

/// Below this, squeezing out free rooms is not worth a walk over the bucket.
const FREE_BYTES_KEPT: usize = 4096;

impl Bucket {
    /// How many rows there are, each as often as its count says.
    pub(super) fn rows(&self) -> u64 {
        self.rows.max(0) as u64
    }

    /// What tells this bucket from one with other rows.
    pub(super) fn digest(&self) -> Digest {
        let sum = |sum: u64, (row, count): (RowBytes<'_>, Diff)| {
            let (key, rest) = row.parts();
            sum.wrapping_add(Place::of(key, rest).row.wrapping_mul(count as u64))
        };
        Digest {
            rows: self.rows(),
            sum: self.iter().fold(0, sum),
        }
    }

    /// Bytes of the rows alone.
    pub(super) fn row_bytes(&self) -> usize {
        self.bytes.len() - self.free_bytes
    }

    /// An empty bucket with room for so many different rows of so many bytes.
    pub(super) fn with_room(rows: usize, bytes: usize) -> Bucket {
        Bucket {
            bytes: Vec::with_capacity(bytes),
            table: HashTable::with_capacity(rows),
            ..Bucket::default()
        }
    }

    /// How many different rows there are.
    pub(super) fn different_rows(&self) -> usize {
        self.table.len()
    }

    /// Bytes of memory taken.
    pub(super) fn memory(&self) -> usize {
        let map = |capacity: usize, entry: usize| capacity * (entry + 1) * 8 / 7;
        let rooms: usize = self.free.values().map(|rooms| 4 * rooms.capacity()).sum();
        self.bytes.capacity()
            + self.table.allocation_size()
            + map(self.counts.capacity(), size_of::<(u32, Diff)>())
            + map(self.free.capacity(), size_of::<(u32, Vec<u32>)>())
            + rooms
    }

    /// Adds `diff` to the row's count. True if the count is negative now.
    #[inline]
    pub(super) fn change(&mut self, place: Place, key: &[u8], rest: &[u8], diff: Diff) -> bool {
        if diff == 0 {
            return false;
        }
        self.rows += diff;
        let Self {
            bytes,
            table,
            counts,
            free,
            free_bytes,
            ..
        } = self;
        let entry = table.entry(
            place.row,
            |&address| is_row(bytes, address, key, rest),
            |&address| place_of(bytes, address).row,
        );
        match entry {
            Entry::Vacant(vacant) => {
                let address = store(bytes, free, free_bytes, key, rest);
                vacant.insert(address);
                if diff != 1 {
                    counts.insert(address, diff);
                }
                diff < 0
            }
            Entry::Occupied(occupied) => {
                let address = *occupied.get();
                // Nearly every row of nearly every view is there once: then there is no map to ask.
                let count =
                    1 + if counts.is_empty() {
                        0
                    } else {
                        others(counts, address)
                    } + diff;
                if count == 0 {
                    occupied.remove();
                    counts.remove(&address);
                    self.release(address);
                    self.squeeze_if_worth_it();
                } else if count == 1 {
                    counts.remove(&address);
                } else {
                    counts.insert(address, count);
                }
                count < 0
            }
        }
    }

    /// Ends a batch: a row that is left with a negative count was retracted without ever having
    /// been added. It is taken out, so that the view stays a multiset. Returns how many rows there
    /// were of this kind.
    pub(super) fn settle(&mut self) -> u64 {
        let negative: Vec<(u32, Diff)> = self
            .counts
            .iter()
            .filter(|(_, count)| **count < 0)
            .map(|(address, count)| (*address, *count))
            .collect();
        for &(address, count) in &negative {
            let place = place_of(&self.bytes, address);
            let occupied = self
                .table
                .find_entry(place.row, |&other| other == address)
                .expect("an address that has a count is in the table");
            occupied.remove();
            self.counts.remove(&address);
            self.rows -= count;
            self.release(address);
        }
        self.squeeze_if_worth_it();
        negative.len() as u64
    }

    /// Gives the room of a row back.
    fn release(&mut self, address: u32) {
        let (_, end) = read(&self.bytes, address);
        let length = end - address as usize;
        self.free_bytes += length;
        self.free.entry(length as u32).or_default().push(address);
    }

    /// Rows move: no address is good after it.
    fn squeeze_if_worth_it(&mut self) {
        if self.free_bytes > FREE_BYTES_KEPT && self.free_bytes > self.bytes.len() / 2 {
            self.squeeze();
        }
    }

    /// Moves the rows together.
    fn squeeze(&mut self) {
        let mut bytes = Vec::with_capacity(self.row_bytes() + self.row_bytes() / 8);
        let mut counts = HashMap::with_capacity(self.counts.len());
        for address in self.table.iter_mut() {
            let (_, end) = read(&self.bytes, *address);
            let moved = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[*address as usize..end]);
            if let Some(count) = self.counts.get(address) {
                counts.insert(moved, *count);
            }
            *address = moved;
        }
        self.bytes = bytes;
        self.counts = counts;
        self.free = HashMap::new();
        self.free_bytes = 0;
    }

    /// Every different row with its count, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RowBytes<'_>, Diff)> {
        self.table.iter().map(|&address| {
            let count = 1 + others(&self.counts, address);
            (read(&self.bytes, address).0, count)
        })
    }

    /// Moves every row into one of `buckets`, which hold none of them; it asks `target` for the
    /// bucket's number.
    pub(super) fn move_into(self, buckets: &mut [Bucket], target: impl Fn(Place) -> u32) {
        for (row, count) in self.iter() {
            let (key, rest) = row.parts();
            let place = Place::of(key, rest);
            let Bucket {
                bytes,
                table,
                counts,
                free,
                free_bytes,
                rows,
            } = &mut buckets[target(place) as usize];
            let address = store(bytes, free, free_bytes, key, rest);
            table.insert_unique(place.row, address, |&address| place_of(bytes, address).row);
            if count != 1 {
                counts.insert(address, count);
            }
            *rows += count;
        }
    }

    /// Touches what changes of rows at these places are going to read. Each row of a large view
    /// costs a few waits for memory, one after the other; here the waits of all the rows overlap.
    pub(super) fn touch(&self, places: &[Place]) {
        let mut sum = 0_u8;
        for place in places {
            if let Some(&address) = self.table.find(place.row, |_| true) {
                let first = address as usize;
                // A row of a usual length lies in two cache lines more often than in one.
                let last = (first + 40).min(self.bytes.len() - 1);
                sum ^= self.bytes[first] ^ self.bytes[last];
            }
        }
        std::hint::black_box(sum);
    }
}

/// The row's count beyond one.
#[inline]
fn others(counts: &HashMap<u32, Diff>, address: u32) -> Diff {
    counts.get(&address).map_or(0, |count| count - 1)
}

/// Writes a row into a free room of its length, or at the end.
#[inline]
fn store(
    bytes: &mut Vec<u8>,
    free: &mut HashMap<u32, Vec<u32>>,
    free_bytes: &mut usize,
    key: &[u8],
    rest: &[u8],
) -> u32 {
    let mut header = [0; 2 * varint::BYTES_MAX];
    let key_length = varint::write(&mut header, key.len() as u64);
    let rest_length = varint::write(&mut header[key_length..], rest.len() as u64);
    let header = &header[..key_length + rest_length];
    let length = header.len() + key.len() + rest.len();
    if *free_bytes > 0
        && let Some(address) = free.get_mut(&(length as u32)).and_then(Vec::pop)
    {
        let room = &mut bytes[address as usize..][..length];
        *free_bytes -= length;
        let (room_header, room) = room.split_at_mut(header.len());
        let (room_key, room_rest) = room.split_at_mut(key.len());
        room_header.copy_from_slice(header);
        room_key.copy_from_slice(key);
        room_rest.copy_from_slice(rest);
        return address;
    }
    let address = u32::try_from(bytes.len())
        .expect("a bucket holds less than 4 GiB: buckets are split at a small part of that");
    if bytes.capacity() - bytes.len() < length {
        // A quarter more, not twice as much: the room ahead counts as memory of the view.
        bytes.reserve_exact(length.max(bytes.len() / 4).max(256));
    }
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(rest);
    address
}

/// The row at an address, and where it ends.
#[inline]
fn read(bytes: &[u8], address: u32) -> (RowBytes<'_>, usize) {
    let mut behind = &bytes[address as usize..];
    let key = varint::take(&mut behind) as usize;
    let rest = varint::take(&mut behind) as usize;
    let at = bytes.len() - behind.len();
    let end = at + key + rest;
    (RowBytes::new(&bytes[at..end], key), end)
}

#[inline]
fn is_row(bytes: &[u8], address: u32, key: &[u8], rest: &[u8]) -> bool {
    let (row, _) = read(bytes, address);
    row.parts() == (key, rest)
}

#[inline]
fn place_of(bytes: &[u8], address: u32) -> Place {
    let (row, _) = read(bytes, address);
    let (key, rest) = row.parts();
    Place::of(key, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(bucket: &mut Bucket, row: &[u8], diff: Diff) -> bool {
        let (key, rest) = row.split_at(1);
        bucket.change(Place::of(key, rest), key, rest, diff)
    }

    fn rows(bucket: &Bucket) -> Vec<(Vec<u8>, Diff)> {
        let mut rows: Vec<_> = bucket
            .iter()
            .map(|(row, count)| (row.all().to_vec(), count))
            .collect();
        rows.sort();
        rows
    }

    #[test]
    fn a_row_lives_while_its_count_is_not_zero() {
        let mut bucket = Bucket::default();
        change(&mut bucket, b"one", 1);
        change(&mut bucket, b"two", 3);
        change(&mut bucket, b"two", -1);
        assert_eq!(rows(&bucket), [(b"one".to_vec(), 1), (b"two".to_vec(), 2)]);
        assert_eq!(bucket.rows(), 3);
        change(&mut bucket, b"two", -1);
        change(&mut bucket, b"one", -1);
        assert_eq!(rows(&bucket), [(b"two".to_vec(), 1)]);
        assert_eq!(bucket.rows(), 1);
    }

    #[test]
    fn a_retraction_may_come_before_its_addition() {
        let mut bucket = Bucket::default();
        assert!(change(&mut bucket, b"early", -1));
        assert!(!change(&mut bucket, b"early", 2));
        assert_eq!(bucket.settle(), 0);
        assert_eq!(rows(&bucket), [(b"early".to_vec(), 1)]);
    }

    #[test]
    fn a_row_that_stays_negative_is_taken_out_and_reported() {
        let mut bucket = Bucket::default();
        change(&mut bucket, b"fine", 1);
        change(&mut bucket, b"never", -2);
        assert_eq!(bucket.settle(), 1);
        assert_eq!(rows(&bucket), [(b"fine".to_vec(), 1)]);
        assert_eq!(bucket.rows(), 1);
    }

    #[test]
    fn changing_a_row_to_one_of_the_same_length_takes_no_memory() {
        let mut bucket = Bucket::default();
        for row in 0..100_u8 {
            change(&mut bucket, &[row, 0, 0, 0, 0], 1);
        }
        let before = bucket.bytes.len();
        for round in 0..250_u8 {
            for row in 0..100_u8 {
                change(&mut bucket, &[row, round, 0, 0, 0], -1);
                change(&mut bucket, &[row, round + 1, 0, 0, 0], 1);
            }
        }
        assert_eq!(bucket.rows(), 100);
        assert_eq!(bucket.bytes.len(), before);
    }

    #[test]
    fn rooms_of_rows_that_went_are_squeezed_out() {
        let mut bucket = Bucket::default();
        for length in 1..500 {
            change(
                &mut bucket,
                &vec![7; length],
                if length % 3 == 0 { 5 } else { 1 },
            );
        }
        let before = rows(&bucket);
        for length in 1..450 {
            change(
                &mut bucket,
                &vec![7; length],
                if length % 3 == 0 { -5 } else { -1 },
            );
        }
        assert_eq!(rows(&bucket), before[449..]);
        assert!(bucket.bytes.len() <= 2 * bucket.row_bytes() + FREE_BYTES_KEPT);
        assert!(!bucket.counts.is_empty());
    }
}
