//! Golden answers: a recorded world, and what another engine says about it.
//!
//! `fixtures/small` was made by `pinflow emulate --to dir:fixtures/small --posts 60 --layout lines
//! --seed 7 --duplicates 0.2 --dirty 0.3 --late 0.3 --updates 0.0 --broken 0.0 --partitions 1`; its
//! expected answers are written by `python fixtures/expected.py fixtures/small`, which knows the
//! questions and not our SQL.

use std::collections::BTreeMap;
use std::path::Path;

use pinflow::definition::Definition;
use pinflow::runtime::replay::{Input, Options, replay};

#[test]
fn every_shipped_view_answers_as_another_engine_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let definition = Definition::load(&root.join("dataflows/pinterest.sql")).unwrap();
    let fixture = root.join("fixtures/small");
    for workers in [1, 3] {
        // Each epoch has a part of each stream, so that partners meet late.
        let mut input = Input::default();
        let mut epochs = 0;
        for stream in ["pin", "geo", "user"] {
            for (epoch, part) in (1..).zip(records(&fixture.join(stream)).chunks(16)) {
                part.iter()
                    .for_each(|record| input.add(epoch, stream, record));
                epochs = epochs.max(epoch);
            }
        }
        let replay = replay(&definition, input, &Options { workers, batch: 7 }).unwrap();
        assert!(replay.duplicates > 0, "the fixture has repeated records");
        assert_eq!(replay.rows("dead_letters", epochs).unwrap(), [""; 0]);
        let mut compared = 0;
        for view in definition.materialized() {
            let expected =
                std::fs::read_to_string(fixture.join(format!("expected/{}.csv", view.name)))
                    .unwrap();
            let (header, expected) = expected.split_once('\n').unwrap();
            let batch = replay.at(&view.name, epochs).unwrap();
            let columns: Vec<String> = batch
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            assert_eq!(columns.join(","), header, "{}", view.name);
            assert!(
                !expected.is_empty(),
                "an empty answer tests nothing: {}",
                view.name
            );
            let expected = counted(expected.lines().map(csv_line));
            let found = counted(replay.rows(&view.name, epochs).unwrap().into_iter());
            assert_eq!(found, expected, "{} with {workers} workers", view.name);
            compared += 1;
        }
        assert_eq!(compared, 15);
    }
}

/// The records of a folder of files, in the order of the files.
fn records(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            std::fs::read_to_string(file)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn counted(rows: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    rows.for_each(|row| *counts.entry(row).or_default() += 1);
    counts
}

/// A line of comma-separated values in the form of [`pinflow::runtime::Replay::rows`]; no value
/// holds a line break.
fn csv_line(line: &str) -> String {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cells.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cells.last_mut().unwrap().push(other),
        }
    }
    cells.join(" | ")
}
