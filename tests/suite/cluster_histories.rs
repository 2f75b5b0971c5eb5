//! Clusters as they live: several processes of which some have nothing to read, get bad records,
//! lose their source, or die.
//!
//! A history is a sequence of launches over one growing world, drawn from a seed. After each of
//! them no process is left; at the end every table and view is what the records say, and nothing is
//! there twice. `PINFLOW_CASES=100` lives through more of them, `PINFLOW_SEED=7` through one again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use tempfile::TempDir;

use super::program::{Http, PATIENCE, Running, finish, pinflow, rows, send, wait};

const SQL: &str = "
CREATE EXTERNAL TABLE pin_raw (id BIGINT, c TEXT) STORED AS JSON LOCATION 'pin';
CREATE TABLE pin (PRIMARY KEY (id)) AS SELECT id, c FROM pin_raw;
CREATE MATERIALIZED VIEW by_c AS SELECT c, count(*) AS n FROM pin GROUP BY c;
";
const PARTITIONS: u64 = 5;
/// Histories, and the first seed, unless the environment says otherwise.
const CASES: u64 = 4;
const SEED: u64 = 1;

/// Chance that is the same whenever its seed is.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What was written, and what must come of it.
struct World {
    folder: TempDir,
    files: u64,
    records: u64,
    broken: usize,
    pins: BTreeMap<u64, u64>,
}

impl World {
    fn new() -> World {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("dataflow.sql"), SQL).unwrap();
        let world = World {
            folder,
            files: 0,
            records: 0,
            broken: 0,
            pins: BTreeMap::new(),
        };
        fs::create_dir_all(world.source()).unwrap();
        world
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    fn partition(&self, partition: u64) -> PathBuf {
        let topic = self.source().join("topics/pin");
        topic.join(format!("partition={partition}"))
    }

    /// A file that sorts behind all others, renamed into its place.
    fn write(&mut self, partition: u64, ending: &str, content: &[u8]) -> PathBuf {
        let folder = self.partition(partition);
        fs::create_dir_all(&folder).unwrap();
        self.files += 1;
        let file = folder.join(format!("{:08}.{ending}", self.files));
        let hidden = folder.join(".new");
        fs::write(&hidden, content).unwrap();
        fs::rename(&hidden, &file).unwrap();
        file
    }

    /// Some records in a partition. A key belongs to one partition, so that its last record is
    /// known.
    fn feed(&mut self, chance: &mut Chance, partition: u64) {
        let mut content = String::new();
        for _ in 0..1 + chance.below(20) {
            self.records += 1;
            if chance.below(20) == 0 {
                self.broken += 1;
                content.push_str("not a record\n");
                continue;
            }
            let (id, c) = (chance.below(40) * PARTITIONS + partition, chance.below(7));
            self.pins.insert(id, c);
            content.push_str(&format!("{{\"id\": {id}, \"c\": \"c{c}\"}}\n"));
        }
        self.write(partition, "jsonl", content.as_bytes());
    }

    fn arguments(&self, command: &str, options: &str) -> String {
        format!(
            "{command} --http 127.0.0.1:0 --source dir:{} --lake {} --tick 10 {options} {}",
            self.source().display(),
            self.lake().display(),
            self.folder.path().join("dataflow.sql").display()
        )
    }

    /// What the tables and views must hold.
    fn truth(&self) -> BTreeMap<String, Vec<String>> {
        let mut pins: Vec<String> = self
            .pins
            .iter()
            .map(|(id, c)| format!("{id} | c{c}"))
            .collect();
        pins.sort();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for c in self.pins.values() {
            *counts.entry(*c).or_default() += 1;
        }
        let counts = counts.iter().map(|(c, n)| format!("c{c} | {n}")).collect();
        BTreeMap::from([
            ("tables/pin".to_owned(), pins),
            ("views/by_c".to_owned(), counts),
        ])
    }

    /// Reads what is left, and compares.
    fn judge(&self, what: &str) {
        finish(&self.arguments("run", "--bounded -w 2"));
        let mut found = rows(&self.lake());
        let letters = found.remove("dead_letters").unwrap_or_default();
        assert_eq!(found, self.truth(), "{what}");
        assert_eq!(letters.len(), self.broken, "dead letters, {what}");
    }
}

