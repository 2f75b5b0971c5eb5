//! Consumer groups of the embedded log: who is in them, and how far they have committed.
//!
//! Members are consumers of this process, so there is nothing to negotiate: partition `p` of a
//! topic belongs to the `p`-th of the members that subscribe to it, in the order of their names,
//! round and round. Committed offsets are in `_groups/<group>.json`, replaced whole and synced.
//!
//! A group is in memory while it has members, of which there are as many as consumer instances: any
//! client can think of a name. For the same reason only so many groups have committed offsets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk;
use crate::gateway::backend::{Subscription, TopicPartition};
use crate::gateway::log::LogError;

/// Committed offsets by topic and partition.
type Committed = BTreeMap<String, BTreeMap<u32, u64>>;

/// How many groups there may be whose offsets are kept: each is a file.
const COMMITTED_MAX: usize = 10_000;
/// The longest name of a file, in bytes.
const FILE_NAME_MAX: usize = 255;

#[derive(Debug, Default)]
struct Group {
    committed: Committed,
    /// All consumers, and what those that take a share subscribe to.
    members: BTreeMap<String, Option<Subscription>>,
}

/// The groups that have members.
#[derive(Debug)]
pub(super) struct Groups {
    folder: PathBuf,
    groups: Mutex<BTreeMap<String, Group>>,
    /// How many files there are.
    kept: Mutex<usize>,
}

impl Groups {
    pub fn open(root: &Path) -> Result<Groups, LogError> {
        let folder = root.join("_groups");
        disk::make_durable_folders(&folder)
            .and_then(|()| disk::remove_unfinished(&folder))
            .and_then(|()| disk::sync_folder(&folder))
            .map_err(failed(&folder))?;
        let files = std::fs::read_dir(&folder).map_err(failed(&folder))?;
        Ok(Groups {
            kept: Mutex::new(files.count()),
            folder,
            groups: Mutex::new(BTreeMap::new()),
        })
    }

    /// Makes `instance` a member, which takes no part yet. Blocks when the group is new.
    pub fn enter(&self, group: &str, instance: &str) -> Result<(), LogError> {
        if self
            .path(group)
            .file_name()
            .is_none_or(|name| name.len() > FILE_NAME_MAX)
        {
            return Err(LogError::GroupName {
                name: group.to_owned(),
            });
        }
        self.with(group, |group| {
            group.members.insert(instance.to_owned(), None);
        })
    }

    /// Has `instance` take part in the group, or change its part.
    pub fn join(&self, group: &str, instance: &str, to: Subscription) -> Result<(), LogError> {
        self.with(group, |group| {
            group.members.insert(instance.to_owned(), Some(to));
        })
    }

    /// Has `instance` take no part any more.
    pub fn leave(&self, group: &str, instance: &str) -> Result<(), LogError> {
        self.with(group, |group| {
            group.members.insert(instance.to_owned(), None);
        })
    }

