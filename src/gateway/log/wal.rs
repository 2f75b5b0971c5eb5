//! The log of writes: what is in it, synced, will be in the partitions' files, whatever happens.
//!
//! ```text
//! file  = frame frame ..                                   `_wal/<number, 10 digits>.wal`
//! frame = magic u32, number u64, length u32, crc u32, body  one for each group that is synced together
//! body  = entry entry ..
//! entry = topic length u16, topic, partition u32, start u64, position u64, length u32, lines
//! ```
//! All numbers are little-endian. An entry says which bytes belong at which position of which file;
//! doing it twice is doing it once. The frame's number is the file's, and the sum covers it, so
//! that a frame is never taken for one of another file.
//!
//! # Invariants
//! 1. A frame that does not check ends the file: it was being written, nobody was told that it is
//!    there, and nothing of it is in any partition. If whole frames follow it, it was damaged
//!    later, and the log is refused: each frame is synced before the next is written.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, File};

const MAGIC: u32 = 0x316c_6670;
const HEADER: usize = 20;

/// Bytes that belong into a partition's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub topic: &'a str,
    pub partition: u32,
    /// The file, by the offset of its first record.
    pub start: u64,
    /// Where in the file the bytes belong.
    pub position: u64,
    /// Whole records, each with its newline.
    pub lines: &'a [u8],
}

/// The file that is being written.
#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    file: File,
    number: u64,
    /// Synced bytes.
    pub len: u64,
    frame: Vec<u8>,
}

/// The name of the file with a number.
pub(super) fn wal_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.wal"))
}

impl Wal {
    /// Begins a file; its name is durable when this returns.
    pub fn begin(folder: &Path, number: u64) -> io::Result<Wal> {
        let path = wal_path(folder, number);
        let file = File::create_new(&path)?;
        disk::sync_folder(folder)?;
        Ok(Wal {
            path,
            file,
            number,
            len: 0,
            frame: Vec::new(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the file.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Adds to the frame that the next [`Wal::commit`] writes.
    pub fn push(&mut self, entry: Entry<'_>) {
        if self.frame.is_empty() {
            self.frame.resize(HEADER, 0);
        }
        let frame = &mut self.frame;
        frame.extend_from_slice(&(entry.topic.len() as u16).to_le_bytes());
        frame.extend_from_slice(entry.topic.as_bytes());
        frame.extend_from_slice(&entry.partition.to_le_bytes());
        frame.extend_from_slice(&entry.start.to_le_bytes());
        frame.extend_from_slice(&entry.position.to_le_bytes());
        frame.extend_from_slice(&(entry.lines.len() as u32).to_le_bytes());
        frame.extend_from_slice(entry.lines);
    }

    /// Writes and syncs the frame. After an error the file's end is unknown, and the log must be
    /// opened again.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        seal(&mut self.frame, self.number);
        self.file.write_all_at(&self.frame, self.len)?;
        self.file.sync()?;
        self.len += self.frame.len() as u64;
        self.frame.clear();
        // A group that was unusually large must not hold its memory for ever.
        self.frame.shrink_to(16 << 20);
        Ok(())
    }
}

/// Fills in the header of a frame whose body is complete.
fn seal(frame: &mut [u8], number: u64) {
    let sum = sum(number, &frame[HEADER..]);
    let length = (frame.len() - HEADER) as u32;
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[4..12].copy_from_slice(&number.to_le_bytes());
    frame[12..16].copy_from_slice(&length.to_le_bytes());
    frame[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn sum(number: u64, body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&number.to_le_bytes());
    crc.update(body);
    crc.sum()
}

/// What was found in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    /// The bytes of its whole frames, up to the first that does not check.
    pub whole: u64,
    /// The records in whole frames behind that.
    pub stranded: u64,
}

/// Calls `apply` with every entry of the file's whole frames, in order.
pub(super) fn replay<E>(
    bytes: &[u8],
    number: u64,
    mut apply: impl FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<Replayed, E> {
    let mut rest = bytes;
    while let Some((body, behind)) = whole_frame(rest, number) {
        let mut entries = Reader(body);
        while let Some(entry) = entries.entry() {
            apply(entry)?;
        }
        rest = behind;
    }
    let mut stranded = 0;
    let mut begin = [0; 12];
    begin[..4].copy_from_slice(&MAGIC.to_le_bytes());
    begin[4..].copy_from_slice(&number.to_le_bytes());
    for at in memchr::memmem::find_iter(rest, &begin) {
        let Some((body, _)) = whole_frame(&rest[at..], number) else {
            continue;
        };
        let mut entries = Reader(body);
        while let Some(entry) = entries.entry() {
            stranded += crate::decode::count_records(entry.lines);
        }
    }
    Ok(Replayed {
        whole: (bytes.len() - rest.len()) as u64,
        stranded,
    })
}

/// The body of the first frame, and what follows it; `None` when it is not whole.
fn whole_frame(bytes: &[u8], number: u64) -> Option<(&[u8], &[u8])> {
    let mut header = Reader(bytes);
    let (magic, of, length, expected) =
        (header.u32()?, header.u64()?, header.u32()?, header.u32()?);
    let body = header.take(length as usize)?;
    let whole = magic == MAGIC && of == number && sum(number, body) == expected;
    whole.then_some((body, header.0))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let length = self.array().map(u16::from_le_bytes)?;
        let topic = std::str::from_utf8(self.take(usize::from(length))?).ok()?;
        let (partition, start, position) = (self.u32()?, self.u64()?, self.u64()?);
        let length = self.u32()? as usize;
        Some(Entry {
            topic,
            partition,
            start,
            position,
            lines: self.take(length)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(bytes: &[u8], number: u64) -> Vec<(String, u64, Vec<u8>)> {
        let mut seen = Vec::new();
        replay::<()>(bytes, number, |entry| {
            seen.push((entry.topic.to_owned(), entry.position, entry.lines.to_vec()));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn a_cut_frame_is_not_there_and_a_changed_one_is_noticed_by_those_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = Wal::begin(dir.path(), 7).unwrap();
        let entry = |position, lines| Entry {
            topic: "pin",
            partition: 1,
            start: 0,
            position,
            lines,
        };
        wal.push(entry(0, b"{}\n"));
        wal.push(entry(3, b"[1]\n"));
        wal.commit().unwrap();
        let first = wal.len as usize;
        wal.push(entry(7, b"2\n"));
        wal.commit().unwrap();
        let bytes = std::fs::read(wal.path()).unwrap();
        assert_eq!(bytes.len() as u64, wal.len);
        assert_eq!(replayed(&bytes, 7).len(), 3);
        assert_eq!(replayed(&bytes, 8), []);
        for cut in 0..bytes.len() {
            let whole = if cut < first { 0 } else { 2 };
            assert_eq!(replayed(&bytes[..cut], 7).len(), whole, "cut at {cut}");
            let mut changed = bytes.clone();
            changed[cut] ^= 0x40;
            assert_eq!(replayed(&changed, 7).len(), whole, "changed at {cut}");
            let found = replay::<()>(&changed, 7, |_| Ok(())).unwrap();
            let expected = if cut < first {
                (0, 1)
            } else {
                (first as u64, 0)
            };
            assert_eq!((found.whole, found.stranded), expected, "changed at {cut}");
        }
    }
}
