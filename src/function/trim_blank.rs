//! `trim_blank(text)`: the text without blanks at its ends.
//!
//! A blank is a character with Unicode's `White_Space` property: space, tab, line ends, the
//! no-break space U+00A0, the ideographic space and the rest of that list. Zero-width characters
//! (U+200B, U+200D, U+FEFF, ..) are not blanks by Unicode's definition, some of them hold an emoji
//! together, and they stay.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::rewrite::{Rewrite, each_text};
use super::scalar::{Arguments, Function, Kind};

pub(super) fn function() -> Function {
    Function::new(
        "trim_blank",
        &[Kind::Text],
        DataType::Utf8View,
        compute,
        "trim_blank(text)",
        "The text without Unicode blanks, such as spaces, line ends and no-break spaces, at its ends.",
    )
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    Ok(Arc::new(trim(&arguments.text(0)?)))
}

fn trim(texts: &StringViewArray) -> StringViewArray {
    let mut result = Rewrite::new(texts);
    each_text(texts, |row, text| {
        let part = trimmed(text);
        if part.len() < text.len() {
            result.part(row, part);
        }
    });
    result.finish()
}

/// Where `text` lies without the blanks at its ends.
#[inline(always)]
pub(super) fn trimmed(text: &str) -> Range<usize> {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if first.is_ascii_graphic() && last.is_ascii_graphic() => {
            0..text.len()
        }
        _ => trimmed_slowly(text),
    }
}

#[inline(never)]
fn trimmed_slowly(text: &str) -> Range<usize> {
    let end = text.trim_end().len();
    let start = end - text[..end].trim_start().len();
    start..end
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{check_text, shapes};

    #[test]
    fn blanks_at_the_ends_go_and_all_else_stays() {
        check_text(
            "trim_blank",
            &[],
            &[
                (Some("art"), Some("art")),
                (Some("  art "), Some("art")),
                (Some("two words"), Some("two words")),
                (
                    Some("\t a text longer than twelve bytes \r\n"),
                    Some("a text longer than twelve bytes"),
                ),
                (Some("cut to a short\n"), Some("cut to a short")),
                (Some("incomprehensible… \u{a0}"), Some("incomprehensible…")),
                (Some("\u{3000}絵\u{2003}"), Some("絵")),
                (Some("👩\u{200d}🎨\u{200d}"), Some("👩\u{200d}🎨\u{200d}")),
                (Some("\u{feff}title"), Some("\u{feff}title")),
                (Some(" \u{a0}\u{85} "), Some("")),
                (Some(""), Some("")),
                (None, None),
            ],
        );
    }

    #[test]
    fn equals_the_standard_library_and_copies_nothing() {
        shapes(
            "trim_blank",
            &[],
            |text| Some(text.trim().to_string()),
            true,
        );
    }
}
