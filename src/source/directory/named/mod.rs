//! Follows a folder whose files are one partition, in the order of their names.
//!
//! A pass lists what sorts behind the last file, reads it, and looks at whether that last file grew. What is kept is the last file's name and how many
//! files sort before it, never the names themselves; a long backlog of names is taken in portions.
//!
//! # What a pass costs
//! * A folder of this machine: two looks at file times as long as nothing changes. A change costs reading the folder's names; where that takes long it
//!   is done less often, and in between the next file is found by what it is probably called.
//! * A bucket: one request, for what sorts behind the last file. A folder that fits into one request is listed whole.
//!
//! # Invariants
//! 1. A file is read once it is named; writers rename complete files into place. What is appended to the last file is read too.
//! 2. New files sort behind those that were read. One that does not is an error, never a silent gap: the files before the last one are counted whenever
//!    that is free, and in large folders of a bucket every few minutes.

mod changes;
mod guess;
mod order;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::assemble::Assembler;
use super::feed::{Done, Job, feed};
use super::layout::is_record_file;
use super::place::{NamedToken, Order, ReadTo};
use super::shared::{Pause, Shared};
use super::storage::{Entry, Listing, StorageFailure, blocking, join};
use crate::source::SourceError;
use changes::Changes;
use guess::{count_lines, next_names};
use order::Count;

/// Listing a folder of this machine takes one part in so many of the time, at most.
const LIST_SHARE: u32 = 20;

/// Follows `folder` (a path in the store) as `partition` of `stream`; ends when a bounded source has read it.
pub(super) async fn follow(
    shared: Arc<Shared>,
    stream: usize,
    partition: String,
    folder: String,
) -> Result<(), SourceError> {
    let position = shared
        .opening
        .position(&shared.opening.streams[stream], &partition);
    let Some(token) = NamedToken::parse(&position.token) else {
        let why = format!(
            "its position `{}` cannot be read; begin a new lake",
            position.token
        );
        return Err(shared.changed(&partition, why));
    };
    let mut follower = Follower {
        assembler: [Assembler::new(&shared, stream, &partition)],
        cursor: Cursor::at(token),
        changes: Changes::default(),
        count: None,
        small: false,
        ahead: None,
        mean_size: 0,
        unfinished: false,
        listed: None,
        counted: None,
        folder,
        shared,
    };
    let bounded = follower.shared.opening.bounded;
    let mut pause = Pause::for_storage(&follower.shared.storage);
    loop {
        match follower.pass().await? {
            Pass::More => {}
            Pass::All { .. } if bounded => return Ok(()),
            Pass::All { read } => {
                if read {
                    pause.reset();
                }
                pause.wait(follower.look_cost()).await;
            }
        }
    }
}

enum Pass {
    /// There is more than one portion of names.
    More,
    /// All that can be seen now was seen; and whether there was something to read.
    All { read: bool },
}

struct Follower {
    shared: Arc<Shared>,
    folder: String,
    assembler: [Assembler; 1],
    cursor: Cursor,
    changes: Changes,
    /// The counting of a bucket's files: what it counts towards, and when it began.
    count: Option<Count>,
    /// Whether the folder fits into one request.
    small: bool,
    /// The listing of a bucket that goes on while files are read.
    ahead: Option<JoinHandle<Result<Listing, StorageFailure>>>,
    mean_size: u64,
    /// Whether the last listing was only a portion.
    unfinished: bool,
    /// When listing began last, and how long it took.
    listed: Option<(Instant, Duration)>,
    /// The last file whose records were counted, its size then, and their number.
    counted: Option<(String, Option<u64>, Option<u64>)>,
}

/// Where the partition stands.
struct Cursor {
    file: String,
    read: ReadTo,
    /// The size of `file` when it was read last.
    size: Option<u64>,
    /// How many files sort before `file`, as positions say.
    before: u64,
    /// How many of them are there still, as far as they were counted.
    present: u64,
}

