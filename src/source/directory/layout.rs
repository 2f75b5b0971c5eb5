//! What folders and names mean: which stream a file feeds, and which partition it belongs to.
//!
//! Everything here is a pure function of names, so that a restart, another process and a reader of
//! the documentation come to the same answer.

/// The stream that `name` stands for: its index in `streams`.
///
/// A name stands for a stream if it is the stream's name, or ends in it behind one of `separators`.
/// Of several the longest counts, so that `my_pin` is not taken for `pin` where both are streams.
pub(super) fn stream_named(streams: &[String], name: &str, separators: &[char]) -> Option<usize> {
    let ends = |stream: &str| {
        name.strip_suffix(stream)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(separators))
    };
    (0..streams.len())
        .filter(|&index| ends(&streams[index]))
        .max_by_key(|&index| streams[index].len())
}

/// Topics and folders of the connector's kind: `pin`, `<anything>.pin`.
pub(super) const TOPIC: &[char] = &['.'];

/// Delivery streams and the folders they deliver to: `pin`, `<anything>.pin`, `<anything>-pin`,
/// `<anything>_pin`.
pub(super) const DELIVERY: &[char] = &['.', '-', '_'];

/// What a folder holds, told by its path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// Files of one partition, in the order of their names.
    Named {
        /// The stream.
        stream: usize,
        /// The partition.
        partition: String,
        /// Whether only files can be in it.
        leaf: bool,
    },
    /// Nothing by itself; there may be something in it.
    Between,
}

/// What the folder `path` (its parts below the root) holds.
pub(super) fn folder(streams: &[String], path: &[&str]) -> Folder {
    let named = |stream, partition, leaf| Folder::Named {
        stream,
        partition,
        leaf,
    };
    match path {
        [.., "topics", topic, partition] => match stream_named(streams, topic, TOPIC) {
            Some(stream) => named(stream, format!("{topic}/{partition}"), true),
            None => Folder::Between,
        },
        [only] => match stream_named(streams, only, TOPIC) {
            Some(stream) => named(stream, (*only).to_owned(), false),
            None => Folder::Between,
        },
        _ => Folder::Between,
    }
}

/// Whether a folder is looked into: not what is hidden, and not what Firehose could not deliver.
pub(super) fn is_entered(name: &str) -> bool {
    !name.starts_with(['.', '_']) && !name.ends_with("-failed")
}

/// Whether a file of a partition's folder holds records: `*.json`, `*.jsonl`, `*.ndjson`, or these
/// compressed, in any case.
pub(super) fn is_record_file(name: &str) -> bool {
    let ends = |name: &str, endings: &[&str]| {
        let length = |ending: &&&str| {
            let at = name.len().checked_sub(ending.len());
            let end = at.and_then(|at| name.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(ending))
        };
        endings.iter().find(length).map(|ending| ending.len())
    };
    let compressed = ends(name, &[".gz", ".zst", ".zstd"]).unwrap_or(0);
    let stem = &name[..name.len() - compressed];
    !name.starts_with(['.', '_']) && ends(stem, &[".json", ".jsonl", ".ndjson"]).is_some()
}

/// Whether an object below a date holds records: any name that is not hidden.
pub(super) fn is_dated_file(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['.', '_'])
}

/// The kinds of dates in folder names: the digits alone, or behind `year=`, `month=`, `day=`,
/// `hour=`.
fn digits(name: &str, label: &str, length: usize) -> Option<u32> {
    let number = name.strip_prefix(label).unwrap_or(name);
    (number.len() == length && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| number.parse().ok())
        .flatten()
}

/// A year, as the first of the folders of a date.
pub(super) fn year(name: &str) -> Option<u32> {
    digits(name, "year=", 4).filter(|year| (1970..=9998).contains(year))
}

/// The month in a year.
pub(super) fn month(name: &str) -> Option<u32> {
    digits(name, "month=", 2).filter(|month| (1..=12).contains(month))
}

/// The day in a month.
pub(super) fn day(name: &str) -> Option<u32> {
    digits(name, "day=", 2).filter(|day| (1..=31).contains(day))
}

