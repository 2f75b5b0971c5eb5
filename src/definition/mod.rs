//! A dataflow file, read and checked: its streams, its tables, its views.
//!
//! The file is stock SQL (three kinds of statement, and plain views as names for queries). Each query is planned and
//! optimised by DataFusion here, once; what the engine makes of a plan is `plan`'s business. Nothing in this folder
//! knows of workers or state.
//!
//! # Invariants
//! 1. A definition that loads has resolved every name and type; a table reads exactly one stream, statelessly.
//! 2. Statements see only what stands above them, so views form no cycle and are kept in an order in which each one's inputs
//!    come first.

mod complaint;
mod error;
mod statement;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{DdlStatement, Distinct, Expr, LogicalPlan, Volatility};
use datafusion_sql::parser::{DFParserBuilder, Statement};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::Token;

use crate::decode::Decoder;
use crate::sql::Session;

use complaint::sql_error;
pub use error::{DefinitionError, Place};
pub use statement::StatementText;

/// A named sequence of JSON records, as declared.
#[derive(Clone, Debug)]
pub struct StreamDef {
    /// The relation's name in the file, such as `pin_raw`.
    pub relation: String,
    /// The stream's name, such as `pin`: what sources are asked for.
    pub name: String,
    /// The declared columns.
    pub schema: SchemaRef,
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
    /// Its statement, for messages.
    pub text: StatementText,
    /// The query as SQL.
    pub sql: String,
}

