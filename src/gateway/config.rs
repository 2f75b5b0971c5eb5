//! How the front doors are set up.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;

use super::embedded::NowMs;
use super::kafka::NewTopics;
use super::keys::ApiKeys;
use super::log::LogOptions;
use super::tls::TlsFiles;
use crate::door;
use crate::kafka::KafkaAddress;
use crate::kinesis::KinesisAddress;
use crate::redact::redact;
use crate::source::SourceError;

/// What is behind a door.
#[derive(Clone)]
pub enum BackendSpec {
    /// The embedded log in a folder.
    Log(PathBuf),
    /// Kafka.
    Kafka(Box<KafkaAddress>),
    /// Kinesis.
    Kinesis(Box<KinesisAddress>),
}

impl FromStr for BackendSpec {
    type Err = SourceError;

    fn from_str(address: &str) -> Result<Self, SourceError> {
        match address.split_once(':') {
            Some(("log", folder)) if !folder.is_empty() => Ok(BackendSpec::Log(folder.into())),
            Some(("kafka", _)) => Ok(BackendSpec::Kafka(Box::new(address.parse()?))),
            Some(("kinesis", _)) => Ok(BackendSpec::Kinesis(Box::new(address.parse()?))),
            _ => Err(SourceError::Address {
                address: redact(address),
                why: "records go to `log:FOLDER`, `kafka://host:port` or `kinesis://`".to_owned(),
            }),
        }
    }
}

impl fmt::Debug for BackendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendSpec::Log(folder) => write!(f, "log:{}", folder.display()),
            BackendSpec::Kafka(address) => f.write_str(&address.describe()),
            BackendSpec::Kinesis(address) => f.write_str(&address.describe()),
        }
    }
}

/// What requests may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// How many bytes of bodies may be in memory at once; others wait.
    pub bodies_bytes: usize,
    /// How long a request may take, its body included.
    pub request: Duration,
    /// What connections may do.
    pub door: door::Limits,
    /// How long a consumer instance may be idle.
    pub instance: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 10 << 20,
            bodies_bytes: 256 << 20,
            request: Duration::from_secs(30),
            door: door::Limits {
                connections: 4096,
                header: Duration::from_secs(60),
                stall: Duration::from_secs(30),
                stop: Duration::from_secs(30),
            },
            instance: Duration::from_secs(300),
        }
    }
}

/// Which pages of browsers may use the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Those of any origin, as in the original deployments.
    Everybody,
    /// Those of these origins.
    These(Vec<HeaderValue>),
    /// None.
    #[default]
    Nobody,
}

/// How the front doors are set up.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Behind `/topics` and `/consumers`.
    pub topics: BackendSpec,
    /// Behind `/streams`.
    pub streams: BackendSpec,
    /// The dataflow's streams: what topics are named after when records of a Kinesis stream go to
    /// topics.
    pub stream_names: Vec<String>,
    /// How embedded logs are kept.
    pub log: LogOptions,
    /// How Kafka's topics are made when they are not there; not at all without it.
    pub new_topics: Option<NewTopics>,
    /// What requests may be.
    pub limits: Limits,
    /// Who may come in.
    pub keys: ApiKeys,
    /// TLS, if clients come through it.
    pub tls: Option<TlsFiles>,
    /// Browsers.
    pub cors: Cors,
    /// Names that clients of this machine may call the gateway by, beside its addresses.
    pub hosts: Vec<String>,
    /// The time.
    pub now_ms: NowMs,
}

impl GatewayConfig {
    /// Everything into the embedded log in `folder`.
    pub fn embedded(folder: PathBuf, stream_names: Vec<String>, now_ms: NowMs) -> GatewayConfig {
        GatewayConfig {
            topics: BackendSpec::Log(folder.clone()),
            streams: BackendSpec::Log(folder),
            stream_names,
            log: LogOptions::default(),
            new_topics: None,
            limits: Limits::default(),
            keys: ApiKeys::default(),
            tls: None,
            cors: Cors::default(),
            hosts: Vec::new(),
            now_ms,
        }
    }
}

impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("topics", &self.topics)
            .field("streams", &self.streams)
            .field("limits", &self.limits)
            .field("keys", &self.keys)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
