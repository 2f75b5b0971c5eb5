//! Reads a shard by SubscribeToShard: the server pushes, with 2 MB a second a shard for this
//! consumer alone.
//!
//! A subscription lasts five minutes and is then made anew behind what was read last. The consumer
//! is registered once and stays: a restart uses it again. Each costs while it exists; `aws kinesis
//! deregister-stream-consumer` removes it.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEventStream,
};

use super::place::Place;
use super::reader::{Ending, Reader};
use super::retry::{Backoff, Verdict, judge};
use crate::source::SourceError;

/// A living subscription says something more often than this, if only that there is nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a new consumer may take until it can be used.
const REGISTER_WITHIN: Duration = Duration::from_secs(120);

/// Reads the shard until it ends.
pub async fn subscribe(reader: &mut Reader, consumer_arn: &str) -> Result<Ending, SourceError> {
    loop {
        reader.check_retention()?;
        let asked = Instant::now();
        let Some(position) = starting_position(reader.place()) else {
            return Err(reader.failed("where to begin could not be said".to_owned()));
        };
        let request = reader
            .client
            .subscribe_to_shard()
            .consumer_arn(consumer_arn)
            .shard_id(&reader.shard)
            .starting_position(position);
        let why = match request.send().await {
            Ok(mut subscription) => {
                // From here on the server has our place: what comes is behind it.
                reader.latest = false;
                loop {
                    let event =
                        match tokio::time::timeout(SILENCE, subscription.event_stream.recv()).await
                        {
                            Err(_) => break Some("the subscription fell silent".to_owned()),
                            Ok(Ok(None)) => break None,
                            Ok(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(
                                event,
                            )))) => event,
                            Ok(Ok(Some(_))) => continue,
                            Ok(Err(error)) => match judge_event(&error) {
                                (Verdict::Fatal, why) => return Err(reader.failed(why)),
                                (Verdict::Gone, why) => return Err(reader.gone(why)),
                                (_, why) => break Some(why),
                            },
                        };
                    reader.works();
                    let bytes = event
                        .records()
                        .iter()
                        .map(|record| record.data().as_ref().len() + 1)
                        .sum();
                    let mut room = reader.inlet.room(bytes).await;
                    // Children are told at the shard's end; some servers tell them before, with
                    // records to follow.
                    let ends = event.continuation_sequence_number().is_empty()
                        || event.records().is_empty();
                    let last = !event.child_shards().is_empty() && ends;
                    // Events may have waited on their way, so that only the subscription's
                    // beginning is certain to be before them.
                    if let Some(ending) = reader.take(
                        event.records(),
                        event.millis_behind_latest(),
                        last,
                        asked,
                        &mut room,
                    )? {
                        return Ok(ending);
                    }
                    reader.check_retention()?;
                    if reader.oldest {
                        break None;
                    }
                }
            }
            Err(error) => {
                let (verdict, why) = judge(&error);
                match verdict {
                    // The last subscription may not be over for the server yet.
                    Verdict::Again | Verdict::Renew => Some(why),
                    Verdict::Gone => return Err(reader.gone(why)),
                    Verdict::Refused => return Err(reader.refused(why)),
                    Verdict::Fatal => return Err(reader.failed(why)),
                }
            }
        };
        if let Some(why) = why {
            reader.wait(&why).await;
        }
    }
}

/// What an error in a subscription means: its name is not in the error's code, as it is elsewhere.
/// Most break off this subscription only.
fn judge_event<R: std::fmt::Debug>(
    error: &SdkError<SubscribeToShardEventStreamError, R>,
) -> (Verdict, String) {
    use SubscribeToShardEventStreamError as Event;
    let verdict = match error.as_service_error() {
        None => return judge(error),
        Some(Event::ResourceNotFoundException(_)) => Verdict::Gone,
        Some(
            Event::KmsAccessDeniedException(_)
            | Event::KmsDisabledException(_)
            | Event::KmsInvalidStateException(_)
            | Event::KmsNotFoundException(_)
            | Event::KmsOptInRequired(_),
        ) => Verdict::Fatal,
        Some(_) => Verdict::Again,
    };
    (verdict, judge(error).1)
}

fn starting_position(place: Option<Place>) -> Option<StartingPosition> {
    let position = StartingPosition::builder();
    let position = match place {
        None => position.r#type(ShardIteratorType::Latest),
        Some(Place::Beginning) => position.r#type(ShardIteratorType::TrimHorizon),
        Some(Place::Time(ms)) => position
            .r#type(ShardIteratorType::AtTimestamp)
            .timestamp(DateTime::from_millis(ms)),
        Some(Place::After(sequence)) => position
            .r#type(ShardIteratorType::AfterSequenceNumber)
            .sequence_number(sequence.as_str()),
    };
    position.build().ok()
}

/// The ARN of the consumer `name` of a stream, registered if it is not.
pub async fn consumer(client: &Client, stream_arn: &str, name: &str) -> Result<String, String> {
    let begun = Instant::now();
    let mut backoff = Backoff::new(1);
    loop {
        let described = client
            .describe_stream_consumer()
            .stream_arn(stream_arn)
            .consumer_name(name)
            .send()
            .await;
        let why = match described {
            Ok(answer) => match answer.consumer_description() {
                Some(consumer) if *consumer.consumer_status() == ConsumerStatus::Active => {
                    return Ok(consumer.consumer_arn().to_owned());
                }
                _ => "it is not active yet".to_owned(),
            },
            Err(error) => match judge(&error) {
                (Verdict::Gone, _) => {
                    match client
                        .register_stream_consumer()
                        .stream_arn(stream_arn)
                        .consumer_name(name)
                        .send()
                        .await
                    {
                        Ok(_) => "it is not active yet".to_owned(),
                        Err(error) => match judge(&error) {
                            (Verdict::Again, why) => why,
                            (_, why) => {
                                return Err(format!(
                                    "the consumer `{name}` cannot be registered: {why}"
                                ));
                            }
                        },
                    }
                }
                (Verdict::Again, why) => why,
                (_, why) => {
                    return Err(format!("the consumer `{name}` cannot be looked up: {why}"));
                }
            },
        };
        if begun.elapsed() > REGISTER_WITHIN {
            return Err(format!(
                "the consumer `{name}` cannot be used: {why}; use another `consumer_name`, or `consumer=polling`"
            ));
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
