//! Posts out of the three tables of the original database, joined by offset as the original scripts
//! do: row `n` is the `n`th row of each table.
//!
//! The scripts rely on the physical order, which is that of the key; here the key is asked for, so
//! that the rows of a seed are the same whatever the engine does. Rows are fetched in windows,
//! since an idle result would be closed by the server while the emulation pauses. Addresses,
//! connections and values are those of the source for MySQL.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Value};

use super::{OriginOptions, Reader, Row};
use crate::emulator::dates::{DateForm, write_moment_text};
use crate::emulator::outgoing::Dressing;
use crate::emulator::{EmulatorError, Stream};
use crate::mysql::{MysqlAddress, RowWriter};

/// Rows of a table that are asked for at once.
const WINDOW: usize = 2000;

/// The three tables.
pub(super) struct Tables {
    connection: Conn,
    address: MysqlAddress,
    dates: DateForm,
    dressing: Dressing,
    windows: [VecDeque<(Option<u64>, Vec<u8>)>; 3],
    /// The offset of the next window.
    next: u64,
    ended: bool,
}

/// The key of a stream's table, unless the address says otherwise.
fn key_of(stream: Stream) -> &'static str {
    match stream {
        Stream::Pin => "index",
        Stream::Geo | Stream::User => "ind",
    }
}

impl Tables {
    /// Connects to the database of `address`.
    pub(super) async fn open(
        address: &MysqlAddress,
        options: &OriginOptions,
    ) -> Result<Self, EmulatorError> {
        let connection = address
            .connect()
            .await
            .map_err(|error| EmulatorError::Database {
                place: address.describe(),
                why: format!("cannot connect: {error}; check host, port, user and password"),
            })?;
        Ok(Self {
            connection,
            address: address.clone(),
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
            let table = self.address.table(stream.name());
            let key = self.address.key(stream.name()).unwrap_or(key_of(stream));
            let query = format!(
                "SELECT * FROM `{table}` ORDER BY `{key}` LIMIT {}, {rows}",
                self.next
            );
            let place = format!("{}, table {table}", self.address.describe());
            let failed = |error: mysql_async::Error| EmulatorError::Database {
                place: place.clone(),
                why: format!(
                    "{error}; expected are the tables pinterest_data (key `index`), geolocation_data and user_data (key `ind`)"
                ),
            };
            let statement = self.connection.prep(query).await.map_err(failed)?;
            let dates = self.dates;
            let writer = RowWriter::new(statement.columns()).spelling_moments(Box::new(
                move |moment, out| write_moment_text(moment, dates, out),
            ));
            let is_key = |column: &mysql_async::Column| column.name_ref() == key.as_bytes();
            let key = statement.columns().iter().position(is_key);
            let found: Vec<mysql_async::Row> =
                self.connection.exec(&statement, ()).await.map_err(failed)?;
            longest = longest.max(found.len());
            let window = &mut self.windows[stream as usize];
            for row in found {
                let row = row.unwrap();
                let mut record = Vec::with_capacity(1024);
                writer.write(&row, &mut record);
                window.push_back((key.and_then(|key| whole_number(&row[key])), record));
            }
            self.connection.close(statement).await.map_err(failed)?;
        }
        self.next += rows as u64;
        self.ended = longest < rows;
        Ok(())
    }
}

fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        _ => None,
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
