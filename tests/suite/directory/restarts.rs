//! Reading on where an earlier run stopped.

use super::*;

fn files_of(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the files are and wherever reading is interrupted: every record once, in order.
    #[test]
    fn restarts_neither_lose_nor_repeat(
        files in prop::collection::vec((0_usize..400, 0_usize..5, prop::bool::ANY), 1..8),
        bytes_max in 1_usize..5000,
        stops in prop::collection::vec(1_usize..40, 0..6),
        budget in prop_oneof![Just(64_usize << 10), Just(8 << 20)],
    ) {
        in_folder(|place| {
            let mut expected = Vec::new();
            for (number, (records, form, newline)) in files.iter().enumerate() {
                let records: Vec<String> = (0..*records)
                    .map(|n| format!("{{\"file\":{number},\"n\":{n},\"x\":\"{}\"}}", "é\\\"}".repeat(n % 90)))
                    .collect();
                let lines = records.join("\n") + if *newline && !records.is_empty() { "\n" } else { "" };
                let name = format!("pin/{number:05}.json");
                match form {
                    0 => place.put(&name, &lines),
                    1 => place.put(&format!("{name}.gz"), gzip(&lines)),
                    2 => place.put(&format!("{name}.zst"), zstd(&lines)),
                    3 if records.len() > 1 => place.put(&name, records.concat()),
                    _ if records.len() > 1 => place.put(&name, format!("[\n{}\n]", records.join(",\n"))),
                    _ => place.put(&name, &lines),
                }
                expected.extend(records);
            }
            let mut taken = Taken::default();
            for stop in stops.iter().copied().map(Some).chain([None]) {
                let mut source = place.open(Opening {
                    positions: taken.positions.clone(),
                    budget_bytes: budget,
                    ..Opening::whole(streams())
                });
                let mut left = stop.unwrap_or(usize::MAX);
                read_until(&mut source, &mut taken, bytes_max, |_| {
                    left = left.saturating_sub(1);
                    left == 0
                }).unwrap();
            }
            let found = taken.of("pin/pin");
            assert_eq!(found.len(), expected.len(), "{:?}", files_of(&place.folder.join("pin")));
            assert!(found.iter().zip(&expected).all(|(a, b)| a == b));
        });
    }
}
