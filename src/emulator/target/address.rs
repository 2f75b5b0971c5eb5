//! What `--to` can be.
//!
//! ```text
//! dir:PATH                                                   files
//! http[s]://HOST[:PORT]/[STAGE/]topics/ID.*                  Kafka REST proxy; also topics?prefix=ID.
//!     format=json|binary  keys=index|none
//! http[s]://HOST[:PORT]/[STAGE/]streams/STREAM               Kinesis by the gateway; also streams?prefix=streaming-ID-
//!     partition_key=index|random|TEXT
//! kafka://HOST:PORT?topic_prefix=ID.&..                      a Kafka cluster, as sources name it; keys=index|none
//! kinesis://STREAM?..                                        Kinesis, as sources name it; partition_key=..
//! ```
//! STREAM with a `*` is one stream each for pin, geo and user; without, one that they share.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use super::names::{Names, PartitionKeys};
use crate::emulator::EmulatorError;
use crate::redact::redact;

/// Which target, and where.
#[derive(Clone, PartialEq)]
pub(in crate::emulator) enum TargetAddress {
    /// Files.
    Folder(PathBuf),
    /// A Kafka REST proxy.
    Topics(TopicsAddress),
    /// Kinesis by the gateway.
    Streams(StreamsAddress),
    /// A Kafka cluster.
    Kafka(KafkaTarget),
    /// Kinesis.
    Kinesis(KinesisTarget),
}

/// A Kafka REST proxy, and how to post to it.
#[derive(Clone, PartialEq)]
pub(in crate::emulator) struct TopicsAddress {
    /// Ends in `/topics`.
    pub(super) base: Url,
    pub(super) names: Names,
    /// Whether records have their post's number as key.
    pub(super) keys: bool,
    /// Whether bodies are sent as base64 even if they are JSON.
    pub(super) binary: bool,
}

/// Kinesis by the gateway, and how to post to it.
#[derive(Clone, PartialEq)]
pub(in crate::emulator) struct StreamsAddress {
    /// Ends in `/streams`.
    pub(super) base: Url,
    pub(super) names: Names,
    pub(super) partition_keys: PartitionKeys,
}

/// A Kafka cluster, and how to post to it.
#[derive(Clone, PartialEq)]
pub(in crate::emulator) struct KafkaTarget {
    /// The address without our options. May hold secrets.
    pub(super) address: String,
    pub(super) keys: bool,
}

/// Kinesis streams, and how to post to them.
#[derive(Clone, PartialEq)]
pub(in crate::emulator) struct KinesisTarget {
    /// The address without our options.
    pub(super) address: String,
    pub(super) names: Names,
    pub(super) partition_keys: PartitionKeys,
}

impl FromStr for TargetAddress {
    type Err = EmulatorError;

    fn from_str(address: &str) -> Result<Self, EmulatorError> {
        parse(address).map_err(|why| EmulatorError::Target {
            address: redact(address),
            why,
        })
    }
}

fn parse(address: &str) -> Result<TargetAddress, String> {
    let (kind, rest) = address
        .split_once(':')
        .ok_or_else(|| "it does not begin with a kind and a colon".to_owned())?;
    match kind {
        "dir" if rest.is_empty() => Err("the folder is missing".to_owned()),
        "dir" if rest.contains("://") => {
            Err("files are written to folders of this machine only".to_owned())
        }
        "dir" => Ok(TargetAddress::Folder(rest.into())),
        "http" | "https" => parse_http(address),
        "kafka" => {
            let (address, [keys]) = take_options(address, ["keys"]);
            let keys = parse_keys(keys.as_deref())?;
            Ok(TargetAddress::Kafka(KafkaTarget { address, keys }))
        }
        "kinesis" => {
            let (address, [key]) = take_options(address, ["partition_key"]);
            let place = address.split('?').next().unwrap_or("");
            let names = Names::parse(place.trim_start_matches("kinesis://").trim_end_matches('/'))?;
            Ok(TargetAddress::Kinesis(KinesisTarget {
                partition_keys: PartitionKeys::parse(key.as_deref(), &names)?,
                address,
                names,
            }))
        }
        _ => Err("there is no such kind of target".to_owned()),
    }
}

