//! A case through the real path: files, processes that are killed or end by themselves, a lake,
//! HTTP, and a reader of Delta that is not ours.
//!
//! The records come in pieces. For each piece the program is started with another number of workers
//! and processes, and killed at some moment, or runs to its end. The last piece comes while it
//! runs; then its views over HTTP, and its tables and views in the lake, must be DuckDB's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use pinflow::lake::paths;
use tempfile::TempDir;

use super::super::answer::Answer;
use super::super::program::{Http, PATIENCE, Running, interrupt, pinflow};
use super::case::Case;
use super::check::{self, Failure, Tally};
use super::duckdb::{DuckDb, Step};
use super::judge::Judge;
use super::views::View;
use crate::support::seed::Chance;

const ARROW: &str = "application/vnd.apache.arrow.stream";
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs the case and compares all tables and views. The seed decides how it is run.
pub fn check(case: &Case, seed: u64, engine: &mut DuckDb) -> Result<Tally, Failure> {
    let compared = compare(case, seed, engine);
    compared.map_err(|text| Failure { view: None, text })
}

fn compare(case: &Case, seed: u64, engine: &mut DuckDb) -> Result<Tally, String> {
    // What is in the tables must be seen over HTTP too, whatever the views read of it.
    let mut case = case.clone();
    case.views.extend(case.tables.iter().map(View::all_of));
    let case = &case;
    let expected = expected(case, engine)?;
    let mut chance = Chance::new(seed);
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let world = World::new(case, folder.path());
    let pieces = pieces(case, 1 + chance.below(4));
    let (last, first) = pieces.split_last().expect("there is a piece");
    for (number, piece) in first.iter().enumerate() {
        world.place(number, piece);
        let workers = 1 + chance.below(3);
        match chance.below(4) {
            0 => world.complete(&format!("run --bounded -w {workers}"))?,
            1 => world.complete(&format!("launch -n 2 --bounded -w {workers}"))?,
            _ => world.killed(workers, chance.below(40))?,
        }
    }
    let mut process = world.start(1 + chance.below(3));
    let http = Http::of(&mut process);
    world.place(first.len(), last);
    for (view, expected) in expected
        .iter()
        .filter(|(name, _)| name.starts_with("views/"))
    {
        let path = format!("/{}", encoded(view));
        becomes(&http, &path, expected).map_err(|error| format!("{view} over HTTP: {error}"))?;
    }
    interrupt(&process);
    let status = process.0.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the program ended with {status}"));
    }
    let read: Vec<Step> = expected
        .iter()
        .map(|(table, _)| Step::Ask(format!("DELTA {}", world.lake.join(table).display())))
        .collect();
    for ((table, expected), found) in expected.iter().zip(engine.answers(&read)) {
        let found = found.map_err(|error| format!("{table} in the lake: {error}"))?;
        let found = Answer::new(&found.expect("it was asked for"));
        if let Some(difference) = check::compare(expected, &found) {
            return Err(format!("{table} in the lake\n{difference}"));
        }
    }
    let views = expected
        .iter()
        .filter(|(name, _)| name.starts_with("views/"));
    Ok(Tally {
        same: views.count() as u64,
        ..Tally::default()
    })
}

/// What each table and view must hold at the end, by its folder in the lake. Views that DuckDB has
/// no answer for are left out.
fn expected(case: &Case, engine: &mut DuckDb) -> Result<Vec<(String, Answer)>, String> {
    let mut judge = Judge::new(case, engine)?;
    let tables = judge.tables()?.pop().expect("there is epoch 0");
    let tables = case.tables.iter().zip(&tables);
    let mut expected: Vec<(String, Answer)> = tables
        .map(|(table, rows)| (paths::table("", &table.name), Answer::new(rows)))
        .collect();
    let all = (0..case.views.len()).collect();
    for (number, answer) in judge.views(case.history.len(), &all)? {
        let name = paths::view(&case.views[number].name);
        expected.extend(answer.ok().map(|answer| (name, answer)));
    }
    Ok(expected)
}

/// The lines of each stream, by table.
type Piece = Vec<Vec<String>>;

/// The history in `count` pieces.
fn pieces(case: &Case, count: usize) -> Vec<Piece> {
    let records: Vec<_> = case.history.iter().flatten().collect();
    let size = records.len().div_ceil(count).max(1);
    let mut pieces = vec![vec![Vec::new(); case.tables.len()]; count];
    for (number, record) in records.into_iter().enumerate() {
        let line = record.line(&case.tables[record.table]);
        pieces[number / size][record.table].push(line);
    }
    pieces
}

struct World {
    sql: PathBuf,
    inbox: PathBuf,
    lake: PathBuf,
    streams: Vec<String>,
}

impl World {
    fn new(case: &Case, folder: &Path) -> World {
        let world = World {
            sql: folder.join("dataflow.sql"),
            inbox: folder.join("inbox"),
            lake: folder.join("lake"),
            streams: case
                .tables
                .iter()
                .map(|table| table.stream.clone())
                .collect(),
        };
        fs::write(&world.sql, case.file()).expect("the folder takes files");
        for stream in &world.streams {
            fs::create_dir_all(world.inbox.join(stream)).expect("the folder takes folders");
        }
        world
    }

    /// Puts a piece's files where they are read, each at once.
    fn place(&self, number: usize, piece: &Piece) {
        for (stream, lines) in self.streams.iter().zip(piece) {
            if lines.is_empty() {
                continue;
            }
            let folder = self.inbox.join(stream);
            let hidden = folder.join(format!(".{number}.jsonl"));
            fs::write(&hidden, lines.join("\n") + "\n").expect("the folder takes files");
            fs::rename(hidden, folder.join(format!("{number}.jsonl"))).expect("it is there");
        }
    }

    fn arguments(&self, command: &str) -> String {
        format!(
            "{command} {} --http 127.0.0.1:0 --source dir:{} --lake {} --tick 20",
            self.sql.display(),
            self.inbox.display(),
            self.lake.display()
        )
    }

    /// Runs the program to its end.
    fn complete(&self, command: &str) -> Result<(), String> {
        let output = pinflow(&self.arguments(command)).output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{command}: {}",
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    fn start(&self, workers: usize) -> Running {
        let command = format!("run -w {workers} --commit-every 0.05");
        let process = pinflow(&self.arguments(&command)).spawn();
        Running(process.expect("the program starts"))
    }

    /// Starts the program and kills it once it has answered so many requests.
    fn killed(&self, workers: usize, requests: usize) -> Result<(), String> {
        let mut process = self.start(workers);
        let http = Http::of(&mut process);
        for _ in 0..requests {
            http.get("/healthz", "*/*");
            let ended = process.0.try_wait().map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                return Err(format!("the program ended by itself with {status}"));
            }
        }
        Ok(())
    }
}

/// Waits until there is at `path` what is expected.
fn becomes(http: &Http, path: &str, expected: &Answer) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let (status, body) = http.get(path, ARROW);
        let difference = if status == 200 {
            let reader = StreamReader::try_new(body.as_slice(), None).map_err(|e| e.to_string())?;
            let schema = reader.schema();
            let batches = reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| e.to_string())?;
            let rows = concat_batches(&schema, &batches).map_err(|e| e.to_string())?;
            check::compare(expected, &Answer::new(&rows))
        } else {
            Some(format!("{status} {}", String::from_utf8_lossy(&body)))
        };
        match difference {
            None => return Ok(()),
            Some(difference) if begin.elapsed() > PATIENCE => return Err(difference),
            // Asking without pause would keep the program from what is waited for.
            Some(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

/// A path as a URL has it.
fn encoded(path: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(byte);
    path.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
