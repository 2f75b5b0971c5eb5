//! Why a record cannot be a row, and the sentence that says so.
//!
//! A fault is facts only (a position, a kind); the sentence is made when the reject is.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

/// How many characters of a value a sentence shows.
const SHOWN: usize = 60;

/// A column was declared with a type that JSON is not decoded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedColumn {
    /// Name of the column.
    pub column: String,
    /// Its type.
    pub data_type: DataType,
}

impl std::fmt::Display for UnsupportedColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UnsupportedColumn { column, data_type } = self;
        write!(
            f,
            "column `{column}` is declared as {data_type}, which JSON records are not decoded into; declare it as TEXT, BIGINT, INT, \
             DOUBLE, BOOLEAN, TIMESTAMP, DATE, DOUBLE[] or TEXT[] and cast it in the table's SELECT"
        )
    }
}

impl std::error::Error for UnsupportedColumn {}

/// What is wrong, and at which byte of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The text is not JSON: something else should stand here.
    Expected(&'static str),
    /// A string goes on to the end of the text.
    UnclosedString,
    /// A raw byte below 0x20 in a string.
    ControlByte,
    /// A backslash followed by none of `"\/bfnrtu`, or `\u` without four hexadecimal digits.
    Escape,
    /// Half a surrogate pair.
    LoneSurrogate,
    /// The bytes are not UTF-8.
    Utf8,
    /// Something follows a complete object.
    Trailing,
    /// Where an object should be there is something else, up to the byte given.
    NotAnObject { end: usize },
    /// `[]`
    EmptyArray,
    /// A string whose content is neither JSON nor base64 of JSON, up to the byte given.
    NotWrapped { end: usize },
    /// A value does not fit its column.
    Value {
        column: usize,
        element: Option<usize>,
        end: usize,
        problem: Problem,
    },
    /// A column that must not be null is.
    Null { column: usize },
    /// The record is longer than a piece.
    TooLong,
    /// So many parts of the record failed that the rest was not looked at.
    TooMany,
}

/// How a value does not fit the type of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    NotANumber,
    Fraction,
    OutOfRange,
    NotABoolean,
    NotADate,
    OrderOfDate,
    NotAList,
    NullElement,
}

impl Fault {
    /// The fault as the error of whatever was being read.
    #[cold]
    #[inline(never)]
    pub(super) fn err<T>(at: usize, why: Why) -> Result<T, Box<Fault>> {
        Err(Box::new(Fault { at, why }))
    }

    /// Names the column of a value that does not fit it.
    pub(super) fn in_column(mut self: Box<Self>, index: usize) -> Box<Self> {
        if let Why::Value { column, .. } = &mut self.why {
            *column = index;
        }
        self
    }

