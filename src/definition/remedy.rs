//! What to do about complaints of the parser and the planner that come without a remedy.

/// Types that a column can be cast to.
const TYPES: &str = "there are TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DECIMAL(p, s), BYTEA and arrays \
                     of them; read other types as TEXT";
const CASTS: &str =
    "cast in a subquery, under a name: SELECT .. FROM (SELECT CAST(x AS ..) AS y, .. FROM t) AS q";
const STREAM: &str = "write CREATE EXTERNAL TABLE name (..) STORED AS JSON LOCATION 'stream name'";

/// A complaint that is known by its beginning: what is wrong (as it was said, if this is empty),
/// and the remedy.
const KNOWN: [(&str, &str, &str); 13] = [
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
        "Schema contains duplicate unqualified field name",
        "two expressions here differ in a cast only, and the planner does not tell them apart",
        CASTS,
    ),
    (
        "Projections require unique expression names",
        "two expressions here differ in a cast only, and the planner does not tell them apart",
        CASTS,
    ),
    (
        "Parser error: Error parsing timestamp from",
        "",
        "write it whole: '2024-03-31', or '2024-03-31 10:00:00'",
    ),
    (
        "Parser error: Invalid input syntax for type interval",
        "",
        "write a number before each word: INTERVAL '1 day 2 hours 30 minutes'",
    ),
    (
        "Table Functions are not supported",
        "functions that return rows are not maintained",
        "write VALUES, or let the source send a record for each of them",
    ),
    (
        "UNION queries have different number of columns",
        "the queries of a UNION return different numbers of columns",
        "let all of them return the same columns, in the same order",
    ),
];

/// Functions of other systems, and what does the same here.
const ELSEWHERE: [(&[&str], &str); 17] = [
    (&["mod"], "write a % b"),
    (&["sign"], "write signum(..)"),
    (&["every"], "write bool_and(..)"),
    (&["any", "some"], "write bool_or(..)"),
    (
        &["age", "datediff", "date_diff", "timestampdiff"],
        "write t1 - t2, or extract(epoch FROM t1 - t2) / 86400 for days",
    ),
    (
        &[
            "year",
            "month",
            "day",
            "hour",
            "minute",
            "second",
            "quarter",
            "week",
            "dayofweek",
            "dayofyear",
        ],
        "write extract(year FROM t), and likewise for the others",
    ),
    (&["strftime"], "write to_char(t, '%Y-%m')"),
    (
        &["count_if", "countif", "sum_if"],
        "write count(*) FILTER (WHERE ..), or sum(..) FILTER (WHERE ..)",
    ),
    (
        &["group_concat", "listagg"],
        "write string_agg(text, ',' ORDER BY text)",
    ),
    (
        &["collect_list", "collect_set", "json_agg", "jsonb_agg"],
        "write array_agg(..)",
    ),
    (
        &["max_by", "min_by", "arg_max", "arg_min", "first", "last"],
        "number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1",
    ),
    (
        &["mode"],
        "count the values with GROUP BY, rank the counts, and keep rank 1",
    ),
    (
        &["variance", "var_samp", "stddev_samp"],
        "it is not maintained; keep sum(x), sum(x * x) and count(x)",
    ),
    (
        &["if", "iif", "decode"],
        "write CASE WHEN .. THEN .. ELSE .. END",
    ),
    (&["len"], "write length(..)"),
    (&["size"], "write array_length(..)"),
    (
        &["width_bucket"],
        "write CASE WHEN .. THEN .., or floor(x / width)",
    ),
];

/// What to write in the place of a function that is not there, if that is known.
pub(super) fn of_function(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let known = ELSEWHERE.iter().find(|(names, _)| names.contains(&&*name));
    known.map(|(_, help)| *help)
}

/// The complaint in words that say where to look, and what to do about it, if that is known.
pub(super) fn remedied(what: String) -> (String, Option<String>) {
    let known = KNOWN.iter().find(|(begin, _, _)| what.starts_with(begin));
    match known {
        Some((_, "", help)) => (what, Some((*help).to_owned())),
        Some((_, said, help)) => ((*said).to_owned(), Some((*help).to_owned())),
        None => (what, None),
    }
}
