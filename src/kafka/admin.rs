//! What is asked of a cluster beside records: which topics there are, and to make some.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::{Context, KafkaAddress, NewTopics};
use crate::source::SourceError;

/// One try; in between, errors and tokens are seen to.
const TRY: Duration = Duration::from_secs(2);

/// How long brokers may refuse us before it is believed: while they start, they refuse everyone.
const REFUSED: Duration = Duration::from_secs(5);

/// The topics of the cluster and how many partitions each has. Waits for the brokers as long as the
/// address says.
pub fn list_topics(address: &KafkaAddress) -> Result<BTreeMap<String, usize>, SourceError> {
    let client: BaseConsumer<Context> = address
        .client_config()
        .create_with_context(address.context())
        .map_err(|error| unusable(address, &error))?;
    let metadata = metadata(&client, address, None)?;
    Ok(topics_of(&metadata))
}

/// Makes topics. One that is there already is left as it is.
pub fn create_topics(
    address: &KafkaAddress,
    names: &[String],
    how: NewTopics,
) -> Result<(), SourceError> {
    let failed = |place: &str, why: String| SourceError::Failed {
        source_name: address.describe(),
        place: place.to_owned(),
        why,
    };
    let all = names.join(", ");
    if address.security.uses_tokens() {
        return Err(failed(
            &all,
            "topics cannot be made by a client that logs in with tokens; make them with the cluster's own tools".to_owned(),
        ));
    }
    let admin: AdminClient<Context> = address
        .client_config()
        .create_with_context(address.context())
        .map_err(|error| unusable(address, &error))?;
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            let replication = TopicReplication::Fixed(how.replication.unwrap_or(-1));
            NewTopic::new(name, how.partitions.unwrap_or(-1), replication)
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(address.wait))
        .operation_timeout(Some(address.wait));
    let answers = block_on(admin.create_topics(&topics, &options))
        .map_err(|error| failed(&all, format!("the topics cannot be made: {error}")))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(failed(
                    &topic,
                    format!(
                        "the topic cannot be made: {code}; make it with the cluster's own tools, or ask for the right to"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Asks the cluster about its topics (or one), again and again until the address's patience ends or
/// the brokers refuse us.
pub(crate) fn metadata(
    client: &BaseConsumer<Context>,
    address: &KafkaAddress,
    topic: Option<&str>,
) -> Result<Metadata, SourceError> {
    let health = client.client().context().health();
    let started = Instant::now();
    loop {
        // Serves what waits: a token may be asked for, errors be told.
        while client.poll(Duration::from_millis(20)).is_some() {}
        match client.fetch_metadata(topic, TRY.min(address.wait)) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => {
                let trouble = health.trouble();
                let is_refused = trouble
                    .as_ref()
                    .is_some_and(|trouble| trouble.refused && trouble.since.elapsed() > REFUSED);
                if started.elapsed() < address.wait && !is_refused {
                    continue;
                }
                let what = trouble.map_or_else(|| error.to_string(), |trouble| trouble.what);
                let advice = if is_refused {
                    "check the user, the password and the certificates, and that the port is the one for this kind of login"
                } else {
                    "check that the brokers run and can be reached under the names they give themselves (advertised.listeners)"
                };
                return Err(SourceError::Failed {
                    source_name: address.describe(),
                    place: address.brokers().to_owned(),
                    why: format!(
                        "no broker answered in {:.0?} ({what}); {advice}",
                        started.elapsed()
                    ),
                });
            }
        }
    }
}

/// The topics that metadata tells of, with their partitions.
pub(crate) fn topics_of(metadata: &Metadata) -> BTreeMap<String, usize> {
    let known = metadata.topics().iter().filter(|topic| {
        // A topic that is not there is told of as an error, or as one without partitions.
        !topic.partitions().is_empty()
    });
    known
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect()
}

/// The address does not make a client.
pub(crate) fn unusable(address: &KafkaAddress, error: &KafkaError) -> SourceError {
    SourceError::Address {
        address: address.describe(),
        why: match error {
            KafkaError::ClientConfig(_, why, name, _) => {
                format!("librdkafka does not take the setting `{name}`: {why}")
            }
            other => other.to_string(),
        },
    }
}