    /// Names the element of a list that does not fit it.
    pub(super) fn in_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        if let Why::Value { element, .. } = &mut self.why {
            *element = Some(index);
        }
        self
    }

    /// Says what is wrong. Byte positions count from `origin`, the first byte of the reject.
    pub(super) fn sentence(&self, text: &[u8], origin: usize, schema: &Schema) -> String {
        let byte = self.at.saturating_sub(origin);
        match &self.why {
            Why::Expected(what) if self.at >= text.len() => {
                format!("not JSON: the record ends at byte {byte} where {what} should be; send it whole, on one line")
            }
            Why::Expected(what) => {
                format!("not JSON: at byte {byte} should be {what}, not `{}`; send one JSON object a line", character(text, self.at))
            }
            Why::UnclosedString => {
                format!("not JSON: the string that begins at byte {byte} never ends; send the record whole, on one line")
            }
            Why::ControlByte => format!(
                "not JSON: a raw control byte 0x{:02X} at byte {byte}, within a string; write it as an escape",
                text.get(self.at).copied().unwrap_or_default()
            ),
            Why::Escape => format!(
                "not JSON: no such escape at byte {byte}, `{}`; escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits",
                shown(text, self.at, (self.at + 6).min(text.len()))
            ),
            Why::LoneSurrogate => format!(
                "not Unicode: the escape at byte {byte}, `{}`, is half of a surrogate pair; write both halves, or the character itself",
                shown(text, self.at, (self.at + 6).min(text.len()))
            ),
            Why::Utf8 => format!("not UTF-8: the byte 0x{:02X} at byte {byte} is no character; encode the record as UTF-8",
                text.get(self.at).copied().unwrap_or_default()
            ),
            Why::Trailing => format!(
                "not JSON: `{}` at byte {byte} follows a complete value; send one JSON object a line",
                shown(text, self.at, text.len())
            ),
            Why::NotAnObject { end } => {
                format!("not an object: {} at byte {byte} names no columns; send a JSON object", shown(text, self.at, *end))
            }
            Why::EmptyArray => format!("an empty array at byte {byte} holds no row; leave the record out, or put its objects in"),
            Why::NotWrapped { end } => format!(
                "not an object: the string {} at byte {byte} holds neither a JSON object nor the base64 of one; send the object itself",
                shown(text, self.at, *end)
            ),
            Why::Value { column, element, end, problem } => {
                let field = schema.field(*column);
                let element = element.map(|index| format!(" in element {index}")).unwrap_or_default();
                format!(
                    "column `{}` is {} and cannot hold {}{element} (byte {byte}): {}",
                    field.name(),
                    type_name(field),
                    shown(text, self.at, *end),
                    problem.sentence()
                )
            }
            Why::Null { column } => {
                let field = schema.field(*column);
                format!(
                    "column `{}` is {} NOT NULL, and the record has no value for it; send one, or declare the column without NOT NULL",
                    field.name(),
                    type_name(field)
                )
            }
            Why::TooLong => "the record is too long to decode (over 1 GiB without a newline); separate records by newlines".to_owned(),
            Why::TooMany => format!("the rest of the record, from byte {byte}, was not read because too many of its parts before it failed; send one JSON object a line"),
        }
    }
}

impl Problem {
    fn sentence(self) -> &'static str {
        match self {
            Problem::NotANumber => "it is not a number; send a number, or declare the column TEXT",
            Problem::Fraction => "it is not a whole number; send one, or declare the column DOUBLE",
            Problem::OutOfRange => {
                "it is out of range; send a smaller number, or declare a wider type or TEXT"
            }
            Problem::NotABoolean => {
                "it is neither true nor false; send one of them, or declare the column TEXT"
            }
            Problem::NotADate => {
                "it is not a date of the form 2020-08-28 03:52:47; send one, or declare the column TEXT"
            }
            Problem::OrderOfDate => {
                "whether its day or its month comes first is not declared; send 2020-08-28, or declare the column TEXT and read it in \
                 the table with parse_timestamp(column, 'DMY') or 'MDY', or to_date(column, '%d/%m/%Y')"
            }
            Problem::NotAList => "it is not an array; send one, or declare the column TEXT",
            Problem::NullElement => {
                "its elements must not be null; leave them out, or declare the column TEXT"
            }
        }
    }
}

/// The SQL name of a supported type.
fn type_name(field: &Field) -> &'static str {
    match field.data_type() {
        DataType::Utf8View => "TEXT",
        DataType::Int64 => "BIGINT",
        DataType::Int32 => "INT",
        DataType::Float64 => "DOUBLE",
        DataType::Boolean => "BOOLEAN",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Date32 => "DATE",
        DataType::List(element) if *element.data_type() == DataType::Utf8View => "TEXT[]",
        DataType::List(_) => "DOUBLE[]",
        _ => "of an unsupported type",
    }
}

/// `text[start..end]`, cut to what a sentence can bear.
fn shown(text: &[u8], start: usize, end: usize) -> String {
    let bytes = text.get(start..end.min(text.len())).unwrap_or_default();
    // A character is at most four bytes, so no more is looked at than can be shown.
    let looked_at = &bytes[..bytes.len().min(SHOWN * 4 + 4)];
    let value = String::from_utf8_lossy(looked_at);
    match value.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &value[..cut]),
        None => value.into_owned(),
    }
}

/// The character at `at`, printable.
fn character(text: &[u8], at: usize) -> String {
    let end = (at + 4).min(text.len());
    let bytes = String::from_utf8_lossy(text.get(at..end).unwrap_or_default());
    bytes
        .chars()
        .next()
        .map(|c| c.escape_debug().to_string())
        .unwrap_or_default()
}
