//! Ctrl-C, and what else asks a run to end.
//!
//! The first signal asks, the second ends the process. Whatever the run waits for, it ends within
//! [`STOP_WITHIN`].

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::runtime::{Outcome, STOP_WITHIN};
use crate::serve::terminal::STOPPING;
use crate::serve::terminal::log::{self, LogWriter};

/// The status of a process that a second signal ended.
pub(super) const ENDED_BY_SIGNAL: i32 = 130;
/// The status of a process of a cluster that ended well because a signal asked it, and not its
/// launcher.
pub(super) const ASKED_TO_END: i32 = 143;
/// The line by which the launcher asks a process to end.
pub(super) const END: &[u8] = b"\0";

/// Ctrl-C, being told to terminate, and a terminal that was closed.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` for a process that is to outlive its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes these signals from now on; on a runtime only.
    pub(super) fn listen() -> std::io::Result<Signals> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Returns when one comes.
    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether the process was started so that it ignores the end of its terminal, as `nohup` does.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// Stops the run of `outcome` when it is asked to, on a thread of its own that waits for nothing
/// else. Returns whether that has happened.
pub(super) fn stop_on_signals(outcome: &Outcome) -> Result<Arc<AtomicBool>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    let outcome = outcome.clone();
    let asked = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&asked);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut too_long = pin!(outcome.stopped_for(STOP_WITHIN));
            loop {
                tokio::select! {
                    _ = signals.next() => {}
                    () = &mut too_long => end_late(&outcome),
                }
                if asking.swap(true, Ordering::Relaxed) {
                    std::process::exit(ENDED_BY_SIGNAL);
                }
                outcome.stop();
                say_stopping();
            }
        });
    });
    Ok(asked)
}

/// Says that a run stops, where no block in a terminal does.
pub(super) fn say_stopping() {
    if !std::io::stderr().is_terminal() {
        eprintln!("{STOPPING}");
    }
}

/// Stops the run when the launcher asks for it or is gone: its end of the pipe closes with it,
/// however it ends. What else comes through the pipe is for the log.
pub(super) fn stop_with_launcher(outcome: &Outcome) {
    let outcome = outcome.clone();
    std::thread::spawn(move || follow(io::stdin().lock(), LogWriter, || outcome.stop()));
}

/// Writes the lines of `launcher` to the log, and calls `stop` at [`END`] and at the end.
fn follow(launcher: impl Read, mut log: impl Write, stop: impl Fn()) {
    let lines = BufReader::new(launcher).split(b'\n');
    for mut line in lines.map_while(Result::ok) {
        if line == END {
            stop();
        } else if !line.is_empty() {
            line.push(b'\n');
            // A log that cannot be written must not end the run.
            let _ = log.write_all(&line);
        }
    }
    stop();
}

/// Ends a process that could not end by itself in time.
fn end_late(outcome: &Outcome) -> ! {
    let why = outcome.failure().unwrap_or_else(|| {
        let within = STOP_WITHIN.as_secs();
        let waits = outcome.troubles().into_iter().next().map_or_else(
            || "something that it waits for does not answer".to_owned(),
            |trouble| format!("could not {}: {}", trouble.what, trouble.error),
        );
        format!(
            "the run did not end within {within} s after it was asked to ({waits}); what is not committed will be read again by the next run"
        )
    });
    // Nobody draws any more what the log has held.
    eprint!("{}", log::release());
    eprintln!("error: {why}");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_launcher_asks_by_a_line_or_by_its_end_and_other_lines_are_for_the_log() {
        let (mut log, stops) = (Vec::new(), Cell::new(0));
        let stop = || stops.set(stops.get() + 1);
        follow(&b"one\n\ntwo"[..], &mut log, stop);
        assert_eq!((&log[..], stops.get()), (&b"one\ntwo\n"[..], 1));
        let said = [b"three\n", END, b"\nfour\n"].concat();
        follow(&said[..], &mut log, stop);
        assert!(log.ends_with(b"three\nfour\n"), "{log:?}");
        assert_eq!(stops.get(), 3);
    }
}
