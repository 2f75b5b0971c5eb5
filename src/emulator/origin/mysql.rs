//! Posts out of the three tables of the original database, joined by offset as the original scripts do: row `n` is the
//! `n`th row of each table.
//!
//! The scripts rely on the physical order, which is that of the key; here the key is asked for, so that the rows of a
//! seed are the same whatever the engine does. Rows are fetched in windows, since an idle result would be closed by
//! the server while the emulation pauses. Values become JSON with the types that the original scripts send.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Value};

use super::{OriginOptions, Reader, Row};
use crate::emulator::dates::{DateForm, write_moment_text};
use crate::emulator::outgoing::Dressing;
use crate::emulator::{EmulatorError, Stream};

/// The table of a stream, and its key.
fn table(stream: Stream) -> (&'static str, &'static str) {
    match stream {
        Stream::Pin => ("pinterest_data", "index"),
        Stream::Geo => ("geolocation_data", "ind"),
        Stream::User => ("user_data", "ind"),
    }
}

/// Rows of a table that are asked for at once.
const WINDOW: usize = 2000;

/// The three tables.
pub(super) struct Tables {
    connection: Conn,
    place: String,
    dates: DateForm,
    dressing: Dressing,
    windows: [VecDeque<(Option<u64>, Vec<u8>)>; 3],
    /// The offset of the next window.
    next: u64,
    ended: bool,
}

impl Tables {
    /// Connects to the database of `address`.
    pub(super) async fn open(
        address: &str,
        options: &OriginOptions,
    ) -> Result<Self, EmulatorError> {
        let place = without_secrets(address);
        let failed = |why: String| EmulatorError::Database {
            place: place.clone(),
            why,
        };
        let settings = Opts::from_url(address).map_err(|error| {
            failed(format!(
                "{error}; an address is `mysql://user:password@host:3306/database`"
            ))
        })?;
        if settings.db_name().is_none() {
            return Err(failed(
                "the address names no database: `mysql://user:password@host:3306/database`"
                    .to_owned(),
            ));
        }
        let connection = Conn::new(settings).await.map_err(|error| {
            failed(format!(
                "cannot connect: {error}; check host, port, user and password"
            ))
        })?;
        Ok(Self {
            connection,
            place,
            dates: options.dates.unwrap_or(DateForm::Space),
            dressing: options.dressing,
            windows: Default::default(),
            next: 0,
            ended: false,
        })
    }

    /// Fetches `rows` more rows of each table.
    async fn fetch(&mut self, rows: usize) -> Result<(), EmulatorError> {
        let mut longest = 0;
        for stream in Stream::ALL {
            let (table, key) = table(stream);
            let query = format!(
                "SELECT * FROM `{table}` ORDER BY `{key}` LIMIT {}, {rows}",
                self.next
            );
            let failed = |error: mysql_async::Error| EmulatorError::Database {
                place: format!("{}, table {table}", self.place),
                why: format!(
                    "{error}; expected are the tables pinterest_data (key `index`), geolocation_data and user_data (key `ind`)"
                ),
            };
            let found: Vec<mysql_async::Row> =
                self.connection.query(query).await.map_err(failed)?;
            longest = longest.max(found.len());
            let window = &mut self.windows[stream as usize];
            for row in found {
                let mut record = Vec::with_capacity(1024);
                let key = write_row(&row, key, self.dates, &mut record);
                window.push_back((key, record));
            }
        }
        self.next += rows as u64;
        self.ended = longest < rows;
        Ok(())
    }
}

impl Reader for Tables {
    fn read<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Row>,
    ) -> BoxFuture<'a, Result<(), EmulatorError>> {
        async move {
            if !self.ended && self.windows.iter().all(VecDeque::is_empty) {
                self.fetch(WINDOW).await?;
            }
            for _ in 0..most {
                let mut row = Vec::with_capacity(3);
                for stream in Stream::ALL {
                    if let Some((key, record)) = self.windows[stream as usize].pop_front() {
                        row.push(self.dressing.outgoing(stream, key, &record, true));
                    }
                }
                if row.is_empty() {
                    break;
                }
                out.push(row);
            }
            Ok(())
        }
        .boxed()
    }
}

