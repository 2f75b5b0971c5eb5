//! What to do about complaints of the parser and the planner that come without a remedy.

/// Types that a column can be cast to.
const TYPES: &str = "there are TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DECIMAL(p, s), BYTEA and arrays \
                     of them; read other types as TEXT";
const STREAM: &str = "write CREATE EXTERNAL TABLE name (..) STORED AS JSON LOCATION 'stream name'";

/// A complaint that is known by its beginning: what is wrong (as it was said, if this is empty),
/// and the remedy.
const KNOWN: [(&str, &str, &str); 8] = [
    (
        "Missing LOCATION clause",
        "the stream has no LOCATION",
        STREAM,
    ),
    (
        "Missing STORED AS clause",
        "the stream has no format",
        STREAM,
    ),
    ("Unsupported SQL type", "", TYPES),
    (
        "HAVING clause references",
        "",
        "aggregate it, or put the condition into WHERE",
    ),
    (
        "Aggregate functions are not allowed in the WHERE clause",
        "WHERE is about single rows, and has no aggregates",
        "put the condition into HAVING",
    ),
    (
        "Aggregate function calls cannot be nested",
        "",
        "aggregate in a subquery first",
    ),
    (
        "Expected: an expression, found: “",
        "",
        "texts stand in straight quotes: 'text'",
    ),
    (
        "UNION queries have different number of columns",
        "the queries of a UNION return different numbers of columns",
        "let all of them return the same columns, in the same order",
    ),
];

/// The complaint in words that say where to look, and what to do about it, if that is known.
pub(super) fn remedied(what: String) -> (String, Option<String>) {
    let known = KNOWN.iter().find(|(begin, _, _)| what.starts_with(begin));
    match known {
        Some((_, "", help)) => (what, Some((*help).to_owned())),
        Some((_, said, help)) => ((*said).to_owned(), Some((*help).to_owned())),
        None => (what, None),
    }
}
