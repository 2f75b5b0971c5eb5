//! What an error of Kinesis means for the reader, and how long to wait before the next try.

use std::error::Error;
use std::time::Duration;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait, and try again: too many requests, a server or a network that fails for a moment.
    Again,
    /// Get a new iterator.
    Renew,
    /// The stream, shard or consumer does not exist.
    Gone,
    /// The server does not take the arguments: a sequence number of another stream, for one.
    Refused,
    /// Trying again will not help.
    Fatal,
}

/// What an error means, and what it says for people.
pub fn judge<E, R>(error: &SdkError<E, R>) -> (Verdict, String)
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code(), service.err().message());
            // Without a code it was not Kinesis that answered, but something before it.
            let verdict = code.map_or(Verdict::Again, of_code);
            let code = code.unwrap_or("an error without a name");
            (
                verdict,
                message.map_or(code.to_owned(), |message| format!("{code}: {message}")),
            )
        }
        SdkError::DispatchFailure(failure) => {
            let passing = failure.is_io() || failure.is_timeout();
            let verdict = if passing {
                Verdict::Again
            } else {
                Verdict::Fatal
            };
            (
                verdict,
                failure
                    .as_connector_error()
                    .map_or("the server could not be asked".to_owned(), |error| {
                        chain(error)
                    }),
            )
        }
        SdkError::TimeoutError(_) => (
            Verdict::Again,
            "the server did not answer in time".to_owned(),
        ),
        SdkError::ResponseError(_) => (
            Verdict::Again,
            "the server's answer broke off or could not be understood".to_owned(),
        ),
        SdkError::ConstructionFailure(_) => (
            Verdict::Fatal,
            "the request could not be made; are region and credentials set?".to_owned(),
        ),
        _ => (Verdict::Fatal, "the request failed".to_owned()),
    }
}

fn of_code(code: &str) -> Verdict {
    match code {
        "ExpiredIteratorException" => Verdict::Renew,
        "ResourceNotFoundException" => Verdict::Gone,
        "InvalidArgumentException" | "ValidationException" => Verdict::Refused,
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "ResourceInUseException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Verdict::Again,
        _ => Verdict::Fatal,
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Pauses that grow up to ten seconds, each drawn at random below its bound, so that readers that
/// were refused together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    tries: u32,
    random: u64,
}

impl Backoff {
    /// Pauses drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Backoff {
            tries: 0,
            random: seed | 1,
        }
    }

    /// How long to wait before the next try.
    pub fn pause(&mut self) -> Duration {
        let bound_ms = (200u64 << self.tries.min(6)).min(10_000);
        self.tries = self.tries.saturating_add(1);
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Duration::from_millis(bound_ms / 4 + self.random % (bound_ms - bound_ms / 4))
    }

    /// How often in a row it failed.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_differ_between_readers() {
        let (mut one, mut two) = (Backoff::new(1), Backoff::new(3));
        let pauses = |backoff: &mut Backoff| {
            (0..12)
                .map(|_| backoff.pause().as_millis())
                .collect::<Vec<_>>()
        };
        let (first, second) = (pauses(&mut one), pauses(&mut two));
        assert_ne!(first, second);
        for (i, pause) in first.iter().enumerate() {
            let bound = (200u128 << i.min(6)).min(10_000);
            assert!((bound / 4..=bound).contains(pause), "{first:?}");
        }
        one.reset();
        assert!(one.pause().as_millis() <= 200);
    }

    #[test]
    fn codes_say_what_to_do() {
        for (code, verdict) in [
            ("ExpiredIteratorException", Verdict::Renew),
            ("ProvisionedThroughputExceededException", Verdict::Again),
            ("ResourceNotFoundException", Verdict::Gone),
            ("InvalidArgumentException", Verdict::Refused),
            ("AccessDeniedException", Verdict::Fatal),
        ] {
            assert_eq!(of_code(code), verdict, "{code}");
        }
    }
}
