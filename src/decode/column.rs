//! A column being filled: each value is read from the text straight into its place.
//!
//! Every row's slot exists, as null, before its record is read, so a key that is missing needs no
//! work and one that comes twice overwrites. The quick paths take values as they are nearly always
//! written; all else goes through [`value::read`] and the conversions of the module's table.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use super::fault::{Fault, Problem, Why};
use super::scan::{Baseline, Scan};
use super::strings::Strings;
use super::value::{self, Kind, Value, skip_blanks};
use super::{date, number};

/// One column of the batch being filled.
pub(super) struct Column {
    values: Values,
    /// Whether each slot has a value.
    valid: Vec<bool>,
}

/// One slot a row, all of them null at first.
enum Values {
    /// Views; zero is the empty string.
    Text(Vec<u128>),
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Float64(Vec<f64>),
    Boolean(Vec<bool>),
    Timestamp(Vec<i64>),
    Date(Vec<i32>),
    List(Box<List>),
}

struct List {
    /// Where each row's elements end; one entry more than rows, the first zero.
    ends: Vec<i32>,
    elements: Column,
    field: FieldRef,
}

impl Column {
    /// An empty column; `None` when JSON is not decoded into the type.
    pub(super) fn new(data_type: &DataType) -> Option<Column> {
        let values = match data_type {
            DataType::Utf8View => Values::Text(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::Timestamp(Vec::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::List(field)
                if matches!(field.data_type(), DataType::Utf8View | DataType::Float64) =>
            {
                let elements = Column::new(field.data_type())?;
                Values::List(Box::new(List {
                    ends: vec![0],
                    elements,
                    field: field.clone(),
                }))
            }
            _ => return None,
        };
        Some(Column {
            values,
            valid: Vec::new(),
        })
    }

    /// Gives the column `rows` slots.
    pub(super) fn grow(&mut self, rows: usize) {
        self.valid.resize(rows, false);
        match &mut self.values {
            Values::Text(slots) => slots.resize(rows, 0),
            Values::Int64(slots) | Values::Timestamp(slots) => slots.resize(rows, 0),
            Values::Int32(slots) | Values::Date(slots) => slots.resize(rows, 0),
            Values::Float64(slots) => slots.resize(rows, 0.0),
            Values::Boolean(slots) => slots.resize(rows, false),
            Values::List(list) => list.ends.resize(rows + 1, 0),
        }
    }

    /// Whether this is a list column, which must hear of each row's end.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.values, Values::List(_))
    }

    /// Whether `row` has a value.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.valid[row]
    }

    /// Ends `row`: a list that was not given is empty.
    pub(super) fn end_row(&mut self, row: usize) {
        if let Values::List(list) = &mut self.values
            && !self.valid[row]
        {
            list.ends[row + 1] = list.ends[row];
        }
    }

    /// Makes `row` null, whatever it held.
    pub(super) fn clear(&mut self, row: usize) {
        self.valid[row] = false;
        match &mut self.values {
            // Nothing may point to text that is about to be forgotten, not even under a null.
            Values::Text(slots) => slots[row] = 0,
            Values::Int64(slots) | Values::Timestamp(slots) => slots[row] = 0,
            Values::Int32(slots) | Values::Date(slots) => slots[row] = 0,
            Values::Float64(slots) => slots[row] = 0.0,
            Values::Boolean(slots) => slots[row] = false,
            Values::List(list) => list.ends[row + 1] = list.ends[row],
        }
    }

    /// Reads the value at `at` into `row`'s slot and returns the position after it. `IN_CHUNK` only
    /// if the text is the chunk.
    #[inline(always)]
    pub(super) fn assign<S: Scan, const IN_CHUNK: bool>(
        &mut self,
        row: usize,
        text: &[u8],
        at: usize,
        strings: &mut Strings,
    ) -> Result<usize, Box<Fault>> {
        match &mut self.values {
            Values::Text(slots) if IN_CHUNK => {
                if let Some((view, end)) = Strings::plain_in_chunk::<S>(text, at) {
                    slots[row] = view;
                    self.valid[row] = true;
                    return Ok(end);
                }
            }
            Values::Int64(slots) => {
                if let Some((number, end)) = number::short_integer(text, at) {
                    slots[row] = number;
                    self.valid[row] = true;
                    return Ok(end);
                }
            }
            Values::Int32(slots) => {
                if let Some((number, end)) = number::short_integer(text, at) {
                    // Eight digits fit.
                    slots[row] = number as i32;
                    self.valid[row] = true;
                    return Ok(end);
                }
            }
            Values::Float64(slots) => {
                if let Some((number, end)) = number::short_double(text, at) {
                    slots[row] = number;
                    self.valid[row] = true;
                    return Ok(end);
                }
            }
            _ => {}
        }
        self.assign_any(row, text, at, strings)
    }

