//! What callers and the writer share of a log: its topics, and whether it works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::LogError;
use super::extent::Extent;
use super::repair::extent_of;
use super::view::Topic;

/// The topics of a log.
#[derive(Debug)]
pub(super) struct Topics {
    all: RwLock<BTreeMap<String, Arc<Topic>>>,
    making: Mutex<()>,
}

impl Topics {
    pub(super) fn new(topics: BTreeMap<String, Arc<Topic>>) -> Topics {
        Topics {
            all: RwLock::new(topics),
            making: Mutex::new(()),
        }
    }

    fn all(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Topic>>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.all().get(name).cloned()
    }

    pub(super) fn insert(&self, topic: &Arc<Topic>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(topic.name.clone(), Arc::clone(topic));
    }

    /// While this is held, no topic is made.
    pub(super) fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what opening the log again has found. Who holds a topic goes on with it.
    pub(super) fn renew(&self, found: BTreeMap<String, Arc<Topic>>) {
        for topic in found.into_values() {
            let Some(known) = self.get(&topic.name) else {
                self.insert(&topic);
                continue;
            };
            for partition in 0..known.partitions() {
                if let (Some(mut old), Some(new)) = (known.view(partition), topic.view(partition)) {
                    old.clone_from(&new);
                }
            }
        }
    }

    /// How far all topics go, when the writes of all logs up to `wal` are in their files.
    pub(super) fn extent(&self, wal: u64) -> Extent {
        extent_of(&self.all(), wal)
    }
}

/// Why a log takes nothing in, while it does not.
#[derive(Debug, Default)]
pub(super) struct Broken(Mutex<Option<LogError>>);

impl Broken {
    fn lock(&self) -> MutexGuard<'_, Option<LogError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Option<LogError> {
        self.lock().clone()
    }

    /// Notes why; the first reason stays. Tells whether it is the first.
    pub(super) fn set(&self, error: LogError) -> bool {
        let mut broken = self.lock();
        let is_first = broken.is_none();
        broken.get_or_insert(error);
        is_first
    }

    /// It works again.
    pub(super) fn mend(&self) {
        *self.lock() = None;
    }
}
