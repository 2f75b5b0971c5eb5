//! Whether new files sort behind those that were read.
//!
//! Nothing is kept of the names that were read but their number: files before the last one that are more than that are latecomers. Fewer are there when
//! files were deleted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::layout::is_record_file;
use super::super::storage::{Listing, StorageFailure};
use super::Follower;
use crate::source::SourceError;

/// A bucket answers with so many names at most: a folder with less is listed whole.
const ONE_REQUEST: u64 = 900;

/// How often the files of a large folder in a bucket are counted.
const COUNT_EVERY: Duration = Duration::from_secs(600);

/// The counting of a large folder's files in a bucket, beside reading.
pub(super) struct Count {
    of: String,
    /// How many files were behind `of` and became read since counting began.
    expected: u64,
    began: Instant,
    running: Option<JoinHandle<Result<Listing, StorageFailure>>>,
}

impl Follower {
    /// Compares how many files sort before the last one with how many were read.
    pub(super) async fn check(&mut self, before: u64) -> Result<(), SourceError> {
        if before > self.cursor.present {
            return Err(self.out_of_order().await);
        }
        // Files that were read may be deleted.
        self.cursor.present = before;
        Ok(())
    }

    /// In a bucket, counts beside reading: what was listed begins at the last file.
    pub(super) async fn keep_counting(&mut self, listing: &Listing) -> Result<(), SourceError> {
        if self.cursor.file.is_empty() {
            return Ok(());
        }
        let finished = self.count.as_mut().and_then(|count| {
            let finished = count.running.as_ref().is_some_and(JoinHandle::is_finished);
            finished.then(|| count.running.take()).flatten()
        });
        if let Some(finished) = finished {
            let counted = finished
                .await
                .map_err(|error| self.shared.storage_failed(&self.folder, error))?
                .map_err(|error| self.shared.storage_failed(&self.folder, error))?;
            let (before, count) = (counted.before.unwrap_or(0), self.count.as_ref());
            let expected = count.map_or(0, |count| count.expected);
            if before > expected {
                return Err(self.out_of_order().await);
            }
            self.cursor.present -= (expected - before).min(self.cursor.present);
            let total = before + listing.entries.len() as u64;
            self.small = total < ONE_REQUEST && !listing.more;
        }
        self.small &= self.cursor.present + (listing.entries.len() as u64) < ONE_REQUEST;
        let due = self
            .count
            .as_ref()
            .is_none_or(|count| count.running.is_none() && count.began.elapsed() >= COUNT_EVERY);
        if due && !self.small {
            let (shared, folder) = (Arc::clone(&self.shared), self.folder.clone());
            let of = self.cursor.file.clone();
            let from = of.clone();
            let running = tokio::spawn(async move {
                let storage = &shared.storage;
                storage.files(&folder, &from, 0, true, is_record_file).await
            });
            self.count = Some(Count {
                of,
                expected: self.cursor.present,
                began: Instant::now(),
                running: Some(running),
            });
        }
        Ok(())
    }

    async fn out_of_order(&self) -> SourceError {
        let last = self.count.as_ref().map_or("", |count| &count.of);
        let last = last.max(&self.cursor.file).to_owned();
        let files = self.shared.storage.all_files(&self.folder).await;
        let newest = files.ok().and_then(|files| {
            let before = files.into_iter().filter(|file| file.path < last);
            before.max_by_key(|file| file.modified)
        });
        let place = newest.map_or_else(|| self.folder.clone(), |file| file.path);
        self.shared.changed(
            &place,
            format!(
                "it came after files whose names sort behind it had been read, up to `{last}`; name files so that later ones sort later, as \
                 `<stream>+<partition>+<offset, 10 digits>.json` does"
            ),
        )
    }
}
