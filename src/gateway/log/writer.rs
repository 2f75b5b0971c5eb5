//! The one thread that writes the log: it takes all appends that wait, makes them durable with one
//! sync, lets readers see them, and answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::extent::{Acknowledged, Extent};
use super::layout::{partition_folder, segment_path, wal_folder};
use super::repair::{Repaired, repair};
use super::topics::{Broken, Topics};
use super::view::{Segment, Topic};
use super::wal::{Entry, Wal};
use super::{Append, Job, LogError, LogOptions};
use crate::disk::{self, File};

/// A group is full when it has so many bytes; what follows waits for the next sync.
const GROUP_BYTES: usize = 8 << 20;

/// A partition as the writer knows it.
struct Part {
    topic: Arc<Topic>,
    partition: u32,
    folder: PathBuf,
    /// The last file, while it is open: from its first write after a sync to the next sync.
    file: Option<File>,
    path: PathBuf,
    start: u64,
    /// Bytes of the last file.
    position: u64,
    /// The CRC-32 of these.
    sum: Option<u32>,
    next: u64,
    /// Lines that are in the log of writes and not yet in the file.
    pending: Vec<u8>,
}

/// Files whose writes must be synced before a log of writes may go.
struct Dirty {
    files: Vec<(PathBuf, File)>,
    folders: Vec<PathBuf>,
    wal: PathBuf,
    /// How far the log goes then.
    extent: Extent,
}

/// The thread that syncs what is dirty, and the way to it.
type Syncer = (SyncSender<Dirty>, JoinHandle<Result<(), LogError>>);

pub(super) struct Writer {
    root: PathBuf,
    segment_bytes: u64,
    wal_bytes: u64,
    reopen_every: Duration,
    wal: Wal,
    parts: BTreeMap<(String, u32), Part>,
    growing: watch::Sender<u64>,
    syncer: Option<Syncer>,
    acknowledged: Acknowledged,
    topics: Arc<Topics>,
    broken: Arc<Broken>,
    /// When the log was opened again last, or that was tried.
    reopened: Instant,
}

/// Starts the thread that syncs. One log of writes is being synced away while the next one is
/// written; a third one waits.
fn start_syncer(root: &Path) -> Result<Syncer, LogError> {
    let (sender, receiver) = sync_channel::<Dirty>(0);
    let place = root.to_owned();
    let syncer = std::thread::Builder::new()
        .name("log syncer".to_owned())
        .spawn(move || receiver.iter().try_for_each(|dirty| dirty.sync(&place)))
        .map_err(LogError::at(root))?;
    Ok((sender, syncer))
}