    /// `instance` is no member any more.
    pub fn exit(&self, group: &str, instance: &str) {
        let mut groups = self.lock();
        if let Some(there) = groups.get_mut(group) {
            there.members.remove(instance);
            if there.members.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// Which of the `partitions` of `topic` are `instance`'s.
    pub fn share(
        &self,
        group: &str,
        instance: &str,
        topic: &str,
        partitions: u32,
    ) -> Result<Vec<u32>, LogError> {
        self.with(group, |group| {
            let members: Vec<&String> = group
                .members
                .iter()
                .filter(|(_, to)| to.as_ref().is_some_and(|to| wants(to, topic)))
                .map(|(name, _)| name)
                .collect();
            let Some(turn) = members.iter().position(|name| *name == instance) else {
                return Vec::new();
            };
            (0..partitions)
                .filter(|partition| *partition as usize % members.len() == turn)
                .collect()
        })
    }

    /// The committed offset of a partition. Blocks when the group is new.
    pub fn committed(&self, group: &str, of: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.with(group, |group| {
            group.committed.get(&of.topic)?.get(&of.partition).copied()
        })
    }

    /// Commits; durable when this returns. Blocks.
    pub fn commit(&self, group: &str, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let path = self.path(group);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !path.exists();
        if is_new && *kept >= COMMITTED_MAX {
            return Err(LogError::TooManyGroups {
                name: group.to_owned(),
                max: COMMITTED_MAX,
            });
        }
        *kept += usize::from(is_new);
        self.with(group, |group| {
            let mut changed = group.committed.clone();
            for (at, offset) in offsets {
                let topic = changed.entry(at.topic.clone()).or_default();
                topic.insert(at.partition, *offset);
            }
            replace_json(&path, &changed)?;
            group.committed = changed;
            Ok(())
        })?
    }

    fn with<T>(&self, name: &str, what: impl FnOnce(&mut Group) -> T) -> Result<T, LogError> {
        let mut groups = self.lock();
        if !groups.contains_key(name) {
            let group = Group {
                committed: read_json(&self.path(name))?.unwrap_or_default(),
                members: BTreeMap::new(),
            };
            groups.insert(name.to_owned(), group);
        }
        Ok(what(groups.entry(name.to_owned()).or_default()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        // What is changed is changed in one step.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group's file: letters and digits as they are, everything else by its code.
    fn path(&self, group: &str) -> PathBuf {
        let mut name = String::new();
        for byte in group.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02x}"));
            }
        }
        self.folder.join(name + ".json")
    }
}

/// Whether a subscription is to `topic`.
pub(super) fn wants(to: &Subscription, topic: &str) -> bool {
    match to {
        Subscription::Topics(topics) => topics.iter().any(|name| name == topic),
        Subscription::Pattern(pattern) => pattern.matches(topic),
    }
}

/// What a file of JSON says; `None` if there is none. Blocks.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LogError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let read = serde_json::from_slice(&text).map_err(|error| LogError::Damaged {
        place: path.display().to_string(),
        why: format!("cannot be read: {error}; restore the file, or remove it to begin anew"),
    })?;
    Ok(Some(read))
}

/// Replaces a file, so that it holds the old or the new text whatever happens, and the new one when
/// this returns. Blocks.
pub(super) fn replace_json(path: &Path, value: &impl Serialize) -> Result<(), LogError> {
    let text = serde_json::to_vec(value).map_err(std::io::Error::other);
    text.and_then(|text| disk::replace(path, text))
        .map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> LogError + '_ {
    move |error| LogError::Failed {
        place: path.display().to_string(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::cases::{in_memory, seeds};
    use crate::disk::image::{Chance, Image, promised};
    use crate::disk::tape::Tape;

    #[test]
    fn committed_offsets_survive_a_power_failure_at_any_moment() {
        let root = in_memory();
        let tape = Tape::record(root.path());
        let log = root.path().join("log");
        let at = TopicPartition {
            topic: "pin".to_owned(),
            partition: 1,
        };
        for life in 0..3 {
            let groups = Groups::open(&log).unwrap();
            for commit in 1..5 {
                let offset = life * 10 + commit;
                groups.commit("a group", &[(at.clone(), offset)]).unwrap();
                tape.promise(offset);
            }
        }
        let ops = tape.ops();
        for case in seeds() {
            let mut chance = Chance::new(case);
            let until = chance.below(ops.len() + 1);
            let least = promised(&ops, until);
            let dir = in_memory();
            Image::default()
                .after(&ops, until, &mut chance)
                .write(dir.path());
            let groups = Groups::open(&dir.path().join("log")).unwrap();
            let there = groups.committed("a group", &at).unwrap();
            assert!(
                there >= least,
                "{there:?}, not {least:?}; PINFLOW_SEED={case} PINFLOW_CASES=1"
            );
        }
    }
}
