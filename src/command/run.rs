//! `run`: the main job.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;

use super::Failure;
use super::address::Address;
use super::gateway::{DoorArgs, log_folder};
use super::signals::{ASKED_TO_END, stop_on_signals, stop_with_launcher};
use crate::definition::{Definition, check_prefix};
use crate::emulator::EmulatorOptions;
use crate::gateway::{Server as Gateway, serve as serve_gateway};
use crate::host::Machine;
use crate::kafka::{KafkaAddress, NewTopics, OnLostOffsets};
use crate::reclock::IntakeLimits;
use crate::runtime::{Cluster, Outcome, RunError, RunOptions, RunSummary};
use crate::serve::format::grouped;
use crate::serve::http::{Served, Server, serve};
use crate::serve::status::{Complaint, Status};
use crate::serve::store::LiveStore;
use crate::serve::terminal::{TerminalStatus, log, size_of};
use crate::sink::Codec;
use crate::source::{OnBadFile, SourceSpec};
use crate::sql::Session;

/// The most worker threads of a process: each has queues and threads for the lake beside it.
pub(super) const WORKERS_MAX: i64 = 256;

/// Arguments of `run`.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// The dataflow file
    #[arg(value_name = "FILE.sql", default_value_os_t = super::default_dataflow())]
    dataflow: PathBuf,
    /// Take records over HTTP here, as the Kafka REST proxy and Kinesis do; without --source they
    /// are what is read
    #[arg(long, value_name = "ADDR")]
    gateway: Option<SocketAddr>,
    #[command(flatten)]
    doors: DoorArgs,
    /// Where records come from: dir:PATH, dir:s3://bucket/prefix,
    /// kafka://HOST:9092?topic_prefix=ID., kinesis://STREAM, mysql://USER@HOST/DATABASE, or
    /// emulator:[?rate=POSTS_A_SECOND&posts=N&seed=S]
    #[arg(
        long,
        value_name = "SOURCE",
        value_parser = Address::<SourceSpec>::new(),
        help = "Where records come from: dir:PATH, dir:s3://bucket/prefix, kafka://HOST:9092?topic_prefix=ID., kinesis://STREAM, mysql://USER@HOST/DATABASE, or emulator:[?rate=POSTS_A_SECOND&posts=N&seed=S] [default: what the gateway takes, else emulator:?rate=100]"
    )]
    source: Option<SourceSpec>,
    /// What to do when Kafka no longer has records that were not read: end, or go on at the oldest
    /// or behind the newest
    #[arg(long, value_enum, value_name = "ANSWER")]
    on_lost_offsets: Option<LostOffsets>,
    /// What to do about a file that cannot be read on (a record of more than 32 MiB, damaged
    /// compression, no permission): end, or make its rest a dead letter and go on behind it
    #[arg(long, value_enum, value_name = "ANSWER", default_value = "fail")]
    on_bad_file: BadFile,
    /// Go on at the lake's positions although they are of another source: this is the same one,
    /// reached in another way
    #[arg(long)]
    source_moved: bool,
    /// Keep every record as it came in a folder or s3://bucket/prefix, readable again with --source
    /// dir:
    #[arg(long, value_name = "ARCHIVE", value_parser = NonEmptyStringValueParser::new())]
    archive: Option<String>,
    /// End when everything that is there now has been read; without it, new records are waited for
    #[arg(long)]
    bounded: bool,
    /// Where tables, views and checkpoints are kept: a folder or s3://bucket/prefix
    #[arg(long, value_name = "LAKE", default_value = "./lake")]
    lake: String,
    /// Put before the names of tables in the lake
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = prefix)]
    prefix: String,
    /// Worker threads; each keeps its share of the state [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: Option<u16>,
    /// Milliseconds that an epoch stays open: the views are at most about this stale
    #[arg(long, value_name = "MS", default_value_t = 100)]
    tick: u64,
    /// Seconds between commits to the lake
    #[arg(
        long,
        value_name = "S",
        default_value = "10",
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    commit_every: f64,
    /// Compression of data files [default: none on a local folder, zstd on S3]
    #[arg(long, value_enum)]
    compression: Option<CodecName>,
    /// Where views are served over HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// This process's number in a cluster that `launch` started
    #[arg(long, hide = true, default_value_t = 0)]
    process: usize,
    /// The addresses of all processes of the cluster
    #[arg(long, hide = true, value_delimiter = ',')]
    addresses: Vec<String>,
    /// Megabytes of records that may be on their way to the views at once
    #[arg(long, value_name = "MB", default_value_t = IntakeLimits::DEFAULT_MB)]
    memory: u64,
}

