//! What each kind of statement declares.
//!
//! A statement is parsed, planned and optimised here, once, against what the statements above it
//! have declared; what it declares, those below it can name.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion_expr::{DdlStatement, LogicalPlan};
use datafusion_sql::parser::{CreateExternalTable, DFParserBuilder, Statement};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::complaint::{node_name, sql_error, sql_types};
use super::refuse::refuse;
use super::types::canonical_schema;
use super::{
    Definition, DefinitionError, StatementText, StreamDef, TableDef, ViewDef, columns, frames,
    relation, unread,
};
use crate::decode::Decoder;
use crate::sql::constant_order::keep_constants;
use crate::sql::precedence::restore;
use crate::sql::subquery::with_exists_only;
use crate::sql::using::merged;
use crate::sql::using_names::qualify;

impl Definition {
    /// Takes in the next statement of the file.
    pub(super) fn add(&mut self, text: StatementText) -> Result<(), DefinitionError> {
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
            let place = text.place_in_file(next.span.start.line, next.span.start.column);
            let what =
                format!("the statement could end before `{next}`, which does not go on with it");
            return Err(text.error_at(place, what, Some("is a semicolon or a comma missing?")));
        }
        match parsed {
            Statement::CreateExternalTable(create) => self.add_stream(text, create),
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
        text: StatementText,
        create: CreateExternalTable,
    ) -> Result<(), DefinitionError> {
        let relation = relation::declared(&text, &create.name)?;
        self.name_is_free(&text, &relation)?;
        unread::stream(&text, &create)?;
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
        let location = relation::located(&text, &create.locations)?;
        if let Some(other) = self.streams.iter().find(|stream| stream.name == location) {
            return Err(text.error(
                &["LOCATION"],
                format!("`{}` is the stream '{location}' already", other.relation),
                Some("declare the columns of all its tables in one statement: a stream may have several tables"),
            ));
        }
        let required = required(&create.columns);
        let names: Vec<String> = create
            .columns
            .iter()
            .map(|c| columns::normal(&c.name))
            .collect();
        columns::check(&text, names.iter().map(String::as_str), false)?;
        let plan = self
            .session
            .plan(Statement::CreateExternalTable(create))
            .map_err(|error| sql_error(&text, error))?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(declared)) = plan else {
            return Err(unknown_statement(&text));
        };
        let decoded = canonical_schema(declared.schema.fields());
        let fields = decoded.fields().iter().zip(required);
        let fields = fields.map(|(field, required)| {
            let field = Field::clone(field);
            field.with_nullable(!required)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        if let Err(unsupported) = Decoder::new(Arc::clone(&schema)) {
            return Err(text.error(
                &[&unsupported.column],
                sql_types(unsupported.to_string()),
                None,
            ));
        }
        self.session.declare(&relation, decoded);
        self.streams.push(StreamDef {
            relation,
            name: location,
            schema,
            text,
        });
        Ok(())
    }

    fn add_table(
        &mut self,
        text: StatementText,
        create: ast::CreateTable,
    ) -> Result<(), DefinitionError> {
        let name = relation::declared(&text, &create.name)?;
        self.name_is_free(&text, &name)?;
        unread::table(&text, &create)?;
        let Some(mut query) = create.query else {
            return Err(text.error(
                &["TABLE"],
                format!("table `{name}` has no query"),
                Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .., or CREATE EXTERNAL TABLE for a stream"),
            ));
        };
        columns::name_all(&mut query);
        columns::check_list(&text, &query)?;
        let sql = query.to_string();
        let logical = self.logical(&text, *query)?;
        columns::check(&text, names_of(&logical), true)?;
        let plan = self.optimised(&text, &logical)?;
        let stream = self.stream_read_by(&text, &name, &plan)?;
        let key = key(&text, &name, &create.constraints, &plan)?;
        // A record without its whole key is no row.
        let rows = canonical_schema(plan.schema().fields());
        let fields = rows.fields().iter().enumerate();
        let fields: Vec<Field> = fields
            .map(|(column, field)| field.as_ref().clone().with_nullable(!key.contains(&column)))
            .collect();
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
        let name = relation::declared(&text, &create.name)?;
        self.name_is_free(&text, &name)?;
        unread::view(&text, &create)?;
        let materialized = create.materialized;
        let mut query = *create.query;
        columns::name_all(&mut query);
        frames::spell_out(&mut query);
        if create.columns.is_empty() {
            columns::check_list(&text, &query)?;
        }
        let mut sql = query.to_string();
        let mut logical = self.logical(&text, query)?;
        if !create.columns.is_empty() {
            let listed: Vec<String> = create
                .columns
                .iter()
                .map(|c| columns::normal(&c.name))
                .collect();
            columns::check(&text, listed.iter().map(String::as_str), materialized)?;
            logical = columns::renamed(&text, logical, &create.columns)?;
            let names: Vec<_> = create.columns.iter().map(|c| c.name.to_string()).collect();
            sql = format!("SELECT * FROM ({sql}) AS listed ({})", names.join(", "));
        }
        columns::check(&text, names_of(&logical), materialized)?;
        let plan = self.optimised(&text, &logical)?;
        if materialized {
            let rows = canonical_schema(plan.schema().fields());
            self.session.declare(&name, rows);
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
        let Some(known) = self.session.called_like(name) else {
            return Ok(());
        };
        let what = match known == name {
            true => format!("the name `{name}` is used twice"),
            false => format!(
                "the names `{known}` and `{name}` differ in capitals only, and are one folder on some disks"
            ),
        };
        Err(text.error(&[name], what, Some("give one of them another name")))
    }

    /// The plan of a query as it was written, names resolved.
    fn logical(
        &self,
        text: &StatementText,
        mut query: ast::Query,
    ) -> Result<LogicalPlan, DefinitionError> {
        unread::query(text, &query)?;
        // Planned as joins, they would forget how often a row occurs.
        for operation in ["EXCEPT", "INTERSECT"] {
            if let Some(place) = text.find_words(&format!("{operation} ALL")) {
                let what = format!("{operation} ALL is not maintained");
                let help = format!("write {operation}, which returns each row once");
                return Err(text.error_at(place, what, Some(&help)));
            }
        }
        keep_constants(&mut query);
        restore(&mut query);
        qualify(&mut query);
        let statement = Statement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let plan = self
            .session
            .plan(statement)
            .map_err(|error| sql_error(text, error))?;
        refuse(self, text, &plan)?;
        merged(plan, text.has_wildcard())
            .and_then(with_exists_only)
            .map_err(|error| sql_error(text, error))
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

fn unknown_statement(text: &StatementText) -> DefinitionError {
    text.error(
        &[],
        "a dataflow file does not hold this kind of statement",
        Some("it holds CREATE EXTERNAL TABLE (a stream), CREATE TABLE .. AS (a table), CREATE [MATERIALIZED] VIEW"),
    )
}

fn names_of(query: &LogicalPlan) -> impl Iterator<Item = &str> {
    let fields = query.schema().fields().iter();
    fields.map(|field| field.name().as_str())
}

/// The columns of a table's primary key: indices into what its query returns.
fn key(
    text: &StatementText,
    name: &str,
    constraints: &[ast::TableConstraint],
    query: &LogicalPlan,
) -> Result<Vec<usize>, DefinitionError> {
    let named = constraints.iter().flat_map(|constraint| match constraint {
        ast::TableConstraint::PrimaryKey(key) => key.columns.as_slice(),
        _ => &[],
    });
    let mut key = Vec::new();
    for column in named {
        let ast::Expr::Identifier(ident) = &column.column.expr else {
            continue;
        };
        let column = columns::normal(ident);
        let fields = query.schema().fields();
        let Some(index) = fields.iter().position(|field| *field.name() == column) else {
            return Err(text.error(
                &["KEY"],
                format!(
                    "the primary key of `{name}` names `{column}`, which its query does not return"
                ),
                Some("name a column of the SELECT list"),
            ));
        };
        if key.contains(&index) {
            let what = format!("the primary key of `{name}` names `{column}` twice");
            return Err(text.error(&["KEY"], what, Some("name each column once")));
        }
        key.push(index);
    }
    if key.is_empty() {
        return Err(text.error(
            &["TABLE"],
            format!("table `{name}` has no primary key, so pinflow could not tell a new row from a changed one"),
            Some("write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .."),
        ));
    }
    Ok(key)
}

/// Which of a stream's columns are NOT NULL.
fn required(columns: &[ast::ColumnDef]) -> Vec<bool> {
    let is_required = |column: &ast::ColumnDef| {
        let mut options = column.options.iter();
        options.any(|option| option.option == ast::ColumnOption::NotNull)
    };
    columns.iter().map(is_required).collect()
}
