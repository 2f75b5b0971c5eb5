//! What the parser and the planner complain about, as sentences with a place.
//!
//! DataFusion names Arrow's types and lists every signature of a function; users know SQL's types,
//! and need to see what to change.

use datafusion_common::DataFusionError;
use datafusion_expr::LogicalPlan;

use super::error::{DefinitionError, Place};
use super::remedy::{of_function, remedied};
use super::statement::StatementText;
use crate::nearest::nearest;

/// How many ways to call a function are shown.
const CALLS_SHOWN: usize = 4;

/// An error of the parser or the planner about `text`.
pub(super) fn sql_error(text: &StatementText, error: DataFusionError) -> DefinitionError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let root = error.find_root().to_string();
    let place = span.map(|span| text.place_in_file(span.start.line, span.start.column));
    if let Some((name, what, help)) = wrong_call(&root) {
        return DefinitionError {
            file: text.file.clone(),
            place: text.find(&name).or(place).or(Some(text.place)),
            what,
            help,
        };
    }
    let (what, stated) = said(text, &root);
    if let Some(unknown) = Unknown::read(&what) {
        let found = || text.find(unknown.name.rsplit('.').next()?.trim_matches('"'));
        return DefinitionError {
            file: text.file.clone(),
            place: place.or_else(found).or(Some(text.place)),
            what: unknown.what(),
            help: unknown.help(),
        };
    }
    if let Some((name, what, help)) = explained(&what) {
        return DefinitionError {
            file: text.file.clone(),
            place: place
                .or_else(|| text.find(name.rsplit('.').next()?))
                .or(Some(text.place)),
            what,
            help: Some(help),
        };
    }
    let help = stated.and_then(|place| keyword_before(text, place));
    let place = stated.or(place).or_else(|| {
        // A planner names the culprit in quotes; where it stands in the statement is the place.
        what.split(['\'', '`', '"', ' ', '.', '('])
            .filter(|word| word.len() > 1)
            .find_map(|word| text.find(word))
    });
    let what = what
        .trim_end_matches(['.', '\n'])
        .replace("datafusion.public.", "");
    let (what, remedy) = remedied(sql_types(what));
    DefinitionError {
        file: text.file.clone(),
        place: place.or(Some(text.place)),
        what,
        help: help.or(remedy),
    }
}

/// Complaints that say what is wrong but not what to do: the name they are about, what is wrong,
/// and the remedy.
fn explained(what: &str) -> Option<(String, String, String)> {
    if let Some(name) = what.strip_prefix("Ambiguous reference to unqualified field ") {
        return Some((
            name.to_owned(),
            format!("several relations here have a column `{name}`"),
            format!("say which one is meant: relation.{name}"),
        ));
    }
    if let Some(rest) = what.strip_prefix("For SELECT DISTINCT, ORDER BY expressions ") {
        let name = rest.strip_suffix(" must appear in select list")?;
        return Some((
            name.to_owned(),
            format!(
                "the rows of SELECT DISTINCT cannot be ordered by `{name}`, which is not in them"
            ),
            format!("select it too, or GROUP BY the columns and order by max({name})"),
        ));
    }
    if what.starts_with("Too many columns! The subquery should only return one column") {
        return Some((
            "IN".to_owned(),
            "a subquery that is compared with returns one column".to_owned(),
            "write EXISTS (SELECT .. WHERE x = a AND y = b) for several".to_owned(),
        ));
    }
    if what.contains("must be in GROUP BY or an aggregate function") {
        let (_, rest) = what.split_once("column \"")?;
        let (name, _) = rest.split_once("\" must appear")?;
        return Some((
            name.to_owned(),
            format!(
                "`{name}` is neither grouped by nor aggregated, so a group has many values of it"
            ),
            format!("add it to GROUP BY, or take one value of each group: max({name})"),
        ));
    }
    None
}

/// What to do if the parser gave up behind a name that it took for a word of SQL.
fn keyword_before(text: &StatementText, place: Place) -> Option<String> {
    const KEYWORDS: [&str; 6] = ["key", "index", "primary", "unique", "foreign", "check"];
    let words = text.words_before(place, 2);
    let word = words
        .into_iter()
        .find(|word| KEYWORDS.contains(&word.as_str()))?;
    Some(format!(
        "`{word}` is a word of SQL: a column of that name is written \"{word}\", in double quotes"
    ))
}

