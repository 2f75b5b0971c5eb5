//! The questions about streams and shards, asked again while an answer may still come.

use std::time::Instant;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use super::aggregated::HashRange;
use super::lineage::Shard;
use super::retry::{Backoff, Verdict, judge};
use crate::source::SourceError;
use crate::trouble::Troubles;

/// While the source is opened, a server that does not answer is given up after so many tries; later
/// it is waited for.
const OPENING_TRIES: u32 = 5;

/// How many streams an error names.
const NAMES_SHOWN: usize = 20;

/// Asks a server about its streams.
pub struct Asking {
    client: Client,
    source_name: String,
    troubles: Troubles,
    settled: bool,
}

/// What is asked of a stream.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its ARN.
    pub arn: String,
    /// How long it keeps records, in milliseconds.
    pub retention_ms: i64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
}

impl Asking {
    /// Asks through `client`, for the source of that name; what is asked again is noted in
    /// `troubles`.
    pub fn new(client: Client, source_name: String, troubles: Troubles) -> Self {
        Asking {
            client,
            source_name,
            troubles,
            settled: false,
        }
    }

    /// The source is open: from now on the server is waited for, however long it takes.
    pub fn settled(&mut self) {
        self.settled = true;
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The names of all streams.
    pub async fn stream_names(&self) -> Result<Vec<String>, SourceError> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let last = names.last().cloned();
            let request = || {
                self.client
                    .list_streams()
                    .set_exclusive_start_stream_name(last.clone())
                    .send()
            };
            let answer = self.ask("the list of streams", request).await?;
            names.extend_from_slice(answer.stream_names());
            if !answer.has_more_streams() || answer.stream_names().is_empty() {
                return Ok(names);
            }
        }
    }

    /// What a stream is.
    pub async fn summary(&self, kinesis: &str) -> Result<Summary, SourceError> {
        let answer = self
            .ask(kinesis, || {
                self.client
                    .describe_stream_summary()
                    .stream_name(kinesis)
                    .send()
            })
            .await;
        let answer = match answer {
            Err(SourceError::Failed {
                source_name,
                place,
                why,
            }) if why.starts_with("ResourceNotFoundException") => {
                let why = match self.stream_names().await {
                    Ok(names) if names.is_empty() => "there is no such Kinesis stream, nor any other; create it, or correct region and endpoint".to_owned(),
                    Ok(names) => {
                        let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
                        let more = if names.len() > NAMES_SHOWN { ", .." } else { "" };
                        format!("there is no such Kinesis stream; there are {shown}{more}: correct its name, region or endpoint, or create it")
                    }
                    Err(_) => why,
                };
                return Err(SourceError::Failed {
                    source_name,
                    place,
                    why,
                });
            }
            answer => answer?,
        };
        let Some(summary) = answer.stream_description_summary() else {
            return Err(self.failed(
                kinesis,
                "the server does not describe it; is it a Kinesis server?".to_owned(),
            ));
        };
        Ok(Summary {
            arn: summary.stream_arn().to_owned(),
            retention_ms: i64::from(summary.retention_period_hours()) * 3_600_000,
            created_ms: summary.stream_creation_timestamp().to_millis().unwrap_or(0),
        })
    }

    /// The shards of a stream, with the hash keys of each.
    pub async fn shards(
        &self,
        kinesis: &str,
    ) -> Result<Vec<(Shard, Option<HashRange>)>, SourceError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = || {
                let request = self.client.list_shards();
                // A token stands for the stream, too; both together are refused.
                let request = match token.clone() {
                    Some(token) => request.next_token(token),
                    None => request.stream_name(kinesis),
                };
                request.send()
            };
            let answer = self.ask(kinesis, request).await?;
            shards.extend(answer.shards().iter().map(|shard| {
                let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
                let numbers = shard.sequence_number_range();
                let range = shard.hash_key_range().and_then(|range| {
                    Some((
                        range.starting_hash_key().parse().ok()?,
                        range.ending_hash_key().parse().ok()?,
                    ))
                });
                let shard = Shard {
                    id: shard.shard_id().to_owned(),
                    parents: parents.into_iter().flatten().map(str::to_owned).collect(),
                    closed: numbers
                        .is_some_and(|numbers| numbers.ending_sequence_number().is_some()),
                };
                (shard, range)
            }));
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn ask<T, E, R, F>(&self, place: &str, request: impl Fn() -> F) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, SdkError<E, R>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let mut backoff = Backoff::new(place.len() as u64);
        let what = || format!("look up {place} of {}", self.source_name);
        let mut trying = self.troubles.trying(what());
        loop {
            let (verdict, why) = match request().await {
                Ok(answer) => return Ok(answer),
                Err(error) => judge(&error),
            };
            let given_up = !self.settled && backoff.tries() >= OPENING_TRIES;
            if verdict != Verdict::Again || given_up {
                return Err(self.failed(place, why));
            }
            let pause = backoff.pause();
            trying.failed(Instant::now(), &why);
            if backoff.tries() % 30 == 5 {
                tracing::warn!("could not {}, trying on: {why}", what());
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn failed(&self, place: &str, why: String) -> SourceError {
        SourceError::Failed {
            source_name: self.source_name.clone(),
            place: place.to_owned(),
            why,
        }
    }
}
