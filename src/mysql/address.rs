//! The address of a MySQL or MariaDB server:
//! `mysql://user[:password]@host[:port]/database[?options]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use crate::redact::redact;
use crate::source::SourceError;

/// The environment variable that holds the password, as for MySQL's own clients.
const PASSWORD: &str = "MYSQL_PWD";

/// Rows that are asked for at once.
const PAGE_ROWS: u64 = 5000;

/// Where a database is, and how it is read. The password is in no text that this makes.
#[derive(Clone)]
pub struct MysqlAddress {
    opts: Opts,
    shown: String,
    tls: Option<Tls>,
    /// Names that are given for streams: `<stream>` the table, `<stream>.key` the column that pages
    /// are cut by.
    named: BTreeMap<String, String>,
    page_rows: u64,
}

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tls {
    /// By the certificate authorities that everyone trusts.
    Public,
    /// By those in a PEM file.
    File(PathBuf),
}

impl FromStr for MysqlAddress {
    type Err = SourceError;

    fn from_str(address: &str) -> Result<Self, SourceError> {
        // The two servers speak one protocol.
        let address = address.replacen("mariadb://", "mysql://", 1);
        let address = address.as_str();
        let wrong = |why: String| SourceError::Address {
            address: redact(address),
            why,
        };
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        let expected = "it is `mysql://user@host:3306/database`, the password also in MYSQL_PWD";
        if !base.starts_with("mysql://") {
            return Err(wrong(expected.to_owned()));
        }
        let opts = Opts::from_url(base).map_err(|_| wrong(expected.to_owned()))?;
        let Some(database) = opts.db_name().filter(|name| !name.is_empty()) else {
            return Err(wrong(format!("it names no database; {expected}")));
        };
        let Some(user) = opts.user().filter(|user| !user.is_empty()) else {
            return Err(wrong(format!("it names no user; {expected}")));
        };
        let shown = format!(
            "mysql://{user}@{}:{}/{database}",
            opts.ip_or_hostname(),
            opts.tcp_port()
        );
        let (mut tls, mut named, mut page_rows) = (None, BTreeMap::new(), PAGE_ROWS);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("tls", "off") => tls = None,
                ("tls", "on") => tls = tls.or(Some(Tls::Public)),
                ("tls", _) => return Err(wrong("`tls` is `on` or `off`".to_owned())),
                ("ca", file) => tls = Some(Tls::File(file.into())),
                ("page_rows", rows) => {
                    page_rows = rows
                        .parse()
                        .ok()
                        .filter(|rows| *rows > 0)
                        .ok_or_else(|| wrong("`page_rows` is a whole number above 0".into()))?;
                }
                (_, "") => return Err(wrong(format!("the option `{name}` has no value"))),
                _ => {
                    named.insert(name.into_owned(), value.into_owned());
                }
            }
        }
        Ok(MysqlAddress {
            opts,
            shown,
            tls,
            named,
            page_rows,
        })
    }
}

impl MysqlAddress {
    /// The address for people: without password and options.
    pub fn describe(&self) -> String {
        self.shown.clone()
    }

    /// Server and database.
    pub(crate) fn place(&self) -> String {
        let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
        format!("{host}:{port}/{}", self.database())
    }

    /// The database.
    pub fn database(&self) -> &str {
        self.opts.db_name().unwrap_or_default()
    }

    /// The table of a stream: the one that was given; of the original's streams its table; else the
    /// one with the stream's name.
    pub fn table<'a>(&'a self, stream: &'a str) -> &'a str {
        match self.named.get(stream) {
            Some(table) => table,
            None => match stream {
                "pin" => "pinterest_data",
                "geo" => "geolocation_data",
                "user" => "user_data",
                other => other,
            },
        }
    }

    /// The column that pages of the stream's table are cut by, if one was given.
    pub fn key(&self, stream: &str) -> Option<&str> {
        self.named.get(&format!("{stream}.key")).map(String::as_str)
    }

