//! Whether new files sort behind those that were read.
//!
//! Nothing is kept of the names before the recent ones but their number: files that are more than
//! that are latecomers. Fewer are there when files were deleted. While none is, their bytes must be
//! what they were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::layout::is_record_file;
use super::super::storage::{Before, Listing, StorageFailure};
use super::Follower;
use crate::source::SourceError;

/// A bucket answers with so many names at most: a folder with less is listed whole.
const ONE_REQUEST: u64 = 900;

/// How often the files of a large folder in a bucket are counted.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// How often the bytes of files of this machine that were read long ago are added up, at most.
const AUDIT_EVERY: Duration = Duration::from_secs(30);

/// Adding them up takes one part in so many of the time, at most.
const AUDIT_SHARE: u32 = 50;

/// When the bytes of older files were added up, and how long that took.
#[derive(Debug, Default)]
pub(super) struct Audit(Option<(Instant, Duration)>);

/// The counting of a large folder's files in a bucket, beside reading.
pub(super) struct Count {
    of: String,
    /// What there was before `of` when counting began.
    expected: Before,
    began: Instant,
    running: Option<JoinHandle<Result<Listing, StorageFailure>>>,
}

impl Follower {
    /// Compares the files before the recent ones with those that were read.
    pub(super) async fn check(&mut self, before: Before) -> Result<(), SourceError> {
        self.compare(self.present, before).await?;
        let present = &mut self.present;
        if before.files < present.files {
            // Files that were read may be deleted: what is left of them is only known when it was
            // looked at.
            *present = before;
        } else if present.bytes.is_none() {
            present.bytes = before.bytes;
        }
        Ok(())
    }

    async fn compare(&self, expected: Before, before: Before) -> Result<(), SourceError> {
        if before.files > expected.files {
            return Err(self.out_of_order(None).await);
        }
        match (expected.bytes, before.bytes) {
            (Some(read), Some(there)) if before.files == expected.files && there != read => {
                Err(self.out_of_order(Some((there, read))).await)
            }
            _ => Ok(()),
        }
    }

    /// From time to time, and first of all, adds up the bytes of the files of this machine before
    /// the recent ones.
    pub(super) async fn audit(&mut self) -> Result<(), SourceError> {
        let is_due = self
            .audit
            .0
            .is_none_or(|(at, took)| at.elapsed() >= AUDIT_EVERY.max(took * AUDIT_SHARE));
        if !is_due {
            return Ok(());
        }
        let began = Instant::now();
        if self.present.files > 0 {
            let (storage, from) = (&self.shared.storage, self.trail.first());
            let before = storage.before(&self.folder, from, is_record_file).await;
            let before = before.map_err(|error| self.shared.storage_failed(&self.folder, error))?;
            if let Some(before) = before {
                self.check(before).await?;
            }
        }
        self.audit.0 = Some((began, began.elapsed()));
        Ok(())
    }

    /// In a bucket, counts beside reading: what was listed begins at the last file.
    pub(super) async fn keep_counting(&mut self, listing: &Listing) -> Result<(), SourceError> {
        if self.trail.recent.is_empty() {
            return Ok(());
        }
        let finished = self.count.as_mut().and_then(|count| {
            let finished = count.running.as_ref().is_some_and(JoinHandle::is_finished);
            finished.then(|| count.running.take()).flatten()
        });
        if let Some(finished) = finished {
            let before = self.counted(finished).await?;
            let total = before.files + listing.entries.len() as u64;
            self.small = total < ONE_REQUEST && !listing.more;
        }
        self.small &= self.present.files + (listing.entries.len() as u64) < ONE_REQUEST;
        let due = self
            .count
            .as_ref()
            .is_none_or(|count| count.running.is_none() && count.began.elapsed() >= COUNT_EVERY);
        if due && !self.small {
            let (shared, folder) = (Arc::clone(&self.shared), self.folder.clone());
            let of = self.trail.first().to_owned();
            let from = of.clone();
            let running = tokio::spawn(async move {
                let storage = &shared.storage;
                storage.files(&folder, &from, 0, true, is_record_file).await
            });
            self.count = Some(Count {
                of,
                expected: self.present,
                began: Instant::now(),
                running: Some(running),
            });
        }
        Ok(())
    }

    /// Compares what was counted with what was read.
    async fn counted(
        &mut self,
        counting: JoinHandle<Result<Listing, StorageFailure>>,
    ) -> Result<Before, SourceError> {
        let counted = counting
            .await
            .map_err(|error| self.shared.storage_failed(&self.folder, error))?
            .map_err(|error| self.shared.storage_failed(&self.folder, error))?;
        let before = counted.before.unwrap_or_default();
        let expected = self.count.as_ref().map_or(before, |count| count.expected);
        self.compare(expected, before).await?;
        if before.files < expected.files {
            let gone = expected.files - before.files;
            self.present = Before {
                files: self.present.files.saturating_sub(gone),
                bytes: None,
            };
        }
        Ok(before)
    }

    /// At the end of a bounded source: waits for the counting that is under way.
    pub(super) async fn finish_counting(&mut self) -> Result<(), SourceError> {
        if let Some(running) = self.count.as_mut().and_then(|count| count.running.take()) {
            self.counted(running).await?;
        }
        Ok(())
    }

    /// Names the newest file before the recent ones: it came late, or the bytes of all are others
    /// than were read.
    async fn out_of_order(&self, bytes: Option<(u64, u64)>) -> SourceError {
        let last = self.count.as_ref().map_or("", |count| &count.of);
        let first = last.max(self.trail.first()).to_owned();
        let files = self.shared.storage.all_files(&self.folder).await;
        let newest = files.ok().and_then(|(files, _)| {
            let before = files.into_iter().filter(|file| file.path < first);
            before.max_by_key(|file| file.modified)
        });
        let place = newest.map_or_else(|| self.folder.clone(), |file| file.path);
        match bytes {
            None => self.late(&place, &first),
            Some((there, read)) => self.shared.changed(
                &place,
                format!(
                    "the files before `{first}` have {there} bytes, and {read} were read of them: one of them, probably this one, changed after it had been read; restore \
                     it and write what is new under a new name, or begin a new lake"
                ),
            ),
        }
    }

    /// A file that should have come before others which were read.
    pub(super) fn late(&self, place: &str, last: &str) -> SourceError {
        self.shared.changed(
            place,
            format!(
                "it came after files whose names sort behind it had been read, up to `{last}`; name files so that later ones sort later, as \
                 `<stream>+<partition>+<offset, 10 digits>.json` does"
            ),
        )
    }
}
