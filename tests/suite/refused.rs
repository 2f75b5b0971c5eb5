//! What a dataflow file may not say: the construct, its place, and what to write instead.

use expect_test::{Expect, expect};
use pinflow::definition::Definition;
use pinflow::runtime::planned;

const TABLES: &str =
    "CREATE EXTERNAL TABLE a_raw (k BIGINT, g TEXT, n BIGINT) STORED AS JSON LOCATION 'a';
CREATE EXTERNAL TABLE b_raw (k BIGINT, g TEXT) STORED AS JSON LOCATION 'b';
CREATE TABLE a (PRIMARY KEY (k)) AS SELECT k, g, n FROM a_raw;
CREATE TABLE b (PRIMARY KEY (k)) AS SELECT k, g FROM b_raw;
";

/// The error for a file that goes on with `statement` in line 5.
fn refused(statement: &str, expected: Expect) {
    whole(&format!("{TABLES}{statement}"), expected);
}

fn view(query: &str, expected: Expect) {
    refused(&format!("CREATE MATERIALIZED VIEW v AS {query};"), expected);
}

/// The error for a whole file.
pub fn whole(text: &str, expected: Expect) {
    expected.assert_eq(&told(text));
}

/// What is wrong with a whole file.
pub fn told(text: &str) -> String {
    match Definition::parse("x.sql", text).and_then(|definition| planned(&definition).map(|_| ())) {
        Ok(()) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn rank_without_a_bound() {
    view(
        "SELECT k, rank() OVER (ORDER BY n) AS place FROM a",
        expect![[r#"
        `rank` without a bound would number every row, and one change could renumber all of them
           at: x.sql, line 5, column 41
         help: number the rows in a subquery and keep the first ones: SELECT .. FROM (SELECT .., RANK() OVER (PARTITION BY .. ORDER BY ..) AS place FROM ..) t WHERE place <= 10"#]],
    );
}

#[test]
fn a_bound_from_below() {
    view(
        "SELECT k FROM (SELECT k, rank() OVER (ORDER BY n) AS place FROM a) t WHERE place >= 2",
        expect![[r#"
        `rank` without a bound would number every row, and one change could renumber all of them
           at: x.sql, line 5, column 56
         help: number the rows in a subquery and keep the first ones: SELECT .. FROM (SELECT .., RANK() OVER (PARTITION BY .. ORDER BY ..) AS place FROM ..) t WHERE place <= 10"#]],
    );
}

#[test]
fn another_window_function() {
    view(
        "SELECT k, lag(n) OVER (ORDER BY k) AS last FROM a",
        expect![[r#"
            the window function `lag` is not maintained
               at: x.sql, line 5, column 41
             help: only ROW_NUMBER, RANK and DENSE_RANK are, up to a bound; a row before or after another is found by joining the table with itself on what is before and after"#]],
    );
}

#[test]
fn a_running_sum() {
    view(
        "SELECT k, sum(n) OVER (ORDER BY k) AS s FROM a",
        expect![[r#"
            the window function `sum` is not maintained
               at: x.sql, line 5, column 41
             help: aggregate with GROUP BY and join the result: SELECT .. FROM t JOIN (SELECT g, sum(n) AS total FROM t GROUP BY g) AS totals ON totals.g = t.g"#]],
    );
}

#[test]
fn limit_without_order() {
    view(
        "SELECT k FROM a LIMIT 3",
        expect![[r#"
        LIMIT without ORDER BY returns arbitrary rows
           at: x.sql, line 5, column 47
         help: add ORDER BY, so that the first rows are always the same"#]],
    );
}

#[test]
fn offset_without_limit() {
    view(
        "SELECT k FROM a ORDER BY k OFFSET 3",
        expect![[r#"
        OFFSET without LIMIT is not maintained
           at: x.sql, line 5, column 58
         help: add a LIMIT"#]],
    );
}

#[test]
fn rollup() {
    view(
        "SELECT g, count(*) AS c FROM a GROUP BY ROLLUP (g)",
        expect![[r#"
        ROLLUP, CUBE and GROUPING SETS are not maintained
           at: x.sql, line 5, column 71
         help: write one GROUP BY view for each set and UNION ALL them"#]],
    );
}

#[test]
fn grouping_sets() {
    view(
        "SELECT g, n, count(*) AS c FROM a GROUP BY GROUPING SETS ((g), (n))",
        expect![[r#"
        ROLLUP, CUBE and GROUPING SETS are not maintained
           at: x.sql, line 5, column 74
         help: write one GROUP BY view for each set and UNION ALL them"#]],
    );
}

#[test]
fn distinct_on() {
    view(
        "SELECT DISTINCT ON (g) g, n FROM a ORDER BY g, n",
        expect![[r#"
        DISTINCT ON is not maintained
           at: x.sql, line 5, column 38
         help: number the rows with ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) and keep number 1"#]],
    );
}

#[test]
fn another_aggregate() {
    view(
        "SELECT g, stddev(n) AS s FROM a GROUP BY g",
        expect![[r#"
        the aggregate `stddev` is not maintained
           at: x.sql, line 5, column 41
         help: use count, sum, avg, min, max, median, percentile_cont, percentile_disc, bool_and, bool_or, array_agg or string_agg"#]],
    );
}

#[test]
fn an_approximation() {
    view(
        "SELECT approx_distinct(g) AS s FROM a",
        expect![[r#"
        the aggregate `approx_distinct` is not maintained
           at: x.sql, line 5, column 38
         help: use count, sum, avg, min, max, median, percentile_cont, percentile_disc, bool_and, bool_or, array_agg or string_agg"#]],
    );
}

#[test]
fn the_clock() {
    view(
        "SELECT k FROM a WHERE now() > TIMESTAMP '2020-01-01'",
        expect![[r#"
        `now` is not a function of the row: its answer changes while the data does not
           at: x.sql, line 5, column 53
         help: use a column, such as an event time, instead of the clock or chance"#]],
    );
}

#[test]
fn chance() {
    view(
        "SELECT k, random() AS r FROM a",
        expect![[r#"
        `random` is not a function of the row: its answer changes while the data does not
           at: x.sql, line 5, column 41
         help: use a column, such as an event time, instead of the clock or chance"#]],
    );
}

#[test]
fn a_uuid() {
    view(
        "SELECT k, uuid() AS r FROM a",
        expect![[r#"
        `uuid` is not a function of the row: its answer changes while the data does not
           at: x.sql, line 5, column 41
         help: use a column, such as an event time, instead of the clock or chance"#]],
    );
}

#[test]
fn recursion() {
    view(
        "WITH RECURSIVE r AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM r WHERE k < 3) SELECT k FROM r",
        expect![[r#"
        `recursivequery` cannot be maintained incrementally
           at: x.sql, line 5, column 36
         help: views are made of SELECT, WHERE, joins on equality, GROUP BY, DISTINCT, UNION and top-k"#]],
    );
}

#[test]
fn unnest() {
    view(
        "SELECT unnest(make_array(k, n)) AS x FROM a",
        expect![[r#"
            a query of a dataflow does not take UNNEST
               at: x.sql, line 5, column 38
             help: ask whether a list holds a value, with array_has(list, value), or let the source send a record for each"#]],
    );
}

#[test]
fn a_stream_in_a_view() {
    view(
        "SELECT k FROM a_raw",
        expect![[r#"
        `a_raw` is a stream: its records have no key, so a view cannot be kept over it
           at: x.sql, line 5, column 45
         help: make a table of it with CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .."#]],
    );
}

#[test]
fn an_unknown_table() {
    view(
        "SELECT k FROM\n  nowhere",
        expect![[r#"
            there is no stream, table or view `nowhere` here
               at: x.sql, line 6, column 3
             help: above it there are a, a_raw, b, b_raw"#]],
    );
}

#[test]
fn an_unknown_column() {
    view(
        "SELECT k,\n  colour FROM a",
        expect![[r#"
            there is no column `colour` here
               at: x.sql, line 6, column 3
             help: there are a.k, a.g, a.n"#]],
    );
}

#[test]
fn an_unknown_function() {
    view(
        "SELECT k, blank_to_nul(g) AS f FROM a",
        expect![[r#"
            there is no function `blank_to_nul` here
               at: x.sql, line 5, column 41
             help: did you mean `blank_to_null`?"#]],
    );
}

#[test]
fn wrong_types() {
    view(
        "SELECT k FROM a WHERE blank_to_null(n, 1, 2) = g AND g + n > TIMESTAMP '2020-01-01'",
        expect![[r#"
            argument 1 of `blank_to_null` must be text but is BIGINT
               at: x.sql, line 5, column 53
             help: write `CAST(.. AS TEXT)`"#]],
    );
}

#[test]
fn a_function_called_with_the_wrong_types() {
    view(
        "SELECT sum(g) FROM a",
        expect![[r#"
            `sum` cannot be called with (TEXT)
               at: x.sql, line 5, column 38
             help: it is called as sum(Decimal), sum(BIGINT), sum(DOUBLE), sum(Duration), ..; cast the arguments if need be"#]],
    );
    view(
        "SELECT date_bin(g, n) FROM a",
        expect![[r#"
            `date_bin` cannot be called with (TEXT, BIGINT)
               at: x.sql, line 5, column 38
             help: it is called as date_bin(INTERVAL, TIMESTAMP, TIMESTAMP), date_bin(INTERVAL, TIMESTAMP); cast the arguments if need be"#]],
    );
    view(
        "SELECT parse_count(n) FROM a",
        expect![[r#"
        argument 1 of `parse_count` must be text but is BIGINT
           at: x.sql, line 5, column 38
         help: write `CAST(.. AS TEXT)`"#]],
    );
    view(
        "SELECT substr(g, g) FROM a",
        expect![[r#"
            `substr` cannot be called with (TEXT, TEXT)
               at: x.sql, line 5, column 38
             help: it is called as substr(str: TEXT, start_pos: BIGINT), substr(str: TEXT, start_pos: BIGINT, length: BIGINT); cast the arguments if need be"#]],
    );
    view(
        "SELECT g + 1 AS x FROM a",
        expect![[r#"
            Cannot coerce arithmetic expression TEXT + BIGINT to valid types
               at: x.sql, line 5, column 38"#]],
    );
}

#[test]
fn except_all() {
    view(
        "SELECT k FROM a EXCEPT ALL SELECT k FROM b",
        expect![[r#"
        EXCEPT ALL is not maintained
           at: x.sql, line 5, column 47
         help: write EXCEPT, which returns each row once"#]],
    );
}

#[test]
fn a_column_outside_the_group() {
    view(
        "SELECT g, n, count(*) AS c FROM a GROUP BY g",
        expect![[r#"
            `a.n` is neither grouped by nor aggregated, so a group has many values of it
               at: x.sql, line 5, column 41
             help: add it to GROUP BY, or take one value of each group: max(a.n)"#]],
    );
}

#[test]
fn a_syntax_error() {
    view(
        "SELECT k FROM a WHERE",
        expect![[r#"
        Expected: an expression, found: EOF
           at: x.sql, line 5, column 52"#]],
    );
}

#[test]
fn a_syntax_error_in_a_later_line() {
    view(
        "SELECT k\nFROM a\nGROUP k",
        expect![[r#"
            the statement could end before `GROUP`, which does not go on with it
               at: x.sql, line 7, column 1
             help: is a semicolon or a comma missing?"#]],
    );
}

#[test]
fn a_wrong_fraction() {
    view(
        "SELECT percentile_disc(1.5) WITHIN GROUP (ORDER BY n) AS p FROM a",
        expect![[r#"
        percentile_disc wants a constant fraction between 0 and 1
           at: x.sql, line 5, column 38
         help: write percentile_disc(0.5) WITHIN GROUP (ORDER BY column)"#]],
    );
}

#[test]
fn a_text_between_that_is_a_column() {
    view(
        "SELECT string_agg(g, g ORDER BY g) AS t FROM a",
        expect![[r#"
        string_agg wants a constant text between the values
           at: x.sql, line 5, column 38
         help: write string_agg(column, ', ' ORDER BY column)"#]],
    );
}

#[test]
fn ignore_nulls() {
    view(
        "SELECT array_agg(n ORDER BY n) IGNORE NULLS AS t FROM a",
        expect![[r#"
        IGNORE NULLS is not maintained
           at: x.sql, line 5, column 62
         help: write FILTER (WHERE column IS NOT NULL)"#]],
    );
}

#[test]
fn a_table_without_a_key() {
    refused(
        "CREATE TABLE c AS SELECT k FROM a_raw;",
        expect![[r#"
        table `c` has no primary key, so pinflow could not tell a new row from a changed one
           at: x.sql, line 5, column 8
         help: write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .."#]],
    );
}

#[test]
fn a_table_without_a_query() {
    refused(
        "CREATE TABLE c (k BIGINT);",
        expect![[r#"
        table `c` has no query
           at: x.sql, line 5, column 8
         help: write CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .., or CREATE EXTERNAL TABLE for a stream"#]],
    );
}

#[test]
fn a_key_that_is_no_column() {
    refused(
        "CREATE TABLE c (PRIMARY KEY (id)) AS SELECT k FROM a_raw;",
        expect![[r#"
        the primary key of `c` names `id`, which its query does not return
           at: x.sql, line 5, column 25
         help: name a column of the SELECT list"#]],
    );
}

#[test]
fn a_table_that_joins() {
    refused(
        "CREATE TABLE c (PRIMARY KEY (k)) AS\nSELECT a_raw.k FROM a_raw JOIN b_raw ON a_raw.k = b_raw.k;",
        expect![[r#"
        table `c` is cleaned from one stream row by row, but its query needs join
           at: x.sql, line 6, column 27
         help: keep the table a plain SELECT .. FROM stream [WHERE ..] and put the rest into a view over it"#]],
    );
}

#[test]
fn a_table_that_groups() {
    refused(
        "CREATE TABLE c (PRIMARY KEY (g)) AS\nSELECT g, count(*) AS n FROM a_raw GROUP BY g;",
        expect![[r#"
        table `c` is cleaned from one stream row by row, but its query needs aggregate
           at: x.sql, line 6, column 36
         help: keep the table a plain SELECT .. FROM stream [WHERE ..] and put the rest into a view over it"#]],
    );
}

#[test]
fn a_table_over_a_table() {
    refused(
        "CREATE TABLE c (PRIMARY KEY (k)) AS SELECT k FROM a;",
        expect![[r#"
        table `c` reads `a`, which is not a stream
           at: x.sql, line 5, column 51
         help: read a CREATE EXTERNAL TABLE here; use CREATE MATERIALIZED VIEW for queries over tables"#]],
    );
}

#[test]
fn a_table_that_asks_the_clock() {
    refused(
        "CREATE TABLE c (PRIMARY KEY (k)) AS SELECT k, now() AS at FROM a_raw;",
        expect![[r#"
        `now` is not a function of the row: its answer changes while the data does not
           at: x.sql, line 5, column 47
         help: use a column, such as an event time, instead of the clock or chance"#]],
    );
}

#[test]
fn a_name_used_twice() {
    refused(
        "CREATE MATERIALIZED VIEW a AS SELECT k FROM b;",
        expect![[r#"
        the name `a` is used twice
           at: x.sql, line 5, column 26
         help: give one of them another name"#]],
    );
}

#[test]
fn a_stream_that_is_csv() {
    refused(
        "CREATE EXTERNAL TABLE c_raw (k BIGINT) STORED AS CSV LOCATION 'c';",
        expect![[r#"
        stream `c_raw` is stored as CSV, which pinflow does not decode
           at: x.sql, line 5, column 50
         help: write STORED AS JSON"#]],
    );
}

#[test]
fn a_stream_of_a_type_that_json_has_not() {
    refused(
        "CREATE EXTERNAL TABLE c_raw (k BIGINT, x INTERVAL) STORED AS JSON LOCATION 'c';\nCREATE TABLE c (PRIMARY KEY (k)) AS SELECT k FROM c_raw;",
        expect![[r#"
        column `x` is declared as INTERVAL, which JSON records are not decoded into; declare it as TEXT, BIGINT, INT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, DOUBLE[] or TEXT[] and cast it in the table's SELECT
           at: x.sql, line 5, column 40"#]],
    );
}

#[test]
fn another_statement() {
    refused(
        "INSERT INTO a VALUES (1, 'x', 2);",
        expect![[r#"
        a dataflow file does not hold this kind of statement
           at: x.sql, line 5, column 1
         help: it holds CREATE EXTERNAL TABLE (a stream), CREATE TABLE .. AS (a table), CREATE [MATERIALIZED] VIEW"#]],
    );
}

#[test]
fn a_plain_query() {
    refused(
        "SELECT k FROM a;",
        expect![[r#"
        a dataflow file does not hold this kind of statement
           at: x.sql, line 5, column 1
         help: it holds CREATE EXTERNAL TABLE (a stream), CREATE TABLE .. AS (a table), CREATE [MATERIALIZED] VIEW"#]],
    );
}

#[test]
fn an_open_string() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT 'open FROM a;",
        expect![[r#"
        this is not SQL: Unterminated string literal
           at: x.sql, line 5, column 38"#]],
    );
}

#[test]
fn a_view_below_its_reader() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT k FROM w;\nCREATE MATERIALIZED VIEW w AS SELECT k FROM a;",
        expect![[r#"
            there is no stream, table or view `w` here
               at: x.sql, line 5, column 45
             help: above it there are a, a_raw, b, b_raw"#]],
    );
}

#[test]
fn a_file_without_a_table() {
    whole(
        "CREATE EXTERNAL TABLE a_raw (k BIGINT) STORED AS JSON LOCATION 'a';",
        expect![[r#"
        the file defines no table, so nothing would be kept
           at: x.sql
         help: add CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. FROM a stream"#]],
    );
}

#[test]
fn an_empty_file() {
    whole(
        "-- nothing yet\n",
        expect![[r#"
        the file defines no table, so nothing would be kept
           at: x.sql
         help: add CREATE TABLE name (PRIMARY KEY (column)) AS SELECT .. FROM a stream"#]],
    );
}

#[test]
fn two_ranks_with_bounds_in_one_filter() {
    view(
        "SELECT k FROM (SELECT k, row_number() OVER (ORDER BY k) AS r, row_number() OVER (ORDER BY k DESC) AS s FROM a) t WHERE r <= 2 AND s <= 2",
        expect![[r#"
            `row_number` without a bound would number every row, and one change could renumber all of them
               at: x.sql, line 5, column 56
             help: a bound on one number cannot keep rows from the other: number the rows and keep the first ones in a subquery or a view for each, and join those on the key of the rows"#]],
    );
}

#[test]
fn a_rank_of_ranks_that_is_bounded_outside_only() {
    view(
        "SELECT k FROM (SELECT k, r, row_number() OVER (ORDER BY k DESC) AS s FROM (SELECT k, row_number() OVER (ORDER BY k) AS r FROM a) t) u WHERE r <= 2 AND s <= 2",
        expect![[r#"
            `row_number` without a bound would number every row, and one change could renumber all of them
               at: x.sql, line 5, column 59
             help: a bound on one number cannot keep rows from the other: number the rows and keep the first ones in a subquery or a view for each, and join those on the key of the rows"#]],
    );
}

#[test]
fn a_count_of_two_columns() {
    view(
        "SELECT count(k, g) AS c FROM a",
        expect![[r#"
        `count` takes one column
           at: x.sql, line 5, column 38
         help: write count(*) FILTER (WHERE a.k IS NOT NULL AND a.g IS NOT NULL)"#]],
    );
}

#[test]
fn a_distinct_count_of_two_columns() {
    view(
        "SELECT count(DISTINCT k, g) AS c FROM a",
        expect![[r#"
        `count` takes one column
           at: x.sql, line 5, column 38
         help: count the rows of SELECT DISTINCT a.k, a.g"#]],
    );
}

#[test]
fn a_list_without_repeats_in_another_order() {
    view(
        "SELECT array_agg(DISTINCT n ORDER BY k) AS l FROM a",
        expect![[r#"
            `array_agg` without repeats has no order but that of its values: of equal values any could be the first
               at: x.sql, line 5, column 38
             help: order by the value itself, or leave DISTINCT out"#]],
    );
}

#[test]
fn a_text_without_repeats_in_another_order() {
    view(
        "SELECT string_agg(DISTINCT g, ',' ORDER BY k) AS l FROM a",
        expect![[r#"
            `string_agg` without repeats has no order but that of its values: of equal values any could be the first
               at: x.sql, line 5, column 38
             help: order by the value itself, or leave DISTINCT out"#]],
    );
}

#[test]
fn distinct_rows_in_another_order() {
    view(
        "SELECT DISTINCT g FROM a ORDER BY k LIMIT 3",
        expect![[r#"
            the rows of SELECT DISTINCT cannot be ordered by `a.k`, which is not in them
               at: x.sql, line 5, column 65
             help: select it too, or GROUP BY the columns and order by max(a.k)"#]],
    );
}

#[test]
fn a_value_that_may_be_several() {
    view(
        "SELECT k, (SELECT g FROM b) AS g FROM a",
        expect![[r#"
            this subquery stands for one value, but may return several rows
               at: x.sql, line 5, column 41
             help: aggregate it (max(..), sum(..)), ask for one row by its whole primary key, or join it"#]],
    );
}

#[test]
fn a_value_that_may_be_several_in_a_condition() {
    view(
        "SELECT k FROM a WHERE g = (SELECT g FROM b WHERE b.g = a.g)",
        expect![[r#"
            this subquery stands for one value, but may return several rows
               at: x.sql, line 5, column 57
             help: aggregate it (max(..), sum(..)), ask for one row by its whole primary key, or join it"#]],
    );
}

#[test]
fn a_value_by_a_part_of_a_group() {
    view(
        "SELECT k, (SELECT max(k) FROM b GROUP BY g) AS m FROM a",
        expect![[r#"
            this subquery stands for one value, but may return several rows
               at: x.sql, line 5, column 41
             help: aggregate it (max(..), sum(..)), ask for one row by its whole primary key, or join it"#]],
    );
}

#[test]
fn the_column_of_one_side_of_a_full_join_using() {
    view(
        "SELECT k FROM a FULL JOIN b USING (k) WHERE b.k IS NULL",
        expect![[r#"
            an outer join USING (k) has one column `k`, which is not `b.k` alone
               at: x.sql, line 5, column 75
             help: write `k` for the merged column, or ON instead of USING, and name the columns that are selected"#]],
    );
}

#[test]
fn exists_over_a_condition_on_an_aggregate() {
    view(
        "SELECT k FROM a WHERE EXISTS (SELECT count(*) FROM b WHERE b.k = a.k HAVING count(*) = 0)",
        expect![[r#"
            EXISTS over an aggregate without GROUP BY that depends on the row outside is not maintained
               at: x.sql, line 5, column 53
             help: compare the aggregate itself: WHERE (SELECT count(*) FROM .. WHERE ..) > 0"#]],
    );
}

#[test]
fn exists_behind_an_offset() {
    view(
        "SELECT k FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.g = a.g OFFSET 1)",
        expect![[r#"
            EXISTS asks for any row: OFFSET and LIMIT 0 are not maintained in it
               at: x.sql, line 5, column 93
             help: count the rows: (SELECT count(*) ..) > number"#]],
    );
}

#[test]
fn exists_as_a_column_by_an_inequality() {
    view(
        "SELECT k, EXISTS (SELECT 1 FROM b WHERE b.k < a.k) AS e FROM a",
        expect![[r#"
            this subquery cannot be turned into a join, so it cannot be maintained
               at: x.sql, line 5, column 41
             help: write it as a JOIN, or as a view of its own that is joined"#]],
    );
}

#[test]
fn in_pairs() {
    view(
        "SELECT k FROM a WHERE (k, g) IN (SELECT k, g FROM b)",
        expect![[r#"
            a subquery that is compared with returns one column
               at: x.sql, line 5, column 71
             help: write EXISTS (SELECT .. WHERE x = a AND y = b) for several"#]],
    );
}

#[test]
fn a_column_that_two_relations_have() {
    view(
        "SELECT g FROM a JOIN b ON a.k = b.k",
        expect![[r#"
        several relations here have a column `g`
           at: x.sql, line 5, column 38
         help: say which one is meant: relation.g"#]],
    );
}

#[test]
fn a_column_that_is_not_grouped() {
    view(
        "SELECT g, n, count(*) AS c FROM a GROUP BY g",
        expect![[r#"
            `a.n` is neither grouped by nor aggregated, so a group has many values of it
               at: x.sql, line 5, column 41
             help: add it to GROUP BY, or take one value of each group: max(a.n)"#]],
    );
}

#[test]
fn a_missing_semicolon() {
    refused(
        "CREATE MATERIALIZED VIEW v AS SELECT k FROM a
CREATE MATERIALIZED VIEW w AS SELECT k FROM b;",
        expect![[r#"
            the statement could end before `MATERIALIZED`, which does not go on with it
               at: x.sql, line 6, column 8
             help: is a semicolon or a comma missing?"#]],
    );
}

#[test]
fn a_column_called_key() {
    refused(
        "CREATE EXTERNAL TABLE c_raw (key TEXT, n BIGINT) STORED AS JSON LOCATION 'c';",
        expect![[r#"
            Expected: a list of columns in parentheses, found: ,
               at: x.sql, line 5, column 38
             help: `key` is a word of SQL: a column of that name is written "key", in double quotes"#]],
    );
}

#[test]
fn constants_that_overflow() {
    view(
        "SELECT k, 9223372036854775807 + 1 AS m FROM a",
        expect![[r#"
            `Int64(9223372036854775807) + Int64(1)` overflows
               at: x.sql, line 5, column 1
             help: cast one of the numbers to DOUBLE or DECIMAL"#]],
    );
}
