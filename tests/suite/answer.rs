//! Answers of several engines, made comparable: names, types and rows.
//!
//! Two answers are the same if their columns have the same names and kinds in the same order, and
//! if they have the same rows, whatever their order. What is not told apart: the widths of numbers
//! and the precision of decimals (engines widen as they please; where pinflow must have
//! DataFusion's very type, `query::check` compares that too), the two zeros (which of them stands
//! for a group is nobody's promise), and the NaNs.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};

/// Columns and sorted rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    columns: Vec<(String, Kind)>,
    rows: Vec<Vec<Cell>>,
}

/// What a type is for.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Whole,
    Double,
    Decimal,
    Text,
    Boolean,
    Date,
    Timestamp,
    Bytes,
    List(Box<Kind>),
    Other(DataType),
}

/// A value. The order is that of the texts on both sides, and of no meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Null,
    Whole(i128),
    /// Neither -0.0 nor another NaN than one.
    Double(u64),
    /// The unscaled number without zeros at its end, and its scale.
    Decimal(i128, i8),
    Text(String),
    Boolean(bool),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
}

impl Answer {
    /// The answer that a batch holds.
    pub fn new(batch: &RecordBatch) -> Answer {
        let schema = batch.schema();
        let columns = schema.fields().iter();
        let columns = columns.map(|field| (field.name().clone(), kind(field.data_type())));
        let cells: Vec<Vec<Cell>> = batch.columns().iter().map(cells).collect();
        let rows = 0..batch.num_rows();
        let mut rows: Vec<Vec<Cell>> = rows
            .map(|row| cells.iter().map(|column| column[row].clone()).collect())
            .collect();
        rows.sort();
        Answer {
            columns: columns.collect(),
            rows,
        }
    }

    /// How `found` differs from this answer, which is right.
    pub fn difference(&self, found: &Answer) -> Option<String> {
        (self != found).then(|| format!("-- expected\n{self}-- found\n{found}"))
    }
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        // A sum of DuckDB's is a number of 128 bits, which Arrow has as a decimal.
        DataType::Decimal128(_, 0) => Kind::Whole,
        other if other.is_integer() => Kind::Whole,
        DataType::Float32 | DataType::Float64 => Kind::Double,
        DataType::Decimal128(..) => Kind::Decimal,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Boolean => Kind::Boolean,
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(..) => Kind::Timestamp,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Bytes,
        DataType::List(item) | DataType::LargeList(item) => {
            Kind::List(Box::new(kind(item.data_type())))
        }
        other => Kind::Other(other.clone()),
    }
}

fn cells(column: &ArrayRef) -> Vec<Cell> {
    let to = |data_type: &DataType| cast(column, data_type).expect("values of a kind convert");
    let some = |cell: fn(&ArrayRef, usize) -> Cell, column: ArrayRef| -> Vec<Cell> {
        (0..column.len())
            .map(|row| {
                if column.is_null(row) {
                    Cell::Null
                } else {
                    cell(&column, row)
                }
            })
            .collect()
    };
    match kind(column.data_type()) {
        Kind::Whole => some(
            |c, row| match c.as_primitive_opt::<Int64Type>() {
                Some(numbers) => Cell::Whole(numbers.value(row).into()),
                None => Cell::Whole(c.as_primitive::<Decimal128Type>().value(row)),
            },
            match column.data_type() {
                DataType::Decimal128(..) => column.clone(),
                _ => to(&DataType::Int64),
            },
        ),
        Kind::Double => some(
            |c, row| {
                let number = c.as_primitive::<Float64Type>().value(row);
                let number = if number.is_nan() {
                    f64::NAN
                } else {
                    number + 0.0
                };
                Cell::Double(number.to_bits())
            },
            to(&DataType::Float64),
        ),
        Kind::Decimal => some(
            |c, row| {
                let numbers = c.as_primitive::<Decimal128Type>();
                let (mut number, mut scale) = (numbers.value(row), numbers.scale());
                while scale > 0 && number % 10 == 0 {
                    (number, scale) = (number / 10, scale - 1);
                }
                Cell::Decimal(number, scale)
            },
            column.clone(),
        ),
        Kind::Text => some(
            |c, row| Cell::Text(c.as_string_view().value(row).to_owned()),
            to(&DataType::Utf8View),
        ),
        Kind::Boolean => some(
            |c, row| Cell::Boolean(c.as_boolean().value(row)),
            column.clone(),
        ),
        Kind::Date => some(
            |c, row| Cell::Date(c.as_primitive::<Date32Type>().value(row)),
            column.clone(),
        ),
        Kind::Timestamp => some(
            |c, row| Cell::Timestamp(c.as_primitive::<TimestampMicrosecondType>().value(row)),
            to(&DataType::Timestamp(TimeUnit::Microsecond, None)),
        ),
        Kind::Bytes => some(
            |c, row| Cell::Bytes(c.as_binary_view().value(row).to_owned()),
            to(&DataType::BinaryView),
        ),
        Kind::List(_) => some(
            |c, row| {
                let items = match c.as_list_opt::<i32>() {
                    Some(lists) => lists.value(row),
                    None => c.as_list::<i64>().value(row),
                };
                Cell::List(cells(&items))
            },
            column.clone(),
        ),
        Kind::Other(_) => some(
            |_, _| Cell::Text("a value that no test can read".to_owned()),
            column.clone(),
        ),
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => write!(f, "NULL"),
            Cell::Whole(number) => write!(f, "{number}"),
            Cell::Double(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Cell::Decimal(number, scale) => write!(f, "{number}e-{scale}"),
            Cell::Text(text) => write!(f, "{text:?}"),
            Cell::Boolean(value) => write!(f, "{value}"),
            Cell::Date(days) => write!(f, "day {days}"),
            Cell::Timestamp(micros) => write!(f, "{micros} us"),
            Cell::Bytes(bytes) => write!(f, "{bytes:02x?}"),
            Cell::List(items) => f.debug_list().entries(items).finish(),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind:?}"))
            .collect();
        writeln!(f, "{}", columns.join(" | "))?;
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| format!("{cell:?}")).collect();
            writeln!(f, "{}", cells.join(" | "))?;
        }
        Ok(())
    }
}
