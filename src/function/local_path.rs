//! `local_path(text)`: the text from its first `/`, so `Local save in /data/art` gives `/data/art`.
//!
//! A text without a `/` names no path that could be told from the words before it and stays as it
//! is.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::rewrite::{Rewrite, each_text};
use super::scalar::{Arguments, Function, Kind};

pub(super) fn function() -> Function {
    Function::new(
        "local_path",
        &[Kind::Text],
        DataType::Utf8View,
        compute,
        "local_path(text)",
        "The text from its first `/`; a text without one stays as it is.",
    )
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    Ok(Arc::new(cut(&arguments.text(0)?)))
}

fn cut(texts: &StringViewArray) -> StringViewArray {
    let mut result = Rewrite::new(texts);
    each_text(texts, |row, text| {
        match memchr::memchr(b'/', text.as_bytes()) {
            None | Some(0) => {}
            Some(start) => result.part(row, start..text.len()),
        }
    });
    result.finish()
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{check_text, shapes};

    #[test]
    fn the_words_before_the_path_go() {
        check_text(
            "local_path",
            &[],
            &[
                (Some("Local save in /data/art"), Some("/data/art")),
                (
                    Some("Local save in /data/event-planning"),
                    Some("/data/event-planning"),
                ),
                (Some("/data/art"), Some("/data/art")),
                (Some("dossier/é"), Some("/é")),
                (Some("nowhere at all"), Some("nowhere at all")),
                (Some(""), Some("")),
                (None, None),
            ],
        );
    }

    #[test]
    fn equals_the_plain_definition_and_copies_nothing() {
        let plain = |text: &str| Some(text[text.find('/').unwrap_or(0)..].to_string());
        shapes("local_path", &[], plain, true);
    }
}
