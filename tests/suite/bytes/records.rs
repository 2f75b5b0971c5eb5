//! Records: the decoder under damaged lines, and the shipped dataflow behind it.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use pinflow::decode::{Decoded, Decoder, count_records};
use pinflow::definition::{Definition, SHIPPED};
use pinflow::runtime::replay::{Input, Options, replay};

use super::damage::{NUMBERS, damage, shown};
use super::{MAIN_STACK, SERVER_STACK, each, no_sentence};
use crate::support::seed::Chance;

#[test]
fn any_line_is_rows_or_rejects_whatever_came_before_it() {
    let test = "suite::bytes::records::any_line";
    each(
        test,
        4000,
        SERVER_STACK,
        Lines::new,
        Lines::show,
        Lines::check,
    );
}

#[test]
fn any_records_through_the_shipped_dataflow_leave_their_neighbours_as_they_are() {
    let test = "suite::bytes::records::any_records";
    each(test, 30, MAIN_STACK, Posts::new, Posts::show, Posts::check);
}

/// The lines of a stream, and its name.
type Recorded = (&'static str, Vec<Vec<u8>>);

/// Lines of the recorded world, by stream.
static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/small");
    let lines = |stream: &str| {
        let text = fs::read(folder.join(stream).join("part-0-00000.jsonl"));
        let text = text.expect("the recorded world is in the repository");
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    ["pin", "geo", "user"]
        .map(|stream| (stream, lines(stream)))
        .to_vec()
});

/// A chunk for some columns, and the places of the lines in it that are good.
struct Lines {
    schema: SchemaRef,
    bytes: Bytes,
    good: Vec<usize>,
}

/// What a good line has in its first column.
const GOOD: i64 = 4242;

const NAMES: [&str; 8] = [
    "index",
    "title",
    "follower_count",
    "ind",
    "timestamp",
    "age",
    "a",
    "größe",
];

impl Lines {
    fn new(chance: &mut Chance) -> Lines {
        let mut fields = vec![Field::new("good", DataType::Int64, true)];
        for name in &NAMES[..chance.below(NAMES.len() + 1)] {
            fields.push(Field::new(*name, column(chance), !chance.rarely(12)));
        }
        let optional = fields.iter().all(Field::is_nullable);
        let (mut bytes, mut good) = (Vec::new(), Vec::new());
        for number in 0..1 + chance.below(8) {
            if optional && chance.rarely(3) {
                good.push(number);
                bytes.extend(format!("{{\"good\":{GOOD}}}\n").bytes());
                continue;
            }
            let mut line = line(chance);
            line.retain(|byte| *byte != b'\n');
            bytes.extend(line);
            bytes.push(b'\n');
        }
        if chance.rarely(4)
            && good
                .last()
                .is_none_or(|last| last + 1 < count_records(&bytes) as usize)
        {
            bytes.pop();
        }
        Lines {
            schema: Arc::new(Schema::new(fields)),
            bytes: bytes.into(),
            good,
        }
    }

    fn show(&self) -> String {
        let fields = self.schema.fields().iter();
        let fields: Vec<String> = fields
            .map(|f| format!("{} {}", f.name(), f.data_type()))
            .collect();
        format!("{}\n{}", fields.join(", "), shown(&self.bytes))
    }

    fn decoder(&self) -> Decoder {
        Decoder::new(Arc::clone(&self.schema)).expect("the columns are supported")
    }

    fn check(&self) -> Result<(), String> {
        let whole = self.decoder().decode(&self.bytes, 100);
        if whole.records != count_records(&self.bytes) {
            return Err(format!("{} records are told", whole.records));
        }
        let (mut rows, mut offsets, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
        for (offset, line) in (100..).zip(self.bytes.split(|byte| *byte == b'\n')) {
            let line = self.bytes.slice_ref(line);
            let alone = self.decoder().decode(&line, offset);
            self.told(&line, &alone)?;
            offsets.extend(alone.offsets.iter());
            rejects.extend(alone.rejects);
            rows.push(alone.rows);
        }
        let schema = whole.rows.schema();
        let rows = concat_batches(&schema, &rows).expect("they have its columns");
        if text(&rows) != text(&whole.rows) || !whole.offsets.iter().eq(offsets.iter().copied()) {
            return Err(format!("together {:?}\nalone {rows:?}", whole.rows));
        }
        if rejects != whole.rejects {
            return Err(format!("together {:?}\nalone {rejects:?}", whole.rejects));
        }
        let values = whole.rows.column(0).as_primitive::<Int64Type>();
        for good in &self.good {
            let row = offsets
                .iter()
                .position(|offset| *offset == 100 + *good as u64);
            if row.map(|row| values.value(row)) != Some(GOOD) {
                return Err(format!("the good line {good} did not become its row"));
            }
        }
        Ok(())
    }

    /// That a line is accounted for.
    fn told(&self, line: &Bytes, alone: &Decoded) -> Result<(), String> {
        let mark = "\u{feff}".as_bytes();
        let content = line.strip_prefix(mark).unwrap_or(line);
        let blank = content.iter().all(|byte| b" \t\r".contains(byte));
        if blank != (alone.rows.num_rows() + alone.rejects.len() == 0) {
            return Err(format!(
                "a line became {} rows and {} rejects: {}",
                alone.rows.num_rows(),
                alone.rejects.len(),
                shown(line)
            ));
        }
        for reject in &alone.rejects {
            // What is refused is a piece of the line.
            line.slice_ref(&reject.record);
            if let Some(why) = no_sentence(&reject.reason, "") {
                return Err(why);
            }
        }
        Ok(())
    }
}

/// Rows as text, in which not-a-number equals itself.
fn text(rows: &RecordBatch) -> String {
    format!("{rows:?}")
}

fn column(chance: &mut Chance) -> DataType {
    let list = |of| DataType::List(Arc::new(Field::new("item", of, true)));
    chance
        .one(&[
            DataType::Utf8View,
            DataType::Int64,
            DataType::Int32,
            DataType::Float64,
            DataType::Boolean,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Date32,
            list(DataType::Utf8View),
            list(DataType::Float64),
        ])
        .clone()
}

/// A line: recorded, written by the grammar, or random, and mostly damaged.
fn line(chance: &mut Chance) -> Vec<u8> {
    let mut line = match chance.below(8) {
        0..4 => {
            let (_, lines) = chance.one(&RECORDED);
            chance.one(lines).clone()
        }
        4 => {
            let length = chance.below(60);
            return chance.bytes(length);
        }
        _ => record(chance).into_bytes(),
    };
    if chance.rarely(12) {
        line = wrapped(chance, &line);
    }
    if !chance.rarely(4) {
        damage(chance, &mut line);
    }
    line
}

/// A record inside of a string, of an array, or behind another.
fn wrapped(chance: &mut Chance, line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line).into_owned();
    match chance.below(4) {
        0 => serde_json::to_vec(&text).expect("a text is JSON"),
        1 => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(line);
            serde_json::to_vec(&text).expect("a text is JSON")
        }
        2 => format!("[{}]", vec![text; 1 + chance.below(1200)].join(",")).into_bytes(),
        _ => text.repeat(1 + chance.below(4)).into_bytes(),
    }
}