/// A query over tables and earlier views, kept up to date.
pub struct ViewDef {
    /// The view's name.
    pub name: String,
    /// The optimised query.
    pub query: LogicalPlan,
    /// Its statement, for messages.
    pub text: StatementText,
    /// The query as SQL.
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
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Definition, DefinitionError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| DefinitionError {
            file: file.clone(),
            place: Place { line: 1, column: 1 },
            what: format!("the dataflow file cannot be read: {error}"),
            help: Some("name an existing file, such as dataflows/pinterest.sql".to_owned()),
        })?;
        Definition::parse(&file, &text)
    }

    /// Checks `text` as the content of a dataflow file called `file`.
    pub fn parse(file: &str, text: &str) -> Result<Definition, DefinitionError> {
        let mut definition = Definition {
            file: file.to_owned(),
            streams: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            session: Session::new(),
        };
        for statement in statement::split(file, text)? {
            definition.add(statement)?;
        }
        if definition.tables.is_empty() {
            return Err(DefinitionError {
                file: file.to_owned(),
                place: Place { line: 1, column: 1 },
                what: "the file defines no table, so nothing would be kept".to_owned(),
                help: Some(
                    "add CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. FROM a stream"
                        .to_owned(),
                ),
            });
        }
        Ok(definition)
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

    /// A number that changes when the meaning of the table or view called `name` may have changed.
    ///
    /// It covers the relation's own query and, for views, all tables and views above it in the file.
    pub fn fingerprint(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        for stream in &self.streams {
            (&stream.name, format!("{:?}", stream.schema)).hash(&mut hasher);
        }
        for table in &self.tables {
            if table.name == name {
                (&table.sql, &table.key).hash(&mut hasher);
                return hasher.finish();
            }
        }
        for table in &self.tables {
            (&table.name, &table.sql, &table.key).hash(&mut hasher);
        }
        for view in &self.views {
            (&view.name, &view.sql).hash(&mut hasher);
            if view.name == name {
                break;
            }
        }
        hasher.finish()
    }

    fn add(&mut self, text: StatementText) -> Result<(), DefinitionError> {
        let mut parser = DFParserBuilder::new(text.sql.as_str())
            .with_dialect(&GenericDialect {})
            .build()
            .map_err(|error| sql_error(&text, error))?;
        let parsed = parser
            .parse_statement()
            .map_err(|error| sql_error(&text, error))?;
        // The parser stops where a statement may end; what is left over would go unread.
        let next = parser.parser.peek_token();
        if next.token != Token::EOF {
            return Err(DefinitionError {
                place: text.place_in_file(next.span.start.line, next.span.start.column),
                ..text.error(
                    &[],
                    format!(
                        "the statement could end before `{next}`, which does not go on with it"
                    ),
                    None,
                )
            });
        }
        match parsed {
            Statement::CreateExternalTable(create) => self.add_stream(&text, create),
            Statement::Statement(statement) => match *statement {
                ast::Statement::CreateTable(create) => self.add_table(text, create),
                ast::Statement::CreateView(create) => self.add_view(text, create),
                _ => Err(unknown_statement(&text)),
            },
            _ => Err(unknown_statement(&text)),
        }
    }

    fn add_stream(
        &mut self,
        text: &StatementText,
        create: datafusion_sql::parser::CreateExternalTable,
    ) -> Result<(), DefinitionError> {
        let relation = relation_name(&create.name);
        if !create.file_type.eq_ignore_ascii_case("JSON") {
            return Err(text.error(
                &[&create.file_type],
                format!(
                    "stream `{relation}` is stored as {}, which pinflow does not decode",
                    create.file_type
                ),
                Some("write STORED AS JSON"),
            ));
        }
        let [location] = create.locations.as_slice() else {
            return Err(text.error(
                &["LOCATION"],
                "a stream has one location",
                Some("write LOCATION 'stream name'"),
            ));
        };
        let location = location.clone();
        let plan = self
            .session
            .plan(Statement::CreateExternalTable(create))
            .map_err(|error| sql_error(text, error))?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(declared)) = plan else {
            return Err(unknown_statement(text));
        };
        let schema = declared.schema.as_arrow();
        let schema = Arc::new(Schema::new(
            schema
                .fields()
                .iter()
                .map(|field| canonical_field(field))
                .collect::<Vec<_>>(),
        ));
        if let Err(unsupported) = Decoder::new(Arc::clone(&schema)) {
            return Err(text.error(&[&unsupported.column], unsupported.to_string(), None));
        }
        self.name_is_free(text, &relation)?;
        self.session.declare(&relation, Arc::clone(&schema));
        self.streams.push(StreamDef {
            relation,
            name: location,
            schema,
        });
        Ok(())
    }

    fn add_table(
        &mut self,
        text: StatementText,
        create: ast::CreateTable,
    ) -> Result<(), DefinitionError> {
        let name = relation_name(&create.name);
        let Some(query) = create.query else {
            return Err(text.error(
                &["TABLE"],
                format!("table `{name}` has no query"),
                Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .., or CREATE EXTERNAL TABLE for a stream"),
            ));
        };
        let sql = query.to_string();
        let plan = self.plan(&text, *query)?;
        let stream = self.stream_read_by(&text, &name, &plan)?;
        let schema = plan.schema();
        let key_columns = create
            .constraints
            .iter()
            .find_map(|constraint| match constraint {
                ast::TableConstraint::PrimaryKey(key) => Some(
                    key.columns
                        .iter()
                        .map(|c| c.column.expr.to_string())
                        .collect::<Vec<_>>(),
                ),
                _ => None,
            });
        let Some(key_columns) = key_columns.filter(|columns| !columns.is_empty()) else {
            return Err(text.error(
                &["TABLE"],
                format!("table `{name}` has no primary key, so pinflow could not tell a new row from a changed one"),
                Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .."),
            ));
        };
        let key = key_columns
            .iter()
            .map(|column| {
                let plain = column.trim_matches('"');
                schema.fields().iter().position(|field| field.name() == plain).ok_or_else(|| {
                    text.error(
                        &["KEY"],
                        format!("the primary key of `{name}` names `{plain}`, which its query does not return"),
                        Some("name a column of the SELECT list"),
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let fields = schema
            .fields()
            .iter()
            .map(|field| canonical_field(field))
            .collect::<Vec<_>>();
        self.name_is_free(&text, &name)?;
        self.session.declare(&name, Arc::new(Schema::new(fields)));
        self.tables.push(TableDef {
            name,
            stream,
            query: plan,
            key,
            text,
            sql,
        });
        Ok(())
    }

    fn add_view(
        &mut self,
        text: StatementText,
        create: ast::CreateView,
    ) -> Result<(), DefinitionError> {
        let name = relation_name(&create.name);
        let materialized = create.materialized;
        let sql = create.query.to_string();
        let logical = self.logical(&text, *create.query)?;
        let plan = self.optimised(&text, &logical)?;
        self.name_is_free(&text, &name)?;
        if materialized {
            let fields = plan
                .schema()
                .fields()
                .iter()
                .map(|field| canonical_field(field))
                .collect::<Vec<_>>();
            self.session.declare(&name, Arc::new(Schema::new(fields)));
        } else {
            self.session.declare_query(&name, logical);
        }
        self.views.push(ViewDef {
            name,
            query: plan,
            text,
            sql,
            materialized,
        });
        Ok(())
    }

    fn name_is_free(&self, text: &StatementText, name: &str) -> Result<(), DefinitionError> {
        if self.session.knows(name) {
            return Err(text.error(
                &[name],
                format!("the name `{name}` is used twice"),
                Some("give one of them another name"),
            ));
        }
        Ok(())
    }

    fn plan(
        &self,
        text: &StatementText,
        query: ast::Query,
    ) -> Result<LogicalPlan, DefinitionError> {
        let logical = self.logical(text, query)?;
        self.optimised(text, &logical)
    }

    /// The plan of a query as it was written, names resolved.
    fn logical(
        &self,
        text: &StatementText,
        query: ast::Query,
    ) -> Result<LogicalPlan, DefinitionError> {
        // Planned as joins, they would forget how often a row occurs.
        for operation in ["EXCEPT", "INTERSECT"] {
            if let Some(place) = text.find_pair(operation, "ALL") {
                let what = format!("{operation} ALL is not maintained");
                let help = format!("write {operation}, which returns each row once");
                return Err(DefinitionError {
                    place,
                    ..text.error(&[], what, Some(&help))
                });
            }
        }
        let statement = Statement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let plan = self
            .session
            .plan(statement)
            .map_err(|error| sql_error(text, error))?;
        refuse_before_optimising(text, &plan)?;
        Ok(plan)
    }

    fn optimised(
        &self,
        text: &StatementText,
        plan: &LogicalPlan,
    ) -> Result<LogicalPlan, DefinitionError> {
        self.session
            .optimised(plan)
            .map_err(|error| sql_error(text, error))
    }

    /// The one stream a table's query reads, if the query is stateless.
    fn stream_read_by(
        &self,
        text: &StatementText,
        name: &str,
        plan: &LogicalPlan,
    ) -> Result<usize, DefinitionError> {
        match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                self.stream_read_by(text, name, plan.inputs()[0])
            }
            LogicalPlan::TableScan(scan) => {
                let relation = scan.table_name.table();
                self.streams.iter().position(|stream| stream.relation == relation).ok_or_else(|| {
                    text.error(
                        &[relation],
                        format!("table `{name}` reads `{relation}`, which is not a stream"),
                        Some("read a CREATE EXTERNAL TABLE here; use CREATE MATERIALIZED VIEW for queries over tables"),
                    )
                })
            }
            other => Err(text.error(
                &["JOIN", "GROUP", "DISTINCT", "OVER", "UNION", "LIMIT", "ORDER"],
                format!("table `{name}` is cleaned from one stream row by row, but its query needs {}", node_name(other)),
                Some("keep the table a plain SELECT .. FROM stream [WHERE ..] and put the rest into a view over it"),
            )),
        }
    }
}

/// Refuses what the optimiser would hide: it turns `now()` into the instant at which the file is loaded, and DISTINCT ON into aggregates.
fn refuse_before_optimising(
    text: &StatementText,
    plan: &LogicalPlan,
) -> Result<(), DefinitionError> {
    let mut refusal = None;
    // The visitor itself does not fail, so neither do the walks.
    let _ = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Distinct(Distinct::On(_))) {
            refusal = Some(text.error(
                &["DISTINCT"],
                "DISTINCT ON is not maintained",
                Some("number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1"),
            ));
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    let name = call.name();
                    refusal = Some(text.error(
                        &[name],
                        format!("`{name}` is not a function of the row: its answer changes while the data does not"),
                        Some("use a column, such as an event time, instead of the clock or chance"),
                    ));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    refusal.map_or(Ok(()), Err)
}

/// The name of a plan node as users know it.
pub fn node_name(plan: &LogicalPlan) -> String {
    if matches!(plan, LogicalPlan::Join(_)) {
        // It displays as its kind.
        return "join".to_owned();
    }
    plan.display()
        .to_string()
        .split([':', ' '])
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

fn unknown_statement(text: &StatementText) -> DefinitionError {
    text.error(
        &[],
        "a dataflow file does not hold this kind of statement",
        Some("it holds CREATE EXTERNAL TABLE (a stream), CREATE TABLE .. AS (a table), CREATE [MATERIALIZED] VIEW"),
    )
}

fn relation_name(name: &ast::ObjectName) -> String {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map(|ident| {
            if ident.quote_style.is_some() {
                ident.value.clone()
            } else {
                ident.value.to_lowercase()
            }
        })
        .unwrap_or_default()
}

/// The field as pinflow keeps it: nullable, and of one type per SQL type.
pub fn canonical_field(field: &Field) -> Field {
    Field::new(field.name(), canonical_type(field.data_type()), true)
}

/// The one Arrow type that stands for all types of the same meaning.
pub fn canonical_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::UInt64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::Int8 | DataType::Int16 => DataType::Int32,
        DataType::Float32 | DataType::Float16 => DataType::Float64,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => canonical_type(values),
        DataType::List(item) | DataType::LargeList(item) => DataType::List(Arc::new(
            Field::new_list_field(canonical_type(item.data_type()), true),
        )),
        other => other.clone(),
    }
}
