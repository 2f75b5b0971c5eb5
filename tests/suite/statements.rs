//! The program and its dataflow file: a lake whose file was changed, and a program that is alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::program::{files, finish, pinflow, rows, run, source, world};

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
