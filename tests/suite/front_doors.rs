//! The front doors and the dataflow in one program, with nothing else installed: what is posted is
//! in the tables.

use std::path::Path;
use std::process::Command;

use super::program::{
    Http, Running, addresses, assert_same, finish, interrupt, pinflow, rows, run, source, wait,
    world,
};
use crate::support::port::free_port;
use crate::support::python::{complete, python_with};

#[test]
fn the_calls_of_the_original_scripts_reach_the_views() {
    let python = match python_with(&["requests==2.34.2"]) {
        Ok(python) => python,
        Err(why) => {
            eprintln!("NOT TESTED WITH PYTHON'S requests, which cannot be had here: {why}");
            return;
        }
    };
    let folder = tempfile::TempDir::new().unwrap();
    let lake = folder.path().join("lake");
    let arguments = format!(
        "run --gateway 127.0.0.1:0 --http 127.0.0.1:0 --lake {} --tick 20 -w 2",
        lake.display()
    );
    let mut process = Running(pinflow(&arguments).spawn().unwrap());
    let [gateway, views] = addresses(&mut process);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/gateway.py");
    let mut client = Command::new(python);
    complete(client.arg(script).arg(format!("http://{gateway}"))).unwrap();
    let views = Http(views);
    wait("the post is joined, and its user read", || {
        let view = views.json("/views/posts_by_country_category").to_string();
        let streams = views.json("/status")["streams"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        view.contains("Albania")
            && view.contains("mens-fashion")
            && streams.iter().all(|stream| stream["records"] != 0)
    });
    interrupt(&process);
    assert!(process.0.wait().unwrap().success());
    assert_eq!(
        rows(&lake)["tables/user"].len(),
        1,
        "all calls were about one post"
    );
}

#[test]
fn what_was_acknowledged_survives_kills_and_is_there_once() {
    let world = world(
        1500,
        "--layout topics --seed 71 --late 0 --updates 0 --broken 0.02 --duplicates 0 --variants 0 --partitions 1",
    );
    let (whole, lake) = (world.path().join("whole"), world.path().join("lake"));
    finish(&run(&source(&world), &whole, "--bounded -w 1"));
    let port = free_port();
    let doors = format!(
        "run --gateway 127.0.0.1:{port} --http 127.0.0.1:0 --lake {} --tick 20 -w 2 --commit-every 0.1",
        lake.display()
    );
    let posting = {
        let arguments = format!(
            "emulate --from dir:{} --to http://127.0.0.1:{port}/topics?prefix=0a. --batch 20 --retries 50",
            source(&world).display()
        );
        std::thread::spawn(move || finish(&arguments))
    };
    let mut kills = 0;
    while !posting.is_finished() || kills < 3 {
        let mut process = Running(pinflow(&doors).spawn().unwrap());
        let [_, views] = addresses(&mut process);
        let views = Http(views);
        let seen = |views: &Http| views.json("/status")["records"].as_u64().unwrap_or(0);
        wait("records come, or there are no more", || {
            posting.is_finished() || seen(&views) > 300
        });
        kills += 1;
    }
    posting.join().unwrap();
    let mut process = Running(pinflow(&doors).spawn().unwrap());
    let [_, views] = addresses(&mut process);
    let views = Http(views);
    wait("the run is well", || views.get("/healthz", "*/*").0 == 200);
    interrupt(&process);
    assert!(process.0.wait().unwrap().success());
    finish(&format!(
        "run --http 127.0.0.1:0 --bounded --source dir:{}/_log --lake {}",
        lake.display(),
        lake.display()
    ));
    let (mut found, mut expected) = (rows(&lake), rows(&whole));
    // A request whose answer was lost is sent again, so that a broken record may be there twice,
    // and under another offset.
    found.remove("dead_letters");
    expected.remove("dead_letters");
    assert_same(&found, &expected);
}