/// A launcher and its processes.
struct Cluster {
    launcher: Running,
    http: Http,
    processes: Vec<u32>,
}

/// The processes that a process started.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which stands in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Whether it runs; one that has ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

impl Cluster {
    fn launch(world: &World, processes: u64, options: &str) -> Cluster {
        let arguments = world.arguments(&format!("launch -n {processes}"), options);
        let mut launcher = Running(pinflow(&arguments).spawn().unwrap());
        let http = Http::of(&mut launcher);
        let pid = launcher.0.id();
        wait("all processes are started", || {
            children(pid).len() as u64 == processes
        });
        Cluster {
            launcher,
            http,
            processes: children(pid),
        }
    }

    /// The process with this number.
    fn process(&self, number: usize) -> u32 {
        let given = format!("--process\0{number}\0");
        let is = |pid: &&u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&given)
        };
        *self.processes.iter().find(is).expect("the process runs")
    }

    /// Records that all processes have read.
    fn records(&self) -> u64 {
        self.http.json("/status")["records"].as_u64().unwrap()
    }

    fn commits(&self) -> u64 {
        self.http.json("/status")["commit"]["number"]
            .as_u64()
            .unwrap_or(0)
    }

    /// Waits for the launcher; no process is left then.
    fn end(mut self, what: &str) -> ExitStatus {
        let status = ended(&mut self.launcher.0, what);
        for pid in &self.processes {
            assert!(!runs(*pid), "a process is left behind, {what}");
        }
        status
    }
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let mut status = None;
    wait(&format!("the launcher ends, {what}"), || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// How a launch ends.
#[derive(Debug)]
enum Ending {
    /// The launcher is sent a signal.
    Signal(&'static str),
    /// One of the processes is killed.
    Kill(usize),
    /// The launcher is killed.
    Orphaned,
    /// A file that cannot be read appears in a partition.
    BadFile(u64),
}

fn live_through(seed: u64) {
    let mut chance = Chance(seed);
    let mut world = World::new();
    for launch in 0..4 {
        let processes = 1 + chance.below(3);
        let options = format!(
            "-w {} --commit-every {}",
            1 + chance.below(2),
            ["0.05", "0.2", "3600"][chance.below(3) as usize]
        );
        let ending = match chance.below(6) {
            0 => Ending::Signal("TERM"),
            1 => Ending::Signal("INT"),
            2 => Ending::Signal("HUP"),
            3 => Ending::Kill(chance.below(processes) as usize),
            4 => Ending::Orphaned,
            _ => Ending::BadFile(chance.below(PARTITIONS)),
        };
        let what = format!(
            "PINFLOW_SEED={seed} PINFLOW_CASES=1, launch {launch} of {processes} processes, {options}, {ending:?}"
        );
        let before = world.records;
        // Few partitions leave most processes without anything to read.
        let fed: Vec<u64> = (0..1 + chance.below(3))
            .map(|_| chance.below(PARTITIONS))
            .collect();
        let early = chance.below(2) == 0;
        if early {
            fed.iter()
                .for_each(|partition| world.feed(&mut chance, *partition));
        }
        let cluster = Cluster::launch(&world, processes, &options);
        if !early {
            fed.iter()
                .for_each(|partition| world.feed(&mut chance, *partition));
        }
        let waits = chance.below(4) != 0;
        if waits {
            // What earlier launches left uncommitted is read again, so there may be more.
            wait(&format!("all is read, {what}"), || {
                cluster.records() >= world.records - before
            });
            if !options.ends_with("3600") {
                let commits = cluster.commits();
                world.feed(&mut chance, fed[0]);
                wait(&format!("it is committed, {what}"), || {
                    cluster.commits() > commits
                });
            }
        }
        let launcher = cluster.launcher.0.id();
        match ending {
            Ending::Signal(name) => {
                send(launcher, name);
                let status = cluster.end(&what);
                assert!(status.success(), "{status}, {what}");
            }
            Ending::Kill(number) => {
                send(cluster.process(number), "KILL");
                assert!(!cluster.end(&what).success(), "{what}");
            }
            Ending::Orphaned => {
                let left = cluster.processes.clone();
                send(launcher, "KILL");
                wait(&format!("the processes end too, {what}"), || {
                    !left.iter().any(|pid| runs(*pid))
                });
            }
            Ending::BadFile(partition) => {
                let file = world.write(partition, "jsonl.gz", b"this is not gzip");
                assert!(!cluster.end(&what).success(), "{what}");
                fs::remove_file(file).unwrap();
            }
        }
    }
    world.judge(&format!("PINFLOW_SEED={seed} PINFLOW_CASES=1, at the end"));
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number"))
    })
}

