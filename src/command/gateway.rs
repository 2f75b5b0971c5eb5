//! `gateway`: the front doors alone.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::address::Address;
use crate::gateway::{
    ApiKeys, BackendSpec, Cors, GatewayConfig, Limits, LogOptions, NewTopics, TlsFiles, serve,
};

/// Arguments of `gateway`.
#[derive(clap::Args, Clone)]
pub struct GatewayArgs {
    /// Where clients come to
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// The lake whose embedded log takes what goes nowhere else
    #[arg(long, value_name = "LAKE", default_value = "./lake")]
    lake: String,
    #[command(flatten)]
    doors: DoorArgs,
}

/// What is behind the doors, and who may come in; the same for `gateway` and for `run --gateway`.
#[derive(clap::Args, Clone, Debug)]
pub struct DoorArgs {
    /// Where records for /topics go: log:FOLDER, kafka://host:port or kinesis://[?region=..]
    /// [default: the lake's embedded log]
    #[arg(long, value_name = "TO", value_parser = Address::<BackendSpec>::new())]
    topics_to: Option<BackendSpec>,
    /// Where records for /streams go [default: the lake's embedded log]
    #[arg(long, value_name = "TO", value_parser = Address::<BackendSpec>::new())]
    streams_to: Option<BackendSpec>,
    /// The streams of the dataflow: records of a Kinesis stream go to the topic of the one that its
    /// name or partition key ends in
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "pin,geo,user"
    )]
    streams: Vec<String>,
    /// Partitions of topics that are made on first use
    #[arg(long, value_name = "N", default_value = "1")]
    partitions: NonZeroU32,
    /// Make Kafka's topics when they are not there
    #[arg(long)]
    pub(super) create_topics: bool,
    /// Megabytes of a request's body
    #[arg(long, value_name = "MB", default_value_t = 10)]
    body: usize,
    /// Seconds that a request may take
    #[arg(long, value_name = "S", default_value_t = 30)]
    request_timeout: u64,
    /// A key that requests need in x-api-key; several are separated by commas
    #[arg(
        long,
        value_name = "KEYS",
        env = "PINFLOW_API_KEYS",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// A file of keys, one a line
    #[arg(long, value_name = "FILE", env = "PINFLOW_API_KEYS_FILE")]
    api_key_file: Option<PathBuf>,
    /// The certificate for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Origins of web pages that may use the gateway: none, *, or a list
    #[arg(long, value_name = "ORIGINS", default_value = "none")]
    cors: String,
    /// Names that requests from this machine may call pinflow by, beside its addresses and
    /// localhost; * for any
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) allow_host: Vec<String>,
}

impl DoorArgs {
    /// Refuses places for records that no gateway of this run takes in.
    pub fn check_without_gateway(&self) -> Result<(), Failure> {
        match (&self.topics_to, &self.streams_to) {
            (None, None) => Ok(()),
            _ => Err(
                "--topics-to and --streams-to say where the gateway puts records, and there \
                      is no --gateway; to read from Kafka or Kinesis, write --source"
                    .into(),
            ),
        }
    }

    /// The gateway that is asked for, with its log in `lake`.
    pub fn config(&self, lake: &str) -> Result<GatewayConfig, Failure> {
        let folder = match lake.strip_prefix("file://") {
            None if lake.contains("://")
                && (self.topics_to.is_none() || self.streams_to.is_none()) =>
            {
                return Err("the embedded log needs a folder of this machine: name one with --topics-to log:FOLDER and --streams-to log:FOLDER, or another place for records".into());
            }
            _ => log_folder(lake),
        };
        let mut keys = ApiKeys::new(self.api_key.iter().flat_map(|keys| keys.split(',')));
        if let Some(file) = &self.api_key_file {
            keys = keys.and(ApiKeys::of_file(file)?);
        }
        let cors = match self.cors.trim() {
            "*" => Cors::Everybody,
            "none" | "" => Cors::Nobody,
            origins => Cors::These(
                origins
                    .split(',')
                    .map(|origin| origin.trim().parse())
                    .collect::<Result<_, _>>()
                    .map_err(|_| format!("`{origins}` is no list of origins for --cors"))?,
            ),
        };
        let tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificates), Some(key)) => Some(TlsFiles {
                certificates: certificates.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let log = LogOptions {
            partitions: self.partitions.get(),
            ..LogOptions::default()
        };
        let new_topics = self.create_topics.then(|| NewTopics {
            partitions: i32::try_from(self.partitions.get()).unwrap_or(i32::MAX),
            replication: -1,
        });
        Ok(GatewayConfig {
            topics: self
                .topics_to
                .clone()
                .unwrap_or(BackendSpec::Log(folder.clone())),
            streams: self
                .streams_to
                .clone()
                .unwrap_or(BackendSpec::Log(folder.clone())),
            log,
            new_topics,
            limits: Limits {
                body_bytes: self.body.max(1) << 20,
                request: Duration::from_secs(self.request_timeout.max(1)),
                ..Limits::default()
            },
            keys,
            tls,
            cors,
            hosts: self.allow_host.clone(),
            ..GatewayConfig::embedded(folder, self.streams.clone(), Arc::new(now_ms))
        })
    }
}

/// The folder of a lake's embedded log.
pub fn log_folder(lake: &str) -> PathBuf {
    PathBuf::from(lake.strip_prefix("file://").unwrap_or(lake)).join("_log")
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

/// Answers until Ctrl-C, or being told to terminate; requests that are there are finished.
pub fn run(args: &GatewayArgs) -> Result<(), Failure> {
    let config = args.doors.config(&args.lake)?;
    let (topics, streams) = (
        format!("{:?}", config.topics),
        format!("{:?}", config.streams),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = serve(config, args.listen).await?;
        println!(
            "the gateway listens at {}; topics go to {topics}, streams to {streams}",
            server.url()
        );
        told_to_stop().await?;
        server.stop().await;
        Ok(())
    })
}

async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    fn config(line: &str) -> Result<GatewayConfig, Failure> {
        let words =
            std::iter::once("gateway").chain(line.split(' ').filter(|word| !word.is_empty()));
        let line = <Line as clap::Parser>::try_parse_from(words)?;
        line.gateway.doors.config(&line.gateway.lake)
    }

    #[test]
    fn everything_goes_into_the_lakes_log_unless_told_otherwise() {
        let config = config("--lake /lake --streams-to log:/elsewhere --partitions 3").unwrap();
        assert_eq!(format!("{:?}", config.topics), "log:/lake/_log");
        assert_eq!(format!("{:?}", config.streams), "log:/elsewhere");
        assert_eq!(config.log.partitions, 3);
        assert_eq!(config.stream_names, ["pin", "geo", "user"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_keys_are_not_shown() {
        for (line, why) in [
            ("--lake s3://bucket", "needs a folder of this machine"),
            ("--topics-to http://x", "records go to"),
            ("--tls-key key.pem", "--tls-certificate"),
            ("--api-key-file /none/there", "cannot be read"),
        ] {
            let error = config(line).err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
        for line in [
            "--topics-to kafka://h?passwrd=hunter2",
            "--topics-to kafak://joe:hunter2@h",
            "--streams-to kinesis://x?secret=hunter2",
        ] {
            let error = config(line).err().unwrap().to_string();
            assert!(error.contains("…") && !error.contains("hunter2"), "{error}");
        }
        let config = config("--api-key hunter2,other --cors none").unwrap();
        assert!(config.keys.admit(Some(b"other")));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
