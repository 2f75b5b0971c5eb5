//! `dead-letters`: which records could not become rows, and sending them in again.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::run::WORKERS_MAX;
use super::signals::stop_on_signals;
use super::{Failure, default_dataflow};
use crate::definition::check_prefix;
use crate::function::timestamp_us;
use crate::host::Machine;
use crate::lake::{Lake, paths};
use crate::reclock::IntakeLimits;
use crate::render::restored_letters;
use crate::runtime::{Outcome, RetryOptions, RunOptions, Selection};
use crate::serve::format::shortened;
use crate::source::{OnBadFile, SourceSpec};

/// A retry is one commit, whatever it takes.
const ONE_COMMIT: Duration = Duration::from_secs(u32::MAX as u64);
/// How many characters of a reason a line shows.
const SHOWN: usize = 200;

/// Arguments of `dead-letters`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Count them by stream and reason, the most frequent first
    List(ListArgs),
    /// Send them in again, after a mistake in the dataflow file is mended. Those that are sent
    /// leave the dead letters in the commit that adds what they became: rows, or dead letters with
    /// a new reason. No other pinflow may run on the lake meanwhile
    Retry(RetryArgs),
}

/// Which lake, and which letters of it.
#[derive(clap::Args)]
struct Chosen {
    /// Where tables, views and checkpoints are kept: a folder or s3://bucket/prefix
    #[arg(long, value_name = "LAKE", default_value = "./lake")]
    lake: String,
    /// Only those of this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Only those whose reason has this text in it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those that came at this time (UTC) or later: 2026-11-21, or '2026-11-21 18:30:00'
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Only those that came before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Show at most N reasons
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(clap::Args)]
struct RetryArgs {
    /// The dataflow file
    #[arg(value_name = "FILE.sql", default_value_os_t = default_dataflow())]
    dataflow: PathBuf,
    #[command(flatten)]
    chosen: Chosen,
    /// The prefix of the lake's tables
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = prefix)]
    prefix: String,
    /// The statements of tables and streams that changed give the same rows of all records that are
    /// in the tables: take their rows as they are
    #[arg(long)]
    same_rows: bool,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: Option<u16>,
}

