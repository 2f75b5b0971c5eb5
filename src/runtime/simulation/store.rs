//! An object store that is slow, fails, loses answers, and applies what it said it had not.
//!
//! What was applied is seen by every later request, as on S3 today, but for lists, which may be of
//! some time ago. What else can go wrong is what happens on the way there and back:
//!
//! * a request is refused, by a server that is away or full, and nothing happened;
//! * it is applied, and the answer is lost;
//! * it is late: the client is told of a failure, or dies, and the request is applied afterwards;
//! * the body of an answer ends with an error halfway.
//!
//! deltalake-core works on threads of its own (`Lake::with_delta_on`). The scheduler waits for it,
//! so what it asks for is answered at once, and fails by its own count of requests.

mod door;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, PutMode, PutOptions, PutPayload, PutResult, Result};

use super::chance::Chance;
use super::history::BEGAN_MS;
use super::scheduler::World;
pub(super) use door::Door;

/// What the store says when it fails on purpose.
pub(super) const STORE_FAILED: &str = "connection reset on purpose";
/// Where the archive is. What fails there ends a run, so little does.
pub(super) const ARCHIVE: &str = "archive";
/// How much seldomer something fails in the archive.
const ARCHIVE_SELDOM: u64 = 10;
/// How old a list may be, in milliseconds.
const STALE_MS: u64 = 400;

/// How often what goes wrong: once in so many requests, never if 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Refused, and not done.
    pub(super) refused: u64,
    /// Done, and the answer is lost.
    pub(super) answer_lost: u64,
    /// Refused, and done later.
    pub(super) late: u64,
    /// A body that ends with an error.
    pub(super) cut: u64,
    /// A list of what was there some time ago.
    pub(super) stale: u64,
    /// The longest time that a request takes, in milliseconds.
    pub(super) slowest: u64,
}

/// What all doors to the store share.
pub(super) struct Storage {
    world: World,
    state: Mutex<State>,
}

struct State {
    chance: Chance,
    rates: Rates,
    /// Nothing is answered before this moment.
    away_until: Duration,
    /// Nothing can be put before this moment.
    full_until: Duration,
    objects: BTreeMap<Path, Object>,
    /// What objects were before each change, for lists of some time ago.
    changes: Vec<(Duration, Path, Option<Object>)>,
    /// Puts on their way, by the moment when they arrive.
    arriving: BTreeMap<(Duration, u64), Put>,
    arrivals: u64,
    /// Requests of deltalake-core.
    delta_requests: u64,
    /// Requests that were sent, and puts that were applied.
    operations: u64,
    /// Puts of checkpoints that were sent.
    checkpoints_sent: u64,
    /// Every checkpoint that was ever put, by path, in the order of arrival.
    checkpoints: Vec<(String, Bytes)>,
    /// Every log entry that was ever put.
    entries: BTreeMap<String, Bytes>,
    /// Log entries that were removed.
    expired: u64,
    /// The first log entry that was put again otherwise, after it had expired.
    rewritten: Option<String>,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    modified: Duration,
    tag: u64,
}

impl Object {
    fn meta(&self, path: &Path) -> ObjectMeta {
        let modified = BEGAN_MS + self.modified.as_millis() as i64;
        ObjectMeta {
            location: path.clone(),
            last_modified: DateTime::from_timestamp_millis(modified).expect("a day of our time"),
            size: self.bytes.len() as u64,
            e_tag: Some(self.tag.to_string()),
            version: None,
        }
    }
}

struct Put {
    path: Path,
    payload: PutPayload,
    options: PutOptions,
    answer: Arc<Mutex<Option<Result<PutResult>>>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    AnswerLost,
    Late,
    Cut,
    Stale,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Put,
    Read,
    List,
}

impl State {
    /// Writes down that `path` is about to change.
    fn changes(&mut self, now: Duration, path: &Path) {
        let before = self.objects.get(path).cloned();
        self.changes.push((now, path.clone(), before));
    }

