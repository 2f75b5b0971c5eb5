//! Records straight to Kinesis: PutRecord for one, PutRecords for several.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::address::KinesisTarget;
use super::http::chain;
use super::names::{Names, PartitionKeys};
use super::{Answer, Limits, Outcome, Target, TargetOptions};
use crate::emulator::Stream;
use crate::emulator::outgoing::Outgoing;
use crate::kinesis::KinesisAddress;

/// What PutRecords takes.
pub(super) const MOST_RECORDS: usize = 500;

/// What PutRecords takes, less room for partition keys.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// Kinesis streams.
pub(super) struct Kinesis {
    client: Client,
    names: Names,
    partition_keys: PartitionKeys,
    seed: u64,
}

impl Kinesis {
    pub(super) async fn open(
        address: KinesisTarget,
        options: &TargetOptions,
    ) -> Result<Self, String> {
        let server: KinesisAddress = address
            .address
            .parse()
            .map_err(|error| format!("{error}"))?;
        let client = server.client().await.map_err(|error| format!("{error}"))?;
        // What fails is sent again by us, and counted.
        let config = client
            .config()
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            names: address.names,
            partition_keys: address.partition_keys,
            seed: options.seed,
        })
    }

    async fn put_one(&self, name: &str, record: &Outgoing) -> Answer {
        let put = self
            .client
            .put_record()
            .stream_name(name)
            .partition_key(self.partition_keys.key(record, self.seed))
            .data(Blob::new(record.body.as_ref()));
        match put.send().await {
            Ok(_) => Answer::all(1),
            Err(error) => failure(name, &error),
        }
    }

    async fn put_many(&self, name: &str, records: &[Outgoing]) -> Answer {
        let mut put = self.client.put_records().stream_name(name);
        for record in records {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key(self.partition_keys.key(record, self.seed))
                .data(Blob::new(record.body.as_ref()))
                .build();
            match entry {
                Ok(entry) => put = put.records(entry),
                Err(error) => return Answer::Fatal(error.to_string()),
            }
        }
        let places = match put.send().await {
            Ok(output) => output.records,
            Err(error) => return failure(name, &error),
        };
        if places.len() != records.len() {
            return Answer::Fatal(format!(
                "Kinesis stream {name}: {} records were sent and {} are told of",
                records.len(),
                places.len()
            ));
        }
        let outcome = |place: aws_sdk_kinesis::types::PutRecordsResultEntry| match place.error_code
        {
            None => Outcome::Acknowledged,
            Some(code) => {
                let said = place.error_message.unwrap_or_default();
                meaning(&code).of_record(format!("Kinesis stream {name}: {code}: {said}"))
            }
        };
        Answer::Each(places.into_iter().map(outcome).collect())
    }
}

impl Target for Kinesis {
    fn destinations(&self) -> usize {
        self.names.count()
    }

    fn destination(&self, stream: Stream) -> usize {
        self.names.index(stream)
    }

    fn limits(&self) -> Limits {
        Limits {
            records: MOST_RECORDS,
            bytes: MOST_BYTES,
            keys_once: true,
        }
    }

    fn send<'a>(&'a self, records: &'a [Outgoing]) -> BoxFuture<'a, Answer> {
        async move {
            match records {
                [] => Answer::all(0),
                [record] => self.put_one(self.names.name(record.stream), record).await,
                [record, ..] => self.put_many(self.names.name(record.stream), records).await,
            }
        }
        .boxed()
    }
}

fn failure<E>(name: &str, error: &SdkError<E>) -> Answer
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let why = format!("Kinesis stream {name}: {}", chain(error));
    let SdkError::ServiceError(service) = error else {
        return match error {
            SdkError::ConstructionFailure(_) => Answer::Fatal(why),
            _ => Answer::again(why),
        };
    };
    let status = service.raw().status().as_u16();
    match service.err().code() {
        Some(code) => match meaning(code) {
            Meaning::Passing => Answer::again(why),
            Meaning::Wrong => Answer::Rejected(why),
            Meaning::Hopeless if status >= 500 => Answer::again(why),
            Meaning::Hopeless => Answer::Fatal(why),
        },
        None if status >= 500 || status == 429 => Answer::again(why),
        None => Answer::Fatal(why),
    }
}

/// What an error of Kinesis means for those who send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It passes.
    Passing,
    /// Something in the request is wrong.
    Wrong,
    /// It will always be so.
    Hopeless,
}

impl Meaning {
    /// What it means for one record of several.
    pub(super) fn of_record(self, why: String) -> Outcome {
        match self {
            Self::Passing => Outcome::Again(why),
            Self::Wrong | Self::Hopeless => Outcome::Refused(why),
        }
    }
}

/// What the error named `code` means.
pub(super) fn meaning(code: &str) -> Meaning {
    const PASSING: [&str; 9] = [
        "Throughput",
        "Throttl",
        "LimitExceeded",
        "Internal",
        "ServiceUnavailable",
        "SlowDown",
        "Timeout",
        "ResourceInUse",
        "TooManyRequests",
    ];
    const WRONG: [&str; 4] = ["Validation", "InvalidArgument", "Serialization", "TooLarge"];
    let says = |part: &&str| code.contains(*part);
    if PASSING.iter().any(says) {
        Meaning::Passing
    } else if WRONG.iter().any(says) {
        Meaning::Wrong
    } else {
        Meaning::Hopeless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_kinesis_pass_or_do_not() {
        for code in [
            "ProvisionedThroughputExceededException",
            "KMSThrottlingException",
            "LimitExceededException",
            "InternalFailure",
            "ServiceUnavailable",
        ] {
            assert_eq!(meaning(code), Meaning::Passing, "{code}");
        }
        assert_eq!(meaning("InvalidArgumentException"), Meaning::Wrong);
        for code in [
            "ResourceNotFoundException",
            "AccessDeniedException",
            "UnrecognizedClientException",
        ] {
            assert_eq!(meaning(code), Meaning::Hopeless, "{code}");
        }
    }
}
