//! Files that come, grow, shrink and go while they are followed.

use super::super::program::wait;
use super::*;

#[test]
fn files_folders_and_lines_that_come_later_are_read() {
    everywhere(|place| {
        let in_bucket = matches!(place.storage, Storage::Bucket(..));
        place.put("pin/a.jsonl", "{\"a\":1}\n");
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        let mut expect = |taken: &mut Taken, count: usize| {
            read_until(&mut source, taken, 1 << 20, |taken| taken.count() == count).unwrap();
        };
        expect(&mut taken, 1);
        if !in_bucket {
            place.append("pin/a.jsonl", "{\"a\":2}\n{\"a\":");
            expect(&mut taken, 2);
            place.append("pin/a.jsonl", "3}\n");
            expect(&mut taken, 3);
        } else {
            place.put("pin/a.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
            expect(&mut taken, 3);
        }
        place.put("pin/b.jsonl", "{\"b\":1}");
        place.put("pin/c.jsonl", "{\"c\":1}\n");
        expect(&mut taken, 5);
        place.put(
            "topics/geo/partition=3/geo+3+0000000000.json",
            "{\"g\":1}\n",
        );
        expect(&mut taken, 6);
        place.put("user/2025/04/10/15/b", "{\"u\":1}");
        expect(&mut taken, 7);
        place.put("user/2025/04/10/15/a", "{\"u\":2}");
        place.put("user/2025/04/11/00/x", "{\"u\":3}");
        expect(&mut taken, 9);
        assert_eq!(
            taken.of("pin/pin"),
            [
                "{\"a\":1}",
                "{\"a\":2}",
                "{\"a\":3}",
                "{\"b\":1}",
                "{\"c\":1}"
            ]
        );
        let user = taken.of("user/dated/user");
        assert_eq!(user.len(), 3);
        assert_eq!(user[0], "{\"u\":1}");
        assert_eq!(source.lag().len(), 3);
        // Who reads ahead says a moment later that it has nothing left.
        wait("nothing is left", || {
            source.lag().iter().all(|lag| lag.bytes == Some(0))
        });
    });
}

#[test]
fn what_comes_late_to_a_day_is_read_by_a_later_run_too() {
    everywhere(|place| {
        let object = |id: &str| format!("2025/04/10/15/x-pin-1-2025-04-10-15-00-0{id}");
        place.put(&object("5-cc"), "{\"n\":1}");
        let mut taken = place.whole();
        assert_eq!(taken.count(), 1);
        place.put(&object("1-aa"), "{\"n\":2}");
        place.put("2025/04/12/00/x-pin-1-2025-04-12-00-00-00-aa", "{\"n\":3}");
        let opening = |taken: &Taken| Opening {
            positions: taken.positions.clone(),
            ..Opening::whole(streams())
        };
        let now = opening(&taken);
        drain(&mut place.open(now), &mut taken, 1).unwrap();
        assert_eq!(
            taken.of("pin/dated/x-pin"),
            ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]
        );
        let now = opening(&taken);
        drain(&mut place.open(now), &mut taken, 1).unwrap();
        assert_eq!(taken.count(), 3, "and nothing twice");
    });
}

#[test]
fn objects_of_the_same_moment_are_told_apart_by_their_names() {
    everywhere(|place| {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_744_300_000);
        let mut taken = Taken::default();
        // The last one comes first by name, and each run sees one more.
        for (number, id) in ["5-cc", "7-bb", "1-aa"].into_iter().enumerate() {
            let object = format!("2025/04/10/15/x-pin-1-2025-04-10-15-00-0{id}");
            place.put(&object, format!("{{\"n\":{number}}}"));
            place.set_modified(&object, moment);
            for _ in 0..2 {
                let opening = Opening {
                    positions: taken.positions.clone(),
                    ..Opening::whole(streams())
                };
                drain(&mut place.open(opening), &mut taken, 1).unwrap();
                assert_eq!(taken.count(), number + 1);
            }
        }
    });
}

#[test]
fn what_comes_late_to_yesterday_does_not_bring_back_what_was_read_of_today() {
    everywhere(|place| {
        let object =
            |day: u32, id: &str| format!("2025/04/{day}/00/x-pin-1-2025-04-{day}-00-00-00-{id}");
        place.put(&object(11, "aa"), "{\"n\":1}");
        place.put(&object(12, "aa"), "{\"n\":2}");
        let mut taken = place.whole();
        place.put(&object(11, "bb"), "{\"n\":3}");
        for _ in 0..2 {
            let opening = Opening {
                positions: taken.positions.clone(),
                ..Opening::whole(streams())
            };
            drain(&mut place.open(opening), &mut taken, 1).unwrap();
            let expected = ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"];
            assert_eq!(taken.of("pin/dated/x-pin"), expected);
        }
    });
}

#[test]
fn a_file_that_sorts_before_what_was_read_is_an_error() {
    everywhere(|place| {
        place.put("pin/b.jsonl", "{}\n");
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 1).unwrap();
        place.put("pin/a.jsonl", "{}\n");
        for source in [&mut source, &mut place.follow(&taken)] {
            let error = read_until(source, &mut taken.clone(), 1 << 20, |_| false).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("pin/a.jsonl") && text.contains("later ones sort later"),
                "{text}"
            );
        }
    });
}

