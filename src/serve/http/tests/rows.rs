//! Views and their list: in every format, some rows or all, and what is said of requests that
//! cannot be met.

use arrow::ipc::reader::StreamReader;
use expect_test::expect;

use super::{Running, SOON};

#[test]
fn a_view_is_json_unless_another_format_is_asked_for() {
    let running = Running::start(SOON);
    running.check(
        "/views/posts_by_category",
        200,
        expect![[r#"
        {"view":"posts_by_category","epoch":7,"row_count":3,"rows":[
        {"category":"a,b","posts":5},
        {"category":"art","posts":3},
        {"category":"quotes","posts":70}
        ]}
    "#]],
    );
    running.check(
        "/views/posts_by_category?format=csv",
        200,
        expect![[r#"
        category,posts
        "a,b",5
        art,3
        quotes,70
    "#]],
    );
    running.check(
        "/views/top_category?format=table",
        200,
        expect![[r#"
        +----------+-------+
        | category | posts |
        +----------+-------+
        +----------+-------+
        0 rows at epoch 7
    "#]],
    );
    let csv = running.get("/views/posts_by_category", &[("accept", "text/csv")]);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.header("x-pinflow-epoch"), Some("7"));
    assert!(csv.body.starts_with(b"category,posts\n"));
    let accept = [("accept", "application/vnd.apache.arrow.stream")];
    let arrow = running.get("/views/posts_by_category", &accept);
    let batches: Vec<_> = StreamReader::try_new(arrow.body.as_slice(), None)
        .unwrap()
        .collect();
    assert_eq!(
        batches[0].as_ref().unwrap(),
        &running.store.snapshot("posts_by_category").unwrap().rows
    );
    running.stop();
}

#[test]
fn a_condition_and_a_limit_choose_rows_and_the_number_of_all_is_told() {
    let running = Running::start(SOON);
    let path =
        "/views/posts_by_category?where=posts%20%3E+3%20and+category+is%20not%20null&limit=1";
    running.check(
        path,
        200,
        expect![[r#"
        {"view":"posts_by_category","epoch":7,"row_count":2,"rows":[
        {"category":"a,b","posts":5}
        ]}
    "#]],
    );
    assert_eq!(
        running.get(path, &[]).header("x-pinflow-row-count"),
        Some("2")
    );
    running.check(
        "/views/posts_by_category?limit=1&format=table",
        200,
        expect![[r#"
            +----------+-------+
            | category | posts |
            +----------+-------+
            | a,b      |     5 |
            +----------+-------+
            the first 1 of 3 rows at epoch 7
        "#]],
    );
    running.stop();
}

#[test]
fn a_request_that_cannot_be_met_is_told_why_and_what_to_do() {
    let running = Running::start(SOON);
    running.check(
        "/views/post_by_category",
        404,
        expect![[r#"
        {"error":"there is no view `post_by_category`","hint":"did you mean `posts_by_category`?"}
    "#]],
    );
    running.check(
        "/views/weather?wait=100",
        404,
        expect![[r#"
        {"error":"there is no view `weather`","hint":"GET /views lists the views"}
    "#]],
    );
    running.check("/views/top_category?where=likes%3E1", 400, expect![[r#"
        {"error":"the condition `likes>1` cannot be evaluated: No field named likes. Valid fields are category, posts","hint":"write one SQL condition over the columns category TEXT, posts BIGINT"}
    "#]]);
    running.check(
        "/views/top_category?where=true;drop%20table%20pin",
        400,
        expect![[r#"
            {"error":"the condition `true;drop table pin` cannot be evaluated: Expected: end of expression, found: ; at Line: 1, Column: 5","hint":"write one SQL condition over the columns category TEXT, posts BIGINT"}
        "#]],
    );
    running.check(
        "/views/top_category?limit=-1",
        400,
        expect![[r#"
        {"error":"`limit=-1` is not a whole number from 0 on","hint":"for example `limit=10`"}
    "#]],
    );
    running.check("/views/top_category?format=xml", 400, expect![[r#"
        {"error":"there is no format `xml`: write json, csv, arrow or table","hint":"the default is json"}
    "#]]);
    running.check(
        "/views/top_category?limits=1",
        400,
        expect![[r#"
        {"error":"there is no parameter `limits` here","hint":"did you mean `limit`?"}
    "#]],
    );
    running.check(
        "/views?where=true",
        400,
        expect![[r#"
        {"error":"there is no parameter `where` here","hint":"there are format, wait"}
    "#]],
    );
    running.check(
        "/favicon.ico",
        404,
        expect![[r#"
        {"error":"there is nothing here","hint":"GET / says what there is"}
    "#]],
    );
    running.stop();
}

#[test]
fn the_views_are_listed_at_one_epoch() {
    let running = Running::start(SOON);
    running.check(
        "/views",
        200,
        expect![[r#"
            {
              "epoch": 7,
              "views": [
                {
                  "name": "posts_by_category",
                  "rows": 3,
                  "epoch": 7,
                  "changed": 7,
                  "columns": [
                    {
                      "name": "category",
                      "type": "TEXT"
                    },
                    {
                      "name": "posts",
                      "type": "BIGINT"
                    }
                  ]
                },
                {
                  "name": "top_category",
                  "rows": 0,
                  "epoch": 7,
                  "changed": 0,
                  "columns": [
                    {
                      "name": "category",
                      "type": "TEXT"
                    },
                    {
                      "name": "posts",
                      "type": "BIGINT"
                    }
                  ]
                }
              ]
            }
        "#]],
    );
    running.check(
        "/views?format=table",
        200,
        expect![[r#"
        +-------------------+------+-----------------------------+
        | view              | rows | columns                     |
        +-------------------+------+-----------------------------+
        | posts_by_category |    3 | category TEXT, posts BIGINT |
        | top_category      |    0 | category TEXT, posts BIGINT |
        +-------------------+------+-----------------------------+
        2 rows at epoch 7
    "#]],
    );
    running.check(
        "/",
        200,
        expect![[r#"
        pinflow: live views

          GET /views             the views, with their columns and rows
          GET /views/<name>      the rows of a view
              ?format=json|csv|arrow|table   or an Accept header
              ?where=<SQL condition>         only the rows for which it is true
              ?limit=<n>                     only the first n rows
              ?wait=<epoch>                  answer once there is a later epoch
              ?changed_after=<epoch>         answer once the view changed after that epoch
          GET /status            what the run is doing, in numbers
          GET /healthz           200 if all is well

        Views at epoch 7:

          /views/posts_by_category
          /views/top_category
    "#]],
    );
    running.stop();
}
