//! Files that change behind the reader: everything is read once, or an error names the file.

use std::collections::BTreeMap;

use super::*;

/// A source of `place` that goes on after `taken`, and what it says when it must not go on.
fn refusal(source: &mut Directory, taken: &Taken) -> String {
    let read = read_until(source, &mut taken.clone(), 1 << 20, |_| false);
    read.unwrap_err().to_string()
}

#[test]
fn what_is_appended_to_a_file_before_the_last_is_read() {
    everywhere(|place| {
        place.put("pin/1.jsonl", "{\"a\":1}\n");
        place.put("pin/2.jsonl", "{\"b\":1}\n");
        let mut taken = place.whole();
        place.put("pin/1.jsonl", "{\"a\":1}\n{\"a\":2}\n");
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 3).unwrap();
        place.put("pin/3.jsonl", "{\"c\":1}\n");
        place.put("pin/2.jsonl", "{\"b\":1}\n{\"b\":2}\n{\"b\":3}\n");
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 6).unwrap();
        drain(
            &mut place.open(place.after(&taken)),
            &mut taken.clone(),
            1 << 20,
        )
        .unwrap();
        let mut found = taken.of("pin/pin");
        found.sort_unstable();
        let expected = [
            "{\"a\":1}",
            "{\"a\":2}",
            "{\"b\":1}",
            "{\"b\":2}",
            "{\"b\":3}",
            "{\"c\":1}",
        ];
        assert_eq!(found, expected);
    });
}

#[test]
fn a_file_that_was_written_anew_is_an_error_however_long_it_is() {
    everywhere(|place| {
        for (name, anew) in [
            ("1.jsonl", "{\"z\":1}\n{\"z\":2}\n"),
            ("2.jsonl", "{\"z\":1}\n{\"z\":2}\n{\"z\":3}\n"),
            ("2.jsonl.gz", ""),
        ] {
            let _ = std::fs::remove_dir_all(place.folder.join("pin"));
            place.put("pin/1.jsonl", "{\"a\":1}\n{\"a\":2}\n");
            let zipped = name.ends_with(".gz");
            let second = ["pin/2.jsonl", "pin/2.jsonl.gz"][usize::from(zipped)];
            let text = "{\"b\":1}\n{\"b\":2}\n";
            place.put(
                second,
                if zipped {
                    gzip(text)
                } else {
                    text.as_bytes().to_vec()
                },
            );
            let mut taken = Taken::default();
            let mut source = place.follow(&taken);
            read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 4).unwrap();
            let anew = if zipped {
                gzip(&text.replace('b', "z"))
            } else {
                anew.as_bytes().to_vec()
            };
            place.put(&format!("pin/{name}"), anew);
            for source in [&mut source, &mut place.follow(&taken)] {
                let told = refusal(source, &taken);
                assert!(
                    told.contains(&format!("`pin/{name}`")) && told.contains("written anew"),
                    "{told}"
                );
            }
        }
    });
}

#[test]
fn a_file_that_was_only_copied_or_touched_goes_on() {
    everywhere(|place| {
        let text = "{\"a\":1}\n{\"a\":2}\n";
        place.put("pin/1.jsonl", text);
        place.put("pin/2.jsonl.gz", gzip(text));
        let mut taken = place.whole();
        place.put("pin/1.jsonl", text);
        place.put("pin/2.jsonl.gz", gzip(text));
        place.put("pin/3.jsonl", "{\"a\":3}\n");
        drain(&mut place.open(place.after(&taken)), &mut taken, 1 << 20).unwrap();
        assert_eq!(taken.count(), 5);
    });
}

#[test]
fn an_old_file_that_grew_is_an_error() {
    everywhere(|place| {
        for file in 10..40 {
            place.put(&format!("pin/{file}.jsonl"), format!("{{\"n\":{file}}}\n"));
        }
        let taken = place.whole();
        place.put("pin/12.jsonl", "{\"n\":12}\n{\"n\":0}\n");
        if matches!(place.storage, Storage::Folder(_)) {
            let told = refusal(&mut place.follow(&taken), &taken);
            assert!(
                told.contains("`pin/12.jsonl`") && told.contains("changed after"),
                "{told}"
            );
        } else {
            // Its files are few enough for one request.
            let told = refusal(&mut place.follow(&taken), &taken);
            assert!(told.contains("`pin/12.jsonl`"), "{told}");
        }
    });
}