    fn apply(
        &mut self,
        now: Duration,
        path: Path,
        payload: PutPayload,
        options: &PutOptions,
    ) -> Result<PutResult> {
        self.operations += 1;
        let there = self.objects.get(&path);
        let create = options.mode == PutMode::Create;
        if create && there.is_some() {
            return Err(Error::AlreadyExists {
                path: path.to_string(),
                source: "it is there".into(),
            });
        }
        if let PutMode::Update(version) = &options.mode
            && version.e_tag != there.map(|there| there.tag.to_string())
        {
            return Err(Error::Precondition {
                path: path.to_string(),
                source: "it is another version".into(),
            });
        }
        let bytes = Bytes::from(payload);
        if create {
            self.record(path.as_ref(), &bytes);
        }
        self.changes(now, &path);
        self.arrivals += 1;
        let object = Object {
            bytes,
            modified: now,
            tag: self.arrivals,
        };
        self.objects.insert(path, object);
        Ok(PutResult {
            e_tag: Some(self.arrivals.to_string()),
            version: None,
        })
    }

    /// Keeps what checks want to see of objects that may go.
    fn record(&mut self, path: &str, bytes: &Bytes) {
        if path.contains("_checkpoints/") {
            self.checkpoints.push((path.to_owned(), bytes.clone()));
        }
        if path.contains("/_delta_log/") {
            let first = self.entries.entry(path.to_owned());
            if first.or_insert_with(|| bytes.clone()) != bytes {
                self.rewritten.get_or_insert_with(|| path.to_owned());
            }
        }
    }

    fn list(&self, prefix: Option<&Path>, of: Option<Duration>) -> Vec<ObjectMeta> {
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        let is_in = |path: &Path| {
            path.prefix_match(prefix)
                .is_some_and(|mut p| p.next().is_some())
        };
        let objects = self.objects.range(prefix.clone()..);
        let objects = objects.take_while(|(path, _)| path.as_ref().starts_with(prefix.as_ref()));
        let objects = objects.filter(|(path, _)| is_in(path));
        let Some(of) = of else {
            return objects.map(|(path, object)| object.meta(path)).collect();
        };
        let mut objects: BTreeMap<&Path, &Object> = objects.collect();
        for (_, path, before) in self.changes.iter().rev().take_while(|(at, _, _)| *at > of) {
            match before {
                Some(before) if is_in(path) => drop(objects.insert(path, before)),
                _ => drop(objects.remove(path)),
            }
        }
        let objects = objects.into_iter();
        objects.map(|(path, object)| object.meta(path)).collect()
    }
}

