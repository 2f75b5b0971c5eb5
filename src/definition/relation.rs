//! Names of streams' relations, tables and views.
//!
//! One rule for all of them: a name is a folder of a lake on any disk and in any bucket, a path
//! over HTTP, and a word of SQL, so it has only what is plain in all of these.

use datafusion_sql::sqlparser::ast;

use super::columns::normal;
use super::error::DefinitionError;
use super::statement::StatementText;

/// The rule, as it is told.
const RULE: &str = "a name begins with a letter or a digit, goes on with letters (a to z), digits, `_`, `-` and `.`, \
                    and has at most 100 of them";

/// The longest name. With a prefix as long it still fits into a file name.
const LENGTH_MAX: usize = 100;

/// Names that mean something else.
const TAKEN: [&str; 1] = ["dead_letters"];

/// The name that a statement gives to what it declares, if a relation may be called so.
pub(super) fn declared(
    text: &StatementText,
    name: &ast::ObjectName,
) -> Result<String, DefinitionError> {
    let ident = match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    };
    let Some(ident) = ident else {
        let last = name.0.last().map(ToString::to_string).unwrap_or_default();
        return Err(text.error(
            &[last.trim_matches('"')],
            format!("`{name}`: names in a dataflow have no schema"),
            Some(&format!("write {last}")),
        ));
    };
    let name = normal(ident);
    let place = text.find(&ident.value).unwrap_or(text.place);
    if TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(text.error_at(
            place,
            format!("`{name}` is the view of records that could not become rows"),
            Some("choose another name"),
        ));
    }
    if !is_name(&name) {
        let what = format!("`{name}` cannot be a name: {RULE}");
        return Err(text.error_at(place, what, Some("choose another name")));
    }
    Ok(name)
}

/// The name by which sources are asked for a stream, if a topic and a folder may be called so.
pub(super) fn located(
    text: &StatementText,
    locations: &[String],
) -> Result<String, DefinitionError> {
    const HELP: &str = "write LOCATION 'stream name'; where it is read from is said by --source";
    let what = match locations {
        [name] if is_name(name) => return Ok(name.clone()),
        [] | [_, _, ..] => "a stream has one location".to_owned(),
        [name] if name.is_empty() => {
            "a stream has a name, by which sources are asked for it".to_owned()
        }
        [name] => format!("`{name}` cannot be the name of a stream: {RULE}"),
    };
    Err(text.error(&["LOCATION"], what, Some(HELP)))
}

/// What is wrong with `prefix`, which is put before the names of tables.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() || is_name(prefix) {
        return Ok(());
    }
    Err(format!("it is put before the names of tables, and {RULE}"))
}

fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.len() <= LENGTH_MAX
        && name.bytes().all(inside)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_everywhere() {
        let long = "n".repeat(LENGTH_MAX);
        for good in ["v", "Pin", "2024", "by_country", "a-b.c", "0a1.pin", &long] {
            assert!(is_name(good), "{good}");
        }
        let too_long = format!("{long}n");
        for bad in [
            "",
            "_v",
            ".",
            "..",
            "../../other",
            "x/y z",
            "-v",
            "ä",
            "50%",
            "q?x#y",
            "a b",
            "a\\b",
            "a\nb",
            "a\0",
            "\u{202e}v",
            &too_long,
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert_eq!(check_prefix(""), Ok(()));
        assert_eq!(check_prefix("0a1_"), Ok(()));
        assert!(check_prefix("../x").is_err_and(|why| why.contains("begins with a letter")));
    }
}
