//! A lake as others see it: Python's `deltalake`, which shares no code of ours, reads the tables
//! and finds the rows of the input.
//!
//! The reader is installed at the first run. Where that cannot be done the test says so and checks
//! nothing.

use std::process::Command;

use tempfile::TempDir;

use crate::support::python::{ENGINES, complete, python_with};

/// Reads the input and the lake, and compares the keys of the tables, the posts of a category, and
/// a sum over a view.
const SCRIPT: &str = r#"
import os, collections, glob, json, sys
from deltalake import DeltaTable
world, lake = sys.argv[1:]
def table(path):
    return DeltaTable(f"{lake}/{path}").to_pyarrow_table().to_pylist()
def keys(stream, column):
    found = set()
    for path in glob.glob(f"{world}/topics/{stream}/*/*.json"):
        for line in open(path, encoding="utf-8"):
            record = json.loads(line)
            for row in record if isinstance(record, list) else [record]:
                found.add(int(row[column]))
    return found
for stream, column in (("pin", "index"), ("geo", "ind"), ("user", "ind")):
    rows = [row["ind"] for row in table(f"tables/{stream}")]
    assert len(rows) == len(set(rows)), f"{stream} has a key twice"
    assert set(rows) == keys(stream, column), f"{stream} has other keys than the input"
posts = collections.Counter(row["category"] for row in table("tables/pin"))
view = {row["category"]: row["posts"] for row in table("views/follower_errors_by_category")}
assert view == dict(posts), "the view has other counts than the table"
joined = {row["ind"] for row in table("tables/pin")} & {row["ind"] for row in table("tables/geo")}
assert sum(row["posts"] for row in table("views/posts_by_country_category")) == len(joined)
assert table("dead_letters") == []
print("same", flush=True)
# Threads of the libraries may outlive the interpreter, which then aborts.
os._exit(0)
"#;

fn pinflow(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinflow"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    complete(&mut command).unwrap();
}

#[test]
fn a_foreign_reader_finds_the_rows_of_the_input() {
    let python = match python_with(&ENGINES) {
        Ok(python) => python,
        Err(why) => {
            eprintln!(
                "NOT CHECKED by a foreign reader: Python's deltalake could not be installed: {why}"
            );
            return;
        }
    };
    let folder = TempDir::new().unwrap();
    let world = folder.path().join("world").display().to_string();
    let lake = folder.path().join("lake").display().to_string();
    pinflow(&[
        "emulate",
        "--to",
        &format!("dir:{world}"),
        "--posts",
        "2000",
    ]);
    let run = [
        "run",
        "--http",
        "127.0.0.1:0",
        "--source",
        &format!("dir:{world}"),
        "--lake",
        &lake,
        "--bounded",
    ];
    pinflow(&run);
    pinflow(&run);
    let said = complete(Command::new(python).args(["-c", SCRIPT, &world, &lake]));
    assert_eq!(said.as_deref().map(str::trim), Ok("same"));
}
