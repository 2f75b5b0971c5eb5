//! Follows a folder whose files are one partition, in the order of their names.
//!
//! A pass lists what sorts from the recent files on, reads what is new, and reads on in recent
//! files that changed. What is kept is how far the last files were read, and how many there are
//! before them, never all names; a long backlog of names is taken in portions.
//!
//! # What a pass costs
//! * A folder of this machine: two looks at file times as long as nothing changes, and every second
//!   one at each recent file. A change costs reading the folder's names; where that takes long it
//!   is done less often, and in between the next file is found by its name, where that can be
//!   known.
//! * A bucket: one request, for what sorts from the first recent file on. A folder that fits into
//!   one request is listed whole.
//!
//! # Invariants
//! 1. A file is read once it is named; writers rename complete files into place. What is appended
//!    to a recent file is read too, and half a record at the end of a file that is not the last is
//!    waited for, for a moment.
//! 2. Before anything more of a file is read, what was read of it is looked for: a file that was
//!    written anew or cut is an error.
//! 3. New files sort behind those that were read. One that does not is an error, never a silent
//!    gap. The files before the recent ones are counted whenever that is free, and from time to
//!    time with their bytes: one that grew is an error too.

mod changes;
mod guess;
mod order;
mod plan;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::assemble::Assembler;
use super::feed::{Done, Job, feed};
use super::layout::is_record_file;
use super::open_file::Writing;
use super::shared::{Cost, Pause, Shared};
use super::storage::{Before, Entry, Listing, StorageFailure, blocking, join};
use super::trail::NamedTrail;
use crate::source::SourceError;
use changes::Changes;
use guess::{count_lines, next_name};
use order::{Audit, Count};
use plan::{Obstacle, Watch, plan};

