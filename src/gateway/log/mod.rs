//! The embedded log: a durable append-only folder of records, in the archive's layout.
//!
//! ```text
//! requests --> queue --> writer thread:  _wal/<n>.wal      one sync for all that waited meanwhile (group commit)
//!                                   then topics/<topic>/partition=<p>/<topic>+<p>+<start, 10 digits>.json
//!                                   then the answers
//! ```
//! Readers follow the partitions' files by their sizes, in this process or another, and commit the
//! offsets that they have read. So a record must not be readable before it is durable: a power
//! failure would take it back after its offset was committed. Syncing a file makes it readable and
//! durable in the wrong order; therefore each group goes to a log of writes first, is synced there,
//! *then* appended to the partitions' files, which are synced at leisure. What a power failure
//! takes from them, opening the log puts back, byte for byte. It also makes one sync enough for a
//! group that touches many partitions. Every byte is written twice, in sequence, which costs less
//! than the syncs.
//!
//! # Invariants
//! 1. What is in a partition's file is durable: it never changes, goes away, or gets another
//!    offset.
//! 2. An append that was answered with an offset is there at that offset.
//! 3. A file is complete and synced before the one that follows it is made.
//! 4. Offsets are line numbers: they begin at 0 and have no gap; a file's name is the offset of its
//!    first line.
//! 5. After any error of the file system nothing is taken in: what is on disk is unknown until the
//!    log is opened again, which is tried every second. A sync that failed says nothing when it is
//!    repeated, so what was not synced is written again.
//! 6. A log that lacks something which was acknowledged is not opened: see `extent`.
//!
//! An append that was *not* answered, because the process ended, may be there all the same: whoever
//! sends it again makes a copy. Open the log before anything reads it after a crash; opening is the
//! repair.

#[cfg(test)]
mod crash;
mod error;
mod extent;
mod layout;
mod reader;
mod repair;
#[cfg(test)]
mod tests;
mod topics;
mod view;
mod wal;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub use error::LogError;
pub use layout::check_topic;
pub use reader::{Cursor, Most};
pub use view::Topic;

use layout::{FULL_AT, partition_folder, topics_folder, wal_folder};
use topics::{Broken, Topics};
use view::View;

use crate::disk;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Partitions of a topic that is made on first use.
    pub partitions: u32,
    /// A file of a partition that has so many bytes is followed by another one.
    pub segment_bytes: u64,
    /// The log of writes is synced away when it has so many bytes: that much is read again after a
    /// crash.
    pub wal_bytes: u64,
    /// Bytes that may wait for being written; who comes with more waits.
    pub queue_bytes: usize,
    /// Topics that may be made on first use.
    pub topics_max: usize,
    /// How often it is tried to open a log again that has failed.
    pub reopen_every: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            partitions: 1,
            segment_bytes: 64 << 20,
            wal_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            topics_max: 1000,
            reopen_every: Duration::from_secs(1),
        }
    }
}

/// Some records of one partition, on their way into the log.
struct Append {
    topic: Arc<Topic>,
    partition: u32,
    lines: Vec<u8>,
    records: u64,
    answer: oneshot::Sender<Result<u64, LogError>>,
    _room: OwnedSemaphorePermit,
}

/// What the writer is asked.
enum Job {
    Append(Append),
    Close,
    /// Ends the writer where it stands, as a crash does.
    #[cfg(test)]
    Crash,
}

/// The log. Dropped, it is closed.
#[derive(Debug)]
pub struct Log {
    root: PathBuf,
    options: LogOptions,
    topics: Arc<Topics>,
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    grown: watch::Receiver<u64>,
    broken: Arc<Broken>,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: File,
}