/// A file of which only the name is known.
fn unseen(path: String) -> Entry {
    Entry {
        path,
        size: None,
        modified: None,
    }
}

impl Cursor {
    fn at(token: NamedToken) -> Self {
        Cursor {
            file: token.file,
            read: token.read,
            size: None,
            before: token.before,
            present: token.before,
        }
    }
}

impl Follower {
    /// Looks at what is new, and reads it.
    async fn pass(&mut self) -> Result<Pass, SourceError> {
        let began = Instant::now();
        let look = self.shared.storage.look(&self.folder).await;
        let look = look.map_err(|error| self.shared.storage_failed(&self.folder, error))?;
        let changed = look.is_some_and(|look| self.changes.seen(look.modified, began));
        let listing = match look {
            Some(_) if !changed && !self.unfinished => self.last_file(),
            Some(_) if !self.may_list(began) => self.next_file().await?,
            _ => {
                let listing = self.list().await?;
                self.listed = Some((began, began.elapsed()));
                self.unfinished = listing.more;
                if !listing.more {
                    self.changes.listed(began);
                }
                listing
            }
        };
        let more = listing.more;
        let jobs = self.jobs(listing).await?;
        let read = !jobs.is_empty();
        if more && self.shared.storage.is_bucket() {
            self.list_ahead(jobs.last());
        }
        if read {
            self.read(jobs).await?;
        }
        if more {
            return Ok(Pass::More);
        }
        self.assembler[0].gauge.ahead.store(0, Ordering::Relaxed);
        Ok(Pass::All { read })
    }

    /// What the last look cost, if looking again soon would cost that again.
    fn look_cost(&self) -> Duration {
        match self.listed {
            // How often a folder is listed is decided in each pass, and all else is cheap.
            Some((_, took)) if self.shared.storage.is_bucket() => took,
            _ => Duration::ZERO,
        }
    }

    /// Whether it is not too soon to list a folder of this machine again, or there is more to list.
    fn may_list(&self, now: Instant) -> bool {
        self.listed
            .is_none_or(|(at, took)| self.unfinished || now > at + took * LIST_SHARE)
    }

    /// The last file alone, as a listing: it may have grown.
    fn last_file(&self) -> Listing {
        let mut listing = Listing::default();
        if !self.cursor.file.is_empty() {
            listing.entries.push(unseen(self.cursor.file.clone()));
        }
        listing
    }

    /// The last file, and the one behind it if that is called what is to be expected.
    async fn next_file(&mut self) -> Result<Listing, SourceError> {
        let mut listing = self.last_file();
        let storage = &self.shared.storage;
        let file = self.cursor.file.clone();
        let Some((folder, name)) = file.rsplit_once('/') else {
            return Ok(listing);
        };
        let failed = |error| self.shared.storage_failed(&file, error);
        let size = self.cursor.size;
        let known = self.counted.take();
        let known = known.filter(|counted| (&counted.0, counted.1) == (&file, size));
        let records = match (known, storage.local(&file)) {
            (Some((.., records)), _) => records,
            (None, Some(place)) => blocking(move || count_lines(&place)).await.ok().flatten(),
            (None, None) => None,
        };
        for name in next_names(name, records) {
            let path = join(folder, &name);
            if storage.look(&path).await.map_err(failed)?.is_some() {
                listing.entries.push(unseen(path));
                break;
            }
        }
        self.counted = Some((file, size, records));
        Ok(listing)
    }

    /// Lists what comes behind the last of these files while they are read.
    fn list_ahead(&mut self, last: Option<&Job>) {
        let Some(from) = last.map(|job| Arc::clone(&job.path)) else {
            return;
        };
        let (shared, folder) = (Arc::clone(&self.shared), self.folder.clone());
        self.ahead = Some(tokio::spawn(async move {
            let (storage, limit) = (&shared.storage, shared.names_limit());
            storage
                .files(&folder, &from, limit, false, is_record_file)
                .await
        }));
    }

