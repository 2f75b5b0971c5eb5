//! Reads the tables, in turn, within one transaction.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};

use super::key::{self, Key, KeyValue};
use super::{Event, Shared, UNIT};
use crate::mysql::RowWriter;
use crate::source::{Chunk, Position, SourceError};
use crate::trouble::Trying;

/// Chunks are about this long.
const CHUNK_BYTES: usize = 1 << 20;

/// How often a lost connection is made again before it is an error.
const ATTEMPTS: u32 = 6;

/// Tables with more rows than this are not counted: what the server guesses is enough.
const COUNTED_ROWS: u64 = 1_000_000;

/// A table that is being read.
struct Table {
    stream: usize,
    name: String,
    key: Option<Key>,
    /// The key of the last row that was handed on.
    last: Option<KeyValue>,
    /// The next row's offset.
    offset: u64,
    limit: u64,
}

/// Reads all tables of this process to their ends.
pub(super) async fn read(
    shared: Arc<Shared>,
    units: usize,
    events: &Sender<Event>,
) -> Result<(), SourceError> {
    let mut tables = VecDeque::new();
    for (stream, name) in shared.opening.streams.iter().enumerate() {
        let table = shared.address.table(name).to_owned();
        if !shared.opening.is_mine(name, &table) {
            continue;
        }
        let position = shared.opening.position(name, &table);
        let last = match position.token.as_str() {
            "" => None,
            token => Some(serde_json::from_str(token).map_err(|_| {
                let why = format!("the position's token `{token}` is not a key; begin a new lake");
                failed(&shared, &self::table(&table), why)
            })?),
        };
        tables.push_back(Table {
            stream,
            name: table,
            key: None,
            last,
            offset: position.offset,
            limit: shared.address.page_rows(),
        });
    }
    let mut attempt = 0;
    let mut has_read = false;
    let troubles = &shared.opening.troubles;
    let mut trying = troubles.trying(format!("read {}", shared.address.describe()));
    loop {
        let before: Vec<u64> = tables.iter().map(|table| table.offset).collect();
        let stopped = match session(&shared, units, events, &mut tables, &mut trying).await {
            Ok(()) => return Ok(()),
            Err(stopped) => stopped,
        };
        let went_on = tables.iter().map(|table| table.offset).ne(before);
        attempt = if went_on { 1 } else { attempt + 1 };
        has_read |= went_on;
        match stopped {
            Stopped::For(error) => return Err(error),
            Stopped::By(place, error) if !error.is_fatal() || attempt >= ATTEMPTS => {
                return Err(failed(&shared, &place, what_to_do(&error)));
            }
            Stopped::By(place, error) => {
                let source = shared.address.describe();
                if has_read {
                    tracing::warn!(
                        "the connection to {source} was lost at {place}: {}; reading on in the \
                         database as it is now",
                        sentence(&error)
                    );
                } else {
                    tracing::warn!(
                        "{source} cannot be read at {place}, and is tried again: {}",
                        sentence(&error)
                    );
                }
                trying.failed(Instant::now(), &format!("{place}: {}", sentence(&error)));
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
        }
    }
}

/// Why a session ended early.
enum Stopped {
    /// The server, or the connection to it.
    By(String, mysql_async::Error),
    /// Something that will not change.
    For(SourceError),
}

async fn session(
    shared: &Arc<Shared>,
    units: usize,
    events: &Sender<Event>,
    tables: &mut VecDeque<Table>,
    trying: &mut Trying,
) -> Result<(), Stopped> {
    let database = shared.address.database().to_owned();
    let by = |place: String| move |error| Stopped::By(place, error);
    let by_database = || by(format!("the database `{database}`"));
    let mut connection = shared.address.connect().await.map_err(by_database())?;
    for statement in [
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ] {
        let done = connection.query_drop(statement).await;
        done.map_err(by_database())?;
    }
    for table in tables.iter_mut() {
        let given = shared.address.key(&shared.opening.streams[table.stream]);
        let found = key::find(&mut connection, &database, &table.name, given).await;
        let found = found.map_err(by(self::table(&table.name)))?;
        let key =
            found.map_err(|why| Stopped::For(failed(shared, &self::table(&table.name), why)))?;
        let left = rows_left(&mut connection, &database, table, &key).await;
        let left = left.map_err(by(self::table(&table.name)))?;
        shared.left().insert(table.stream, left);
        table.key = Some(key);
    }
    trying.succeeded();
    while let Some(mut table) = tables.pop_front() {
        let page = page(&mut connection, shared, units, events, &mut table).await;
        let stream = table.stream;
        match page {
            Ok(true) => tables.push_back(table),
            Ok(false) => {
                shared.left().insert(stream, 0);
            }
            Err(stopped) => {
                tables.push_front(table);
                return Err(stopped);
            }
        }
    }
    // The transaction wrote nothing: however the connection ends, nothing is lost.
    let _ = connection.disconnect().await;
    Ok(())
}

async fn rows_left(
    connection: &mut Conn,
    database: &str,
    table: &Table,
    key: &Key,
) -> Result<u64, mysql_async::Error> {
    let guess: Option<Option<u64>> = connection
        .exec_first(
            "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            (database, &table.name),
        )
        .await?;
    let guess = guess.flatten().unwrap_or(0);
    if guess > COUNTED_ROWS {
        return Ok(guess.saturating_sub(table.offset));
    }
    let (behind, params) = behind(key, table.last.as_ref());
    let query = format!("SELECT COUNT(*) FROM {}{behind}", quoted(&table.name));
    Ok(connection.exec_first(query, params).await?.unwrap_or(0))
}

/// Reads a page; tells whether there may be another one.
async fn page(
    connection: &mut Conn,
    shared: &Shared,
    units: usize,
    events: &Sender<Event>,
    table: &mut Table,
) -> Result<bool, Stopped> {
    let Some(key) = table.key.clone() else {
        return Ok(false);
    };
    let name = table.name.clone();
    let by = |error| Stopped::By(self::table(&name), error);
    let (behind, params) = behind(&key, table.last.as_ref());
    // Without an index every page would sort the table again.
    let limit = if key.indexed { table.limit } else { u64::MAX };
    let query = format!(
        "SELECT * FROM {}{behind} ORDER BY {} LIMIT {limit}",
        quoted(&table.name),
        quoted(&key.column)
    );
    let statement = connection.prep(query).await.map_err(by)?;
    let Some(place) = statement
        .columns()
        .iter()
        .position(|column| column.name_ref() == key.column.as_bytes())
    else {
        let why = format!("its column `{}` is gone", key.column);
        return Err(Stopped::For(failed(shared, &self::table(&name), why)));
    };
    let writer = RowWriter::new(statement.columns());
    let mut rows = connection.exec_iter(&statement, params).await.map_err(by)?;
    let mut lines = Lines::default();
    let mut read = 0;
    while let Some(row) = rows.next().await.map_err(by)? {
        read += 1;
        let values = row.unwrap();
        let Some(value) = KeyValue::of(values.get(place).unwrap_or(&Value::NULL)) else {
            let why = format!(
                "its column `{}` holds no keys that can be read on behind",
                key.column
            );
            return Err(Stopped::For(failed(shared, &self::table(&name), why)));
        };
        if lines.last.as_ref() != Some(&value) {
            if lines.text.len() >= CHUNK_BYTES {
                hand_on(shared, units, events, table, &mut lines).await;
            }
            lines.begin(value);
        }
        writer.write(&values, &mut lines.text);
        lines.text.push(b'\n');
        lines.records += 1;
    }
    drop(rows);
    // The statement's text will not come again with another page's limit, but often with the same.
    if read < limit {
        hand_on(shared, units, events, table, &mut lines).await;
        return Ok(false);
    }
    if key.unique {
        hand_on(shared, units, events, table, &mut lines).await;
        return Ok(true);
    }
    // More rows may have the last key: they are left to the next page.
    if lines.give_up_last() {
        hand_on(shared, units, events, table, &mut lines).await;
    } else {
        table.limit *= 2;
    }
    Ok(true)
}

/// Rows that were not handed on.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    records: u64,
    /// The key of the last row.
    last: Option<KeyValue>,
    /// Where its rows begin, how many records are before them, and their key.
    before: Option<(usize, u64, KeyValue)>,
    /// Whether rows of this page were handed on already.
    handed_on: bool,
}