/// An answer to lost records.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LostOffsets {
    /// End with an error that says how many are gone
    Fail,
    /// Go on at the oldest record that is there
    Earliest,
    /// Go on behind the newest record
    Latest,
}

/// An answer to a file that cannot be read on.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum BadFile {
    /// Commit what came before it, and end with an error that names it
    Fail,
    /// Make its rest a dead letter, and go on behind it
    DeadLetter,
}

impl From<BadFile> for OnBadFile {
    fn from(answer: BadFile) -> OnBadFile {
        match answer {
            BadFile::Fail => OnBadFile::Fail,
            BadFile::DeadLetter => OnBadFile::DeadLetter,
        }
    }
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
    /// Where records come from: what is said, else the gateway's log, else the emulator.
    fn source(&self) -> SourceSpec {
        let log = || SourceSpec::Directory(log_folder(&self.lake).display().to_string());
        let emulator = || SourceSpec::Emulator {
            rate: 100.0,
            posts: None,
            seed: EmulatorOptions::default().seed,
        };
        let unsaid = || self.gateway.map_or_else(emulator, |_| log());
        match self.source.clone().unwrap_or_else(unsaid) {
            SourceSpec::Kafka(address) => SourceSpec::Kafka(Box::new(self.kafka(*address))),
            other => other,
        }
    }

    /// The address with what the flags say of it.
    fn kafka(&self, mut address: KafkaAddress) -> KafkaAddress {
        if self.doors.create_topics {
            address = address.with_create_topics(Some(NewTopics::default()));
        }
        match self.on_lost_offsets {
            None => address,
            Some(LostOffsets::Fail) => address.with_on_lost_offsets(OnLostOffsets::Fail),
            Some(LostOffsets::Earliest) => address.with_on_lost_offsets(OnLostOffsets::Earliest),
            Some(LostOffsets::Latest) => address.with_on_lost_offsets(OnLostOffsets::Latest),
        }
    }

    /// The run that is asked for.
    pub fn options(&self) -> RunOptions {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        RunOptions {
            dataflow: self.dataflow.clone(),
            lake: self.lake.clone(),
            prefix: self.prefix.clone(),
            source: self.source(),
            archive: self.archive.clone(),
            source_moved: self.source_moved,
            retry: None,
            on_bad_file: self.on_bad_file.into(),
            bounded: self.bounded,
            workers: self.workers.map_or(cores, usize::from),
            cluster: (!self.addresses.is_empty()).then(|| Cluster {
                process: self.process,
                addresses: self.addresses.clone(),
            }),
            tick: Duration::from_millis(self.tick.max(1)),
            commit_every: Duration::from_secs_f64(self.commit_every.clamp(0.05, 86_400.0)),
            codec: self.compression.map(Codec::from),
            limits: IntakeLimits::within(self.memory.max(1) << 20),
        }
    }
}

/// Runs until the end of the source, Ctrl-C, or a failure.
pub fn run(args: RunArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build()?;
    let ended = run_on(&runtime, &args);
    // Nothing that is still being waited for is worth the time, and libraries panic where their
    // runtime ends below them: it ends with the process.
    std::mem::forget(runtime);
    ended
}

fn run_on(runtime: &tokio::runtime::Runtime, args: &RunArgs) -> Result<(), Failure> {
    let outcome = Outcome::new(Arc::new(Machine(runtime.handle().clone())));
    if args.gateway.is_none() {
        args.doors.check_without_gateway()?;
    }
    let asked = stop_on_signals(&outcome)?;
    if !args.addresses.is_empty() {
        stop_with_launcher(&outcome);
    }
    let ended = run_until_stopped(runtime, args, &outcome);
    if ended.is_ok() && !args.addresses.is_empty() && asked.load(Ordering::Relaxed) {
        // The launcher must not take it for the end of the source.
        std::process::exit(ASKED_TO_END);
    }
    ended
}

fn run_until_stopped(
    runtime: &tokio::runtime::Runtime,
    args: &RunArgs,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let leader = args.process == 0;
    // The log is repaired when it is opened, and only then read.
    let gateway = match args.gateway.filter(|_| leader) {
        Some(address) => Some(open_gateway(args, address, runtime)?),
        None => None,
    };
    let mut readers: Option<Readers> = None;
    let result = crate::runtime::run(
        args.options(),
        outcome,
        runtime.handle(),
        |store, status| {
            if let Some(gateway) = &gateway {
                let trouble = gateway.trouble();
                status.check(move || trouble.borrow().clone().map(Complaint::Ailing));
            }
            if leader {
                readers = Some(Readers::start(args, runtime, store, status)?);
            }
            Ok(())
        },
    );
    if let Some(gateway) = gateway {
        runtime.block_on(gateway.stop());
    }
    let Some(readers) = readers else {
        return Ok(result.map(|_| ())?);
    };
    let store = readers.end(runtime);
    let summary = result?;
    println!("{}", ended(&summary));
    for view in store.cut().views.iter().filter(|_| !summary.abandoned) {
        println!("  {:<44} {:>12} rows", view.name, grouped(view.row_count()));
    }
    Ok(())
}

