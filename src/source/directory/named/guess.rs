//! What the next file of a large folder is probably called.
//!
//! Listing a folder of a million files takes a second; asking for one name takes a microsecond. Writers count: the S3 sink connector and the archive name
//! files by the offset of the first record, and others number them. A wrong guess costs nothing: the folder is listed all the same, only less often.

use std::io;
use std::path::Path;

/// A file that is larger is not read to count its records.
const COUNTED_BYTES: u64 = 128 << 20;

/// Names that may come next after `name`, in which `records` records are.
pub(super) fn next_names(name: &str, records: Option<u64>) -> Vec<String> {
    let Some(end) = name.find(".json") else {
        return Vec::new();
    };
    let digits = name[..end]
        .bytes()
        .rev()
        .take_while(u8::is_ascii_digit)
        .count();
    let begin = end - digits;
    let Ok(number) = name[begin..end].parse::<u64>() else {
        return Vec::new();
    };
    let steps = records
        .filter(|records| *records > 1)
        .into_iter()
        .chain([1]);
    let name = |step: u64| {
        let next = number.checked_add(step)?;
        Some(format!("{}{next:0digits$}{}", &name[..begin], &name[end..]))
    };
    steps.filter_map(name).collect()
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
    fn names_are_counted_on_by_records_and_by_one() {
        let next = |name, records| next_names(name, records);
        assert_eq!(
            next("pin+0+0000000098.json", Some(5)),
            ["pin+0+0000000103.json", "pin+0+0000000099.json"]
        );
        assert_eq!(next("part-0-99.jsonl.gz", None), ["part-0-100.jsonl.gz"]);
        assert_eq!(
            next("pin+0+0000000098.json", Some(1)),
            ["pin+0+0000000099.json"]
        );
        assert!(next("a.json", Some(5)).is_empty() && next("12", None).is_empty());
    }
}
