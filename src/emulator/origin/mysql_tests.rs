//! Tables of a MariaDB that the test starts for itself, in a folder that goes away with it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::emulator::Stream;

/// A server of the test's own.
struct Server {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn quiet(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--no-defaults")
        .arg(format!("--datadir={}", folder.join("data").display()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if std::env::var("USER").as_deref() == Ok("root")
        || std::env::var("HOME").as_deref() == Ok("/root")
    {
        command.arg("--user=root");
    }
    command
}

impl Server {
    /// `None` where there is no MariaDB.
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let installed = quiet("mariadb-install-db", folder.path())
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .status();
        match installed {
            Ok(status) if status.success() => {}
            other => {
                eprintln!(
                    "NOT TESTED AGAINST MARIADB: mariadb-install-db does not run here ({other:?})"
                );
                return None;
            }
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = quiet("mariadbd", folder.path())
            .arg(format!(
                "--socket={}",
                folder.path().join("socket").display()
            ))
            .arg(format!(
                "--pid-file={}",
                folder.path().join("pid").display()
            ))
            .arg(format!("--port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=32M",
            ])
            .spawn()
            .expect("mariadb-install-db is there, so mariadbd is too");
        Some(Self {
            process,
            port,
            _folder: folder,
        })
    }

    async fn connect(&self) -> Conn {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match Conn::from_url(format!("mysql://root@127.0.0.1:{}/", self.port)).await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

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

async fn fill(connection: &mut Conn) {
    for statement in TABLES.split(';') {
        connection.query_drop(statement).await.unwrap();
    }
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
        connection
            .query_drop(format!("INSERT INTO {table} VALUES {}", rows.join(",")))
            .await
            .unwrap();
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

async fn rows(address: &str, options: OriginOptions) -> Result<Vec<[Value; 3]>, EmulatorError> {
    let mut origin = address
        .parse::<OriginAddress>()
        .unwrap()
        .open(options)
        .await?;
    let (mut posts, mut rows) = (1, Vec::new());
    while posts > 0 {
        let mut out = Vec::new();
        posts = origin.next(7, &mut out).await?;
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
    let Some(server) = Server::start() else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = server.connect().await;
        fill(&mut connection).await;
        let version: Option<String> = connection.query_first("SELECT VERSION()").await.unwrap();
        eprintln!("tested against {}", version.unwrap());
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
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
            assert!(
                !error.contains("se%40") && !error.contains("se@c"),
                "{error}"
            );
        }
    });
}
