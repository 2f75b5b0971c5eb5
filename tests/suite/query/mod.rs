//! Random dataflow files over random histories, against engines that are not ours.
//!
//! The grammar is in small files that read like one: `schema` and `values` (streams, tables, what
//! is sent), `views`, `select`, `relation`, `filter`, `expression`, `guard`, `failing`, `naming`
//! and `aggregate` (queries), `history` (records). What it can say is what people write; what
//! pinflow refuses of it is left out and counted, so that a test that compares nothing fails.
//! `print` writes one text for two engines, `check` compares in this process.
//!
//! `PINFLOW_CASES` says how many files are tried and `PINFLOW_SEED` which
//! (`tests/support/seed.rs`).

mod aggregate;
pub mod case;
mod check;
mod duckdb;
mod expression;
mod failing;
mod filter;
mod guard;
mod history;
mod judge;
mod naming;
mod path;
mod print;
mod relation;
mod schema;
mod scope;
mod select;
mod shrink;
mod values;
mod views;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use case::{Case, Refusals};
use check::{Failure, Tally};
use duckdb::DuckDb;
use pinflow::definition::Definition;

use crate::support::seed::{Cases, again};

/// Views of a file, before any is refused.
const VIEWS: usize = 24;
/// A search ends after so many failures.
const FAILURES: usize = 4;

#[test]
fn any_view_is_what_other_engines_answer() {
    search(
        "suite::query::any_view_is_what_other_engines_answer",
        25,
        600,
        |case, definition, _, judge| check::check(case, definition, judge),
    );
}

#[test]
fn any_view_survives_files_kills_and_restarts() {
    search(
        "suite::query::any_view_survives_files_kills_and_restarts",
        5,
        20,
        |case, _, seed, judge| path::check(case, seed, judge),
    );
}

/// Checks `count` cases, or those that the environment asks for, and shrinks those that fail by
/// trying smaller ones so many times.
fn search(
    test: &str,
    count: u64,
    tries: usize,
    check: impl Fn(&Case, &Definition, u64, &mut DuckDb) -> Result<Tally, Failure> + Sync,
) {
    let cases = Cases::or(count);
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let total: Mutex<Total> = Mutex::default();
    let work = || {
        let mut judge = DuckDb::start()
            .unwrap_or_else(|why| panic!("DuckDB, which is the judge, cannot be started: {why}"));
        let next = || {
            cases
                .seeds()
                .nth(next.fetch_add(1, Ordering::Relaxed) as usize)
        };
        while let Some(seed) = next() {
            let mut refusals = Refusals::new();
            let mut case = Case::new(seed, VIEWS);
            let mut definition = case.accept(&mut refusals);
            loop {
                let checked = check(&case, &definition, seed, &mut judge);
                let mut held = total.lock().expect("nobody panics with it");
                if held.failures.len() >= FAILURES {
                    return;
                }
                let failure = match checked {
                    Err(failure) => failure,
                    Ok(tally) => {
                        held.add(tally, refusals);
                        break;
                    }
                };
                drop(held);
                let view = failure.view;
                let first = failure.text.lines().next().unwrap_or_default().to_owned();
                let mut check = |case: &Case, definition: &Definition| {
                    check(case, definition, seed, &mut judge)
                };
                let (small, failure) = shrink::shrink(case.clone(), failure, tries, &mut check);
                let text = format!(
                    "{}\n-- at first: {first}\n{}{}",
                    again(test, seed),
                    small.text(),
                    failure.text
                );
                eprintln!("{text}\n");
                let mut held = total.lock().expect("nobody panics with it");
                held.failures.push(text);
                drop(held);
                // The other views are looked at without it.
                let Some(view) = view else { break };
                case.remove(view);
                definition = case.accept(&mut refusals);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases.count as usize) {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().expect("nobody panicked with it");
    total.report(begin.elapsed());
}

/// What a search found.
#[derive(Default)]
struct Total {
    tally: Tally,
    refusals: Refusals,
    failures: Vec<String>,
}

impl Total {
    fn add(&mut self, tally: Tally, refusals: Refusals) {
        self.tally.add(tally);
        for (reason, (count, example)) in refusals {
            self.refusals.entry(reason).or_insert((0, example)).0 += count;
        }
    }

    fn report(&self, time: Duration) {
        let tally = &self.tally;
        let refused: u64 = self.refusals.values().map(|(count, _)| count).sum();
        let unjudged: u64 = tally.unjudged.values().map(|(count, _)| count).sum();
        eprintln!(
            "{} views are the same by DuckDB, {} by DataFusion at all epochs, {} not by DataFusion; \
             {refused} refused, {unjudged} not judged; {:.0} views/s",
            tally.same,
            tally.sure,
            tally.inherited,
            tally.same as f64 / time.as_secs_f64()
        );
        for (reason, (count, example)) in self.refusals.iter().chain(&tally.unjudged) {
            eprintln!("{count:6} {reason}\n       {example}");
        }
        assert!(
            self.failures.is_empty(),
            "{} failures are told above",
            self.failures.len()
        );
        assert!(refused * 3 < tally.same, "most views must be accepted");
        assert!(unjudged * 10 < tally.same, "most views must be judged");
    }
}
