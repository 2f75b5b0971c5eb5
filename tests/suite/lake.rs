//! The program over files: what is in its lake after whole runs, repeated runs, and runs that were
//! killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::compute::concat_batches;
use pinflow::definition::Definition;
use pinflow::lake::paths;
use tempfile::TempDir;

use super::answer::Answer;
use super::oracle::Batch;
use super::program::{
    Running, assert_same, batches, files, finish, pinflow, rows, run, source, wait, world,
};

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
    let mut expected = BTreeMap::new();
    for stream in ["pin", "geo", "user"] {
        let (good, all) = (lines(&whole, stream), lines(&broken, stream));
        assert_eq!(good.len(), all.len());
        let mut neighbours = 0;
        for (offset, (good, found)) in good.iter().zip(&all).enumerate() {
            if good == found {
                neighbours += 1;
            } else {
                let record = match std::str::from_utf8(found) {
                    Ok(text) => format!(" | {text} | NULL"),
                    Err(_) => format!(" | NULL | {}", hex(found)),
                };
                expected.insert(format!("{stream} | {stream} | {offset} | "), record);
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
    let mut reasons = Vec::new();
    for row in &found["dead_letters"] {
        let place = row
            .match_indices(" | ")
            .nth(2)
            .map(|(at, _)| &row[..at + 3]);
        let place = place.unwrap();
        let record = expected.remove(place).unwrap_or_else(|| panic!("{row}"));
        let reason = row[place.len()..].strip_suffix(&record);
        reasons.push(reason.unwrap_or_else(|| panic!("{row} has not {record}")));
    }
    assert!(expected.is_empty(), "{expected:?}");
    // Every kind of fault occurs and is told in a sentence.
    for part in ["no key", "timestamp", "JSON", "latitude", "age", "UTF-8"] {
        assert!(
            reasons.iter().any(|reason| reason.contains(part)),
            "no reason speaks of {part}: {reasons:#?}"
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
    let rows = |table: &str| {
        let batches = &tables[table];
        concat_batches(&batches[0].schema(), batches).unwrap()
    };
    let given: Vec<_> = definition
        .tables
        .iter()
        .map(|table| rows(&paths::table("", &table.name)))
        .collect();
    let mut batch = Batch::new(8192);
    for (table, rows) in definition.tables.iter().zip(&given) {
        batch.give(&table.name, &rows.schema());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(batch.add_views(&definition));
    let expected = runtime.block_on(batch.answers(&given));
    assert_eq!(expected.len(), 15);
    for (view, expected) in expected {
        let expected = Answer::new(&expected.unwrap());
        let found = Answer::new(&rows(&paths::view(view)));
        if let Some(difference) = expected.difference(&found) {
            panic!("{view}: {difference}");
        }
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
                // In the middle of a commit: files are staged, the checkpoint may or may not be
                // there.
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

#[test]
fn a_batch_run_over_an_archive_gives_the_tables_of_the_run_that_wrote_it() {
    let world = world(
        600,
        "--layout topics --seed 15 --late 0.2 --updates 0.1 --broken 0.02 --duplicates 0.2 --partitions 2",
    );
    let (lake, archive) = (world.path().join("lake"), world.path().join("archive"));
    let options = format!("--archive {} -w 2", archive.display());
    // The first run is ended in the middle, if it is not done by then.
    let arguments = run(
        &source(&world),
        &lake,
        &format!("{options} --commit-every 0.05"),
    );
    let mut process = Running(pinflow(&arguments).spawn().unwrap());
    wait("there is a checkpoint", || {
        fs::read_dir(lake.join("_checkpoints")).is_ok_and(|found| found.count() > 0)
            || process.0.try_wait().unwrap().is_some()
    });
    drop(process);
    finish(&run(
        &source(&world),
        &lake,
        &format!("{options} --bounded"),
    ));
    let again = world.path().join("again");
    finish(&run(&archive, &again, "--bounded -w 2"));
    assert_same(&rows(&again), &rows(&lake));
}
