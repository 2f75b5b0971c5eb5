//! How a worker's share of the restored files comes back: file by file, ahead of the dataflow.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::mpsc;

use super::outcome::Outcome;
use super::stager::StagedTable;
use crate::host::Host;
use crate::lake::Lake;
use crate::operator::keyed::FileId;
use crate::render::RestoredRows;

/// A file to read.
pub(super) struct File {
    /// The table: its place in the plan.
    table: usize,
    file: FileId,
    /// The table's path in the lake.
    folder: String,
    path: String,
}

/// The files that worker `index` of `peers` reads: every `peers`th.
pub(super) fn share(tables: &[StagedTable], index: usize, peers: usize) -> Vec<File> {
    let files = tables.iter().enumerate().flat_map(|(table, staged)| {
        let files = staged.restored.iter().enumerate();
        files.map(move |(file, found)| File {
            table,
            file: file as FileId,
            folder: staged.path.clone(),
            path: found.path.clone(),
        })
    });
    files.skip(index).step_by(peers).collect()
}

/// Begins to read them. One waits while the next is read.
pub(super) fn start(
    files: Vec<File>,
    lake: Lake,
    outcome: &Outcome,
    host: &Arc<dyn Host>,
) -> mpsc::Receiver<RestoredRows> {
    let (sender, receiver) = mpsc::channel(1);
    let outcome = outcome.clone();
    host.task(async move {
        for File {
            table,
            file,
            folder,
            path,
        } in files
        {
            let (lake, folder) = (lake.clone(), folder.clone());
            let read = move || {
                let (lake, folder, path) = (lake.clone(), folder.clone(), path.clone());
                async move { lake.read_file(&folder, &path, None).await }.boxed()
            };
            let reading = outcome.retrying("read a table's file back", read);
            let Some(rows) = reading.await else {
                // The run has failed. The worker must not take this for the end of the files.
                return std::future::pending().await;
            };
            if sender
                .send(RestoredRows { table, file, rows })
                .await
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}
