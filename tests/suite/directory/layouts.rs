//! What is found in a folder, whatever its layout, and how it is cut.

use super::*;

#[test]
fn the_layouts_may_be_mixed_and_what_is_none_of_them_is_ignored() {
    everywhere(|place| {
        place.put(
            "topics/0ec6.pin/partition=0/0ec6.pin+0+0000000000.json",
            "{\"i\":0}\n{\"i\":1}\n",
        );
        place.put(
            "topics/0ec6.pin/partition=0/0ec6.pin+0+0000000002.json.gz",
            gzip("{\"i\":2}\n"),
        );
        place.put(
            "topics/0ec6.pin/partition=1/0ec6.pin+1+0000000000.json",
            "{\"i\":9}",
        );
        place.put("topics/0ec6.pinned/partition=0/x.json", "{}\n");
        place.put("geo/a.jsonl", "{\"g\":1}\n\n{\"g\":3}\n");
        place.put("geo/b.jsonl.zst", zstd("{\"g\":4}\n"));
        place.put("geo/_hidden.jsonl", "{}\n");
        place.put("geo/readme.txt", "no\n");
        place.put("geo/2025/04/10/15/anything", "{\"g\":5}{\"g\":6}");
        place.put("raw-failed/geo/2025/04/10/15/error", "{}");
        place.put("raw/user/year=2025/month=04/day=10/object", "{\"u\":1}");
        place.put(
            "2025/04/10/15/KDS-user-1-2025-04-10-15-00-00-aa",
            gzip("{\"u\":2}{\"u\":3}"),
        );
        place.put("other/a.jsonl", "{}\n");
        let taken = place.whole();
        let keys: Vec<&str> = taken.records.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "geo/dated/geo",
                "geo/geo",
                "pin/0ec6.pin/partition=0",
                "pin/0ec6.pin/partition=1",
                "user/dated/KDS-user",
                "user/dated/raw/user",
            ]
        );
        assert_eq!(
            taken.of("pin/0ec6.pin/partition=0"),
            ["{\"i\":0}", "{\"i\":1}", "{\"i\":2}"]
        );
        assert_eq!(taken.of("pin/0ec6.pin/partition=1"), ["{\"i\":9}"]);
        assert_eq!(
            taken.of("geo/geo"),
            ["{\"g\":1}", "", "{\"g\":3}", "{\"g\":4}"]
        );
        assert_eq!(taken.of("geo/dated/geo"), ["{\"g\":5}", "{\"g\":6}"]);
        assert_eq!(taken.of("user/dated/raw/user"), ["{\"u\":1}"]);
        assert_eq!(taken.of("user/dated/KDS-user"), ["{\"u\":2}", "{\"u\":3}"]);
    });
}

#[test]
fn records_are_found_whatever_stands_between_them() {
    everywhere(|place| {
        place.put("pin/1.json", "[{\"a\":1},{\"a\":2}]");
        place.put("pin/2.json", "[\n  {\"a\": 3},\n  {\"a\": 4}\n]\n");
        place.put("pin/3.json", "{\n  \"a\": 5\n}\n{\n  \"a\": 6\n}\n");
        place.put("pin/4.json", "{\"a\":7}{\"a\":8}{\"a\":\"cut\n");
        assert_eq!(
            place.whole().of("pin/pin"),
            [
                "[{\"a\":1},{\"a\":2}]",
                "{\"a\": 3}",
                "{\"a\": 4}",
                "{\r  \"a\": 5\r}",
                "{\r  \"a\": 6\r}",
                "{\"a\":7}",
                "{\"a\":8}",
                "{\"a\":\"cut",
            ]
        );
    });
}

#[test]
fn positions_of_earlier_versions_are_read_on() {
    everywhere(|place| {
        place.put("pin/a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
        place.put("pin/b.jsonl", "{\"b\":1}\n{\"b\":2}\n");
        place.put("pin/c.jsonl.gz", gzip("{\"c\":1}\n"));
        for (offset, token, first) in [
            (0, "", "{\"a\":1}"),
            (1, "8:0:pin/a.jsonl", "{\"a\":2}"),
            (2, "16:0:pin/a.jsonl", "{\"b\":1}"),
            (3, "8:1:pin/b.jsonl", "{\"b\":2}"),
            (4, "16:1:pin/b.jsonl", "{\"c\":1}"),
        ] {
            let mut opening = Opening::whole(streams());
            let position = Position {
                offset,
                token: token.into(),
            };
            opening.positions.insert("pin/pin".into(), position);
            let mut source = place.open(opening);
            let chunk = loop {
                match source.read(1).unwrap() {
                    Read::Chunk(chunk) => break chunk,
                    Read::Idle => std::thread::yield_now(),
                    Read::End => panic!("there is more behind {token}"),
                }
            };
            assert_eq!(chunk.first_offset, offset);
            assert!(
                chunk.bytes.starts_with(first.as_bytes()),
                "{token}: {chunk:?}"
            );
        }
    });
}

#[test]
fn a_file_without_any_newline_is_cut_between_its_values_within_the_budget() {
    everywhere(|place| {
        let value = format!("{{\"text\":\"{}\"}}", "x}{".repeat(300));
        place.put("pin/2025/04/10/15/large", value.repeat(4_000));
        place.put(
            "geo/large.json",
            format!("[{}]", vec![value.clone(); 4_000].join(",")),
        );
        let opening = Opening {
            budget_bytes: 1 << 20,
            ..Opening::whole(streams())
        };
        let mut source = place.open(opening);
        let mut taken = Taken::default();
        let mut largest = 0;
        loop {
            match source.read(1 << 20).unwrap() {
                Read::Chunk(chunk) => {
                    largest = largest.max(chunk.bytes.len());
                    let waiting: u64 = source.lag().iter().filter_map(|lag| lag.bytes).sum();
                    let all = 2 * 4_000 * (value.len() + 1) as u64;
                    assert!(waiting < all);
                    taken.take(&streams(), &chunk);
                }
                Read::Idle => std::thread::park_timeout(Duration::from_micros(200)),
                Read::End => break,
            }
        }

        assert_eq!(taken.count(), 8_000);
        assert!(
            taken
                .records
                .values()
                .flatten()
                .all(|record| *record == value)
        );
        assert!(largest <= 5 << 18, "{largest}");
    });
}

#[test]
fn many_small_files_become_few_chunks() {
    everywhere(|place| {
        for number in 0..700 {
            let text = format!("{{\"n\":{number}}}\n").repeat(number % 5 + 1);
            place.put(&format!("pin/{number:04}.json"), text);
            if number % 100 == 7 {
                let text = format!("{{\"n\":{number},\"x\":\"large\"}}\n").repeat(30_000);
                place.put(&format!("pin/{number:04}.json"), text);
            }
        }
        let mut source = place.open(Opening::whole(streams()));
        let (mut chunks, mut taken) = (0, Taken::default());
        while taken.count() < 700 * 3 - 7 * 3 + 7 * 30_000 {
            match source.read(4 << 20).unwrap() {
                Read::Chunk(chunk) => {
                    chunks += 1;
                    taken.take(&streams(), &chunk);
                }
                Read::Idle => std::thread::park_timeout(Duration::from_micros(200)),
                Read::End => break,
            }
        }
        assert!(chunks < 40, "{chunks} chunks");
        assert_eq!(taken.count(), 700 * 3 - 7 * 3 + 7 * 30_000);
        let numbers = taken.of("pin/pin").into_iter().map(|record| {
            let value: serde_json::Value = serde_json::from_str(record).unwrap();
            value["n"].as_u64().unwrap()
        });
        assert!(numbers.is_sorted());
    });
}
