//! `run`: the main job.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use crate::reclock::IntakeLimits;
use crate::runtime::{Outcome, RunOptions};
use crate::sink::Codec;
use crate::source::SourceSpec;

/// Arguments of `run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The dataflow file
    #[arg(value_name = "FILE.sql", default_value_os_t = super::default_dataflow())]
    dataflow: PathBuf,
    /// Where records come from: dir:PATH, dir:s3://bucket/prefix, or emulator:[?rate=POSTS_A_SECOND&posts=N&seed=S]
    #[arg(long, value_name = "SOURCE", default_value = "emulator:?rate=100")]
    source: SourceSpec,
    /// End when everything that is there now has been read; without it, new records are waited for
    #[arg(long)]
    bounded: bool,
    /// Where tables, views and checkpoints are kept: a folder or s3://bucket/prefix
    #[arg(long, value_name = "LAKE", default_value = "./lake")]
    lake: String,
    /// Put before the names of tables in the lake
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Worker threads; each keeps its share of the state [default: one per core]
    #[arg(short, long, value_name = "N")]
    workers: Option<std::num::NonZeroUsize>,
    /// Milliseconds that an epoch stays open: the views are at most about this stale
    #[arg(long, value_name = "MS", default_value_t = 100)]
    tick: u64,
    /// Seconds between commits to the lake
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    commit_every: f64,
    /// Compression of data files
    #[arg(long, value_enum, default_value_t = CodecName::Lz4)]
    compression: CodecName,
    /// Megabytes of records that may be on their way to the views at once
    #[arg(long, value_name = "MB", default_value_t = 128)]
    memory: u64,
}

/// A codec by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CodecName {
    /// None
    None,
    /// LZ4: little work, half the size
    Lz4,
    /// Snappy: what most tools write
    Snappy,
    /// Zstandard, level 1: small files
    Zstd,
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Codec {
        match name {
            CodecName::None => Codec::None,
            CodecName::Lz4 => Codec::Lz4,
            CodecName::Snappy => Codec::Snappy,
            CodecName::Zstd => Codec::Zstd(1),
        }
    }
}

impl RunArgs {
    fn options(&self) -> RunOptions {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        RunOptions {
            dataflow: self.dataflow.clone(),
            lake: self.lake.clone(),
            prefix: self.prefix.clone(),
            source: self.source.clone(),
            bounded: self.bounded,
            workers: self.workers.map_or(cores, std::num::NonZeroUsize::get),
            cluster: None,
            tick: Duration::from_millis(self.tick.max(1)),
            commit_every: Duration::from_secs_f64(self.commit_every.clamp(0.05, 86_400.0)),
            codec: self.compression.into(),
            limits: IntakeLimits {
                chunk_bytes: 2 << 20,
                epoch_bytes: (self.memory << 20) / 4,
                budget_bytes: self.memory << 20,
            },
        }
    }
}

/// Runs until the end of the source, Ctrl-C, or a failure.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = Outcome::default();
    let stop = outcome.clone();
    runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.stop();
        }
    });
    let mut shown = None;
    let summary = crate::runtime::run(args.options(), &outcome, runtime.handle(), |store, status| {
        shown = Some((Arc::clone(store), Arc::clone(status)));
    })?;
    println!(
        "committed checkpoint {} at epoch {} in {:.2} s",
        summary.committed.number,
        summary.committed.epoch,
        summary.elapsed.as_secs_f64()
    );
    if let Some((store, _status)) = shown {
        for view in store.cut().views {
            println!("  {:<44} {:>9} rows", view.name, view.row_count());
        }
    }
    Ok(())
}
