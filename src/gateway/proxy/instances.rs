//! The consumer instances of this gateway, and how they expire.
//!
//! An instance belongs to the gateway that made it: its clients must come back to the same one. One
//! that is not used for a while is closed, so that its partitions go to others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::media::Format;
use crate::gateway::backend::Consumer;

/// The group and the name of an instance.
pub type Name = (String, String);

/// How many instances there may be: each holds buffers, and any client can make them.
const INSTANCES_MAX: usize = 1000;

/// What an instance reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing yet.
    Nothing,
    /// A share of topics.
    Topics,
    /// Partitions that were named.
    Partitions,
}

/// A consumer and what the door knows of it.
pub struct Instance {
    /// The backend's consumer; none once it is closed.
    pub consumer: Option<Box<dyn Consumer>>,
    /// How its records are written.
    pub format: Format,
    /// What it reads.
    pub reads: Reads,
    /// How long a poll waits that says nothing else.
    pub wait: Duration,
}

struct Slot {
    instance: Arc<tokio::sync::Mutex<Instance>>,
    used: Instant,
}

/// All instances.
pub struct Instances {
    slots: Mutex<HashMap<Name, Slot>>,
    expire_after: Duration,
    unnamed: AtomicU64,
    /// Makes names unique over restarts.
    started_ms: u64,
}

impl Instances {
    /// None yet.
    pub fn new(expire_after: Duration, started_ms: u64) -> Instances {
        Instances {
            slots: Mutex::new(HashMap::new()),
            expire_after,
            unnamed: AtomicU64::new(0),
            started_ms,
        }
    }

    /// A name for an instance that was given none.
    pub fn new_name(&self) -> String {
        let number = self.unnamed.fetch_add(1, Ordering::Relaxed);
        format!("rest-consumer-{:x}-{number}", self.started_ms)
    }

    /// Whether there is such an instance.
    pub fn has(&self, name: &Name) -> bool {
        self.lock().contains_key(name)
    }

    /// Whether there are as many instances as there may be.
    pub fn is_full(&self) -> bool {
        self.lock().len() >= INSTANCES_MAX
    }

    /// Keeps an instance; gives it back if there is one of that name.
    pub fn add(&self, name: Name, instance: Instance) -> Result<(), Instance> {
        let mut slots = self.lock();
        if slots.contains_key(&name) {
            return Err(instance);
        }
        let slot = Slot {
            instance: Arc::new(tokio::sync::Mutex::new(instance)),
            used: Instant::now(),
        };
        slots.insert(name, slot);
        Ok(())
    }

    /// An instance, alone: others who want it wait.
    pub async fn take(&self, name: &Name) -> Option<OwnedMutexGuard<Instance>> {
        let instance = {
            let mut slots = self.lock();
            let slot = slots.get_mut(name)?;
            slot.used = Instant::now();
            Arc::clone(&slot.instance)
        };
        let taken = instance.lock_owned().await;
        taken.consumer.is_some().then_some(taken)
    }

    /// Closes an instance; false if there was none.
    pub async fn close(&self, name: &Name) -> bool {
        let slot = self.lock().remove(name);
        let there = slot.is_some();
        if let Some(slot) = slot {
            close(slot).await;
        }
        there
    }

    /// Closes the instances that were not used for too long.
    pub async fn expire(&self) {
        let expired: Vec<Slot> = {
            let mut slots = self.lock();
            // One that is being used now, for instance waits for records, is not idle.
            let old = |slot: &Slot| {
                slot.used.elapsed() >= self.expire_after && slot.instance.try_lock().is_ok()
            };
            slots
                .extract_if(|_, slot| old(slot))
                .map(|(_, slot)| slot)
                .collect()
        };
        join_all(expired.into_iter().map(close)).await;
    }

    /// Closes all.
    pub async fn close_all(&self) {
        let all: Vec<Slot> = self.lock().drain().map(|(_, slot)| slot).collect();
        join_all(all.into_iter().map(close)).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Slot>> {
        // Slots come and go in one step.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn close(slot: Slot) {
    let consumer = slot.instance.lock().await.consumer.take();
    if let Some(consumer) = consumer {
        consumer.close().await;
    }
}
