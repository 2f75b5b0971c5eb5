//! The functions that cleaning needs beside DataFusion's own, registered under their SQL names.
//!
//! | function | gives |
//! |---|---|
//! | `trim_blank(text)` | the text without blanks at its ends |
//! | `blank_to_null(text, placeholder, ..)` | the trimmed text, null when nothing is left or it is a placeholder |
//! | `parse_count(text)`, `try_parse_count(text)` | BIGINT from `12`, `900k`, `1.2M`, `1b`, `5,237` |
//! | `parse_timestamp(text)`, `try_parse_timestamp(text)` | TIMESTAMP (microseconds, UTC, no zone) from the date forms in use; with `'DMY'` or `'MDY'` also from `28/08/2020` |
//! | `clean_tags(text, placeholder, ..)` | a comma-joined list with each tag trimmed and its leading `#` off |
//! | `ascii_only(text)` | the text without its non-ASCII characters |
//! | `local_path(text)` | the text from its first `/` |
//! | `full_name(first, last)` | both names with one space between |
//! | `coordinates(latitude, longitude)` | both as a list of two doubles |
//! | `date_part('year', timestamp)` | as DataFusion's, faster; right for long differences |
//! | `date_trunc(part, timestamp)` | as DataFusion's, also before 1677 and after 2262 |
//! | `date_bin(interval, timestamp)` | likewise |
//! | `n * interval` | the interval as often as the whole number says |
//! | `percentile_disc(p) WITHIN GROUP (ORDER BY x)` | an aggregate: the value of `x` at the fraction `p` of its order |
//!
//! Nothing here knows a table, a column or a placeholder: those are in the dataflow's SQL.
//!
//! # Invariants
//! 1. A function is pure: the same row gives the same value in any batch. The engine relies on it
//!    to find a bad row, by evaluating the halves of a batch that failed.
//! 2. Text comes in as any of Arrow's three string types and leaves as Utf8View. Where the result
//!    is the input or a part of it, its bytes are shared with the input, not copied (`rewrite.rs`
//!    does it).
//! 3. A value that cannot be read is a [`ValueError`] that names function, value and reason, or
//!    null where the function's name begins with `try_`. Null gives null and is never an error.

mod ascii_only;
mod blank_to_null;
mod bounded;
mod clean_tags;
mod coordinates;
pub mod date_part;
mod full_name;
pub mod interval_times;
mod local_path;
mod parse;
mod parse_count;
mod parse_timestamp;
pub mod percentile_disc;
mod rewrite;
mod scalar;
#[cfg(test)]
mod testing;
mod trim_blank;
pub mod wide_time;

use std::sync::{Arc, LazyLock};

use arrow::buffer::BooleanBuffer;
use datafusion_expr::{AggregateUDF, ColumnarValue, ScalarUDF};

pub use bounded::{TooLong, TooMuch, bounded, size as value_bytes};
pub use parse::ValueError;

/// The function that gives null where the one called `name` fails, and the same value elsewhere, if
/// there is one.
pub fn lenient(name: &str) -> Option<Arc<ScalarUDF>> {
    static LENIENT: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
        [parse_count::lenient(), parse_timestamp::lenient()]
            .map(|function| Arc::new(ScalarUDF::new_from_impl(function)))
    });
    let mut lenient = LENIENT.iter();
    let twin = lenient.find(|twin| twin.name().strip_prefix("try_") == Some(name));
    twin.cloned()
}

/// Why `function` fails for each of `rows`, in their order; `values` are its arguments. `None` if
/// it is none of this module that can say so for many rows at once.
pub fn refusals(
    function: &ScalarUDF,
    values: Vec<ColumnarValue>,
    rows: &BooleanBuffer,
) -> Option<Vec<ValueError>> {
    let ours = function.inner().downcast_ref::<scalar::Function>()?;
    ours.refusals(values, rows)
}

/// The time in microseconds since 1970 that a text says, as `parse_timestamp` reads it; or what is
/// wrong with it.
pub fn timestamp_us(text: &str) -> Result<i64, &'static str> {
    parse_timestamp::micros(text)
}

/// Every scalar function of this module.
pub fn all() -> Vec<ScalarUDF> {
    [
        trim_blank::function(),
        blank_to_null::function(),
        parse_count::strict(),
        parse_count::lenient(),
        parse_timestamp::strict(),
        parse_timestamp::lenient(),
        clean_tags::function(),
        ascii_only::function(),
        local_path::function(),
        full_name::function(),
        coordinates::function(),
    ]
    .into_iter()
    .map(ScalarUDF::new_from_impl)
    .collect()
}

/// From which argument on a function of this module takes literals only; `None` for other
/// functions.
pub fn literals_from(function: &ScalarUDF) -> Option<usize> {
    let ours = function.inner().downcast_ref::<scalar::Function>();
    ours.map(scalar::Function::literals_from)
}

/// Every aggregate function of this module, for DataFusion in batch. (The incremental engine has
/// operators of its own for them and uses only their names and types.)
pub fn aggregates() -> Vec<AggregateUDF> {
    vec![AggregateUDF::new_from_impl(
        percentile_disc::PercentileDisc::default(),
    )]
}