    /// The same for any value, converted where the column's type allows.
    #[inline(never)]
    fn assign_any(
        &mut self,
        row: usize,
        text: &[u8],
        at: usize,
        strings: &mut Strings,
    ) -> Result<usize, Box<Fault>> {
        if let Values::List(list) = &mut self.values
            && text.get(skip_blanks(text, at)) == Some(&b'[')
        {
            let end = list.assign(row, text, skip_blanks(text, at), strings)?;
            self.valid[row] = true;
            return Ok(end);
        }
        if let Values::Text(slots) = &mut self.values
            && text.get(at) == Some(&b'"')
        {
            // Nearly always escapes; to find its end and to resolve them is one pass.
            let (view, end) = strings.string(text, at + 1)?;
            slots[row] = view;
            self.valid[row] = true;
            return Ok(end + 1);
        }
        let value = value::read(text, at)?;
        if value.kind == Kind::Null {
            self.clear(row);
            return Ok(value.end);
        }
        let unfit = |problem| {
            Box::new(Fault {
                at: value.start,
                why: Why::Value {
                    column: 0,
                    element: None,
                    end: value.end,
                    problem,
                },
            })
        };
        match &mut self.values {
            Values::Text(slots) => {
                slots[row] = match value.kind {
                    Kind::Text { .. } => strings.string(text, value.start + 1)?.0,
                    _ => strings.plain(text, value.start, value.end),
                };
            }
            Values::Int64(slots) => {
                slots[row] = whole(text, value, strings, i64::MIN..=i64::MAX)?.map_err(unfit)?
            }
            Values::Int32(slots) => {
                let number = whole(
                    text,
                    value,
                    strings,
                    i64::from(i32::MIN)..=i64::from(i32::MAX),
                )?
                .map_err(unfit)?;
                slots[row] = number as i32;
            }
            Values::Float64(slots) => {
                slots[row] = numeric(text, value, strings, number::double)?.map_err(unfit)?
            }
            Values::Boolean(slots) => {
                slots[row] = match value.kind {
                    Kind::Boolean(boolean) => boolean,
                    Kind::Text { .. } => {
                        in_string(text, value, strings, |content| match content.trim() {
                            "true" => Ok(true),
                            "false" => Ok(false),
                            _ => Err(Problem::NotABoolean),
                        })?
                        .map_err(unfit)?
                    }
                    _ => return Err(unfit(Problem::NotABoolean)),
                };
            }
            Values::Timestamp(slots) => {
                slots[row] = dated(text, value, strings, date::timestamp)?.map_err(unfit)?
            }
            Values::Date(slots) => {
                slots[row] = dated(text, value, strings, date::date)?.map_err(unfit)?
            }
            Values::List(_) => return Err(unfit(Problem::NotAList)),
        }
        self.valid[row] = true;
        Ok(value.end)
    }

    /// The first `rows` rows as an array. `buffers` are the text buffers that views name by number.
    pub(super) fn finish(mut self, rows: usize, buffers: &Arc<[Buffer]>) -> ArrayRef {
        self.valid.truncate(rows);
        let nulls = if self.valid.iter().all(|&valid| valid) {
            None
        } else {
            Some(NullBuffer::new(BooleanBuffer::from(self.valid)))
        };
        match self.values {
            Values::Text(mut slots) => {
                slots.truncate(rows);
                // SAFETY: there are as many views as validity bits. Every view, also under a null,
                // is zero or was made by `Strings` from text that was validated as UTF-8, cut next
                // to ASCII characters; it holds its text, or points to where that text is in the
                // chunk or the side buffer. Rows whose record failed were cleared before the side
                // buffer was cut. (Validating all again was measured to cost more than decoding.)
                Arc::new(unsafe {
                    StringViewArray::new_unchecked(
                        ScalarBuffer::from(slots),
                        buffers.clone(),
                        nulls,
                    )
                })
            }
            Values::Int64(slots) => Arc::new(Int64Array::new(cut(slots, rows), nulls)),
            Values::Int32(slots) => Arc::new(Int32Array::new(cut(slots, rows), nulls)),
            Values::Float64(slots) => Arc::new(Float64Array::new(cut(slots, rows), nulls)),
            Values::Boolean(slots) => Arc::new(BooleanArray::new(
                BooleanBuffer::from(&slots[..rows]),
                nulls,
            )),
            Values::Timestamp(slots) => {
                Arc::new(TimestampMicrosecondArray::new(cut(slots, rows), nulls))
            }
            Values::Date(slots) => Arc::new(Date32Array::new(cut(slots, rows), nulls)),
            Values::List(list) => {
                let List {
                    ends,
                    elements,
                    field,
                } = *list;
                let elements = elements.finish(ends[rows] as usize, buffers);
                Arc::new(ListArray::new(
                    field,
                    OffsetBuffer::new(cut(ends, rows + 1)),
                    elements,
                    nulls,
                ))
            }
        }
    }
}

