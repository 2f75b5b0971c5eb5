//! What there is: topics and their partitions.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::json;
use crate::gateway::answer::ProxyRefusal;
use crate::gateway::app::App;
use crate::gateway::backend::{Fault, PartitionInfo};

#[derive(Serialize)]
struct Topic {
    name: String,
    /// The proxy tells the broker's settings here; there are none to tell that hold for every
    /// backend.
    configs: std::collections::BTreeMap<String, String>,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: u32,
    leader: i32,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    broker: i32,
    leader: bool,
    in_sync: bool,
}

#[derive(Serialize)]
struct Offsets {
    beginning_offset: u64,
    end_offset: u64,
}

impl From<PartitionInfo> for Partition {
    fn from(info: PartitionInfo) -> Partition {
        let replicas = info.replicas.iter().map(|&(broker, in_sync)| Replica {
            broker,
            leader: broker == info.leader,
            in_sync,
        });
        Partition {
            partition: info.partition,
            leader: info.leader,
            replicas: replicas.collect(),
        }
    }
}

/// `GET /topics`
pub async fn list(State(app): State<Arc<App>>) -> Result<Response, ProxyRefusal> {
    Ok(json(&app.topics.topics().await?))
}

async fn find(app: &App, name: &str) -> Result<Topic, ProxyRefusal> {
    let info = app.topics.topic(name).await?;
    Ok(Topic {
        name: info.name,
        configs: Default::default(),
        partitions: info.partitions.into_iter().map(Partition::from).collect(),
    })
}

/// `GET /topics/{topic}`
pub async fn one(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
) -> Result<Response, ProxyRefusal> {
    Ok(json(&find(&app, &topic).await?))
}

/// `GET /topics/{topic}/partitions`
pub async fn partitions(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
) -> Result<Response, ProxyRefusal> {
    Ok(json(&find(&app, &topic).await?.partitions))
}

/// `GET /topics/{topic}/partitions/{partition}`
pub async fn partition(
    State(app): State<Arc<App>>,
    Path((topic, partition)): Path<(String, String)>,
) -> Result<Response, ProxyRefusal> {
    let found = find(&app, &topic).await?;
    let number = number(&partition)?;
    let partition = found
        .partitions
        .iter()
        .find(|there| there.partition == number);
    match partition {
        Some(partition) => Ok(json(partition)),
        None => Err(no_partition(&number.to_string()).into()),
    }
}

/// `GET /topics/{topic}/partitions/{partition}/offsets`
pub async fn offsets(
    State(app): State<Arc<App>>,
    Path((topic, partition)): Path<(String, String)>,
) -> Result<Response, ProxyRefusal> {
    let (beginning_offset, end_offset) = app.topics.bounds(&topic, number(&partition)?).await?;
    Ok(json(&Offsets {
        beginning_offset,
        end_offset,
    }))
}

fn number(partition: &str) -> Result<u32, Fault> {
    partition.parse().map_err(|_| no_partition(partition))
}

fn no_partition(partition: &str) -> Fault {
    Fault::NoPartition(format!(
        "Partition not found. The topic has no partition {partition}."
    ))
}
