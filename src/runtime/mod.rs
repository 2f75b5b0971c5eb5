//! A running pinflow: the threads around the dataflow, and how they start and end.
//!
//! ```text
//!  worker threads (timely) --changes of views--> keeper  --live store--> HTTP, terminal
//!        |                                          |--changed buckets at a boundary--+
//!        |--rows--> stagers (one a worker) --files--+                                 v
//!        +--what a commit is made of---------------------------------------------> committer --> lake
//! ```
//!
//! # Invariants
//! 1. The first thread that fails says why in [`Outcome`], and everything stops; what was committed
//!    stays.
//! 2. Workers never wait for the lake, except when a stager is a whole queue behind.

mod actor;
mod archive;
mod cluster;
mod committer;
mod engine;
mod keeper;
mod origin;
mod outcome;
mod pace;
mod parts;
mod planned;
mod reload;
pub mod replay;
mod restore;
mod retry;
mod run;
#[cfg(test)]
mod simulation;
mod stager;
mod threads;
mod worker;

pub use cluster::reserve;
pub use outcome::{Outcome, STOP_WITHIN};
pub use planned::planned;
pub use replay::{Replay, ReplayError, replay};
pub use retry::Selection;
pub use run::{Cluster, RetryOptions, RunError, RunOptions, RunSummary, run};
