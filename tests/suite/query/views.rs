//! The views of a file, each of which may read those before.

use std::collections::BTreeSet;

use super::super::tape::Tape;
use super::schema::{Table, ident};
use super::scope::{Column, Writer};
use super::select;

/// A view: what it is called, what it returns, and which of the views before it reads.
#[derive(Clone, Debug)]
pub struct View {
    number: usize,
    /// Whether the statement names the columns.
    pub listed: bool,
    pub name: String,
    pub materialized: bool,
    /// A query for the number of rows that are left out of it because an expression fails, if one
    /// can.
    pub failing: Option<String>,
    pub sql: String,
    pub columns: Vec<Column>,
    pub reads: BTreeSet<usize>,
    /// What it was made from.
    tape: Vec<u8>,
}

impl View {
    /// The view that `tape` describes, over the tables and those views.
    pub fn new(number: usize, tape: Vec<u8>, tables: &[Table], earlier: &[View]) -> View {
        let mut writer = Writer::new(Tape::new(&tape), tables, earlier);
        let mut query = select::query(&mut writer);
        let listed = writer.tape.rarely(8);
        if listed {
            for (at, column) in query.columns.iter_mut().enumerate() {
                column.name = format!("x{at}");
                column.sql = ident(&column.name);
            }
        }
        let name = match writer.tape.below(12) {
            11 => format!("View{number}"),
            _ => format!("v{number}"),
        };
        View {
            number,
            listed,
            // Of a plain view only what its readers name is evaluated.
            materialized: writer.tape.below(6) < 5 || writer.failing.is_some(),
            failing: writer.failing.take(),
            reads: writer.reads,
            tape,
            sql: query.sql,
            columns: query.columns,
            name,
        }
    }

    /// The view of all rows of a table.
    pub fn all_of(table: &Table) -> View {
        View {
            number: 0,
            listed: false,
            name: format!("all_of_{}", table.name),
            materialized: true,
            failing: None,
            sql: format!("SELECT * FROM {}", ident(&table.name)),
            columns: table.columns(),
            reads: BTreeSet::new(),
            tape: Vec::new(),
        }
    }

    /// The same view from another tape.
    pub fn from(&self, tape: Vec<u8>, tables: &[Table], earlier: &[View]) -> View {
        View::new(self.number, tape, tables, earlier)
    }

    /// What it was made from.
    pub fn tape(&self) -> &[u8] {
        &self.tape
    }

    /// The view as a statement names it, with its columns if they are listed.
    pub fn title(&self) -> String {
        let name = ident(&self.name);
        if !self.listed {
            return name;
        }
        let columns: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.sql.as_str())
            .collect();
        format!("{name} ({})", columns.join(", "))
    }

    /// The statement.
    pub fn statement(&self) -> String {
        let kind = if self.materialized {
            "MATERIALIZED VIEW"
        } else {
            "VIEW"
        };
        format!("CREATE {kind} {} AS {};\n", self.title(), self.sql)
    }
}
