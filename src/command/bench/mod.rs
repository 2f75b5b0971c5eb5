//! `bench`: what this machine makes of the main job.
//!
//! The input is written by another process before anything is measured, so that its memory and time
//! do not count. Each figure says what it covers; the table is also written as JSON, for comparing
//! runs.

mod freshness;
mod one_core;
mod stages;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::freshness::Writer;
use self::one_core::on_one_core;
use super::Failure;
use crate::definition::Definition;
use crate::host::Machine;
use crate::kafka::{KafkaAddress, NewTopics, create_topics, list_topics};
use crate::reclock::IntakeLimits;
use crate::runtime::{Outcome, RunError, RunOptions, run as run_dataflow};
use crate::serve::http::{Served, serve};
use crate::source::SourceSpec;
use crate::sql::Session;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct BenchArgs {
    /// Posts in the input; each is about three records
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    posts: u64,
    /// The dataflow file
    #[arg(long, value_name = "FILE.sql", default_value_os_t = super::default_dataflow())]
    dataflow: PathBuf,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N")]
    workers: Option<usize>,
    /// How often runs over the whole input are repeated; told is the one in the middle
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Where input and lake are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Records a second of the freshness measurement; 0 leaves it out
    #[arg(long, default_value_t = 20_000, value_name = "R")]
    rate: u64,
    /// Seconds of the freshness measurement
    #[arg(long, default_value_t = 15, value_name = "S")]
    seconds: u64,
    /// An input with late, corrected and broken records and rare wire forms too, instead of copies
    /// and dirty posts alone
    #[arg(long)]
    hard: bool,
    /// Measure the same records from Kafka too: a cluster, as kafka://HOST:9092, in which topics
    /// `bench-..` are made
    #[arg(long, value_name = "KAFKA")]
    source: Option<KafkaAddress>,
    /// Leave the stages alone out
    #[arg(long)]
    no_stages: bool,
}

