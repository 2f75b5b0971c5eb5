//! The address of a Kafka cluster and of the topics that streams are bound to.
//!
//! ```text
//! kafka://host:9092[,host2:9092]?topic_prefix=<id>.&pin=<topic>&start=earliest&sasl=scram-sha-512&user=..
//! ```
//! An option that is none of ours binds a stream to a topic (`stream.<name>=<topic>` where the name
//! is also that of an option). `rdkafka.<name>=<value>` is a setting of librdkafka, and beats our
//! choice.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::options::{Options, Secret};
use super::settings::{Security, check_setting};
use super::time;
use crate::nearest::nearest;
use crate::redact::redact;
use crate::source::SourceError;

/// Where a partition that was never read begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still there.
    #[default]
    Earliest,
    /// Behind the newest record; partitions that appear later begin at their oldest.
    Latest,
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
}

/// What to do when records that were not read are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLostOffsets {
    /// Fail: someone has to decide.
    #[default]
    Fail,
    /// Go on at the oldest record that is there.
    Earliest,
    /// Go on behind the newest record.
    Latest,
}

/// Which records of transactions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions.
    #[default]
    ReadCommitted,
    /// All, also of aborted ones.
    ReadUncommitted,
}

impl Isolation {
    /// As librdkafka has it.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// How topics are made that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewTopics {
    /// Partitions of each; the broker's default if none.
    pub partitions: Option<i32>,
    /// Copies of each partition; the broker's default if none.
    pub replication: Option<i32>,
}

/// A Kafka cluster, how to get in, and which topics are whose.
#[derive(Clone, PartialEq)]
pub struct KafkaAddress {
    pub(super) brokers: String,
    pub(super) security: Security,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) group: String,
    /// What stands before the stream's name in topics.
    pub topic_prefix: Option<String>,
    /// Topics of streams, where they are given one by one.
    pub topics: BTreeMap<String, String>,
    /// Where partitions that were never read begin.
    pub start: Start,
    /// What to do when records that were not read are gone.
    pub on_lost_offsets: OnLostOffsets,
    /// Which records of transactions are read.
    pub isolation: Isolation,
    /// Whether to make topics that are missing, and how.
    pub create_topics: Option<NewTopics>,
    /// How often to look for new partitions and topics.
    pub discover: Duration,
    /// How long to wait for the brokers when a source is opened.
    pub wait: Duration,
}

/// Options whose values are secret: a name like one of them is no stream's, but a slip.
const SECRETS: [&str; 3] = ["password", "key_password", "token_file"];

impl FromStr for KafkaAddress {
    type Err = SourceError;

    fn from_str(address: &str) -> Result<Self, SourceError> {
        KafkaAddress::parse(address, &|name| std::env::var(name).ok())
    }
}

impl KafkaAddress {
    /// Reads an address; `environment` has the credentials that are not in it.
    pub fn parse(
        address: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SourceError> {
        Options::parse(address)
            .and_then(|options| from_options(options, environment))
            .map_err(|why| SourceError::Address {
                address: redact(address),
                why,
            })
    }

    /// The cluster for people: without secrets.
    pub fn describe(&self) -> String {
        let mut text = format!("kafka://{}", self.brokers);
        let prefix = self.topic_prefix.iter().map(|it| ("topic_prefix", it));
        let topics = self.topics.iter().map(|(stream, it)| (stream.as_str(), it));
        for (at, (name, value)) in prefix.chain(topics).enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(&format!("{name}={value}"));
        }
        text
    }

    /// The brokers, `host:port` with commas between.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The one topic of a stream, where the address tells it: by name or by prefix. Otherwise the
    /// stream's topics are those of the cluster that are named like it.
    pub fn topic_for(&self, stream: &str) -> Option<String> {
        match (self.topics.get(stream), &self.topic_prefix) {
            (Some(topic), _) => Some(topic.clone()),
            (None, Some(prefix)) => Some(format!("{prefix}{stream}")),
            (None, None) => None,
        }
    }

    /// Whether the records of `topic` belong to `stream`.
    pub fn is_of(&self, topic: &str, stream: &str) -> bool {
        match self.topic_for(stream) {
            Some(bound) => bound == topic,
            None => {
                let before = topic.strip_suffix(stream);
                !topic.starts_with("__")
                    && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        }
    }

    /// The same, making missing topics (or not).
    pub fn with_create_topics(mut self, how: Option<NewTopics>) -> Self {
        self.create_topics = how;
        self
    }

    /// The same, with another answer to lost records.
    pub fn with_on_lost_offsets(mut self, answer: OnLostOffsets) -> Self {
        self.on_lost_offsets = answer;
        self
    }
}

impl fmt::Debug for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KafkaAddress")
            .field(&self.describe())
            .finish()
    }
}

