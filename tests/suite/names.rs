//! What columns are called, and what a relation may be called.

use std::fmt::Write;

use expect_test::{Expect, expect};
use pinflow::definition::Definition;
use pinflow::runtime::planned;
use pinflow::runtime::replay::{Input, Options, replay};

use super::refused::whole;

/// Two tables whose columns are easily taken for each other.
const TABLES: &str =
    "CREATE EXTERNAL TABLE t_raw (k BIGINT, v BIGINT, g TEXT) STORED AS JSON LOCATION 't';
CREATE EXTERNAL TABLE u_raw (k BIGINT, w BIGINT) STORED AS JSON LOCATION 'u';
CREATE TABLE t (PRIMARY KEY (k)) AS SELECT k, v, g FROM t_raw;
CREATE TABLE u (PRIMARY KEY (k)) AS SELECT k, w FROM u_raw;
";

/// The error for a file that goes on with `statement` in line 5.
fn refused(statement: &str, expected: Expect) {
    whole(&format!("{TABLES}{statement}"), expected);
}

/// Each query as a view over [`TABLES`]: its columns, and its rows over a few records.
fn columns(queries: &str, expected: Expect) {
    let mut text = String::new();
    for query in queries.lines().map(str::trim).filter(|l| !l.is_empty()) {
        // What stands before the last `;` are views that the query reads.
        let (above, query) = query.rsplit_once("; ").unwrap_or(("", query));
        let (list, query) = match query.strip_prefix('(') {
            Some(rest) => rest.split_once(") ").expect("a list of columns is closed"),
            None => ("", query),
        };
        let list = match list {
            "" => String::new(),
            list => format!("({list})"),
        };
        let file = format!("{TABLES}{above};\nCREATE MATERIALIZED VIEW v {list} AS {query};");
        let file = file.replace("\n;", "");
        let definition = Definition::parse("test.sql", &file).unwrap_or_else(|e| panic!("{e}"));
        let plan = planned(&definition).unwrap_or_else(|error| panic!("{error}"));
        let view = plan.views.iter().find(|view| view.name == "v").unwrap();
        let names: Vec<_> = view
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        let mut input = Input::default();
        for (stream, record) in [
            ("t", r#"{"k":1,"v":10,"g":"a"}"#),
            ("t", r#"{"k":2,"v":20,"g":"b"}"#),
            ("u", r#"{"k":1,"w":20}"#),
        ] {
            input.add(1, stream, record);
        }
        let options = Options {
            workers: 1,
            batch: 10,
        };
        let rows = replay(&definition, input, &options)
            .unwrap()
            .rows("v", 1)
            .unwrap();
        writeln!(
            text,
            "{query}\n    {} <- {}",
            names.join(" | "),
            rows.join("; ")
        )
        .unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn a_view_that_only_renames_has_the_new_names() {
    columns(
        r#"
        SELECT k AS a, v AS b, g AS c FROM t
        SELECT k, g AS v, v AS g FROM t
        SELECT v AS a, k AS b FROM t
        SELECT t.k AS k1, u.k AS k2 FROM t JOIN u ON t.k = u.k
        SELECT t.v AS tv, u.w AS uw FROM t JOIN u ON t.k = u.k
        SELECT t.k AS k1, u.k AS k2 FROM t JOIN u ON t.v = u.w
        SELECT t.k AS k1, t.v AS v1, u.k AS k2, u.w AS w2 FROM t LEFT JOIN u ON t.k = u.k
        SELECT a.v AS v1, b.v AS v2 FROM t a JOIN t b ON a.k = b.k
        SELECT a.v AS v1, b.v AS v2, 1 AS one FROM t a JOIN t b ON a.k = b.k
        SELECT t.k AS id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k)
        SELECT t.k AS id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)
        SELECT k AS key_of_t FROM t ORDER BY k LIMIT 1
        SELECT a.k, b.k AS k2 FROM t a FULL OUTER JOIN t b ON a.k = b.k
        SELECT a.k, b.k AS k2 FROM t a LEFT JOIN t b ON a.k = b.k
        SELECT g AS h, count(*) AS n FROM t GROUP BY g
        SELECT DISTINCT g AS h, k AS i FROM t
        SELECT k AS a, v AS b FROM t UNION ALL SELECT w, k FROM u
        SELECT h AS i, place FROM (SELECT g AS h, rank() OVER (ORDER BY v) AS place FROM t) q WHERE place <= 1
        SELECT * FROM t a JOIN u b USING (k)
        "#,
        expect![[r#"
            SELECT k AS a, v AS b, g AS c FROM t
                a | b | c <- 1 | 10 | a; 2 | 20 | b
            SELECT k, g AS v, v AS g FROM t
                k | v | g <- 1 | a | 10; 2 | b | 20
            SELECT v AS a, k AS b FROM t
                a | b <- 10 | 1; 20 | 2
            SELECT t.k AS k1, u.k AS k2 FROM t JOIN u ON t.k = u.k
                k1 | k2 <- 1 | 1
            SELECT t.v AS tv, u.w AS uw FROM t JOIN u ON t.k = u.k
                tv | uw <- 10 | 20
            SELECT t.k AS k1, u.k AS k2 FROM t JOIN u ON t.v = u.w
                k1 | k2 <- 2 | 1
            SELECT t.k AS k1, t.v AS v1, u.k AS k2, u.w AS w2 FROM t LEFT JOIN u ON t.k = u.k
                k1 | v1 | k2 | w2 <- 1 | 10 | 1 | 20; 2 | 20 | NULL | NULL
            SELECT a.v AS v1, b.v AS v2 FROM t a JOIN t b ON a.k = b.k
                v1 | v2 <- 10 | 10; 20 | 20
            SELECT a.v AS v1, b.v AS v2, 1 AS one FROM t a JOIN t b ON a.k = b.k
                v1 | v2 | one <- 10 | 10 | 1; 20 | 20 | 1
            SELECT t.k AS id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k)
                id <- 1
            SELECT t.k AS id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)
                id <- 2
            SELECT k AS key_of_t FROM t ORDER BY k LIMIT 1
                key_of_t <- 1
            SELECT a.k, b.k AS k2 FROM t a FULL OUTER JOIN t b ON a.k = b.k
                k | k2 <- 1 | 1; 2 | 2
            SELECT a.k, b.k AS k2 FROM t a LEFT JOIN t b ON a.k = b.k
                k | k2 <- 1 | 1; 2 | 2
            SELECT g AS h, count(*) AS n FROM t GROUP BY g
                h | n <- a | 1; b | 1
            SELECT DISTINCT g AS h, k AS i FROM t
                h | i <- a | 1; b | 2
            SELECT k AS a, v AS b FROM t UNION ALL SELECT w, k FROM u
                a | b <- 1 | 10; 2 | 20; 20 | 1
            SELECT h AS i, place FROM (SELECT g AS h, rank() OVER (ORDER BY v) AS place FROM t) q WHERE place <= 1
                i | place <- a | 1
            SELECT * FROM t a JOIN u b USING (k)
                k | v | g | w <- 1 | 10 | a | 20
        "#]],
    );
}

#[test]
fn a_view_over_a_renamed_view_reads_the_right_columns() {
    columns(
        r#"
        CREATE MATERIALIZED VIEW s AS SELECT v AS k, k AS v FROM t; SELECT sum(k) AS of_v, sum(v) AS of_k FROM s
        CREATE MATERIALIZED VIEW s AS SELECT k, k AS v, v AS w FROM t; SELECT k AS w, w AS k FROM s
        CREATE VIEW s AS SELECT k AS a, v AS b FROM t; SELECT b AS a, a AS b FROM s
        CREATE MATERIALIZED VIEW s (a, b) AS SELECT g, count(*) FROM t GROUP BY g; SELECT b, a FROM s
        CREATE VIEW s (a, b) AS SELECT g, count(*) FROM t GROUP BY g; SELECT b, a FROM s
        "#,
        expect![[r#"
            SELECT sum(k) AS of_v, sum(v) AS of_k FROM s
                of_v | of_k <- 30 | 3
            SELECT k AS w, w AS k FROM s
                w | k <- 1 | 10; 2 | 20
            SELECT b AS a, a AS b FROM s
                a | b <- 10 | 1; 20 | 2
            SELECT b, a FROM s
                b | a <- 1 | a; 1 | b
            SELECT b, a FROM s
                b | a <- 1 | a; 1 | b
        "#]],
    );
}

#[test]
fn a_list_names_the_columns_of_a_view() {
    columns(
        r#"
        (x, y) SELECT k, v FROM t
        (x, "Y") SELECT g, count(*) FROM t GROUP BY g
        (a, b) SELECT t.k, u.k FROM t JOIN u ON t.k = u.k
        (n) SELECT v + 1 FROM t
        (x, y) SELECT k, v FROM t ORDER BY v DESC LIMIT 1
        (x, y, z) SELECT * FROM t
        "#,
        expect![[r#"
            SELECT k, v FROM t
                x | y <- 1 | 10; 2 | 20
            SELECT g, count(*) FROM t GROUP BY g
                x | Y <- a | 1; b | 1
            SELECT t.k, u.k FROM t JOIN u ON t.k = u.k
                a | b <- 1 | 1
            SELECT v + 1 FROM t
                n <- 11; 21
            SELECT k, v FROM t ORDER BY v DESC LIMIT 1
                x | y <- 2 | 20
            SELECT * FROM t
                x | y | z <- 1 | 10 | a; 2 | 20 | b
        "#]],
    );
}

#[test]
fn columns_without_as_are_called_as_in_postgresql() {
    columns(
        r#"
        SELECT count(*), sum(t.v), g FROM t GROUP BY g
        SELECT CASE WHEN v > 10 THEN 'x' ELSE 'y' END FROM t
        SELECT CASE WHEN v > 10 THEN 'x' ELSE g END FROM t
        SELECT v::TEXT, CAST(k + 1 AS TEXT) FROM t
        SELECT COALESCE(v, 0), upper(g) FROM t
        SELECT (SELECT max(w) FROM u), k FROM t
        SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) FROM t
        SELECT count(DISTINCT v) FILTER (WHERE k > 1) FROM t
        SELECT DISTINCT upper(g) FROM t ORDER BY upper(g)
        SELECT g, count(*) FROM t GROUP BY g ORDER BY count(*) DESC, g LIMIT 1
        SELECT count + 1 AS n FROM (SELECT count(*) FROM t) q
        WITH q AS (SELECT count(*) FROM t) SELECT * FROM q
        SELECT g, max(v) FROM t GROUP BY g HAVING max(v) > 10
        SELECT upper(g) FROM t UNION SELECT g FROM t
        SELECT q.* FROM (SELECT g, max(v), max(k) FROM t GROUP BY g) q (a, b, c)
        "#,
        expect![[r#"
            SELECT count(*), sum(t.v), g FROM t GROUP BY g
                count | sum | g <- 1 | 10 | a; 1 | 20 | b
            SELECT CASE WHEN v > 10 THEN 'x' ELSE 'y' END FROM t
                case <- x; y
            SELECT CASE WHEN v > 10 THEN 'x' ELSE g END FROM t
                g <- a; x
            SELECT v::TEXT, CAST(k + 1 AS TEXT) FROM t
                v | text <- 10 | 2; 20 | 3
            SELECT COALESCE(v, 0), upper(g) FROM t
                coalesce | upper <- 10 | A; 20 | B
            SELECT (SELECT max(w) FROM u), k FROM t
                max | k <- 20 | 1; 20 | 2
            SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) FROM t
                percentile_disc <- 10
            SELECT count(DISTINCT v) FILTER (WHERE k > 1) FROM t
                count <- 1
            SELECT DISTINCT upper(g) FROM t ORDER BY upper(g)
                upper <- A; B
            SELECT g, count(*) FROM t GROUP BY g ORDER BY count(*) DESC, g LIMIT 1
                g | count <- a | 1
            SELECT count + 1 AS n FROM (SELECT count(*) FROM t) q
                n <- 3
            WITH q AS (SELECT count(*) FROM t) SELECT * FROM q
                count <- 2
            SELECT g, max(v) FROM t GROUP BY g HAVING max(v) > 10
                g | max <- b | 20
            SELECT upper(g) FROM t UNION SELECT g FROM t
                upper <- A; B; a; b
            SELECT q.* FROM (SELECT g, max(v), max(k) FROM t GROUP BY g) q (a, b, c)
                a | b | c <- a | 10 | 1; b | 20 | 2
        "#]],
    );
}

#[test]
fn a_column_that_has_no_name() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT k, v + 1 FROM t;",
        expect![[r#"
            the column `v + 1` has no name
               at: x.sql, line 5, column 41
             help: name it: v + 1 AS name"#]],
    );
}

#[test]
fn a_column_that_has_no_name_behind_a_star() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM (SELECT k, v + 1 FROM t) q;",
        expect![[r#"
            a column is called `t.v + Int64(1)`, and readers of Delta tables refuse names with a blank in them
               at: x.sql, line 5, column 1
             help: give it another name with AS"#]],
    );
}

#[test]
fn two_columns_of_one_name() {
    refused(
        "CREATE MATERIALIZED VIEW v AS\nSELECT t.k, u.k FROM t JOIN u ON t.v = u.w;",
        expect![[r#"
            two columns are called `k`
               at: x.sql, line 6, column 13
             help: name the columns, and give one of them another name with AS"#]],
    );
}

#[test]
fn two_columns_of_one_name_behind_a_star() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM t JOIN u ON t.k = u.k;",
        expect![[r#"
            two columns are called `k`
               at: x.sql, line 5, column 59
             help: name the columns, and give one of them another name with AS"#]],
    );
}

#[test]
fn two_columns_without_as_of_one_function() {
    refused(
        "CREATE VIEW v AS SELECT max(k), max(v) FROM t;",
        expect![[r#"
            two columns are called `max`
               at: x.sql, line 5, column 33
             help: name the columns, and give one of them another name with AS"#]],
    );
}

#[test]
fn columns_that_differ_in_capitals_only() {
    refused(
        r#"CREATE MATERIALIZED VIEW v AS SELECT k, v AS "K" FROM t;"#,
        expect![[r#"
            the columns `k` and `K` differ in capitals only, which readers of Delta tables do not see
               at: x.sql, line 5, column 38
             help: name the columns, and give one of them another name with AS"#]],
    );
}

#[test]
fn a_name_of_a_column_that_delta_readers_refuse() {
    for name in [
        "a b", "a,b", "a;b", "a{b", "a(b)", "a=b", "a\nb", "a\tb", "",
    ] {
        let statement = format!("CREATE MATERIALIZED VIEW v AS SELECT k AS \"{name}\" FROM t;");
        let file = format!("{TABLES}{statement}");
        let error = Definition::parse("x.sql", &file)
            .err()
            .expect(name)
            .to_string();
        assert!(error.contains("readers of Delta tables refuse"), "{error}");
        assert!(error.contains("at: x.sql, line 5, column"), "{error}");
    }
    refused(
        r#"CREATE TABLE w (PRIMARY KEY ("a b")) AS SELECT k AS "a b" FROM t_raw;"#,
        expect![[r#"
            a column is called `a b`, and readers of Delta tables refuse names with a blank in them
               at: x.sql, line 5, column 30
             help: give it another name with AS"#]],
    );
}

#[test]
fn a_list_of_another_length() {
    refused(
        "CREATE MATERIALIZED VIEW v (x) AS SELECT k, v FROM t;",
        expect![[r#"
            the view lists 1 columns, and its query returns 2
               at: x.sql, line 5, column 29
             help: name every column of the query, in its order"#]],
    );
}

#[test]
fn a_name_that_leaves_the_lake() {
    refused(
        r#"CREATE MATERIALIZED VIEW "../../other" AS SELECT k FROM t;"#,
        expect![[r#"
            `../../other` cannot be a name: a name begins with a letter or a digit, goes on with letters (a to z), digits, `_`, `-` and `.`, and has at most 100 of them
               at: x.sql, line 5, column 26
             help: choose another name"#]],
    );
}

#[test]
fn names_that_are_folders_nowhere() {
    for name in [
        "ä",
        "50%",
        "q?x#y",
        "x/y z",
        "_v",
        ".v",
        "a b",
        &"n".repeat(101),
    ] {
        for statement in [
            format!("CREATE MATERIALIZED VIEW \"{name}\" AS SELECT k FROM t;"),
            format!("CREATE VIEW \"{name}\" AS SELECT k FROM t;"),
            format!("CREATE TABLE \"{name}\" (PRIMARY KEY (k)) AS SELECT k FROM t_raw;"),
            format!("CREATE EXTERNAL TABLE \"{name}\" (k BIGINT) STORED AS JSON LOCATION 'a';"),
        ] {
            let file = format!("{TABLES}{statement}");
            let error = Definition::parse("x.sql", &file)
                .err()
                .expect(&statement)
                .to_string();
            assert!(error.contains("a name begins with a letter"), "{error}");
            assert!(error.contains("at: x.sql, line 5, column"), "{error}");
        }
    }
}

#[test]
fn the_name_of_the_dead_letters() {
    refused(
        "CREATE MATERIALIZED VIEW Dead_Letters AS SELECT k FROM t;",
        expect![[r#"
            `dead_letters` is the view of records that could not become rows
               at: x.sql, line 5, column 26
             help: choose another name"#]],
    );
}

#[test]
fn names_that_differ_in_capitals_only() {
    refused(
        r#"CREATE MATERIALIZED VIEW "T" AS SELECT k FROM t;"#,
        expect![[r#"
            the names `t` and `T` differ in capitals only, and are one folder on some disks
               at: x.sql, line 5, column 26
             help: give one of them another name"#]],
    );
}

#[test]
fn a_name_with_a_schema() {
    refused(
        "CREATE MATERIALIZED VIEW public.v AS SELECT k FROM t;",
        expect![[r#"
            `public.v`: names in a dataflow have no schema
               at: x.sql, line 5, column 33
             help: write v"#]],
    );
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT k FROM public.t;",
        expect![[r#"
            `public.t`: names in a dataflow have no schema
               at: x.sql, line 5, column 52
             help: write t"#]],
    );
}

#[test]
fn a_primary_key_is_found_in_any_case_of_letters() {
    let file = format!("{TABLES}CREATE TABLE w (PRIMARY KEY (K)) AS SELECT K FROM t_raw;");
    let definition = Definition::parse("x.sql", &file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(definition.tables[2].key, [0]);
}

#[test]
fn a_function_that_takes_a_literal_and_is_given_a_column() {
    refused(
        "CREATE TABLE w (PRIMARY KEY (k)) AS SELECT k, blank_to_null(g, g) AS g FROM t_raw;",
        expect![[r#"
            argument 2 of `blank_to_null` must be a text in quotes
               at: x.sql, line 5, column 47
             help: write CASE WHEN to compare with columns"#]],
    );
}

#[test]
fn an_order_of_dates_that_there_is_not() {
    refused(
        "CREATE TABLE w (PRIMARY KEY (k)) AS SELECT k, parse_timestamp(g, 'YMD') AS g FROM t_raw;",
        expect![[r#"
            `parse_timestamp` does not know 'YMD': write `parse_timestamp(text), parse_timestamp(text, 'DMY') or parse_timestamp(text, 'MDY')`
               at: x.sql, line 5, column 47"#]],
    );
}

#[test]
fn a_function_of_ours_with_too_many_arguments() {
    refused(
        "CREATE TABLE w (PRIMARY KEY (k)) AS SELECT k, parse_timestamp(g, 'DMY', 'x') AS g FROM t_raw;",
        expect![[r#"
            `parse_timestamp` takes at least 1 argument but was given 3
               at: x.sql, line 5, column 47
             help: write `parse_timestamp(text), parse_timestamp(text, 'DMY') or parse_timestamp(text, 'MDY')`"#]],
    );
}
