//! The whole program under a seeded scheduler with simulated time.
//!
//! ```text
//!  history: lives and deaths, what fails when                     history.rs
//!    '--> scheduler: which task goes on, what time it is          scheduler.rs
//!           |--> a life: workers, stagers, keeper, committer      process.rs
//!           |--> the source: partitions at their own speeds       source.rs, records.rs
//!           '--> the store: slow, failing, late                   store.rs
//!  after each life: the lake against a fold of the records        check.rs, oracle.rs
//! ```
//!
//! Everything inside a life is the code that runs in production: `parts.rs` connects it, and only
//! the threads around it, the clocks and the store are replaced.
//!
//! `PINFLOW_CASES=N` lives through so many histories, `PINFLOW_SEED=S` begins with that of S; a
//! failure names its seed, and `PINFLOW_CASES=1 PINFLOW_SEED=S` repeats it step by step.

mod chance;
mod check;
mod history;
mod oracle;
mod process;
mod records;
mod scheduler;
mod source;
mod store;

use self::history::{Told, history};

/// How many histories are lived through unless `PINFLOW_CASES` says otherwise.
const CASES: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Lives through a history. A panic in it is a failure like any other.
fn told(seed: u64) -> Result<Told, String> {
    let lived = std::panic::catch_unwind(|| history(seed));
    let result = lived.unwrap_or_else(|_| Err("it panicked; the message above says where".into()));
    result.map_err(|why| format!("{why}\n repeat it with PINFLOW_CASES=1 PINFLOW_SEED={seed}"))
}

#[test]
fn whatever_fails_and_whoever_dies_every_table_and_view_is_right() {
    let first = number("PINFLOW_SEED").unwrap_or(1);
    let cases = number("PINFLOW_CASES").unwrap_or(CASES);
    let began = std::time::Instant::now();
    let threads =
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) as u64;
    let failures: Vec<String> = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads.min(cases))
            .map(|thread| {
                scope.spawn(move || {
                    let seeds = (first + thread..first + cases).step_by(threads as usize);
                    let mut sum = Told::default();
                    let failed = seeds.filter_map(|seed| match told(seed) {
                        Ok(told) => {
                            sum.lives += told.lives;
                            sum.steps += told.steps;
                            sum.checkpoints += told.checkpoints;
                            None
                        }
                        Err(why) => Some(why),
                    });
                    let failed: Vec<String> = failed.take(3).collect();
                    println!("{sum:?}");
                    failed
                })
            })
            .collect();
        shares
            .into_iter()
            .flat_map(|share| share.join().expect("panics are caught"))
            .collect()
    });
    println!(
        "{cases} histories from seed {first} in {:?}",
        began.elapsed()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_same_seed_tells_the_same_history() {
    for seed in number("PINFLOW_SEED").map_or(1..20, |seed| seed..seed + 1) {
        assert_eq!(told(seed), told(seed), "seed {seed}");
    }
}
