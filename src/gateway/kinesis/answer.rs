//! What Kinesis answers, in the gateway's words.

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::Shard;

use crate::gateway::backend::{Fault, Place, ShardInfo};
use crate::gateway::shards::shard_number;

/// A shard as Kinesis describes it.
pub(super) fn shard(shard: &Shard) -> ShardInfo {
    let range = shard.hash_key_range();
    let sequences = shard.sequence_number_range();
    ShardInfo {
        id: shard.shard_id().to_owned(),
        parent: shard.parent_shard_id().map(str::to_owned),
        adjacent_parent: shard.adjacent_parent_shard_id().map(str::to_owned),
        hashes: range.map_or_else(Default::default, |range| {
            (
                range.starting_hash_key().to_owned(),
                range.ending_hash_key().to_owned(),
            )
        }),
        sequences: sequences.map_or_else(Default::default, |range| {
            (
                range.starting_sequence_number().to_owned(),
                range.ending_sequence_number().map(str::to_owned),
            )
        }),
    }
}

/// Where a record went.
pub(super) fn place(shard: &str, sequence: &str) -> Place {
    Place {
        partition: shard_number(shard).unwrap_or(0),
        offset: None,
        shard: shard.to_owned(),
        sequence: sequence.to_owned(),
    }
}

/// What a call's error means; `name` is what people call this Kinesis.
pub(super) fn fault<E: ProvideErrorMetadata>(name: &str, call: &str, error: &SdkError<E>) -> Fault {
    let Some(said) = error.as_service_error() else {
        let what = match error {
            SdkError::TimeoutError(_) => "did not answer in time",
            SdkError::DispatchFailure(_) => "cannot be reached",
            SdkError::ConstructionFailure(_) => "cannot be called: check region and credentials",
            _ => "gave an answer that cannot be understood",
        };
        return Fault::Failed {
            retriable: true,
            why: format!("{call}: {} {what}", name),
        };
    };
    let code = said.code().unwrap_or("UnknownError");
    let why = said.message().unwrap_or(code).to_owned();
    match code {
        "ResourceNotFoundException" => Fault::NotFound(why),
        "ResourceInUseException" => Fault::Exists(why),
        "InvalidArgumentException" => Fault::Argument(why),
        "ExpiredIteratorException" => Fault::Expired(why),
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ThrottlingException"
        | "KMSThrottlingException" => Fault::Throttled(why),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "MissingAuthenticationTokenException" => Fault::Denied(format!("{code}: {why}")),
        "InternalFailure" | "InternalFailureException" | "ServiceUnavailable" => Fault::Failed {
            retriable: true,
            why,
        },
        _ => Fault::Invalid(why),
    }
}
