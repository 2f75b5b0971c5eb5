//! What is wrong with Kafka, in the gateway's words.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::gateway::backend::{Fault, Refusal};

/// Records of these kinds will never be taken.
pub(super) fn refusal(error: &KafkaError) -> Refusal {
    use RDKafkaErrorCode as Code;
    let final_ones = [
        Some(Code::MessageSizeTooLarge),
        Some(Code::InvalidMessage),
        Some(Code::InvalidRecord),
        Some(Code::TopicAuthorizationFailed),
        Some(Code::InvalidTopic),
        Some(Code::UnknownPartition),
        Some(Code::PolicyViolation),
    ];
    let retriable = !final_ones.contains(&error.rdkafka_error_code());
    Refusal::of_backend(retriable, format!("Kafka did not take the record: {error}"))
}

/// An error of Kafka's clients.
pub(super) fn failed(what: &str, error: &KafkaError) -> Fault {
    use RDKafkaErrorCode as Code;
    let why = format!("Kafka error: {what}: {error}");
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Authentication,
        ) => Fault::Denied(why),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Fault::NotFound(why),
        Some(Code::UnknownPartition) => Fault::NoPartition(why),
        _ => Fault::Failed {
            retriable: true,
            why,
        },
    }
}

/// The runtime is gone.
pub(super) fn ending() -> Fault {
    Fault::Failed {
        retriable: true,
        why: "the gateway is ending; send the request again".to_owned(),
    }
}

/// Runs what blocks on a thread for that; `what` is what cannot be done if it fails.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ending())?
        .map_err(|error| failed(what, &error))
}