/// Of `<delivery stream>-<version>-YYYY-MM-DD-HH-MM-SS-<id>`, as Firehose names objects: the
/// delivery stream.
pub(super) fn delivery_stream(object: &str) -> Option<&str> {
    const LENGTHS: [usize; 6] = [4, 2, 2, 2, 2, 2];
    let parts: Vec<&str> = object.split('-').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let at = (1..parts.len()).find(|&at| {
        number(&parts[at])
            && parts.len() > at + LENGTHS.len()
            && parts[at + 1..]
                .iter()
                .zip(LENGTHS)
                .all(|(part, length)| number(part) && part.len() == length)
    })?;
    let length = parts[..at].iter().map(|part| part.len() + 1).sum::<usize>() - 1;
    (length > 0).then(|| &object[..length])
}

/// The stream and the partition of `object` below the dated folder `prefix`.
///
/// The folder nearest to the date that stands for a stream tells it; without one, the delivery
/// stream in the object's name does.
pub(super) fn dated(streams: &[String], prefix: &[&str], object: &str) -> Option<(usize, String)> {
    let told = prefix
        .iter()
        .rev()
        .find_map(|folder| stream_named(streams, folder, DELIVERY));
    let mut partition = vec![super::DATED];
    partition.extend(prefix);
    let stream = match told {
        Some(stream) => stream,
        None => {
            let delivery = delivery_stream(object)?;
            partition.push(delivery);
            stream_named(streams, delivery, DELIVERY)?
        }
    };
    Some((stream, partition.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Vec<String> {
        ["pin", "geo", "big-pin"].map(str::to_owned).to_vec()
    }

    #[test]
    fn names_stand_for_the_longest_stream_they_end_in() {
        for (name, stream) in [
            ("pin", Some(0)),
            ("0ec6.pin", Some(0)),
            ("a.big-pin", Some(2)),
            ("big-pin", Some(2)),
            ("a-pin", None),
            ("opin", None),
        ] {
            assert_eq!(stream_named(&streams(), name, TOPIC), stream, "{name}");
        }
        assert_eq!(
            stream_named(&streams(), "streaming-0ec6-geo", DELIVERY),
            Some(1)
        );
    }

    #[test]
    fn files_of_records_are_told_by_how_their_names_end() {
        for name in ["a.json", "a.jsonl.gz", "a.NDJSON", "a.b.JSON.Zst", "é.json"] {
            assert!(is_record_file(name), "{name}");
        }
        for name in [
            "",
            "json",
            "a.gz",
            "_a.json",
            ".json",
            "a.json.bak",
            "a.jsön",
            "a.csv",
        ] {
            assert!(!is_record_file(name), "{name}");
        }
    }

    #[test]
    fn the_delivery_stream_is_what_stands_before_version_and_time() {
        for (object, delivery) in [
            (
                "KDS-S3-gjcBX-1-2025-04-10-15-30-00-0a1b2c3d-4e5f",
                Some("KDS-S3-gjcBX"),
            ),
            ("pin-12-2025-04-10-15-30-00-0a1b.gz", Some("pin")),
            ("pin-2025-04-10-15-30-00-0a1b", None),
            ("-1-2025-04-10-15-30-00-0a1b", None),
            ("part-00000.json", None),
        ] {
            assert_eq!(delivery_stream(object), delivery, "{object}");
        }
    }

    #[test]
    fn the_nearest_folder_tells_the_stream_before_the_delivery_stream_does() {
        let object = "x-geo-1-2025-04-10-15-30-00-0a1b";
        let told = |prefix: &[&str]| dated(&streams(), prefix, object);
        assert_eq!(
            told(&["raw", "my_pin"]),
            Some((0, "dated/raw/my_pin".into()))
        );
        assert_eq!(told(&["raw"]), Some((1, "dated/raw/x-geo".into())));
        assert_eq!(told(&[]), Some((1, "dated/x-geo".into())));
        assert_eq!(dated(&streams(), &[], "KDS-1-2025-04-10-15-30-00-0a"), None);
    }

    #[test]
    fn dates_are_digits_with_or_without_their_label() {
        assert_eq!((year("2025"), year("year=2025")), (Some(2025), Some(2025)));
        assert_eq!(
            (year("0000"), year("20255"), year("day=2025")),
            (None, None, None)
        );
        assert_eq!(
            (month("04"), month("month=13"), day("day=31")),
            (Some(4), None, Some(31))
        );
    }
}
