//! What is in a folder and is not read: it is named, and nothing else suffers from it.

use std::os::unix::fs::symlink;

use expect_test::expect;
use pinflow::source::Unread;

use super::*;

/// Reads a folder to its end; what was read, and what was not.
fn whole(place: &Place) -> (Taken, Vec<String>) {
    let opening = Opening::whole(streams());
    let unread: Unread = opening.unread.clone();
    let mut taken = Taken::default();
    drain(&mut place.open(opening), &mut taken, 1 << 20).unwrap();
    let list = unread.list().into_iter();
    let list = list.map(|at| format!("{}: {} {:?} {}", at.place, at.count, at.why, at.example));
    (taken, list.collect())
}

#[test]
fn files_that_belong_to_no_stream_are_named_with_their_number() {
    everywhere(|place| {
        place.put("pin/1.jsonl", "{}\n");
        place.put("pin/1.csv", "a,b\n");
        place.put("pin/sub/1.jsonl", "{}\n");
        place.put("pin/sub/2.jsonl", "{}\n");
        place.put("pins/1.jsonl", "{}\n");
        place.put("pin.jsonl", "{}\n");
        place.put("dataflow.sql", "CREATE ..");
        place.put("geo/1.ndjson", "{}\n");
        place.put("geo/2.JSON", "{}\n");
        place.put(
            "topics/x.other/partition=0/x.other+0+0000000000.json",
            "{}\n",
        );
        place.put("topics/x.pin/partition=0/x.pin+0+0000000000.json", "{}\n");
        let (taken, unread) = whole(place);
        assert_eq!(taken.count(), 4, "{unread:?}");
        // A bucket's folders within a partition are only seen from above.
        let unread = unread
            .join("\n")
            .replace("pin: 1 Within sub", "pin/sub: 2 Within 1.jsonl");
        expect![[r#"
            : 1 NoStream pin.jsonl
            pin: 1 Ending 1.csv
            pin/sub: 2 Within 1.jsonl
            pins: 1 NoStream 1.jsonl
            x.other: 1 NoTopic x.other+0+0000000000.json"#]]
        .assert_eq(&unread);
    });
}

#[test]
fn loops_pipes_and_links_that_lead_nowhere_are_passed_over_and_named() {
    in_folder(|place| {
        let at = |path: &str| place.folder.join(path);
        place.put("pin/1.jsonl", "{}\n");
        place.put("other/2.jsonl", "{\"linked\":1}\n");
        place.put("user/2025/04/10/15/a", "{}\n");
        symlink(".", at("loop")).unwrap();
        symlink("..", at("user/2025/04/10/15/up")).unwrap();
        symlink("nowhere", at("pin/2.jsonl")).unwrap();
        symlink("../other/2.jsonl", at("pin/3.jsonl")).unwrap();
        std::fs::create_dir(at("pin/4.json")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("pin/5.json"))
            .status();
        assert!(made.unwrap().success());
        let (taken, unread) = whole(place);
        assert_eq!(taken.of("pin/pin"), ["{}", "{\"linked\":1}"]);
        assert_eq!(taken.of("user/dated/user"), ["{}"]);
        expect![[r#"
            loop: 1 Loop loop
            other: 1 NoStream 2.jsonl
            pin: 3 NotAFile 2.jsonl
            user/2025/04/10: 1 NotAFile user/2025/04/10/15/up"#]]
        .assert_eq(&unread.join("\n"));
    });
}
