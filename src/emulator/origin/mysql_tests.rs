//! Tables of a MariaDB that the test starts for itself, in a folder that goes away with it.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::mariadb::MariaDb;
use super::*;
use crate::emulator::Stream;

const TABLES: &str = "
CREATE DATABASE pinterest_data CHARACTER SET utf8mb4;
USE pinterest_data;
CREATE TABLE pinterest_data (`index` BIGINT, unique_id TEXT, title TEXT, downloaded INT);
CREATE TABLE geolocation_data (ind BIGINT, `timestamp` DATETIME, latitude FLOAT, longitude FLOAT, country TEXT);
CREATE TABLE user_data (ind BIGINT, first_name TEXT, age INT, date_joined DATETIME);
CREATE USER ann IDENTIFIED BY 'se@cret';
GRANT SELECT ON pinterest_data.* TO ann";

/// More than a window.
const ROWS: u64 = 4_500;

fn expected(row: u64) -> [Value; 3] {
    let title = if row.is_multiple_of(7) {
        Value::Null
    } else {
        json!(format!("\u{1f600} \"{row}\"\nnew line"))
    };
    let moment = format!("2020-08-28T03:{:02}:{:02}", row / 60 % 60, row % 60);
    let latitude = match row % 3 {
        0 => json!(-88.0),
        1 => json!(8.65953),
        _ => json!(-173.293),
    };
    [
        json!({"index": row, "unique_id": format!("id-{row}"), "title": title, "downloaded": 1}),
        json!({"ind": row, "timestamp": moment, "latitude": latitude, "longitude": 0.5, "country": "Cote d'Ivoire"}),
        json!({"ind": row, "first_name": "Ann", "age": 20 + row % 40, "date_joined": moment}),
    ]
}

fn sql(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        Value::Null => "NULL".to_owned(),
        number => number.to_string(),
    }
}

fn fill(server: &MariaDb) {
    server.sql(&format!("{TABLES};"));
    let columns: [&[&str]; 3] = [
        &["index", "unique_id", "title", "downloaded"],
        &["ind", "timestamp", "latitude", "longitude", "country"],
        &["ind", "first_name", "age", "date_joined"],
    ];
    let tables = ["pinterest_data", "geolocation_data", "user_data"];
    for (at, (table, columns)) in tables.iter().zip(columns).enumerate() {
        // In another order than that of the key.
        let rows = (0..ROWS)
            .map(|row| expected((row * 7 + 3) % ROWS))
            .map(|row| {
                let values: Vec<String> = columns
                    .iter()
                    .map(|column| sql(&row[at][*column]))
                    .collect();
                format!("({})", values.join(","))
            });
        let rows: Vec<String> = rows.collect();
        let rows = rows.join(",");
        server.sql(&format!(
            "INSERT INTO pinterest_data.{table} VALUES {rows};"
        ));
    }
}

fn options(order: RowOrder, posts: Option<u64>) -> OriginOptions {
    OriginOptions {
        emulator: EmulatorOptions {
            posts,
            ..EmulatorOptions::default()
        },
        order,
        first_row: 0,
        last_row: ROWS - 1,
        dates: Some(DateForm::Iso),
        dressing: Dressing::default(),
    }
}

async fn rows(address: &str, options: OriginOptions) -> Result<Vec<[Value; 3]>, String> {
    let said = |error: EmulatorError| error.to_string();
    let address = address.parse::<OriginAddress>()?;
    let mut origin = address.open(options).await.map_err(said)?;
    let (mut posts, mut rows) = (1, Vec::new());
    while posts > 0 {
        let mut out = Vec::new();
        posts = origin.next(7, &mut out).await.map_err(said)?;
        for row in out.chunks(3) {
            let value = |at: usize| {
                assert_eq!(row[at].stream, Stream::ALL[at]);
                let value: Value = serde_json::from_slice(&row[at].body).unwrap();
                let key = if at == 0 { "index" } else { "ind" };
                assert_eq!(row[at].key, value[key].as_u64());
                value
            };
            rows.push([value(0), value(1), value(2)]);
        }
    }
    Ok(rows)
}

#[test]
fn tables_are_posted_row_by_row_in_every_order() {
    let server = MariaDb::start(&[]);
    fill(&server);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        eprintln!("tested against {}", server.sql("SELECT VERSION();").trim());
        let address = format!(
            "mysql://ann:se%40cret@127.0.0.1:{}/pinterest_data",
            server.port
        );

        let all = rows(&address, options(RowOrder::Sequential, None))
            .await
            .unwrap();
        assert_eq!(all.len() as u64, ROWS);
        for (number, row) in all.iter().enumerate() {
            assert_eq!(*row, expected(number as u64));
        }

        let some = options(RowOrder::Sequential, Some(10));
        let later = rows(
            &address,
            OriginOptions {
                first_row: 4_495,
                ..some
            },
        )
        .await
        .unwrap();
        assert_eq!(later, (4_495..ROWS).map(expected).collect::<Vec<_>>());

        let drawn = rows(&address, options(RowOrder::Canonical, Some(50)))
            .await
            .unwrap();
        let mut draws = Draws::new(RowOrder::Canonical, 100, 0, ROWS - 1);
        let wanted: Vec<_> = (0..50).map(|_| expected(draws.draw().row)).collect();
        assert_eq!(drawn, wanted);

        for (address, why) in [
            (address.replace("pinterest_data", "mysql"), "denied"),
            (
                address.replace("cret@", "crit@"),
                "check host, port, user and password",
            ),
            (address.replace("/pinterest_data", ""), "names no database"),
        ] {
            let error = rows(&address, options(RowOrder::Sequential, None))
                .await
                .unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(
                !error.contains("se%40") && !error.contains("se@c"),
                "{error}"
            );
        }
    });
}
