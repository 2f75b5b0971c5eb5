//! What the front doors write to and read from: Kafka, Kinesis, or the embedded log.
//!
//! Both doors speak to any backend. Topics are the words of the REST proxy, streams those of
//! Kinesis; where a backend knows only one of them it maps the other (`naming.rs`).

use bytes::Bytes;
use futures::future::BoxFuture;

use super::pattern::Pattern;

/// A record on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key: what decides the partition if none is given.
    pub key: Option<Bytes>,
    /// The value; none for a tombstone.
    pub value: Option<Bytes>,
    /// The partition that the client asks for.
    pub partition: Option<u32>,
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition, or the number of the shard.
    pub partition: u32,
    /// The offset, if the backend counts.
    pub offset: Option<u64>,
    /// The shard's id.
    pub shard: String,
    /// The sequence number: digits, larger for later records of a partition.
    pub sequence: String,
}

/// Why one record was not kept, while others of its request may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the same record may be taken later.
    pub retriable: bool,
    /// What Kinesis calls it.
    pub code: String,
    /// The sentence.
    pub why: String,
}

impl Refusal {
    /// The record itself is at fault.
    pub fn of_record(why: impl Into<String>) -> Refusal {
        Refusal {
            retriable: false,
            code: "ValidationException".to_owned(),
            why: why.into(),
        }
    }

    /// The backend is at fault.
    pub fn of_backend(retriable: bool, why: impl Into<String>) -> Refusal {
        Refusal {
            retriable,
            code: "InternalFailure".to_owned(),
            why: why.into(),
        }
    }
}

/// What became of one record.
pub type Written = Result<Place, Refusal>;

/// Why a whole request cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such topic or stream.
    #[error("{0}")]
    NotFound(String),
    /// The topic has no such partition.
    #[error("{0}")]
    NoPartition(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// What is asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// An iterator, or what it shall begin at, is not of this stream, or cannot be had here.
    #[error("{0}")]
    Argument(String),
    /// The iterator is too old: another one is needed.
    #[error("{0}")]
    Expired(String),
    /// The consumer is not in a state for it.
    #[error("{0}")]
    State(String),
    /// Too much at once: slower, please.
    #[error("{0}")]
    Throttled(String),
    /// The backend's servers refused the gateway.
    #[error("{0}")]
    Denied(String),
    /// This backend cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// The backend is away or broken.
    #[error("{why}")]
    Failed {
        /// Whether the same request may succeed later.
        retriable: bool,
        /// The sentence.
        why: String,
    },
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The number, from 0.
    pub partition: u32,
    /// The broker that leads it.
    pub leader: i32,
    /// All brokers that hold it, and whether each is in sync.
    pub replicas: Vec<(i32, bool)>,
}

/// One page of stream names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamNames {
    /// The names, sorted.
    pub names: Vec<String>,
    /// Whether there are more.
    pub more: bool,
}

/// A Kinesis stream, real or played.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, `CREATING`, `DELETING`, `UPDATING`.
    pub status: String,
    /// Its shards.
    pub shards: Vec<ShardInfo>,
    /// Whether there are more shards.
    pub more_shards: bool,
    /// How long records are kept.
    pub retention_hours: i32,
    /// When it was made, in seconds since 1970.
    pub created: f64,
}

/// A shard of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardInfo {
    /// `shardId-000000000000`.
    pub id: String,
    /// The shard it was split from or merged of.
    pub parent: Option<String>,
    /// The other one that it was merged of.
    pub adjacent_parent: Option<String>,
    /// The first and the last of its keys' hashes, decimal.
    pub hashes: (String, String),
    /// The first sequence number, and the last one of a closed shard.
    pub sequences: (String, Option<String>),
}

/// Where reading a shard begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardStart {
    /// At the oldest record that is still there.
    Oldest,
    /// Behind the newest record.
    Latest,
    /// At the record with this sequence number.
    At(String),
    /// Behind the record with this sequence number.
    After(String),
    /// At the first record that came at this time or later, in milliseconds since 1970.
    Time(u64),
}

/// What was read of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRecords {
    /// The records, in order.
    pub records: Vec<ShardRecord>,
    /// The iterator to go on with; none when a closed shard was read to its end.
    pub next: Option<String>,
    /// How much older than the newest record the reader is, in milliseconds; 0 when it has read
    /// everything.
    pub behind_ms: u64,
    /// The shards that a closed one goes on in.
    pub children: Vec<ShardInfo>,
}

