//! Dead letters that are sent in again after the dataflow file was mended: what becomes of them, of
//! the rows that are there, and of a lake whose retry was killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::program::{Running, files, finish, pinflow, rows, run, wait};

/// A stream of numbers that some records spell out, and a lake.
struct Shop {
    folder: TempDir,
    dataflow: PathBuf,
    commits: usize,
}

/// The table's number as the file had it at first, and as it was mended.
const STRICT: &str = "CAST(n AS BIGINT)";
const MENDED: &str = "CAST(replace(n, 'o', '0') AS BIGINT)";

impl Shop {
    fn new() -> Shop {
        let folder = TempDir::new().unwrap();
        let shop = Shop {
            dataflow: folder.path().join("shop.sql"),
            folder,
            commits: 0,
        };
        shop.says(STRICT);
        shop
    }

    fn says(&self, number: &str) {
        let text = format!(
            "CREATE EXTERNAL TABLE raw (k BIGINT, n TEXT) STORED AS JSON LOCATION 's';
             CREATE TABLE t (PRIMARY KEY (k)) AS SELECT k, {number} AS n FROM raw;
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS rows, sum(n) AS n FROM t;"
        );
        fs::write(&self.dataflow, text).unwrap();
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// Commits these records, one a line.
    fn commit(&mut self, records: &str, options: &str) {
        let source = self.folder.path().join("source");
        fs::create_dir_all(source.join("s")).unwrap();
        self.commits += 1;
        let file = source.join(format!("s/{}.jsonl", self.commits));
        fs::write(file, format!("{records}\n")).unwrap();
        self.run(options);
    }

    fn run(&self, options: &str) {
        let source = self.folder.path().join("source");
        let run = run(&source, &self.lake(), &format!("--bounded {options}"));
        finish(&format!("{run} {}", self.dataflow.display()));
    }

    fn letters(&self, options: &str) -> String {
        let lake = self.lake();
        finish(format!("dead-letters --lake {} {options}", lake.display()).trim())
    }

    fn retry(&self, options: &str) -> String {
        finish(&self.retry_arguments(options))
    }

    fn retry_arguments(&self, options: &str) -> String {
        let (file, lake) = (self.dataflow.display(), self.lake());
        let arguments = format!(
            "dead-letters retry {file} --lake {} {options}",
            lake.display()
        );
        arguments.trim().to_owned()
    }

    /// The rows of the table, of the view, and the offsets and reasons of dead letters.
    fn holds(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let mut rows = rows(&self.lake());
        let letters = rows.remove("dead_letters").unwrap_or_default();
        let letter = |row: &String| row.splitn(3, " | ").nth(2).unwrap().to_owned();
        let mut of = |table: &str| rows.remove(table).unwrap_or_default();
        (
            of("tables/t"),
            of("views/v"),
            letters.iter().map(letter).collect(),
        )
    }
}

fn letters_of(shop: &Shop) -> Vec<String> {
    shop.holds().2
}

#[test]
fn letters_become_rows_once_the_file_is_mended_and_are_letters_no_more() {
    let mut shop = Shop::new();
    shop.commit(
        r#"{"k": 1, "n": "1"}
{"k": 2, "n": "1o"}
{"k": 3, "n": "no"}
{"k": 4, "n": "2oo"}"#,
        "-w 2",
    );
    let listed = shop.letters("");
    assert!(
        listed.starts_with("3 dead letters, by stream and reason:\n")
            && listed.contains("        3  s: the record"),
        "{listed}"
    );
    shop.says(MENDED);
    let refused = pinflow(&shop.retry_arguments("")).output().unwrap();
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("--same-rows"), "{refused}");
    assert_eq!(letters_of(&shop).len(), 3);