impl Lines {
    /// Begins rows with another key.
    fn begin(&mut self, key: KeyValue) {
        let last = self.last.replace(key);
        self.before = last
            .filter(|_| self.records > 0)
            .map(|last| (self.text.len(), self.records, last));
    }

    /// Gives up the rows with the last key; `false` if then nothing of the page is left.
    fn give_up_last(&mut self) -> bool {
        match self.before.take() {
            Some((bytes, records, key)) => {
                self.text.truncate(bytes);
                self.records = records;
                self.last = Some(key);
                true
            }
            None => {
                let some = self.handed_on;
                *self = Lines::default();
                some
            }
        }
    }
}

async fn hand_on(
    shared: &Shared,
    units: usize,
    events: &Sender<Event>,
    table: &mut Table,
    lines: &mut Lines,
) {
    let Some(last) = lines.last.take().filter(|_| lines.records > 0) else {
        return;
    };
    let bytes = Bytes::from(std::mem::take(&mut lines.text));
    let share = bytes.len().div_ceil(UNIT).clamp(1, units) as u32;
    let permit = Arc::clone(&shared.budget).acquire_many_owned(share).await;
    let first_offset = table.offset;
    table.offset += lines.records;
    let token = serde_json::to_string(&last).expect("keys are always JSON");
    table.last = Some(last);
    let chunk = Chunk {
        stream: table.stream,
        partition: table.name.clone(),
        first_offset,
        records: std::mem::take(&mut lines.records),
        bytes,
        deletes: Vec::new(),
        refused: Vec::new(),
        end: Position {
            offset: table.offset,
            token,
        },
        retry: None,
    };
    lines.before = None;
    lines.handed_on = true;
    // Without a receiver the source is gone, and this task with it. The budget is never closed.
    let _ = events.send(Event::Chunk(chunk, permit.ok()));
}

