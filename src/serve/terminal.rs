//! The status in a terminal: a block that stays in place, redrawn twice a second; or, where nobody watches (a
//! pipe, a log), a plain line every few seconds.
//!
//! The rendering is a pure function of a sample. The block is drawn over the last one by moving the cursor up,
//! and lines longer than the terminal are cut by the terminal itself (wrapping is off while drawing), so nothing
//! needs to know its size.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::format::grouped;
use super::status::{Health, StatusSample};

/// The columns that a block is laid out for, if nothing else is known.
pub const WIDTH: usize = 80;
const BLOCK_EVERY_MS: u64 = 500;
const LINE_EVERY_MS: u64 = 5_000;

/// Writes the status as time passes.
#[derive(Debug)]
pub struct TerminalStatus<W> {
    out: W,
    is_terminal: bool,
    /// Lines of the block that is on the screen.
    drawn: usize,
    /// When it is time again.
    due_ms: u64,
}

impl<W: Write> TerminalStatus<W> {
    /// Draws a block if `out` is a terminal, else lines.
    pub fn new(out: W, is_terminal: bool) -> TerminalStatus<W> {
        TerminalStatus {
            out,
            is_terminal,
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
        if self.is_terminal {
            self.due_ms = now_ms + BLOCK_EVERY_MS;
            self.erase()?;
            let block = render_block(sample, WIDTH);
            self.drawn = block.lines().count();
            // Without wrapping, a line of the block is a line of the screen.
            write!(self.out, "\x1b[?7l{block}\x1b[?7h")?;
        } else {
            self.due_ms = now_ms + LINE_EVERY_MS;
            writeln!(self.out, "{}", render_line(sample))?;
        }
        self.out.flush()
    }

    /// Writes a line that stays, above the block. The block comes back at the next tick.
    pub fn print(&mut self, line: &str) -> io::Result<()> {
        self.erase()?;
        self.due_ms = 0;
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            // Up to the block's first line, and clear from there to the end of the screen.
            write!(self.out, "\x1b[{}F\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }
}

/// The status as a block of lines for a terminal of `width` columns.
pub fn render_block(sample: &StatusSample, width: usize) -> String {
    let mut block = String::new();
    let mut line = |text: String| {
        let _ = writeln!(block, "{}", text.trim_end());
    };
    let run = &sample.run;
    let workers = if run.workers == 1 {
        "worker"
    } else {
        "workers"
    };
    let http = sample
        .http
        .as_deref()
        .map_or(String::new(), |url| format!("  {url}"));
    line(format!(
        "pinflow  {} -> {}  {} {workers}  up {}{http}",
        run.source,
        run.lake,
        run.workers,
        duration(sample.uptime_ms)
    ));
    match &sample.health {
        Health::Healthy => {}
        Health::Starting => line("starting: state is being loaded".to_owned()),
        Health::Stopping => line("stopping: what there is is being committed".to_owned()),
        Health::Ailing(reason) => line(format!("! {reason}")),
    }
    line(String::new());
    line(format!(
        "{:<12}{:>15}{:>13}{:>11}{:>14}",
        "stream", "records", "a second", "size", "dead letters"
    ));
    for stream in &sample.streams {
        line(format!(
            "{:<12}{:>15}{:>13}{:>11}{:>14}",
            stream.name,
            grouped(stream.records),
            grouped(stream.records_per_second.round() as u64),
            size(stream.bytes),
            grouped(stream.dead_letters)
        ));
    }
    line(String::new());
    let behind: u64 = sample.lags.iter().filter_map(|lag| lag.records).sum();
    let oldest = sample.lags.iter().filter_map(|lag| lag.seconds);
    let oldest = oldest.fold(None, |max: Option<f64>, age| {
        Some(max.unwrap_or(0.0).max(age))
    });
    if behind > 0 || oldest.is_some_and(|age| age >= 1.0) {
        let age = oldest.map_or(String::new(), |age| {
            format!(", the oldest {}", duration((age * 1000.0) as u64))
        });
        let partitions = sample.lags.len();
        line(format!(
            "{:<10}{} records to read in {partitions} partitions{age}",
            "behind",
            grouped(behind)
        ));
    }
    line(format!(
        "{:<10}{:<14}{}",
        "epoch",
        grouped(sample.epoch),
        freshness(sample)
    ));
    line(format!("{:<10}{}", "commit", commit(sample)));
    line(format!(
        "{:<10}{} in operators, {} in views",
        "state",
        size(sample.state_bytes),
        size(sample.live_store_bytes)
    ));
    if sample.live_store_faults > 0 {
        line(format!(
            "! {} retractions of rows that no view had: the views may be wrong, please report it",
            grouped(sample.live_store_faults)
        ));
    }
    line(String::new());
    // Views in as many columns as the width allows, read downwards.
    let name_width = sample
        .views
        .iter()
        .map(|view| view.name.len())
        .max()
        .unwrap_or(0);
    let rows: Vec<String> = sample.views.iter().map(|view| grouped(view.rows)).collect();
    let rows_width = rows
        .iter()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("rows".len());
    let column = name_width + rows_width + 4;
    let columns = ((width + 2) / column).clamp(1, rows.len().max(1));
    let height = rows.len().div_ceil(columns);
    for row in 0..height {
        let cells = (row..rows.len()).step_by(height).map(|view| {
            format!(
                "{:<name_width$}  {:>rows_width$}",
                sample.views[view].name, rows[view]
            )
        });
        line(cells.collect::<Vec<_>>().join("  "));
    }
    block
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
    if let Health::Ailing(reason) = &sample.health {
        let _ = write!(line, "; {reason}");
    }
    line
}

fn freshness(sample: &StatusSample) -> String {
    let fresh = &sample.freshness;
    let mut text = match fresh.age_ms {
        Some(age) => format!("closed {} ago", duration(age)),
        None => "no epoch closed yet".to_owned(),
    };
    if let (Some(p50), Some(p99)) = (fresh.latency_ms_p50, fresh.latency_ms_p99) {
        let _ = write!(text, ", records visible in {p50:.0} ms (p99 {p99:.0} ms)");
    }
    text
}

fn commit(sample: &StatusSample) -> String {
    let Some(commit) = &sample.commit else {
        return "none yet".to_owned();
    };
    format!(
        "{} at epoch {}, {} ago, took {}, {} files, {}",
        grouped(commit.number),
        grouped(commit.epoch),
        duration(sample.commit_age_ms.unwrap_or(0)),
        duration(commit.duration_ms),
        grouped(commit.files),
        size(commit.bytes)
    )
}

/// `98 ms`, `3.1 s`, `4 min 5 s`, `2 h 3 min`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `512 B`, `1.4 MB`: powers of ten, three digits.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            let decimals = usize::from(unit != "B" && size < 99.95);
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::status::{Commit, Freshness, RunDescription, StreamSample, ViewSample};
    use super::*;

    fn sample() -> StatusSample {
        let stream = |name: &str, records: u64, rate: f64| StreamSample {
            name: name.to_owned(),
            records,
            bytes: records * 257,
            dead_letters: records / 20_000,
            records_per_second: rate,
        };
        let view = |name: &str, rows| ViewSample {
            name: name.to_owned(),
            rows,
            changed: 9,
        };
        StatusSample {
            health: Health::Healthy,
            run: RunDescription {
                source: "emulator:".to_owned(),
                lake: "./lake".to_owned(),
                workers: 2,
            },
            http: Some("http://127.0.0.1:8080".to_owned()),
            uptime_ms: 245_000,
            epoch: 12_345,
            open_epoch: 12_346,
            freshness: Freshness {
                age_ms: Some(64),
                latency_ms_p50: Some(41.2),
                latency_ms_p99: Some(118.9),
            },
            records: 3_149_646,
            records_per_second: 20_001.6,
            streams: vec![
                stream("pin", 1_049_882, 6_667.2),
                stream("geo", 1_049_882, 6_667.2),
                stream("user", 1_049_882, 6_667.2),
            ],
            lags: Vec::new(),
            views: vec![
                view("posts_by_country_category", 5_123),
                view("top_category_by_country", 231),
                view("posts_by_half_hour_category", 700_123),
            ],
            commit: Some(Commit {
                number: 24,
                epoch: 12_300,
                when_ms: 0,
                duration_ms: 210,
                files: 14,
                bytes: 3_210_000,
            }),
            commit_age_ms: Some(4_500),
            state_bytes: 231_000_000,
            live_store_bytes: 31_500_000,
            live_store_faults: 0,
        }
    }

    #[test]
    fn a_block() {
        expect![[r#"
            pinflow  emulator: -> ./lake  2 workers  up 4 min 5 s  http://127.0.0.1:8080

            stream              records     a second       size  dead letters
            pin               1,049,882        6,667     270 MB            52
            geo               1,049,882        6,667     270 MB            52
            user              1,049,882        6,667     270 MB            52

            epoch     12,345        closed 64 ms ago, records visible in 41 ms (p99 119 ms)
            commit    24 at epoch 12,300, 4.5 s ago, took 210 ms, 14 files, 3.2 MB
            state     231 MB in operators, 31.5 MB in views

            posts_by_country_category      5,123  posts_by_half_hour_category  700,123
            top_category_by_country          231
        "#]]
        .assert_eq(&render_block(&sample(), 80));
    }

    #[test]
    fn a_block_of_a_run_that_is_not_well() {
        let ailing = StatusSample {
            health: Health::Ailing(
                "the lake s3://posts is away: connection refused; tried 3 times".to_owned(),
            ),
            freshness: Freshness {
                age_ms: None,
                latency_ms_p50: None,
                latency_ms_p99: None,
            },
            commit: None,
            live_store_faults: 2,
            views: vec![],
            ..sample()
        };
        expect![[r#"
            pinflow  emulator: -> ./lake  2 workers  up 4 min 5 s  http://127.0.0.1:8080
            ! the lake s3://posts is away: connection refused; tried 3 times

            stream              records     a second       size  dead letters
            pin               1,049,882        6,667     270 MB            52
            geo               1,049,882        6,667     270 MB            52
            user              1,049,882        6,667     270 MB            52

            epoch     12,345        no epoch closed yet
            commit    none yet
            state     231 MB in operators, 31.5 MB in views
            ! 2 retractions of rows that no view had: the views may be wrong, please report it

        "#]]
        .assert_eq(&render_block(&ailing, 80));
    }

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
        let mut status = TerminalStatus::new(&mut out, true);
        status.tick(1000, sample).unwrap();
        status.tick(1400, || panic!("it is not time yet")).unwrap();
        status.tick(1500, sample).unwrap();
        status.print("a word").unwrap();
        let block = render_block(&sample(), WIDTH);
        let lines = block.lines().count();
        let drawn = format!("\x1b[?7l{block}\x1b[?7h");
        let up = format!("\x1b[{lines}F\x1b[J");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{drawn}{up}{drawn}{up}a word\n")
        );
    }

    #[test]
    fn where_nobody_watches_a_line_is_written_now_and_then() {
        let mut out = Vec::new();
        let mut status = TerminalStatus::new(&mut out, false);
        for now_ms in (0..=10_000).step_by(100) {
            status.tick(now_ms, sample).unwrap();
        }
        let line = render_line(&sample());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{line}\n{line}\n{line}\n")
        );
    }

    #[test]
    fn times_and_sizes_are_short() {
        let times = [0, 999, 1_000, 59_990, 61_000, 7_384_000].map(duration);
        assert_eq!(
            times,
            [
                "0 ms",
                "999 ms",
                "1.0 s",
                "60.0 s",
                "1 min 1 s",
                "2 h 3 min"
            ]
        );
        let sizes = [
            0,
            999,
            1_000,
            99_940,
            999_400,
            999_600,
            1_500_000_000,
            2_000_000_000_000,
        ]
        .map(size);
        assert_eq!(
            sizes,
            [
                "0 B", "999 B", "1.0 kB", "99.9 kB", "999 kB", "1.0 MB", "1.5 GB", "2.0 TB"
            ]
        );
    }
}
