//! The status in a terminal: a block that stays in place, redrawn twice a second; or, where nobody
//! watches (a pipe, a log), a plain line every few seconds.
//!
//! The rendering is a pure function of a sample and of the terminal's size. The block is drawn over
//! the last one by moving the cursor up, so it must not be higher than the terminal: what had
//! scrolled away could not be drawn over. Lines that are longer than the terminal are cut by the
//! terminal itself (wrapping is off while drawing). Lines of the log are written above it
//! ([`log`]).

mod block;
pub mod log;
mod words;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::ioctl::Getter;

use self::words::{commit, freshness};
use super::format::grouped;
use super::status::StatusSample;

pub use self::block::{Size, render_block};

/// What is said while a run stops.
pub const STOPPING: &str =
    "stopping: what was read is being committed; press Ctrl-C again to end at once";
const BLOCK_EVERY_MS: u64 = 500;
const LINE_EVERY_MS: u64 = 5_000;

/// Writes the status as time passes.
#[derive(Debug)]
pub struct TerminalStatus<W> {
    out: W,
    /// How large the terminal is, asked each time, for people change that; `None` where `out` is no
    /// terminal.
    size: fn(&W) -> Option<Size>,
    /// Lines of the block that is on the screen.
    drawn: usize,
    /// When it is time again.
    due_ms: u64,
}

impl<W: Write> TerminalStatus<W> {
    /// Draws a block if `out` is a terminal of some `size`, else lines.
    pub fn new(out: W, size: fn(&W) -> Option<Size>) -> TerminalStatus<W> {
        TerminalStatus {
            out,
            size,
            drawn: 0,
            due_ms: 0,
        }
    }

    /// Shows the status if it is time to; call it often, a sample is taken only when it is shown.
    pub fn tick(&mut self, now_ms: u64, sample: impl FnOnce() -> StatusSample) -> io::Result<()> {
        if now_ms < self.due_ms {
            return Ok(());
        }
        self.show(now_ms, &sample())
    }

    /// Shows the status now, for instance for the last time.
    pub fn show(&mut self, now_ms: u64, sample: &StatusSample) -> io::Result<()> {
        if let Some(size) = (self.size)(&self.out) {
            self.due_ms = now_ms + BLOCK_EVERY_MS;
            let block = render_block(sample, size);
            // Without wrapping, a line of the block is a line of the screen.
            self.draw_over("\x1b[?7l", &block, "\x1b[?7h")?;
            self.drawn = block.lines().count();
        } else {
            self.due_ms = now_ms + LINE_EVERY_MS;
            writeln!(self.out, "{}", render_line(sample))?;
        }
        self.out.flush()
    }

    /// Writes lines that stay, above the block. The block comes back at the next tick.
    pub fn print(&mut self, lines: &str) -> io::Result<()> {
        self.draw_over("", lines, "")?;
        self.due_ms = 0;
        self.out.flush()
    }

    /// Writes lines over the block and clears what is left of it.
    ///
    /// The screen is never cleared from its first line on: terminals that keep what is cleared
    /// would fill their history with a block every half second.
    fn draw_over(&mut self, before: &str, lines: &str, behind: &str) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.out, "\x1b[{}F", self.drawn)?;
            self.drawn = 0;
        }
        let lines = lines.replace('\n', "\x1b[K\n");
        write!(self.out, "{before}{lines}\x1b[J{behind}")
    }
}

/// How large the terminal behind `out` is; `None` if it is none. One that does not say is taken for
/// a small one.
pub fn size_of<T: AsFd + IsTerminal>(out: &T) -> Option<Size> {
    /// Asks for rows, columns, and the same in pixels.
    #[cfg(target_os = "linux")]
    const TIOCGWINSZ: rustix::ioctl::Opcode = 0x5413;
    #[cfg(not(target_os = "linux"))]
    const TIOCGWINSZ: rustix::ioctl::Opcode = 0x4008_7468;
    if !out.is_terminal() {
        return None;
    }
    // SAFETY: the kernel writes four numbers of 16 bits, which is what is made room for.
    let asked = unsafe { rustix::ioctl::ioctl(out, Getter::<TIOCGWINSZ, [u16; 4]>::new()) };
    let [rows, columns, ..] = asked.unwrap_or_default();
    let or = |number: u16, otherwise| match number {
        0 => otherwise,
        number => usize::from(number),
    };
    Some(Size {
        columns: or(columns, 80),
        rows: or(rows, 24),
    })
}

/// The status as one line for a log.
pub fn render_line(sample: &StatusSample) -> String {
    let mut line = format!(
        "epoch {}: {} records ({} a second)",
        sample.epoch,
        grouped(sample.records),
        grouped(sample.records_per_second.round() as u64)
    );
    for stream in &sample.streams {
        let _ = write!(line, ", {} {}", stream.name, grouped(stream.records));
    }
    let dead: u64 = sample
        .streams
        .iter()
        .map(|stream| stream.dead_letters)
        .sum();
    let _ = write!(line, "; {} dead letters", grouped(dead));
    let _ = write!(line, "; {}", freshness(sample));
    let _ = write!(line, "; commit {}", commit(sample));
    if let Some(complaint) = sample.health.complaint() {
        let _ = write!(line, "; {complaint}");
    }
    line
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::block::tests::sample;
    use super::*;

    const SIZE: Size = Size {
        columns: 80,
        rows: 24,
    };

    #[test]
    fn a_line() {
        let line = render_line(&sample()).replace("; ", ";\n") + "\n";
        expect![[r#"
            epoch 12345: 3,149,646 records (20,002 a second), pin 1,049,882, geo 1,049,882, user 1,049,882;
            156 dead letters;
            closed 64 ms ago, records visible in 41 ms (p99 119 ms);
            commit 24 at epoch 12,300, 4.5 s ago, took 210 ms, 14 files, 3.2 MB
        "#]].assert_eq(&line);
    }

    #[test]
    fn a_block_is_drawn_over_the_last_one() {
        let mut out = Vec::new();
        let mut status = TerminalStatus::new(&mut out, |_| Some(SIZE));
        status.tick(1000, sample).unwrap();
        status.tick(1400, || panic!("it is not time yet")).unwrap();
        status.tick(1500, sample).unwrap();
        status.print("a warning\n").unwrap();
        status.tick(1600, sample).unwrap();
        let block = render_block(&sample(), SIZE);
        let lines = block.lines().count();
        let drawn = block.replace('\n', "\x1b[K\n");
        let drawn = format!("\x1b[?7l{drawn}\x1b[J\x1b[?7h");
        let up = format!("\x1b[{lines}F");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{drawn}{up}{drawn}{up}a warning\x1b[K\n\x1b[J{drawn}")
        );
    }

    #[test]
    fn where_nobody_watches_a_line_is_written_now_and_then() {
        let mut out = Vec::new();
        let mut status = TerminalStatus::new(&mut out, |_| None);
        for now_ms in (0..=10_000).step_by(100) {
            status.tick(now_ms, sample).unwrap();
        }
        let line = render_line(&sample());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{line}\n{line}\n{line}\n")
        );
    }
}
