//! What the fields of a record hold, and how a table reads it.

use serde_json::{Value, json};

use super::super::tape::Tape;
use super::schema::Type;

/// What is sent in a field. The text is the type that the stream declares, where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spelling {
    /// One of few numbers, never null.
    Key(&'static str),
    /// One of few texts, never null.
    KeyText,
    Whole(&'static str),
    /// A multiple of a quarter, or a zero of either sign: sums and means of them are exact in any
    /// order.
    Double(&'static str),
    /// The same as text, with infinities and NaN.
    DoubleText,
    Flag,
    Text,
    /// Texts, of which those that begin with `n` are `n` and a number.
    Code,
    Date,
    DateText,
    Timestamp,
    TimestampText,
    Texts,
}

/// How a table makes a column of a field.
pub struct Cleaning {
    pub sql: String,
    pub of: Type,
    pub codes: bool,
}

const TEXTS: [&str; 12] = [
    "x",
    "y",
    "z",
    "",
    "ü",
    "a longer text than twelve",
    "O'Neil",
    "say \"hi\"",
    "日本語 🎨",
    "X",
    "x,y",
    "100%",
];
const CODES: [&str; 8] = [
    "n1",
    "x",
    "n2",
    "n12",
    "",
    "-",
    "n3",
    "a longer text than twelve",
];
const DATES: [&str; 8] = [
    "2020-01-01",
    "2020-01-02",
    "2020-02-29",
    "2019-12-31",
    "1969-12-31",
    "2024-01-01",
    "0001-01-01",
    "9999-12-31",
];
const TIMES: [&str; 10] = [
    "2020-01-01 00:00:00",
    "2020-01-01 01:30:00",
    "2020-01-02 00:00:00",
    "2020-01-01 00:00:00.000001",
    "2019-12-31 23:59:59.999999",
    "1969-12-31 23:00:00",
    "2020-02-29 12:00:00",
    "2021-06-01 03:04:05",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
];

impl Spelling {
    /// The type that the stream declares.
    pub fn declared(self) -> &'static str {
        match self {
            Spelling::Key(declared) | Spelling::Whole(declared) | Spelling::Double(declared) => {
                declared
            }
            Spelling::Flag => "BOOLEAN",
            Spelling::Date => "DATE",
            Spelling::Timestamp => "TIMESTAMP",
            Spelling::Texts => "TEXT[]",
            _ => "TEXT",
        }
    }

    /// A value, as JSON.
    pub fn value(self, tape: &mut Tape) -> Value {
        let key = matches!(self, Spelling::Key(_) | Spelling::KeyText);
        if !key && tape.rarely(6) {
            return Value::Null;
        }
        match self {
            Spelling::Key(_) => json!(tape.below(6)),
            Spelling::KeyText => json!(tape.one(&["p", "q"])),
            Spelling::Whole(_) => json!(tape.below(7) as i64 - 1),
            Spelling::Double(_) => match tape.below(12) {
                0 => json!(0.0),
                1 => json!(-0.0),
                _ => json!(tape.below(64) as f64 / 4.0 - 3.0),
            },
            Spelling::DoubleText => match tape.below(10) {
                0 => json!("NaN"),
                1 => json!("inf"),
                2 => json!("-inf"),
                3 => json!("-0.0"),
                _ => json!(format!("{:?}", tape.below(32) as f64 / 4.0 - 3.0)),
            },
            Spelling::Flag => json!(tape.rarely(2)),
            Spelling::Text => json!(tape.one(&TEXTS)),
            Spelling::Code => json!(tape.one(&CODES)),
            Spelling::Date | Spelling::DateText => json!(tape.one(&DATES)),
            Spelling::Timestamp | Spelling::TimestampText => json!(tape.one(&TIMES)),
            Spelling::Texts => (0..tape.below(4))
                .map(|_| match tape.rarely(5) {
                    true => Value::Null,
                    false => json!(tape.one(&TEXTS)),
                })
                .collect(),
        }
    }

    /// A value that cannot be read, if there is one.
    pub fn broken(self) -> Option<Value> {
        match self {
            Spelling::Key(_) | Spelling::KeyText => Some(Value::Null),
            Spelling::Whole(_) | Spelling::Double(_) | Spelling::Flag => Some(json!("perhaps")),
            Spelling::Date | Spelling::Timestamp => Some(json!("yesterday")),
            _ => None,
        }
    }

    /// What a table makes of the field `name`: itself, or something `plain` does not allow.
    pub fn cleaning(self, tape: &mut Tape, name: &str, plain: bool) -> Cleaning {
        let same = match self {
            Spelling::Key("INT") | Spelling::Whole("INT") => Type::Int,
            Spelling::Whole("SMALLINT") => Type::Smallint,
            Spelling::Key(_) | Spelling::Whole(_) => Type::Bigint,
            Spelling::Double("REAL") => Type::Real,
            Spelling::Double(_) => Type::Double,
            Spelling::Flag => Type::Boolean,
            Spelling::Date => Type::Date,
            Spelling::Timestamp => Type::Timestamp,
            Spelling::Texts => Type::Texts,
            _ => Type::Text,
        };
        let choice = if plain { 0 } else { tape.below(6) };
        let (sql, of) = match (self, choice) {
            (Spelling::DoubleText, _) => (format!("CAST({name} AS DOUBLE)"), Type::Double),
            (Spelling::DateText, _) => (format!("CAST({name} AS DATE)"), Type::Date),
            (Spelling::TimestampText, 4) => {
                (format!("CAST(parse_timestamp({name}) AS DATE)"), Type::Date)
            }
            (Spelling::TimestampText, _) => (format!("parse_timestamp({name})"), Type::Timestamp),
            (Spelling::Whole(_), 1) => (format!("CAST({name} AS SMALLINT)"), Type::Smallint),
            (Spelling::Whole(_), 2) => (format!("CAST({name} AS DECIMAL(12, 2))"), Type::Decimal),
            (Spelling::Whole(_), 3) => (
                format!("CASE WHEN {name} <> 0 THEN 60 ÷ {name} END"),
                Type::Bigint,
            ),
            (Spelling::Whole(_), 4) => (format!("{name} * 2 + 1"), Type::Bigint),
            (Spelling::Double(_), 1) => (format!("CAST({name} AS REAL)"), Type::Real),
            (Spelling::Double(_), 2) => (format!("CAST({name} AS DECIMAL(12, 2))"), Type::Decimal),
            (Spelling::Text, 1) => (format!("digest({name}, 'md5')"), Type::Bytea),
            (Spelling::Text, 2) => (format!("nullif({name}, '')"), Type::Text),
            (Spelling::Text, 3) => (format!("upper({name})"), Type::Text),
            (Spelling::Code, 1) => (
                format!("CASE WHEN {name} LIKE 'n%' THEN CAST(substr({name}, 2) AS BIGINT) END"),
                Type::Bigint,
            ),
            _ => (name.to_owned(), same),
        };
        Cleaning {
            codes: self == Spelling::Code && sql == name,
            sql,
            of,
        }
    }
}
