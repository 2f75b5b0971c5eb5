//! What every client shares: errors and logs are told, statistics are kept, tokens are renewed.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use super::token::Tokens;

/// The same trouble is told again after this long.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// The context of clients. Clones share their [`Health`].
#[derive(Clone)]
pub struct Context {
    name: Arc<str>,
    tokens: Tokens,
    health: Arc<Health>,
}

/// What is wrong between us and the brokers.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// What librdkafka says.
    pub what: String,
    /// Whether they refuse us: the login or the certificate is wrong. Otherwise they cannot be
    /// reached.
    pub refused: bool,
}

/// How clients get on with their brokers.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    told: Option<Instant>,
    statistics: Option<Arc<Statistics>>,
    /// Counts the statistics.
    version: u64,
}

impl Context {
    pub(super) fn new(name: String, tokens: Tokens) -> Context {
        Context {
            name: name.into(),
            tokens,
            health: Arc::default(),
        }
    }

    /// How the clients of this context get on with their brokers.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }
}

impl Health {
    /// What is wrong, if anything is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// The last statistics and their number; the first has 1.
    pub fn statistics(&self) -> Option<(u64, Arc<Statistics>)> {
        let state = self.lock();
        let statistics = state.statistics.as_ref()?;
        Some((state.version, Arc::clone(statistics)))
    }

    fn note(&self, name: &str, refused: bool, what: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        let since = match &state.trouble {
            // Who is refused by all brokers is told next that all are down, which says less.
            Some(trouble) if trouble.refused && !refused => return,
            Some(trouble) if trouble.refused == refused => trouble.since,
            _ => now,
        };
        state.trouble = Some(Trouble {
            since,
            what: what.to_owned(),
            refused,
        });
        let is_new = since == now;
        if is_new || state.told.is_none_or(|told| now - told >= TELL_AGAIN) {
            state.told = Some(now);
            drop(state);
            tracing::warn!("{name} is in trouble, and is tried again: {what}");
        }
    }

    fn keep(&self, name: &str, statistics: Statistics) {
        let is_up = statistics
            .brokers
            .values()
            .any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        let mut state = self.lock();
        state.version += 1;
        state.statistics = Some(Arc::new(statistics));
        if is_up && state.trouble.take().is_some() {
            state.told = None;
            drop(state);
            tracing::info!("{name} is well again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // What librdkafka calls errors comes again as an error, and lasts as long as the
            // trouble does.
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!("{}: {facility}: {message}", self.name);
            }
            _ => tracing::debug!("{}: {facility}: {message}", self.name),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.health.keep(&self.name, statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            // Of a partition: whoever reads it is told.
            Some(Code::PartitionEOF | Code::AutoOffsetReset) => {}
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::SSL
                | Code::ClusterAuthorizationFailed
                | Code::UnsupportedSASLMechanism,
            ) => self.health.note(&self.name, true, reason),
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut,
            ) => self.health.note(&self.name, false, reason),
            // We are in no group, and need none.
            Some(Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable) => {
                tracing::debug!("{}: {reason}", self.name);
            }
            _ => tracing::warn!("{}: {reason}", self.name),
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.fresh()
    }
}

impl ConsumerContext for Context {}
