//! Reading numbers out of text: one loop for all `parse_..` and `try_parse_..` functions.

use arrow::array::{Array, BooleanBufferBuilder, StringViewArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion_common::{DataFusionError, Result};

use super::rewrite::each_text;

/// How many characters of a value an error shows.
const SHOWN: usize = 80;

/// A value that a function cannot read. In an error of DataFusion's, [`ValueError::find`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{function}` cannot read {value:?}: {why}; `try_{function}` would give null instead")]
pub struct ValueError {
    /// The SQL name of the function.
    pub function: &'static str,
    /// The value, cut after 80 characters.
    pub value: String,
    /// What is wrong with it, and what is expected.
    pub why: &'static str,
}

impl ValueError {
    /// The value error that `error` is or wraps, if any.
    pub fn find(error: &DataFusionError) -> Option<&Self> {
        match error.find_root() {
            DataFusionError::External(root) => root.downcast_ref(),
            _ => None,
        }
    }

    fn new(function: &'static str, value: &str, why: &'static str) -> Self {
        let mut shown: String = value.chars().take(SHOWN).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self {
            function,
            value: shown,
            why,
        }
    }
}

/// Numbers and which of them are not null, one per row; the parts of a primitive array.
pub(super) type Numbers = (Vec<i64>, Option<NullBuffer>);

/// Reads every row; null stays null, and the first value that cannot be read is an error.
#[inline(always)]
pub(super) fn parse_each(
    function: &'static str,
    texts: &StringViewArray,
    parse: impl Fn(&str) -> Result<i64, &'static str>,
) -> Result<Numbers> {
    let mut numbers = vec![0; texts.len()];
    let mut first_error = None;
    each_text(texts, |row, text| match parse(text) {
        Ok(number) => numbers[row] = number,
        Err(why) => {
            first_error.get_or_insert((row, why));
        }
    });
    match first_error {
        None => Ok((numbers, texts.nulls().cloned())),
        Some((row, why)) => Err(DataFusionError::External(Box::new(ValueError::new(
            function,
            texts.value(row),
            why,
        )))),
    }
}

/// Reads every row; null stays null, and so becomes a value that cannot be read.
#[inline(always)]
pub(super) fn try_parse_each(
    texts: &StringViewArray,
    parse: impl Fn(&str) -> Result<i64, &'static str>,
) -> Numbers {
    let mut numbers = vec![0; texts.len()];
    let mut valid: Option<BooleanBufferBuilder> = None;
    each_text(texts, |row, text| match parse(text) {
        Ok(number) => numbers[row] = number,
        Err(_) => {
            let valid = valid.get_or_insert_with(|| {
                let mut valid = BooleanBufferBuilder::new(texts.len());
                valid.append_n(texts.len(), true);
                valid
            });
            valid.set_bit(row, false);
        }
    });
    let unread = valid.map(|mut valid| NullBuffer::new(valid.finish()));
    (numbers, NullBuffer::union(unread.as_ref(), texts.nulls()))
}

/// What is wrong with the texts of `rows`; `None` if one of them can be read.
pub(super) fn refuse_each(
    function: &'static str,
    texts: &StringViewArray,
    rows: &BooleanBuffer,
    parse: impl Fn(&str) -> Result<i64, &'static str>,
) -> Option<Vec<ValueError>> {
    let refused = rows.set_indices().map(|row| {
        let text = texts.value(row);
        let why = parse(text).err()?;
        Some(ValueError::new(function, text, why))
    });
    refused.collect()
}
