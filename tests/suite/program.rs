//! The program as its users run it: how tests start it, wait for it, and look at what it left.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use pinflow::lake::{Lake, paths};
use pinflow::sink::Committer;
use tempfile::TempDir;

/// No condition takes this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program with its arguments, split at blanks.
pub fn pinflow(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinflow"));
    command
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end; what it printed.
pub fn finish(arguments: &str) -> String {
    let output = pinflow(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "pinflow {arguments}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A folder with a world of `posts` in it, files of 50 records. `options` of the emulation say how
/// they are laid out.
pub fn world(posts: u32, options: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("world");
    finish(&format!(
        "emulate --to dir:{} --posts {posts} --roll-records 50 {options}",
        to.display()
    ));
    folder
}

pub fn source(world: &TempDir) -> PathBuf {
    world.path().join("world")
}

/// The arguments of a run of `source` into `lake`.
pub fn run(source: &Path, lake: &Path, options: &str) -> String {
    format!(
        "run --http 127.0.0.1:0 --source dir:{} --lake {} --tick 20 {options}",
        source.display(),
        lake.display()
    )
}

/// The rows of all tables of a lake.
pub fn batches(lake: &Path) -> BTreeMap<String, Vec<RecordBatch>> {
    let lake = Lake::open(&lake.display().to_string()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (committer, recovered) = Committer::open(lake, "reader".to_owned()).await.unwrap();
        let mut all = BTreeMap::new();
        for (table, state) in recovered.expect("the lake has a checkpoint").tables {
            let mut batches = Vec::new();
            for file in &state.files {
                let read = committer
                    .lake()
                    .read_file(&table, &file.path, None)
                    .await
                    .unwrap();
                assert_eq!(
                    read.iter()
                        .map(|batch| batch.num_rows() as u64)
                        .sum::<u64>(),
                    file.rows,
                    "{table}/{}",
                    file.path
                );
                batches.extend(read);
            }
            all.insert(table, batches);
        }
        all
    })
}

/// The same as text and sorted, by table. The times of dead letters are left out.
pub fn rows(lake: &Path) -> BTreeMap<String, Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let text = |table: &str, batch: &RecordBatch| -> Vec<String> {
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields());
        let cells: Vec<_> = columns
            .filter(|(_, field)| table != paths::DEAD_LETTERS || field.name() != "time")
            .map(|(column, _)| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        (0..batch.num_rows())
            .map(|row| {
                cells
                    .iter()
                    .map(|cell| cell.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect()
    };
    batches(lake)
        .into_iter()
        .map(|(table, batches)| {
            let mut rows: Vec<String> = batches
                .iter()
                .flat_map(|batch| text(&table, batch))
                .collect();
            rows.sort();
            (table, rows)
        })
        .collect()
}

pub fn assert_same(
    found: &BTreeMap<String, Vec<String>>,
    expected: &BTreeMap<String, Vec<String>>,
) {
    let filled = |rows: &BTreeMap<String, Vec<String>>| {
        rows.iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(t, _)| t.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(filled(found), filled(expected));
    for (table, expected) in expected.iter().filter(|(_, rows)| !rows.is_empty()) {
        let found = &found[table];
        let surplus: Vec<_> = found
            .iter()
            .filter(|row| expected.binary_search(row).is_err())
            .take(3)
            .collect();
        let missing: Vec<_> = expected
            .iter()
            .filter(|row| found.binary_search(row).is_err())
            .take(3)
            .collect();
        assert!(
            found == expected,
            "`{table}` has {} rows for {}; too much, such as {surplus:#?}; missing, such as {missing:#?}",
            found.len(),
            expected.len()
        );
    }
}

/// Every file below `folder` with its content; a folder in it is not removed meanwhile.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                match fs::read(&path) {
                    Ok(content) => drop(found.insert(path, content)),
                    // A program that runs may have renamed it meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => panic!("{}: {error}", path.display()),
                }
            }
        }
    }
    found
}

/// Waits until `holds`.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A process that is ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that a running program answers at.
pub struct Http(pub String);

impl Http {
    /// The address at which the program answers views.
    pub fn of(process: &mut Running) -> Http {
        let [address] = addresses(process);
        Http(address)
    }

    /// The status code and the body of what is at `path`.
    pub fn get(&self, path: &str, accept: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
            self.0
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = memchr::memmem::find(&answer, b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = answer[end + 4..].to_vec();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = dechunked(&body);
        }
        (status, body)
    }

    /// What is at `path` as JSON, once the program has loaded its state.
    pub fn json(&self, path: &str) -> serde_json::Value {
        let mut answer = self.get(path, "application/json");
        wait("the program is loaded", || {
            if answer.0 == 503 {
                answer = self.get(path, "application/json");
            }
            answer.0 != 503
        });
        let (status, body) = answer;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }
}

/// The first addresses that a program tells, as `host:port`. What it writes afterwards is read and
/// thrown away.
pub fn addresses<const N: usize>(process: &mut Running) -> [String; N] {
    let stderr = process.0.stderr.take();
    let mut lines = BufReader::new(stderr.expect("the program's output is read")).lines();
    let mut said = Vec::new();
    let addresses = [(); N].map(|()| {
        loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the program ended: {said:#?}"))
                .unwrap();
            if let Some((_, rest)) = line.split_once("http://") {
                let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                break rest[..end.unwrap_or(rest.len())].to_owned();
            }
            said.push(line);
        }
    });
    std::thread::spawn(move || lines.for_each(drop));
    addresses
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

/// Ctrl-C, as a terminal sends it.
pub fn interrupt(process: &Running) {
    send(process.0.id(), "INT");
}

/// Sends a signal to a process.
pub fn send(process: u32, signal: &str) {
    // Built into every shell; as a program it may be missing.
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {process}")])
        .status();
    assert!(kill.unwrap().success());
}