#[test]
fn half_a_record_is_waited_for_although_there_is_a_later_file() {
    in_folder(|place| {
        place.put("pin/1.jsonl", "{\"a\":1}\n{\"a\":");
        place.put("pin/2.jsonl", "{\"b\":1}");
        place.put("pin/3.jsonl", "{\"c\":1}\n");
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 3).unwrap();
        place.append("pin/1.jsonl", "2}\n");
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 4).unwrap();
        let expected = ["{\"a\":1}", "{\"b\":1}", "{\"c\":1}", "{\"a\":2}"];
        assert_eq!(taken.of("pin/pin"), expected);
        place.append("pin/2.jsonl", "\n{\"b\":");
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 6).unwrap();
        assert_eq!(
            taken.of("pin/pin")[4..],
            ["", "{\"b\":"],
            "it did not go on"
        );
    });
}

#[test]
fn an_object_is_read_however_old_its_time_is_when_it_appears() {
    everywhere(|place| {
        let object = |id: &str| format!("2025/04/10/15/x-pin-1-2025-04-10-15-00-{id}");
        let at =
            |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_744_300_000 + seconds);
        let put = |id: &str, seconds| {
            place.put(&object(id), format!("{{\"id\":\"{id}\"}}"));
            place.set_modified(&object(id), at(seconds));
        };
        put("50-a", 50);
        let mut taken = Taken::default();
        let mut source = place.follow(&taken);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 1).unwrap();
        put("10-b", 10);
        read_until(&mut source, &mut taken, 1 << 20, |taken| taken.count() == 2).unwrap();
        put("05-c", 5);
        drain(&mut place.open(place.after(&taken)), &mut taken, 1 << 20).unwrap();
        let last = place.after(&taken);
        drain(&mut place.open(last), &mut taken, 1 << 20).unwrap();
        assert_eq!(
            taken.of("pin/dated/x-pin"),
            [
                "{\"id\":\"50-a\"}",
                "{\"id\":\"10-b\"}",
                "{\"id\":\"05-c\"}"
            ]
        );
    });
}

#[test]
fn a_value_that_firehose_delivered_is_never_a_deletion() {
    everywhere(|place| {
        place.put(
            "pin/2025/04/10/15/x",
            "{\"__tombstone\":\"75\"}\n{\"a\":1}\n",
        );
        let taken = place.whole();
        assert_eq!(taken.count(), 2);
        assert_eq!(taken.deletes["pin/dated/pin"], []);
    });
}

#[test]
fn what_comes_before_a_bad_file_is_handed_on_and_its_rest_may_become_a_dead_letter() {
    let lines: String = (0..40_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    everywhere(|place| {
        place.put("pin/1.jsonl", "{\"a\":1}\n");
        let zipped = gzip(&lines);
        place.put("pin/2.jsonl.gz", &zipped[..zipped.len() / 2]);
        place.put("pin/3.jsonl", "{\"a\":3}\n");
        let mut taken = Taken::default();
        let told = drain(&mut place.open(place.after(&taken)), &mut taken, 1 << 20).unwrap_err();
        assert!(told.to_string().contains("`pin/2.jsonl.gz`"), "{told}");
        let whole = taken.count();
        assert!(whole > 1 && whole < 40_001, "{whole}");

        let opening = Opening {
            on_bad_file: OnBadFile::DeadLetter,
            ..place.after(&taken)
        };
        drain(&mut place.open(opening), &mut taken, 1 << 20).unwrap();
        let found = taken.of("pin/pin");
        assert!(
            found[1..]
                .iter()
                .copied()
                .zip(lines.lines())
                .take(whole - 1)
                .all(|(a, b)| a == b)
        );
        // A blank line has the offset of the rest, whose bytes are those of the file.
        assert_eq!(&found[found.len() - 2..], ["", "{\"a\":3}"]);
        let [rest] = &taken.refused["pin/pin"][..] else {
            panic!("{:?}", taken.refused);
        };
        assert_eq!(rest.offset, found.len() as u64 - 2);
        assert_eq!(rest.file, "pin/2.jsonl.gz");
        assert!(rest.why.contains("was cut short"), "{}", rest.why);
        let next = lines.lines().nth(found.len() - 3).unwrap();
        assert!(next.as_bytes().starts_with(&rest.begun), "{:?}", rest.begun);
        let again = place.after(&taken);
        drain(&mut place.open(again), &mut taken.clone(), 1 << 20).unwrap();
    });
}

#[test]
fn a_record_that_is_too_long_is_a_dead_letter_if_that_is_said() {
    in_folder(|place| {
        place.put("pin/1.jsonl", "{}\n".to_owned() + &"x".repeat(33 << 20));
        place.put("pin/2.jsonl", "{\"a\":3}\n");
        let opening = Opening {
            on_bad_file: OnBadFile::DeadLetter,
            ..Opening::whole(streams())
        };
        let mut taken = Taken::default();
        drain(&mut place.open(opening), &mut taken, 1 << 20).unwrap();
        let found = taken.of("pin/pin");
        assert_eq!(found, ["{}", "", "{\"a\":3}"]);
        let [rest] = &taken.refused["pin/pin"][..] else {
            panic!("{:?}", taken.refused);
        };
        assert_eq!((rest.offset, rest.begun.len()), (1, 64 << 10));
        assert!(rest.why.contains("longer than 32 MiB"), "{}", rest.why);
    });
}

/// What happens to a folder.
#[derive(Clone, Debug)]
enum Step {
    /// A file comes, with so many records.
    New(usize),
    /// One of the files grows.
    Append(usize, usize),
    /// One of the files is replaced by its copy.
    Copy(usize),
    /// One of the files that were read goes.
    Delete(usize),
    /// Everything is read.
    CatchUp,
    /// The source is opened again where it was.
    Restart,
}

/// What must not happen to a file that was read.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Nothing,
    Rewritten,
    Longer,
    Cut,
    Late,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_usize..4).prop_map(Step::New),
        3 => (0_usize..99, 1_usize..4).prop_map(|(file, records)| Step::Append(file, records)),
        1 => (0_usize..99).prop_map(Step::Copy),
        1 => (0_usize..99).prop_map(Step::Delete),
        2 => Just(Step::CatchUp),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..24)
}

