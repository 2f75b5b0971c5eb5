//! Records straight to Kafka, by an idempotent producer: what the producer repeats by itself, the
//! brokers store once.
//!
//! A record that could not be delivered in time may nevertheless have been stored. Then sending it
//! again can store it twice; no client can know.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::address::KafkaTarget;
use super::{Answer, Limits, Outcome, Target};
use crate::emulator::Stream;
use crate::emulator::outgoing::Outgoing;
use crate::kafka::{Context, KafkaAddress, create_topics};

/// A Kafka cluster.
pub(super) struct Producer {
    producer: FutureProducer<Context>,
    topics: [String; 3],
    keys: bool,
}

/// What the producer does unless the address says otherwise.
const SETTINGS: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    // The partition of a key is that which Java's clients choose.
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("message.timeout.ms", "60000"),
    ("queue.buffering.max.kbytes", "65536"),
];

impl Producer {
    pub(super) fn open(target: &KafkaTarget) -> Result<Self, String> {
        let address: KafkaAddress = target.address.parse().map_err(|error| format!("{error}"))?;
        let mut topics = [const { String::new() }; 3];
        for stream in Stream::ALL {
            topics[stream as usize] = address
                .topic_for(stream.name())
                .unwrap_or_else(|| stream.name().to_owned());
        }
        if let Some(how) = address.create_topics {
            create_topics(&address, &topics, how).map_err(|error| error.to_string())?;
        }
        let mut config = address.client_config();
        for (name, value) in SETTINGS {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let producer = config
            .create_with_context(address.context())
            .map_err(|error| format!("the producer cannot be made: {error}"))?;
        Ok(Self {
            producer,
            topics,
            keys: target.keys,
        })
    }

    /// Hands a record to the producer, when it has room for it.
    async fn enqueue(&self, record: &Outgoing, key: &str) -> Result<DeliveryFuture, KafkaError> {
        let topic = &self.topics[record.stream as usize];
        let mut message: FutureRecord<'_, str, [u8]> =
            FutureRecord::to(topic).payload(&record.body);
        if self.keys && record.key.is_some() {
            message = message.key(key);
        }
        loop {
            match self.producer.send_result(message) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    message = back;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

impl Target for Producer {
    fn limits(&self) -> Limits {
        Limits {
            records: usize::MAX,
            bytes: 16 << 20,
            keys_once: true,
        }
    }

    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer> {
        async move {
            let mut deliveries = Vec::with_capacity(records.len());
            for record in records {
                let key = record.key.map_or(String::new(), |key| key.to_string());
                deliveries.push(self.enqueue(record, &key).await);
            }
            let mut outcomes = Vec::with_capacity(records.len());
            for delivery in deliveries {
                let result = match delivery {
                    Ok(delivery) => match delivery.await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err((error, _))) => Err(error),
                        Err(_) => return Answer::Fatal("the producer has ended".to_owned()),
                    },
                    Err(error) => Err(error),
                };
                outcomes.push(match result {
                    Ok(()) => Outcome::Acknowledged,
                    Err(error) => match outcome(&error, &self.topics) {
                        Ok(outcome) => outcome,
                        Err(fatal) => return fatal,
                    },
                });
            }
            Answer::Each(outcomes)
        }
        .boxed()
    }
}

/// What became of a record with this error; or that there is no sense in going on.
fn outcome(error: &KafkaError, topics: &[String; 3]) -> Result<Outcome, Answer> {
    use RDKafkaErrorCode as Code;
    let topics = topics.join(", ");
    match error.rdkafka_error_code() {
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::InvalidTimestamp,
        ) => Ok(Outcome::Refused(error.to_string())),
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic,
        ) => Err(Answer::Fatal(format!(
            "{error}: do the topics {topics} exist?"
        ))),
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::TransactionalIdAuthorizationFailed,
        ) => Err(Answer::Fatal(format!(
            "{error}: check the login, and what it may write to ({topics})"
        ))),
        Some(Code::Fatal | Code::InvalidArgument) => Err(Answer::Fatal(error.to_string())),
        _ => Ok(Outcome::Again(error.to_string())),
    }
}