fn record(chance: &mut Chance) -> String {
    let fields: Vec<String> = (0..chance.below(6))
        .map(|_| {
            let depth = *chance.one(&[1, 1, 1, 2, 200]);
            format!("\"{}\":{}", chance.one(&NAMES), json(chance, depth))
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn json(chance: &mut Chance, depth: usize) -> String {
    let scalars = [
        "null",
        "true",
        "\"\"",
        "\"12\"",
        "\" 7 \"",
        "\"2020-02-30\"",
        "\"2020-01-01T00:00:00Z\"",
        "\"9999-12-31 23:59:59.9999999999\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "\"k\"",
        "\"1.5e3\"",
        "\"-262144-01-01\"",
        "\"03/02/2024\"",
        "\"1e400\"",
        "\"NaN\"",
    ];
    if depth == 0 {
        return (*chance.one(&scalars)).to_owned();
    }
    match chance.below(5) {
        0 => (*chance.one(&NUMBERS)).to_owned(),
        1 => format!("[{}]", json(chance, depth - 1)),
        2 => format!("{{\"a\":{}}}", json(chance, depth - 1)),
        3 => format!("[{},{}]", json(chance, depth / 8), json(chance, depth - 1)),
        _ => (*chance.one(&scalars)).to_owned(),
    }
}

/// Records for the shipped dataflow. Every other one of the pins is good, and of a key of its own.
struct Posts {
    records: Vec<(&'static str, Vec<u8>)>,
    good: usize,
    options: Options,
}

static DEFINITION: LazyLock<Definition> =
    LazyLock::new(|| Definition::load(Path::new(SHIPPED)).expect("it is a dataflow"));

impl Posts {
    fn new(chance: &mut Chance) -> Posts {
        let good = 20 + chance.below(40);
        let mut records: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for number in 0..good {
            for _ in 0..3 {
                let (stream, lines) = chance.one(&RECORDED);
                let mut line = chance.one(lines).clone();
                match chance.below(6) {
                    0 => line = self::line(chance),
                    1 => line = wrapped(chance, &line),
                    _ => damage(chance, &mut line),
                }
                line.retain(|byte| *byte != b'\n');
                records.push((stream, line));
            }
            // No other record has such a key, unless a number was blown up just so.
            let key = 700_000_000_000 + number as u64;
            let line = format!("{{\"index\":{key},\"category\":\"good ones\"}}");
            records.push(("pin", line.into_bytes()));
        }
        Posts {
            records,
            good,
            options: Options {
                workers: 1 + chance.below(2),
                batch: 1 + chance.below(30),
            },
        }
    }

    fn show(&self) -> String {
        let records = self.records.iter();
        let lines: Vec<String> = records
            .map(|(stream, line)| format!("{stream} {}", shown(line)))
            .collect();
        lines.join("\n")
    }

    fn check(&self) -> Result<(), String> {
        let mut input = Input::default();
        for (stream, line) in &self.records {
            input.add(1, stream, line);
        }
        let replay =
            replay(&DEFINITION, input, &self.options).map_err(|error| error.to_string())?;
        if let Some(fault) = replay.faults.first() {
            return Err(format!(
                "a row was left out of `{}`: {}",
                fault.relation, fault.reason
            ));
        }
        let view = "follower_errors_by_category";
        let rows = replay.rows(view, 1).map_err(|error| error.to_string())?;
        let good = format!("good ones | {} | ", self.good);
        match rows.iter().find(|row| row.starts_with("good ones | ")) {
            Some(row) if row.starts_with(&good) => Ok(()),
            other => Err(format!("of {} good records there are {other:?}", self.good)),
        }
    }
}