#[test]
fn whatever_happens_to_a_cluster_nothing_is_lost_or_twice() {
    let first = number("PINFLOW_SEED", SEED);
    for seed in first..first + number("PINFLOW_CASES", CASES) {
        live_through(seed);
    }
}

#[test]
fn what_any_process_reads_is_committed_and_counted() {
    let mut world = World::new();
    let mut chance = Chance(3);
    for partition in 0..PARTITIONS {
        world.feed(&mut chance, partition);
    }
    let cluster = Cluster::launch(&world, 2, "-w 1 --commit-every 0.05");
    wait("the first commit", || cluster.commits() > 0);
    // Whichever process reads a partition: each alone brings about a commit.
    for partition in 0..PARTITIONS {
        let commits = cluster.commits();
        world.feed(&mut chance, partition);
        wait("a commit", || cluster.commits() > commits);
    }
    wait("all records are counted", || {
        cluster.records() == world.records
    });
    send(cluster.launcher.0.id(), "TERM");
    assert!(cluster.end("TERM").success());
    world.judge("after TERM");
}

#[test]
fn a_source_that_fails_in_one_process_ends_all_with_its_sentence() {
    let mut world = World::new();
    let mut chance = Chance(4);
    for partition in 0..PARTITIONS {
        world.feed(&mut chance, partition);
    }
    for partition in 0..PARTITIONS {
        let mut launcher = {
            let arguments = world.arguments("launch -n 3", "-w 1 --commit-every 3600");
            Running(pinflow(&arguments).spawn().unwrap())
        };
        let bad = world.write(partition, "jsonl.gz", b"this is not gzip");
        let mut stderr = launcher.0.stderr.take().unwrap();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert!(!ended(&mut launcher.0, "a bad file").success());
        let name = bad.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        fs::remove_file(bad).unwrap();
    }
    world.judge("after bad files");
}

#[test]
fn the_others_end_when_a_process_dies() {
    let mut world = World::new();
    let mut chance = Chance(5);
    for number in 0..3 {
        for partition in 0..PARTITIONS {
            world.feed(&mut chance, partition);
        }
        // Whether they have found each other by then or not.
        let (cluster, said) = launch_by_signals(&world, 3);
        send(cluster.process(number), "KILL");
        assert!(!cluster.end("killed").success());
        let said = said.join().unwrap();
        assert!(
            said.contains(&format!("process {number} ended early")),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    world.judge("after kills");
}

/// A launch of `processes` that is spoken to by signals alone; what it says comes at its end.
fn launch_by_signals(
    world: &World,
    processes: usize,
) -> (Cluster, std::thread::JoinHandle<String>) {
    let arguments = world.arguments(
        &format!("launch -n {processes}"),
        "-w 1 --commit-every 0.05",
    );
    let mut launcher = Running(pinflow(&arguments).spawn().unwrap());
    let mut stderr = launcher.0.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    let pid = launcher.0.id();
    let is_one = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("--process"))
    };
    wait("the processes run", || {
        let started = children(pid);
        started.len() == processes && started.iter().all(is_one)
    });
    let cluster = Cluster {
        http: Http(String::new()),
        processes: children(pid),
        launcher,
    };
    (cluster, said)
}

