//! The posting emulation: a deterministic world of people who post, as three streams of JSON
//! records.
//!
//! It is the load generator, the maker of fixtures, and the source of a program that is started
//! with nothing configured. Post `i` becomes a `pin`, a `geo` and a `user` record that share the
//! key `i` and the partition [`partition_of`]`(i)`. Their content, flaws and wire forms imitate the
//! real streams: hot posters, placeholders, `k` and `M` counts, four date forms, emoji, and records
//! that come late, twice, changed, or broken.
//!
//! ```text
//! seed, i --> post      poster, category, moment, flaw       post.rs, poster.rs
//!         --> record    JSON bytes from ready fragments       record.rs, pin_text.rs, wire.rs, broken.rs
//!         --> schedule  now, late, again, updated             schedule.rs
//!         --> Emulator  records in the order of sending       here
//!         --> files     topics/.. or lines, gzip, rate        files.rs, part.rs, pace.rs
//! ```
//!
//! What is not written to files at full speed is posted, as clients of the real service would:
//!
//! ```text
//! origin     posts made up, out of files, out of MySQL        origin/, order.rs, python_random.rs
//!   --> lanes    batches, one request a lane, repeats          lanes.rs, backoff.rs
//!   --> target   REST proxy, Kinesis by HTTP or SDK, Kafka     target/, outgoing.rs
//! posting    pace, requests in flight, the end                 posting.rs, pace.rs
//! posted     what was acknowledged, and how fast               posted.rs, bar.rs
//! ```
//!
//! Invariants:
//! * The same options give the same bytes, on any machine, however the work is divided among
//!   threads.
//! * Post `i` is a pure function of (seed, i); an emulator started at post `n` sends exactly what
//!   one that ran from 0 sends from there on.
//! * All records of a key are in one partition of their stream, and an update follows every other
//!   record of its key.
//! * A record is one line: it holds no line end.
//! * What a target acknowledged is not sent again; records of one stream and key arrive in their
//!   order.

mod args;
mod backoff;
mod bar;
mod broken;
mod command;
mod dates;
mod files;
mod lanes;
mod options;
mod order;
mod origin;
mod outgoing;
mod pace;
mod part;
mod pin_text;
mod post;
mod posted;
mod poster;
mod posting;
mod python_random;
mod random;
mod record;
mod schedule;
mod summary;
mod target;
mod vocabulary;
mod wire;
mod words;

use std::io;
use std::path::PathBuf;

pub use args::EmulateArgs;
pub use command::{Report, run};
pub use dates::DateForm;
pub use files::{Layout, WriteOptions, write_to_dir};
pub use options::EmulatorOptions;
pub use order::{Pause, RowOrder};
pub use pace::{Clock, WallClock};
pub use post::partition_of;
pub use posted::Posted;
pub use summary::{Progress, Summary};

use record::Records;
use schedule::{Due, HORIZON, Planner, Waiting};

/// The streams of the emulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// What was posted, key `index`.
    Pin,
    /// Where and when, key `ind`.
    Geo,
    /// By whom, key `ind`.
    User,
}

impl Stream {
    /// All streams, in the order in which a post is sent.
    pub const ALL: [Self; 3] = [Self::Pin, Self::Geo, Self::User];

    /// The stream's name, as in topics and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Geo => "geo",
            Self::User => "user",
        }
    }
}

/// What a record of the emulator is.
#[derive(Clone, Copy)]
struct Sent {
    /// The post it belongs to.
    index: u64,
    stream: Stream,
    partition: u32,
}

/// Why an emulation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// A share is not a probability.
    #[error("`{name}` is a share of all records or posts and must be between 0 and 1, not {value}")]
    Share {
        /// The option.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// No partitions, or absurdly many.
    #[error("a stream has between 1 and 10000 partitions, not {0}")]
    Partitions(u32),
    /// The rate is no positive number.
    #[error("`rate` is the number of posts a second and must be above 0, not {0}")]
    Rate(f64),
    /// A file would hold nothing.
    #[error(
        "`roll-records` is the number of records after which a new file begins and must be above 0"
    )]
    RollRecords,
    /// Endless and as fast as possible.
    #[error(
        "an endless emulation without a rate would fill the disk: say how many posts to make with --posts, or how many \
         a second with --rate"
    )]
    Endless,
    /// The target is not one that can be posted to.
    #[error(
        "--to cannot post to `{address}`: {why}\n help: targets are `dir:PATH`, `http://HOST:8082/topics/ID.*` (Kafka \
         REST proxy), `http://HOST:8082/streams/STREAM` (Kinesis through the gateway), `kafka://HOST:9092?topic_prefix=ID.` \
         and `kinesis://STREAM`; a `*` stands for pin, geo and user"
    )]
    Target {
        /// What was given, without secrets.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Options(&'static str),
    /// Too many rows to draw from.
    #[error(
        "rows are drawn out of memory, so --last-row is at most {0}: choose a smaller one, or --order sequential"
    )]
    TooManyRows(u64),
    /// Nothing to draw from.
    #[error("{0} has no rows to post")]
    NoRows(String),
    /// No files to post.
    #[error(
        "{}: there are no files of records: expected are `topics/<topic>/partition=<p>/*.json` or `<stream>/*.jsonl`, \
         where topics and streams are named `pin`, `geo` or `user`, or end so behind a dot; `.gz` and `.zst` are understood",
        .0.display()
    )]
    NoFiles(PathBuf),
    /// The database failed.
    #[error("{place}: {why}")]
    Database {
        /// The database and table, without secrets.
        place: String,
        /// What it says, and what to do.
        why: String,
    },
    /// Not every record could be delivered.
    #[error("{report}\n {why}")]
    Undelivered {
        /// What was delivered, and what not.
        report: Box<Posted>,
        /// Why not everything, and what to do.
        why: String,
    },
    /// The machine has no threads or handles left.
    #[error("cannot start what posting needs: {0}")]
    Runtime(io::Error),
    /// The folder already holds a stream.
    #[error(
        "{}: already holds records of the stream `{stream}`, which would be mixed with the new ones: choose an empty \
         folder or remove it",
        path.display()
    )]
    Occupied {
        /// The folder of the stream.
        path: PathBuf,
        /// The stream found.
        stream: &'static str,
    },
    /// A file or folder could not be written.
    #[error("{}: cannot {action}: {source}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Sends the records of an emulation, post by post.
