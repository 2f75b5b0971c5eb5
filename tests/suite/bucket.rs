//! A lake and a source in S3: a server of that protocol in this process, over a folder that tests
//! can look into.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use super::program::{
    Http, Running, assert_same, files, finish, pinflow, rows, run, source, wait, world,
};
use crate::support::s3::{BUCKET, KEY, S3, SECRET};

impl S3 {
    /// The program, which reaches the bucket.
    fn pinflow(&self, arguments: &str) -> Command {
        let mut command = pinflow(arguments);
        command
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        command
    }

    /// Puts a folder's files where a prefix has them.
    fn copy(&self, from: &Path, prefix: &str) {
        for (file, content) in files(from) {
            let name = file.strip_prefix(from).expect("a file of the folder");
            let to = self.bucket_folder().join(prefix).join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, content).unwrap();
        }
    }
}

fn arguments(options: &str) -> String {
    format!(
        "run --http 127.0.0.1:0 --source dir:s3://{BUCKET}/world --lake s3://{BUCKET}/lake --tick 20 {options}"
    )
}

/// Runs to the end and returns what was written to stderr.
fn completed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(SECRET), "a secret was told: {said}");
    said
}

#[test]
fn a_lake_and_a_source_in_s3_are_as_in_folders() {
    let bucket = S3::start();
    let world = world(
        300,
        "--layout topics --seed 31 --late 0.2 --updates 0.1 --broken 0.02 --partitions 2",
    );
    let local = world.path().join("lake");
    finish(&run(&source(&world), &local, "--bounded -w 2"));
    bucket.copy(&source(&world), "world");
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    let first = rows(&bucket.bucket_folder().join("lake"));
    assert_same(&first, &rows(&local));
    // Again: nothing is new.
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    assert_same(&rows(&bucket.bucket_folder().join("lake")), &first);
    for (file, content) in files(&bucket.bucket_folder()) {
        assert!(
            memchr::memmem::find(&content, SECRET.as_bytes()).is_none(),
            "{} holds a secret",
            file.display()
        );
    }
}

#[test]
fn a_run_on_s3_that_is_killed_ends_as_one_that_was_not() {
    let bucket = S3::start();
    let world = world(
        400,
        "--layout lines --seed 32 --late 0.2 --updates 0.1 --duplicates 0.2 --partitions 2",
    );
    let local = world.path().join("lake");
    finish(&run(&source(&world), &local, "--bounded -w 2"));
    bucket.copy(&source(&world), "world");
    for _ in 0..3 {
        let mut command = bucket.pinflow(&arguments("-w 2 --commit-every 0.1"));
        let mut running = Running(command.spawn().unwrap());
        let http = Http::of(&mut running);
        wait("the run is well and has committed", || {
            let checkpoints = fs::read_dir(bucket.bucket_folder().join("lake/_checkpoints"));
            checkpoints.is_ok_and(|found| found.count() > 0) && http.get("/healthz", "*/*").0 == 200
        });
    }
    completed(bucket.pinflow(&arguments("--bounded -w 2")));
    assert_same(&rows(&bucket.bucket_folder().join("lake")), &rows(&local));
}

#[test]
fn a_run_waits_for_a_lake_that_is_away() {
    let mut bucket = S3::absent();
    let world = world(50, "--layout lines --seed 33 --partitions 1");
    let mut command = bucket.pinflow(&format!(
        "run --http 127.0.0.1:0 --source dir:{} --lake s3://{BUCKET}/lake --tick 20 --bounded -w 1",
        source(&world).display()
    ));
    let mut process = Running(command.spawn().unwrap());
    let mut said = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let waits = said.find(|line| {
        line.as_ref()
            .is_ok_and(|line| line.contains("trying again"))
    });
    assert!(waits.is_some(), "the run did not wait");
    bucket.serve();
    said.for_each(drop);
    assert!(process.0.wait().unwrap().success());
    assert_eq!(
        rows(&bucket.bucket_folder().join("lake"))["tables/pin"].len(),
        50
    );
}

#[test]
fn answers_that_are_bad_once_in_thirty_times_are_asked_for_again() {
    let bucket = S3::start();
    let world = world(200, "--layout lines --seed 34 --partitions 1");
    let local = world.path().join("lake");
    finish(&run(&source(&world), &local, "--bounded -w 1"));
    bucket.copy(&source(&world), "world");
    bucket.spoil(30);
    // A start reads the logs of nineteen tables: some hundred requests, of which some have bad
    // answers.
    for _ in 0..4 {
        let before = bucket.spoiled();
        let said = completed(bucket.pinflow(&arguments("--bounded -w 2")));
        assert!(!said.contains("panicked"), "{said}");
        assert!(bucket.spoiled() - before >= 5, "{}", bucket.spoiled());
    }
    bucket.spoil(0);
    assert_same(&rows(&bucket.bucket_folder().join("lake")), &rows(&local));
}
