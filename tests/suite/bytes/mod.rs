//! Whatever bytes come in: no panic, no abort, no stack that overflows, no end of time or memory.
//!
//! Each reader gets what its grammar makes (valid, at the ends of its types, deep, long), the same
//! with damage, real files with damage, and plain random bytes. What is refused is refused with a
//! sentence; what is accepted leaves the program working, and good records beside bad ones arrive.
//!
//! * `records`: the decoder, alone and in front of the shipped dataflow;
//! * `conditions`: `?where=` over every type of column;
//! * `addresses`: arguments that are addresses, as the command line reads them;
//! * `files`: dataflow files; what is accepted runs;
//! * `requests`: HTTP as it should and as it should not be, for
//! * `doors`: the views and the gateway in this process, and
//! * `program`: the program itself, where an abort or a thread's death is seen.
//!
//! A case is a seed (`tests/support/seed.rs`), and runs on a thread that is named after it, so that
//! a stack that overflows names it too.

mod addresses;
mod conditions;
mod damage;
mod doors;
mod files;
mod program;
mod records;
mod requests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use super::program::PATIENCE;
use crate::support::seed::{Cases, Chance, again};

/// The stack of the program's main thread, where files are checked.
const MAIN_STACK: usize = 8 << 20;
/// The stack of tokio's threads, where requests are answered.
const SERVER_STACK: usize = 2 << 20;
/// A search ends after so many failures.
const FAILURES: usize = 5;

/// A case: its seed, and since when it runs.
type Running = Mutex<Option<(u64, Instant)>>;

/// Makes an input of each seed and checks it, on a thread with `stack` bytes of stack.
fn each<Input: Sync>(
    test: &str,
    count: u64,
    stack: usize,
    make: impl Fn(&mut Chance) -> Input + Sync,
    show: impl Fn(&Input) -> String + Sync,
    check: impl Fn(&Input) -> Result<(), String> + Sync,
) {
    let cases = Cases::or(count);
    let (next, begin) = (AtomicU64::new(0), Instant::now());
    let failures: Mutex<Vec<String>> = Mutex::default();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let running: Vec<Arc<Running>> = (0..threads).map(|_| Arc::default()).collect();
    watch(test, &running);
    let fail = |seed, input: &Input, why: String| {
        let text = format!("{}\n{}\n{why}\n", again(test, seed), show(input));
        eprintln!("{text}");
        let mut failures = failures.lock().expect("nobody panics with it");
        failures.push(text);
    };
    let case = |seed| {
        let input = make(&mut Chance::new(seed));
        let checked = thread::scope(|scope| {
            let name = format!("the case of {}", again(test, seed));
            let checking = thread::Builder::new().name(name).stack_size(stack);
            let checking = checking.spawn_scoped(scope, || check(&input));
            checking.expect("there are threads").join()
        });
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(why)) => fail(seed, &input, why),
            Err(_) => fail(seed, &input, "it panicked, as is told above".to_owned()),
        }
    };
    let work = &|running: &Running| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let failed = failures.lock().expect("nobody panics with it").len();
            if number >= cases.count || failed >= FAILURES {
                return;
            }
            let seed = cases.first.wrapping_add(number);
            *running.lock().expect("nobody panics with it") = Some((seed, Instant::now()));
            case(seed);
            *running.lock().expect("nobody panics with it") = None;
        }
    };
    thread::scope(|scope| {
        for running in &running {
            scope.spawn(move || work(running));
        }
    });
    eprintln!(
        "{test}: {} cases from seed {} on in {:.1} s",
        cases.count,
        cases.first,
        begin.elapsed().as_secs_f64()
    );
    let failures = failures.into_inner().expect("nobody panicked with it");
    assert!(
        failures.is_empty(),
        "{} cases failed, as is told above",
        failures.len()
    );
}

/// Ends the process, and names the case, if one takes longer than anything may: nothing else ends
/// a thread that does not end by itself.
fn watch(test: &str, running: &[Arc<Running>]) {
    let test = test.to_owned();
    let running: Vec<_> = running.iter().map(Arc::downgrade).collect();
    thread::spawn(move || {
        loop {
            thread::sleep(PATIENCE / 60);
            let alive: Vec<_> = running
                .iter()
                .filter_map(std::sync::Weak::upgrade)
                .collect();
            if alive.is_empty() {
                return;
            }
            for running in alive {
                let case = *running.lock().expect("nobody panics with it");
                if let Some((seed, since)) = case
                    && since.elapsed() > PATIENCE
                {
                    eprintln!("a case does not end: {}", again(&test, seed));
                    std::process::abort();
                }
            }
        }
    });
}

/// Why `text` is no sentence for people, if it is none; it may repeat what it is about.
fn no_sentence(text: &str, about: &str) -> Option<String> {
    const NEVER: [&str; 7] = [
        "Internal error",
        "likely caused by a bug",
        "panicked",
        "This feature is not implemented",
        "unwrap()",
        "DataFusionError",
        "External error",
    ];
    let never = NEVER.iter().find(|never| text.contains(**never));
    match never {
        _ if text.trim().is_empty() => Some("it is refused without a word".to_owned()),
        Some(never) => Some(format!("a refusal says `{never}`: {text}")),
        None if text.len() > 4000 + 4 * about.len() => {
            Some(format!("a refusal has {} bytes", text.len()))
        }
        None => None,
    }
}
