//! The Kinesis streams that the embedded log plays: their names and shards, in a small file that is
//! replaced whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::groups::{read_json, replace_json};
use crate::gateway::backend::StreamNames;
use crate::gateway::log::{LogError, check_topic};

/// The most shards that a stream may be made with: each is a folder.
const SHARDS_MAX: u32 = 500;

/// How many streams there may be: all are in a file that is replaced with each.
const STREAMS_MAX: usize = 1_000;

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub shards: u32,
    pub created_ms: u64,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    path: PathBuf,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Streams {
    pub fn open(root: &Path) -> Result<Streams, LogError> {
        let path = root.join("_streams.json");
        let known = Mutex::new(read_json(&path)?.unwrap_or_default());
        Ok(Streams { path, known })
    }

    pub fn get(&self, name: &str) -> Option<Known> {
        self.lock().get(name).copied()
    }

    /// The names that sort behind `after`, at most `limit`.
    pub fn page(&self, after: Option<&str>, limit: usize) -> StreamNames {
        let known = self.lock();
        let mut names = known
            .keys()
            .filter(|name| after.is_none_or(|after| name.as_str() > after));
        let page = names.by_ref().take(limit).cloned().collect();
        StreamNames {
            names: page,
            more: names.next().is_some(),
        }
    }

    /// How many shards the stream has, after making it with `shards` if there was none. Blocks.
    pub fn make_if_absent(&self, name: &str, shards: u32, now_ms: u64) -> Result<u32, LogError> {
        let mut known = self.lock();
        if let Some(there) = known.get(name) {
            return Ok(there.shards);
        }
        check_topic(name)?;
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(LogError::Name {
                name: name.to_owned(),
                why: "a stream has 1 to 500 shards",
            });
        }
        if known.len() >= STREAMS_MAX {
            return Err(LogError::TooManyStreams {
                name: name.to_owned(),
                max: STREAMS_MAX,
            });
        }
        let mut changed = known.clone();
        let created_ms = now_ms;
        changed.insert(name.to_owned(), Known { shards, created_ms });
        replace_json(&self.path, &changed)?;
        *known = changed;
        Ok(shards)
    }

    /// Whether there was such a stream; there is none any more. Blocks.
    pub fn forget(&self, name: &str) -> Result<bool, LogError> {
        let mut known = self.lock();
        let mut changed = known.clone();
        let there = changed.remove(name).is_some();
        if there {
            replace_json(&self.path, &changed)?;
            *known = changed;
        }
        Ok(there)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // The map is replaced in one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
