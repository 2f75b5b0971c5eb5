//! Posts from an origin to a target until the end: paced, with several requests under way, and
//! stopped from outside.
//!
//! One task holds the books (`lanes.rs`) and does nothing that takes long; requests are made on the
//! runtime's threads. From the origin no more is taken than keeps every lane busy, so memory is
//! bounded however slow the target is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use crate::emulator::EmulatorError;
use crate::emulator::backoff::Backoff;
use crate::emulator::lanes::{Batch, GiveUp, Lanes};
use crate::emulator::origin::Origin;
use crate::emulator::pace::{Clock, Due, Pacing, Turns};
use crate::emulator::posted::{Posted, Tally};
use crate::emulator::random::{Random, Topic};
use crate::emulator::target::{Answer, Limits, Target};

/// How posts are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct PostingOptions {
    pub(super) pacing: Pacing,
    /// Records of a request, above 0.
    pub(super) batch: usize,
    /// Requests under way for each topic or stream, above 0.
    pub(super) in_flight: usize,
    pub(super) backoff: Backoff,
    /// Chooses the random part of waits. Should differ between emulators that run side by side.
    pub(super) jitter: u64,
}

/// What a posting came to: its report, and why it ended too early if it did.
pub(super) struct End {
    pub(super) posted: Posted,
    pub(super) given_up: Option<String>,
}

/// Posts taken from the origin at a time.
const TURN: u64 = 256;

/// Records that may wait whatever the lanes hold.
const MOST_QUEUED: usize = 200_000;

/// The watcher is called this often at least.
const TICK: Duration = Duration::from_millis(100);

/// After it was stopped, requests under way are awaited this long.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Why it is being ended.
enum Stopping {
    /// From outside, at this moment.
    Interrupted(Duration),
    GivenUp(String),
}

/// Posts everything. `stop` ends it: asked once, what was taken from the origin is still sent and
/// awaited for a while; asked twice, it ends at once. `watch` is called now and then, also while
/// nothing happens.
pub(super) async fn post(
    name: String,
    mut origin: Box<dyn Origin>,
    target: Arc<dyn Target>,
    options: PostingOptions,
    clock: &mut dyn Clock,
    stop: &mut Receiver<()>,
    watch: &mut dyn FnMut(Duration, &Tally, bool),
) -> Result<End, EmulatorError> {
    let started = clock.now();
    let most = target.limits();
    let limits = Limits {
        records: options.batch.min(most.records),
        ..most
    };
    let in_flight = if target.is_ordered() {
        1
    } else {
        options.in_flight
    };
    let mut lanes = Lanes::new(
        target.destinations(),
        in_flight,
        limits,
        options.backoff,
        Random::new(options.jitter, Topic::Jitter, 0),
    );
    let busy = limits
        .records
        .saturating_mul(2 * in_flight * target.destinations());
    let enough = busy.clamp(64, MOST_QUEUED);
    let mut turns = Turns::new(options.pacing, started);
    let mut tally = Tally::default();
    let mut requests: JoinSet<(Batch, Answer, Duration)> = JoinSet::new();
    let mut taken = Vec::new();
    let mut is_end = false;
    let mut stopping = None;
    let mut interrupted = false;
    let mut can_stop = true;
    loop {
        let mut now = clock.now();
        let mut wake = now + TICK;
        while !is_end && stopping.is_none() && lanes.queued() < enough {
            let posts = match turns.due(now, || origin.pause()) {
                Due::Now(posts) => posts.min(TURN),
                Due::Later(moment) => {
                    wake = wake.min(moment);
                    break;
                }
            };
            let posts = tokio::select! {
                posts = origin.next(posts as usize, &mut taken) => posts?,
                Some(()) = stop.recv(), if can_stop => {
                    stopping = Some(Stopping::Interrupted(now));
                    break;
                }
            };
            is_end = posts == 0;
            tally.posts += posts as u64;
            for record in taken.drain(..) {
                tally.made[record.stream as usize] += 1;
                lanes.push(target.destination(record.stream), record);
            }
            now = clock.now();
            turns.posted(posts as u64, now);
        }
        if !matches!(stopping, Some(Stopping::GivenUp(_))) {
            while let Some(batch) = lanes.next(now) {
                let target = Arc::clone(&target);
                requests.spawn(async move {
                    let answer = target.send(&batch.records).await;
                    (batch, answer, now)
                });
            }
        }
        watch(now, &tally, stopping.is_some());
        match &stopping {
            None if is_end && lanes.is_empty() => break,
            Some(Stopping::Interrupted(since)) if lanes.is_empty() || now > *since + LAST_WAIT => {
                break;
            }
            Some(Stopping::GivenUp(_)) if requests.is_empty() => break,
            _ => {}
        }
        if let Some(moment) = lanes.next_moment() {
            wake = wake.min(moment);
        }
        tokio::select! {
            Some(done) = requests.join_next() => {
                let (batch, answer, sent) = match done {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                };
                let now = clock.now();
                tally.requests += 1;
                tally.latencies.add(1, now.saturating_sub(sent));
                // Retries are used up while it is being stopped, too: without this, what failed
                // would be sent again without a pause.
                if let Err(GiveUp(why)) = lanes.settle(batch, answer, now, &mut tally)
                    && !matches!(stopping, Some(Stopping::GivenUp(_)))
                {
                    interrupted = stopping.is_some();
                    stopping = Some(Stopping::GivenUp(why));
                }
            }
            stopped = stop.recv(), if can_stop => match (stopped, &stopping) {
                (Some(()), None) => stopping = Some(Stopping::Interrupted(clock.now())),
                (Some(()), Some(_)) => break,
                (None, _) => can_stop = false,
            },
            () = tokio::time::sleep(wake.saturating_sub(now)) => {}
        }
    }
    requests.shutdown().await;
    target.finish().await?;
    interrupted |= matches!(stopping, Some(Stopping::Interrupted(_)));
    let posted = Posted {
        target: name,
        tally,
        interrupted,
        time: clock.now().saturating_sub(started),
    };
    let given_up = match stopping {
        Some(Stopping::GivenUp(why)) => Some(why),
        _ => None,
    };
    Ok(End { posted, given_up })
}