/// The files of one partition as they should be.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, String>,
    all: Vec<String>,
    made: usize,
}

impl Model {
    fn records(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            let record = format!("{{\"n\":{}}}", self.all.len());
            text += &format!("{record}\n");
            self.all.push(record);
        }
        text
    }

    fn pick(&self, number: usize) -> Option<String> {
        let files: Vec<&String> = self.files.keys().collect();
        // Those that may still be known one by one.
        let recent = &files[files.len().saturating_sub(12)..];
        (!recent.is_empty()).then(|| recent[number % recent.len()].clone())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens to the files of a folder: every record is read once, or an error names the
    /// file.
    #[test]
    fn every_record_is_read_once_or_an_error_names_the_file(
        steps in steps(),
        harm in prop_oneof![
            Just(Harm::Nothing), Just(Harm::Rewritten), Just(Harm::Longer), Just(Harm::Cut), Just(Harm::Late),
        ],
        harmed in 0_usize..99,
        while_away in any::<bool>(),
    ) {
        in_folder(|place| {
            let mut model = Model::default();
            let mut taken = Taken::default();
            let mut source = place.follow(&taken);
            let catch_up = |source: &mut Directory, taken: &mut Taken, model: &Model| {
                read_until(source, taken, 1 << 20, |taken| taken.count() == model.all.len()).unwrap();
            };
            for step in &steps {
                match *step {
                    Step::New(records) => {
                        let name = format!("pin/{:04}.jsonl", model.made);
                        model.made += 1;
                        let text = model.records(records);
                        place.put(&name, &text);
                        model.files.insert(name, text);
                    }
                    Step::Append(file, records) => if let Some(name) = model.pick(file) {
                        let text = model.records(records);
                        place.append(&name, &text);
                        model.files.get_mut(&name).unwrap().push_str(&text);
                    }
                    Step::Copy(file) => if let Some(name) = model.pick(file) {
                        place.put(&name, &model.files[&name]);
                    }
                    Step::Delete(file) => if let Some(name) = model.pick(file) {
                        catch_up(&mut source, &mut taken, &model);
                        std::fs::remove_file(place.folder.join(&name)).unwrap();
                        model.files.remove(&name);
                    }
                    Step::CatchUp => catch_up(&mut source, &mut taken, &model),
                    Step::Restart => source = place.follow(&taken),
                }
            }
            catch_up(&mut source, &mut taken, &model);
            let mut found = taken.of("pin/pin");
            let mut expected: Vec<&str> = model.all.iter().map(String::as_str).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);

            let harm_to = model.pick(harmed).filter(|name| !model.files[name].is_empty());
            let (Some(name), false) = (harm_to, matches!(harm, Harm::Nothing)) else { return };
            let text = &model.files[&name];
            if while_away {
                drop(source);
                source = place.open(Opening::whole(Vec::new()));
            }
            let name = match harm {
                Harm::Nothing => return,
                Harm::Rewritten => { place.put(&name, text.replace('n', "m")); name }
                Harm::Longer => { place.put(&name, text.replace('n', "m") + "{}\n"); name }
                Harm::Cut => { place.put(&name, &text[..text.len() - 3]); name }
                Harm::Late => {
                    let late = name.replace(".jsonl", "-.jsonl");
                    place.put(&late, "{\"late\":1}\n");
                    late
                }
            };
            if while_away {
                source = place.follow(&taken);
            }
            let told = refusal(&mut source, &taken);
            assert!(told.contains(&format!("`{name}`")), "{harm:?} of {name}: {told}");
        });
    }
}
