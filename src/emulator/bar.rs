//! The progress of a command: in a terminal one line that stays in place, drawn twice a second;
//! where nobody watches (a pipe, a log) a plain line every few seconds.
//!
//! Rendering is a pure function of a sample; when it is time again is decided on a clock that is
//! given.

use std::io::{self, Write};
use std::time::Duration;

use crate::emulator::summary::grouped;

const DRAW_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);
const CELLS: u64 = 24;

/// How far a command is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) posts: u64,
    /// All posts there will be, if that is known.
    pub(super) of: Option<u64>,
    pub(super) records: u64,
    /// Times that records were sent again, where that can happen.
    pub(super) repeated: u64,
    /// Records that were refused.
    pub(super) refused: u64,
    /// What went wrong since a record was acknowledged.
    pub(super) trouble: Option<String>,
    pub(super) stopping: bool,
}

/// Shows samples as time passes.
pub(super) struct Bar<W> {
    out: W,
    is_terminal: bool,
    drawn: bool,
    due: Duration,
    started: Duration,
}

impl<W: Write> Bar<W> {
    /// Draws a bar if `out` is a terminal, else lines, the first after a while.
    pub(super) fn new(out: W, is_terminal: bool, now: Duration) -> Self {
        Self {
            out,
            is_terminal,
            drawn: false,
            due: now + if is_terminal { DRAW_EVERY } else { LINE_EVERY },
            started: now,
        }
    }

    /// Shows a sample if it is time to; call it often. What cannot be shown is nobody's loss.
    pub(super) fn tick(&mut self, now: Duration, sample: impl FnOnce() -> Sample) {
        if now < self.due {
            return;
        }
        let elapsed = now.saturating_sub(self.started);
        let _ = if self.is_terminal {
            self.due = now + DRAW_EVERY;
            self.draw(&render_bar(&sample(), elapsed))
        } else {
            self.due = now + LINE_EVERY;
            writeln!(self.out, "{}", render_line(&sample(), elapsed))
        };
    }

    fn draw(&mut self, line: &str) -> io::Result<()> {
        // Over the last one; wrapping is off, so that a long line stays one line of the screen.
        write!(self.out, "\r\x1b[2K\x1b[?7l{line}\x1b[?7h")?;
        self.drawn = true;
        self.out.flush()
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(self.out, "\r\x1b[2K").and_then(|()| self.out.flush());
        }
    }
}

fn rate(sample: &Sample, elapsed: Duration) -> f64 {
    sample.records as f64 / elapsed.as_secs_f64().max(0.001)
}

fn rest(sample: &Sample) -> String {
    let mut text = String::new();
    if sample.repeated > 0 {
        text.push_str(&format!(", {} sent again", grouped(sample.repeated)));
    }
    if sample.refused > 0 {
        text.push_str(&format!(", {} refused", grouped(sample.refused)));
    }
    if sample.stopping {
        text.push_str("; stopping: what is under way is awaited");
    } else if let Some(trouble) = &sample.trouble {
        text.push_str(&format!(
            "; trying again: {}",
            trouble.replace(['\n', '\r'], " ")
        ));
    }
    text
}

/// The line of a terminal.
fn render_bar(sample: &Sample, elapsed: Duration) -> String {
    let mut line = String::new();
    if let Some(of) = sample.of.filter(|of| *of > 0) {
        let share = (sample.posts as f64 / of as f64).min(1.0);
        let full = (share * CELLS as f64) as usize;
        let empty = CELLS as usize - full;
        line.push_str(&format!(
            "[{}{}] {:>3.0}%  ",
            "#".repeat(full),
            ".".repeat(empty),
            share * 100.0
        ));
    }
    line.push_str(&render_line(sample, elapsed));
    if let (Some(of), true) = (sample.of, sample.posts > 0) {
        let left =
            of.saturating_sub(sample.posts) as f64 * elapsed.as_secs_f64() / sample.posts as f64;
        if left >= 1.0 && sample.trouble.is_none() && !sample.stopping {
            line.push_str(&format!(", {left:.0} s left"));
        }
    }
    line
}

/// The line of a log.
fn render_line(sample: &Sample, elapsed: Duration) -> String {
    let of = sample
        .of
        .map_or(String::new(), |of| format!(" of {}", grouped(of)));
    format!(
        "{}{of} posts, {} records, {} records/s{}",
        grouped(sample.posts),
        grouped(sample.records),
        grouped(rate(sample, elapsed) as u64),
        rest(sample)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            posts: 225,
            of: Some(500),
            records: 675,
            repeated: 12,
            ..Sample::default()
        }
    }

    #[test]
    fn a_bar_shows_how_much_is_left() {
        assert_eq!(
            render_bar(&sample(), Duration::from_secs(9)),
            "[##########..............]  45%  225 of 500 posts, 675 records, 75 records/s, 12 sent again, 11 s left"
        );
        let endless = Sample {
            of: None,
            trouble: Some("connection refused".to_owned()),
            ..sample()
        };
        assert_eq!(
            render_bar(&endless, Duration::from_secs(9)),
            "225 posts, 675 records, 75 records/s, 12 sent again; trying again: connection refused"
        );
    }

    #[test]
    fn in_a_terminal_the_line_stays_in_place_and_goes_in_the_end() {
        let mut out = Vec::new();
        let mut bar = Bar::new(&mut out, true, Duration::ZERO);
        for ms in (0..1100).step_by(100) {
            bar.tick(Duration::from_millis(ms), sample);
        }
        bar.clear();
        bar.clear();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 0);
        assert_eq!(text.matches("225 of 500").count(), 2);
        assert!(text.ends_with("\r\x1b[2K"));
    }

    #[test]
    fn where_nobody_watches_a_plain_line_is_written_now_and_then() {
        let mut out = Vec::new();
        let mut bar = Bar::new(&mut out, false, Duration::ZERO);
        for ms in (0..=10_000).step_by(100) {
            bar.tick(Duration::from_millis(ms), sample);
        }
        bar.clear();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b'));
    }
}
