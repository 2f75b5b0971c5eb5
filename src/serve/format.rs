//! Rows as text or bytes for a reader: a table for people, JSON and CSV for scripts, Arrow for
//! programs.
//!
//! Values look the same in all text formats: timestamps and dates as in ISO 8601, lists as `[1.0,
//! 2.0]`. A null is `NULL` in a table, `null` in JSON (never left out), and nothing in CSV.

use std::fmt::Write as _;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonFormat, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;

use crate::delta::Epoch;

/// A longer value is cut in a table, so that one text does not push the other columns off the
/// screen.
const TABLE_CELL_CHARS: usize = 60;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns side by side, for people.
    Table,
    /// An object with the epoch and an array of rows.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
        }
    }

    /// The media type of what is written.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// What an HTTP `Accept` header asks for: the first media type that we have, JSON if there is
    /// none.
    pub fn accepted(header: &str) -> Format {
        header
            .split(',')
            .filter_map(|part| match part.split(';').next().unwrap_or(part).trim() {
                "application/json" | "*/*" | "application/*" => Some(Format::Json),
                "text/csv" => Some(Format::Csv),
                "text/plain" => Some(Format::Table),
                "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
                _ => None,
            })
            .next()
            .unwrap_or(Format::Json)
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        [Format::Table, Format::Json, Format::Csv, Format::Arrow]
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// A format that there is not.
#[derive(Debug, thiserror::Error)]
#[error("there is no format `{0}`: write json, csv, arrow or table")]
pub struct UnknownFormat(String);

/// Rows of a view, ready to be written.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The view.
    pub view: &'a str,
    /// The epoch it is at.
    pub epoch: Epoch,
    /// How many rows match; `rows` may be the first of them.
    pub row_count: u64,
    /// The rows to write.
    pub rows: &'a RecordBatch,
}

impl Answer<'_> {
    /// Writes the answer in a format.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, ArrowError> {
        match format {
            Format::Table => {
                let mut text = table(self.rows)?;
                let _ = writeln!(text, "{}", self.summary());
                Ok(text.into_bytes())
            }
            Format::Json => self.json(),
            Format::Csv => csv_text(self.rows),
            Format::Arrow => arrow_stream(self.rows),
        }
    }

    fn summary(&self) -> String {
        let shown = self.rows.num_rows() as u64;
        let rows = if self.row_count == 1 { "row" } else { "rows" };
        let of = match shown < self.row_count {
            true => format!("the first {} of ", grouped(shown)),
            false => String::new(),
        };
        format!(
            "{of}{} {rows} at epoch {}",
            grouped(self.row_count),
            self.epoch
        )
    }

    fn json(&self) -> Result<Vec<u8>, ArrowError> {
        let view = serde_json::Value::from(self.view);
        let mut out = format!(
            "{{\"view\":{view},\"epoch\":{},\"row_count\":{},\"rows\":[",
            self.epoch, self.row_count
        )
        .into_bytes();
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, RowPerLine>(&mut out);
        writer.write(self.rows)?;
        writer.finish()?;
        out.extend_from_slice(b"\n]}\n");
        Ok(out)
    }
}

/// The elements of a JSON array, each on a line of its own, so that line tools can read it too.
#[derive(Debug, Default)]
struct RowPerLine;

impl JsonFormat for RowPerLine {
    fn start_row<W: io::Write>(
        &self,
        writer: &mut W,
        is_first_row: bool,
    ) -> Result<(), ArrowError> {
        writer.write_all(if is_first_row { b"\n" } else { b",\n" })?;
        Ok(())
    }
}

/// The rows as a table with a frame: numbers to the right, no character that moves the cursor, long
/// values cut.
pub fn table(rows: &RecordBatch) -> Result<String, ArrowError> {
    let columns = rows
        .columns()
        .iter()
        .zip(rows.schema().fields())
        .map(|(column, field)| table_cells(column, field))
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let fields: Vec<Field> = rows
        .schema()
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), DataType::Utf8, false))
        .collect();
    let text = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    Ok(format!("{}\n", pretty_format_batches(&[text])?))
}

