//! What an emulation promises as a whole: determinism, shares, shapes.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::*;

type Sent = (Stream, u32, Vec<u8>);

fn calm(posts: u64) -> EmulatorOptions {
    EmulatorOptions {
        posts: Some(posts),
        duplicates: 0.0,
        dirty: 0.0,
        late: 0.0,
        updates: 0.0,
        variants: 0.0,
        ..EmulatorOptions::default()
    }
}

fn drain(mut emulator: Emulator) -> Vec<Sent> {
    let mut sent = Vec::new();
    while emulator.next_post(&mut |stream, partition, record| {
        sent.push((stream, partition, record.to_vec()));
    }) {}
    assert!(emulator.is_finished());
    sent
}

fn everything(options: EmulatorOptions) -> Vec<Sent> {
    drain(Emulator::new(options).unwrap())
}

/// The object of a record, out of its array if it has one.
fn parsed(record: &[u8]) -> Value {
    let value = serde_json::from_slice(record);
    match value.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(record))) {
        Value::Array(mut rows) if rows.len() == 1 => rows.remove(0),
        value => value,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn key(stream: Stream, row: &Value) -> Option<u64> {
    let value = &row[if stream == Stream::Pin {
        "index"
    } else {
        "ind"
    }];
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn is_date(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    [
        "9999-99-99 99:99:99",
        "9999-99-99T99:99:99",
        "9999:99:99 99:99:99",
        "99/99/9999, 99:99:99",
    ]
    .contains(&shape.as_str())
        && !text.starts_with("0000")
        && !text.contains("25:61")
}

/// What a strict reader asks of a row.
fn is_row(stream: Stream, record: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(record) else {
        return false;
    };
    let row = match value {
        Value::Array(mut rows) if rows.len() == 1 => rows.remove(0),
        value => value,
    };
    let has = |name: &str| number(&row[name]).is_some();
    key(stream, &row).is_some()
        && match stream {
            Stream::Pin => row["title"].is_string() && has("downloaded"),
            Stream::Geo => is_date(&row["timestamp"]) && has("latitude") && has("longitude"),
            Stream::User => is_date(&row["date_joined"]) && has("age"),
        }
}

#[test]
fn the_same_options_give_the_same_records() {
    let options = EmulatorOptions {
        posts: Some(3_000),
        broken: 0.01,
        ..EmulatorOptions::default()
    };
    let first = everything(options.clone());
    assert!(first == everything(options.clone()));
    let other = EmulatorOptions {
        seed: 101,
        ..options
    };
    assert!(first != everything(other));
}

/// A change of a list, of a draw or of their order changes every fixture ever made: these two tests
/// ask whether that is meant.
#[test]
fn the_first_post_of_seed_100_is_what_it_always_was() {
    let sent = everything(calm(1));
    let lines: Vec<String> = sent
        .into_iter()
        .map(|(_, _, record)| String::from_utf8(record).unwrap())
        .collect();
    assert_eq!(lines, FIRST_POST);
}

#[test]
fn the_world_of_seed_100_is_what_it_always_was() {
    let options = EmulatorOptions {
        posts: Some(20_000),
        broken: 0.01,
        ..EmulatorOptions::default()
    };
    // FNV-1a
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (_, _, record) in everything(options) {
        for byte in record.iter().chain(b"\n") {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(hash, 0x057f_a0b9_f696_b1fe);
}

const FIRST_POST: [&str; 3] = [
    "{\"index\":0,\"unique_id\":\"5c05ea19-6bca-44f3-a5e7-483994e33612\",\"title\":\"Free Printable \
     Touring Motorcycles for Small Spaces\",\"description\":\"I have always been in love with wooden \
     boats, step by step and without hurry. A good place to begin is the list below. Save it, try it, \
     make it yours. Swap the colours and it loo…\u{a0}\",\"poster_name\":\"Sage \
     Bookshelf\",\"follower_count\":\"477k\",\"tag_list\":\"Little Rods,Old Tractors,Vintage Rods,Modern \
     Bicycles,Rods Designs,Beautiful Trucks,Modern Roadsters,Vintage Roadsters,Rustic \
     Tractors\",\"is_image_or_video\":\"image\",\"image_src\":\"https://i.pinimg.com/originals/77/41/b6/7741b663ed0781bfe2edfeb9bb74c2f9.jpg\",\"downloaded\":1,\"save_location\":\"Local \
     save in /data/vehicles\",\"category\":\"vehicles\"}",
    "{\"ind\":0,\"timestamp\":\"2018-06-27T17:04:50\",\"latitude\":-87.9936,\"longitude\":-123.176,\"country\":\"Sao \
     Tome and Principe\"}",
    "{\"ind\":0,\"first_name\":\"Enzo\",\"last_name\":\"Sanders\",\"age\":20,\"date_joined\":\"2017-08-18 \
     17:19:34\"}",
];

#[test]
fn a_resumed_emulator_sends_what_a_straight_one_would_have() {
    let options = EmulatorOptions {
        posts: Some(12_000),
        seed: 9,
        duplicates: 0.1,
        late: 0.2,
        updates: 0.2,
        broken: 0.02,
        ..EmulatorOptions::default()
    };
    for start in [
        0, 1, 77, 2_000, 6_500, 11_999, 12_000, 14_000, 17_999, 30_000,
    ] {
        let mut straight = Emulator::new(options.clone()).unwrap();
        while straight.post_number() < start && straight.next_post(&mut |_, _, _| {}) {}
        let resumed = Emulator::at(options.clone(), start).unwrap();
        assert!(drain(resumed) == drain(straight), "from post {start}");
    }
}

#[test]
fn emulators_that_share_the_work_send_what_one_sends() {
    let options = EmulatorOptions {
        posts: Some(4_000),
        ..EmulatorOptions::default()
    };
    let whole = everything(options.clone());
    for partition in 0..4 {
        for stream in Stream::ALL {
            let is_own = |s: Stream, p: u32| s == stream && p == partition;
            let share = drain(Emulator::new(options.clone()).unwrap().only(is_own));
            let expected: Vec<&Sent> = whole.iter().filter(|(s, p, _)| is_own(*s, *p)).collect();
            assert!(share.iter().collect::<Vec<_>>() == expected);
        }
    }
}

#[test]
fn every_record_is_one_line_that_parses_and_stays_in_its_partition() {
    let options = EmulatorOptions {
        posts: Some(20_000),
        dirty: 0.5,
        variants: 0.5,
        duplicates: 0.1,
        updates: 0.1,
        ..EmulatorOptions::default()
    };
    let mut partitions: HashMap<u64, u32> = HashMap::new();
    for (stream, partition, record) in everything(options) {
        assert!(!record.contains(&b'\n'));
        assert!(
            is_row(stream, &record),
            "{}",
            String::from_utf8_lossy(&record)
        );
        let key = key(stream, &parsed(&record)).unwrap();
        assert_eq!(partition, partition_of(key, 4));
        assert_eq!(*partitions.entry(key).or_insert(partition), partition);
    }
    assert_eq!(partitions.len(), 20_000);
    let used: HashSet<u32> = partitions.into_values().collect();
    assert_eq!(used.len(), 4);
}

#[test]
fn a_calm_record_has_the_keys_of_its_table_in_their_order() {
    let orders = BTreeMap::from([
        (
            "pin",
            "index,unique_id,title,description,poster_name,follower_count,tag_list,is_image_or_video,image_src,downloaded,\
             save_location,category",
        ),
        ("geo", "ind,timestamp,latitude,longitude,country"),
        ("user", "ind,first_name,last_name,age,date_joined"),
    ]);
    for (stream, _, record) in everything(calm(500)) {
        let text = String::from_utf8(record.clone()).unwrap();
        let mut after = 0;
        for name in orders[stream.name()].split(',') {
            let at = text[after..].find(&format!("\"{name}\":")).expect(name);
            after += at;
        }
        let row = parsed(&record);
        assert_eq!(
            row.as_object().unwrap().len(),
            orders[stream.name()].split(',').count()
        );
    }
}

#[test]
fn sizes_are_near_the_real_ones() {
    let mut sizes: HashMap<Stream, (usize, usize)> = HashMap::new();
    for (stream, _, record) in everything(EmulatorOptions {
        posts: Some(20_000),
        ..EmulatorOptions::default()
    }) {
        let (count, bytes) = sizes.entry(stream).or_default();
        *count += 1;
        *bytes += record.len();
    }
    let mean = |stream| {
        let (count, bytes) = sizes[&stream];
        bytes / count
    };
    let means = Stream::ALL.map(mean);
    assert!((550..=700).contains(&means[0]), "{means:?}");
    assert!((105..=125).contains(&means[1]), "{means:?}");
    assert!((95..=112).contains(&means[2]), "{means:?}");
}

#[test]
fn shares_are_near_what_was_asked_for() {
    let posts = 30_000u64;
    let near = |count: usize, of: u64, share: f64| {
        let expected = of as f64 * share;
        assert!(
            (count as f64 - expected).abs() < expected * 0.1,
            "{count} of {of}, asked for {share}"
        );
    };
    let count = |options: EmulatorOptions| everything(options).len();

    let duplicates = EmulatorOptions {
        duplicates: 0.1,
        ..calm(posts)
    };
    near(count(duplicates) - 3 * posts as usize, 3 * posts, 0.1);

    let updates = EmulatorOptions {
        updates: 0.1,
        ..calm(posts)
    };
    near(count(updates) - 3 * posts as usize, posts, 0.1);

    let broken = EmulatorOptions {
        broken: 0.05,
        ..calm(posts)
    };
    let bad = everything(broken)
        .iter()
        .filter(|(stream, _, record)| !is_row(*stream, record))
        .count();
    near(bad, 3 * posts, 0.05);

    let late = EmulatorOptions {
        late: 0.1,
        ..calm(posts)
    };
    let (mut newest, mut behind) = (0, 0);
    for (stream, _, record) in everything(late) {
        let key = key(stream, &parsed(&record)).unwrap();
        newest = newest.max(key);
        behind += usize::from(key < newest);
        assert!(newest - key <= 2_000);
    }
    near(behind, posts, 0.1);

    let dirty = EmulatorOptions {
        dirty: 0.2,
        ..calm(posts)
    };
    let clean = everything(calm(posts));
    let changed: HashSet<u64> = everything(dirty)
        .iter()
        .zip(&clean)
        .filter(|(dirty, clean)| dirty != clean)
        .map(|((stream, _, record), _)| key(*stream, &parsed(record)).unwrap())
        .collect();
    near(changed.len(), posts, 0.2);

    let variants = EmulatorOptions {
        variants: 0.1,
        ..calm(posts)
    };
    let changed = everything(variants)
        .iter()
        .zip(&clean)
        .filter(|(some, none)| some != none)
        .count();
    // A few pins have nothing to escape.
    assert!((7_500..9_500).contains(&changed), "{changed}");
}

#[test]
fn a_duplicate_is_exact_and_an_update_is_not() {
    let options = EmulatorOptions {
        duplicates: 0.2,
        late: 0.2,
        updates: 1.0,
        dirty: 1.0,
        ..calm(3_000)
    };
    let mut editions: HashMap<(Stream, u64), Vec<Vec<u8>>> = HashMap::new();
    for (stream, _, record) in everything(options) {
        let key = key(stream, &parsed(&record)).unwrap();
        editions.entry((stream, key)).or_default().push(record);
    }
    let mut updates = 0;
    for ((stream, key), records) in editions {
        let last = records.last().unwrap();
        let distinct: HashSet<&Vec<u8>> = records.iter().collect();
        assert!(distinct.len() <= 2, "{} {key}", stream.name());
        if distinct.len() == 2 {
            updates += 1;
            assert_eq!(records.iter().filter(|record| *record == last).count(), 1);
        }
    }
    assert_eq!(updates, 3_000);
}

/// Whether a record shows a form.
type Found = Box<dyn Fn(Stream, &str) -> bool>;

/// Whether a follower count has a form.
type CountForm = fn(&str) -> bool;

#[test]
fn every_form_of_the_real_streams_occurs() {
    let options = EmulatorOptions {
        posts: Some(60_000),
        dirty: 0.3,
        variants: 0.1,
        ..EmulatorOptions::default()
    };
    let mut wanted: Vec<(&str, Found)> = Vec::new();
    for part in [
        // placeholders
        "\"title\":\"No Title Data Available\"",
        "\"description\":\"No description available Story format\"",
        "\"description\":\"No description available\"",
        "\"description\":\"Untitled\"",
        "\"title\":\"Untitled\"",
        "\"poster_name\":\"User Info Error\",\"follower_count\":\"User Info Error\"",
        "\"tag_list\":\"N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e\"",
        "\"image_src\":\"Image src error.\",\"downloaded\":0",
        "points • ",
        // odd texts
        "\"title\":\"\"",
        "\"title\":\" \"",
        "\"description\":\"\u{a0}\"",
        "\"follower_count\":\"\"",
        "\"image_src\":\"\"",
        "\"country\":\"\"",
        "\"last_name\":\" \"",
        "\"tag_list\":\"#",
        "\"img_src\":null",
        "…\u{a0}\"",
        "\\n",
        "\\\"",
        "✨",
        // media
        "\"image\"",
        "\"video\"",
        "\"multi-video(story page format)\"",
        "/videos/thumbnails/originals/",
        ".jpg\"",
        ".png\"",
        ".webp\"",
        ".gif\"",
        // wire forms
        "{\"index\":\"",
        "\"downloaded\":\"1\"",
        "\"age\":\"2",
        "\"latitude\":\"-",
        "[{\"ind",
        "[ {\"ind",
        "{\"index\": ",
        "{\"ind\": ",
        "\\u00e9",
        "\\ud83",
        "\\u2026\\u00a0",
    ] {
        wanted.push((part, Box::new(move |_, text| text.contains(part))));
    }
    let date = |name: &'static str, at: usize, sign: char| {
        move |_: Stream, text: &str| {
            let member = format!("\"{name}\":\"");
            text.find(&member)
                .is_some_and(|start| text[start + member.len() + at..].starts_with(sign))
        }
    };
    for name in ["timestamp", "date_joined"] {
        for (form, at, sign) in [
            ("space", 10, ' '),
            ("T", 10, 'T'),
            ("colons", 4, ':'),
            ("slashes", 2, '/'),
        ] {
            wanted.push((form, Box::new(date(name, at, sign))));
        }
    }
    let count = |ok: CountForm| {
        move |stream: Stream, text: &str| {
            stream == Stream::Pin
                && text
                    .split("\"follower_count\":\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .is_some_and(ok)
        }
    };
    let forms: [(&str, CountForm); 8] = [
        ("12k", |c| c.ends_with('k') && !c.contains('.')),
        ("3M", |c| c.ends_with('M') && !c.contains('.')),
        ("512", |c| c.bytes().all(|b| b.is_ascii_digit())),
        ("1.2M", |c| c.ends_with('M') && c.contains('.')),
        ("3.5k", |c| c.ends_with('k') && c.contains('.')),
        ("2m", |c| c.ends_with('m')),
        ("7K", |c| c.ends_with('K')),
        ("1B", |c| c.ends_with('B')),
    ];
    for (form, ok) in forms {
        wanted.push((form, Box::new(count(ok))));
    }
    for (stream, _, record) in everything(options) {
        let text = String::from_utf8(record).unwrap();
        wanted.retain(|(_, found)| !found(stream, &text));
    }
    let missing: Vec<&str> = wanted.iter().map(|(form, _)| *form).collect();
    assert!(missing.is_empty(), "not seen: {missing:?}");
}

#[test]
fn a_person_joins_before_posting_and_posters_persons_and_places_go_together() {
    let mut rows: HashMap<u64, BTreeMap<&str, Value>> = HashMap::new();
    for (stream, _, record) in everything(calm(20_000)) {
        let row = parsed(&record);
        let key = key(stream, &row).unwrap();
        rows.entry(key).or_default().insert(stream.name(), row);
    }
    let (mut persons, mut names) = (HashMap::new(), HashMap::new());
    for row in rows.values() {
        let (pin, geo, user) = (&row["pin"], &row["geo"], &row["user"]);
        let text = |value: &Value| value.as_str().unwrap().replace('T', " ");
        assert!(text(&user["date_joined"]) < text(&geo["timestamp"]));
        let name = (pin["poster_name"].clone(), pin["follower_count"].clone());
        let person = format!(
            "{} {} {} {} {} {} {}",
            user["first_name"],
            user["last_name"],
            user["age"],
            text(&user["date_joined"]),
            geo["country"],
            geo["latitude"],
            geo["longitude"]
        );
        assert_eq!(
            *persons.entry(name.clone()).or_insert(person.clone()),
            person
        );
        assert_eq!(*names.entry(person).or_insert(name.clone()), name);
    }
}