impl Chosen {
    fn selection(&self) -> Selection {
        Selection {
            stream: self.stream.clone(),
            reason: self.reason.clone(),
            since_us: self.since,
            until_us: self.until,
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    check_prefix(text).map(|()| text.to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    timestamp_us(text).map_err(str::to_owned)
}

/// Does what is asked.
pub fn run(args: &DeadLettersArgs) -> Result<(), Failure> {
    match &args.action {
        None => list(&args.list),
        Some(Action::List(args)) => list(args),
        Some(Action::Retry(args)) => retry(args),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let letters = runtime()?.block_on(read(&args.chosen))?;
    let counted = count(&letters);
    let all: usize = counted.iter().map(|reason| reason.letters).sum();
    if all == 0 {
        println!("no dead letters");
        return Ok(());
    }
    println!("{all} dead letters, by stream and reason:");
    for reason in counted.iter().take(args.limit) {
        println!(
            "{:>9}  {}: {}",
            reason.letters, reason.stream, reason.example
        );
    }
    if counted.len() > args.limit {
        println!(
            "{} reasons more: --limit {}",
            counted.len() - args.limit,
            counted.len()
        );
    }
    Ok(())
}

/// The letters that are meant, as the lake's last commit has them.
async fn read(chosen: &Chosen) -> Result<Vec<RecordBatch>, Failure> {
    let lake = Lake::open(&chosen.lake)?;
    let files = lake.files_of(paths::DEAD_LETTERS).await?;
    let files = files.ok_or_else(|| {
        format!(
            "there is no lake at {}, or nothing was committed to it yet: name it with --lake",
            lake.location()
        )
    })?;
    let selection = chosen.selection();
    let mut letters = Vec::new();
    for file in files {
        let read = lake.read_file(paths::DEAD_LETTERS, &file.path, None);
        for rows in read.await? {
            let rows = restored_letters(&rows)?;
            letters.push(filter_record_batch(&rows, &selection.of(&rows))?);
        }
    }
    Ok(letters)
}

/// Letters that have one reason, but for the values in it.
struct Reason {
    stream: String,
    letters: usize,
    example: String,
}

/// The letters by stream and reason, the most frequent first.
fn count(letters: &[RecordBatch]) -> Vec<Reason> {
    let mut counted: BTreeMap<(String, String), Reason> = BTreeMap::new();
    for rows in letters {
        let streams = rows["stream"].as_string_view().iter();
        let reasons = rows["reason"].as_string_view().iter();
        for (stream, reason) in streams.zip(reasons) {
            let (stream, reason) = (stream.unwrap_or_default(), reason.unwrap_or_default());
            let key = (stream.to_owned(), without_values(reason));
            let counted = counted.entry(key).or_insert_with(|| Reason {
                stream: stream.to_owned(),
                letters: 0,
                example: shortened(reason, SHOWN),
            });
            counted.letters += 1;
        }
    }
    let mut counted: Vec<Reason> = counted.into_values().collect();
    counted.sort_by_key(|reason| std::cmp::Reverse(reason.letters));
    counted
}

/// `reason` with a mark for each number and each text in quotes, which are of one record alone.
fn without_values(reason: &str) -> String {
    let mut kept = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(next) = rest.chars().next() {
        let quoted = matches!(next, '"' | '\'');
        let length = if next.is_ascii_digit() {
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len())
        } else if quoted && let Some(end) = rest[1..].find(next) {
            end + 2
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        kept.push('#');
        rest = &rest[length..];
    }
    kept
}

fn retry(args: &RetryArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let outcome = Outcome::new(Arc::new(Machine(runtime.handle().clone())));
    stop_on_signals(&outcome)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = RunOptions {
        dataflow: args.dataflow.clone(),
        lake: args.chosen.lake.clone(),
        prefix: args.prefix.clone(),
        source: SourceSpec::Directory(paths::DEAD_LETTERS.to_owned()),
        archive: None,
        source_moved: false,
        retry: Some(RetryOptions {
            selection: args.chosen.selection(),
            same_rows: args.same_rows,
        }),
        on_bad_file: OnBadFile::Fail,
        bounded: true,
        workers: args.workers.map_or(cores, usize::from),
        cluster: None,
        tick: Duration::from_millis(100),
        commit_every: ONE_COMMIT,
        codec: None,
        limits: IntakeLimits::default(),
    };
    let mut letters = None;
    let result = crate::runtime::run(options, &outcome, runtime.handle(), |store, _status| {
        letters = Some(Arc::clone(store));
        Ok(())
    });
    // As where a dataflow runs.
    std::mem::forget(runtime);
    let summary = result?;
    let before = summary.restored.map_or(0, |restored| restored.checkpoint);
    if summary.retried == 0 {
        println!("no dead letter is meant: nothing was sent in again");
        return Ok(());
    }
    if summary.committed.number <= before {
        return Err("it was stopped before the end: nothing was changed".into());
    }
    println!(
        "dead letters sent in again: {}; left: {}; checkpoint {}",
        summary.retried,
        letters.map_or(0, |store| remaining(&store)),
        summary.committed.number
    );
    Ok(())
}

fn remaining(store: &crate::serve::store::LiveStore) -> u64 {
    let letters = store.view(crate::render::DEAD_LETTERS);
    letters.map_or(0, |view| view.row_count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_values_alone_are_one() {
        let of = |reason: &str| without_values(reason);
        assert_eq!(
            of("`parse_count` cannot read \"many 7\": a count is digits (byte 12)"),
            of("`parse_count` cannot read \"few\": a count is digits (byte 7)"),
        );
        assert_ne!(of("no row of `a`"), of("no row of `b`"));
        assert_eq!(of("it's 5"), "it's #");
    }
}
