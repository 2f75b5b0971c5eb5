//! A Delta log whose reading begins at something that is not whole.
//!
//! Readers begin at a log checkpoint, which `_last_checkpoint` names, and go on with the entries
//! behind it. Both are there for speed alone as long as the entries are: where a power failure tore
//! them (they are written so that it cannot, but not every pinflow did so), or someone removed one,
//! they go, and reading begins further back.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::lake::{Lake, LakeError};

/// What a Parquet file begins and ends with.
const MAGIC: &[u8] = b"PAR1";
const CHECKPOINT: &str = ".checkpoint.parquet";
const HINT: &str = "_last_checkpoint";

/// Removes what leads nowhere in the log of `table`, if reading can begin somewhere else. Answers
/// whether there was anything.
pub(super) async fn heal(lake: &Lake, table: &str) -> Result<bool, LakeError> {
    let folder = format!("{table}/_delta_log");
    let names = lake.list(&folder, None).await?;
    let version = |name: &str, end: &str| name.strip_suffix(end)?.parse::<u64>().ok();
    let entries: BTreeSet<u64> = names.iter().filter_map(|n| version(n, ".json")).collect();
    let (mut whole, mut torn) = (BTreeSet::new(), Vec::new());
    for name in names.iter().filter(|name| name.ends_with(CHECKPOINT)) {
        let bytes = lake.get(&format!("{folder}/{name}")).await?;
        match version(name, CHECKPOINT) {
            Some(version) if bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC) => {
                whole.insert(version);
            }
            Some(_) => torn.push(name),
            None => {}
        }
    }
    // Where reading would begin, and whether every entry from there on is there.
    let begin = whole.last().map_or(0, |version| version + 1);
    let end = entries.last().map_or(0, |last| last + 1).max(begin);
    if !(begin..end).all(|version| entries.contains(&version)) {
        return Ok(false);
    }
    let mut gone: Vec<&str> = torn.iter().map(|name| name.as_str()).collect();
    if names.iter().any(|name| name == HINT) {
        #[derive(Deserialize)]
        struct Hint {
            version: u64,
        }
        let bytes = lake.get(&format!("{folder}/{HINT}")).await?;
        let hint = serde_json::from_slice::<Hint>(&bytes);
        if !hint.is_ok_and(|hint| whole.contains(&hint.version)) {
            // The hint first: it leads to what goes next.
            gone.insert(0, HINT);
        }
    }
    for name in &gone {
        tracing::warn!("{folder}/{name} is not whole and leads nowhere: it goes, the entries stay");
        lake.delete(&format!("{folder}/{name}")).await?;
    }
    Ok(!gone.is_empty())
}
