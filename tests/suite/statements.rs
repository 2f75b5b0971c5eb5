//! The program and its dataflow file: a lake whose file was changed, and a program that is alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::program::{batches, files, finish, pinflow, rows, run, source, world};

const FILE: &str = r#"
CREATE EXTERNAL TABLE raw ("index" BIGINT, category TEXT, follower_count TEXT) STORED AS JSON LOCATION 'pin';
CREATE TABLE pin (PRIMARY KEY (ind)) AS
    SELECT "index" AS ind, blank_to_null(category) AS category, parse_count(follower_count) AS followers FROM raw;
CREATE MATERIALIZED VIEW posts AS SELECT category, count(*) AS posts FROM pin GROUP BY category;
CREATE MATERIALIZED VIEW loved AS SELECT category, max(followers) AS followers FROM pin GROUP BY category;
"#;

/// A lake that `FILE` made, and the data files of it.
struct Made {
    world: TempDir,
    before: BTreeSet<PathBuf>,
}

impl Made {
    fn new() -> Made {
        let world = world(300, "--layout lines --seed 21 --partitions 2");
        let mut made = Made {
            world,
            before: BTreeSet::new(),
        };
        finish(&made.arguments(FILE));
        made.before = made.files();
        made
    }

    fn lake(&self) -> PathBuf {
        self.world.path().join("lake")
    }

    fn arguments(&self, text: &str) -> String {
        let file = self.world.path().join("dataflow.sql");
        fs::write(&file, text).unwrap();
        let options = format!("--bounded {}", file.display());
        run(&source(&self.world), &self.lake(), &options)
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let all = files(&self.lake()).into_keys();
        all.filter(|file| file.extension().is_some_and(|e| e == "parquet"))
            .collect()
    }

    /// The folders in which a run with another text wrote files.
    fn written_by(&self, text: &str) -> Vec<String> {
        finish(&self.arguments(text));
        let new = &self.files() - &self.before;
        let lake = self.lake();
        let folder = |file: &PathBuf| {
            let folder = file.parent().unwrap();
            let folder = folder.strip_prefix(&lake).unwrap_or(folder);
            folder.display().to_string()
        };
        new.iter().map(folder).collect()
    }
}

#[test]
fn a_file_that_only_looks_different_goes_on() {
    let made = Made::new();
    let text = FILE
        .replace("SELECT", "select -- what is kept:\n   ")
        .replace("CREATE", "\n\nCreate")
        .replace(", ", " /* and */ ,");
    assert_eq!(made.written_by(&text), Vec::<String>::new());
}

#[test]
fn a_replay_deletes_what_a_run_deletes() {
    let folder = TempDir::new().unwrap();
    let fixture = folder.path().join("world");
    fs::create_dir_all(fixture.join("pin")).unwrap();
    let lines = "{\"index\":1,\"category\":\"art\"}\n{\"index\":2,\"category\":\"art\"}\n{\"__tombstone\":\"1\"}";
    fs::write(fixture.join("pin/1.jsonl"), lines).unwrap();
    fs::write(fixture.join("dataflow.sql"), FILE).unwrap();
    let printed = finish(&format!("replay {} posts", fixture.display()));
    assert!(printed.contains("| art      |     1 |"), "{printed}");
}

#[test]
fn a_changed_view_is_written_anew_and_its_neighbours_are_not() {
    let made = Made::new();
    let text = FILE.replace("max(followers)", "min(followers)");
    assert_eq!(made.written_by(&text), ["views/loved"]);
    let changed = rows(&made.lake());
    fs::remove_dir_all(made.lake()).unwrap();
    finish(&made.arguments(&text));
    assert_eq!(changed, rows(&made.lake()));
}