#[test]
fn files_that_were_read_may_be_deleted() {
    in_folder(|place| {
        for name in ["a", "b", "c"] {
            place.put(&format!("pin/{name}.jsonl"), "{}\n");
        }
        let mut taken = place.whole();
        std::fs::remove_file(place.folder.join("pin/a.jsonl")).unwrap();
        std::fs::remove_file(place.folder.join("pin/c.jsonl")).unwrap();
        place.put("pin/d.jsonl", "{}\n");
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1, |taken| taken.count() == 4).unwrap();
    });
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl", "{}\n{}\n");
        let taken = place.whole();
        place.put("pin/a.jsonl", "{}\n");
        let error = drain(&mut place.follow(&taken), &mut taken.clone(), 1).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("it has 3 bytes, and 6 were read already"),
            "{text}"
        );
    });
}

#[test]
fn a_compressed_file_that_is_being_written_is_read_as_far_as_it_goes() {
    let lines: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for (name, file) in [("a.jsonl.gz", gzip(&lines)), ("a.jsonl.zst", zstd(&lines))] {
        in_folder(|place| {
            let path = format!("pin/{name}");
            let (first, rest) = file.split_at(file.len() * 2 / 3);
            place.put(&path, first);
            let mut taken = Taken::default();
            let begun = |taken: &Taken| taken.count() > 0;
            read_until(&mut place.follow(&taken), &mut taken, 1 << 20, begun).unwrap();
            assert!(taken.count() < 20_000);
            place.append(&path, rest);
            let mut source = place.follow(&taken);
            let all = |taken: &Taken| taken.count() == 20_000;
            read_until(&mut source, &mut taken, 1 << 20, all).unwrap();
            place.put("pin/b.jsonl", "{\"b\":1}\n");
            let next = |taken: &Taken| taken.count() == 20_001;
            read_until(&mut source, &mut taken, 1 << 20, next).unwrap();
            let found = taken.of("pin/pin");
            assert!(found[..20_000].iter().copied().eq(lines.lines()));
        });
    }
}

#[test]
fn a_compressed_file_that_grew_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl.gz", gzip("{}\n"));
        let taken = place.whole();
        place.put(
            "pin/a.jsonl.gz",
            [gzip("{}\n"), gzip("{\"a\":2}\n")].concat(),
        );
        let error = drain(&mut place.follow(&taken), &mut taken.clone(), 1).unwrap_err();
        assert!(
            error.to_string().contains("it is compressed and grew"),
            "{error}"
        );
    });
}

#[test]
fn a_compressed_file_that_is_none_is_an_error() {
    everywhere(|place| {
        place.put("pin/a.jsonl.gz", "{}\n");
        let opening = Opening::whole(streams());
        let error = drain(&mut place.open(opening), &mut Taken::default(), 1).unwrap_err();
        assert!(error.to_string().contains("it is not gzip"), "{error}");
    });
}

#[test]
fn a_poll_of_a_bucket_lists_only_what_is_new() {
    let s3 = S3::start();
    let place = Place {
        folder: s3.bucket_folder(),
        storage: Storage::Bucket(s3.store(), object_store::path::Path::default()),
        runtime: s3.runtime.handle().clone(),
    };
    let folder = place.folder.join("topics/pin/partition=0");
    std::fs::create_dir_all(&folder).unwrap();
    let name = |n: usize| format!("pin+0+{n:010}.json");
    for n in 0..2500 {
        std::fs::write(folder.join(name(n)), format!("{{\"n\":{n}}}\n")).unwrap();
    }
    let mut taken = place.whole();
    assert_eq!(taken.count(), 2500);
    let mut source = place.follow(&taken);
    let begun = s3.requests();
    place.put(
        &format!("topics/pin/partition=0/{}", name(2500)),
        "{\"n\":2500}\n",
    );
    read_until(&mut source, &mut taken, 1 << 20, |taken| {
        taken.count() == 2501
    })
    .unwrap();
    let used = s3.requests() - begun;
    // The folders, what is new, the object, and one count of all.
    assert!(used <= 12, "{used} requests for one object among 2501");
}

#[test]
fn half_a_record_that_a_bounded_run_finds_is_read_whole_by_the_next_one() {
    in_folder(|place| {
        place.put("pin/1.jsonl", "{\"a\":1}\n{\"a\":");
        place.put("pin/2.jsonl", "{\"a\":3}\nnonsense");
        let mut taken = place.whole();
        let found = ["{\"a\":1}", "{\"a\":3}", "nonsense"];
        assert_eq!(taken.of("pin/pin"), found);
        let on = |taken: &mut Taken| {
            let now = place.after(taken);
            drain(&mut place.open(now), taken, 1 << 20).unwrap();
        };
        on(&mut taken);
        assert_eq!(taken.of("pin/pin"), found);
        place.append("pin/1.jsonl", "2}\n{\"a\":");
        on(&mut taken);
        assert_eq!(taken.of("pin/pin")[3..], ["{\"a\":2}"]);
        // A newline says that nothing follows.
        place.append("pin/1.jsonl", "\n");
        on(&mut taken);
        assert_eq!(taken.of("pin/pin")[4..], ["{\"a\":"]);
    });
}
