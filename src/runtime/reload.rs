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
use crate::serve::status::Status;

/// A file to read.
pub(super) struct File {
    /// The table: its place in the plan.
    table: usize,
    file: FileId,
    /// The table's path in the lake.
    folder: String,
    path: String,
    rows: u64,
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
            rows: found.rows,
        })
    });
    files.skip(index).step_by(peers).collect()
}

/// Begins to read them. One waits while the next is read.
pub(super) fn start(
    files: Vec<File>,
    lake: Lake,
    outcome: &Outcome,
    status: &Arc<Status>,
    host: &Arc<dyn Host>,
) -> mpsc::Receiver<RestoredRows> {
    let (sender, receiver) = mpsc::channel(1);
    let rows = files.iter().map(|file| file.rows).sum();
    status.to_load(files.len() as u64, rows);
    let (outcome, status) = (outcome.clone(), Arc::clone(status));
    host.task(async move {
        for File {
            table,
            file,
            folder,
            path,
            rows: row_count,
        } in files
        {
            let (lake, folder) = (lake.clone(), folder.clone());
            let read = move || {
                let (lake, folder, path) = (lake.clone(), folder.clone(), path.clone());
                async move { lake.read_file(&folder, &path, None).await }.boxed()
            };
            let reading = outcome.retrying_until_stopped("read a table's file back", read);
            let Some(rows) = reading.await else {
                // The run is over. The worker must not take this for the end of the files.
                return std::future::pending().await;
            };
            status.loaded(row_count);
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