impl List {
    /// Reads the array at `at` into `row`, in place of what the row had before.
    fn assign(
        &mut self,
        row: usize,
        text: &[u8],
        at: usize,
        strings: &mut Strings,
    ) -> Result<usize, Box<Fault>> {
        let first = self.ends[row] as usize;
        let mut next = first;
        let mut at = skip_blanks(text, at + 1);
        let mut is_open = text.get(at) != Some(&b']');
        while is_open {
            if next == self.elements.valid.len() {
                self.elements.grow((next * 2).max(64));
            }
            let start = skip_blanks(text, at);
            at = self
                .elements
                .assign::<Baseline, false>(next, text, start, strings)
                .map_err(|fault| fault.in_element(next - first))?;
            if !self.field.is_nullable() && !self.elements.is_valid(next) {
                let problem = Problem::NullElement;
                return Fault::err(
                    start,
                    Why::Value {
                        column: 0,
                        element: Some(next - first),
                        end: at,
                        problem,
                    },
                );
            }
            next += 1;
            at = skip_blanks(text, at);
            match text.get(at) {
                Some(b',') => at += 1,
                Some(b']') => is_open = false,
                _ => return Fault::err(at, Why::Expected("`,` or `]` after a value")),
            }
        }
        self.ends[row + 1] = next as i32;
        Ok(at + 1)
    }
}

/// The first `rows` slots as a buffer.
fn cut<T: arrow::datatypes::ArrowNativeType>(mut slots: Vec<T>, rows: usize) -> ScalarBuffer<T> {
    slots.truncate(rows);
    ScalarBuffer::from(slots)
}

/// What `parse` makes of the content of the string `value`. The outer error is a string that cannot
/// be unescaped.
fn in_string<T>(
    text: &[u8],
    value: Value,
    strings: &mut Strings,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<Result<T, Problem>, Box<Fault>> {
    let content = &text[value.start + 1..value.end - 1];
    if value.kind == (Kind::Text { escaped: false }) {
        return Ok(parse(std::str::from_utf8(content).unwrap_or_default()));
    }
    strings.with_unescaped(text, value.start + 1, |content| {
        parse(std::str::from_utf8(content).unwrap_or_default())
    })
}

/// What `parse` makes of a number, or of a number in a string.
fn numeric<T>(
    text: &[u8],
    value: Value,
    strings: &mut Strings,
    parse: impl FnOnce(&[u8]) -> Result<T, Problem>,
) -> Result<Result<T, Problem>, Box<Fault>> {
    match value.kind {
        Kind::Number => Ok(parse(&text[value.start..value.end])),
        Kind::Text { .. } => in_string(text, value, strings, |content| {
            match number::in_text(content) {
                Some(literal) => parse(literal),
                None => Err(Problem::NotANumber),
            }
        }),
        _ => Ok(Err(Problem::NotANumber)),
    }
}

/// A whole number within a range.
fn whole(
    text: &[u8],
    value: Value,
    strings: &mut Strings,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Result<i64, Problem>, Box<Fault>> {
    numeric(text, value, strings, |literal| {
        match number::whole(literal)? {
            number if range.contains(&number) => Ok(number),
            _ => Err(Problem::OutOfRange),
        }
    })
}

/// What `parse` makes of a date in a string.
fn dated<T>(
    text: &[u8],
    value: Value,
    strings: &mut Strings,
    parse: impl FnOnce(&str) -> Result<T, Problem>,
) -> Result<Result<T, Problem>, Box<Fault>> {
    match value.kind {
        Kind::Text { .. } => in_string(text, value, strings, parse),
        _ => Ok(Err(Problem::NotADate)),
    }
}