/// The figures, by name.
#[derive(Default)]
struct Figures(Vec<(String, f64, &'static str)>);

impl Figures {
    fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        println!("{name:<52} {value:>14.2} {unit}");
        self.0.push((name.to_owned(), value, unit));
    }
}

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let workers = args
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let kind = if args.hard { "hard" } else { "plain" };
    let input = args.dir.join(format!("{kind}-{}", args.posts));
    if !input.is_dir() {
        let mut emulate = std::process::Command::new(std::env::current_exe()?);
        emulate
            .args(["emulate", "--posts", &args.posts.to_string()])
            .args(["--to", &format!("dir:{}", input.display())]);
        for flaw in ["--late", "--updates", "--broken", "--variants"] {
            emulate.args((!args.hard).then_some([flaw, "0"]).into_iter().flatten());
        }
        let made = emulate.status()?;
        if !made.success() {
            return Err("the input could not be written; see the message above".into());
        }
    }
    let lake = args.dir.join("lake");
    let mut figures = Figures::default();
    println!(
        "{} posts, {workers} workers, input {}",
        args.posts,
        input.display()
    );

    let source = SourceSpec::Directory(input.display().to_string());
    let Measured { done, wall, cpu_s } = measured(args, &source, &lake, workers)?;
    figures.add("files to committed tables and views: wall", wall, "s");
    figures.add("  records", done.records as f64, "");
    figures.add("  records a second", done.records as f64 / wall, "/s");
    figures.add(
        "  megabytes a second",
        done.bytes as f64 / 1e6 / wall,
        "MB/s",
    );
    figures.add("  CPU", cpu_s, "s");
    figures.add(
        "  peak memory of the process",
        Usage::now().peak_bytes / 1e6,
        "MB",
    );
    figures.add(
        "  state, bytes a post (tables, operators, live views)",
        done.state_bytes as f64 / args.posts as f64,
        "B",
    );

    if let Some(cluster) = &args.source {
        let records_of_files = done.records;
        let source = topics_of(cluster, &input, &format!("bench-{kind}-{}.", args.posts))?;
        let lake = args.dir.join("lake-kafka");
        let Measured { done, wall, cpu_s } = measured(args, &source, &lake, workers)?;
        if done.records != records_of_files {
            let why = format!(
                "Kafka had {} records and the files {records_of_files}",
                done.records
            );
            return Err(why.into());
        }
        figures.add("Kafka to committed tables and views: wall", wall, "s");
        figures.add(
            "  records a second from Kafka",
            done.records as f64 / wall,
            "/s",
        );
        figures.add("  CPU from Kafka", cpu_s, "s");
    }

    let started = Instant::now();
    run_once(args, &source, &lake, workers, true, |_| Ok(()))?;
    figures.add(
        "restart on that lake, to the end of the same input",
        started.elapsed().as_secs_f64(),
        "s",
    );

    if workers > 1 {
        let alone = measured(args, &source, &lake, 1)?.wall;
        figures.add("with one worker: wall", alone, "s");
        figures.add("  times faster with all workers", alone / wall, "");
        if let Some(alone) = on_one_core(|| measured(args, &source, &lake, 1)) {
            let alone = alone?.wall;
            figures.add("with one worker on one core: wall", alone, "s");
            figures.add("  times faster with all of them", alone / wall, "");
        }
    }

    if args.rate > 0 {
        freshness(args, workers, &mut figures)?;
    }
    if !args.no_stages {
        stages::measure(&Definition::load(&args.dataflow)?, &source, &mut figures)?;
    }
    let json: BTreeMap<&str, serde_json::Value> = figures
        .0
        .iter()
        .map(|(name, value, unit)| {
            (
                name.trim(),
                serde_json::json!({ "value": value, "unit": unit }),
            )
        })
        .collect();
    let file = args.dir.join("bench.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&json)?)?;
    println!("written to {}", file.display());
    Ok(())
}

/// What one run did.
struct Done {
    records: u64,
    bytes: u64,
    state_bytes: u64,
}

/// A run over the whole input.
struct Measured {
    done: Done,
    wall: f64,
    cpu_s: f64,
}

/// Runs into an empty lake, several times, and tells the run that took neither long nor short: on a
/// virtual machine the first touch of memory may cost as much as the work does.
fn measured(
    args: &BenchArgs,
    source: &SourceSpec,
    lake: &Path,
    workers: usize,
) -> Result<Measured, Failure> {
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        let _ = std::fs::remove_dir_all(lake);
        let before = Usage::now();
        let started = Instant::now();
        let done = run_once(args, source, lake, workers, true, |_| Ok(()))?;
        runs.push(Measured {
            done,
            wall: started.elapsed().as_secs_f64(),
            cpu_s: Usage::now().cpu_s - before.cpu_s,
        });
    }
    runs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    Ok(runs.swap_remove(runs.len() / 2))
}

/// The topics with the records of `input`, which are posted there if nobody did so before.
fn topics_of(cluster: &KafkaAddress, input: &Path, prefix: &str) -> Result<SourceSpec, Failure> {
    let address = format!("kafka://{}?topic_prefix={prefix}", cluster.brokers());
    let known = list_topics(cluster)?;
    if !known.keys().any(|topic| topic.starts_with(prefix)) {
        let topics = ["pin", "geo", "user"].map(|stream| format!("{prefix}{stream}"));
        let partitions = Some(4);
        let replication = Some(1);
        create_topics(
            cluster,
            &topics,
            NewTopics {
                partitions,
                replication,
            },
        )?;
        let posted = std::process::Command::new(std::env::current_exe()?)
            .args(["emulate", "--from", &format!("dir:{}", input.display())])
            .args(["--to", &address])
            .args(["--batch", "1000"])
            .status()?;
        if !posted.success() {
            return Err("the input could not be posted to Kafka; see the message above".into());
        }
    }
    Ok(address.parse()?)
}

