//! `blank_to_null(text, placeholder, ..)`: the trimmed text, or null when it says nothing.
//!
//! Sources write "nothing" as an empty text, as blanks, or as a sentence of their own (`No title
//! given`). The sentences are facts about a source, so they are arguments. Equality is exact after
//! trimming (as in [`super::trim_blank`]); a text that merely begins with a placeholder is
//! somebody's text.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::rewrite::{Rewrite, each_text};
use super::scalar::{Arguments, Function, Kind};
use super::trim_blank::trimmed;

pub(super) fn function() -> Function {
    Function::new(
        "blank_to_null",
        &[Kind::Text],
        DataType::Utf8View,
        compute,
        "blank_to_null(text, 'placeholder', ..)",
        "The text without blanks at its ends; null when nothing is left or the rest equals a placeholder.",
    )
    .with_placeholders()
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    let placeholders = Placeholders::new(arguments.literals(1)?);
    Ok(Arc::new(clean(&arguments.text(0)?, &placeholders)))
}

fn clean(texts: &StringViewArray, placeholders: &Placeholders) -> StringViewArray {
    let mut result = Rewrite::new(texts);
    each_text(texts, |row, text| {
        let part = trimmed(text);
        if placeholders.say_nothing(&text[part.clone()]) {
            result.null(row);
        } else if part.len() < text.len() {
            result.part(row, part);
        }
    });
    result.finish()
}

/// The texts that stand for no text.
pub(super) struct Placeholders<'a>(Vec<&'a str>);

impl<'a> Placeholders<'a> {
    /// Blanks at the ends of a placeholder count as little as those of a text.
    pub(super) fn new(literals: Vec<&'a str>) -> Self {
        Self(literals.into_iter().map(str::trim).collect())
    }

    /// Whether a trimmed text is empty or a placeholder.
    #[inline(always)]
    pub(super) fn say_nothing(&self, text: &str) -> bool {
        // Lengths differ almost always, and comparing them touches no text.
        text.is_empty()
            || self
                .0
                .iter()
                .any(|placeholder| placeholder.len() == text.len() && *placeholder == text)
    }
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{check_text, shapes};

    const NOTHING: [&str; 3] = ["Untitled", "No description available", " n/a "];

    #[test]
    fn blanks_and_placeholders_become_null() {
        check_text(
            "blank_to_null",
            &NOTHING,
            &[
                (Some("art"), Some("art")),
                (Some(""), None),
                (Some(" \t\u{a0}"), None),
                (Some("Untitled"), None),
                (Some(" Untitled\u{a0}"), None),
                (Some("No description available"), None),
                (Some("n/a"), None),
                (Some("untitled"), Some("untitled")),
                (Some("Untitled 2"), Some("Untitled 2")),
                (
                    Some("No description available today "),
                    Some("No description available today"),
                ),
                (
                    Some("日本語のとても長い題名 "),
                    Some("日本語のとても長い題名"),
                ),
                (None, None),
            ],
        );
    }

    #[test]
    fn without_placeholders_only_blank_text_is_null() {
        check_text(
            "blank_to_null",
            &[],
            &[(Some("Untitled"), Some("Untitled")), (Some("  "), None)],
        );
    }

    #[test]
    fn equals_the_plain_definition_and_copies_nothing() {
        let plain = |text: &str| {
            let text = text.trim();
            let nothing = text.is_empty() || NOTHING.iter().any(|n| n.trim() == text);
            (!nothing).then(|| text.to_string())
        };
        shapes("blank_to_null", &NOTHING, plain, true);
    }
}
