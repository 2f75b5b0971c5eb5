//! The lake: one root folder or bucket prefix that holds tables, views, dead letters and
//! checkpoints.
//!
//! ```text
//! <lake>/tables/<prefix><table>/      Delta tables of cleaned rows
//! <lake>/views/<view>/                Delta tables of view rows
//! <lake>/dead_letters/                the Delta table of refused records
//! <lake>/_checkpoints/<n>.json        what makes an epoch final, n in 20 digits
//! ```
//!
//! A [`Lake`] knows where things are and how to put, get and list them; it knows nothing of Delta,
//! of checkpoints' content or of Parquet. Everything above speaks in paths relative to the lake's
//! root, so the same code runs on a local folder, on S3, and on any store a test hands in
//! ([`Lake::on`]).
//!
//! # Invariants
//! 1. An object appears whole or not at all, and stays when it was answered for, power failures
//!    included (local: written aside and synced, then linked or renamed; S3: by nature).
//! 2. [`Lake::put_if_absent`] never replaces an object, and says truthfully whose content is there,
//!    also when the store's answer was lost: it then reads back and compares.
//! 3. No error and no `Debug` output holds a credential.
mod error;
mod local;
mod location;
mod object;
pub mod paths;
mod retrying;

pub use error::LakeError;
pub(crate) use error::date;
pub use location::Lake;
pub use object::Placed;
pub use retrying::Retrying;