/// Appends `row` as a JSON object; returns the value of its column `key`.
fn write_row(row: &mysql_async::Row, key: &str, dates: DateForm, out: &mut Vec<u8>) -> Option<u64> {
    let mut found = None;
    out.push(b'{');
    for (at, column) in row.columns_ref().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(&column.name_str(), out);
        out.push(b':');
        let value = row.as_ref(at);
        if column.name_ref() == key.as_bytes()
            && let Some(Value::Bytes(digits)) = value
        {
            found = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok());
        }
        write_value(value, column.column_type(), dates, out);
    }
    out.push(b'}');
    found
}

/// Appends a value as the server printed it. A number stays one; whatever else there is becomes text.
fn write_value(value: Option<&Value>, kind: ColumnType, dates: DateForm, out: &mut Vec<u8>) {
    let Some(Value::Bytes(text)) = value else {
        return out.extend_from_slice(b"null");
    };
    use ColumnType::*;
    match kind {
        MYSQL_TYPE_TINY
        | MYSQL_TYPE_SHORT
        | MYSQL_TYPE_INT24
        | MYSQL_TYPE_LONG
        | MYSQL_TYPE_LONGLONG
        | MYSQL_TYPE_YEAR
        | MYSQL_TYPE_DECIMAL
        | MYSQL_TYPE_NEWDECIMAL
            if is_number(text) =>
        {
            out.extend_from_slice(text);
        }
        MYSQL_TYPE_FLOAT | MYSQL_TYPE_DOUBLE if is_number(text) => {
            out.extend_from_slice(text);
            // As the scripts print a float.
            if text
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'-')
            {
                out.extend_from_slice(b".0");
            }
        }
        MYSQL_TYPE_DATETIME
        | MYSQL_TYPE_TIMESTAMP
        | MYSQL_TYPE_DATETIME2
        | MYSQL_TYPE_TIMESTAMP2 => {
            out.push(b'"');
            write_moment_text(text, dates, out);
            out.push(b'"');
        }
        _ => write_text(&String::from_utf8_lossy(text), out),
    }
}

/// Whether JSON reads `text` as a number; `007` is none.
fn is_number(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Number>(text).is_ok()
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text can be written to memory");
}

/// The address for people: neither user nor password, nor options.
pub(super) fn without_secrets(address: &str) -> String {
    match url::Url::parse(address) {
        // Without a host nobody can tell what in it is secret.
        Ok(mut url) if url.has_host() => {
            url.set_query(None);
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.to_string()
        }
        _ => "mysql:".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, kind: ColumnType) -> String {
        let mut out = Vec::new();
        write_value(
            Some(&Value::Bytes(text.into())),
            kind,
            DateForm::Iso,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_the_original_scripts_write_them() {
        use ColumnType::*;
        for (text, kind, json) in [
            ("7528", MYSQL_TYPE_LONGLONG, "7528"),
            ("-89.9787", MYSQL_TYPE_FLOAT, "-89.9787"),
            ("-88", MYSQL_TYPE_FLOAT, "-88.0"),
            ("1e20", MYSQL_TYPE_DOUBLE, "1e20"),
            (
                "2020-08-28 03:52:47",
                MYSQL_TYPE_DATETIME,
                "\"2020-08-28T03:52:47\"",
            ),
            (
                "a \"b\"\n\u{e9}",
                MYSQL_TYPE_BLOB,
                "\"a \\\"b\\\"\\n\u{e9}\"",
            ),
            ("007", MYSQL_TYPE_VAR_STRING, "\"007\""),
        ] {
            assert_eq!(written(text, kind), json);
        }
        let mut out = Vec::new();
        write_value(Some(&Value::NULL), MYSQL_TYPE_LONG, DateForm::Iso, &mut out);
        assert_eq!(out, b"null");
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = without_secrets("mysql://ann:se%40cret@db:3306/pinterest_data?tcp_keepalive=1");
        assert_eq!(shown, "mysql://db:3306/pinterest_data");
        for address in ["mysql:ann:secret", "secret"] {
            assert_eq!(without_secrets(address), "mysql:");
        }
    }
}