pub struct Emulator {
    posts: u64,
    partitions: u32,
    records: Records,
    planner: Planner,
    waiting: Waiting,
    next: u64,
    /// `[partition][stream]`: whether records there are made at all.
    wanted: Vec<[bool; 3]>,
    record: Vec<u8>,
}

impl Emulator {
    /// An emulator before its first post.
    pub fn new(options: EmulatorOptions) -> Result<Self, EmulatorError> {
        Self::at(options, 0)
    }

    /// An emulator that goes on at post number `post`, with whatever earlier posts still have to
    /// send.
    pub fn at(options: EmulatorOptions, post: u64) -> Result<Self, EmulatorError> {
        options.validate()?;
        Ok(Self {
            // Keys are signed 64-bit numbers.
            posts: options.posts.unwrap_or(u64::MAX).min(i64::MAX as u64),
            partitions: options.partitions,
            records: Records::new(&options),
            planner: Planner::new(&options),
            waiting: Waiting::new(),
            next: post,
            wanted: vec![[true; 3]; options.partitions as usize],
            record: Vec::with_capacity(2048),
        }
        .with_earlier_posts())
    }

    /// Makes only the records of streams and partitions that `wanted` asks for, which are the same
    /// as without this; the others cost next to nothing. So several emulators can share the work.
    pub fn only(mut self, wanted: impl Fn(Stream, u32) -> bool) -> Self {
        for (partition, streams) in (0..).zip(&mut self.wanted) {
            *streams = Stream::ALL.map(|stream| wanted(stream, partition));
        }
        self.waiting = Waiting::new();
        self.with_earlier_posts()
    }

    /// Fills the waiting records from the plans of the posts before the next.
    fn with_earlier_posts(mut self) -> Self {
        for index in self.next.saturating_sub(HORIZON)..self.next.min(self.posts) {
            let wanted = self.wanted[partition_of(index, self.partitions) as usize];
            self.planner.plan(index, |delay, due| {
                if index + delay >= self.next && wanted[due.stream as usize] {
                    self.waiting.push(index + delay, due);
                }
            });
        }
        self.skip_idle_turns();
        self
    }

    /// The number of the post that [`Self::next_post`] sends next; [`Self::at`] takes it to resume
    /// here.
    pub fn post_number(&self) -> u64 {
        self.next
    }

    /// Whether everything has been sent: all posts, and after them the late records, copies and
    /// updates they left.
    pub fn is_finished(&self) -> bool {
        self.next >= self.posts && self.waiting.is_empty()
    }

    /// Sends one post and whatever earlier posts have to send after it: calls `out` with the
    /// stream, the partition, and the record, which is one line without its end. False if there was
    /// nothing left to do.
    pub fn next_post(&mut self, out: &mut impl FnMut(Stream, u32, &[u8])) -> bool {
        self.next_turn(&mut |sent, record| out(sent.stream, sent.partition, record))
    }

    /// As [`Self::next_post`], and tells the post that each record belongs to.
    #[inline]
    fn next_turn(&mut self, out: &mut impl FnMut(Sent, &[u8])) -> bool {
        if self.is_finished() {
            return false;
        }
        let number = self.next;
        if number < self.posts {
            let partition = partition_of(number, self.partitions);
            let wanted = self.wanted[partition as usize];
            if wanted != [false; 3] {
                let post = self.records.post(number);
                self.planner.plan(number, |delay, due| {
                    if !wanted[due.stream as usize] {
                        return;
                    }
                    if delay == 0 {
                        self.records
                            .write(due.stream, &post, due.edition, &mut self.record);
                        let sent = Sent {
                            index: number,
                            stream: due.stream,
                            partition,
                        };
                        out(sent, &self.record);
                    } else {
                        self.waiting.push(number + delay, due);
                    }
                });
            }
        }
        let slot = self.waiting.take(number);
        for due in &slot {
            let Due {
                index,
                stream,
                edition,
            } = *due;
            let post = self.records.post(index);
            self.records.write(stream, &post, edition, &mut self.record);
            let sent = Sent {
                index,
                stream,
                partition: partition_of(index, self.partitions),
            };
            out(sent, &self.record);
        }
        self.waiting.reuse(number, slot);
        self.next += 1;
        self.skip_idle_turns();
        true
    }

    /// After the last post, goes on to the next turn in which something is left to send.
    fn skip_idle_turns(&mut self) {
        while self.next >= self.posts && !self.waiting.is_empty() && self.waiting.is_idle(self.next)
        {
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests;