    let said = shop.retry("--same-rows -w 2");
    assert!(
        said.starts_with("dead letters sent in again: 3; left: 1;"),
        "{said}"
    );
    let (table, view, letters) = shop.holds();
    assert_eq!(table, ["1 | 1", "2 | 10", "4 | 200"]);
    assert_eq!(view, ["3 | 211"]);
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].starts_with("2 | ") && letters[0].contains("'n0'"),
        "{letters:?}"
    );

    // Again: nothing is doubled, and what cannot be a row is a letter once.
    shop.retry("");
    assert_eq!(shop.holds(), (table.clone(), view.clone(), letters.clone()));
    let said = shop.retry("--reason nothing-says-this");
    assert!(said.starts_with("no dead letter is meant"), "{said}");
    // The source goes on where it was.
    shop.run("-w 1");
    assert_eq!(shop.holds(), (table, view, letters));
    shop.commit(r#"{"k": 5, "n": "5o"}"#, "-w 1");
    assert_eq!(shop.holds().1, ["4 | 261"]);
}

#[test]
fn only_the_letters_that_are_meant_are_sent_in() {
    let mut shop = Shop::new();
    shop.commit(
        "{\"k\": 1, \"n\": \"1o\"}\n{\"n\": \"7\"}\nnonsense",
        "-w 1",
    );
    shop.says(MENDED);
    let later = shop.retry("--same-rows --since 2100-01-01");
    assert!(later.starts_with("no dead letter is meant"), "{later}");
    let other = shop.retry("--same-rows --stream other");
    assert!(other.starts_with("no dead letter is meant"), "{other}");
    let said = shop.retry("--same-rows --stream s --reason Cast");
    assert!(
        said.starts_with("dead letters sent in again: 1; left: 2;"),
        "{said}"
    );
    assert_eq!(shop.holds().0, ["1 | 10"]);
    let listed = finish(&format!(
        "dead-letters list --reason key --lake {}",
        shop.lake().display()
    ));
    assert!(listed.starts_with("1 dead letters"), "{listed}");
}

#[test]
fn a_letter_replaces_an_older_row_and_no_newer_one() {
    let mut shop = Shop::new();
    shop.commit(
        r#"{"k": 1, "n": "1o"}
{"k": 2, "n": "2"}
{"k": 3, "n": "3o"}
{"k": 3, "n": "3"}"#,
        "-w 2",
    );
    shop.commit(
        r#"{"k": 1, "n": "11"}
{"k": 2, "n": "2o"}"#,
        "-w 1",
    );
    assert_eq!(shop.holds().0, ["1 | 11", "2 | 2", "3 | 3"]);
    shop.says(MENDED);
    shop.retry("--same-rows -w 2");
    // Of key 3 nobody can tell: both records came in one commit.
    let (table, view, letters) = shop.holds();
    assert_eq!(table, ["1 | 11", "2 | 20", "3 | 3"]);
    assert_eq!(view, ["3 | 34"]);
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].starts_with("2 | ") && letters[0].contains("may be the newer one"),
        "{letters:?}"
    );
    shop.retry("");
    assert_eq!(shop.holds(), (table, view, letters));
}

#[test]
fn a_retry_that_was_sent_in_stays_older_than_what_came_later() {
    let mut shop = Shop::new();
    shop.commit("{\"k\": 1, \"n\": \"1o\"}", "-w 1");
    shop.commit("{\"k\": 1, \"n\": \"xo\"}", "-w 1");
    shop.commit("{\"k\": 2, \"n\": \"2\"}", "-w 1");
    // The first letter becomes a row in a later commit than that of the second.
    shop.says(MENDED);
    shop.retry("--same-rows --reason 1o");
    assert_eq!(shop.holds().0, ["1 | 10", "2 | 2"]);
    shop.says("CAST(replace(replace(n, 'o', '0'), 'x', '7') AS BIGINT)");
    shop.retry("--same-rows");
    assert_eq!(shop.holds().0, ["1 | 70", "2 | 2"]);
    assert!(letters_of(&shop).is_empty());
}

