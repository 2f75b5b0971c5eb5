//! `emulate`: the emulation from the command line.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};

use crate::emulator::bar::{Bar, Sample};
use crate::emulator::files::write_to_dir;
use crate::emulator::pace::{Clock, WallClock};
use crate::emulator::posted::{Posted, Tally};
use crate::emulator::posting::{End, post};
use crate::emulator::summary::{Progress, Summary};
use crate::emulator::target::{Folder, Target, TargetAddress, TargetOptions};
use crate::emulator::{EmulateArgs, EmulatorError};

/// What an emulation came to.
#[derive(Clone, Debug)]
pub enum Report {
    /// Files were written.
    Written(Summary),
    /// Records were posted.
    Posted(Posted),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(summary) => summary.fmt(f),
            Self::Posted(posted) => posted.fmt(f),
        }
    }
}

/// Runs the command to its end, or until it is interrupted (Ctrl-C); shows its progress on the
/// standard error.
pub fn run(args: EmulateArgs) -> Result<Report, EmulatorError> {
    let runtime = Runtime::new().map_err(EmulatorError::Runtime)?;
    let (interrupt, mut stop) = channel(2);
    runtime.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && interrupt.send(()).await.is_ok() {}
    });
    let mut clock = WallClock::start();
    let error = io::stderr();
    let is_terminal = error.is_terminal();
    let mut bar = Bar::new(error, is_terminal, clock.now());
    let report = run_with(args, &runtime, &mut clock, &mut stop, &mut |now, sample| {
        bar.tick(now, sample);
    });
    bar.clear();
    // A request that hangs must not keep the program.
    runtime.shutdown_background();
    report
}

/// What hears of the progress: the moment, and how to get a sample if one is wanted.
pub(super) type Watch<'a> = &'a mut dyn FnMut(Duration, &dyn Fn() -> Sample);

/// Runs the command on a clock, until something comes from `stop`.
pub(super) fn run_with(
    args: EmulateArgs,
    runtime: &Runtime,
    clock: &mut dyn Clock,
    stop: &mut Receiver<()>,
    watch: Watch<'_>,
) -> Result<Report, EmulatorError> {
    let target: TargetAddress = args.to.parse()?;
    args.validate()?;
    match &target {
        TargetAddress::Folder(folder) if args.is_plain() => {
            write(&args, folder, clock, stop, watch).map(Report::Written)
        }
        _ => runtime
            .block_on(post_to(&args, target, clock, stop, watch))
            .map(Report::Posted),
    }
}

fn write(
    args: &EmulateArgs,
    folder: &Path,
    clock: &mut dyn Clock,
    stop: &mut Receiver<()>,
    watch: Watch<'_>,
) -> Result<Summary, EmulatorError> {
    let (emulated, write) = (args.emulator_options(), args.write_options());
    let of = emulated.posts;
    let mut watching = WallClock::start();
    write_to_dir(
        folder,
        &emulated,
        &write,
        clock,
        &mut |progress: Progress| {
            watch(watching.now(), &|| Sample {
                posts: progress.posts,
                of,
                records: progress.records,
                ..Sample::default()
            });
            match stop.try_recv() {
                Ok(()) => ControlFlow::Break(()),
                Err(_) => ControlFlow::Continue(()),
            }
        },
    )
}

