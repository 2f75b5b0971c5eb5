//! Times, sizes and the state of a run, in a few words.

use std::fmt::Write as _;

use crate::serve::format::grouped;
use crate::serve::status::StatusSample;

pub(super) fn freshness(sample: &StatusSample) -> String {
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

pub(super) fn commit(sample: &StatusSample) -> String {
    let Some(commit) = &sample.commit else {
        return sample.restored.map_or("none yet".to_owned(), |restored| {
            format!(
                "none yet; restored {} rows from checkpoint {}",
                grouped(restored.rows),
                grouped(restored.checkpoint)
            )
        });
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
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `512 B`, `1.4 MB`: powers of ten, three digits.
pub(super) fn size(bytes: u64) -> String {
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
    use super::*;

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
