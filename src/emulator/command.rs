//! `emulate`: the emulation from the command line.

use std::ops::ControlFlow;
use std::path::Path;

use crate::emulator::files::{Layout, WriteOptions, write_to_dir};
use crate::emulator::pace::{Clock, WallClock};
use crate::emulator::summary::{Progress, Summary};
use crate::emulator::{EmulatorError, EmulatorOptions};

/// Posts that are made if neither a number nor a rate is given.
const POSTS: u64 = 1_000_000;

/// Write the pin, geo and user streams of an emulated service to files. The same options give the same bytes.
#[derive(Clone, Debug, clap::Args)]
pub struct EmulateArgs {
    /// Where to write: a folder that is new or holds no streams yet
    #[arg(long, value_name = "dir:PATH")]
    pub to: String,

    /// Posts to make; each is a pin, a geo and a user record [default: 1000000, or endless with --rate]
    #[arg(long, value_name = "N")]
    pub posts: Option<u64>,

    /// Posts a second; files appear every second [default: as fast as possible]
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,

    /// Chooses the world: its posters, posts and accidents
    #[arg(long, value_name = "S", default_value_t = 100)]
    pub seed: u64,

    /// Share of records sent twice, byte for byte, at once or up to 2000 posts later
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().duplicates)]
    pub duplicates: f64,

    /// Share of posts with placeholders, odd counts, empty or blank texts
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().dirty)]
    pub dirty: f64,

    /// Share of posts of which one record comes up to 2000 posts late
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().late)]
    pub late: f64,

    /// Share of posts sent again 4000 to 6000 posts later with a changed value
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().updates)]
    pub updates: f64,

    /// Share of records that cannot become rows: cut, mistyped, without key or date
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().broken)]
    pub broken: f64,

    /// Share of records in a rare wire form: other dates, quoted numbers, array-wrapped, escaped
    #[arg(long, value_name = "P", default_value_t = EmulatorOptions::default().variants)]
    pub variants: f64,

    /// Partitions of each stream
    #[arg(long, value_name = "N", default_value_t = EmulatorOptions::default().partitions)]
    pub partitions: u32,

    /// Names of files and folders
    #[arg(long, value_enum, default_value_t = Layout::Topics)]
    pub layout: Layout,

    /// Compress the files
    #[arg(long)]
    pub gzip: bool,

    /// Records after which a new file begins [default: about 64 MB of them]
    #[arg(long, value_name = "N")]
    pub roll_records: Option<u64>,
}

impl EmulateArgs {
    /// What is emulated.
    pub fn emulator_options(&self) -> EmulatorOptions {
        EmulatorOptions {
            posts: self.posts.or(self.rate.is_none().then_some(POSTS)),
            seed: self.seed,
            duplicates: self.duplicates,
            dirty: self.dirty,
            late: self.late,
            updates: self.updates,
            broken: self.broken,
            variants: self.variants,
            partitions: self.partitions,
        }
    }
}

/// Runs the command to its end.
pub fn run(args: EmulateArgs) -> Result<Summary, EmulatorError> {
    run_with(args, &mut WallClock::start(), &mut |_| {
        ControlFlow::Continue(())
    })
}

/// Runs the command on a clock; `progress` hears how far it is and may end it early.
pub fn run_with(
    args: EmulateArgs,
    clock: &mut dyn Clock,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Summary, EmulatorError> {
    let folder = match args.to.strip_prefix("dir:") {
        Some(folder) if !folder.is_empty() => folder,
        _ => return Err(EmulatorError::Target(args.to)),
    };
    let write = WriteOptions {
        layout: args.layout,
        gzip: args.gzip,
        roll_records: args.roll_records,
        rate: args.rate,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        ..WriteOptions::default()
    };
    write_to_dir(
        Path::new(folder),
        &args.emulator_options(),
        &write,
        clock,
        progress,
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: EmulateArgs,
    }

    fn parsed(arguments: &str) -> EmulateArgs {
        let words = std::iter::once("emulate").chain(arguments.split(' '));
        Command::try_parse_from(words).unwrap().args
    }

    #[test]
    fn nothing_given_is_the_default_world() {
        let options = parsed("--to dir:x").emulator_options();
        let default = EmulatorOptions {
            posts: Some(POSTS),
            ..EmulatorOptions::default()
        };
        assert_eq!(options, default);
    }

    #[test]
    fn a_rate_without_a_number_of_posts_is_endless() {
        assert_eq!(
            parsed("--to dir:x --rate 10").emulator_options().posts,
            None
        );
        assert_eq!(
            parsed("--to dir:x --rate 10 --posts 5")
                .emulator_options()
                .posts,
            Some(5)
        );
    }

    #[test]
    fn a_target_that_is_no_folder_is_refused() {
        for target in ["dir:", "s3://bucket", "somewhere"] {
            let error = run(parsed(&format!("--to {target}")))
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!("--to takes a folder as `dir:PATH`, not `{target}`")
            );
        }
    }

    #[test]
    fn the_command_writes_what_it_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let target = format!(
            "--to dir:{} --posts 200 --layout lines",
            root.path().display()
        );
        let summary = run(parsed(&target)).unwrap();
        assert_eq!(summary.posts, 200);
        assert!(summary.records.iter().all(|&records| records >= 200));
    }
}
