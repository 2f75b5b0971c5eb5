//! What is sent between the dataflow and what runs beside it.
//!
//! ```text
//!  files of the lake --RestoredRows--> worker --StageTask--> stager --Finished--> worker
//!                                        |--ViewEvent--> keeper --CommitPart::Views--> committer
//!                                        '-------------CommitPart::Tables------------>
//! ```

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{RemovedFile, StagedFile};
use crate::delta::{Delta, Epoch};
use crate::operator::keyed::FileId;
use crate::reclock::Bound;
use crate::serve::store::Dirty;

/// The rows of a data file that was committed by an earlier run.
pub struct RestoredRows {
    /// The table: its place in the plan.
    pub table: usize,
    /// The file.
    pub file: FileId,
    /// Its rows, all columns.
    pub rows: Vec<RecordBatch>,
}

/// What a worker adds to a commit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StagedChange {
    /// The table: its place in the plan; the place after the last one stands for the dead letters.
    pub table: usize,
    /// Files that become part of the table.
    #[serde(with = "crate::checkpoint::as_json")]
    pub adds: Vec<StagedFile>,
    /// Files that cease to be part of it.
    #[serde(with = "crate::checkpoint::as_json")]
    pub removes: Vec<RemovedFile>,
}

/// Work for the stager.
pub enum StageTask {
    /// These rows go into the file. A newer file of a table means that the older ones get no more.
    Append {
        /// The table.
        table: usize,
        /// The file's number.
        file: FileId,
        /// The rows.
        rows: RecordBatch,
    },
    /// The newest row of each of these keys is in the file, and was replaced.
    Replace {
        /// The table.
        table: usize,
        /// The file.
        file: FileId,
        /// The keys.
        keys: RecordBatch,
    },
    /// Bring everything into the lake and say what was done since the last time.
    Finish {
        /// The epoch that ends the commit.
        epoch: Epoch,
    },
}

/// The stager's answer to [`StageTask::Finish`].
pub struct Finished {
    /// The epoch that was asked about.
    pub epoch: Epoch,
    /// What the commit is made of.
    pub changes: Vec<StagedChange>,
    /// How far the archive of this process is to be read.
    pub marks: Vec<Bound>,
}

/// The two ends of the channel to a worker's stager.
pub struct StagerHandle {
    /// Tasks are sent here; sending blocks when the stager is far behind.
    pub tasks: crossbeam_channel::Sender<StageTask>,
    /// Answers come from here.
    pub finished: crossbeam_channel::Receiver<Finished>,
}

/// What the owner of the live store is told. All changes of an epoch come before the message that
/// closes it.
#[derive(Debug)]
pub enum ViewEvent {
    /// Some changes of a view.
    Changed(Epoch, usize, Delta),
    /// The epoch ends a commit: the store's state at exactly this epoch belongs to it.
    Boundary(Epoch),
    /// All epochs up to this one are complete.
    Closed(Epoch),
}

/// What worker 0 gathers for one commit.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The epoch that ends the commit.
    pub epoch: Epoch,
    /// The tables' changes.
    pub changes: Vec<StagedChange>,
    /// Where partitions are to be read on, and how far their archives are: those that moved since
    /// the last commit.
    pub bounds: Vec<Bound>,
}

/// What the committer is told.
pub enum CommitPart {
    /// The tables' part of an epoch's commit.
    Tables(Gathered),
    /// The views' part.
    Views(Epoch, Dirty),
}
