//! Which row is posted next, and after which pause: as the original scripts draw them.
//!
//! The scripts seed one generator and draw rows and pauses from it in turn. Which numbers become
//! rows thus depends on how the pause is drawn, and a script posts the same rows whenever it is
//! started. Each known way is an order here; the same order, seed and last row give the same rows
//! for ever.

use std::str::FromStr;
use std::time::Duration;

use crate::emulator::python_random::PythonRandom;

/// How rows follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RowOrder {
    /// 0, 1, 2, ..
    Sequential,
    /// As the original script: draws a pause of 0 or 1 s, then a row
    Canonical,
    /// Draws rows and nothing else
    RowsOnly,
    /// Draws a row, then a pause of 0 or 1 s
    RowFirst,
    /// Draws a pause between 0 and 2 s, then a row
    UniformFirst,
}

/// How long to wait between posts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pause {
    /// As long as the order draws: 0 or 1 s, or between 0 and 2 s.
    Drawn,
    /// Always the same.
    Fixed(Duration),
}

impl FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "random" {
            return Ok(Self::Drawn);
        }
        text.parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map(Self::Fixed)
            .ok_or_else(|| "a pause is a number of seconds, or `random`".to_owned())
    }
}

/// One turn of a script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    /// To wait before the row is posted.
    pub(super) pause: Duration,
    pub(super) row: u64,
}

/// The turns of a script, without end.
#[derive(Clone)]
pub(super) struct Draws {
    order: RowOrder,
    python: PythonRandom,
    last_row: u64,
    next_row: u64,
    /// What was drawn after the row before.
    pause_left: Duration,
}

impl Draws {
    /// `last_row` is the last row that can be drawn; `first_row` is where [`RowOrder::Sequential`]
    /// begins.
    pub(super) fn new(order: RowOrder, seed: u64, first_row: u64, last_row: u64) -> Self {
        Self {
            order,
            python: PythonRandom::seeded(seed),
            last_row,
            next_row: first_row,
            pause_left: Duration::ZERO,
        }
    }

    /// The next turn.
    pub(super) fn draw(&mut self) -> Draw {
        let python = &mut self.python;
        match self.order {
            RowOrder::Sequential => {
                let row = self.next_row;
                self.next_row += 1;
                let pause = Duration::from_secs(python.randrange(2));
                Draw { pause, row }
            }
            RowOrder::Canonical => {
                let pause = Duration::from_secs(python.randrange(2));
                let row = python.randint(self.last_row);
                Draw { pause, row }
            }
            RowOrder::RowsOnly => Draw {
                pause: Duration::ZERO,
                row: python.randint(self.last_row),
            },
            RowOrder::RowFirst => {
                let row = python.randint(self.last_row);
                let next = Duration::from_secs(python.randrange(2));
                let pause = std::mem::replace(&mut self.pause_left, next);
                Draw { pause, row }
            }
            RowOrder::UniformFirst => {
                let pause = Duration::from_secs_f64(2.0 * python.random());
                let row = python.randint(self.last_row);
                Draw { pause, row }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rows(order: RowOrder, count: usize) -> Vec<u64> {
        let mut draws = Draws::new(order, 100, 0, 11_000);
        (0..count).map(|_| draws.draw().row).collect()
    }

    #[test]
    fn the_rows_are_those_that_the_original_scripts_posted() {
        assert_eq!(
            rows(RowOrder::Canonical, 20),
            [
                7528, 2863, 5730, 8304, 8731, 1313, 4315, 10794, 5494, 5069, 2923, 3089, 6063,
                3454, 7554, 6145, 10625, 2959, 9875, 2418
            ]
        );
        assert_eq!(
            rows(RowOrder::RowsOnly, 10),
            [2386, 7528, 7453, 2863, 6439, 5730, 7102, 8304, 1801, 8731]
        );
        assert_eq!(
            rows(RowOrder::RowFirst, 8),
            [2386, 7453, 6439, 7102, 8731, 1313, 4315, 10794]
        );
        assert_eq!(
            rows(RowOrder::UniformFirst, 7),
            [7453, 2863, 5730, 1801, 1313, 4315, 10608]
        );
        assert_eq!(rows(RowOrder::Sequential, 3), [0, 1, 2]);
    }

    #[test]
    fn as_many_rows_come_twice_as_with_the_original_script() {
        let distinct = |count| {
            rows(RowOrder::Canonical, count)
                .into_iter()
                .collect::<HashSet<_>>()
                .len()
        };
        assert_eq!(distinct(500), 494);
        assert_eq!(distinct(2262), 2038);
        // Every row has been posted with the 104,087th, and not before.
        assert_eq!(distinct(104_086), 11_000);
        assert_eq!(distinct(104_087), 11_001);
    }

    #[test]
    fn pauses_are_whole_seconds_or_up_to_two() {
        let mut draws = Draws::new(RowOrder::Canonical, 100, 0, 11_000);
        let pauses: HashSet<_> = (0..100).map(|_| draws.draw().pause).collect();
        assert_eq!(
            pauses,
            HashSet::from([Duration::ZERO, Duration::from_secs(1)])
        );
        let mut draws = Draws::new(RowOrder::UniformFirst, 100, 0, 11_000);
        assert!((0..100).all(|_| draws.draw().pause < Duration::from_secs(2)));
        let mut draws = Draws::new(RowOrder::RowFirst, 100, 0, 11_000);
        assert_eq!(
            draws.draw().pause,
            Duration::ZERO,
            "the first row comes before the first pause"
        );
    }

    #[test]
    fn a_pause_is_a_number_of_seconds_or_random() {
        assert_eq!("random".parse(), Ok(Pause::Drawn));
        assert_eq!("0.3".parse(), Ok(Pause::Fixed(Duration::from_millis(300))));
        for wrong in ["", "-1", "often", "inf"] {
            assert!(wrong.parse::<Pause>().is_err(), "{wrong}");
        }
    }
}
