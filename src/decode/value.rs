//! JSON values of any kind: where they end and what kind they are. For what speculation and the
//! fast paths leave over.

use super::fault::{Fault, Why};
use super::number;
use super::scan::{Baseline, Scan, plain_end};
use super::strings::hex;

/// A value found in the text; its bytes are `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean(bool),
    Number,
    /// With or without escapes.
    Text {
        escaped: bool,
    },
    /// An object or an array.
    Nested,
}

/// The first byte of `text` at or after `at` that is no blank. A newline is none: it ends the
/// record.
#[inline(always)]
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The value that begins at or after `at`.
#[inline(never)]
pub(super) fn read(text: &[u8], at: usize) -> Result<Value, Box<Fault>> {
    let start = skip_blanks(text, at);
    let (kind, end) = match text.get(start) {
        Some(b'"') => {
            let (end, escaped) = string_end::<Baseline>(text, start)?;
            (Kind::Text { escaped }, end)
        }
        Some(b'{' | b'[') => (Kind::Nested, nested_end::<Baseline>(text, start)?),
        Some(b'-' | b'0'..=b'9') => (Kind::Number, number::end(text, start)?),
        _ => {
            let rest = text.get(start..).unwrap_or_default();
            if rest.starts_with(b"null") {
                (Kind::Null, start + 4)
            } else if rest.starts_with(b"true") {
                (Kind::Boolean(true), start + 4)
            } else if rest.starts_with(b"false") {
                (Kind::Boolean(false), start + 5)
            } else {
                return Fault::err(start, Why::Expected("a value"));
            }
        }
    };
    Ok(Value { kind, start, end })
}

/// Where the value that begins at or after `at` ends.
#[inline(always)]
pub(super) fn skip<S: Scan>(text: &[u8], at: usize) -> Result<usize, Box<Fault>> {
    // Long text that no column wants is the one case worth being quick about.
    if text.get(at) == Some(&b'"') {
        let end = plain_end::<S>(text, at + 1);
        if text.get(end) == Some(&b'"') {
            return Ok(end + 1);
        }
    }
    read(text, at).map(|value| value.end)
}

/// The byte after the string that begins at `start`, and whether it has escapes. Surrogates are not
/// paired here: that is for whoever uses the text.
#[inline(always)]
fn string_end<S: Scan>(text: &[u8], start: usize) -> Result<(usize, bool), Box<Fault>> {
    let mut escaped = false;
    let mut at = start + 1;
    loop {
        at = plain_end::<S>(text, at);
        match text.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => escaped = true,
            Some(_) => return Fault::err(at, Why::ControlByte),
            None => return Fault::err(start, Why::UnclosedString),
        }
        at = match text.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at + 2,
            Some(b'u') => {
                hex(text, at)?;
                at + 6
            }
            Some(_) => return Fault::err(at, Why::Escape),
            None => return Fault::err(start, Why::UnclosedString),
        };
    }
}

/// The byte after the object or array that begins at `start`. Depth costs a byte of memory a level,
/// not stack.
fn nested_end<S: Scan>(text: &[u8], start: usize) -> Result<usize, Box<Fault>> {
    // The closing brackets that are due, innermost last.
    let mut due = Vec::new();
    let mut at = start;
    loop {
        at = skip_blanks(text, at);
        at = match text.get(at) {
            Some(b'{') => {
                due.push(b'}');
                let inside = skip_blanks(text, at + 1);
                if text.get(inside) != Some(&b'}') {
                    at = key_end::<S>(text, inside)?;
                    continue;
                }
                inside
            }
            Some(b'[') => {
                due.push(b']');
                let inside = skip_blanks(text, at + 1);
                if text.get(inside) != Some(&b']') {
                    at = inside;
                    continue;
                }
                inside
            }
            Some(b'"') => string_end::<S>(text, at)?.0,
            // Neither a bracket nor a string, so this does not come back here.
            _ => read(text, at)?.end,
        };
        // A value is complete: close what ends with it, up to the next value.
        loop {
            let Some(&bracket) = due.last() else {
                return Ok(at);
            };
            at = skip_blanks(text, at);
            match text.get(at) {
                Some(&byte) if byte == bracket => {
                    due.pop();
                    at += 1;
                }
                Some(b',') if bracket == b'}' => {
                    at = key_end::<S>(text, skip_blanks(text, at + 1))?;
                    break;
                }
                Some(b',') => {
                    at += 1;
                    break;
                }
                _ if bracket == b'}' => {
                    return Fault::err(at, Why::Expected("`,` or `}` after a value"));
                }
                _ => return Fault::err(at, Why::Expected("`,` or `]` after a value")),
            }
        }
    }
}

/// The byte after the colon of the key that begins at `start`.
fn key_end<S: Scan>(text: &[u8], start: usize) -> Result<usize, Box<Fault>> {
    if text.get(start) != Some(&b'"') {
        return Fault::err(start, Why::Expected("a key in double quotes"));
    }
    let colon = skip_blanks(text, string_end::<S>(text, start)?.0);
    if text.get(colon) != Some(&b':') {
        return Fault::err(colon, Why::Expected("`:` after a key"));
    }
    Ok(colon + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_last_byte_is() {
        for value in [
            "null",
            "true",
            "false",
            "0",
            "-1.5e+3",
            "\"\"",
            r#""a\"\u00e9b""#,
            "{}",
            "[]",
            "[[],{}]",
        ] {
            let text = format!("  {value} ,");
            let found = read(text.as_bytes(), 0).unwrap();
            assert_eq!((found.start, found.end), (2, 2 + value.len()), "{value}");
            assert_eq!(
                skip::<Baseline>(value.as_bytes(), 0),
                Ok(value.len()),
                "{value}"
            );
        }
        let nested = r#"{"a" : [1, {"b":"]}" , "c":[ ]}, "\\"] , "d":{"e":null}}"#;
        assert_eq!(skip::<Baseline>(nested.as_bytes(), 0), Ok(nested.len()));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(skip::<Baseline>(deep.as_bytes(), 0), Ok(deep.len()));
        assert!(skip::<Baseline>(&deep.as_bytes()[..1_500_000], 0).is_err());
    }

    #[test]
    fn what_is_not_json_is_a_fault_where_it_stands() {
        for (text, at) in [
            ("", 0),
            ("nul", 0),
            ("NaN", 0),
            ("+1", 0),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{a:1}", 1),
            (r#"{"a":1,}"#, 7),
            (r#"{"a" 1}"#, 5),
            (r#"{"a":}"#, 5),
            ("[1}", 2),
            (r#"{"a":1]"#, 6),
            ("[", 1),
            (r#"["a"#, 1),
            ("[\"a\tb\"]", 3),
            (r#"["\q"]"#, 2),
            ("'a'", 0),
        ] {
            assert_eq!(
                skip::<Baseline>(text.as_bytes(), 0).map_err(|fault| fault.at),
                Err(at),
                "{text}"
            );
        }
    }
}