impl Storage {
    pub(super) fn new(world: World, chance: Chance) -> Self {
        Storage {
            world,
            state: Mutex::new(State {
                chance,
                rates: Rates::default(),
                away_until: Duration::ZERO,
                full_until: Duration::ZERO,
                objects: BTreeMap::new(),
                changes: Vec::new(),
                arriving: BTreeMap::new(),
                arrivals: 0,
                delta_requests: 0,
                operations: 0,
                checkpoints_sent: 0,
                checkpoints: Vec::new(),
                entries: BTreeMap::new(),
                expired: 0,
                rewritten: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// Nothing is answered for a while.
    pub(super) fn go_away(&self, time: Duration) {
        self.state().away_until = self.world.now() + time;
    }

    /// Nothing can be put for a while.
    pub(super) fn fill_up(&self, time: Duration) {
        self.state().full_until = self.world.now() + time;
    }

    /// How many requests were sent and how many puts applied, and how many checkpoints were sent.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = self.state();
        (state.operations, state.checkpoints_sent)
    }

    /// Checkpoints that were ever put, in the order of arrival, from the one with this place on.
    pub(super) fn checkpoints(&self, from: usize) -> Vec<(String, Bytes)> {
        self.settle(self.world.now());
        self.state().checkpoints[from..].to_vec()
    }

    /// Whether a checkpoint was sent that has not arrived yet.
    pub(super) fn is_checkpoint_under_way(&self) -> bool {
        self.settle(self.world.now());
        let state = self.state();
        let mut puts = state.arriving.values();
        puts.any(|put| put.path.as_ref().contains("_checkpoints/"))
    }

    /// A log entry, whether or not it has expired.
    pub(super) fn entry(&self, path: &str) -> Option<Bytes> {
        self.state().entries.get(path).cloned()
    }

    /// A log entry that was put again with other bytes.
    pub(super) fn rewritten(&self) -> Option<String> {
        self.state().rewritten.clone()
    }

    /// How many log entries were removed.
    pub(super) fn expired(&self) -> u64 {
        self.state().expired
    }

    /// The object as it is now.
    pub(super) fn get_now(&self, path: &str) -> Option<Bytes> {
        let state = self.state();
        let object = state.objects.get(&Path::from(path))?;
        Some(object.bytes.clone())
    }

    /// All objects below a folder as they are now.
    pub(super) fn list_now(&self, folder: &str) -> Vec<(String, Bytes)> {
        let state = self.state();
        let found = state.list(Some(&Path::from(folder)), None).into_iter();
        let bytes = |meta: &ObjectMeta| state.objects[&meta.location].bytes.clone();
        found
            .map(|meta| (meta.location.to_string(), bytes(&meta)))
            .collect()
    }

    /// Forgets an object: what no store does.
    pub(super) fn lose(&self, path: &str) {
        let lost = self.state().objects.remove(&Path::from(path));
        assert!(lost.is_some(), "{path} is there");
    }

    /// Applies what has arrived by now.
    fn settle(&self, now: Duration) {
        let mut state = self.state();
        while let Some(entry) = state.arriving.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let put = entry.remove();
            let applied = state.apply(at, put.path, put.payload, &put.options);
            *put.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        }
    }

    /// Draws what becomes of a request, and how long it takes on its way there and back.
    fn draw(&self, request: Request, path: Option<&Path>) -> (Fate, Duration, Duration) {
        let now = self.world.now();
        let mut state = self.state();
        state.operations += 1;
        let archive = path.is_some_and(|path| path.as_ref().starts_with(ARCHIVE));
        let rates = state.rates;
        let of = |rate: u64| if archive { rate * ARCHIVE_SELDOM } else { rate };
        let only = |of: Request, rate: u64| if of == request { rate } else { 0 };
        let chance = &mut state.chance;
        let times = (chance.pause(rates.slowest), chance.pause(rates.slowest));
        let mut fate = Fate::Done;
        for (wrong, rate) in [
            (Fate::Refused, of(rates.refused)),
            (Fate::AnswerLost, of(only(Request::Put, rates.answer_lost))),
            (
                Fate::Late,
                only(Request::Put, if archive { 0 } else { rates.late }),
            ),
            (
                Fate::Cut,
                of(if request == Request::Put {
                    0
                } else {
                    rates.cut
                }),
            ),
            (
                Fate::Stale,
                only(Request::List, if archive { 0 } else { rates.stale }),
            ),
        ] {
            if fate == Fate::Done && chance.once_in(rate) {
                fate = wrong;
            }
        }
        let full = request == Request::Put && now < state.full_until;
        if now < state.away_until || full {
            fate = Fate::Refused;
        }
        (fate, times.0, times.1)
    }

    /// What becomes of a request of deltalake-core.
    fn draw_for_delta(&self) -> Result<()> {
        let now = self.world.now();
        let mut state = self.state();
        state.delta_requests += 1;
        let (rate, request) = (state.rates.refused, state.delta_requests);
        let fails = Chance::new(request).once_in(rate);
        (!fails && now >= state.away_until)
            .then_some(())
            .ok_or_else(away)
    }

    /// The moment that a list with this fate tells of, if it is not now.
    fn listed(&self, fate: Fate) -> Option<Duration> {
        let old = self.state().chance.pause(STALE_MS);
        (fate == Fate::Stale).then(|| self.world.now().saturating_sub(old))
    }
}

fn away() -> Error {
    Error::Generic {
        store: "simulated",
        source: STORE_FAILED.into(),
    }
}
