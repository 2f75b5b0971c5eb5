//! `full_name(first, last)`: both names, trimmed, with one space between.
//!
//! A name that is null or blank is left out, with the space; null when both are.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::rewrite::{Rewrite, inline_text};
use super::scalar::{Arguments, Function, Kind};
use super::trim_blank::trimmed;

pub(super) fn function() -> Function {
    Function::new(
        "full_name",
        &[Kind::Text, Kind::Text],
        DataType::Utf8View,
        compute,
        "full_name(first, last)",
        "Both names, trimmed, with one space between; a null or blank name is left out, null when both are.",
    )
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    Ok(Arc::new(join(&arguments.text(0)?, &arguments.text(1)?)))
}

fn join(firsts: &StringViewArray, lasts: &StringViewArray) -> StringViewArray {
    // The first names with rows changed, so that one that stands alone is not copied.
    let mut result = Rewrite::new(firsts);
    for row in 0..firsts.len() {
        if is_short(firsts, row) && is_short(lasts, row) {
            result.inline_pair(row, firsts.views()[row], lasts.views()[row]);
            continue;
        }
        let (first, last) = (name(firsts, row), name(lasts, row));
        match (first.is_empty(), last.is_empty()) {
            (false, false) => {
                let (first, last) = (&firsts.value(row)[first], &lasts.value(row)[last]);
                result.text(row, &[first, " ", last]);
            }
            (false, true) => result.part(row, first),
            (true, false) => result.text(row, &[&lasts.value(row)[last]]),
            (true, true) => result.null(row),
        }
    }
    result.finish()
}

/// Whether the name of a row lies in its view and has nothing to trim: almost every name.
#[inline(always)]
fn is_short(names: &StringViewArray, row: usize) -> bool {
    let view = names.views()[row];
    if names.is_null(row) || !(1..=12).contains(&(view as u32)) {
        return false;
    }
    let (text, length) = inline_text(view);
    let (first, last) = (text as u8, (text >> (8 * (length - 1))) as u8);
    first.is_ascii_graphic() && last.is_ascii_graphic()
}

/// Where the name of a row lies in its text, without blanks at its ends; empty for none.
#[inline]
fn name(names: &StringViewArray, row: usize) -> Range<usize> {
    match names.is_null(row) {
        true => 0..0,
        false => trimmed(names.value(row)),
    }
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{call_with, text_columns};
    use arrow::array::AsArray;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_of_every_length_are_joined(
            rows in proptest::collection::vec((proptest::option::weighted(0.9, "[ ]?[a-zé]{1,14}"), "[a-zé]{0,14}"), 1..20)
        ) {
            let firsts: Vec<_> = rows.iter().map(|(first, _)| first.as_deref()).collect();
            let lasts: Vec<_> = rows.iter().map(|(_, last)| Some(last.as_str())).collect();
            let expected: Vec<_> = rows.iter().map(|(first, last)| {
                let names = [first.as_deref().unwrap_or("").trim(), last.as_str()];
                let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
                (!names.is_empty()).then(|| names.join(" "))
            }).collect();
            for (first, last) in text_columns(&firsts).into_iter().zip(text_columns(&lasts)) {
                let names = call_with("full_name", vec![first.into(), last.into()]).unwrap();
                let names: Vec<_> = names.as_string_view().iter().map(|name| name.map(str::to_string)).collect();
                prop_assert_eq!(&names, &expected);
            }
        }
    }

    #[test]
    fn one_space_between_and_absent_names_left_out() {
        let rows = [
            (Some("Abigail"), Some("Ali"), Some("Abigail Ali")),
            (
                Some("Christopher"),
                Some("Bradshaw"),
                Some("Christopher Bradshaw"),
            ),
            (Some(" Ada\u{a0}"), Some("\tLovelace"), Some("Ada Lovelace")),
            (Some("Mary Ann"), Some("Evans"), Some("Mary Ann Evans")),
            (
                Some("José"),
                Some("Ñíguez de la Cruz"),
                Some("José Ñíguez de la Cruz"),
            ),
            (Some(" Cher "), None, Some("Cher")),
            (
                None,
                Some("Prince Rogers Nelson"),
                Some("Prince Rogers Nelson"),
            ),
            (
                Some("Björk Guðmundsdóttir"),
                Some("  "),
                Some("Björk Guðmundsdóttir"),
            ),
            (Some(""), Some("Madonna"), Some("Madonna")),
            (Some(" "), Some(""), None),
            (None, None, None),
        ];
        let firsts: Vec<_> = rows.iter().map(|row| row.0).collect();
        let lasts: Vec<_> = rows.iter().map(|row| row.1).collect();
        let expected: Vec<_> = rows.iter().map(|row| row.2).collect();
        for (first, last) in text_columns(&firsts).into_iter().zip(text_columns(&lasts)) {
            let names = call_with("full_name", vec![first.into(), last.into()]).unwrap();
            assert_eq!(names.as_string_view().iter().collect::<Vec<_>>(), expected);
        }
    }
}