#[test]
fn a_view_with_other_columns_changes_the_columns_of_its_table() {
    let made = Made::new();
    let text = FILE.replace(
        "category, max(followers) AS followers",
        "max(followers) AS followers, category AS kind, count(*) AS posts",
    );
    assert_eq!(made.written_by(&text), ["views/loved"]);
    let changed = rows(&made.lake());
    let columns = |name: &str| -> Vec<String> {
        let schema = batches(&made.lake())[name][0].schema();
        schema.fields().iter().map(|f| f.name().clone()).collect()
    };
    assert_eq!(columns("views/loved"), ["followers", "kind", "posts"]);
    let schema = delta_schema(
        &made
            .lake()
            .join("views/loved/_delta_log/00000000000000000001.json"),
    );
    assert_eq!(schema, ["followers", "kind", "posts"]);
    fs::remove_dir_all(made.lake()).unwrap();
    finish(&made.arguments(&text));
    assert_eq!(changed, rows(&made.lake()));
}

#[test]
fn a_view_that_is_defined_no_more_is_named_and_written_anew_when_it_comes_back() {
    let made = Made::new();
    let post = r#"{"index":100000,"category":"seen by one view","follower_count":"5k"}"#;
    fs::write(source(&made.world).join("pin/part-7-00000.jsonl"), post).unwrap();
    let text = FILE.lines().filter(|line| !line.contains("VIEW loved"));
    let arguments = made.arguments(&text.collect::<Vec<_>>().join("\n"));
    let output = pinflow(&arguments).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success());
    let named = "views/loved of the lake is in";
    assert_eq!(message.matches("of the lake is in").count(), 1, "{message}");
    assert!(message.contains(named), "{message}");
    finish(&made.arguments(FILE));
    let found = rows(&made.lake());
    assert!(found["views/loved"].contains(&"seen by one view | 5000".to_owned()));
    fs::remove_dir_all(made.lake()).unwrap();
    finish(&made.arguments(FILE));
    assert_eq!(found, rows(&made.lake()));
}

/// The columns that an entry of a Delta log gives its table.
fn delta_schema(entry: &Path) -> Vec<String> {
    let text = fs::read_to_string(entry).unwrap();
    let actions = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let schema = actions
        .filter_map(|action| {
            Some(
                action
                    .get("metaData")?
                    .get("schemaString")?
                    .as_str()?
                    .to_owned(),
            )
        })
        .next()
        .expect("the entry tells of columns");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let fields = schema["fields"].as_array().unwrap();
    fields
        .iter()
        .map(|f| f["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_changed_table_is_refused_with_what_differs() {
    let made = Made::new();
    let other_cleaning = FILE.replace("blank_to_null(category)", "trim(category)");
    let other_stream = FILE.replace("follower_count TEXT", "follower_count BIGINT");
    let other_stream = other_stream.replace("parse_count(follower_count)", "follower_count");
    let other_field = FILE.replace("category TEXT", "category TEXT, title TEXT");
    for (text, expect) in [
        (
            other_cleaning,
            "where `pin` has `.. \"index\" as ind , trim ( category ) as category ..` now, it had `.. \"index\" as ind , blank_to_null ( category ) as category ..`",
        ),
        (other_stream, "where `pin` has"),
        (
            other_field,
            "where `raw` has `.. , category text , title text , follower_count text ) ..` now, it had `.. , category text , follower_count text ) stored as json ..`",
        ),
    ] {
        let output = pinflow(&made.arguments(&text)).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(message.contains(expect), "{message}");
        assert!(
            message.contains("help: give this dataflow a lake of its own"),
            "{message}"
        );
    }
    assert_eq!(made.files(), made.before);
}

#[test]
fn the_program_alone_is_enough() {
    let folder = TempDir::new().unwrap();
    let at =
        |arguments: &str, folder: &Path| pinflow(arguments).current_dir(folder).output().unwrap();
    let checked = at("check dataflows/pinterest.sql", folder.path());
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("15 materialised views"), "{said}");

    let missing = at("check dataflows/other.sql", folder.path());
    assert_eq!(
        String::from_utf8_lossy(&missing.stderr).trim_end(),
        "error: the dataflow file cannot be read: No such file or directory (os error 2)\n   \
            at: dataflows/other.sql\n \
          help: name an existing file, or dataflows/pinterest.sql, which is built in"
    );

    // A file of that name is what is meant, where there is one.
    fs::create_dir(folder.path().join("dataflows")).unwrap();
    fs::write(folder.path().join("dataflows/pinterest.sql"), FILE).unwrap();
    let checked = at("check dataflows/pinterest.sql", folder.path());
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("2 materialised views"), "{said}");
}