impl Log {
    /// Opens the log in `root`, makes the folder if there is none, and repairs what a crash has
    /// left. Blocks.
    pub fn open(root: &Path, options: LogOptions) -> Result<Log, LogError> {
        for folder in [root, &topics_folder(root), &wal_folder(root)] {
            disk::make_folders(folder).map_err(LogError::at(folder))?;
        }
        let lock = lock(root)?;
        for folder in [&topics_folder(root), &wal_folder(root)] {
            disk::make_durable_folders(folder).map_err(LogError::at(folder))?;
        }
        for folder in [root, &wal_folder(root)] {
            disk::remove_unfinished(folder).map_err(LogError::at(folder))?;
        }
        let repaired = repair::repair(root)?;
        let topics = Arc::new(Topics::new(repaired.topics));
        let (queue, jobs) = mpsc::channel();
        let (growing, grown) = watch::channel(0);
        let broken = Arc::<Broken>::default();
        let writer = writer::Writer::new(
            root,
            &options,
            repaired.wal,
            growing,
            Arc::clone(&topics),
            Arc::clone(&broken),
        )?;
        let writer = std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(LogError::at(root))?;
        Ok(Log {
            root: root.to_owned(),
            room: Arc::new(Semaphore::new(
                options.queue_bytes.clamp(1, Semaphore::MAX_PERMITS),
            )),
            options,
            topics,
            queue,
            grown,
            broken,
            writer: Mutex::new(Some(writer)),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The topics' names, sorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics.names()
    }

    /// A topic that exists.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic, made if there is none, with so many partitions or as many as configured. Blocks
    /// when it makes one.
    pub fn make_topic(&self, name: &str, partitions: Option<u32>) -> Result<Arc<Topic>, LogError> {
        let _one_at_a_time = self.topics.making();
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        check_topic(name)?;
        if self.topics.names().len() >= self.options.topics_max {
            return Err(LogError::TooManyTopics {
                name: name.to_owned(),
                max: self.options.topics_max,
            });
        }
        let partitions = partitions.unwrap_or(self.options.partitions).max(1);
        let partitions = self.make_folders(name, partitions)?;
        let topic = Arc::new(Topic::new(name, vec![View::default(); partitions as usize]));
        self.topics.insert(&topic);
        Ok(topic)
    }

    /// The folders appear all at once, so that a topic never has fewer partitions than it was made
    /// with: as many as are answered, where an attempt before this one failed behind that.
    fn make_folders(&self, name: &str, partitions: u32) -> Result<u32, LogError> {
        let all = topics_folder(&self.root);
        let (made, wanted) = (all.join(format!(".{name}")), all.join(name));
        if !wanted.is_dir() {
            for partition in 0..partitions {
                let folder = made.join(format!("partition={partition}"));
                disk::make_folders(&folder).map_err(LogError::at(&folder))?;
            }
            disk::sync_folder(&made).map_err(LogError::at(&made))?;
            disk::rename(&made, &wanted).map_err(LogError::at(&wanted))?;
        }
        disk::sync_folder(&all).map_err(LogError::at(&all))?;
        Ok(repair::count_partitions(&wanted)?.unwrap_or(partitions))
    }

    /// Appends whole lines and answers, once they are durable and readable, with the offset of the
    /// first.
    pub async fn append(
        &self,
        topic: &Arc<Topic>,
        partition: u32,
        lines: Vec<u8>,
    ) -> Result<u64, LogError> {
        if partition >= topic.partitions() {
            return Err(LogError::NoPartition {
                topic: topic.name.clone(),
                partition,
                partitions: topic.partitions(),
            });
        }
        if topic
            .bounds(partition)
            .is_some_and(|(_, next)| next >= FULL_AT)
        {
            return Err(LogError::Full {
                topic: topic.name.clone(),
                partition,
            });
        }
        debug_assert!(lines.last() == Some(&b'\n'), "lines end with a newline");
        let records = crate::decode::count_records(&lines);
        // An append larger than the whole queue has it for itself.
        let size = lines.len().clamp(1, self.options.queue_bytes.max(1));
        let room = Arc::clone(&self.room)
            .acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX))
            .await
            .map_err(|_| LogError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Job::Append(Append {
                topic: Arc::clone(topic),
                partition,
                lines,
                records,
                answer,
                _room: room,
            }))
            .map_err(|_| LogError::Closed)?;
        answered.await.map_err(|_| LogError::Closed)?
    }

    /// Records from the cursor on, which moves behind them: at least one if there is one. Blocks.
    pub fn read(
        &self,
        topic: &Topic,
        partition: u32,
        cursor: &mut Cursor,
        most: Most,
    ) -> Result<Vec<(u64, bytes::Bytes)>, LogError> {
        reader::read(&self.root, topic, partition, cursor, most)
    }

    /// When the file was last written that holds the record at `offset`, in milliseconds since
    /// 1970, and the offset behind the file's last record: none of the records between has come
    /// later than that. The log keeps no other times. Blocks.
    pub fn written(
        &self,
        topic: &Topic,
        partition: u32,
        offset: u64,
    ) -> Result<(u64, u64), LogError> {
        reader::written(&self.root, topic, partition, offset)
    }

    /// Why the log takes nothing in at the moment, if so.
    pub fn trouble(&self) -> Option<LogError> {
        self.broken.get()
    }

    /// Changes whenever the log has grown.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.clone()
    }

    /// Writes what is queued, syncs everything, and ends. Blocks. Appends that come later are
    /// refused.
    pub fn close(&self) {
        self.room.close();
        self.end(Job::Close);
    }

    fn end(&self, job: Job) {
        let writer = {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.take()
        };
        if let Some(writer) = writer {
            // If the writer is gone already, there is nobody to tell.
            let _ = self.queue.send(job);
            let _ = writer.join();
        }
    }

    #[cfg(test)]
    fn crash(self) {
        self.end(Job::Crash);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end(Job::Close);
    }
}

/// Only one process writes a log.
fn lock(root: &Path) -> Result<File, LogError> {
    let path = root.join("_lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(LogError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked {
            folder: root.display().to_string(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(LogError::at(&path)(error)),
    }
}

/// The folder of a partition, for messages.
fn place(root: &Path, topic: &str, partition: u32) -> String {
    partition_folder(root, topic, partition)
        .display()
        .to_string()
}