/// The condition that rows are behind a key. Nulls sort before everything.
fn behind(key: &Key, last: Option<&KeyValue>) -> (String, Params) {
    let column = quoted(&key.column);
    match last {
        None => (String::new(), Params::Empty),
        Some(KeyValue::Null) => (format!(" WHERE {column} IS NOT NULL"), Params::Empty),
        Some(value) => (
            format!(" WHERE {column} > ?"),
            Params::Positional(vec![value.param()]),
        ),
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn what_to_do(error: &mysql_async::Error) -> String {
    let advice = match error {
        mysql_async::Error::Server(server) => match server.code {
            1044 => "check the database's name, and GRANT the user what it needs there",
            1045 | 1698 => "check the user and the password (MYSQL_PWD)",
            1049 => "check the database's name",
            1142 | 1143 => "GRANT SELECT on it to the user",
            _ => "this is what the server says",
        },
        mysql_async::Error::Io(_) => {
            "check that the server runs and can be reached from here, and whether it wants TLS (`tls=on`)"
        }
        mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            "leave `tls=on` out, or set up TLS in the server"
        }
        _ => "check that this is a MySQL or MariaDB server",
    };
    format!("{}; {advice}", sentence(error))
}

/// What is said, once: the library wraps an error of the network in two others of the same words.
fn sentence(error: &mysql_async::Error) -> String {
    const WRAPPED: &str = "Input/output error: ";
    let text = error.to_string();
    text.trim_start_matches(WRAPPED).to_owned()
}

/// A table as it is called in messages.
fn table(name: &str) -> String {
    format!("the table `{name}`")
}

fn failed(shared: &Shared, place: &str, why: String) -> SourceError {
    SourceError::Failed {
        source_name: shared.address.describe(),
        place: place.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_network_is_told_once_and_with_what_to_do() {
        let io = std::io::Error::other("Connection refused");
        let error = mysql_async::Error::Io(mysql_async::IoError::Io(io));
        assert_eq!(
            what_to_do(&error),
            "Connection refused; check that the server runs and can be reached from here, and \
             whether it wants TLS (`tls=on`)"
        );
    }

    #[test]
    fn rows_of_the_last_key_are_given_up_at_the_end_of_a_full_page() {
        let mut lines = Lines::default();
        for (key, row) in [(1, "a\n"), (2, "b\n"), (2, "c\n")] {
            if lines.last != Some(KeyValue::Int(key)) {
                lines.begin(KeyValue::Int(key));
            }
            lines.text.extend_from_slice(row.as_bytes());
            lines.records += 1;
        }
        assert!(lines.give_up_last());
        assert_eq!((lines.text.as_slice(), lines.records), (&b"a\n"[..], 1));
        assert_eq!(lines.last, Some(KeyValue::Int(1)));
        assert!(
            !lines.give_up_last(),
            "a page of one key must be read again, larger"
        );
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quoted("a`; DROP"), "`a``; DROP`");
    }
}
