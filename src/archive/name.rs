//! Where records of a partition are archived.
//!
//! The layout is that of the S3 sink connector, so that whatever reads its objects reads these:
//! `topics/<topic>/partition=<p>/<topic>+<p>+<start offset, 10 digits>.json`.
//!
//! | partition of the source | topic | p |
//! |---|---|---|
//! | `<topic>/partition=<p>` (Kafka, the embedded log, `dir:`) | `<topic>` | `<p>` |
//! | `<a>/<b>` (Kinesis: stream and shard; dated folders) | `<a>` | `<b>` |
//! | digits (the emulator) | the stream | the digits |
//! | any other name (MySQL: the table; a folder) | the name | 0 |
//!
//! A topic that is not the stream's name and does not end in `.<stream>` gets that ending:
//! otherwise a reader could not tell the stream, and the streams of a shared Kinesis stream would
//! write to one place. A slash in a topic is written `%2F`.

use crate::source::stream_of_topic;

/// What the folders of all partitions are in.
pub(super) const TOPICS: &str = "topics";
/// Where the marks of folders are in which nothing was committed yet; readers pass over it.
pub(super) const UNCOMMITTED: &str = "_uncommitted";
/// The digits of a start offset.
const DIGITS: usize = 10;

/// Where the objects of one partition are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// The folder's path.
    pub path: String,
    /// What the names of its objects begin with.
    stem: String,
}

impl Folder {
    /// The folder of `partition` of the stream with index `stream`.
    pub(super) fn of(streams: &[String], stream: usize, partition: &str) -> Folder {
        let name = &streams[stream];
        let (topic, p) = match partition.rsplit_once('/') {
            Some((topic, last)) => (topic, last.strip_prefix("partition=").unwrap_or(last)),
            None if partition.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name.as_str(), partition)
            }
            None => (partition, "0"),
        };
        let mut topic = topic.replace('/', "%2F");
        if stream_of_topic(streams, &topic) != Some(stream) {
            topic = format!("{topic}.{name}");
        }
        Folder {
            path: format!("{TOPICS}/{topic}/partition={p}"),
            stem: format!("{topic}+{p}+"),
        }
    }

    /// The path of the object that begins at `start`.
    pub(super) fn object(&self, start: u64) -> String {
        format!("{}/{}{start:0DIGITS$}.json", self.path, self.stem)
    }

    /// The start offset of an object of this folder.
    pub(super) fn start(&self, path: &str) -> Option<u64> {
        let name = path.strip_prefix(&self.path)?.strip_prefix('/')?;
        let digits = name.strip_prefix(&self.stem)?.strip_suffix(".json")?;
        (digits.len() >= DIGITS).then(|| digits.parse().ok())?
    }

    /// The path of the mark that nothing in the folder was committed yet.
    pub(super) fn mark(&self) -> String {
        format!("{UNCOMMITTED}/{}", self.stem.trim_end_matches('+'))
    }

    /// Where that mark was at first: beside the objects.
    pub(super) fn old_mark(&self) -> String {
        format!("{}/{UNCOMMITTED}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_place_that_tells_its_stream() {
        let streams = ["pin", "geo"].map(str::to_owned).to_vec();
        for (stream, partition, object) in [
            (
                0,
                "0ec6.pin/partition=3",
                "topics/0ec6.pin/partition=3/0ec6.pin+3+0000000042.json",
            ),
            (1, "0", "topics/geo/partition=0/geo+0+0000000042.json"),
            (0, "pin", "topics/pin/partition=0/pin+0+0000000042.json"),
            (
                0,
                "pinterest_data",
                "topics/pinterest_data.pin/partition=0/pinterest_data.pin+0+0000000042.json",
            ),
            (
                1,
                "shared/shardId-01",
                "topics/shared.geo/partition=shardId-01/shared.geo+shardId-01+0000000042.json",
            ),
            (
                0,
                "dated/raw/x",
                "topics/dated%2Fraw.pin/partition=x/dated%2Fraw.pin+x+0000000042.json",
            ),
        ] {
            let folder = Folder::of(&streams, stream, partition);
            assert_eq!(folder.object(42), object);
            assert_eq!(folder.start(object), Some(42));
            assert_eq!(folder.start(&folder.mark()), None);
        }
        let folder = Folder::of(&streams, 0, "pin");
        assert_eq!(
            folder.start(&folder.object(123_456_789_012)),
            Some(123_456_789_012)
        );
    }
}
