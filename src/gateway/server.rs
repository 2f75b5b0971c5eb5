//! Listening, what is behind the doors, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::app::{App, router};
use super::backend::{Backend, Fault};
use super::config::{BackendSpec, GatewayConfig};
use super::embedded::Embedded;
use super::kafka::Kafka;
use super::kinesis::Kinesis;
use super::log::{Log, LogError};
use super::metrics::Metrics;
use super::naming::Naming;
use super::proxy::instances::Instances;
use super::stage;
use super::tls::{TlsError, acceptor};
use crate::door::{Door, Room, Visitors, is_private};
use crate::source::SourceError;

/// How often it is looked whether records can be taken.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often idle consumer instances are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Why the front doors do not open.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("the gateway cannot listen at {address}: {cause}; choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The embedded log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Kafka or Kinesis cannot be used.
    #[error("the gateway cannot use what is behind it: {0}")]
    Backend(String),
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<Fault> for GatewayError {
    fn from(fault: Fault) -> Self {
        GatewayError::Backend(fault.to_string())
    }
}

impl From<SourceError> for GatewayError {
    fn from(error: SourceError) -> Self {
        GatewayError::Backend(error.to_string())
    }
}

/// A running gateway.
pub struct Server {
    address: SocketAddr,
    tls: bool,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    log: Option<Arc<Log>>,
    trouble: watch::Receiver<Option<String>>,
}

impl Server {
    /// The address it listens on; its port is a real one even if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients write it.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Why records cannot be taken, while they cannot.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// The embedded log, if there is one.
    pub fn log(&self) -> Option<&Arc<Log>> {
        self.log.as_ref()
    }

    /// Takes no more connections, lets requests that are there finish, makes everything durable,
    /// and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // The only failure is a runtime that is gone.
        let _ = self.task.await;
    }
}

/// Opens what is behind the doors, listens at `address`, and answers from now on, on the current
/// runtime.
pub async fn serve(config: GatewayConfig, address: SocketAddr) -> Result<Server, GatewayError> {
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let cannot = |cause| GatewayError::Listen { address, cause };
    // First the port: who finds it taken has not touched the log.
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let mut opened = Opened::default();
    let topics = opened.backend(&config.topics, &config).await?;
    let streams = opened.backend(&config.streams, &config).await?;
    let app = Arc::new(App {
        topics,
        streams,
        instances: Instances::new(config.limits.instance, (config.now_ms)()),
        metrics: Metrics::default(),
        limits: config.limits,
        bodies: Room::new(config.limits.bodies_bytes.max(config.limits.body_bytes)),
        keys: config.keys.clone(),
        tls: tls.is_some(),
    });
    let (stop, stopped) = watch::channel(false);
    let visitors = match is_private(address) {
        true => Visitors::OfThisMachine(config.hosts.clone()),
        false => Visitors::All,
    };
    let door = Door {
        listener,
        tls: tls.clone(),
        router: router(&app, &config.cors, visitors),
        prepare: stage::strip,
        limits: config.limits.door,
        stopped,
    };
    let (told, trouble) = watch::channel(None);
    let task = tokio::spawn(async move {
        tokio::select! {
            () = door.run() => {}
            () = expire(&app) => {}
            () = look(&app, &told) => {}
        }
        app.instances.close_all().await;
        app.topics.close().await;
        app.streams.close().await;
    });
    Ok(Server {
        address,
        tls: tls.is_some(),
        stop,
        task,
        log: opened.log.map(|(_, log, _)| log),
        trouble,
    })
}

/// Tells again and again whether records can be taken.
async fn look(app: &App, told: &watch::Sender<Option<String>>) {
    loop {
        told.send_replace(app.trouble().await);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A log that both doors use is opened once.
#[derive(Default)]
struct Opened {
    log: Option<(PathBuf, Arc<Log>, Arc<Embedded>)>,
}

impl Opened {
    async fn backend(
        &mut self,
        spec: &BackendSpec,
        config: &GatewayConfig,
    ) -> Result<Arc<dyn Backend>, GatewayError> {
        let naming = Naming {
            streams: config.stream_names.clone(),
        };
        match spec {
            BackendSpec::Kafka(address) => {
                let kafka = Kafka::at(
                    (**address).clone(),
                    naming,
                    config.new_topics,
                    Arc::clone(&config.now_ms),
                )?;
                Ok(Arc::new(kafka))
            }
            BackendSpec::Kinesis(address) => {
                let client = address.client().await?;
                Ok(Arc::new(Kinesis::on(client, address.describe())))
            }
            BackendSpec::Log(folder) => {
                if let Some((opened, _, embedded)) = &self.log
                    && opened == folder
                {
                    return Ok(Arc::clone(embedded) as Arc<dyn Backend>);
                }
                let (folder, options) = (folder.clone(), config.log.clone());
                let (shards, now_ms) = (options.partitions, Arc::clone(&config.now_ms));
                let opening = tokio::task::spawn_blocking(move || {
                    let log = Arc::new(Log::open(&folder, options)?);
                    let embedded = Embedded::on(Arc::clone(&log), naming, shards, now_ms)?;
                    Ok((folder, log, Arc::new(embedded)))
                });
                let opened = opening.await.map_err(|_| LogError::Closed)?;
                let (folder, log, embedded): (PathBuf, Arc<Log>, Arc<Embedded>) =
                    opened.map_err(GatewayError::Log)?;
                self.log = Some((folder, log, Arc::clone(&embedded)));
                Ok(embedded)
            }
        }
    }
}

async fn expire(app: &App) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    loop {
        ticks.tick().await;
        app.instances.expire().await;
    }
}
