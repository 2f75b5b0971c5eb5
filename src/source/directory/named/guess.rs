//! What the next file of a large folder is called.
//!
//! Listing a folder of a million files takes a second; asking for one name takes a microsecond. The
//! S3 sink connector, the archive and the gateway's log name files by the offset of the first
//! record, so the name of the next file follows from the last one and the number of its records,
//! and no other file can sort between the two. Of other names nothing is guessed: files would be
//! read before others that sort before them.

use std::io;
use std::path::Path;

/// A file that is larger is not read to count its records.
const COUNTED_BYTES: u64 = 128 << 20;

/// The name that comes next after `<topic>+<partition>+<offset, 10 digits>.json`, in which
/// `records` records are.
pub(super) fn next_name(name: &str, records: u64) -> Option<String> {
    let (begin, offset) = name.strip_suffix(".json")?.rsplit_once('+')?;
    let (topic, partition) = begin.rsplit_once('+')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if topic.is_empty()
        || !number(partition)
        || !number(offset)
        || offset.len() != 10
        || records == 0
    {
        return None;
    }
    let next = offset.parse::<u64>().ok()?.checked_add(records)?;
    Some(format!("{begin}+{next:010}.json"))
}

/// How many lines a file has, if it is not compressed and not too large to find out.
pub(super) fn count_lines(file: &Path) -> io::Result<Option<u64>> {
    let name = file.to_string_lossy();
    if !(name.ends_with(".json") || name.ends_with(".jsonl"))
        || std::fs::metadata(file)?.len() > COUNTED_BYTES
    {
        return Ok(None);
    }
    Ok(Some(crate::decode::count_records(&std::fs::read(file)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_follows_from_offset_and_records_alone() {
        let next = next_name("pin+0+0000000098.json", 5);
        assert_eq!(next.as_deref(), Some("pin+0+0000000103.json"));
        for (name, records) in [
            ("part-0030032.jsonl", 3),
            ("pin+0+98.json", 5),
            ("pin+0000000098.json", 5),
            ("+0+0000000098.json", 5),
            ("pin+0+0000000098.json.gz", 5),
            ("pin+0+0000000098.json", 0),
        ] {
            assert_eq!(next_name(name, records), None, "{name}");
        }
    }
}
