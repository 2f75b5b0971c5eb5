//! The program over files: what is in its lake after whole runs, repeated runs, and runs that were killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use pinflow::definition::Definition;
use pinflow::lake::{Lake, paths};
use pinflow::sink::Committer;
use tempfile::TempDir;

use super::oracle;

/// No condition takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with its arguments, split at blanks.
fn pinflow(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinflow"));
    command
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end; what it printed.
fn finish(arguments: &str) -> String {
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

/// A folder with a world of `posts` in it, files of 50 records. `options` of the emulation say how they are laid out.
fn world(posts: u32, options: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("world");
    finish(&format!(
        "emulate --to dir:{} --posts {posts} --roll-records 50 {options}",
        to.display()
    ));
    folder
}

fn source(world: &TempDir) -> PathBuf {
    world.path().join("world")
}

/// The arguments of a run of `source` into `lake`.
fn run(source: &Path, lake: &Path, options: &str) -> String {
    format!(
        "run --http 127.0.0.1:0 --source dir:{} --lake {} --tick 20 {options}",
        source.display(),
        lake.display()
    )
}

/// The rows of all tables of a lake.
fn batches(lake: &Path) -> BTreeMap<String, Vec<RecordBatch>> {
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
fn rows(lake: &Path) -> BTreeMap<String, Vec<String>> {
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

fn assert_same(found: &BTreeMap<String, Vec<String>>, expected: &BTreeMap<String, Vec<String>>) {
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

/// Every file below `folder` with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Waits until `holds`.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_second_run_of_the_same_files_adds_no_row() {
    let world = world(
        400,
        "--layout lines --seed 11 --late 0.1 --updates 0.05 --broken 0.02 --partitions 3",
    );
    let lake = world.path().join("lake");
    finish(&run(&source(&world), &lake, "--bounded -w 2"));
    let first = rows(&lake);
    assert!(
        first["tables/pin"].len() >= 350 && !first["views/posts_by_country_category"].is_empty()
    );
    let data = |lake: &Path| {
        files(lake)
            .into_keys()
            .filter(|file| file.extension().is_some_and(|e| e == "parquet"))
            .collect::<Vec<_>>()
    };
    let before = data(&lake);
    finish(&run(&source(&world), &lake, "--bounded -w 2"));
    assert_eq!(rows(&lake), first);
    assert_eq!(data(&lake), before, "no file was written again");
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let world = world(
        500,
        "--layout topics --gzip --seed 12 --late 0.2 --updates 0.1 --broken 0.02 --partitions 2",
    );
    let lakes = [1, 2, 3].map(|workers| {
        let lake = world.path().join(format!("lake-{workers}"));
        finish(&run(
            &source(&world),
            &lake,
            &format!("--bounded -w {workers}"),
        ));
        rows(&lake)
    });
    assert_same(&lakes[1], &lakes[0]);
    assert_same(&lakes[2], &lakes[0]);
}

#[test]
fn bad_records_become_dead_letters_with_their_bytes_and_their_neighbours_go_through() {
    // The same world twice: the broken one differs only in the records that are broken.
    let options =
        "--layout lines --seed 13 --duplicates 0 --late 0 --updates 0 --variants 0 --partitions 1";
    let (whole, broken) = (
        world(1500, options),
        world(1500, &format!("{options} --broken 0.05")),
    );
    let lake = broken.path().join("lake");
    finish(&run(&source(&broken), &lake, "--bounded -w 2"));
    let found = rows(&lake);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut expected = Vec::new();
    for stream in ["pin", "geo", "user"] {
        let (good, all) = (lines(&whole, stream), lines(&broken, stream));
        assert_eq!(good.len(), all.len());
        let mut neighbours = 0;
        for (offset, (good, found)) in good.iter().zip(&all).enumerate() {
            if good == found {
                neighbours += 1;
            } else {
                expected.push(format!("{stream} | {stream} | {offset} | {}", hex(found)));
            }
        }
        assert!(
            neighbours < all.len(),
            "some records of `{stream}` are broken"
        );
        assert_eq!(
            found[&format!("tables/{stream}")].len(),
            neighbours,
            "the rows of `{stream}`"
        );
    }
    expected.sort();
    let letters: Vec<(String, String)> = found["dead_letters"]
        .iter()
        .map(|row| {
            let (place, rest) = row
                .match_indices(" | ")
                .nth(2)
                .map(|(at, _)| (&row[..at], &row[at + 3..]))
                .unwrap();
            let (reason, record) = rest.rsplit_once(" | ").unwrap();
            (format!("{place} | {record}"), reason.to_owned())
        })
        .collect();
    let mut places: Vec<&String> = letters.iter().map(|letter| &letter.0).collect();
    places.sort();
    assert_eq!(places, expected.iter().collect::<Vec<_>>());
    // Every kind of fault occurs and is told in a sentence.
    for part in ["no key", "timestamp", "JSON", "latitude", "age", "UTF-8"] {
        assert!(
            letters.iter().any(|letter| letter.1.contains(part)),
            "no reason speaks of {part}: {letters:#?}"
        );
    }
}

#[test]
fn the_views_in_a_lake_are_what_their_queries_answer_over_its_tables() {
    let world = world(
        6000,
        "--layout lines --seed 14 --late 0.2 --updates 0.1 --dirty 0.3 --broken 0.01 --partitions 1",
    );
    let lake = world.path().join("lake");
    finish(&run(&source(&world), &lake, "--bounded -w 2"));
    let tables = batches(&lake);
    let definition =
        Definition::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/pinterest.sql"))
            .unwrap();
    let context = super::oracle::session();
    for table in &definition.tables {
        let batches = &tables[&paths::table("", &table.name)];
        let rows = concat_batches(&batches[0].schema(), batches).unwrap();
        oracle::register(&context, &table.name, rows).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let expected = runtime
        .block_on(oracle::views_over(&definition, &context))
        .unwrap();
    assert_eq!(expected.len(), 15);
    for (view, expected) in &expected {
        let batches = &tables[&paths::view(view)];
        let found = concat_batches(&batches[0].schema(), batches).unwrap();
        let (found, expected) = (oracle::rows(&found), oracle::rows(expected));
        assert!(
            oracle::same(&found, &expected),
            "{view}: {} rows for {}",
            found.len(),
            expected.len()
        );
    }
}

/// The records of a stream of a world in the form of lines, in the order in which they are read.
fn lines(world: &TempDir, stream: &str) -> Vec<Vec<u8>> {
    let split = |content: Vec<u8>| {
        content
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    files(&source(world).join(stream))
        .into_values()
        .flat_map(split)
        .collect()
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    for seed in 0..3u64 {
        let world = world(
            700,
            &format!(
                "--layout lines --seed 2{seed} --late 0.2 --updates 0.1 --broken 0.01 --duplicates 0.2 --partitions 2"
            ),
        );
        let whole = world.path().join("whole");
        finish(&run(&source(&world), &whole, "--bounded -w 1"));

        // The files come one after the other, while the program runs and is killed.
        let inbox = world.path().join("inbox");
        for stream in ["pin", "geo", "user"] {
            fs::create_dir_all(inbox.join(stream)).unwrap();
        }
        let mut waiting: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in files(&source(&world)).into_keys() {
            let partition = file
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .rsplit_once('-')
                .unwrap()
                .0
                .to_owned();
            let stream = file
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            waiting
                .entry(format!("{stream}/{partition}"))
                .or_default()
                .push(file);
        }
        let mut arrivals: Vec<PathBuf> = Vec::new();
        // All of a folder's files in the order of their names, and the folders in turn.
        let mut queues: Vec<_> = ["pin", "geo", "user"]
            .map(|stream| {
                waiting
                    .iter()
                    .filter(|(p, _)| p.starts_with(stream))
                    .flat_map(|(_, files)| files.clone())
                    .collect::<Vec<_>>()
                    .into_iter()
            })
            .into();
        while queues.iter().any(|queue| queue.len() > 0) {
            arrivals.extend(queues.iter_mut().filter_map(Iterator::next));
        }
        let mut arrivals = arrivals.into_iter();

        let lake = world.path().join("lake");
        let checkpoints = || match fs::read_dir(lake.join(paths::CHECKPOINTS)) {
            Ok(entries) => entries
                .filter_map(|e| paths::checkpoint_number(e.ok()?.file_name().to_str()?))
                .max()
                .unwrap_or(0),
            Err(_) => 0,
        };
        let staged = || {
            if lake.exists() {
                count_parquet(&lake)
            } else {
                0
            }
        };
        let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |n: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance % n
        };
        let mut kills = 0;
        loop {
            let mut left = true;
            for _ in 0..1 + below(8) {
                let Some(file) = arrivals.next() else {
                    left = false;
                    break;
                };
                let stream = file.parent().unwrap().file_name().unwrap();
                fs::rename(&file, inbox.join(stream).join(file.file_name().unwrap())).unwrap();
            }
            if !left {
                break;
            }
            let (checkpoints_before, staged_before) = (checkpoints(), staged());
            let workers = 1 + below(2);
            let mut process = Running(
                pinflow(&run(
                    &inbox,
                    &lake,
                    &format!("--commit-every 0.2 -w {workers}"),
                ))
                .spawn()
                .unwrap(),
            );
            let alive = |process: &mut Running| {
                let ended = process.0.try_wait().unwrap();
                assert!(ended.is_none(), "the program ended by itself: {}", {
                    let mut text = String::new();
                    let _ = std::io::Read::read_to_string(
                        process.0.stderr.as_mut().unwrap(),
                        &mut text,
                    );
                    text
                });
            };
            match below(3) {
                // In the middle of a commit: files are staged, the checkpoint may or may not be there.
                0 => wait("a file is staged", || {
                    alive(&mut process);
                    staged() > staged_before
                }),
                // Just after the commit, while the tables follow.
                1 => wait("a checkpoint is put", || {
                    alive(&mut process);
                    checkpoints() > checkpoints_before
                }),
                // At once.
                _ => {}
            }
            for _ in 0..below(2000) {
                std::thread::yield_now();
            }
            drop(process);
            kills += 1;
        }
        assert!(kills >= 5, "{kills} kills");
        finish(&run(&inbox, &lake, "--bounded -w 2"));
        assert_same(&rows(&lake), &rows(&whole));
    }
}

fn count_parquet(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                count_parquet(&path)
            } else {
                usize::from(path.extension().is_some_and(|e| e == "parquet"))
            }
        })
        .sum()
}