#[test]
fn a_process_that_stands_still_is_named_and_does_not_hold_up_a_stop() {
    let mut world = World::new();
    let mut chance = Chance(6);
    for partition in 0..PARTITIONS {
        world.feed(&mut chance, partition);
    }
    let (cluster, said) = launch_by_signals(&world, 2);
    let checkpoints = world.lake().join("_checkpoints");
    wait("the first commit", || has_files(&checkpoints));
    send(cluster.process(1), "STOP");
    world.feed(&mut chance, 0);
    send(cluster.launcher.0.id(), "TERM");
    assert!(!cluster.end("a process stands still").success());
    let said = said.join().unwrap();
    let expected = "process 1 stands still (stopped by a signal or a debugger) and did not end";
    assert!(said.contains(expected), "{said}");
    world.judge("after a process stood still");
}

#[test]
fn a_signal_to_one_process_ends_all_and_no_other_is_blamed() {
    let mut world = World::new();
    let mut chance = Chance(7);
    for number in 0..3 {
        // Whether they have found each other by then or not.
        for early in [true, false] {
            for partition in 0..PARTITIONS {
                world.feed(&mut chance, partition);
            }
            let before = files_in(&world.lake().join("_checkpoints"));
            let (cluster, said) = launch_by_signals(&world, 3);
            if !early {
                wait("a commit", || {
                    files_in(&world.lake().join("_checkpoints")) != before
                });
            }
            send(cluster.process(number), "TERM");
            let status = cluster.end("one is asked to end");
            let said = said.join().unwrap();
            let names_it = said.contains(&format!("process {number} "));
            assert!(status.success() || early && names_it, "{number}: {said}");
            for other in (0..3).filter(|other| *other != number) {
                let blamed = format!("process {other} ended early");
                assert!(!said.contains(&blamed), "{number}: {said}");
            }
        }
    }
    world.judge("after signals to single processes");
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    match folder.exists() {
        true => super::program::files(folder).into_keys().collect(),
        false => Vec::new(),
    }
}

#[test]
fn a_second_signal_ends_a_launch_at_once() {
    let world = World::new();
    let cluster = Cluster::launch(&world, 2, "-w 1");
    let pid = cluster.launcher.0.id();
    // Processes that are stopped cannot end well.
    for process in &cluster.processes {
        send(*process, "STOP");
    }
    send(pid, "INT");
    let begin = std::time::Instant::now();
    wait("the second signal ends it", || {
        send_if_runs(pid);
        !runs(pid)
    });
    assert!(begin.elapsed() < PATIENCE / 2);
    assert_eq!(cluster.end("signals").code(), Some(130));
}

fn send_if_runs(pid: u32) {
    if runs(pid) {
        send(pid, "INT");
    }
}

/// Nothing is left of a first start that failed.
#[test]
fn a_first_start_that_reads_nothing_leaves_no_lake() {
    let world = World::new();
    let file = world.partition(0).join("1.jsonl.gz");
    fs::create_dir_all(world.partition(0)).unwrap();
    fs::write(&file, b"this is not gzip").unwrap();
    let output = pinflow(&world.arguments("run", "-w 2")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("1.jsonl.gz"), "{said}");
    assert!(!has_files(&world.lake()), "there is a lake");
    // Nor of one that was ended before there was anything to read.
    fs::remove_file(&file).unwrap();
    let mut running = Running(pinflow(&world.arguments("run", "-w 2")).spawn().unwrap());
    let http = Http::of(&mut running);
    wait("it is well", || http.get("/healthz", "*/*").0 == 200);
    send(running.0.id(), "TERM");
    assert!(ended(&mut running.0, "TERM").success());
    assert!(!has_files(&world.lake()), "there is a lake");
    // One that came to the end of an empty source has an answer, and keeps it.
    finish(&world.arguments("run", "--bounded"));
    assert!(has_files(&world.lake()));
    let said = finish(&world.arguments("run", "--bounded"));
    assert!(
        said.starts_with("nothing new since checkpoint 1;"),
        "{said}"
    );
}

fn has_files(folder: &Path) -> bool {
    folder.exists() && !super::program::files(folder).is_empty()
}