/// A record of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRecord {
    /// Its sequence number, as it was told when it was put.
    pub sequence: String,
    /// Its partition key; empty if the backend does not know it.
    pub key: String,
    /// Its data.
    pub data: Bytes,
    /// About when it came, in milliseconds since 1970, if that is known.
    pub arrived_ms: Option<u64>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
}

/// What a consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// Where it was.
    pub at: TopicPartition,
    /// The offset.
    pub offset: u64,
    /// The key, if the backend keeps keys.
    pub key: Option<Bytes>,
    /// The value; none for a tombstone.
    pub value: Option<Bytes>,
}

/// How a consumer behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The group.
    pub group: String,
    /// The instance's name, unique in the group.
    pub instance: String,
    /// Where to begin in a partition without committed offset: at the beginning, else at the end.
    pub from_beginning: bool,
    /// Whether what one poll returned is committed by the next.
    pub auto_commit: bool,
}

/// What a consumer shall read of its group's share.
#[derive(Clone, Debug)]
pub enum Subscription {
    /// These topics.
    Topics(Vec<String>),
    /// All topics whose whole names match.
    Pattern(Pattern),
}

/// Where to seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// To the first record.
    Beginning,
    /// Behind the last record.
    End,
    /// To this offset.
    Offset(u64),
}

/// One instance of a consumer group. Calls come one at a time.
pub trait Consumer: Send {
    /// Reads a share of these topics from now on.
    fn subscribe(&mut self, to: Subscription) -> BoxFuture<'_, Result<(), Fault>>;
    /// Reads nothing any more.
    fn unsubscribe(&mut self) -> BoxFuture<'_, Result<(), Fault>>;
    /// The topics subscribed to.
    fn subscription(&mut self) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
    /// Reads exactly these partitions from now on.
    fn assign(&mut self, to: Vec<TopicPartition>) -> BoxFuture<'_, Result<(), Fault>>;
    /// The partitions that are read.
    fn assignment(&mut self) -> BoxFuture<'_, Result<Vec<TopicPartition>, Fault>>;
    /// Records; none if none came within `wait`.
    fn poll(
        &mut self,
        wait: std::time::Duration,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Consumed>, Fault>>;
    /// Commits the offsets of the *next* records to read; without any, behind all that was
    /// returned.
    fn commit(
        &mut self,
        offsets: Option<Vec<(TopicPartition, u64)>>,
    ) -> BoxFuture<'_, Result<(), Fault>>;
    /// The committed offsets of those partitions that have one.
    fn committed(
        &mut self,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<Vec<(TopicPartition, u64)>, Fault>>;
    /// Reads assigned partitions on elsewhere.
    fn seek(&mut self, to: Vec<(TopicPartition, Seek)>) -> BoxFuture<'_, Result<(), Fault>>;
    /// Leaves the group.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Where records are kept.
pub trait Backend: Send + Sync {
    /// What it is, for people: without secrets.
    fn describe(&self) -> String;
    /// Whether records can be kept now, as far as that can be told without trying.
    fn health(&self) -> BoxFuture<'_, Result<(), Fault>>;
    /// The topics' names, sorted.
    fn topics(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
    /// A topic.
    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<TopicInfo, Fault>>;
    /// The first and the next offset of a partition.
    fn bounds<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<(u64, u64), Fault>>;
    /// Keeps records: when this returns, what was written is durable. One answer for each, in
    /// order.
    fn produce<'a>(
        &'a self,
        topic: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>>;
    /// An instance of a consumer group.
    fn consumer(
        &self,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Fault>>;
    /// A page of streams whose names sort behind `after`.
    fn streams<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<StreamNames, Fault>>;
    /// A stream.
    fn stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<StreamInfo, Fault>>;
    /// Makes a stream.
    fn create_stream<'a>(&'a self, name: &'a str, shards: u32) -> BoxFuture<'a, Result<(), Fault>>;
    /// Removes a stream.
    fn delete_stream<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Fault>>;
    /// As `produce`, to a stream; each record's key is its partition key.
    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: Vec<Record>,
    ) -> BoxFuture<'a, Result<Vec<Written>, Fault>>;
    /// Where reading a shard begins, as a text that `read_shard` takes.
    fn shard_iterator<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ShardStart,
    ) -> BoxFuture<'a, Result<String, Fault>>;
    /// Records of a stream from an iterator on: at most `limit` and about 10 MB, at least one if
    /// there is one. Does not wait for records to come.
    fn read_shard<'a>(
        &'a self,
        stream: &'a str,
        iterator: &'a str,
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<ShardRecords, Fault>>;
    /// Makes everything durable and ends.
    fn close(&self) -> BoxFuture<'_, ()>;
}
