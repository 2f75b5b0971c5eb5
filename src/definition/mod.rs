//! A dataflow file, read and checked: its streams, its tables, its views.
//!
//! The file is stock SQL (three kinds of statement, and plain views as names for queries). Each
//! query is planned and optimised by DataFusion here, once; what the engine makes of a plan is
//! `plan`'s business. Nothing in this folder knows of workers or state.
//!
//! # Invariants
//! 1. A definition that loads has resolved every name and type; a table reads exactly one stream,
//!    statelessly.
//! 2. Statements see only what stands above them, so views form no cycle and are kept in an order
//!    in which each one's inputs come first.

mod calls;
mod columns;
mod complaint;
mod declare;
mod error;
mod frames;
mod refuse;
mod relation;
mod remedy;
mod statement;
mod types;
mod unread;

use std::io::ErrorKind;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use datafusion_expr::LogicalPlan;
use datafusion_expr::execution_props::ExecutionProps;

use crate::sql::Session;

pub use complaint::{in_words, node_name};
pub use error::{DefinitionError, Place};
pub use relation::check_prefix;
pub use statement::StatementText;
pub use types::{canonical_field, canonical_schema, canonical_type};

/// The dataflow that comes with the program and is run when none is named.
pub const SHIPPED: &str = "dataflows/pinterest.sql";

/// Its text as of the build, so that the program alone is enough.
const SHIPPED_TEXT: &str = include_str!("../../dataflows/pinterest.sql");

/// A named sequence of JSON records, as declared.
pub struct StreamDef {
    /// The relation's name in the file, such as `pin_raw`.
    pub relation: String,
    /// The stream's name, such as `pin`: what sources are asked for.
    pub name: String,
    /// The declared columns. Those that are NOT NULL make a dead letter of a record without them,
    /// so that to everything behind the decoder all columns are nullable: see
    /// [`StreamDef::decoded`].
    pub schema: SchemaRef,
    /// Its statement.
    pub text: StatementText,
}

impl StreamDef {
    /// The columns of decoded records.
    pub fn decoded(&self) -> SchemaRef {
        canonical_schema(self.schema.fields())
    }
}

/// The cleaned, keyed relation of one stream.
pub struct TableDef {
    /// The table's name.
    pub name: String,
    /// The stream it reads: an index into [`Definition::streams`].
    pub stream: usize,
    /// The optimised query over the stream.
    pub query: LogicalPlan,
    /// The columns of the primary key: indices into the query's schema.
    pub key: Vec<usize>,
    /// Its statement.
    pub text: StatementText,
    /// The query as SQL, for other engines.
    pub sql: String,
}

/// A query over tables and earlier views, kept up to date.
pub struct ViewDef {
    /// The view's name.
    pub name: String,
    /// The optimised query.
    pub query: LogicalPlan,
    /// Its statement.
    pub text: StatementText,
    /// The query as SQL, for other engines.
    pub sql: String,
    /// Whether the view is kept (`CREATE MATERIALIZED VIEW`); a plain view only names a query.
    pub materialized: bool,
}

/// A checked dataflow file.
pub struct Definition {
    /// The file's name.
    pub file: String,
    /// The streams, in the file's order.
    pub streams: Vec<StreamDef>,
    /// The tables, in the file's order.
    pub tables: Vec<TableDef>,
    /// All views, plain ones too, in the file's order.
    pub views: Vec<ViewDef>,
    session: Session,
}

impl Definition {
    /// Reads and checks the file at `path`; where there is no [`SHIPPED`], the text that the
    /// program brings.
    pub fn load(path: &Path) -> Result<Definition, DefinitionError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Definition::parse(&file, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && path == Path::new(SHIPPED) => {
                Definition::parse(&format!("{SHIPPED} (built in)"), SHIPPED_TEXT)
            }
            Err(error) => Err(DefinitionError {
                file,
                place: None,
                what: format!("the dataflow file cannot be read: {error}"),
                help: Some(format!(
                    "name an existing file, or {SHIPPED}, which is built in"
                )),
            }),
        }
    }

    /// Checks `text` as the content of a dataflow file called `file`.
    pub fn parse(file: &str, text: &str) -> Result<Definition, DefinitionError> {
        let (definition, refused) = Definition::accepted(file, text)?;
        match refused.into_iter().next() {
            Some(error) => Err(error),
            None if definition.tables.is_empty() => Err(DefinitionError {
                file: file.to_owned(),
                place: None,
                what: "the file defines no table, so nothing would be kept".to_owned(),
                help: Some(
                    "add CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. FROM a stream"
                        .to_owned(),
                ),
            }),
            None => Ok(definition),
        }
    }

    /// The statements of `text` that hold, each planned once, and why the others do not, in the
    /// file's order. What reads a relation that is refused is refused too.
    pub fn accepted(
        file: &str,
        text: &str,
    ) -> Result<(Definition, Vec<DefinitionError>), DefinitionError> {
        let mut definition = Definition {
            file: file.to_owned(),
            streams: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            session: Session::new(),
        };
        let statements = statement::split(file, text)?.into_iter();
        let refused = statements.filter_map(|statement| definition.add(statement).err());
        let refused = refused.collect();
        Ok((definition, refused))
    }

    /// The index of the table called `name`.
    pub fn table(&self, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.name == name)
    }

    /// The index of the view called `name`.
    pub fn view(&self, name: &str) -> Option<usize> {
        self.views.iter().position(|view| view.name == name)
    }

    /// The materialised views, in the file's order.
    pub fn materialized(&self) -> impl Iterator<Item = &ViewDef> {
        self.views.iter().filter(|view| view.materialized)
    }

    /// What the evaluation of the file's expressions depends on besides their arguments.
    pub fn properties(&self) -> ExecutionProps {
        self.session.properties()
    }
}
