//! Where posts come from: made up, out of files, or out of the tables of a database.
//!
//! An origin hands out posts one after the other, each as a few records. It knows nothing of
//! targets, and the only thing it knows of time is the pause that its order draws before a post.
//!
//! ```text
//! generated  the emulator in its own order, or any row of its world        generated.rs
//! files      `topics/..` and lines, as the sources read them               files.rs
//! mysql      the three tables, joined by offset                            mysql.rs
//! drawn      any of them in the order of the original scripts              drawn.rs
//! ```

mod drawn;
mod files;
mod generated;
mod mysql;

#[cfg(test)]
#[path = "../../../tests/support/mariadb.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod mariadb;
#[cfg(test)]
mod mysql_tests;
#[cfg(test)]
#[path = "../../../tests/support/port.rs"]
mod port;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::emulator::dates::DateForm;
use crate::emulator::order::{Draws, RowOrder};
use crate::emulator::outgoing::{Dressing, Outgoing};
use crate::emulator::{EmulatorError, EmulatorOptions};
use crate::mysql::MysqlAddress;
use crate::source::SourceError;

use drawn::{Drawn, InTurn, Limited};
use files::Files;
use generated::{Generated, GeneratedRows};
use mysql::Tables;

/// Hands out posts.
pub(super) trait Origin: Send {
    /// Appends the records of at most `most` posts to `out`; the number of posts, which is 0 only
    /// at the end.
    fn next<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Outgoing>,
    ) -> BoxFuture<'a, Result<usize, EmulatorError>>;

    /// The pause that is drawn before the next post. Asked once for each post, or never.
    fn pause(&mut self) -> Duration;
}

/// The records of one post.
type Row = Vec<Outgoing>;

/// Reads rows in their order: of files, or of tables.
pub(super) trait Reader: Send {
    /// Appends at most `most` rows to `out`; nothing is appended only at the end.
    fn read<'a>(
        &'a mut self,
        most: usize,
        out: &'a mut Vec<Row>,
    ) -> BoxFuture<'a, Result<(), EmulatorError>>;
}

/// Which origin, and where.
#[derive(Clone, PartialEq)]
pub enum OriginAddress {
    /// Posts are made up.
    Generated,
    /// Files in a folder.
    Files(std::path::PathBuf),
    /// The three tables of a database.
    MySql(Box<MysqlAddress>),
}

impl FromStr for OriginAddress {
    type Err = String;

    fn from_str(address: &str) -> Result<Self, String> {
        let wrong = "posts come from `generated`, from files as `dir:PATH`, or from tables as \
                     `mysql://user:password@host:3306/database`";
        match address.split_once(':') {
            None if address == "generated" => Ok(Self::Generated),
            // An address may hold a password, and errors name the folder.
            Some(("dir", path)) if path.contains("://") => {
                Err("files come from a folder of this machine, as `dir:PATH`".to_owned())
            }
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Files(path.into())),
            Some(("mysql" | "mariadb", _)) => match address.parse() {
                Ok(address) => Ok(Self::MySql(Box::new(address))),
                Err(SourceError::Address { why, .. }) => Err(why),
                Err(other) => Err(other.to_string()),
            },
            _ => Err(wrong.to_owned()),
        }
    }
}

impl fmt::Display for OriginAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated => f.write_str("generated"),
            Self::Files(path) => write!(f, "dir:{}", path.display()),
            Self::MySql(address) => f.write_str(&address.describe()),
        }
    }
}

impl fmt::Debug for OriginAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What of an origin is posted, and in which order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OriginOptions {
    /// The world of generated posts; its number of posts and its seed count for every origin.
    pub(super) emulator: EmulatorOptions,
    pub(super) order: RowOrder,
    /// Where a sequential order begins.
    pub(super) first_row: u64,
    /// The last row that can be drawn.
    pub(super) last_row: u64,
    /// How moments out of tables are spelled.
    pub(super) dates: Option<DateForm>,
    pub(super) dressing: Dressing,
}

/// Rows that are kept in memory to be drawn from; beyond this an order that draws makes no sense.
const MOST_DRAWN_ROWS: u64 = 1_000_000;

impl OriginAddress {
    /// Opens the origin.
    pub(super) async fn open(
        &self,
        options: OriginOptions,
    ) -> Result<Box<dyn Origin>, EmulatorError> {
        let OriginOptions {
            order,
            first_row,
            last_row,
            ..
        } = options;
        let draws = Draws::new(order, options.emulator.seed, first_row, last_row);
        let sequential = order == RowOrder::Sequential;
        let posts = options.emulator.posts.unwrap_or(u64::MAX);
        let reader: Box<dyn Reader> = match self {
            Self::Generated if sequential => {
                return Ok(Box::new(Generated::new(&options, draws)?));
            }
            Self::Generated => {
                let mut rows = GeneratedRows::new(&options)?;
                let rows = Drawn::new(draws, move |row| Some(rows.row(row)));
                return Ok(Box::new(Limited::new(rows, posts)));
            }
            Self::Files(root) => Box::new(Files::open(root, options.dressing)?),
            Self::MySql(address) => Box::new(Tables::open(address, &options).await?),
        };
        if sequential {
            let rows = InTurn::after(reader, first_row, draws).await?;
            return Ok(Box::new(Limited::new(rows, posts)));
        }
        if last_row >= MOST_DRAWN_ROWS {
            return Err(EmulatorError::TooManyRows(MOST_DRAWN_ROWS - 1));
        }
        let rows = drawn::first_rows(reader, last_row + 1).await?;
        if rows.is_empty() {
            return Err(EmulatorError::NoRows(self.to_string()));
        }
        let rows = Drawn::new(draws, move |row| rows.get(row as usize).cloned());
        Ok(Box::new(Limited::new(rows, posts)))
    }
}
