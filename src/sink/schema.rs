//! Types: how rows of the dataflow are stored in a lake, and how they come back.
//!
//! | SQL | Arrow in the dataflow | Parquet | Delta |
//! |---|---|---|---|
//! | TEXT | `Utf8View` (or `Utf8`) | `BYTE_ARRAY` string | `string` |
//! | BIGINT, INT, SMALLINT | `Int64`, `Int32`, `Int16` | `INT64`, `INT32` | `long`, `integer`, `short` |
//! | DOUBLE, REAL | `Float64`, `Float32` | `DOUBLE`, `FLOAT` | `double`, `float` |
//! | BOOLEAN | `Boolean` | `BOOLEAN` | `boolean` |
//! | DATE | `Date32` | `INT32` date | `date` |
//! | TIMESTAMP | `Timestamp(µs, no zone)` | `INT64`, microseconds, adjusted to UTC | `timestamp` |
//! | BYTEA | `BinaryView` (or `Binary`) | `BYTE_ARRAY` | `binary` |
//! | DECIMAL(p, s) | `Decimal128` | decimal | `decimal(p,s)` |
//! | array | `List` | three-level list | `array` |
//!
//! Timestamps in the dataflow have no zone and mean UTC. They are stored as Delta `timestamp`, an
//! instant in UTC, and not as `timestamp_ntz`: that would say what we mean a little better, but
//! needs table features (reader version 3) that several readers refuse or warn about, while every
//! reader agrees on an instant. A reader that shows instants in a local zone (Spark does) must have
//! its session zone set to UTC to show the digits we show.

use crate::checkpoint::NewTable;
use crate::lake::LakeError;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long the log of a table reaches back, and so how far a reader can travel in time. With a
/// commit every ten seconds a day is 8,640 entries, which is as many as a listing should have to
/// pass.
const LOG_RETENTION: &str = "interval 1 days";
/// The name that Parquet and Delta give the elements of a list, and the one that Arrow gives them.
const PARQUET_ELEMENT: &str = "element";
const ARROW_ELEMENT: &str = "item";

impl NewTable {
    /// A table with the columns of `schema`; `id` is any number that no other table has.
    pub fn of(schema: &Schema, id: u128) -> Result<NewTable, LakeError> {
        Ok(NewTable {
            id: uuid::Uuid::from_u128(id).to_string(),
            schema: delta_schema(schema)?,
            configuration: BTreeMap::from([
                (
                    "delta.checkpointInterval".to_string(),
                    super::log::CHECKPOINT_EVERY.to_string(),
                ),
                (
                    "delta.logRetentionDuration".to_string(),
                    LOG_RETENTION.to_string(),
                ),
            ]),
        })
    }
}

/// The Delta schema, a JSON text, of rows with this schema.
pub fn delta_schema(schema: &Schema) -> Result<String, LakeError> {
    let fields = schema
        .fields()
        .iter()
        .map(|field| {
            Ok(json!({
                "name": field.name(),
                "type": delta_type(field.data_type(), field.name())?,
                "nullable": field.is_nullable(),
                "metadata": {},
            }))
        })
        .collect::<Result<Vec<Value>, LakeError>>()?;
    Ok(json!({ "type": "struct", "fields": fields }).to_string())
}

/// Whether rows with this schema fit a table that has `recorded`, a Delta schema, as they are.
pub fn is_delta_schema(recorded: &str, schema: &Schema) -> Result<bool, LakeError> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    Ok(parsed(recorded) == parsed(&delta_schema(schema)?))
}

fn delta_type(data_type: &DataType, column: &str) -> Result<Value, LakeError> {
    let name = match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "string",
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => "binary",
        DataType::Int64 => "long",
        DataType::Int32 => "integer",
        DataType::Int16 => "short",
        DataType::Float64 => "double",
        DataType::Float32 => "float",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date",
        DataType::Timestamp(TimeUnit::Microsecond, _) => "timestamp",
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            return Ok(json!(format!("decimal({precision},{scale})")));
        }
        DataType::List(element) => {
            return Ok(json!({
                "type": "array",
                "elementType": delta_type(element.data_type(), column)?,
                "containsNull": element.is_nullable(),
            }));
        }
        other => {
            return Err(LakeError::ColumnType {
                column: column.to_string(),
                data_type: other.to_string(),
            });
        }
    };
    Ok(json!(name))
}

/// The schema of the Parquet files for rows of this schema. Views stay views: the file's type is
/// the same.
pub(super) fn file_schema(schema: &Schema) -> Result<SchemaRef, LakeError> {
    // Refuses what Delta cannot say, before any file says it.
    delta_schema(schema)?;
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|f| retyped(f, &file_type(f.data_type())))
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn file_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::List(element) => {
            let element_type = file_type(element.data_type());
            DataType::List(Arc::new(Field::new(
                PARQUET_ELEMENT,
                element_type,
                element.is_nullable(),
            )))
        }
        other => other.clone(),
    }
}

