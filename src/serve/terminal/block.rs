//! The block itself: a pure function of the status and of the room there is.

use std::fmt::Write as _;

use super::STOPPING;
use super::words::{commit, duration, freshness, size};
use crate::serve::format::{grouped, shortened};
use crate::serve::status::{Health, StatusSample};

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters of a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// A name that is cut to fewer characters than this tells nothing.
const NAME_WIDTH_MIN: usize = 16;

/// The status as a block of lines that fits a terminal of `size`, with a line to spare for the
/// cursor.
pub fn render_block(sample: &StatusSample, size: Size) -> String {
    let mut block = render_run(sample);
    let left = size.rows.saturating_sub(block.lines().count() + 1);
    render_views(&mut block, sample, size.columns, left);
    // A terminal of a few lines shows the first ones.
    let lines = block.lines().take(size.rows.saturating_sub(1));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// All but the views.
fn render_run(sample: &StatusSample) -> String {
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
        Health::Starting(progress) => line(progress.clone()),
        Health::Stopping => line(STOPPING.to_owned()),
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
    block
}

/// Views in as many columns as the width allows, read downwards, in at most `left` lines. Where
/// that is too little room, names are cut so that there is another column, and in the end views are
/// left out, with a line that says so.
fn render_views(block: &mut String, sample: &StatusSample, width: usize, left: usize) {
    let views = &sample.views;
    let longest = views.iter().map(|view| view.name.chars().count()).max();
    let longest = longest.unwrap_or(0);
    let rows: Vec<String> = views.iter().map(|view| grouped(view.rows)).collect();
    let rows_width = rows.iter().map(String::len).max().unwrap_or(0);
    let fitting = |name_width: usize| ((width + 2) / (name_width + rows_width + 4)).max(1);
    let mut columns = fitting(longest).min(views.len().max(1));
    let mut name_width = longest;
    while views.len().div_ceil(columns) > left {
        let narrower = ((width + 2) / (columns + 1)).saturating_sub(rows_width + 4);
        if narrower < NAME_WIDTH_MIN {
            break;
        }
        (columns, name_width) = (columns + 1, narrower.min(longest));
    }
    let mut height = views.len().div_ceil(columns);
    let mut shown = views.len();
    if height > left {
        height = left.saturating_sub(1);
        shown = height * columns;
    }
    for row in 0..height {
        let cells = (row..shown).step_by(height).map(|view| {
            let name = shortened(&views[view].name, name_width);
            format!("{name:<name_width$}  {:>rows_width$}", rows[view])
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(block, "{}", line.trim_end());
    }
    if shown < views.len() && left > 0 {
        let others = views.len() - shown;
        let _ = writeln!(block, ".. and {others} more: pinflow inspect lists them");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::serve::status::{Commit, Freshness, RunDescription, StreamSample, ViewSample};

    const SIZE: Size = Size {
        columns: 80,
        rows: 24,
    };

    pub(in crate::serve::terminal) fn sample() -> StatusSample {
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
                commit_every_ms: 10_000,
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
            unread: Vec::new(),
            lags: Vec::new(),
            views: vec![
                view("posts_by_country_category", 5_123),
                view("top_category_by_country", 231),
                view("posts_by_half_hour_category", 700_123),
            ],
            restored: None,
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
        .assert_eq(&render_block(&sample(), SIZE));
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
        .assert_eq(&render_block(&ailing, SIZE));
    }

    fn many_views() -> StatusSample {
        let view = |number: u64| ViewSample {
            name: format!(
                "posts_by_{}category_{number}",
                "country_and_".repeat(number as usize % 3)
            ),
            rows: 1000 * number,
            changed: 9,
        };
        StatusSample {
            views: (1..=16).map(view).collect(),
            ..sample()
        }
    }

    #[test]
    fn a_block_is_never_higher_or_wider_than_the_terminal() {
        let sample = many_views();
        for rows in 1..40 {
            for columns in [40, 80, 100, 200] {
                let block = render_block(&sample, Size { columns, rows });
                let height = block.lines().count();
                assert!(height < rows, "{height} lines for {rows}:\n{block}");
                let views = block.lines().skip(10);
                let width = views.map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(width <= columns.max(60), "{width} for {columns}:\n{block}");
            }
        }
    }

    #[test]
    fn where_there_is_little_room_names_are_cut() {
        let block = render_block(&many_views(), SIZE);
        let views: String = block
            .lines()
            .skip(11)
            .map(|line| format!("{line}\n"))
            .collect();
        expect![[r#"
            posts_by_country_and_category_1   1,000  posts_by_category_9               9,000
            posts_by_country_and_country_a…   2,000  posts_by_country_and_category_…  10,000
            posts_by_category_3               3,000  posts_by_country_and_country_a…  11,000
            posts_by_country_and_category_4   4,000  posts_by_category_12             12,000
            posts_by_country_and_country_a…   5,000  posts_by_country_and_category_…  13,000
            posts_by_category_6               6,000  posts_by_country_and_country_a…  14,000
            posts_by_country_and_category_7   7,000  posts_by_category_15             15,000
            posts_by_country_and_country_a…   8,000  posts_by_country_and_category_…  16,000
        "#]]
        .assert_eq(&views);
    }
}