fn parse_http(address: &str) -> Result<TargetAddress, String> {
    let mut url = Url::parse(address).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "user and password do not belong there; a key of the gateway is given by --api-key"
                .to_owned(),
        );
    }
    let mut options = [const { None::<String> }; 4];
    let known = ["prefix", "format", "keys", "partition_key"];
    for (name, value) in url.query_pairs() {
        let at = known.iter().position(|known| *known == name);
        let at = at.ok_or_else(|| {
            format!(
                "there is no option `{name}`; there are {}",
                known.join(", ")
            )
        })?;
        options[at] = Some(value.into_owned());
    }
    let [prefix, format, keys, partition_key] = options;
    url.set_query(None);
    url.set_fragment(None);
    let mut path: Vec<&str> = url.path().trim_end_matches('/').split('/').collect();
    let named = match path.as_slice() {
        [.., "topics" | "streams"] => None,
        [.., "topics" | "streams", _] => path.pop().map(str::to_owned),
        _ => return Err("the path must end in `/topics/NAME` or `/streams/NAME`".to_owned()),
    };
    let is_topics = path.last() == Some(&"topics");
    let base = path.join("/");
    url.set_path(&base);
    let names = match (named, prefix) {
        (Some(_), Some(_)) => {
            return Err("`prefix` is for addresses without a name in the path".to_owned());
        }
        (Some(name), None) => Names::parse(&decoded(&name)?)?,
        (None, prefix) => Names::parse(&format!("{}*", prefix.unwrap_or_default()))?,
    };
    if is_topics {
        if partition_key.is_some() {
            return Err(
                "`partition_key` belongs to streams; records of topics have `keys`".to_owned(),
            );
        }
        if matches!(names, Names::Shared(_)) {
            return Err(
                "pin, geo and user need topics of their own: put a `*` into the name".to_owned(),
            );
        }
        return Ok(TargetAddress::Topics(TopicsAddress {
            base: url,
            names,
            keys: parse_keys(keys.as_deref())?,
            binary: match format.as_deref() {
                None | Some("json") => false,
                Some("binary") => true,
                Some(_) => return Err("`format` is `json` or `binary`".to_owned()),
            },
        }));
    }
    if format.is_some() || keys.is_some() {
        return Err(
            "`format` and `keys` belong to topics; records of streams have a `partition_key`"
                .to_owned(),
        );
    }
    Ok(TargetAddress::Streams(StreamsAddress {
        partition_keys: PartitionKeys::parse(partition_key.as_deref(), &names)?,
        base: url,
        names,
    }))
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> Result<String, String> {
    let bad = || format!("`{segment}` is not a name");
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = tail
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .ok_or_else(bad)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn parse_keys(keys: Option<&str>) -> Result<bool, String> {
    match keys {
        None | Some("index") => Ok(true),
        Some("none") => Ok(false),
        Some(_) => Err("`keys` is `index` or `none`".to_owned()),
    }
}

/// Takes options of ours out of an address that somebody else reads.
fn take_options<const N: usize>(address: &str, names: [&str; N]) -> (String, [Option<String>; N]) {
    let mut found = [const { None }; N];
    let Some((place, options)) = address.split_once('?') else {
        return (address.to_owned(), found);
    };
    let mut left = Vec::new();
    for option in options.split('&') {
        let pair = url::form_urlencoded::parse(option.as_bytes()).next();
        let at = pair
            .as_ref()
            .and_then(|(name, _)| names.iter().position(|known| known == name));
        match (at, pair) {
            (Some(at), Some((_, value))) => found[at] = Some(value.into_owned()),
            _ => left.push(option),
        }
    }
    let question = if left.is_empty() { "" } else { "?" };
    (format!("{place}{question}{}", left.join("&")), found)
}

/// The address without options, user and password.
fn place(address: &str) -> String {
    redact(address.split('?').next().unwrap_or(""))
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, base: &Url, names: &Names| match names {
            Names::Each(names) => write!(f, "{base}/{{{}}}", names.join(",")),
            Names::Shared(name) => write!(f, "{base}/{name}"),
        };
        match self {
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
            Self::Topics(topics) => named(f, &topics.base, &topics.names),
            Self::Streams(streams) => named(f, &streams.base, &streams.names),
            Self::Kafka(kafka) => f.write_str(&place(&kafka.address)),
            Self::Kinesis(kinesis) => f.write_str(&place(&kinesis.address)),
        }
    }
}

