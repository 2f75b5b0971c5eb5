//! `ascii_only(text)`: the text without its non-ASCII characters.
//!
//! For those who need the plain text that earlier pipelines made. Nothing else changes: blanks that
//! stood around a character that goes stay, so trim afterwards if that matters.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::rewrite::{Rewrite, each_text};
use super::scalar::{Arguments, Function, Kind};

pub(super) fn function() -> Function {
    Function::new(
        "ascii_only",
        &[Kind::Text],
        DataType::Utf8View,
        compute,
        "ascii_only(text)",
        "The text without its non-ASCII characters.",
    )
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    Ok(Arc::new(strip(&arguments.text(0)?)))
}

fn strip(texts: &StringViewArray) -> StringViewArray {
    let mut result = Rewrite::new(texts);
    let mut kept = String::new();
    each_text(texts, |row, text| {
        if text.is_ascii() {
            return;
        }
        kept.clear();
        // Where the last run of ASCII lies in `text`, and how many there are.
        let mut run = 0..0;
        let mut runs = 0;
        for piece in text.split(|c: char| !c.is_ascii()) {
            if !piece.is_empty() {
                let start = piece.as_ptr() as usize - text.as_ptr() as usize;
                run = start..start + piece.len();
                runs += 1;
                kept.push_str(piece);
            }
        }
        match runs {
            0 | 1 => result.part(row, run),
            _ => result.text(row, &[&kept]),
        }
    });
    result.finish()
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{check_text, shapes};

    #[test]
    fn characters_beyond_ascii_go() {
        check_text(
            "ascii_only",
            &[],
            &[
                (
                    Some("plain text, long enough"),
                    Some("plain text, long enough"),
                ),
                (
                    Some("Aykut Aydoğdu Illustrations"),
                    Some("Aykut Aydodu Illustrations"),
                ),
                (Some("a text cut short… \u{a0}"), Some("a text cut short ")),
                (Some("🎨🎨"), Some("")),
                (Some("é\né\t é"), Some("\n\t ")),
                (Some(""), Some("")),
                (None, None),
            ],
        );
    }

    #[test]
    fn equals_a_filter_of_characters() {
        let plain = |text: &str| Some(text.chars().filter(char::is_ascii).collect());
        shapes("ascii_only", &[], plain, false);
    }
}
