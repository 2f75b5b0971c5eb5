//! A running program: what it answers over HTTP while records come, and how it ends.

use std::fs;
use std::io::Read;

use arrow::ipc::reader::StreamReader;

use super::program::{
    Http, Running, finish, interrupt, pinflow, rows, run, send, source, wait, world,
};
use crate::support::port::free_port;

#[test]
fn views_are_answered_while_records_come_and_ctrl_c_commits() {
    let world = world(300, "--layout lines --seed 51 --broken 0.02 --partitions 1");
    let (inbox, lake) = (world.path().join("inbox"), world.path().join("lake"));
    fs::create_dir_all(inbox.join("pin")).unwrap();
    let mut process = Running(
        pinflow(&run(&inbox, &lake, "-w 2 --commit-every 3600"))
            .spawn()
            .unwrap(),
    );
    let http = Http::of(&mut process);
    wait("the program is healthy", || {
        http.get("/healthz", "*/*").0 == 200
    });
    assert_eq!(http.get("/views/nothing", "*/*").0, 404);
    let names = http.json("/views").to_string();
    assert!(names.contains("follower_errors_by_category") && names.contains("dead_letters"));

    let pins = fs::read_dir(source(&world).join("pin")).unwrap();
    let mut pins: Vec<_> = pins.map(|entry| entry.unwrap().path()).collect();
    pins.sort();
    for file in pins {
        // Whole files are renamed into place, in the order of their names.
        let name = file.file_name().unwrap().to_str().unwrap();
        let hidden = inbox.join("pin").join(format!(".{name}"));
        fs::copy(&file, &hidden).unwrap();
        fs::rename(&hidden, inbox.join("pin").join(name)).unwrap();
    }
    let posts = |http: &Http| {
        let view = http.json("/views/follower_errors_by_category");
        let rows = view["rows"].as_array().cloned().unwrap_or_default();
        let posts = rows.iter().filter_map(|row| row["posts"].as_i64());
        posts.sum::<i64>()
    };
    let letters = |http: &Http| {
        let view = http.json("/views/dead_letters");
        view["rows"].as_array().map_or(0, Vec::len) as i64
    };
    wait("all pins are counted", || {
        posts(&http) + letters(&http) >= 300
    });

    let (status, csv) = http.get("/views/follower_errors_by_category", "text/csv");
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(status, 200);
    assert!(csv.starts_with("category,posts,errors,error_rate"), "{csv}");
    let arrow = "application/vnd.apache.arrow.stream";
    let (status, body) = http.get("/views/follower_errors_by_category", arrow);
    assert_eq!(status, 200);
    let batches = StreamReader::try_new(body.as_slice(), None).unwrap();
    let counted: usize = batches.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(counted, csv.lines().count() - 1);
    let status = http.json("/status").to_string();
    assert!(status.contains("pin"), "{status}");

    let seen = posts(&http);
    interrupt(&process);
    let mut said = String::new();
    let mut stdout = process.0.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert!(process.0.wait().unwrap().success());
    assert!(said.contains("checkpoint 1"), "{said}");
    assert_eq!(rows(&lake)["tables/pin"].len() as i64, seen);

    // A second run goes on from there: nothing comes twice.
    finish(&run(&inbox, &lake, "--bounded -w 1"));
    assert_eq!(rows(&lake)["tables/pin"].len() as i64, seen);
}

#[test]
fn with_no_source_the_emulator_posts_and_a_second_run_goes_on() {
    let folder = tempfile::TempDir::new().unwrap();
    let lake = folder.path().join("lake");
    let arguments = format!(
        "run --http 127.0.0.1:0 --lake {} --tick 20 -w 2 --commit-every 0.2",
        lake.display()
    );
    let mut pins = 0;
    for _ in 0..2 {
        let mut process = Running(pinflow(&arguments).spawn().unwrap());
        let http = Http::of(&mut process);
        let counted = || {
            let view = http.json("/views/posts_by_half_hour_category");
            view["rows"].as_array().map_or(0, Vec::len)
        };
        wait("posts are visible", || counted() > pins + 20);
        interrupt(&process);
        assert!(process.0.wait().unwrap().success());
        let found = rows(&lake)["tables/pin"].len();
        assert!(found > pins, "{found} pins after {pins}");
        pins = found;
    }
}

#[test]
fn while_the_lake_is_away_health_says_so_and_the_run_can_be_ended() {
    // Nobody listens there.
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let mut command = pinflow("run --http 127.0.0.1:0 --lake s3://bucket/lake -w 1");
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let mut process = Running(command.spawn().unwrap());
    let http = Http::of(&mut process);
    let (status, body) = http.get("/healthz", "*/*");
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
    wait("the reason is told", || {
        let (status, body) = http.get("/healthz", "*/*");
        status == 503 && String::from_utf8_lossy(&body).starts_with("could not open the lake for")
    });
    assert_eq!(http.get("/views", "*/*").0, 503);
    send(process.0.id(), "TERM");
    let mut said = String::new();
    let mut stdout = process.0.stdout.take().unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert!(process.0.wait().unwrap().success());
    assert_eq!(said, "ended before there was anything to read\n");
}

#[test]
fn a_replay_as_json_has_all_rows_and_whole_reasons() {
    let world = world(40, "--layout lines --seed 5 --broken 0.5");
    let replay = format!("replay {} dead_letters", source(&world).display());
    let text = finish(&format!("{replay} --format json"));
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = answer["rows"].as_array().unwrap();
    assert!(rows.len() > 20, "{text}");
    assert_eq!(answer["row_count"], rows.len());
    let reason = "it is not a number; send a number, or declare the column TEXT\"";
    assert!(text.contains(reason), "{text}");
    assert!(!finish(&replay).contains(reason), "a table is cut");
}

#[test]
fn numbers_that_make_no_sense_are_refused_as_arguments() {
    for arguments in [
        "run --commit-every nan",
        "run --commit-every 1e",
        "run --commit-every -1",
        "run --workers 0",
        "run --workers 100000",
        "launch -n 0",
        "launch -n 100000",
    ] {
        let output = pinflow(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(
            said.starts_with("error: invalid value"),
            "{arguments}: {said}"
        );
    }
}

#[test]
fn launch_says_once_what_is_wrong_with_the_dataflow_file() {
    let output = pinflow("launch -n 3 nowhere.sql").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
}
