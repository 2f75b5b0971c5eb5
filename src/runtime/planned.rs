//! From a definition to a plan that can be run: what `check` accepts, `run` runs.
//!
//! Behind the plan stand operators, the files of a lake and the answers over HTTP, and each of them
//! holds some types and not others. All of them are tried here with a row of nulls, so that a view
//! or a table that one of them cannot hold is refused with its place when the file is loaded,
//! before a record is read.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::definition::{Definition, DefinitionError, StatementText};
use crate::plan::{NodeId, Plan, lower};
use crate::render::buildable::{self, Unbuildable, row_of_nulls};
use crate::serve::format::{Answer, Format, sql_type};
use crate::serve::store::{LiveStore, ViewSpec};
use crate::sink::{ParquetOptions, delta_schema, encode};

/// The plan of a definition, or why it could not be run.
pub fn planned(definition: &Definition) -> Result<Plan, DefinitionError> {
    let plan = lower(definition)?;
    for (index, table) in definition.tables.iter().enumerate() {
        let schema = &plan.tables[index].schema;
        stored(&table.text, &table.name, schema)?;
        buildable::table(&plan, index).map_err(|why| unbuildable(&table.text, &table.name, why))?;
    }
    let mut built = vec![false; plan.nodes.len()];
    for (view, defined) in plan.views.iter().zip(definition.materialized()) {
        let told = |why: Unbuildable| unbuildable(&defined.text, &view.name, why);
        let needed = plan.needed_by([view.node]);
        let new = |node: &NodeId| !std::mem::replace(&mut built[*node], true);
        for node in needed.into_iter().filter(new) {
            buildable::node(&plan, node).map_err(told)?;
        }
        stored(&defined.text, &view.name, &view.schema)?;
        served(view.name.clone(), &view.schema, &view.key).map_err(|error| told((None, error)))?;
    }
    Ok(plan)
}

/// Whether files of the lake can hold these columns.
fn stored(text: &StatementText, name: &str, schema: &SchemaRef) -> Result<(), DefinitionError> {
    let told = |why: String, column: &str| {
        let place = text.find(column).unwrap_or(text.place);
        (place, why)
    };
    for field in schema.fields() {
        let alone: SchemaRef = Arc::new(Schema::new(vec![field.as_ref().clone()]));
        if delta_schema(&alone).is_ok() {
            continue;
        }
        let what = format!(
            "the column `{}` of `{name}` has the type {}, which tables in the lake cannot hold",
            field.name(),
            sql_type(field.data_type())
        );
        let (place, what) = told(what, field.name());
        return Err(text.error_at(place, what, Some(remedy(field.data_type()))));
    }
    let encoded = row_of_nulls(schema)
        .map_err(|error| error.to_string())
        .and_then(|row| {
            encode(schema, &[row], &ParquetOptions::default()).map_err(|error| error.to_string())
        });
    match encoded {
        Ok(_) => Ok(()),
        Err(why) => Err(text.error(&[name], format!("`{name}` cannot be stored: {why}"), None)),
    }
}

/// What to write instead of a column that cannot be stored.
fn remedy(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Time32(_) | DataType::Time64(_) => "make a text of it: CAST(.. AS TEXT)",
        DataType::Interval(_) => {
            "subtract timestamps instead: their difference is stored in microseconds"
        }
        DataType::Struct(_) => "return its fields as columns of their own: x['field'] AS field",
        DataType::Map(_, _) => "return its values as columns of their own: x['key'] AS key",
        DataType::Decimal256(_, _) | DataType::Decimal128(_, _) => {
            "cast it: CAST(.. AS DECIMAL(38, 6))"
        }
        DataType::List(element) => remedy(element.data_type()),
        _ => "cast it to TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DECIMAL or BYTEA",
    }
}

/// Whether the live store can hold these columns, and every format of an answer show them.
fn served(name: String, schema: &SchemaRef, key: &[usize]) -> Result<(), ArrowError> {
    let spec = ViewSpec {
        name: name.clone(),
        schema: Arc::clone(schema),
        key: key.to_vec(),
        appended: false,
    };
    LiveStore::new(vec![spec]).map_err(|error| ArrowError::SchemaError(error.to_string()))?;
    let rows: RecordBatch = row_of_nulls(schema)?;
    let answer = Answer {
        view: &name,
        epoch: 0,
        row_count: 1,
        rows: &rows,
    };
    for format in [Format::Table, Format::Json, Format::Csv, Format::Arrow] {
        answer.render(format)?;
    }
    Ok(())
}

fn unbuildable(text: &StatementText, name: &str, (word, error): Unbuildable) -> DefinitionError {
    let why = match &error {
        ArrowError::NotYetImplemented(why) | ArrowError::SchemaError(why) => why.clone(),
        other => other.to_string(),
    };
    let (what, help) = match why.split_once("; ") {
        Some((what, help)) => (what, Some(help)),
        None => (why.as_str(), None),
    };
    let words: Vec<&str> = word.into_iter().chain([name]).collect();
    text.error(&words, format!("`{name}` cannot be kept: {what}"), help)
}
