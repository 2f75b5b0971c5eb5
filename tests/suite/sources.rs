//! The program and its source: what it says of files that it cannot read or does not know, and what
//! is in the lake then.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::program::{finish, pinflow};

const FILE: &str = r#"
CREATE EXTERNAL TABLE raw (id BIGINT, c TEXT) STORED AS JSON LOCATION 'pin';
CREATE TABLE pin (PRIMARY KEY (id)) AS SELECT id, c FROM raw;
CREATE MATERIALIZED VIEW ids AS SELECT id FROM pin;
"#;

/// A folder with a dataflow file, sources and a lake.
struct World(TempDir);

impl World {
    fn new() -> World {
        let world = World(TempDir::new().unwrap());
        fs::write(world.path("dataflow.sql"), FILE).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn arguments(&self, source: &str, options: &str) -> String {
        let (source, lake, file) = (
            self.path(source),
            self.path("lake"),
            self.path("dataflow.sql"),
        );
        let (source, lake, file) = (source.display(), lake.display(), file.display());
        let all = format!(
            "run --source dir:{source} --lake {lake} --bounded --http 127.0.0.1:0 -w 2 {options} {file}"
        );
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Runs to the end; what was printed.
    fn run(&self, source: &str, options: &str) -> String {
        finish(&self.arguments(source, options))
    }

    /// A run that fails; what it said.
    fn refused(&self, source: &str, options: &str) -> String {
        let output = pinflow(&self.arguments(source, options)).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn row_count(printed: &str, view: &str) -> String {
    let line = printed
        .lines()
        .find(|line| line.trim_start().starts_with(view));
    let mut words = line.unwrap_or_default().split_whitespace();
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn what_came_before_a_bad_file_is_committed_and_its_rest_may_be_a_dead_letter() {
    let world = World::new();
    for n in 0..100 {
        world.put(&format!("s/pin/{n:03}.jsonl"), format!("{{\"id\":{n}}}\n"));
    }
    world.put("s/pin/500.jsonl.gz", "this is not gzip");
    world.put("s/pin/600.jsonl", "{\"id\":600}\n");
    let told = world.refused("s", "");
    assert!(
        told.contains("pin/500.jsonl.gz") && told.contains("--on-bad-file"),
        "{told}"
    );
    fs::rename(world.path("s/pin"), world.path("s/elsewhere")).unwrap();
    let printed = world.run("s", "");
    assert_eq!(row_count(&printed, "ids"), "100", "{printed}");
    fs::rename(world.path("s/elsewhere"), world.path("s/pin")).unwrap();
    let printed = world.run("s", "--on-bad-file dead-letter");
    assert_eq!(row_count(&printed, "ids"), "101", "{printed}");
    assert_eq!(row_count(&printed, "dead_letters"), "1", "{printed}");
}

#[test]
fn positions_of_another_source_are_refused_until_it_is_said_that_it_moved() {
    let world = World::new();
    world.put("a/pin/1.jsonl", "{\"id\":1}\n");
    world.run("a", "");
    world.put("b/pin/1.jsonl", "{\"id\":7}\n{\"id\":8}\n");
    let told = world.refused("b", "");
    assert!(
        told.contains("of another source") && told.contains("--source-moved"),
        "{told}"
    );
    // It is another one indeed: what was read is not in it.
    let told = world.refused("b", "--source-moved");
    assert!(told.contains("written anew"), "{told}");
    fs::rename(world.path("a"), world.path("c")).unwrap();
    world.put("c/pin/2.jsonl", "{\"id\":2}\n");
    assert_eq!(row_count(&world.run("c", "--source-moved"), "ids"), "2");
    assert_eq!(row_count(&world.run("c", ""), "ids"), "2");
}

#[test]
fn what_is_not_read_and_what_is_missing_is_told() {
    let world = World::new();
    world.put("s/pins/1.jsonl", "{\"id\":1}\n");
    let output = pinflow(&world.arguments("s", "")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("1 file in `pins` (`1.jsonl`) belong to no stream"),
        "{told}"
    );
    assert!(told.contains("has no file for the stream `pin`"), "{told}");
}