/// The schema of rows read back from files of this schema: what the table in the module docs says.
pub(super) fn row_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|f| retyped(f, &row_type(f.data_type())))
        .collect();
    Arc::new(Schema::new(fields))
}

fn row_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, None),
        DataType::List(element) => {
            let element_type = row_type(element.data_type());
            DataType::List(Arc::new(Field::new(
                ARROW_ELEMENT,
                element_type,
                element.is_nullable(),
            )))
        }
        other => other.clone(),
    }
}

/// The schema that the Parquet reader is asked for: [`row_schema`] as far as it can do it at no
/// cost, which is views of texts and byte strings. Zones and element names are left to [`relabel`].
pub(super) fn read_schema(file: &Schema) -> SchemaRef {
    fn viewed(data_type: &DataType) -> DataType {
        match data_type {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            DataType::List(e) => DataType::List(Arc::new(
                e.as_ref().clone().with_data_type(viewed(e.data_type())),
            )),
            other => other.clone(),
        }
    }
    let fields: Vec<FieldRef> = file
        .fields()
        .iter()
        .map(|f| retyped(f, &viewed(f.data_type())))
        .collect();
    Arc::new(Schema::new(fields))
}

fn retyped(field: &FieldRef, data_type: &DataType) -> FieldRef {
    // Metadata goes: the Parquet reader leaves field ids there, which mean nothing in the dataflow.
    Arc::new(Field::new(
        field.name(),
        data_type.clone(),
        field.is_nullable(),
    ))
}

/// The same values under the type `to`, which differs at most in a timestamp's zone (both are UTC)
/// and in the names of list elements. Copies nothing.
pub(super) fn relabel(array: &ArrayRef, to: &DataType) -> ArrayRef {
    match (array.data_type(), to) {
        (from, to) if from == to => array.clone(),
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(_, zone)) => {
            let values: &PrimitiveArray<TimestampMicrosecondType> = array.as_primitive();
            Arc::new(values.clone().with_timezone_opt(zone.clone()))
        }
        (DataType::List(_), DataType::List(element)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::new(
                element.clone(),
                offsets,
                relabel(&values, element.data_type()),
                nulls,
            ))
        }
        // Another string or binary layout: the Parquet writer takes any of them for the same
        // column.
        _ => array.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, TimestampMicrosecondArray};
    use arrow::buffer::OffsetBuffer;

    fn timestamp(zone: Option<&str>) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
    }

    #[test]
    fn sql_types_have_a_delta_type() {
        let schema = Schema::new(vec![
            Field::new("ind", DataType::Int64, false),
            Field::new("title", DataType::Utf8View, true),
            Field::new("at", timestamp(None), true),
            Field::new(
                "coordinates",
                DataType::new_list(DataType::Float64, true),
                true,
            ),
        ]);
        let expected = json!({"type": "struct", "fields": [
            {"name": "ind", "type": "long", "nullable": false, "metadata": {}},
            {"name": "title", "type": "string", "nullable": true, "metadata": {}},
            {"name": "at", "type": "timestamp", "nullable": true, "metadata": {}},
            {"name": "coordinates", "type": {"type": "array", "elementType": "double", "containsNull": true}, "nullable": true, "metadata": {}},
        ]});
        assert_eq!(
            serde_json::from_str::<Value>(&delta_schema(&schema).unwrap()).unwrap(),
            expected
        );
    }

    #[test]
    fn a_type_without_a_place_is_refused_by_column() {
        let schema = Schema::new(vec![Field::new("rank", DataType::UInt64, false)]);
        let error = delta_schema(&schema).unwrap_err().to_string();
        assert!(
            error.contains("`rank`") && error.contains("UInt64"),
            "{error}"
        );
    }

    #[test]
    fn relabelling_reaches_into_lists_and_back() {
        let instants: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]));
        let stored = relabel(&instants, &file_type(instants.data_type()));
        assert_eq!(stored.data_type(), &timestamp(Some("UTC")));
        assert_eq!(&relabel(&stored, &row_type(stored.data_type())), &instants);

        let element = Arc::new(Field::new("item", DataType::Float64, true));
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
        let list: ArrayRef = Arc::new(ListArray::new(
            element,
            OffsetBuffer::from_lengths([2, 0]),
            values,
            None,
        ));
        let stored = relabel(&list, &file_type(list.data_type()));
        assert!(matches!(stored.data_type(), DataType::List(e) if e.name() == "element"));
        assert_eq!(&relabel(&stored, &row_type(stored.data_type())), &list);
    }
}