async fn post_to(
    args: &EmulateArgs,
    address: TargetAddress,
    clock: &mut dyn Clock,
    stop: &mut Receiver<()>,
    watch: Watch<'_>,
) -> Result<Posted, EmulatorError> {
    let options = args.origin_options();
    let of = options.emulator.posts;
    let target: Arc<dyn Target> = match &address {
        TargetAddress::Folder(folder) => {
            if options.emulator.posts.is_none()
                && args.pause.is_none()
                && args.rate.is_none()
                && !args.reads_to_the_end()
            {
                return Err(EmulatorError::Endless);
            }
            let write = args.write_options();
            let slow = args.pause.is_some() || args.rate.is_some();
            Arc::new(Folder::open(folder, args.partitions, &write, slow)?)
        }
        _ => {
            let options = TargetOptions {
                api_key: args.api_key.clone(),
                seed: args.seed,
            };
            address.open(&options).await?
        }
    };
    let origin = args.from.open(options).await?;
    let mut watch_posting = |now, tally: &Tally, stopping| {
        watch(now, &|| Sample {
            posts: of.map_or(tally.posts, |of| of.min(tally.posts)),
            of,
            records: tally.total(),
            repeated: tally.repeated,
            refused: tally.refused.iter().sum(),
            trouble: tally.last_trouble.clone(),
            stopping,
        });
    };
    let posting = post(
        address.to_string(),
        origin,
        target,
        args.posting_options(),
        clock,
        stop,
        &mut watch_posting,
    );
    let End {
        mut posted,
        given_up,
    } = posting.await?;
    // The last turns of generated posts send what earlier ones left.
    posted.tally.posts = of.map_or(posted.tally.posts, |of| of.min(posted.tally.posts));
    let refused: u64 = posted.refused().iter().sum();
    let why = match given_up {
        Some(why) => format!("given up: {why}"),
        None if refused > 0 => "the target refused records; what it takes was posted".to_owned(),
        None => return Ok(posted),
    };
    Err(EmulatorError::Undelivered {
        report: Box::new(posted),
        why,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::emulator::args::POSTS;
    use crate::emulator::{EmulatorOptions, RowOrder};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: EmulateArgs,
    }

    fn parsed(arguments: &str) -> EmulateArgs {
        let words = std::iter::once("emulate").chain(arguments.split(' '));
        Command::try_parse_from(words)
            .unwrap_or_else(|error| panic!("{error}"))
            .args
    }

    fn run(arguments: &str) -> Result<Report, EmulatorError> {
        let runtime = Runtime::new().unwrap();
        let (_interrupt, mut stop) = channel(1);
        run_with(
            parsed(arguments),
            &runtime,
            &mut WallClock::start(),
            &mut stop,
            &mut |_, _| (),
        )
    }

    #[test]
    fn nothing_given_is_the_default_world() {
        let options = parsed("--to dir:x").emulator_options();
        let default = EmulatorOptions {
            posts: Some(POSTS),
            ..EmulatorOptions::default()
        };
        assert_eq!(options, default);
        assert!(parsed("--to dir:x").is_plain());
    }

    #[test]
    fn a_pace_without_a_number_of_posts_is_endless_and_files_have_an_end() {
        let posts = |arguments: &str| {
            parsed(&format!("--to dir:x {arguments}"))
                .emulator_options()
                .posts
        };
        assert_eq!(posts("--rate 10"), None);
        assert_eq!(posts("--pause random"), None);
        assert_eq!(posts("--rate 10 --posts 5"), Some(5));
        assert_eq!(posts("--from dir:y"), None);
        assert_eq!(posts("--from dir:y --order canonical"), Some(POSTS));
    }

    #[test]
    fn a_target_that_cannot_be_posted_to_is_refused() {
        for target in ["dir:", "s3://bucket", "somewhere"] {
            let error = run(&format!("--to {target}")).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--to cannot post to `{target}`: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (arguments, why) in [
            ("--order rows-only --pause random", "draws no pauses"),
            ("--order canonical --first-row 4", "--first-row belongs to"),
            ("--from dir:y --dates iso", "as they are"),
            ("--rate 0", "must be above 0"),
            ("--from dir:/nowhere/at/all --pause 1", "/nowhere/at/all"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let error = run(&format!("--to dir:{} {arguments}", root.path().display()))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_command_writes_what_it_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let target = format!(
            "--to dir:{} --posts 200 --layout lines",
            root.path().display()
        );
        let Report::Written(summary) = run(&target).unwrap() else {
            panic!("files are written")
        };
        assert_eq!(summary.posts, 200);
        assert!(summary.records.iter().all(|&records| records >= 200));
    }

    #[test]
    fn posts_out_of_files_are_written_to_files_in_the_order_of_the_scripts() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for stream in ["pin", "geo", "user"] {
            let key = if stream == "pin" { "index" } else { "ind" };
            let lines: String = (0..12)
                .map(|row| format!("{{\"{key}\":{row}}}\n"))
                .collect();
            std::fs::create_dir(from.path().join(stream)).unwrap();
            std::fs::write(from.path().join(stream).join("rows.jsonl"), lines).unwrap();
        }
        let arguments = format!(
            "--from dir:{} --to dir:{} --order canonical --last-row 11 --posts 9 --partitions 1 --layout lines --wrap",
            from.path().display(),
            to.path().display()
        );
        let Report::Posted(posted) = run(&arguments).unwrap() else {
            panic!("not the emulator's own files")
        };
        assert_eq!((posted.posts(), posted.acknowledged()), (9, [9; 3]));
        let mut draws = crate::emulator::order::Draws::new(RowOrder::Canonical, 100, 0, 11);
        let expected: String = (0..9)
            .map(|_| format!("[{{\"index\":{}}}]\n", draws.draw().row))
            .collect();
        let written = std::fs::read_to_string(to.path().join("pin/part-0-00000.jsonl")).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn no_secret_is_shown() {
        let args = parsed("--to kafka://a:secret@h --from mysql://a:secret@h/d --api-key secret");
        assert!(!format!("{args:?} {}", args.from).contains("secret"));
    }
}