impl Writer {
    pub fn new(
        root: &Path,
        options: &LogOptions,
        wal: Wal,
        growing: watch::Sender<u64>,
        topics: Arc<Topics>,
        broken: Arc<Broken>,
    ) -> Result<Writer, LogError> {
        Ok(Writer {
            root: root.to_owned(),
            segment_bytes: options.segment_bytes.max(1),
            wal_bytes: options.wal_bytes.max(1),
            reopen_every: options.reopen_every,
            wal,
            parts: BTreeMap::new(),
            growing,
            syncer: Some(start_syncer(root)?),
            acknowledged: Acknowledged::open(root)?,
            topics,
            broken,
            reopened: Instant::now(),
        })
    }

    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut ends = false;
        while !ends {
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut job = match self.broken.get() {
                None => jobs.recv().ok(),
                Some(_) => match jobs.recv_timeout(self.reopen_every) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Disconnected) => None,
                    Err(RecvTimeoutError::Timeout) => {
                        self.reopen();
                        continue;
                    }
                },
            };
            loop {
                match job {
                    Some(Job::Append(append)) => {
                        bytes += append.lines.len();
                        group.push(append);
                    }
                    #[cfg(test)]
                    Some(Job::Crash) => {
                        // A process that is gone does nothing more: what is being synced is.
                        let _ = self.sync_failed();
                        return;
                    }
                    Some(Job::Close) | None => {
                        ends = true;
                        break;
                    }
                }
                if bytes >= GROUP_BYTES {
                    break;
                }
                let Ok(next) = jobs.try_recv() else { break };
                job = Some(next);
            }
            self.write(group);
        }
        self.finish();
    }

    /// Writes a group and answers it: all of it or nothing.
    fn write(&mut self, group: Vec<Append>) {
        if group.is_empty() {
            return;
        }
        if self.broken.get().is_some() {
            self.reopen();
        }
        let written = match self.broken.get() {
            Some(broken) => Err(broken),
            None => self.write_durably(&group),
        };
        match written {
            Ok(offsets) => {
                self.growing.send_modify(|groups| *groups += 1);
                for (append, offset) in group.into_iter().zip(offsets) {
                    // Who does not wait any more is not told.
                    let _ = append.answer.send(Ok(offset));
                }
                if self.wal.len >= self.wal_bytes
                    && let Err(error) = self.rotate()
                {
                    self.breaks(error);
                }
            }
            Err(error) => {
                for append in group {
                    let _ = append.answer.send(Err(error.clone()));
                }
                self.breaks(error);
            }
        }
    }

    /// The first error is the one that counts.
    fn breaks(&self, error: LogError) {
        if self.broken.set(error.clone()) {
            tracing::error!("{error}");
        }
    }

    /// Opens the log again after an error, as a new process would: a disk that was full may have
    /// room. Not more often than [`LogOptions::reopen_every`] says.
    fn reopen(&mut self) {
        if self.reopened.elapsed() < self.reopen_every {
            return;
        }
        match self.try_to_reopen() {
            Ok(()) => {
                self.broken.mend();
                tracing::info!("the log in {} is open again", self.root.display());
            }
            Err(error) => tracing::debug!("the log cannot be opened again: {error}"),
        }
        self.reopened = Instant::now();
    }

    fn try_to_reopen(&mut self) -> Result<(), LogError> {
        self.parts.clear();
        if let Some((sender, thread)) = self.syncer.take() {
            drop(sender);
            // Why it failed was told.
            let _ = thread.join();
        }
        // Topics that are being made are left alone.
        let _none_is_made = self.topics.making();
        let Repaired { topics, wal } = repair(&self.root)?;
        self.topics.renew(topics);
        self.wal = wal;
        self.syncer = Some(start_syncer(&self.root)?);
        Ok(())
    }

    fn write_durably(&mut self, group: &[Append]) -> Result<Vec<u64>, LogError> {
        let mut touched: Vec<(String, u32)> = Vec::new();
        let mut offsets = Vec::with_capacity(group.len());
        for append in group {
            let key = (append.topic.name.clone(), append.partition);
            if !self.parts.contains_key(&key) {
                let part = Part::of(&self.root, &append.topic, append.partition)?;
                self.parts.insert(key.clone(), part);
            }
            let part = self
                .parts
                .get_mut(&key)
                .expect("the partition was there a moment ago");
            if part.pending.is_empty() {
                if part.position >= self.segment_bytes {
                    part.roll(&self.root)?;
                }
                touched.push(key);
            }
            self.wal.push(Entry {
                topic: &append.topic.name,
                partition: append.partition,
                start: part.start,
                position: part.position + part.pending.len() as u64,
                lines: &append.lines,
            });
            part.pending.extend_from_slice(&append.lines);
            offsets.push(part.next);
            part.next += append.records;
        }
        self.wal.commit().map_err(LogError::at(self.wal.path()))?;
        let next = self
            .parts
            .iter()
            .map(|(key, part)| (&*key.0, key.1, part.next));
        self.acknowledged
            .note(self.wal.number(), self.wal.len, next);
        for key in &touched {
            if let Some(part) = self.parts.get_mut(key) {
                part.show()?;
            }
        }
        Ok(offsets)
    }

    /// Begins another log of writes, and has the files synced whose writes are in the old one.
    fn rotate(&mut self) -> Result<(), LogError> {
        let folder = wal_folder(&self.root);
        let next =
            Wal::begin(&folder, self.wal.number() + 1).map_err(LogError::at(self.wal.path()))?;
        let old = std::mem::replace(&mut self.wal, next);
        let mut dirty = self.dirty();
        dirty.wal = old.path().to_owned();
        dirty.extent.wal = old.number();
        let Some((sender, _)) = &self.syncer else {
            return Ok(());
        };
        if sender.send(dirty).is_ok() {
            return Ok(());
        }
        Err(self.sync_failed())
    }

    /// What is not synced yet of the writes in the log of writes.
    fn dirty(&mut self) -> Dirty {
        let mut dirty = Dirty {
            files: Vec::new(),
            folders: Vec::new(),
            wal: self.wal.path().to_owned(),
            extent: self.topics.extent(self.wal.number()),
        };
        for part in self.parts.values_mut() {
            if let Some(file) = part.file.take() {
                dirty.files.push((part.path.clone(), file));
                dirty.folders.push(part.folder.clone());
            }
        }
        // A partition that is written again is opened again; so no more files are open than one log
        // of writes touches.
        self.parts.clear();
        dirty
    }

    /// Why the syncing thread ended.
    fn sync_failed(&mut self) -> LogError {
        let ended = self.syncer.take().map(|(sender, thread)| {
            drop(sender);
            thread.join()
        });
        match ended {
            Some(Ok(Err(error))) => error,
            _ => LogError::Closed,
        }
    }

    /// Syncs everything, so that nothing has to be repaired.
    fn finish(mut self) {
        if self.broken.get().is_some() {
            return;
        }
        let dirty = self.dirty();
        let failed = match self.syncer.take() {
            Some((sender, thread)) => {
                let sent = sender.send(dirty).is_ok();
                drop(sender);
                let ended = thread.join();
                (!sent).then_some(LogError::Closed).or(match ended {
                    Ok(Err(error)) => Some(error),
                    _ => None,
                })
            }
            None => None,
        };
        if let Some(error) = failed {
            tracing::error!("{error}");
        }
    }
}