    /// How many rows are asked for at once.
    pub fn page_rows(&self) -> u64 {
        self.page_rows
    }

    /// Refuses options that are neither known nor of one of `streams`.
    pub fn check_streams(&self, streams: &[String]) -> Result<(), SourceError> {
        let known = |name: &str| {
            let stream = name.strip_suffix(".key").unwrap_or(name);
            streams.iter().any(|known| known == stream)
        };
        match self.named.keys().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => Err(SourceError::Address {
                address: self.shown.clone(),
                why: format!(
                    "`{name}` is no option; options are `tls`, `ca`, `page_rows`, and `<stream>=<table>` and `<stream>.key=<column>` for the streams {}",
                    streams.join(", ")
                ),
            }),
        }
    }

    /// Connects. Text comes as UTF-8, and TIMESTAMP columns in UTC.
    pub async fn connect(&self) -> Result<Conn, mysql_async::Error> {
        let password = match self.opts.pass() {
            Some(password) => Some(password.to_owned()),
            None => std::env::var(PASSWORD).ok(),
        };
        let tls = self.tls.as_ref().map(|tls| {
            // More than one provider of cryptography may be compiled in, and then someone must
            // choose. If someone did, that stays.
            let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
            match tls {
                Tls::Public => SslOpts::default(),
                Tls::File(file) => SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(vec![file.clone().into()]),
            }
        });
        let opts = OptsBuilder::from_opts(self.opts.clone())
            .pass(password)
            .prefer_socket(false)
            .ssl_opts(tls)
            .init(vec![
                "SET SESSION time_zone = '+00:00', net_write_timeout = 86400, wait_timeout = 86400",
            ]);
        Conn::new(opts).await
    }
}

impl fmt::Debug for MysqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlAddress")
            .field("address", &self.shown)
            .field("tls", &self.tls)
            .field("named", &self.named)
            .field("page_rows", &self.page_rows)
            .finish()
    }
}

impl PartialEq for MysqlAddress {
    fn eq(&self, other: &Self) -> bool {
        self.opts == other.opts
            && self.tls == other.tls
            && self.named == other.named
            && self.page_rows == other.page_rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_which_tables() {
        let address: MysqlAddress =
            "mysql://me:p%40ss@db.example:3307/pinterest_data?geo=places&pin.key=index&page_rows=10&tls=on"
                .parse()
                .unwrap();
        assert_eq!(
            address.describe(),
            "mysql://me@db.example:3307/pinterest_data"
        );
        assert_eq!(address.opts.pass(), Some("p@ss"));
        assert_eq!(address.table("pin"), "pinterest_data");
        assert_eq!(address.table("geo"), "places");
        assert_eq!(address.table("user"), "user_data");
        assert_eq!(address.key("pin"), Some("index"));
        assert_eq!(
            (address.page_rows(), address.tls.clone()),
            (10, Some(Tls::Public))
        );
        let streams = ["pin", "user"].map(str::to_owned);
        let error = address.check_streams(&streams).unwrap_err().to_string();
        assert!(error.contains("`geo` is no option"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (address, why) in [
            ("mysql://me:hunter2@host/", "names no database"),
            ("mysql://:hunter2@host/data", "names no user"),
            ("mysql:me:hunter2@host/data", "it is `mysql://user@host"),
            (
                "mysql://me:hunter2@host:port/data",
                "it is `mysql://user@host",
            ),
            (
                "mysql://me:hun:ter2@host/data?tls=maybe",
                "`tls` is `on` or `off`",
            ),
            ("mysql://me:hunter2@host/data?page_rows=0", "above 0"),
            ("mysql://me:hunter2@host/data?geo=", "`geo` has no value"),
        ] {
            let error = address.parse::<MysqlAddress>().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(why), "{text}");
            assert!(!text.contains("ter2"), "{text}");
        }
        let address: MysqlAddress = "mysql://me:hunter2@host/data".parse().unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
