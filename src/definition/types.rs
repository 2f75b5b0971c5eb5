//! The types in which pinflow keeps values: of all Arrow types with the same meaning, one.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// These columns as pinflow keeps them: nullable, and of one type per SQL type.
pub fn canonical_schema(fields: &Fields) -> SchemaRef {
    let fields = fields.iter().map(|field| canonical_field(field));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The field as pinflow keeps it: nullable, and of one type per SQL type.
pub fn canonical_field(field: &Field) -> Field {
    Field::new(field.name(), canonical_type(field.data_type()), true)
}

/// The one Arrow type that stands for all types of the same meaning.
pub fn canonical_type(data_type: &DataType) -> DataType {
    match data_type {
        // A NULL without a type is a text, as in PostgreSQL.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::BinaryView
        }
        DataType::UInt64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::Int8 | DataType::Int16 => DataType::Int32,
        DataType::Float32 | DataType::Float16 => DataType::Float64,
        // The difference of two timestamps, in microseconds: no table format has a type for it.
        DataType::Duration(_) => DataType::Int64,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => canonical_type(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(Arc::new(Field::new_list_field(
            canonical_type(item.data_type()),
            true,
        ))),
        other => other.clone(),
    }
}
