//! Tables of MySQL or MariaDB as bounded streams: `mysql://user@host:3306/database`.
//!
//! Every stream is a table, and the table is its only partition; its rows become JSON objects
//! (`crate::mysql`). The tables are read in turn, in pages that are cut by a key, all in one
//! transaction: what is read is the database at one moment. A position is the number of rows read
//! and, as its token, the key of the last one; a later run reads on behind it, in the database as
//! it is then.
//!
//! # Options of the address
//! * `<stream>=<table>`: the table of a stream. Without it `pin` is `pinterest_data`, `geo` is
//!   `geolocation_data`, `user` is `user_data`, and any other stream the table of its name.
//! * `<stream>.key=<column>`: the column that pages are cut by; see `key` for what it is without.
//! * `page_rows=<n>`: rows that are asked for at once.
//! * `tls=on`, `ca=<PEM file>`: TLS, with the certificate authorities that everyone trusts, or
//!   those of the file.
//!
//! # Invariants
//! 1. Rows of a table come in the order of the key, and a chunk never ends among rows of the same
//!    key.
//! 2. What waits to be read stays within the budget, and one page of the server's answer.

mod key;
mod reader;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Chunk, Lag, Opening, Read, Source, SourceError, guard};
use crate::mysql::MysqlAddress;

/// Tables of one database.
pub struct Mysql {
    events: Receiver<Event>,
    reader: tokio::task::JoinHandle<()>,
    shared: Arc<Shared>,
    ended: bool,
}

/// What the reader tells.
enum Event {
    Chunk(Chunk, Option<OwnedSemaphorePermit>),
    Failed(SourceError),
    End,
}

/// What the source and its reader share.
struct Shared {
    address: MysqlAddress,
    opening: Opening,
    budget: Arc<Semaphore>,
    /// Rows that are there and were not read, by stream.
    left: Mutex<BTreeMap<usize, u64>>,
}

impl Shared {
    fn left(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, u64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The budget counts in these.
const UNIT: usize = 1024;

impl Mysql {
    /// Opens the database; connecting and reading ahead begin at once, on `runtime`.
    pub fn open(
        address: MysqlAddress,
        opening: Opening,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, SourceError> {
        address.check_streams(&opening.streams)?;
        let units = (opening.budget_bytes / UNIT).clamp(1, u32::MAX as usize / 2);
        let (sender, events) = channel();
        let shared = Arc::new(Shared {
            address,
            opening,
            budget: Arc::new(Semaphore::new(units)),
            left: Mutex::default(),
        });
        let reading = Arc::clone(&shared);
        let reader = runtime.spawn(async move {
            let name = reading.address.describe();
            let rows = reader::read(reading, units, &sender);
            let last = match guard::in_task(&name, "its tables", rows).await {
                Ok(()) => Event::End,
                Err(error) => Event::Failed(error),
            };
            // Without a receiver the source is gone.
            let _ = sender.send(last);
        });
        Ok(Mysql {
            events,
            reader,
            shared,
            ended: false,
        })
    }
}

impl Source for Mysql {
    /// A chunk is about 1 MiB, whatever is asked for: it must end with the last row of a key.
    fn read(&mut self, _bytes_max: usize) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        match self.events.try_recv() {
            Ok(Event::Chunk(chunk, _permit)) => {
                if let Some(left) = self.shared.left().get_mut(&chunk.stream) {
                    *left = left.saturating_sub(chunk.records);
                }
                Ok(Read::Chunk(chunk))
            }
            Ok(Event::Failed(error)) => {
                self.ended = true;
                Err(error)
            }
            Ok(Event::End) | Err(TryRecvError::Disconnected) => {
                self.ended = true;
                Ok(Read::End)
            }
            Err(TryRecvError::Empty) => Ok(Read::Idle),
        }
    }

    fn describe(&self) -> String {
        self.shared.address.describe()
    }

    fn identity(&self) -> Option<String> {
        Some(format!("the database {}", self.shared.address.place()))
    }

    fn lag(&self) -> Vec<Lag> {
        let streams = &self.shared.opening.streams;
        let lag = |(stream, rows): (&usize, &u64)| Lag {
            stream: *stream,
            partition: self.shared.address.table(&streams[*stream]).to_owned(),
            records: Some(*rows),
            bytes: None,
            seconds: None,
        };
        self.shared.left().iter().map(lag).collect()
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