/// The name of a plan node as users know it.
pub fn node_name(plan: &LogicalPlan) -> String {
    if matches!(plan, LogicalPlan::Join(_)) {
        // It displays as its kind.
        return "join".to_owned();
    }
    plan.display()
        .to_string()
        .split([':', ' '])
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

/// DataFusion's names for kinds of errors, of which one or several stand before what was wrong.
const KINDS: [&str; 9] = [
    "SQL error: ",
    "Error during planning: ",
    "Schema error: ",
    "Arrow error: ",
    "Execution error: ",
    "External error: ",
    "This feature is not implemented: ",
    "Internal error: ",
    "ParserError(\"",
];

/// A complaint about an expression, as a sentence: for those who have no file to point into.
pub fn in_words(error: &DataFusionError) -> String {
    let root = error.find_root().to_string();
    if let Some((_, what, help)) = wrong_call(&root) {
        return help.map_or_else(|| what.clone(), |help| format!("{what}: {help}"));
    }
    let what = kindless(&root);
    let what = KINDS.iter().fold(what, |what, kind| what.replace(kind, ""));
    let what = what.strip_suffix("\")").unwrap_or(&what);
    if what == "RecursionLimitExceeded" {
        return "it is nested too deeply".to_owned();
    }
    what.replace('\n', " ").trim_end_matches('.').to_owned()
}

/// The message without kinds of errors, and without the address for complaints about DataFusion.
fn kindless(root: &str) -> String {
    let mut what = root;
    while let Some(rest) = KINDS.iter().find_map(|kind| what.strip_prefix(kind)) {
        what = rest;
    }
    let address = what.find("This issue was likely caused by a bug");
    what[..address.unwrap_or(what.len())].trim_end().to_owned()
}

/// The message without its names for kinds of errors, and the place it states.
fn said(text: &StatementText, root: &str) -> (String, Option<Place>) {
    let mut what = kindless(root);
    // What stands behind the name of the construct is the parser's tree of it.
    if let Some(tree) = what.strip_prefix("Unsupported ast node in sqltorel: ") {
        let end = tree.find([' ', '{', '(']).unwrap_or(tree.len());
        what = format!(
            "an expression of the kind {} is not supported",
            &tree[..end]
        );
    }
    let mut place = None;
    if let Some(at) = what.find(" at Line: ") {
        let mut numbers = what[at..]
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse::<u64>().ok());
        if let (Some(line), Some(column)) = (numbers.next(), numbers.next()) {
            place = Some(text.place_in_file(line, column));
        }
        what.truncate(at);
    }
    if what.ends_with("\")") {
        what.truncate(what.len() - 2);
    }
    if what.ends_with("found: EOF") {
        place = Some(text.end());
    }
    (what, place)
}

/// What can be called.
const FUNCTION: &str = "function";

/// What can be read from.
const RELATION: &str = "stream, table or view";

/// A name that nothing has.
struct Unknown<'a> {
    kind: &'static str,
    name: &'a str,
    /// What was probably meant.
    near: Option<&'a str>,
    /// All that could have been meant.
    all: Option<&'a str>,
}

impl<'a> Unknown<'a> {
    /// Kinds of names, as complaints begin: the planner's own, and the session's in the same form.
    const KINDS: [(&'static str, &'static str); 3] = [
        ("No field named ", "column"),
        ("No relation named ", RELATION),
        ("Invalid function '", FUNCTION),
    ];

    /// Reads `No field named x. Did you mean 'y'?\nValid fields are y, z.`; what comes behind the
    /// name may be missing.
    fn read(what: &'a str) -> Option<Self> {
        let (begin, kind) = Self::KINDS
            .into_iter()
            .find(|(begin, _)| what.starts_with(begin))?;
        let rest = &what[begin.len()..];
        let end = [". ", ".\n", "'.", "'\n"]
            .into_iter()
            .filter_map(|end| rest.find(end));
        let end = end
            .min()
            .unwrap_or(rest.trim_end_matches(['.', '\'']).len());
        let between = |start: &str, end: &str| {
            let (_, found) = rest.split_once(start)?;
            Some(
                found
                    .split_once(end)
                    .map_or(found, |(found, _)| found)
                    .trim_end_matches('.'),
            )
        };
        // The names of columns are case-sensitive only in quotes: the one that was meant has
        // capitals.
        let in_quotes = between("refer to the ", " column");
        let name = &rest[..end];
        let near = in_quotes.or_else(|| between("Did you mean '", "'?"));
        Some(Unknown {
            kind,
            name,
            // DataFusion names the nearest function of all, however far it is.
            near: near
                .filter(|near| kind != FUNCTION || nearest(name, [*near].into_iter()).is_some()),
            all: between("Valid fields are ", "\n")
                .or_else(|| between("Valid relations are ", "\n")),
        })
    }

