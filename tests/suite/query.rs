//! Random queries from a small grammar, and random tables for them.

use super::oracle::{Record, Value};
use super::tape::Tape;

/// The streams and tables of all random queries: `a`, `b` and `f` share a primary key, and so do `c` and `e`, theirs of two columns.
pub const TABLES: &str = "
CREATE EXTERNAL TABLE a_raw (k BIGINT, g TEXT, n BIGINT, d DOUBLE, b BOOLEAN, t TEXT) STORED AS JSON LOCATION 'a';
CREATE EXTERNAL TABLE b_raw (k BIGINT, g TEXT, m BIGINT, s TEXT) STORED AS JSON LOCATION 'b';
CREATE EXTERNAL TABLE c_raw (k BIGINT, l TEXT, n BIGINT, g TEXT) STORED AS JSON LOCATION 'c';
CREATE EXTERNAL TABLE e_raw (k BIGINT, l TEXT, d DOUBLE, g TEXT) STORED AS JSON LOCATION 'e';
CREATE EXTERNAL TABLE f_raw (k BIGINT, n BIGINT, g TEXT) STORED AS JSON LOCATION 'f';
CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, g, n, d, b, parse_timestamp(t) AS t FROM a_raw;
CREATE TABLE b (PRIMARY KEY (k)) AS SELECT k, g, m, s FROM b_raw;
CREATE TABLE c (PRIMARY KEY (k, l)) AS SELECT k, l, n, g FROM c_raw;
CREATE TABLE e (PRIMARY KEY (l, k)) AS SELECT g, l, d, k FROM e_raw;
CREATE TABLE f (PRIMARY KEY (k)) AS SELECT upper(g) AS g, k, n FROM f_raw;
";

