//! An object store that is slow, fails, loses answers, and applies what it said it had not.
//!
//! It is as consistent as S3 is today: what was applied is seen by every later request, lists
//! included. What can go wrong is what happens on the way there and back:
//!
//! * a request is refused, by a server that is away or full, and nothing happened;
//! * it is applied, and the answer is lost;
//! * it is late: the client is told of a failure, or dies, and the request is applied afterwards;
//! * the body of an answer ends with an error halfway.
//!
//! deltalake-core works on threads of its own (`Lake::with_delta_runtime`). The scheduler waits for
//! it, so what it asks for is answered at once, and fails by its own count of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use super::chance::Chance;
use super::scheduler::World;

/// What the store says when it fails on purpose.
pub(super) const STORE_FAILED: &str = "connection reset on purpose";

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
    /// The longest time that a request takes, in milliseconds.
    pub(super) slowest: u64,
}

/// What all doors to the store share.
pub(super) struct Storage {
    objects: InMemory,
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
    /// Puts on their way, by the moment when they arrive.
    arriving: BTreeMap<(Duration, u64), Put>,
    arrivals: u64,
    /// Requests of deltalake-core.
    delta_requests: u64,
    /// Every checkpoint that was ever put, by path, in the order of arrival.
    checkpoints: Vec<(String, Bytes)>,
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
}

impl Storage {
    pub(super) fn new(world: World, chance: Chance) -> Self {
        Storage {
            objects: InMemory::new(),
            world,
            state: Mutex::new(State {
                chance,
                rates: Rates::default(),
                away_until: Duration::ZERO,
                full_until: Duration::ZERO,
                arriving: BTreeMap::new(),
                arrivals: 0,
                delta_requests: 0,
                checkpoints: Vec::new(),
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

    /// Every checkpoint that was ever put, in the order of arrival.
    pub(super) fn checkpoints(&self) -> Vec<(String, Bytes)> {
        self.settle(self.world.now());
        self.state().checkpoints.clone()
    }

    /// The object as it is now.
    pub(super) fn get_now(&self, path: &str) -> Option<Bytes> {
        let got = at_once(self.objects.get(&Path::from(path))).ok()?;
        at_once(got.bytes()).ok()
    }

    /// Forgets an object: what no store does.
    pub(super) fn lose(&self, path: &str) {
        at_once(self.objects.delete(&Path::from(path))).expect("it is there");
    }

    /// Applies what has arrived by now.
    fn settle(&self, now: Duration) {
        let mut state = self.state();
        while let Some(entry) = state.arriving.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let put = entry.remove();
            let applied = self.apply(&mut state, put.path, put.payload, put.options);
            *put.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(applied);
        }
    }

    fn apply(
        &self,
        state: &mut State,
        path: Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = options.mode == PutMode::Create;
        let applied = at_once(self.objects.put_opts(&path, payload.clone(), options));
        if applied.is_ok() && create && path.as_ref().contains("_checkpoints/") {
            state.checkpoints.push((path.to_string(), payload.into()));
        }
        applied
    }

    /// Draws what becomes of a request, and how long it takes on its way there and back.
    fn draw(&self, put: bool) -> (Fate, Duration, Duration) {
        let now = self.world.now();
        let mut state = self.state();
        let rates = state.rates;
        let chance = &mut state.chance;
        let times = (chance.pause(rates.slowest), chance.pause(rates.slowest));
        let mut fate = Fate::Done;
        for (wrong, rate) in [
            (Fate::Refused, rates.refused),
            (Fate::AnswerLost, if put { rates.answer_lost } else { 0 }),
            (Fate::Late, if put { rates.late } else { 0 }),
            (Fate::Cut, if put { 0 } else { rates.cut }),
        ] {
            if fate == Fate::Done && chance.once_in(rate) {
                fate = wrong;
            }
        }
        if now < state.away_until || put && now < state.full_until {
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
}

/// A process's way to the store.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) storage: Arc<Storage>,
    /// The scheduler's thread.
    pub(super) home: ThreadId,
}

impl Door {
    fn is_home(&self) -> bool {
        std::thread::current().id() == self.home
    }

    /// What becomes of a request that changes nothing, once it has arrived.
    async fn ask(&self) -> Result<Fate> {
        if !self.is_home() {
            self.storage.settle(self.storage.world.now());
            return self.storage.draw_for_delta().map(|()| Fate::Done);
        }
        let (fate, there, back) = self.storage.draw(false);
        self.storage.world.sleep(there + back).await;
        self.storage.settle(self.storage.world.now());
        if fate == Fate::Refused {
            return Err(away());
        }
        Ok(fate)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

fn away() -> Error {
    Error::Generic {
        store: "simulated",
        source: STORE_FAILED.into(),
    }
}

/// The answer of a store in memory, which never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory never waits")
}

#[async_trait]
impl ObjectStore for Door {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (storage, path) = (&self.storage, path.clone());
        if !self.is_home() {
            storage.draw_for_delta()?;
            return storage.apply(&mut storage.state(), path, payload, options);
        }
        let (fate, there, back) = storage.draw(true);
        let answer = Arc::new(Mutex::new(None));
        if fate == Fate::Refused {
            storage.world.sleep(there).await;
            return Err(away());
        }
        {
            // From here on it is out of the client's hands, dead or alive.
            let mut state = storage.state();
            state.arrivals += 1;
            let late = if fate == Fate::Late { 50 } else { 1 };
            let arrival = (storage.world.now() + there * late, state.arrivals);
            let answer = Arc::clone(&answer);
            state.arriving.insert(
                arrival,
                Put {
                    path,
                    payload,
                    options,
                    answer,
                },
            );
        }
        storage.world.sleep(there).await;
        if fate == Fate::Late {
            return Err(away());
        }
        storage.settle(storage.world.now());
        storage.world.sleep(back).await;
        if fate == Fate::AnswerLost {
            return Err(away());
        }
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.expect("it has arrived")
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.storage.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.ask().await?;
        let mut got = at_once(self.storage.objects.get_opts(path, options))?;
        if fate == Fate::Cut {
            let bytes = at_once(
                match got.payload {
                    GetResultPayload::Stream(stream) => stream,
                    _ => unreachable!("memory answers with streams"),
                }
                .try_collect::<Vec<Bytes>>(),
            )?
            .concat();
            let half = Bytes::from(bytes).slice(..(got.meta.size / 2) as usize);
            let body = stream::iter([Ok(half), Err(away())]);
            got.payload = GetResultPayload::Stream(body.boxed());
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = paths.then(move |path| {
            let this = this.clone();
            async move {
                let path = path?;
                this.ask().await?;
                at_once(this.storage.objects.delete(&path))?;
                Ok(path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let found: Vec<Result<ObjectMeta>> = match this.ask().await {
                Err(error) => vec![Err(error)],
                Ok(fate) => {
                    let found = this.storage.objects.list(prefix.as_ref());
                    let mut found: Vec<_> = at_once(found.collect());
                    if fate == Fate::Cut {
                        found.truncate(found.len() / 2);
                        found.push(Err(away()));
                    }
                    found
                }
            };
            stream::iter(found)
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask().await?;
        at_once(self.storage.objects.list_with_delimiter(prefix))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ask().await?;
        at_once(self.storage.objects.copy_opts(from, to, options))
    }
}
