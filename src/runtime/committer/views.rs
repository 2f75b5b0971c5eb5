//! The views' part of a commit: the buckets that changed become files, and those name what they
//! replace.
//!
//! All files of all views are written side by side. Most are small, and what takes long is not the
//! writing but, behind a network, the waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;

use super::Target;
use crate::checkpoint::{RemovedFile, StagedFile, TableCommit};
use crate::host::Host;
use crate::lake::Lake;
use crate::runtime::outcome::Outcome;
use crate::runtime::restore::{BUCKET_TAG, BUCKETS_TAG, DIGEST_TAG, ViewFiles};
use crate::runtime::stager::FileNumbers;
use crate::serve::store::{Dirty, DirtyBucket, DirtyBuckets};
use crate::sink::{FileFacts, ParquetOptions, encode};

/// Files that are written at the same time.
const FILES_AT_ONCE: usize = 8;

/// Which buckets of the views are in which files.
pub(super) struct Views {
    pub(super) lake: Lake,
    pub(super) host: Arc<dyn Host>,
    pub(super) outcome: Outcome,
    pub(super) options: ParquetOptions,
    /// The views, in the plan's order.
    pub(super) targets: Vec<Target>,
    /// Their files, in the same order.
    pub(super) files: Vec<ViewFiles>,
}

/// A bucket that is to become a file.
struct Write {
    view: usize,
    bucket: DirtyBucket,
    facts: FileFacts,
}

impl Views {
    /// Writes what changed: for each view what its table gains and loses. `None` when that failed
    /// for good; the outcome says why.
    pub(super) async fn stage(
        &mut self,
        dirty: &Dirty,
        now_ms: i64,
        numbers: &mut FileNumbers,
    ) -> Option<Vec<TableCommit>> {
        let mut commits = Vec::with_capacity(self.targets.len());
        let mut writes = Vec::new();
        for (view, dirty) in dirty.views.iter().enumerate().take(self.targets.len()) {
            commits.push(TableCommit {
                removes: self.files[view].replaced(dirty),
                ..TableCommit::default()
            });
            for bucket in dirty.buckets.iter().filter(|bucket| bucket.row_count() > 0) {
                let tags = BTreeMap::from([
                    (BUCKET_TAG.to_owned(), bucket.bucket.to_string()),
                    (BUCKETS_TAG.to_owned(), dirty.buckets_total.to_string()),
                ]);
                let id = numbers.draw();
                writes.push(Write {
                    view,
                    bucket: bucket.clone(),
                    facts: FileFacts { id, now_ms, tags },
                });
            }
        }
        let files = writes.into_iter().map(|write| self.write(write));
        let written: Vec<Option<(usize, u32, StagedFile)>> = futures::stream::iter(files)
            .buffered(FILES_AT_ONCE)
            .collect()
            .await;
        for file in written {
            let (view, bucket, staged) = file?;
            self.files[view].files.insert(bucket, staged.clone());
            commits[view].adds.push(staged);
        }
        Some(commits)
    }

    /// Writes one bucket as a file; tells of which view and bucket it is.
    fn write(
        &self,
        mut write: Write,
    ) -> impl Future<Output = Option<(usize, u32, StagedFile)>> + use<> {
        let (lake, outcome) = (self.lake.clone(), self.outcome.clone());
        let host = Arc::clone(&self.host);
        let (target, options) = (self.targets[write.view].clone(), self.options.clone());
        let number = write.bucket.bucket;
        async move {
            let schema = Arc::clone(&target.schema);
            let encoding = host.compute(move || {
                let encoded = encode(&schema, &[write.bucket.rows()], &options);
                encoded.map(|encoded| (encoded, write.bucket.digest()))
            });
            let encoded = match encoding.await {
                Ok(Ok((encoded, digest))) => {
                    let tags = &mut write.facts.tags;
                    tags.insert(DIGEST_TAG.to_owned(), digest.to_string());
                    encoded
                }
                Ok(Err(error)) => {
                    outcome.fail(error.to_string());
                    return None;
                }
                Err(panicked) => {
                    outcome.fail(format!("a view could not be encoded: {panicked}"));
                    return None;
                }
            };
            let staged = outcome
                .retrying("write a view's file", async || {
                    let (encoded, facts) = (encoded.clone(), write.facts.clone());
                    lake.stage(&target.path, encoded, facts).await
                })
                .await?;
            Some((write.view, number, staged))
        }
    }
}

impl ViewFiles {
    /// Forgets the files of buckets that are written anew, and tells which those are.
    fn replaced(&mut self, dirty: &DirtyBuckets) -> Vec<RemovedFile> {
        let mut replaced: Vec<StagedFile> = self.stray.drain(..).collect();
        if self.total != dirty.buckets_total {
            replaced.extend(std::mem::take(&mut self.files).into_values());
            self.total = dirty.buckets_total;
        }
        let buckets = dirty.buckets.iter().map(|bucket| bucket.bucket);
        replaced.extend(buckets.filter_map(|bucket| self.files.remove(&bucket)));
        replaced.iter().map(RemovedFile::from).collect()
    }
}