/// What a run that ended well has done.
fn ended(summary: &RunSummary) -> String {
    let seconds = summary.elapsed.as_secs_f64();
    let (committed, before) = (&summary.committed, summary.restored);
    match before {
        Some(before) if summary.abandoned => format!(
            "ended before the lake was loaded: checkpoint {} is the last",
            before.checkpoint
        ),
        None if summary.abandoned => "ended before there was anything to read".to_owned(),
        None if committed.number == 0 => {
            "ended before anything was read: there is no checkpoint".to_owned()
        }
        Some(before) if committed.number <= before.checkpoint => format!(
            "nothing new since checkpoint {}; {seconds:.2} s",
            before.checkpoint
        ),
        _ => format!(
            "checkpoint {} holds all of epoch {}; {seconds:.2} s",
            committed.number, committed.epoch
        ),
    }
}

/// Opens the front doors before the dataflow, which may read what comes in.
fn open_gateway(
    args: &RunArgs,
    address: SocketAddr,
    runtime: &tokio::runtime::Runtime,
) -> Result<Gateway, Failure> {
    let mut config = args.doors.config(&args.lake)?;
    // The names in the dataflow file are known here; `--streams` is for gateways that stand alone.
    let definition = Definition::load(&args.dataflow)?;
    config.stream_names = definition.streams.into_iter().map(|s| s.name).collect();
    std::fs::create_dir_all(log_folder(&args.lake))?;
    let gateway = runtime.block_on(serve_gateway(config, address))?;
    eprintln!("the gateway listens at {}", gateway.url());
    Ok(gateway)
}

/// Reads `--commit-every`.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "it is a number of seconds, such as 10 or 0.5".to_owned())
}

/// Reads `--prefix`.
fn prefix(text: &str) -> Result<String, String> {
    check_prefix(text).map(|()| text.to_owned())
}

/// What shows a run to people: HTTP and the terminal.
struct Readers {
    store: Arc<LiveStore>,
    server: Server,
    drawing: std::thread::JoinHandle<()>,
    done: Arc<AtomicBool>,
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

impl Readers {
    fn start(
        args: &RunArgs,
        runtime: &tokio::runtime::Runtime,
        store: &Arc<LiveStore>,
        status: &Arc<Status>,
    ) -> Result<Self, RunError> {
        let served = Served {
            store: Arc::clone(store),
            status: Arc::clone(status),
            now_ms: Arc::new(now_ms),
            session: Arc::new(Session::new()),
            wait_at_most: Duration::from_secs(30),
            hosts: args.doors.allow_host.clone(),
        };
        let server = runtime
            .block_on(serve(served, args.http))
            .map_err(|error| RunError::Failed(error.to_string()))?;
        status.set_http(format!("http://{}", server.address()));
        if !std::io::stderr().is_terminal() {
            eprintln!("views are answered at http://{}", server.address());
        }
        let done = Arc::new(AtomicBool::new(false));
        let drawing = {
            let (store, status, done) = (Arc::clone(store), Arc::clone(status), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut terminal = TerminalStatus::new(std::io::stderr(), size_of);
                if std::io::stderr().is_terminal() {
                    log::hold();
                }
                // A status that cannot be drawn must not end the run.
                loop {
                    let is_last = done.load(Ordering::Relaxed);
                    let lines = log::held();
                    if !lines.is_empty() {
                        let _ = terminal.print(&lines);
                    }
                    if is_last {
                        break;
                    }
                    let _ = terminal.tick(now_ms(), || status.sample(&store, now_ms()));
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                let _ = terminal.show(now_ms(), &status.sample(&store, now_ms()));
                // The block is drawn for the last time: nothing is written over lines below it.
                eprint!("{}", log::release());
            })
        };
        Ok(Readers {
            store: Arc::clone(store),
            server,
            drawing,
            done,
        })
    }

    fn end(self, runtime: &tokio::runtime::Runtime) -> Arc<LiveStore> {
        self.done.store(true, Ordering::Relaxed);
        self.drawing.thread().unpark();
        let _ = self.drawing.join();
        runtime.block_on(self.server.stop());
        self.store
    }
}