/// Runs the dataflow from `source` into `lake`; `meanwhile` is called in a thread of its own with
/// the address at which views are answered, and when it returns a run that is not bounded ends.
fn run_once(
    args: &BenchArgs,
    source: &SourceSpec,
    lake: &Path,
    workers: usize,
    bounded: bool,
    meanwhile: impl FnOnce(SocketAddr) -> Result<(), String> + Send + 'static,
) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build()?;
    let options = RunOptions {
        source_moved: false,
        retry: None,
        on_bad_file: crate::source::OnBadFile::Fail,
        dataflow: args.dataflow.clone(),
        lake: lake.display().to_string(),
        prefix: String::new(),
        source: source.clone(),
        archive: None,
        bounded,
        workers,
        cluster: None,
        tick: Duration::from_millis(100),
        commit_every: Duration::from_secs(10),
        codec: None,
        limits: IntakeLimits::default(),
    };
    let outcome = Outcome::new(Arc::new(Machine(runtime.handle().clone())));
    let mut shown = None;
    let mut asking = None;
    run_dataflow(options, &outcome, runtime.handle(), |store, status| {
        let served = Served {
            store: Arc::clone(store),
            status: Arc::clone(status),
            now_ms: Arc::new(|| 0),
            session: Arc::new(Session::new()),
            wait_at_most: Duration::from_secs(30),
            hosts: Vec::new(),
        };
        let server = runtime
            .block_on(serve(served, SocketAddr::from(([127, 0, 0, 1], 0))))
            .map_err(|error| RunError::Failed(error.to_string()))?;
        let (address, stop) = (server.address(), outcome.clone());
        asking = Some(std::thread::spawn(move || {
            let done = meanwhile(address);
            if !bounded {
                stop.stop();
            }
            done
        }));
        shown = Some((Arc::clone(store), Arc::clone(status), server));
        Ok(())
    })?;
    let (Some((store, status, server)), Some(asking)) = (shown, asking) else {
        return Err("the run showed nothing".into());
    };
    match asking.join() {
        Ok(done) => done?,
        Err(_) => return Err("the asking thread panicked".into()),
    }
    runtime.block_on(server.stop());
    let sample = status.sample(&store, 0);
    Ok(Done {
        records: sample.streams.iter().map(|stream| stream.records).sum(),
        bytes: sample.streams.iter().map(|stream| stream.bytes).sum(),
        state_bytes: sample.state_bytes + sample.live_store_bytes,
    })
}

/// Records at a steady rate into a folder that is followed, and how long they take to be seen over
/// HTTP.
fn freshness(args: &BenchArgs, workers: usize, figures: &mut Figures) -> Result<(), Failure> {
    let (inbox, lake) = (args.dir.join("inbox"), args.dir.join("lake"));
    for old in [&inbox, &lake] {
        let _ = std::fs::remove_dir_all(old);
    }
    let posts_a_second = args.rate as f64 / 3.0;
    let posts = (posts_a_second * args.seconds as f64) as u64;
    let writer = Writer::new(&inbox, posts_a_second, posts)?;
    let (outbox, measured) = std::sync::mpsc::channel();
    let source = SourceSpec::Directory(inbox.display().to_string());
    run_once(args, &source, &lake, workers, false, move |address| {
        let fresh = freshness::measure(writer, address, posts).map_err(|e| e.to_string())?;
        outbox.send(fresh).map_err(|error| error.to_string())
    })?;
    let mut fresh = measured.recv()?;
    figures.add("freshness: records a second", args.rate as f64, "/s");
    figures.add(
        "  in its file to answered, p50",
        fresh.percentile(0.5),
        "ms",
    );
    figures.add(
        "  in its file to answered, p99",
        fresh.percentile(0.99),
        "ms",
    );
    Ok(())
}

/// What the process has used so far, from `/proc`; zeros elsewhere.
struct Usage {
    cpu_s: f64,
    peak_bytes: f64,
}

impl Usage {
    fn now() -> Usage {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // After the command's name in parentheses: field 14 and 15 of the whole are the ticks, a
        // hundred a second.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| {
                rest.trim()
                    .trim_end_matches(" kB")
                    .trim()
                    .parse::<f64>()
                    .ok()
            });
        Usage {
            cpu_s: (ticks(11) + ticks(12)) / 100.0,
            peak_bytes: peak.unwrap_or(0.0) * 1024.0,
        }
    }
}