impl Part {
    fn of(root: &Path, topic: &Arc<Topic>, partition: u32) -> Result<Part, LogError> {
        let (last, next) = {
            let view = topic.view(partition).ok_or(LogError::Closed)?;
            (view.segments.last().copied(), view.next)
        };
        let start = last.map_or(next, |last| last.start);
        Ok(Part {
            topic: Arc::clone(topic),
            partition,
            folder: partition_folder(root, &topic.name, partition),
            file: None,
            path: segment_path(root, &topic.name, partition, start),
            start,
            position: last.map_or(0, |last| last.bytes),
            sum: last.map_or(Some(0), |last| last.sum),
            next,
            pending: Vec::new(),
        })
    }

    /// Ends the last file; the next one is made with the first record in it.
    fn roll(&mut self, root: &Path) -> Result<(), LogError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(LogError::at(&self.path))?,
        };
        file.sync().map_err(LogError::at(&self.path))?;
        disk::sync_folder(&self.folder).map_err(LogError::at(&self.folder))?;
        self.start = self.next;
        self.position = 0;
        self.sum = Some(0);
        self.path = segment_path(root, &self.topic.name, self.partition, self.start);
        Ok(())
    }

    /// Lets readers see what is durable.
    fn show(&mut self) -> Result<(), LogError> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let opened = File::open_or_create(&self.path);
                self.file.insert(opened.map_err(LogError::at(&self.path))?)
            }
        };
        file.write_all_at(&self.pending, self.position)
            .map_err(LogError::at(&self.path))?;
        self.position += self.pending.len() as u64;
        self.sum = self.sum.map(|sum| {
            let mut sum = crc32fast::Hasher::new_with_initial(sum);
            sum.update(&self.pending);
            sum.finalize()
        });
        self.pending.clear();
        self.pending.shrink_to(1 << 20);
        let segment = Segment {
            start: self.start,
            bytes: self.position,
            sum: self.sum,
        };
        if let Some(mut view) = self.topic.view(self.partition) {
            match view.segments.last_mut() {
                Some(last) if last.start == segment.start => *last = segment,
                _ => view.segments.push(segment),
            }
            view.next = self.next;
        }
        Ok(())
    }
}

impl Dirty {
    fn sync(self, root: &Path) -> Result<(), LogError> {
        for (path, file) in &self.files {
            file.sync().map_err(LogError::at(path))?;
        }
        for folder in &self.folders {
            disk::sync_folder(folder).map_err(LogError::at(folder))?;
        }
        self.extent.write(root)?;
        disk::remove(&self.wal).map_err(LogError::at(&self.wal))?;
        let folder = wal_folder(root);
        disk::sync_folder(&folder).map_err(LogError::at(&folder))
    }
}
