//! Rows as JSON objects, the way the original's scripts made them: the table's columns in their
//! order, under their names.
//!
//! | column | value |
//! |---|---|
//! | integers, YEAR, BIT | a number |
//! | FLOAT, DOUBLE | the shortest number that is the same in that precision |
//! | DECIMAL | a number, all digits |
//! | DATETIME, TIMESTAMP | `"2020-08-28 03:52:47"`, with microseconds if there are any |
//! | DATE, TIME | `"2020-08-28"`, `"03:52:47"` |
//! | TEXT, CHAR, ENUM, SET, JSON | a string |
//! | BLOB, BINARY, and what else is bytes | a string in base64 |
//! | NULL | `null` |

use std::io::Write;

use base64::Engine;
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Value};

/// The character set of what is not text.
const BINARY: u16 = 63;

/// Writes rows that have the same columns.
pub struct RowWriter {
    columns: Vec<(Vec<u8>, Kind)>,
    moments: Box<SpellMoment>,
}

/// Appends a moment, which is given as `2020-08-28 03:52:47`, as it is to be spelled.
pub type SpellMoment = dyn Fn(&[u8], &mut Vec<u8>) + Send + Sync;

/// What bytes of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Decimal,
    Bits,
    Date,
    Other,
}

impl RowWriter {
    /// For rows with these columns, as the binary protocol gives them.
    pub fn new(columns: &[Column]) -> Self {
        let prefix = |(index, column): (usize, &Column)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            write_text(&column.name_str(), &mut key);
            key.push(b':');
            (key, kind(column))
        };
        RowWriter {
            columns: columns.iter().enumerate().map(prefix).collect(),
            moments: Box::new(|moment, out| out.extend_from_slice(moment)),
        }
    }

    /// The same, with another spelling of DATETIME and TIMESTAMP.
    pub fn spelling_moments(mut self, moments: Box<SpellMoment>) -> Self {
        self.moments = moments;
        self
    }

    /// Appends a row, without newline.
    pub fn write(&self, row: &[Value], out: &mut Vec<u8>) {
        if self.columns.is_empty() {
            out.push(b'{');
        }
        for ((key, kind), value) in self.columns.iter().zip(row) {
            out.extend_from_slice(key);
            write_value(*kind, value, &self.moments, out);
        }
        out.push(b'}');
    }
}

fn kind(column: &Column) -> Kind {
    match column.column_type() {
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Kind::Decimal,
        ColumnType::MYSQL_TYPE_BIT => Kind::Bits,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Kind::Date,
        ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_BLOB => match column.character_set() {
            BINARY => Kind::Binary,
            _ => Kind::Text,
        },
        ColumnType::MYSQL_TYPE_GEOMETRY => Kind::Binary,
        ColumnType::MYSQL_TYPE_JSON | ColumnType::MYSQL_TYPE_ENUM | ColumnType::MYSQL_TYPE_SET => {
            Kind::Text
        }
        _ => Kind::Other,
    }
}

fn write_value(kind: Kind, value: &Value, moments: &SpellMoment, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = match value {
        Value::NULL => out.write_all(b"null"),
        Value::Int(number) => write!(out, "{number}"),
        Value::UInt(number) => write!(out, "{number}"),
        Value::Float(number) => serde_json::to_writer(&mut *out, number).map_err(Into::into),
        Value::Double(number) => serde_json::to_writer(&mut *out, number).map_err(Into::into),
        Value::Bytes(bytes) => {
            match kind {
                Kind::Decimal => out.extend_from_slice(bytes),
                Kind::Bits => {
                    let number = bytes
                        .iter()
                        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
                    let _ = write!(out, "{number}");
                }
                Kind::Binary => {
                    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                    write_text(&text, out);
                }
                _ => write_text(&String::from_utf8_lossy(bytes), out),
            }
            Ok(())
        }
        Value::Date(year, month, day, ..) if kind == Kind::Date => {
            write!(out, "\"{year:04}-{month:02}-{day:02}\"")
        }
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let mut moment = Vec::with_capacity(26);
            let _ = write!(
                moment,
                "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
            );
            let _ = write_micros(*micros, &mut moment);
            out.push(b'"');
            moments(&moment, out);
            out.write_all(b"\"")
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let sign = if *negative { "-" } else { "" };
            let hours = u64::from(*days) * 24 + u64::from(*hours);
            let _ = write!(out, "\"{sign}{hours:02}:{minutes:02}:{seconds:02}");
            let _ = write_micros(*micros, out);
            out.write_all(b"\"")
        }
    };
}

fn write_micros(micros: u32, out: &mut Vec<u8>) -> std::io::Result<()> {
    match micros {
        0 => Ok(()),
        _ => write!(out, ".{micros:06}"),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text can always be written to a vector");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_they_are_stored() {
        for (kind, value, text) in [
            (Kind::Other, Value::Float(-89.9787), "-89.9787"),
            (Kind::Other, Value::Float(8.65953), "8.65953"),
            (Kind::Other, Value::Float(8.0), "8.0"),
            (Kind::Other, Value::Double(0.1), "0.1"),
            (Kind::Other, Value::UInt(u64::MAX), "18446744073709551615"),
            (
                Kind::Other,
                Value::Date(2020, 8, 28, 3, 52, 47, 0),
                "\"2020-08-28 03:52:47\"",
            ),
            (
                Kind::Other,
                Value::Date(2020, 8, 28, 0, 0, 0, 0),
                "\"2020-08-28 00:00:00\"",
            ),
            (
                Kind::Other,
                Value::Date(2020, 8, 28, 3, 52, 47, 5),
                "\"2020-08-28 03:52:47.000005\"",
            ),
            (
                Kind::Date,
                Value::Date(2020, 8, 28, 0, 0, 0, 0),
                "\"2020-08-28\"",
            ),
            (
                Kind::Other,
                Value::Time(true, 1, 2, 3, 4, 0),
                "\"-26:03:04\"",
            ),
            (
                Kind::Text,
                Value::Bytes("é\"\n…\u{a0}".into()),
                "\"é\\\"\\n…\u{a0}\"",
            ),
            (Kind::Binary, Value::Bytes(vec![0, 255]), "\"AP8=\""),
            (Kind::Decimal, Value::Bytes(b"1.50".to_vec()), "1.50"),
            (Kind::Bits, Value::Bytes(vec![1, 0]), "256"),
            (Kind::Text, Value::NULL, "null"),
        ] {
            let mut out = Vec::new();
            let as_they_are = |moment: &[u8], out: &mut Vec<u8>| out.extend_from_slice(moment);
            write_value(kind, &value, &as_they_are, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
