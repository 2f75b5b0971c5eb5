//! `clean_tags(text, placeholder, ..)`: a comma-joined list of tags, each of them clean.
//!
//! Each tag loses the blanks at its ends and its leading `#`s; a tag of which nothing is left goes.
//! The order stays, and so do repeated tags. Null when no tag is left or when the whole text equals
//! a placeholder. Cleaning a clean list changes nothing.
//!
//! Almost every list is clean already. A first look at neighbouring bytes, without a branch per
//! byte so that it runs on many bytes at a time, finds those and leaves them where they are.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use super::blank_to_null::Placeholders;
use super::rewrite::{Rewrite, each_text};
use super::scalar::{Arguments, Function, Kind};
use super::trim_blank::trimmed;

pub(super) fn function() -> Function {
    Function::new(
        "clean_tags",
        &[Kind::Text],
        DataType::Utf8View,
        compute,
        "clean_tags(text, 'placeholder', ..)",
        "A comma-joined list with each tag trimmed and its leading `#` off; null when no tag is left or the text equals a placeholder.",
    )
    .with_placeholders()
}

fn compute(arguments: &Arguments) -> Result<ArrayRef> {
    let placeholders = Placeholders::new(arguments.literals(1)?);
    Ok(Arc::new(clean(&arguments.text(0)?, &placeholders)))
}

fn clean(texts: &StringViewArray, placeholders: &Placeholders) -> StringViewArray {
    let mut result = Rewrite::new(texts);
    let mut joined = String::new();
    each_text(texts, |row, text| {
        if placeholders.say_nothing(&text[trimmed(text)]) {
            result.null(row);
        } else if !surely_clean(text.as_bytes()) {
            joined.clear();
            // Where the first tag that stays begins in `text`.
            let mut start = None;
            for tag in text.split(',') {
                let clean = tag
                    .trim_end()
                    .trim_start_matches(|c: char| c == '#' || c.is_whitespace());
                if clean.is_empty() {
                    continue;
                }
                match start {
                    None => start = Some(clean.as_ptr() as usize - text.as_ptr() as usize),
                    Some(_) => joined.push(','),
                }
                joined.push_str(clean);
            }
            match start {
                None => result.null(row),
                Some(start) if text[start..].starts_with(&joined) => {
                    if joined.len() < text.len() {
                        result.part(row, start..start + joined.len());
                    }
                }
                Some(_) => result.text(row, &[&joined]),
            }
        }
    });
    result.finish()
}

/// Whether every tag begins and ends with a plain ASCII character. If not, one may still be clean.
#[inline(always)]
fn surely_clean(text: &[u8]) -> bool {
    let [first, .., last] = text else {
        return false;
    };
    if !plain(*first) || !plain(*last) {
        return false;
    }
    // Pairs of neighbours in chunks of a fixed size, which the compiler turns into wide
    // instructions. The last chunk ends with the text and may overlap the one before.
    let Some(last) = text.len().checked_sub(CHUNK + 1) else {
        return text.windows(2).all(|pair| !suspect(pair[0], pair[1]));
    };
    (0..last).step_by(CHUNK).chain([last]).all(|start| {
        let left = &text[start..start + CHUNK];
        let right = &text[start + 1..start + 1 + CHUNK];
        let pairs = left.iter().zip(right);
        !pairs.fold(false, |found, (left, right)| found | suspect(*left, *right))
    })
}

/// How many pairs of bytes are looked at together.
const CHUNK: usize = 32;

/// Whether a tag may have to be cleaned where these bytes meet.
#[inline(always)]
fn suspect(left: u8, right: u8) -> bool {
    ((left == b',') & !plain(right)) | ((right == b',') & !plain(left))
}

/// Neither a blank, nor part of a longer character that may be one, nor `#` or `,`.
#[inline(always)]
fn plain(byte: u8) -> bool {
    (byte > b' ') & (byte < 0x7f) & (byte != b'#') & (byte != b',')
}

#[cfg(test)]
mod tests {
    use crate::function::testing::{check_text, shapes};

    const NONE: [&str; 1] = ["N,o, ,T,a,g,s"];

    #[test]
    fn tags_are_trimmed_and_lose_their_hash() {
        check_text(
            "clean_tags",
            &NONE,
            &[
                (
                    Some("Surealism Art,Surreal Artwork,Psy Art"),
                    Some("Surealism Art,Surreal Artwork,Psy Art"),
                ),
                (Some("#art,#diy crafts,C#"), Some("art,diy crafts,C#")),
                (Some(" art , diy\u{a0},crafts "), Some("art,diy,crafts")),
                (Some("# art,##diy,# #x"), Some("art,diy,x")),
                (Some("#one long single tag"), Some("one long single tag")),
                (Some("a,,b, ,#,c,"), Some("a,b,c")),
                (Some("絵,#絵,Café, Café"), Some("絵,絵,Café,Café")),
                (Some("art,art"), Some("art,art")),
                (Some("a"), Some("a")),
                (Some("#"), None),
                (Some(","), None),
                (Some(""), None),
                (Some(" , "), None),
                (Some("N,o, ,T,a,g,s"), None),
                (Some(" N,o, ,T,a,g,s "), None),
                (None, None),
            ],
        );
    }

    #[test]
    fn equals_the_plain_definition_and_copies_nothing_that_is_clean() {
        let plain = |text: &str| {
            if text.trim() == NONE[0] {
                return None;
            }
            let tags: Vec<_> = text
                .split(',')
                .map(|tag| {
                    tag.trim()
                        .trim_start_matches(|c: char| c == '#' || c.is_whitespace())
                })
                .filter(|tag| !tag.is_empty())
                .collect();
            (!tags.is_empty()).then(|| tags.join(","))
        };
        shapes("clean_tags", &NONE, plain, false);
    }
}
