//! Tables of a real MariaDB, through the source that reads them.

use std::time::{Duration, Instant};

use pinflow::mysql::MysqlAddress;
use pinflow::source::{Mysql, Opening, Read, Source, SourceError};

use super::directory::{Taken, drain, read_until, streams};
use crate::support::mariadb::MariaDb;

struct World {
    server: MariaDb,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(statements: &str) -> World {
        World::with(&[], statements)
    }

    fn with(options: &[&str], statements: &str) -> World {
        let server = MariaDb::start(options);
        server.sql("CREATE DATABASE pinterest_data CHARACTER SET utf8mb4; CREATE USER reader IDENTIFIED BY 'hunter2';
             GRANT SELECT ON pinterest_data.* TO reader;");
        server.sql(&format!("USE pinterest_data; {statements}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        World { server, runtime }
    }

    fn address(&self, options: &str) -> MysqlAddress {
        let port = self.server.port;
        format!("mysql://reader:hunter2@127.0.0.1:{port}/pinterest_data?{options}")
            .parse()
            .unwrap()
    }

    fn open(&self, options: &str, taken: &Taken) -> Mysql {
        let opening = Opening {
            positions: taken.positions.clone(),
            ..Opening::whole(streams())
        };
        Mysql::open(self.address(options), opening, self.runtime.handle()).unwrap()
    }

    fn whole(&self, options: &str) -> Result<Taken, SourceError> {
        let mut taken = Taken::default();
        drain(&mut self.open(options, &taken), &mut taken, 1 << 20)?;
        Ok(taken)
    }
}

/// The three tables as the original has them: no keys.
const TABLES: &str = "
    CREATE TABLE pinterest_data (`index` BIGINT, unique_id TEXT, title TEXT, description TEXT, poster_name TEXT, follower_count TEXT, tag_list TEXT,
        is_image_or_video TEXT, image_src TEXT, downloaded BIGINT, save_location TEXT, category TEXT);
    CREATE TABLE geolocation_data (ind BIGINT, timestamp DATETIME, latitude FLOAT, longitude FLOAT, country TEXT);
    CREATE TABLE user_data (ind BIGINT, first_name TEXT, last_name TEXT, age BIGINT, date_joined DATETIME);";

fn filled(rows: usize) -> String {
    format!(
        "{TABLES}
        INSERT INTO pinterest_data SELECT seq, uuid(), concat('title ', seq), 'd…\u{a0}', 'p ', '12k', 'a,b', 'image', 'https://x', 1, 'Local save in /data/art', 'art'
            FROM seq_0_to_{last};
        INSERT INTO geolocation_data SELECT seq, '2018-01-01' + INTERVAL seq MINUTE, -89.9787, 8.65953, 'Albania' FROM seq_0_to_{last};
        INSERT INTO user_data SELECT seq, 'Ann', 'Lee', 20 + seq % 60, '2016-02-29 00:00:00' FROM seq_0_to_{last};",
        last = rows - 1
    )
}

#[test]
fn the_three_tables_become_the_records_that_the_original_posts() {
    let world = World::new(&format!(
        "{TABLES}
        INSERT INTO pinterest_data VALUES (7528, 'fbe53c66', 'No Title…\u{a0}', 'a \"quote\"\\nand 😀', 'User Info Error ', '5k', 'N,o', 'image', 'https://i', 1, 'Local save in /data/mens-fashion', NULL);
        INSERT INTO geolocation_data VALUES (7528, '2020-08-28 03:52:47', -89.9787, -173.293, 'Albania');
        INSERT INTO user_data VALUES (7528, 'Abigail', 'Ali', 20, '2015-10-24 00:00:00');"
    ));
    let taken = world.whole("").unwrap();
    assert_eq!(
        taken.of("pin/pinterest_data"),
        [
            "{\"index\":7528,\"unique_id\":\"fbe53c66\",\"title\":\"No Title…\u{a0}\",\"description\":\"a \\\"quote\\\"\\nand 😀\",\"poster_name\":\"User Info Error \",\"follower_count\":\"5k\",\"tag_list\":\"N,o\",\"is_image_or_video\":\"image\",\"image_src\":\"https://i\",\"downloaded\":1,\"save_location\":\"Local save in /data/mens-fashion\",\"category\":null}"
        ]
    );
    assert_eq!(
        taken.of("geo/geolocation_data"),
        [
            "{\"ind\":7528,\"timestamp\":\"2020-08-28 03:52:47\",\"latitude\":-89.9787,\"longitude\":-173.293,\"country\":\"Albania\"}"
        ]
    );
    assert_eq!(
        taken.of("user/user_data"),
        [
            "{\"ind\":7528,\"first_name\":\"Abigail\",\"last_name\":\"Ali\",\"age\":20,\"date_joined\":\"2015-10-24 00:00:00\"}"
        ]
    );
}

#[test]
fn every_row_comes_once_in_the_order_of_its_key_whatever_the_key_is() {
    let world = World::new(&filled(2000));
    for keys in [
        "",
        "ALTER TABLE pinterest_data ADD INDEX (`index`); ALTER TABLE geolocation_data ADD PRIMARY KEY (ind); ALTER TABLE user_data ADD INDEX (age);",
    ] {
        world.server.sql(&format!("USE pinterest_data; {keys}"));
        for options in [
            "page_rows=7",
            "page_rows=1000",
            "page_rows=2000",
            "page_rows=5000",
        ] {
            let taken = world.whole(options).unwrap();
            assert_eq!(taken.count(), 6000, "{keys} {options}");
            let pins = taken.of("pin/pinterest_data");
            for (number, pin) in pins.iter().enumerate() {
                assert!(pin.starts_with(&format!("{{\"index\":{number},")), "{pin}");
            }
            let mut users: Vec<&str> = taken.of("user/user_data");
            users.sort();
            users.dedup();
            assert_eq!(users.len(), 2000);
        }
    }
}

#[test]
fn a_later_run_reads_on_behind_the_last_key() {
    let world = World::new(&filled(500));
    world
        .server
        .sql("USE pinterest_data; ALTER TABLE pinterest_data ADD PRIMARY KEY (`index`);");
    let mut taken = Taken::default();
    for _ in 0..3 {
        let before = taken.count();
        let mut source = world.open("page_rows=50", &taken);
        read_until(&mut source, &mut taken, 1, |taken| taken.count() > before).unwrap();
    }
    drain(&mut world.open("page_rows=50", &taken), &mut taken, 1).unwrap();
    assert_eq!(taken.count(), 1500);
    world.server.sql("USE pinterest_data; INSERT INTO geolocation_data VALUES (500, '2020-01-01', 1.5, 1, 'New');");
    drain(&mut world.open("", &taken), &mut taken, 1).unwrap();
    assert_eq!(taken.count(), 1501);
    assert!(taken.of("geo/geolocation_data")[500].contains("\"latitude\":1.5,\"longitude\":1.0"));
}

#[test]
fn all_tables_are_read_as_they_were_at_one_moment() {
    let world = World::new(&filled(500));
    for table in [
        "pinterest_data ADD PRIMARY KEY (`index`)",
        "geolocation_data ADD PRIMARY KEY (ind)",
        "user_data ADD PRIMARY KEY (ind)",
    ] {
        world
            .server
            .sql(&format!("USE pinterest_data; ALTER TABLE {table};"));
    }
    let mut taken = Taken::default();
    let mut source = world.open("page_rows=10", &taken);
    read_until(&mut source, &mut taken, 1, |taken| taken.count() >= 10).unwrap();
    // What was read ahead is bounded, so most of the tables was not read yet.
    world.server.sql("USE pinterest_data; DELETE FROM user_data WHERE ind > 100; UPDATE geolocation_data SET country = 'Elsewhere' WHERE ind > 450;");
    drain(&mut source, &mut taken, 1).unwrap();
    assert_eq!(taken.count(), 1500);
    assert!(
        taken
            .of("geo/geolocation_data")
            .iter()
            .all(|geo| geo.contains("Albania"))
    );
}

#[test]
fn a_server_that_comes_back_is_read_on() {
    let mut world = World::new(&filled(3000));
    for table in [
        "pinterest_data ADD PRIMARY KEY (`index`)",
        "geolocation_data ADD PRIMARY KEY (ind)",
        "user_data ADD PRIMARY KEY (ind)",
    ] {
        world
            .server
            .sql(&format!("USE pinterest_data; ALTER TABLE {table};"));
    }
    let mut taken = Taken::default();
    // The budget stops reading ahead long before the end.
    let opening = Opening {
        budget_bytes: 4 << 10,
        ..Opening::whole(streams())
    };
    let mut source = Mysql::open(
        world.address("page_rows=100"),
        opening,
        world.runtime.handle(),
    )
    .unwrap();
    read_until(&mut source, &mut taken, 1, |taken| taken.count() >= 100).unwrap();
    let left: u64 = source.lag().iter().filter_map(|lag| lag.records).sum();
    assert_eq!(left as usize + taken.count(), 9000);
    world.server.crash_and_restart();
    drain(&mut source, &mut taken, 1).unwrap();
    assert_eq!(taken.count(), 9000);
    assert!(source.lag().iter().all(|lag| lag.records == Some(0)));
}

#[test]
fn what_fails_is_said_with_what_to_do_and_without_the_password() {
    let world = World::new(
        "CREATE TABLE pinterest_data (title TEXT); CREATE TABLE user_data (ind INT PRIMARY KEY);",
    );
    let port = world.server.port;
    for (address, why) in [
        (
            format!("mysql://reader:hunter2@127.0.0.1:{port}/pinterest_data"),
            "no key to cut pages by",
        ),
        (
            format!("mysql://reader:hunter2@127.0.0.1:{port}/pinterest_data?pin=user_data"),
            "`geolocation_data`: there is no such table",
        ),
        (
            format!("mysql://reader:hunter3@127.0.0.1:{port}/pinterest_data"),
            "check the user and the password",
        ),
        (
            format!("mysql://reader:hunter2@127.0.0.1:{port}/other"),
            "check",
        ),
        (
            "mysql://reader:hunter2@127.0.0.1:1/other".to_owned(),
            "check that the server runs",
        ),
    ] {
        let address: MysqlAddress = address.parse().unwrap();
        let opening = Opening::whole(streams());
        let mut source = Mysql::open(address, opening, world.runtime.handle()).unwrap();
        let error = drain(&mut source, &mut Taken::default(), 1).unwrap_err();
        let text = format!("{error} {error:?} {}", source.describe());
        assert!(text.contains(why), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[test]
fn a_server_with_a_certificate_is_read_over_tls_and_one_without_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let (key, certificate) = (
        folder.path().join("key.pem"),
        folder.path().join("certificate.pem"),
    );
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl makes the certificate of this test: apt-get install openssl");
    assert!(made.status.success());
    let options = [
        format!("--ssl-key={}", key.display()),
        format!("--ssl-cert={}", certificate.display()),
        "--require-secure-transport=ON".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let world = World::with(&options, &filled(10));
    let taken = world
        .whole(&format!("ca={}", certificate.display()))
        .unwrap();
    assert_eq!(taken.count(), 30);
    for options in ["", "tls=on"] {
        assert!(world.whole(options).is_err(), "{options:?}");
    }
}

#[test]
fn reading_never_waits() {
    let world = World::new(&filled(1000));
    let mut source = world.open("page_rows=100", &Taken::default());
    let mut longest = Duration::ZERO;
    loop {
        let before = Instant::now();
        let read = source.read(1 << 20).unwrap();
        longest = longest.max(before.elapsed());
        match read {
            Read::End => break,
            Read::Idle => std::thread::yield_now(),
            Read::Chunk(_) => {}
        }
    }
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}