/// A record of one of the tables.
pub fn record(tape: &mut Tape) -> Record {
    let key = |tape: &mut Tape| Value::Int(tape.below(6) as i64);
    let int = |tape: &mut Tape| {
        if tape.rarely(6) {
            Value::Null
        } else {
            Value::Int(tape.below(6) as i64 - 1)
        }
    };
    let text = |tape: &mut Tape| match tape.rarely(6) {
        true => Value::Null,
        false => Value::Text(
            (*tape.one(&["x", "y", "z", "ü", "", "a longer text than twelve"])).to_owned(),
        ),
    };
    // No -0.0: for `count(DISTINCT d)` DataFusion takes it for equal to 0.0, and the engine does not.
    let double = |tape: &mut Tape| match tape.rarely(6) {
        true => Value::Null,
        false => Value::Double(tape.below(64) as f64 / 4.0 - 3.0),
    };
    match tape.below(6) {
        0 => {
            let number = double(tape);
            let flag = if tape.rarely(6) {
                Value::Null
            } else {
                Value::Bool(tape.rarely(2))
            };
            let time = match tape.rarely(6) {
                true => Value::Null,
                false => Value::Text(format!(
                    "2020-01-0{} 0{}:00:00",
                    1 + tape.below(3),
                    tape.below(3)
                )),
            };
            Record {
                stream: "a",
                values: vec![key(tape), text(tape), int(tape), number, flag, time],
                broken: false,
                deleted: tape.rarely(9),
            }
        }
        1 => Record {
            stream: "b",
            values: vec![key(tape), text(tape), int(tape), text(tape)],
            broken: false,
            deleted: tape.rarely(9),
        },
        2 => Record {
            stream: "f",
            values: vec![key(tape), int(tape), text(tape)],
            broken: false,
            deleted: tape.rarely(9),
        },
        3 => {
            let part = Value::Text((*tape.one(&["p", "q"])).to_owned());
            Record {
                stream: "e",
                values: vec![key(tape), part, double(tape), text(tape)],
                broken: false,
                deleted: tape.rarely(9),
            }
        }
        _ => {
            let part = Value::Text((*tape.one(&["p", "q"])).to_owned());
            Record {
                stream: "c",
                values: vec![key(tape), part, int(tape), text(tape)],
                broken: false,
                deleted: tape.rarely(9),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Int,
    Text,
    Double,
    Bool,
    Time,
    /// A list: it can be returned, not compared.
    List,
}
use Type::{Bool, Double, Int, List, Text, Time};

/// Something to select from, and its columns.
#[derive(Clone, Debug)]
struct Relation {
    from: String,
    columns: Vec<(String, Type)>,
}

impl Relation {
    fn new(from: impl Into<String>, columns: &[(&str, Type)]) -> Self {
        Relation {
            from: from.into(),
            columns: columns
                .iter()
                .map(|(name, of)| ((*name).to_owned(), *of))
                .collect(),
        }
    }

    /// A column of one of `types`, if there is one.
    fn of(&self, tape: &mut Tape, types: &[Type]) -> Option<String> {
        let fit: Vec<&(String, Type)> = self
            .columns
            .iter()
            .filter(|column| types.contains(&column.1))
            .collect();
        (!fit.is_empty()).then(|| tape.one(&fit).0.clone())
    }

    fn any(&self, tape: &mut Tape) -> (String, Type) {
        let fit: Vec<&(String, Type)> = self
            .columns
            .iter()
            .filter(|column| column.1 != List)
            .collect();
        (*tape.one(&fit)).clone()
    }
}

/// A query and the types of its columns, which are called c0, c1, ..
struct Query {
    sql: String,
    types: Vec<Type>,
}

/// `count` materialised views, each of which may read the ones before.
pub fn views(tape: &mut Tape, count: usize) -> String {
    let mut text = String::new();
    let mut earlier: Vec<Relation> = Vec::new();
    for number in 0..count {
        let query = query(tape, &earlier);
        let kind = if tape.rarely(6) {
            "VIEW"
        } else {
            "MATERIALIZED VIEW"
        };
        text.push_str(&format!("CREATE {kind} v{number} AS {};\n", query.sql));
        let columns = query
            .types
            .iter()
            .enumerate()
            .map(|(i, of)| (format!("v{number}.c{i}"), *of))
            .collect();
        earlier.push(Relation {
            from: format!("v{number}"),
            columns,
        });
    }
    text
}

fn query(tape: &mut Tape, earlier: &[Relation]) -> Query {
    match tape.below(10) {
        0 => plain(tape, earlier, ""),
        1 => plain(tape, earlier, "DISTINCT "),
        2..=4 => grouped(tape, earlier),
        5 => ranked(tape, earlier),
        6 => limited(tape, earlier),
        7 => union(tape),
        8 => global(tape, earlier),
        _ => with(tape, earlier),
    }
}

fn plain(tape: &mut Tape, earlier: &[Relation], distinct: &str) -> Query {
    let relation = relation(tape, earlier);
    let mut items = Vec::new();
    let mut types = Vec::new();
    for _ in 0..1 + tape.below(4) {
        let (item, of) = if tape.rarely(6) {
            computed(tape, &relation)
        } else {
            relation.any(tape)
        };
        items.push(item);
        types.push(of);
    }
    let condition = condition(tape, &relation);
    Query {
        sql: format!(
            "SELECT {distinct}{} FROM {}{condition}",
            named(&items),
            relation.from
        ),
        types,
    }
}

/// An expression that is more than a column.
fn computed(tape: &mut Tape, relation: &Relation) -> (String, Type) {
    let int = relation.of(tape, &[Int]);
    let text = relation.of(tape, &[Text]);
    let time = relation.of(tape, &[Time]);
    match (tape.below(6), int, text, time) {
        (0, Some(int), ..) => (format!("{int} * 2 + 1"), Int),
        (1, Some(int), ..) => (
            format!("CASE WHEN {int} > 2 THEN 'many' WHEN {int} IS NULL THEN 'none' END"),
            Text,
        ),
        (2, _, Some(text), _) => (format!("upper({text})"), Text),
        (3, .., Some(time)) => (format!("CAST(date_part('day', {time}) AS BIGINT)"), Int),
        (4, ..) => ("(SELECT max(z.m) FROM b z)".to_owned(), Int),
        (5, Some(int), ..) => (format!("(SELECT count(*) FROM c z WHERE z.k = {int})"), Int),
        _ => ("7".to_owned(), Int),
    }
}

fn grouped(tape: &mut Tape, earlier: &[Relation]) -> Query {
    let relation = relation(tape, earlier);
    let mut items = Vec::new();
    let mut types = Vec::new();
    for _ in 0..1 + tape.below(2) {
        let (item, of) = relation.any(tape);
        if !items.contains(&item) {
            items.push(item);
            types.push(of);
        }
    }
    let group = items.join(", ");
    let count = 1 + tape.below(3);
    for (item, of) in aggregates(tape, &relation, count) {
        items.push(item);
        types.push(of);
    }
    let condition = condition(tape, &relation);
    let having = *tape.one(&["", "", "", " HAVING count(*) > 1", " HAVING count(*) < 3"]);
    Query {
        sql: format!(
            "SELECT {} FROM {}{condition} GROUP BY {group}{having}",
            named(&items),
            relation.from
        ),
        types,
    }
}

fn global(tape: &mut Tape, earlier: &[Relation]) -> Query {
    let relation = relation(tape, earlier);
    let below = tape.below(3);
    let (items, types): (Vec<String>, Vec<Type>) =
        aggregates(tape, &relation, 1 + below).into_iter().unzip();
    let condition = condition(tape, &relation);
    Query {
        sql: format!("SELECT {} FROM {}{condition}", named(&items), relation.from),
        types,
    }
}

/// `count` aggregates, of which at most one has an order of its own: the oracle cannot answer two.
fn aggregates(tape: &mut Tape, relation: &Relation, count: usize) -> Vec<(String, Type)> {
    let ordered = |call: &str| call.contains("array_agg") || call.contains("string_agg");
    let mut calls: Vec<(String, Type)> = Vec::new();
    for _ in 0..count {
        let call = aggregate(tape, relation);
        if !ordered(&call.0) || !calls.iter().any(|(other, _)| ordered(other)) {
            calls.push(call);
        }
    }
    calls
}

fn aggregate(tape: &mut Tape, relation: &Relation) -> (String, Type) {
    let number = relation.of(tape, &[Int, Double]);
    let double = relation.of(tape, &[Double]);
    let text = relation.of(tape, &[Text]);
    let flag = relation.of(tape, &[Bool]);
    let (any, of) = relation.any(tape);
    let kind = |column: &str| {
        relation
            .columns
            .iter()
            .find(|c| c.0 == column)
            .map_or(Int, |c| c.1)
    };
    let fraction = *tape.one(&["0.5", "0", "0.25", "0.9", "1"]);
    let order = *tape.one(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let distinct = if tape.rarely(4) { "DISTINCT " } else { "" };
    let (call, of) = match (tape.below(16), number, double, text, flag) {
        (1, ..) => (format!("count({any})"), Int),
        (2, ..) => (format!("count(DISTINCT {any})"), Int),
        (3 | 4, Some(number), ..) => (format!("sum({distinct}{number})"), kind(&number)),
        (5, Some(number), ..) => (format!("avg({number})"), Double),
        (6, ..) if of != Bool => (format!("min({any})"), of),
        (7, ..) if of != Bool => (format!("max({any})"), of),
        (8, Some(number), ..) => (format!("median({number})"), Double),
        (9 | 10, ..) if of != Bool => (
            format!("percentile_disc({fraction}) WITHIN GROUP (ORDER BY {any})"),
            of,
        ),
        (11, _, Some(double), ..) => (
            format!("percentile_cont({fraction}) WITHIN GROUP (ORDER BY {double})"),
            Double,
        ),
        (12, .., Some(flag)) => (format!("bool_and({flag})"), Bool),
        (13, .., Some(flag)) => (format!("bool_or({flag})"), Bool),
        (14, ..) => (
            format!("array_agg({distinct}{any} ORDER BY {any}{order})"),
            List,
        ),
        (15, _, _, Some(text), _) => (
            format!("string_agg({distinct}{text}, ', ' ORDER BY {text}{order})"),
            Text,
        ),
        _ => ("count(*)".to_owned(), Int),
    };
    match relation.of(tape, &[Int]) {
        Some(int) if tape.rarely(5) => (format!("{call} FILTER (WHERE {int} > 1)"), of),
        _ => (call, of),
    }
}

fn ranked(tape: &mut Tape, earlier: &[Relation]) -> Query {
    let relation = relation(tape, earlier);
    let columns: Vec<(String, Type)> = (0..2 + tape.below(2)).map(|_| relation.any(tape)).collect();
    let items: Vec<String> = columns.iter().map(|column| column.0.clone()).collect();
    let direction = *tape.one(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let function = *tape.one(&["rank", "dense_rank", "row_number"]);
    let order = match function {
        // Numbers of equals are an engine's own choice, so there must be none but equal rows.
        "row_number" => items
            .iter()
            .map(|item| format!("{item}{direction}"))
            .collect::<Vec<_>>()
            .join(", "),
        _ => format!("{}{direction}", items[1]),
    };
    let partition = if tape.rarely(4) {
        String::new()
    } else {
        format!("PARTITION BY {} ", items[0])
    };
    let condition = condition(tape, &relation);
    let bound = *tape.one(&["= 1", "<= 1", "<= 2", "< 4"]);
    let shown = (0..items.len())
        .map(|i| format!("c{i}"))
        .collect::<Vec<_>>()
        .join(", ");
    let (place, mut types) = (
        tape.rarely(2),
        columns.iter().map(|column| column.1).collect::<Vec<_>>(),
    );
    let shown = if place {
        format!("{shown}, CAST(place AS BIGINT) AS c{}", items.len())
    } else {
        shown
    };
    types.extend(place.then_some(Int));
    let sql = format!(
        "SELECT {shown} FROM (SELECT {}, {function}() OVER ({partition}ORDER BY {order}) AS place FROM {}{condition}) AS ranked WHERE place {bound}",
        named(&items),
        relation.from
    );
    Query { sql, types }
}

fn limited(tape: &mut Tape, earlier: &[Relation]) -> Query {
    let inner = if tape.rarely(2) {
        grouped(tape, earlier)
    } else {
        plain(tape, earlier, "")
    };
    if inner.types.contains(&List) {
        return inner;
    }
    let direction = *tape.one(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let columns: Vec<String> = (0..inner.types.len()).map(|i| format!("c{i}")).collect();
    let order = columns
        .iter()
        .map(|column| format!("{column}{direction}"))
        .collect::<Vec<_>>()
        .join(", ");
    let (limit, offset) = (
        1 + tape.below(4),
        *tape.one(&["", "", " OFFSET 1", " OFFSET 3"]),
    );
    Query {
        sql: format!(
            "SELECT {} FROM ({}) AS q ORDER BY {order} LIMIT {limit}{offset}",
            columns.join(", "),
            inner.sql
        ),
        types: inner.types,
    }
}

fn union(tape: &mut Tape) -> Query {
    let parts = [
        "SELECT k AS c0, g AS c1 FROM a",
        "SELECT k AS c0, s AS c1 FROM b",
        "SELECT n AS c0, l AS c1 FROM c",
        "SELECT n AS c0, g AS c1 FROM a WHERE n > 1",
    ];
    let all = *tape.one(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
    let sql = (0..2 + tape.below(2))
        .map(|_| *tape.one(&parts))
        .collect::<Vec<_>>()
        .join(&format!(" {all} "));
    Query {
        sql,
        types: vec![Int, Text],
    }
}

fn with(tape: &mut Tape, earlier: &[Relation]) -> Query {
    let inner = query_below(tape, earlier);
    let columns = inner
        .types
        .iter()
        .enumerate()
        .map(|(i, of)| (format!("q.c{i}"), *of))
        .collect();
    let relation = Relation {
        from: "q".to_owned(),
        columns,
    };
    if relation.columns.iter().all(|column| column.1 == List) {
        return inner;
    }
    let group = relation.any(tape);
    let (call, of) = aggregate(tape, &relation);
    Query {
        sql: format!(
            "WITH q AS ({}) SELECT {} FROM q GROUP BY {}",
            inner.sql,
            named(&[group.0.clone(), call]),
            group.0
        ),
        types: vec![group.1, of],
    }
}

fn query_below(tape: &mut Tape, earlier: &[Relation]) -> Query {
    match tape.below(3) {
        0 => plain(tape, earlier, ""),
        1 => grouped(tape, earlier),
        _ => union(tape),
    }
}

fn relation(tape: &mut Tape, earlier: &[Relation]) -> Relation {
    let a = [
        ("a.k", Int),
        ("a.g", Text),
        ("a.n", Int),
        ("a.d", Double),
        ("a.b", Bool),
        ("a.t", Time),
    ];
    let b = [("b.k", Int), ("b.g", Text), ("b.m", Int), ("b.s", Text)];
    let c = [("c.k", Int), ("c.l", Text), ("c.n", Int), ("c.g", Text)];
    let e = [("e.k", Int), ("e.l", Text), ("e.d", Double), ("e.g", Text)];
    let f = [("f.k", Int), ("f.n", Int), ("f.g", Text)];
    let kinds = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"];
    let second = *tape.one(&kinds);
    let kind = *tape.one(&kinds);
    let also = *tape.one(&[
        "",
        "",
        " AND a.n < b.m",
        " AND a.n IS DISTINCT FROM b.m",
        " AND b.m > 1",
        " AND a.b",
    ]);
    let readable: Vec<&Relation> = earlier
        .iter()
        .filter(|r| r.columns.iter().any(|column| column.1 != List))
        .collect();
    match tape.below(20) {
        0 => Relation::new("a", &a),
        1 => Relation::new("b", &b),
        2 => Relation::new("c", &c),
        3 | 4 => Relation::new(
            format!("a {kind} b ON a.k = b.k{also}"),
            &[&a[..], &b[..]].concat(),
        ),
        5 | 6 => Relation::new(
            format!("a {kind} b ON a.g = b.g{also}"),
            &[&a[..], &b[..]].concat(),
        ),
        7 => Relation::new(
            format!("b {kind} c ON b.k = c.k"),
            &[&b[..], &c[..]].concat(),
        ),
        8 => Relation::new(
            format!("a JOIN b ON a.k = b.k {kind} c ON a.n = c.n AND b.g = c.g"),
            &[&a[..], &b[..], &c[..]].concat(),
        ),
        9 => Relation::new(
            format!("a AS x {kind} a AS y ON x.n = y.k"),
            &[
                ("x.k", Int),
                ("x.g", Text),
                ("x.d", Double),
                ("y.k", Int),
                ("y.n", Int),
                ("y.t", Time),
            ],
        ),
        10 => Relation::new(
            format!(
                "(SELECT g, count(*) AS many, max(n) AS top FROM a GROUP BY g) AS sums {kind} b ON sums.g = b.g"
            ),
            &[
                ("sums.g", Text),
                ("sums.many", Int),
                ("sums.top", Int),
                ("b.k", Int),
                ("b.s", Text),
            ],
        ),
        12 | 13 => Relation::new(
            format!(
                "a {kind} b ON a.k = b.k {second} f ON {} = f.k{}",
                tape.one(&["a.k", "b.k", "b.m"]),
                tape.one(&["", "", " AND f.n < a.n"])
            ),
            &[&a[..], &b[..], &f[..]].concat(),
        ),
        14 => Relation::new(
            format!("c {kind} e ON c.k = e.k AND e.l = c.l"),
            &[&c[..], &e[..]].concat(),
        ),
        15 => Relation::new(
            format!("a AS x {kind} a AS y ON x.k = y.k {second} f ON y.k = f.k"),
            &[
                &[
                    ("x.k", Int),
                    ("x.g", Text),
                    ("y.k", Int),
                    ("y.d", Double),
                    ("y.t", Time),
                ],
                &f[..],
            ]
            .concat(),
        ),
        16 => Relation::new(
            format!(
                "a {kind} (SELECT k, max(n) AS n, count(*) AS many FROM c GROUP BY k) AS sums ON a.k = sums.k"
            ),
            &[
                &a[..],
                &[("sums.k", Int), ("sums.n", Int), ("sums.many", Int)],
            ]
            .concat(),
        ),
        11 => Relation::new("a JOIN b ON a.n < b.m", &[&a[..], &b[..]].concat()),
        _ if !readable.is_empty() => (*tape.one(&readable)).clone(),
        _ => Relation::new("a JOIN b USING (k)", &[&a[1..], &b[1..]].concat()),
    }
}

/// A WHERE, or nothing.
fn condition(tape: &mut Tape, relation: &Relation) -> String {
    if tape.below(2) == 0 {
        return String::new();
    }
    let first = simple(tape, relation);
    match tape.below(4) {
        2 => format!(" WHERE {first} AND {}", simple(tape, relation)),
        3 if !first.contains("SELECT") => {
            let second = simple(tape, relation);
            // A subquery as one side of OR is refused.
            if second.contains("SELECT") {
                format!(" WHERE {second}")
            } else {
                format!(" WHERE {first} OR {second}")
            }
        }
        _ => format!(" WHERE {first}"),
    }
}

fn simple(tape: &mut Tape, relation: &Relation) -> String {
    let (any, _) = relation.any(tape);
    let not = *tape.one(&["", "NOT "]);
    match (
        tape.below(10),
        relation.of(tape, &[Int]),
        relation.of(tape, &[Text]),
    ) {
        (1 | 2, Some(int), _) => format!(
            "{int} {} {}",
            tape.one(&["<", "=", ">=", "<>"]),
            tape.below(4)
        ),
        (3, _, Some(text)) => format!("{text} {not}IN ('x', 'y')"),
        (4, Some(int), _) => format!("{not}EXISTS (SELECT 1 FROM c z WHERE z.k = {int})"),
        (5, Some(int), _) => {
            format!("{not}EXISTS (SELECT 1 FROM c z WHERE z.k = {int} AND z.n > {int})")
        }
        (6, Some(int), _) => format!("{int} IN (SELECT z.{} FROM f z)", tape.one(&["k", "n"])),
        (7, Some(int), _) => format!("{int} >= (SELECT avg(z.m) FROM b z)"),
        (8, Some(int), Some(text)) => {
            format!("{int} > (SELECT min(z.m) FROM b z WHERE z.g = {text})")
        }
        (9, Some(int), _) => format!("{not}EXISTS (SELECT 1 FROM b z WHERE z.k = {int})"),
        _ => format!("{any} IS {not}NULL"),
    }
}

fn named(items: &[String]) -> String {
    items
        .iter()
        .enumerate()
        .map(|(i, item)| format!("{item} AS c{i}"))
        .collect::<Vec<_>>()
        .join(", ")
}
