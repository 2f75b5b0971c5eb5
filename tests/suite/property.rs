//! The shipped dataflow over random histories.

use std::sync::LazyLock;

use pinflow::definition::Definition;
use pinflow::runtime::replay::Options;
use proptest::prelude::*;

use super::oracle::{History, Record, Value, check, shown};
use super::tape::{Tape, cases, tapes};

static PINTEREST: LazyLock<Definition> = LazyLock::new(|| {
    Definition::parse(
        "pinterest.sql",
        include_str!("../../dataflows/pinterest.sql"),
    )
    .expect("the shipped dataflow is right")
});

const TITLES: [&str; 8] = [
    "Nice art",
    "",
    " \u{a0} ",
    "No Title Data Available",
    " No Title Data Available\u{a0}",
    "Untitled",
    "美しい 🎨",
    "Zoë's \"best\"\nideas",
];
const DESCRIPTIONS: [&str; 5] = [
    "words",
    "No description available Story format",
    "No description available",
    "Art.",
    "cut here…\u{a0}",
];
const COUNTS: [&str; 12] = [
    "12",
    "3k",
    "3000",
    "15M",
    "1.2M",
    "5,237",
    "0",
    "User Info Error",
    "",
    " 42 ",
    "1b",
    "12.0",
];
const BROKEN_COUNTS: [&str; 3] = ["1,5k", "-3", "many"];
const POSTERS: [&str; 5] = ["YourTango", "Bored Panda ", "User Info Error", "Ünal", "  "];
const TAGS: [&str; 4] = [
    "art,ideas",
    "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e",
    " #art ,, x",
    ",",
];
const MEDIA: [&str; 3] = ["image", "multi-video(story page format)", "video"];
const CATEGORIES: [&str; 5] = ["art", "travel", "quotes", " art", ""];
const COUNTRIES: [&str; 5] = ["Albania", "Cote d'Ivoire", "Åland", " ", "Chad"];
const DATES: [&str; 9] = [
    "2018-01-01 00:00:00",
    "2017-12-31T23:59:59",
    "2022-12-31 23:59:59",
    "2020-08-28 03:29:59.999999",
    "2020-08-28T03:30:00",
    "08/28/2020, 03:52:47",
    "2015:10:21 03:17:47",
    "2020-01-01T00:30:00+01:00",
    "",
];
const BROKEN_DATES: [&str; 2] = ["yesterday", "2021-02-29 00:00:00"];
const AGES: [i64; 12] = [20, 17, 18, 24, 25, 35, 36, 50, 51, 60, 0, -1];

/// A history of the three streams: few keys, so that rows are changed, repeated and joined late.
fn history(tape: &mut Tape) -> History {
    let epochs = 1 + tape.below(5);
    let mut said: Vec<Record> = Vec::new();
    (0..epochs)
        .map(|_| {
            let count = tape.below(14);
            (0..count)
                .map(|_| {
                    let record = match said.len() {
                        // The same record again, byte for byte.
                        n if n > 0 && tape.rarely(5) => said[tape.below(n)].clone(),
                        _ => record(tape),
                    };
                    said.push(record.clone());
                    record
                })
                .collect()
        })
        .collect()
}

fn record(tape: &mut Tape) -> Record {
    let stream = *tape.one(&["pin", "geo", "user"]);
    let key = if tape.rarely(30) {
        Value::Null
    } else {
        Value::Int(tape.below(9) as i64 - 1)
    };
    let mut broken = false;
    let text = |tape: &mut Tape, choices: &[&str]| match tape.rarely(8) {
        true => Value::Null,
        false => Value::Text((*tape.one(choices)).to_owned()),
    };
    let mut values = vec![key];
    match stream {
        "pin" => {
            values.push(text(tape, &["6b1e", "77aa"]));
            values.push(text(tape, &TITLES));
            values.push(text(tape, &DESCRIPTIONS));
            values.push(text(tape, &POSTERS));
            if tape.rarely(20) {
                broken = true;
                values.push(Value::Text((*tape.one(&BROKEN_COUNTS)).to_owned()));
            } else {
                values.push(text(tape, &COUNTS));
            }
            values.push(text(tape, &TAGS));
            values.push(text(tape, &MEDIA));
            values.push(text(
                tape,
                &["https://i.pinimg.com/originals/1.jpg", "Image src error."],
            ));
            values.push(text(tape, &["Local save in /data/art", "nowhere"]));
            values.push(text(tape, &CATEGORIES));
        }
        "geo" => {
            values.push(date(tape, &mut broken));
            for _ in 0..2 {
                values.push(if tape.rarely(6) {
                    Value::Null
                } else {
                    Value::Double(tape.below(100) as f64 / 8.0)
                });
            }
            values.push(text(tape, &COUNTRIES));
        }
        _ => {
            values.push(text(tape, &["Abigail", "Zoë", " "]));
            values.push(text(tape, &["Ali", "O'Neil", ""]));
            values.push(if tape.rarely(9) {
                Value::Null
            } else {
                Value::Int(*tape.one(&AGES))
            });
            values.push(date(tape, &mut broken));
        }
    }
    Record {
        stream,
        values,
        broken,
        deleted: tape.rarely(10),
    }
}

fn date(tape: &mut Tape, broken: &mut bool) -> Value {
    if tape.rarely(25) {
        *broken = true;
        return Value::Text((*tape.one(&BROKEN_DATES)).to_owned());
    }
    if tape.rarely(8) {
        Value::Null
    } else {
        Value::Text((*tape.one(&DATES)).to_owned())
    }
}

proptest! {
    #![proptest_config(cases(24))]

    /// At every epoch, every shipped view is what its SQL answers over the rows that there are
    /// then.
    #[test]
    fn view_equals_batch_query(tape in tapes(700), workers in 1usize..=4, batch in 1usize..=40) {
        let history = history(&mut Tape::new(&tape));
        if let Err(difference) = check(&PINTEREST, &history, &Options { workers, batch }) {
            prop_assert!(false, "{difference}\n{}", shown(&PINTEREST, &history));
        }
    }
}