fn table_cells(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let mut cells = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        cells.push(match column.is_null(row) {
            true => "NULL".to_owned(),
            false => printable(&formatter.value(row).try_to_string()?),
        });
    }
    if column.data_type().is_numeric() {
        let width = cells.iter().map(String::len).max().unwrap_or(0);
        let width = width.max(field.name().chars().count());
        for cell in &mut cells {
            *cell = format!("{cell:>width$}");
        }
    }
    Ok(Arc::new(StringArray::from(cells)))
}

/// The text in at most `chars` characters; what was cut off is an ellipsis.
pub fn shortened(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(chars.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Text on one line of a terminal that can do nothing to the terminal.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (count, character) in text.chars().enumerate() {
        if count == TABLE_CELL_CHARS {
            line.push('…');
            break;
        }
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

fn csv_text(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    // CSV has no lists: they are written as their text.
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (column, field) in rows.columns().iter().zip(rows.schema().fields()) {
        if column.data_type().is_nested() {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            let text = (0..column.len())
                .map(|row| match column.is_null(row) {
                    true => Ok(None),
                    false => formatter.value(row).try_to_string().map(Some),
                })
                .collect::<Result<Vec<_>, _>>()?;
            columns.push(Arc::new(StringArray::from(text)) as ArrayRef);
            fields.push(Field::new(field.name(), DataType::Utf8, true));
        } else {
            columns.push(Arc::clone(column));
            fields.push(field.as_ref().clone());
        }
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let mut out = Vec::new();
    csv::WriterBuilder::new()
        .with_header(true)
        .build(&mut out)
        .write(&rows)?;
    Ok(out)
}

fn arrow_stream(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    Ok(out)
}

/// A type by the name it has in SQL.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => "TEXT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::BinaryView | DataType::Binary | DataType::LargeBinary => "BYTEA".to_owned(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::Struct(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|f| format!("{} {}", f.name(), sql_type(f.data_type())));
            format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(_, _) => "MAP".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::List(field) => format!("{}[]", sql_type(field.data_type())),
        other => other.to_string(),
    }
}

/// A number with a comma after each three digits: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Float64Array, Int64Array, ListArray, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Float64Type;
    use arrow::ipc::reader::StreamReader;
    use expect_test::{Expect, expect};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "title",
                Arc::new(StringViewArray::from(vec![
                    Some("two\nlines, \"quoted\" \u{1b}[31m"),
                    None,
                    Some("🧶 knitting"),
                ])),
            ),
            (
                "posts",
                Arc::new(Int64Array::from(vec![Some(1), Some(-20_000), None])),
            ),
            (
                "rate",
                Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None])),
            ),
            (
                "top",
                Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            ),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(1_600_000_000_000_000),
                    Some(1_600_000_000_500_000),
                    None,
                ])),
            ),
            (
                "coordinates",
                Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
                    Some(vec![Some(1.5), Some(-2.5)]),
                    Some(vec![]),
                    None,
                ])),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn check(rows: &RecordBatch, row_count: u64, format: Format, expected: Expect) {
        let answer = Answer {
            view: "some \"view\"",
            epoch: 42,
            row_count,
            rows,
        };
        let text = String::from_utf8(answer.render(format).unwrap()).unwrap();
        expected.assert_eq(&text.replace('\u{1b}', "<ESC>"));
    }

    #[test]
    fn a_table_is_safe_to_print() {
        check(
            &rows(),
            12_345,
            Format::Table,
            expect![[r#"
            +---------------------------------+--------+------+-------+-------------------------+-------------+
            | title                           | posts  | rate | top   | at                      | coordinates |
            +---------------------------------+--------+------+-------+-------------------------+-------------+
            | two\nlines, "quoted" \u{1b}[31m |      1 |  0.5 | true  | 2020-09-13T12:26:40     | [1.5, -2.5] |
            | NULL                            | -20000 |  NaN | NULL  | 2020-09-13T12:26:40.500 | []          |
            | 🧶 knitting                     |   NULL | NULL | false | NULL                    | NULL        |
            +---------------------------------+--------+------+-------+-------------------------+-------------+
            the first 3 of 12,345 rows at epoch 42
        "#]],
        );
    }

    #[test]
    fn a_long_value_is_cut_in_a_table() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["é".repeat(100)]));
        let rows = RecordBatch::try_from_iter([("text", text)]).unwrap();
        check(
            &rows,
            1,
            Format::Table,
            expect![[r#"
            +---------------------------------------------------------------+
            | text                                                          |
            +---------------------------------------------------------------+
            | éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé… |
            +---------------------------------------------------------------+
            1 row at epoch 42
        "#]],
        );
    }

    #[test]
    fn json_is_one_object_with_a_row_a_line() {
        check(
            &rows(),
            3,
            Format::Json,
            expect![[r#"
            {"view":"some \"view\"","epoch":42,"row_count":3,"rows":[
            {"title":"two\nlines, \"quoted\" \u001b[31m","posts":1,"rate":0.5,"top":true,"at":"2020-09-13T12:26:40","coordinates":[1.5,-2.5]},
            {"title":null,"posts":-20000,"rate":null,"top":null,"at":"2020-09-13T12:26:40.500","coordinates":[]},
            {"title":"🧶 knitting","posts":null,"rate":null,"top":false,"at":null,"coordinates":null}
            ]}
        "#]],
        );
        let answer = Answer {
            view: "v",
            epoch: 1,
            row_count: 3,
            rows: &rows(),
        };
        let value: serde_json::Value =
            serde_json::from_slice(&answer.render(Format::Json).unwrap()).unwrap();
        assert_eq!(value["rows"][2]["title"], "🧶 knitting");
    }

    #[test]
    fn csv_has_a_header_and_quotes() {
        check(
            &rows(),
            3,
            Format::Csv,
            expect![[r#"
                title,posts,rate,top,at,coordinates
                "two
                lines, ""quoted"" <ESC>[31m",1,0.5,true,2020-09-13T12:26:40,"[1.5, -2.5]"
                ,-20000,NaN,,2020-09-13T12:26:40.500,[]
                🧶 knitting,,,false,,
            "#]],
        );
    }

    #[test]
    fn no_rows_are_still_an_answer() {
        let none = rows().slice(0, 0);
        check(
            &none,
            0,
            Format::Json,
            expect![[r#"
            {"view":"some \"view\"","epoch":42,"row_count":0,"rows":[
            ]}
        "#]],
        );
        check(
            &none,
            0,
            Format::Csv,
            expect![[r#"
            title,posts,rate,top,at,coordinates
        "#]],
        );
        check(
            &none,
            0,
            Format::Table,
            expect![[r#"
            +-------+-------+------+-----+----+-------------+
            | title | posts | rate | top | at | coordinates |
            +-------+-------+------+-----+----+-------------+
            +-------+-------+------+-----+----+-------------+
            0 rows at epoch 42
        "#]],
        );
    }

    #[test]
    fn arrow_comes_back_as_it_was() {
        let rows = rows();
        let answer = Answer {
            view: "v",
            epoch: 1,
            row_count: 3,
            rows: &rows,
        };
        let bytes = answer.render(Format::Arrow).unwrap();
        let read = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let batches = read.collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(format!("{batches:?}"), format!("{:?}", [rows]));
    }

    #[test]
    fn an_accept_header_chooses_the_first_format_we_have() {
        assert_eq!(
            Format::accepted("text/html, text/csv;q=0.9, */*"),
            Format::Csv
        );
        assert_eq!(Format::accepted("*/*"), Format::Json);
        assert_eq!(Format::accepted("image/png"), Format::Json);
        assert_eq!(
            Format::accepted("application/vnd.apache.arrow.stream"),
            Format::Arrow
        );
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
