//! What a query can name where it stands.

use std::collections::BTreeSet;

use super::super::tape::Tape;
use super::schema::{Table, Type, ident};
use super::views::View;

/// A column that can be named.
#[derive(Clone, Debug)]
pub struct Column {
    /// How it is named here, such as `r1."Country"`.
    pub sql: String,
    /// Its name, such as `Country`.
    pub name: String,
    pub of: Type,
    pub facts: Facts,
}

/// What is known of all values of a column, for expressions that would fail on others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// A number that is never zero.
    pub nonzero: bool,
    /// A text in which an `n` at the beginning is followed by digits only.
    pub codes: bool,
    /// A text that is such a code, or null.
    pub code: bool,
}

/// Something to select from.
#[derive(Clone, Debug)]
pub struct Relation {
    /// What stands behind FROM.
    pub from: String,
    pub columns: Vec<Column>,
}

/// What a query returns: its text, and its columns as a relation above it sees them (`sql` is the
/// bare name).
#[derive(Clone, Debug)]
pub struct Query {
    pub sql: String,
    pub columns: Vec<Column>,
}

/// What is known while a query is written.
pub struct Writer<'a> {
    pub tape: Tape<'a>,
    pub tables: &'a [Table],
    pub earlier: &'a [View],
    /// Views that were read.
    pub reads: BTreeSet<usize>,
    /// Relations that are named without an alias.
    bare: BTreeSet<String>,
    aliases: usize,
    /// How many queries this one is inside of.
    pub depth: usize,
    /// A query for the number of rows for which an expression fails, if one was written that can.
    pub failing: Option<String>,
}

impl<'a> Writer<'a> {
    pub fn new(tape: Tape<'a>, tables: &'a [Table], earlier: &'a [View]) -> Self {
        Writer {
            tape,
            tables,
            earlier,
            reads: BTreeSet::new(),
            bare: BTreeSet::new(),
            aliases: 0,
            depth: 0,
            failing: None,
        }
    }

    /// A name that nothing has yet.
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    /// A relation that has a name of its own: a table or an earlier view, under its name or an
    /// alias.
    pub fn named(&mut self, name: &str, columns: Vec<Column>) -> Relation {
        let quoted = ident(name);
        let (from, alias) = if self.tape.rarely(3) && self.bare.insert(name.to_owned()) {
            (quoted.clone(), quoted)
        } else {
            let alias = self.alias();
            (format!("{quoted} AS {alias}"), alias)
        };
        Relation {
            from,
            columns: under(&alias, columns),
        }
    }
}

/// Columns as they are named under an alias.
pub fn under(alias: &str, columns: Vec<Column>) -> Vec<Column> {
    let mut columns = columns;
    for column in &mut columns {
        column.sql = format!("{alias}.{}", ident(&column.name));
    }
    columns
}

impl Table {
    /// The columns of the table.
    pub fn columns(&self) -> Vec<Column> {
        let columns = self.items.iter().map(|item| Column {
            sql: ident(&item.name),
            name: item.name.clone(),
            of: item.of,
            facts: Facts {
                codes: item.codes,
                ..Facts::default()
            },
        });
        columns.collect()
    }
}

impl Relation {
    /// A column that `fits`, if there is one.
    pub fn pick(&self, tape: &mut Tape, fits: impl Fn(&Column) -> bool) -> Option<Column> {
        let fit: Vec<&Column> = self.columns.iter().filter(|column| fits(column)).collect();
        (!fit.is_empty()).then(|| (*tape.one(&fit)).clone())
    }

    /// A column of the type, if there is one.
    pub fn of(&self, tape: &mut Tape, of: Type) -> Option<Column> {
        self.pick(tape, |column| column.of == of)
    }

    /// A whole number, if there is one.
    pub fn whole(&self, tape: &mut Tape) -> Option<Column> {
        self.pick(tape, |column| column.of.is_whole())
    }

    /// A column that can be compared.
    pub fn comparable(&self, tape: &mut Tape) -> Column {
        self.pick(tape, |column| !column.of.is_list())
            .expect("every relation has a column that is no list")
    }

    /// Any column.
    pub fn any(&self, tape: &mut Tape) -> Column {
        tape.one(&self.columns).clone()
    }

    /// The same where outer joins may have put nulls, or rows were dropped: facts about values hold
    /// on.
    pub fn names(&self) -> BTreeSet<&str> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }
}