impl fmt::Display for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

fn from_options(
    mut options: Options,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<KafkaAddress, String> {
    let user = options.user.take();
    let password = options.password.take();
    let security = Security::from_options(&mut options, user, password, environment)?;
    let brokers = with_ports(&options.brokers, security.default_port())?;
    let start = match options.take("start") {
        None => Start::Earliest,
        Some(text) => match text.as_str() {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            _ => Start::Timestamp(time::parse_ms(&text).ok_or(
                "`start` is `earliest`, `latest`, a time such as 2024-05-01T12:00:00Z, or milliseconds since 1970",
            )?),
        },
    };
    let lost = [
        ("fail", OnLostOffsets::Fail),
        ("earliest", OnLostOffsets::Earliest),
        ("latest", OnLostOffsets::Latest),
    ];
    let isolation = [
        ("read-committed", Isolation::ReadCommitted),
        ("read-uncommitted", Isolation::ReadUncommitted),
    ];
    let flag = [("true", true), ("false", false)];
    let new_topics = NewTopics {
        partitions: small(options.number("partitions", 1)?, "partitions")?,
        replication: small(options.number("replication", 1)?, "replication")?,
    };
    let create = options.choice("create_topics", &flag)?.unwrap_or(false);
    let mut address = KafkaAddress {
        brokers,
        security,
        settings: BTreeMap::new(),
        group: options.take("group").unwrap_or("pinflow".to_owned()),
        topic_prefix: options.take("topic_prefix"),
        topics: BTreeMap::new(),
        start,
        on_lost_offsets: options
            .choice("on_lost_offsets", &lost)?
            .unwrap_or_default(),
        isolation: options.choice("isolation", &isolation)?.unwrap_or_default(),
        create_topics: create.then_some(new_topics),
        discover: Duration::from_millis(options.number("discover_ms", 50)?.unwrap_or(10_000)),
        wait: Duration::from_secs(options.number("wait", 1)?.unwrap_or(30)),
    };
    for (name, value) in options.rest() {
        if let Some(setting) = name.strip_prefix("rdkafka.") {
            check_setting(setting)?;
            address.settings.insert(setting.to_owned(), value);
        } else {
            let stream = name.strip_prefix("stream.").unwrap_or(&name);
            if stream == name
                && let Some(near) = nearest(stream, SECRETS.into_iter())
            {
                return Err(format!(
                    "there is no option `{name}`: did you mean `{near}`? The topic of a stream \
                     with this name is given by `stream.{name}`"
                ));
            }
            if value.is_empty() {
                return Err(format!("`{name}` names no topic"));
            }
            address.topics.insert(stream.to_owned(), value);
        }
    }
    Ok(address)
}

fn small(number: Option<u64>, name: &str) -> Result<Option<i32>, String> {
    number
        .map(|number| i32::try_from(number).map_err(|_| format!("`{name}` is too large")))
        .transpose()
}

fn with_ports(brokers: &str, port: u16) -> Result<String, String> {
    if brokers.contains(['/', ' ']) {
        return Err("after the brokers there is nothing but `?` and options".to_owned());
    }
    let mut all = Vec::new();
    for broker in brokers.split(',').filter(|broker| !broker.is_empty()) {
        let has_port = match broker.rsplit_once(':') {
            // The colons inside the brackets of an IPv6 address are not that of a port.
            Some((host, port)) => {
                if host.is_empty() {
                    return Err(format!("`{broker}` names no host"));
                }
                let is_port = port.parse::<u16>().is_ok();
                if !is_port && !broker.ends_with(']') {
                    return Err(format!("`{broker}` has no port between 0 and 65535"));
                }
                is_port
            }
            None => false,
        };
        all.push(if has_port {
            broker.to_owned()
        } else {
            format!("{broker}:{port}")
        });
    }
    if all.is_empty() {
        return Err("it names no broker, such as `kafka://localhost:9092`".to_owned());
    }
    Ok(all.join(","))
}

/// A password of the address or the environment.
pub(super) fn secret(
    options: &mut Options,
    given: Option<Secret>,
    environment: Option<String>,
) -> Option<Secret> {
    let named = options.take("password").map(Secret);
    given.or(named).or(environment.map(Secret))
}
