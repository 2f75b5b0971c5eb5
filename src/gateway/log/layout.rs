//! Names in the log's folder, which are the archive's:
//! `topics/<topic>/partition=<p>/<topic>+<p>+<start offset, 10 digits>.json`.

use std::path::{Path, PathBuf};

use super::LogError;

/// The longest name of a topic, as in Kafka.
const NAME_MAX: usize = 200;

/// Offsets in names have ten digits, so that names sort as offsets do; a partition is full well
/// before they run out.
pub(super) const FULL_AT: u64 = 9_900_000_000;

/// Refuses names that Kafka would refuse, and those that readers of folders pass over.
pub fn check_topic(name: &str) -> Result<(), LogError> {
    let why = if name.is_empty() || name.len() > NAME_MAX {
        "a name has 1 to 200 characters"
    } else if name.starts_with(['.', '_']) {
        "names that begin with `.` or `_` are kept for the log itself"
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        "a name consists of letters, digits, `.`, `_` and `-`"
    } else {
        return Ok(());
    };
    Err(LogError::Name {
        name: name.chars().take(NAME_MAX).collect(),
        why,
    })
}

/// Where the topics are.
pub(super) fn topics_folder(root: &Path) -> PathBuf {
    root.join("topics")
}

/// Where the log of writes is that makes them durable.
pub(super) fn wal_folder(root: &Path) -> PathBuf {
    root.join("_wal")
}

/// The folder of a partition.
pub(super) fn partition_folder(root: &Path, topic: &str, partition: u32) -> PathBuf {
    topics_folder(root)
        .join(topic)
        .join(format!("partition={partition}"))
}

/// The file of a partition that begins with the record at `start`.
pub(super) fn segment_path(root: &Path, topic: &str, partition: u32, start: u64) -> PathBuf {
    partition_folder(root, topic, partition).join(format!("{topic}+{partition}+{start:010}.json"))
}

/// The start offset in a file's name, if it is a file of this partition.
pub(super) fn parse_segment(name: &str, topic: &str, partition: u32) -> Option<u64> {
    let digits = name
        .strip_prefix(topic)?
        .strip_prefix('+')?
        .strip_prefix(&partition.to_string())?
        .strip_prefix('+')?
        .strip_suffix(".json")?;
    (digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_connector_names_them() {
        let path = segment_path(Path::new("/l"), "0ec6.geo", 2, 17);
        assert_eq!(
            path,
            Path::new("/l/topics/0ec6.geo/partition=2/0ec6.geo+2+0000000017.json")
        );
        assert_eq!(
            parse_segment("0ec6.geo+2+0000000017.json", "0ec6.geo", 2),
            Some(17)
        );
        for other in [
            "0ec6.geo+1+0000000017.json",
            "0ec6.geo+2+17.json",
            "0ec6.geo+2+00000000x7.json",
            "0ec6.geo+2+0000000017.json.gz",
            "x+2+0000000017.json",
        ] {
            assert_eq!(parse_segment(other, "0ec6.geo", 2), None, "{other}");
        }
    }

    #[test]
    fn names_that_could_leave_the_folder_or_hide_in_it_are_refused() {
        for name in ["pin", "0ec6d756577b.pin", "Kinesis-Prod-Stream.user", "a_b"] {
            check_topic(name).unwrap();
        }
        for name in [
            "", ".", "..", "../x", "a/b", "_x.pin", ".pin", "a b", "a+0", "é",
        ] {
            assert!(check_topic(name).is_err(), "{name}");
        }
        assert!(check_topic(&"x".repeat(201)).is_err());
    }
}
