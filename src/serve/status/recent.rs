//! What was lately: rates of records, and latencies.

use std::collections::VecDeque;
use std::time::Duration;

use crate::latencies::Latencies;

/// Rates are averages over this time.
const RATE_WINDOW_MS: u64 = 5_000;
/// Two moments nearer than this are one moment for rates.
const RATE_STEP_MS: u64 = 250;
/// Latencies are kept for this long, and at most twice as long.
const LATENCY_WINDOW_MS: u64 = 30_000;

/// Records a second of each stream, since the newest moment that is a window ago (or the oldest
/// there is).
pub(super) fn rates(
    moments: &mut VecDeque<(u64, Vec<u64>)>,
    now_ms: u64,
    records: &[u64],
) -> Vec<f64> {
    let starts_a_window = |moment: &(u64, Vec<u64>)| moment.0 + RATE_WINDOW_MS <= now_ms;
    while moments.get(1).is_some_and(starts_a_window) {
        moments.pop_front();
    }
    let rates = match moments.front() {
        Some((then_ms, then)) if *then_ms < now_ms => {
            let seconds = (now_ms - then_ms) as f64 / 1000.0;
            let rate = |(now, then): (&u64, &u64)| now.saturating_sub(*then) as f64 / seconds;
            records.iter().zip(then).map(rate).collect()
        }
        _ => vec![0.0; records.len()],
    };
    if moments
        .back()
        .is_none_or(|last| last.0 + RATE_STEP_MS <= now_ms)
    {
        moments.push_back((now_ms, records.to_vec()));
    }
    rates
}

/// How long recent records took.
#[derive(Debug, Default)]
pub(super) struct RecentLatencies {
    /// Those of this window, and of the one before.
    windows: [Latencies; 2],
    began_ms: u64,
}

impl RecentLatencies {
    pub(super) fn add(&mut self, records: u64, latency: Duration, now_ms: u64) {
        self.turn(now_ms);
        self.windows[0].add(records, latency);
    }

    /// Begins a new window when this one is full.
    fn turn(&mut self, now_ms: u64) {
        let age = now_ms.saturating_sub(self.began_ms);
        if age >= LATENCY_WINDOW_MS {
            let full = std::mem::take(&mut self.windows[0]);
            self.windows[1] = if age < 2 * LATENCY_WINDOW_MS {
                full
            } else {
                Latencies::default()
            };
            self.began_ms = now_ms;
        }
    }

    /// The milliseconds that a share of the recent records did not exceed; `None` if there were
    /// none.
    pub(super) fn quantile_ms(&mut self, share: f64, now_ms: u64) -> Option<f64> {
        self.turn(now_ms);
        let mut both = self.windows[0].clone();
        both.extend(&self.windows[1]);
        Some(both.quantile(share)?.as_secs_f64() * 1e3)
    }
}