    async fn list(&mut self) -> Result<Listing, SourceError> {
        let failed = |error| self.shared.storage_failed(&self.folder, error);
        let listing = match self.ahead.take() {
            Some(listed) => listed.await.map_err(|error| failed(error.into()))?,
            None => {
                let (storage, limit) = (&self.shared.storage, self.shared.names_limit());
                let from = &self.cursor.file;
                let files = storage.files(&self.folder, from, limit, self.small, is_record_file);
                files.await
            }
        };
        let listing = listing.map_err(failed)?;
        if let Some(before) = listing.before {
            self.check(before).await?;
        }
        if self.shared.storage.is_bucket() {
            self.keep_counting(&listing).await?;
        }
        Ok(listing)
    }

    /// What is to be read, given the files from the last one on.
    async fn jobs(&self, listing: Listing) -> Result<Vec<Job>, SourceError> {
        let mut entries = listing.entries.into_iter().peekable();
        let (cursor, storage) = (&self.cursor, &self.shared.storage);
        let whole = self.shared.opening.bounded || storage.is_bucket();
        let mut jobs = Vec::new();
        let mut before = cursor.before + u64::from(!cursor.file.is_empty());
        if let Some(mut last) = entries.next_if(|entry| entry.path == cursor.file) {
            let complete = whole || entries.peek().is_some() || listing.more;
            if last.size.is_none() {
                let look = storage.look(&last.path).await;
                let look = look.map_err(|error| self.shared.storage_failed(&last.path, error))?;
                last.size = look.map(|look| look.size);
            }
            // A file that is gone is done.
            let size = last.size.unwrap_or(u64::MAX);
            if let ReadTo::Stored(read) = cursor.read
                && size < read
            {
                return Err(self.shared.changed(
                    &last.path,
                    format!(
                        "it has {size} bytes, and {read} were read already; restore the file, or begin a new lake"
                    ),
                ));
            }
            let same = cursor.size == last.size && !complete;
            if last.size.is_some() && cursor.read != ReadTo::Stored(size) && !same {
                jobs.push(Job {
                    path: last.path.into(),
                    size: last.size,
                    start: cursor.read,
                    complete,
                    order: Order::Names(cursor.before),
                    to: 0,
                });
            }
        }
        while let Some(entry) = entries.next() {
            jobs.push(Job {
                path: entry.path.into(),
                size: entry.size,
                start: ReadTo::START,
                complete: whole || entries.peek().is_some() || listing.more,
                order: Order::Names(before),
                to: 0,
            });
            before += 1;
        }
        Ok(jobs)
    }

    async fn read(&mut self, jobs: Vec<Job>) -> Result<(), SourceError> {
        let places: Vec<(Arc<str>, Order)> = jobs
            .iter()
            .map(|job| (Arc::clone(&job.path), job.order.clone()))
            .collect();
        let gauge = Arc::clone(&self.assembler[0].gauge);
        let known: u64 = jobs.iter().filter_map(|job| job.size).sum();
        gauge.ahead.store(known, Ordering::Relaxed);
        let (cursor, mean) = (&mut self.cursor, &mut self.mean_size);
        let in_bucket = self.shared.storage.is_bucket();
        let mut note = |done: Done| {
            let (path, order) = &places[done.job];
            if *cursor.file != **path {
                cursor.present += u64::from(!cursor.file.is_empty());
                cursor.file = path.to_string();
            }
            if let Order::Names(before) = order {
                cursor.before = *before;
            }
            cursor.read = done.read;
            cursor.size = Some(done.size);
            if !in_bucket {
                *mean = (*mean * 7 + done.size) / 8;
                let left = (places.len() - 1 - done.job) as u64;
                gauge.ahead.store(left * *mean, Ordering::Relaxed);
            }
        };
        feed(&self.shared, jobs, &mut self.assembler, &mut note).await
    }
}