    fn what(&self) -> String {
        format!("there is no {} `{}` here", self.kind, self.name)
    }

    fn help(&self) -> Option<String> {
        if self.kind == FUNCTION
            && let Some(help) = of_function(self.name)
        {
            return Some(help.to_owned());
        }
        match (self.near, self.all) {
            (Some(near), Some(all)) => Some(format!("did you mean `{near}`? There are {all}")),
            (Some(near), None) => Some(format!("did you mean `{near}`?")),
            (None, Some(all)) if self.kind == RELATION => Some(format!("above it there are {all}")),
            (None, Some(all)) => Some(format!("there are {all}")),
            (None, None) if self.kind == FUNCTION => Some(
                "there are DataFusion's scalar functions, and pinflow's own such as parse_count; \
                 docs/sql.md has the aggregates and what is missing"
                    .to_owned(),
            ),
            (None, None) => None,
        }
    }
}

/// If the complaint is about the arguments of a function: its name, what is wrong, and how it can
/// be called.
fn wrong_call(root: &str) -> Option<(String, String, Option<String>)> {
    const MATCHES: &str = "No function matches the given name and argument types '";
    let call = root.split_once(MATCHES)?.1;
    let (call, rest) = call.split_once('\'')?;
    let (name, arguments) = call.strip_suffix(')').unwrap_or(call).split_once('(')?;
    // pinflow's own functions say themselves what they take.
    let arity = format!("`{name}` takes ");
    if let Some(at) = root.find(&arity).or_else(|| root.find("argument "))
        && let Some((own, _)) = root[at..].split_once(". No function")
    {
        let (what, help) = own.split_once(": ").unwrap_or((own, ""));
        let help = (!help.is_empty()).then(|| help.to_owned());
        return Some((name.to_owned(), sql_types(what.to_owned()), help));
    }
    let arguments = sql_types(arguments.to_owned());
    let mut calls: Vec<String> = Vec::new();
    for candidate in rest
        .lines()
        .filter(|line| line.starts_with('\t') && !line.ends_with(':'))
    {
        let call = sql_types(candidate.trim().to_owned());
        if !calls.contains(&call) && !call.contains("Time64") && !call.contains("+TZ") {
            calls.push(call);
        }
    }
    let more = if calls.len() > CALLS_SHOWN {
        ", .."
    } else {
        ""
    };
    calls.truncate(CALLS_SHOWN);
    let help = (!calls.is_empty()).then(|| {
        let calls = calls.join(", ");
        format!("it is called as {calls}{more}; cast the arguments if need be")
    });
    let what = match arguments.as_str() {
        "" => format!("`{name}` cannot be called without arguments"),
        _ => format!("`{name}` cannot be called with ({arguments})"),
    };
    Some((name.to_owned(), what, help))
}

/// Arrow's types under their SQL names.
pub(super) fn sql_types(text: String) -> String {
    const NAMES: [(&str, &str); 19] = [
        ("Utf8View", "TEXT"),
        ("LargeUtf8", "TEXT"),
        ("Utf8", "TEXT"),
        ("String", "TEXT"),
        ("UInt64", "BIGINT"),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Float64", "DOUBLE"),
        ("Decimal128", "DECIMAL"),
        ("Boolean", "BOOLEAN"),
        ("Timestamp(ns)", "TIMESTAMP"),
        ("Timestamp(µs)", "TIMESTAMP"),
        ("Timestamp(ms)", "TIMESTAMP"),
        ("Timestamp(s)", "TIMESTAMP"),
        ("Date32", "DATE"),
        ("Interval(MonthDayNano)", "INTERVAL"),
        ("Interval(DayTime)", "INTERVAL"),
        ("Time32(ms)", "Time64"),
        ("Time32(s)", "Time64"),
    ];
    NAMES
        .iter()
        .fold(text, |text, (arrow, sql)| text.replace(arrow, sql))
}
