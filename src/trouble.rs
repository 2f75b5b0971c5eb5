//! What does not work at the moment, and is tried again: of the lake, of sources, of archives.
//!
//! Whoever repeats something says so here, from its first failure to its success; whoever is asked
//! how the run is, lists it. Nothing is set that somebody would have to take back: what is tried is
//! in trouble as long as its [`Trying`] says so and is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that does not work at the moment, and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is tried, as it follows "could not".
    pub what: String,
    /// What the last attempt said.
    pub error: String,
    /// For how long it has been failing.
    pub lasts: Duration,
}

/// All troubles of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By the number of the attempt.
    failing: BTreeMap<u64, Failing>,
}

#[derive(Debug)]
struct Failing {
    what: String,
    error: String,
    since: Instant,
}

impl Troubles {
    /// Something is tried; it goes well so far. `what` follows "could not".
    pub fn trying(&self, what: impl Into<String>) -> Trying {
        Trying {
            troubles: self.clone(),
            what: what.into(),
            number: None,
        }
    }

    /// What fails at the moment, what fails for longest first.
    pub fn list(&self, now: Instant) -> Vec<Trouble> {
        let inner = self.lock();
        let mut failing: Vec<&Failing> = inner.failing.values().collect();
        failing.sort_by_key(|failing| failing.since);
        let trouble = |failing: &Failing| Trouble {
            what: failing.what.clone(),
            error: failing.error.clone(),
            lasts: now.saturating_duration_since(failing.since),
        };
        failing.into_iter().map(trouble).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever is changed is changed in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is tried, and may be in trouble; the trouble is over when this is dropped.
#[derive(Debug)]
pub struct Trying {
    troubles: Troubles,
    what: String,
    number: Option<u64>,
}

impl Trying {
    /// An attempt failed, at `now`, and another will follow.
    pub fn failed(&mut self, now: Instant, error: &str) {
        let mut inner = self.troubles.lock();
        let number = *self.number.get_or_insert_with(|| {
            inner.next += 1;
            inner.next
        });
        let failing = inner.failing.entry(number).or_insert_with(|| Failing {
            what: self.what.clone(),
            error: String::new(),
            since: now,
        });
        error.clone_into(&mut failing.error);
    }

    /// It works.
    pub fn succeeded(&mut self) {
        if let Some(number) = self.number.take() {
            self.troubles.lock().failing.remove(&number);
        }
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        self.succeeded();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_listed_from_its_first_failure_until_it_succeeds_or_is_given_up() {
        let (troubles, begin) = (Troubles::default(), Instant::now());
        let at = |s| begin + Duration::from_secs(s);
        let told = |now| {
            let list = troubles.list(now).into_iter();
            let told = list.map(|t| format!("{}, {} s: {}", t.what, t.lasts.as_secs(), t.error));
            told.collect::<Vec<_>>()
        };
        let mut lake = troubles.trying("commit");
        let mut source = troubles.trying("read pin");
        assert_eq!(told(at(0)), [""; 0]);
        source.failed(at(1), "no broker");
        lake.failed(at(2), "refused");
        source.failed(at(3), "no route");
        assert_eq!(
            told(at(4)),
            ["read pin, 3 s: no route", "commit, 2 s: refused"]
        );
        source.succeeded();
        drop(lake);
        assert_eq!(told(at(5)), [""; 0]);
        source.failed(at(6), "no broker");
        assert_eq!(told(at(7)), ["read pin, 1 s: no broker"]);
    }
}
