//! `bench`: what this machine makes of the main job.
//!
//! The input is written by another process before anything is measured, so that its memory and time do not count. Each figure says what it covers; the
//! table is also written as JSON, for comparing runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Failure;
use crate::decode::Decoder;
use crate::definition::Definition;
use crate::operator::map::apply;
use crate::plan::lower;
use crate::reclock::IntakeLimits;
use crate::runtime::{Outcome, RunOptions, run as run_dataflow};
use crate::sink::{ParquetOptions, encode};
use crate::source::{Opening, Read, SourceSpec};

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
    /// Where input and lake are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Records a second of the freshness measurement; 0 leaves it out
    #[arg(long, default_value_t = 20_000, value_name = "R")]
    rate: u64,
    /// Seconds of the freshness measurement
    #[arg(long, default_value_t = 15, value_name = "S")]
    seconds: u64,
    /// Leave the stages alone out
    #[arg(long)]
    no_stages: bool,
}

/// Records that one post makes, about: the emulator's default duplicates and updates included.
const RECORDS_A_POST: f64 = 3.17;

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
    let input = args.dir.join(format!("input-{}", args.posts));
    if !input.is_dir() {
        let made = std::process::Command::new(std::env::current_exe()?)
            .args([
                "emulate",
                "--posts",
                &args.posts.to_string(),
                "--to",
                &format!("dir:{}", input.display()),
            ])
            .status()?;
        if !made.success() {
            return Err("the input could not be written; see the message above".into());
        }
    }
    let lake = args.dir.join("lake");
    let _ = std::fs::remove_dir_all(&lake);
    let mut figures = Figures::default();
    println!(
        "{} posts, {workers} workers, input {}",
        args.posts,
        input.display()
    );

    let source = SourceSpec::Directory(input.display().to_string());
    let before = Usage::now();
    let started = Instant::now();
    let done = run_once(args, &source, &lake, workers)?;
    let wall = started.elapsed().as_secs_f64();
    let used = Usage::now();
    figures.add("files to committed tables and views: wall", wall, "s");
    figures.add("  records", done.records as f64, "");
    figures.add("  records a second", done.records as f64 / wall, "/s");
    figures.add(
        "  megabytes a second",
        done.bytes as f64 / 1e6 / wall,
        "MB/s",
    );
    figures.add("  CPU", used.cpu_s - before.cpu_s, "s");
    figures.add("  peak memory of the process", used.peak_bytes / 1e6, "MB");
    figures.add(
        "  state, bytes a post (keyed rows + live views)",
        done.state_bytes as f64 / args.posts as f64,
        "B",
    );

    let started = Instant::now();
    run_once(args, &source, &lake, workers)?;
    figures.add(
        "restart on that lake, to the end of the same input",
        started.elapsed().as_secs_f64(),
        "s",
    );

    if args.rate > 0 {
        let _ = std::fs::remove_dir_all(&lake);
        let posts = args.rate as f64 / RECORDS_A_POST;
        let source = SourceSpec::Emulator {
            rate: posts,
            posts: Some((posts * args.seconds as f64) as u64),
            seed: 1,
        };
        let done = run_once(args, &source, &lake, workers)?;
        figures.add("freshness: records a second", args.rate as f64, "/s");
        figures.add("  taken in to visible, p50", done.p50_ms, "ms");
        figures.add("  taken in to visible, p99", done.p99_ms, "ms");
    }
    if !args.no_stages {
        stages(args, &source, &mut figures)?;
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
    p50_ms: f64,
    p99_ms: f64,
}

fn run_once(
    args: &BenchArgs,
    source: &SourceSpec,
    lake: &Path,
    workers: usize,
) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build()?;
    let options = RunOptions {
        dataflow: args.dataflow.clone(),
        lake: lake.display().to_string(),
        prefix: String::new(),
        source: source.clone(),
        bounded: true,
        workers,
        cluster: None,
        tick: Duration::from_millis(100),
        commit_every: Duration::from_secs(10),
        codec: None,
        limits: IntakeLimits::default(),
    };
    let mut shown = None;
    run_dataflow(
        options,
        &Outcome::default(),
        runtime.handle(),
        |store, status| {
            shown = Some((Arc::clone(store), Arc::clone(status)));
            Ok(())
        },
    )?;
    let Some((store, status)) = shown else {
        return Err("the run showed nothing".into());
    };
    let sample = status.sample(&store, 0);
    Ok(Done {
        records: sample.streams.iter().map(|stream| stream.records).sum(),
        bytes: sample.streams.iter().map(|stream| stream.bytes).sum(),
        state_bytes: sample.state_bytes + sample.live_store_bytes,
        p50_ms: sample.freshness.latency_ms_p50.unwrap_or_default(),
        p99_ms: sample.freshness.latency_ms_p99.unwrap_or_default(),
    })
}

/// Decoding, cleaning and encoding, each alone, on one thread.
fn stages(args: &BenchArgs, source: &SourceSpec, figures: &mut Figures) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let definition = Definition::load(&args.dataflow)?;
    let plan = lower(&definition)?;
    let opening = Opening::whole(
        definition
            .streams
            .iter()
            .map(|stream| stream.name.clone())
            .collect(),
    );
    let mut source = source.open(opening, runtime.handle())?;
    let mut decoders = definition
        .streams
        .iter()
        .map(|s| Decoder::new(Arc::clone(&s.schema)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut spent: BTreeMap<(String, &str), (Duration, u64)> = BTreeMap::new();
    while let Read::Chunk(chunk) = source.read(2 << 20)? {
        let name = &definition.streams[chunk.stream].name;
        let mut note = |stage, started: Instant, rows: usize| {
            let entry = spent.entry((name.clone(), stage)).or_default();
            entry.0 += started.elapsed();
            entry.1 += rows as u64;
        };
        let started = Instant::now();
        let decoded = decoders[chunk.stream].decode(&chunk.bytes, chunk.first_offset);
        note("decode", started, decoded.rows.num_rows());
        for table in plan
            .tables
            .iter()
            .filter(|table| table.stream == chunk.stream)
        {
            let started = Instant::now();
            let mut rows = decoded.rows.clone();
            for map in &table.clean {
                rows = apply(map, &rows)?.rows;
            }
            note("clean", started, rows.num_rows());
            let started = Instant::now();
            encode(
                &table.schema,
                std::slice::from_ref(&rows),
                &ParquetOptions::default(),
            )?;
            note("stage", started, rows.num_rows());
        }
    }
    for ((stream, stage), (time, rows)) in spent {
        let name = format!("{stage} alone, {stream}, one thread");
        figures.add(
            &name,
            time.as_nanos() as f64 / rows.max(1) as f64,
            "ns/record",
        );
    }
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
        // After the command's name in parentheses: field 14 and 15 of the whole are the ticks, a hundred a second.
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