#[test]
fn letters_of_bytes_and_of_tombstones_are_sent_in_as_what_they_are() {
    let mut shop = Shop::new();
    let source = shop.folder.path().join("source/s");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("0.jsonl"), b"{\"k\": 1, \"n\": \"\xff\"}\n").unwrap();
    let tombstone = r#"{"__tombstone": "none"}"#;
    shop.commit(&format!("{{\"k\": 2, \"n\": \"2\"}}\n{tombstone}"), "-w 1");
    let before = shop.holds();
    assert!(
        before.2[1].contains("the tombstone deletes nothing"),
        "{:?}",
        before.2
    );
    let said = shop.retry("");
    assert!(
        said.starts_with("dead letters sent in again: 2; left: 2;"),
        "{said}"
    );
    assert_eq!(shop.holds(), before);
}

#[test]
fn the_rest_of_a_bad_file_says_what_is_wrong_and_is_not_sent_in() {
    let mut shop = Shop::new();
    let source = shop.folder.path().join("source/s");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("0.jsonl.gz"), "this is not gzip").unwrap();
    let record = "{\"k\": 1, \"n\": \"1\"}\nnonsense";
    shop.commit(record, "-w 1 --on-bad-file dead-letter");
    let before = shop.holds();
    let (table, _, letters) = &before;
    assert_eq!(table, &["1 | 1"]);
    let reason = "0 | the rest of the file `s/0.jsonl.gz` could not be read: it is not gzip: ";
    assert!(letters[0].starts_with(reason), "{letters:?}");
    assert!(letters[1].starts_with("2 | not JSON"), "{letters:?}");

    let retry = pinflow(&shop.retry_arguments("")).output().unwrap();
    let (said, told) = (
        String::from_utf8_lossy(&retry.stdout),
        String::from_utf8_lossy(&retry.stderr),
    );
    assert!(
        said.starts_with("dead letters sent in again: 1; left: 2;"),
        "{said}{told}"
    );
    assert!(
        told.contains("1 of the dead letters that are meant stay"),
        "{told}"
    );
    assert_eq!(shop.holds(), before);
}

#[test]
fn a_retry_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let mut shop = Shop::new();
    let record = |k: u32| match k % 3 {
        0 => format!("{{\"k\": {k}, \"n\": \"no\"}}"),
        1 => format!("{{\"k\": {k}, \"n\": \"{k}o\"}}"),
        _ => format!("{{\"k\": {k}, \"n\": \"{k}\"}}"),
    };
    let records: Vec<String> = (0..6_000).map(record).collect();
    shop.commit(&records.join("\n"), "-w 2");
    shop.says(MENDED);
    let before = shop.holds();
    let lake = shop.lake();
    let of = |file: &Path, kind: &str| file.components().any(|part| part.as_os_str() == kind);
    let count = |kind: &str| files(&lake).keys().filter(|file| of(file, kind)).count();
    let seen: [(&str, usize); 3] =
        ["dead_letters", "tables", "_checkpoints"].map(|kind| (kind, count(kind)));
    for (kind, there) in seen {
        let begun = pinflow(&shop.retry_arguments("--same-rows -w 2"))
            .spawn()
            .unwrap();
        let mut retry = Running(begun);
        wait("the retry has written something", || {
            count(kind) > there || retry.0.try_wait().unwrap().is_some()
        });
        retry.0.kill().unwrap();
        retry.0.wait().unwrap();
    }
    shop.retry("--same-rows -w 1");
    let expected: BTreeMap<u32, u32> = (0..6_000)
        .filter(|k| k % 3 > 0)
        .map(|k| (k, if k % 3 == 1 { k * 10 } else { k }))
        .collect();
    let mut expected: Vec<String> = expected.iter().map(|(k, n)| format!("{k} | {n}")).collect();
    expected.sort();
    let (table, _, letters) = shop.holds();
    assert_eq!(before.2.len(), 4_000);
    assert_eq!(table, expected);
    assert_eq!(letters.len(), 2_000);
}