impl fmt::Debug for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        address.parse::<TargetAddress>().unwrap().to_string()
    }

    fn refused(address: &str) -> String {
        address.parse::<TargetAddress>().unwrap_err().to_string()
    }

    #[test]
    fn addresses_are_understood() {
        for (address, meant) in [
            ("dir:a/b", "dir:a/b"),
            (
                "http://h:8082/topics",
                "http://h:8082/topics/{pin,geo,user}",
            ),
            (
                "http://h:8082/topics?prefix=0a.",
                "http://h:8082/topics/{0a.pin,0a.geo,0a.user}",
            ),
            (
                "https://h/dev/topics/0a.*?keys=none",
                "https://h/dev/topics/{0a.pin,0a.geo,0a.user}",
            ),
            (
                "https://h/dev/streams/streaming-0a-*",
                "https://h/dev/streams/{streaming-0a-pin,streaming-0a-geo,streaming-0a-user}",
            ),
            (
                "https://h/dev/streams/Prod?partition_key=0a_*",
                "https://h/dev/streams/Prod",
            ),
            ("kafka://h:9092?topic_prefix=0a.", "kafka://h:9092"),
            ("kinesis://Prod?region=us-east-1", "kinesis://Prod"),
        ] {
            assert_eq!(shown(address), meant, "{address}");
        }
    }

    #[test]
    fn options_of_ours_are_taken_out_of_addresses_that_others_read() {
        let address = "kafka://h:9092?topic_prefix=0a.&keys=none&user=a"
            .parse()
            .unwrap();
        let TargetAddress::Kafka(kafka) = address else {
            panic!("{address}")
        };
        assert_eq!(kafka.address, "kafka://h:9092?topic_prefix=0a.&user=a");
        assert!(!kafka.keys);
        let address = "kinesis://a?partition_key=0a_*".parse().unwrap();
        let TargetAddress::Kinesis(kinesis) = address else {
            panic!("{address}")
        };
        assert_eq!(kinesis.address, "kinesis://a");
        assert_eq!(
            kinesis.partition_keys,
            PartitionKeys::Text("0a_*".to_owned())
        );
    }

    #[test]
    fn addresses_that_cannot_be_posted_to_are_refused_with_the_reason() {
        for (address, why) in [
            ("dir:", "the folder is missing"),
            ("somewhere", "does not begin with a kind"),
            ("s3://bucket", "no such kind"),
            ("http://h:8082/", "must end in"),
            ("http://h/topics/one", "put a `*` into the name"),
            ("http://h/streams/one?partition_key=index", "told apart"),
            ("http://h/streams/one?partition_key=p", "put a `*` into it"),
            ("http://h/topics?pace=1", "no option `pace`"),
            ("http://h/topics?format=avro", "`json` or `binary`"),
        ] {
            let why = why.replace("told apart", "tells its records apart");
            assert!(
                refused(address).contains(&why),
                "{address}: {}",
                refused(address)
            );
        }
    }

    #[test]
    fn no_error_and_no_description_shows_a_secret() {
        for address in [
            "http://ann:secret@h/topics",
            "kafka://ann:secret@h:9092?password=secret&keys=what",
            "kinesis://?key=secret",
        ] {
            assert!(!refused(address).contains("secret"), "{}", refused(address));
        }
        assert!(!shown("kafka://ann:secret@h:9092?password=secret").contains("secret"));
    }
}