/// How often recent files are looked at when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows `folder` (a path in the store) as `partition` of `stream`; ends when a bounded source
/// has read it.
pub(super) async fn follow(
    shared: Arc<Shared>,
    stream: usize,
    partition: String,
    folder: String,
) -> Result<(), SourceError> {
    let position = shared
        .opening
        .position(&shared.opening.streams[stream], &partition);
    let Some(trail) = NamedTrail::parse(&position.token) else {
        let why = format!(
            "its position `{}` cannot be read; begin a new lake",
            position.token
        );
        return Err(shared.changed(&partition, why));
    };
    let mut follower = Follower {
        assembler: [Assembler::new(&shared, stream, &partition)],
        present: Before {
            files: trail.files,
            bytes: trail.bytes,
        },
        trail,
        watch: Watch::default(),
        looked: None,
        audit: Audit::default(),
        changes: Changes::default(),
        count: None,
        small: false,
        ahead: None,
        mean_size: 0,
        unfinished: false,
        listed: None,
        list_cost: Cost::default(),
        counted: None,
        leaf: partition.contains('/') || shared.storage.is_bucket(),
        folder,
        shared,
    };
    let bounded = follower.shared.opening.bounded;
    let mut pause = Pause::for_storage(&follower.shared.storage);
    loop {
        match follower.pass().await? {
            Pass::More => {}
            Pass::All { .. } if bounded => return follower.finish_counting().await,
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
    /// Whether nobody looks into the folders in it.
    leaf: bool,
    assembler: [Assembler; 1],
    trail: NamedTrail,
    watch: Watch,
    /// The files before the recent ones that are there still, as far as they were counted.
    present: Before,
    /// When the recent files were looked at.
    looked: Option<Instant>,
    audit: Audit,
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
    list_cost: Cost,
    /// The last file whose records were counted, its size then, and their number.
    counted: Option<(String, Option<u64>, Option<u64>)>,
}

/// A file of which only the name is known.
fn unseen(path: String) -> Entry {
    Entry {
        path,
        size: None,
        modified: None,
        id: None,
    }
}

impl Follower {
    /// Looks at what is new, and reads it.
    async fn pass(&mut self) -> Result<Pass, SourceError> {
        let began = Instant::now();
        let look = self.shared.storage.look(&self.folder).await;
        let look = look.map_err(|error| self.shared.storage_failed(&self.folder, error))?;
        let changed = look.is_some_and(|look| self.changes.seen(look.modified, began));
        let mut listing = match look {
            Some(_) if !changed && !self.unfinished => self.recent_files(began),
            Some(_) if !self.may_list(began) => self.next_file().await?,
            _ => {
                let listing = self.list().await?;
                let took = began.elapsed();
                self.listed = Some((began, took));
                self.list_cost.note(took);
                self.looked = Some(began);
                self.unfinished = listing.more;
                if !listing.more {
                    self.changes.listed(began);
                }
                listing
            }
        };
        self.look_at_recent(&mut listing).await?;
        self.audit().await?;
        let more = listing.more;
        let jobs = self.jobs(listing, began)?;
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
            .is_none_or(|(at, _)| self.unfinished || now > at + self.list_cost.rest())
    }

    /// The last file alone, as a listing, or from time to time all recent ones: they may have
    /// grown.
    fn recent_files(&mut self, now: Instant) -> Listing {
        let is_due = self.looked.is_none_or(|at| now - at >= LOOK_EVERY);
        if is_due {
            self.looked = Some(now);
        }
        let skipped = match is_due {
            true => 0,
            false => self.trail.recent.len().saturating_sub(1),
        };
        let recent = self.trail.recent.iter().skip(skipped);
        let entries: Vec<Entry> = recent.map(|mark| unseen(mark.file.clone())).collect();
        Listing {
            from: entries.first().map_or_else(String::new, |e| e.path.clone()),
            entries,
            ..Listing::default()
        }
    }

    /// Finds out how the recent files look that a listing of this machine names.
    async fn look_at_recent(&self, listing: &mut Listing) -> Result<(), SourceError> {
        if self.shared.storage.is_bucket() {
            return Ok(());
        }
        let last = self.trail.last();
        let recent = listing
            .entries
            .iter()
            .take_while(|entry| *entry.path <= *last);
        let paths: Vec<String> = recent.map(|entry| entry.path.clone()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let looks = self.shared.storage.looks(paths).await;
        let looks = looks.map_err(|error| self.shared.storage_failed(&self.folder, error))?;
        for (entry, look) in listing.entries.iter_mut().zip(looks) {
            if let Some(look) = look.filter(|look| look.is_file) {
                (entry.size, entry.id) = (Some(look.size), Some(look.id));
            }
        }
        Ok(())
    }

    /// The last file, and the one behind it if there is one by the name that must come next.
    async fn next_file(&mut self) -> Result<Listing, SourceError> {
        let file = self.trail.last().to_owned();
        let mut listing = Listing {
            from: file.clone(),
            ..Listing::default()
        };
        let Some((folder, name)) = file.rsplit_once('/') else {
            return Ok(listing);
        };
        listing.entries.push(unseen(file.clone()));
        let storage = &self.shared.storage;
        let failed = |error| self.shared.storage_failed(&file, error);
        let id = self.trail.recent.back().and_then(|mark| mark.id);
        let known = self.counted.take();
        let known = known.filter(|counted| (&counted.0, counted.1) == (&file, id));
        let records = match (known, storage.local(&file)) {
            (Some((.., records)), _) => records,
            // Only of such names the next one is known.
            (None, Some(place)) if next_name(name, 1).is_some() => {
                blocking(move || count_lines(&place)).await.ok().flatten()
            }
            (None, _) => None,
        };
        if let Some(name) = records.and_then(|records| next_name(name, records)) {
            let path = join(folder, &name);
            let look = storage.look(&path).await.map_err(failed)?;
            if look.is_some_and(|look| look.is_file) {
                listing.entries.push(unseen(path));
            }
        }
        self.counted = Some((file, id, records));
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
                let from = self.trail.first();
                let files = storage.files(&self.folder, from, limit, self.small, is_record_file);
                files.await
            }
        };
        let listing = listing.map_err(failed)?;
        if let Some(before) = listing.before {
            self.check(before).await?;
        }
        if let Some(passed) = &listing.passed {
            self.shared.note_passed(&self.folder, passed, self.leaf);
        }
        if self.shared.storage.is_bucket() {
            self.keep_counting(&listing).await?;
        }
        Ok(listing)
    }

    /// What is to be read of what a listing found.
    fn jobs(&mut self, listing: Listing, now: Instant) -> Result<Vec<Job>, SourceError> {
        let writing = match () {
            () if self.shared.storage.is_bucket() => Some(Writing::Over),
            () => self.shared.opening.bounded.then_some(Writing::Rests),
        };
        plan(&self.trail, &mut self.watch, listing, writing, now).map_err(|obstacle| match obstacle
        {
            Obstacle::Late(path) => self.late(&path, self.trail.last()),
            Obstacle::Shrunk { path, size, read } => self.shared.shrunk(&path, size, read),
        })
    }

    async fn read(&mut self, jobs: Vec<Job>) -> Result<(), SourceError> {
        let writing: Vec<Writing> = jobs.iter().map(|job| job.writing).collect();
        let gauge = Arc::clone(&self.assembler[0].gauge);
        let known: u64 = jobs.iter().filter_map(|job| job.size).sum();
        gauge.ahead.store(known, Ordering::Relaxed);
        let Follower {
            trail,
            watch,
            present,
            mean_size: mean,
            ..
        } = self;
        let in_bucket = self.shared.storage.is_bucket();
        let mut note = |done: Done| {
            let file = &done.place.file;
            watch.read(&file.path, file.id, writing[done.job], Instant::now());
            if let Some(settled) = trail.note(&done.place)
                && watch.settle(&settled.file)
            {
                present.files += 1;
                present.bytes = present.bytes.map(|bytes| bytes + settled.read.stored());
            }
            if !in_bucket {
                *mean = (*mean * 7 + done.size) / 8;
                let left = (writing.len() - 1 - done.job) as u64;
                gauge.ahead.store(left * *mean, Ordering::Relaxed);
            }
        };
        feed(&self.shared, jobs, &mut self.assembler, &mut note).await
    }
}
