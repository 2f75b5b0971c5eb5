//! From an address to the settings of librdkafka: how to get in, and how much may be kept.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::address::{KafkaAddress, secret};
use super::context::Context;
use super::options::{Options, Secret};
use super::token::Tokens;

/// What one record costs in librdkafka's queues beside its bytes, roughly.
const RECORD_OVERHEAD: usize = 700;

/// Settings that are ours alone, and what to use in their place.
const OURS: [(&str, &str); 12] = [
    ("bootstrap.servers", "name the brokers behind `kafka://`"),
    ("metadata.broker.list", "name the brokers behind `kafka://`"),
    ("group.id", "use `group`"),
    (
        "enable.auto.commit",
        "offsets are kept in the lake's checkpoints only",
    ),
    (
        "enable.auto.offset.store",
        "offsets are kept in the lake's checkpoints only",
    ),
    ("auto.offset.reset", "use `start` and `on_lost_offsets`"),
    ("enable.partition.eof", "sources need it on"),
    ("isolation.level", "use `isolation`"),
    ("sasl.password", "use KAFKA_SASL_PASSWORD"),
    ("sasl.username", "use `user` or KAFKA_SASL_USERNAME"),
    ("sasl.mechanism", "use `sasl`"),
    ("sasl.mechanisms", "use `sasl`"),
];

/// Whether a setting of librdkafka may be given; the error is what to do instead.
pub(super) fn check_setting(name: &str) -> Result<(), String> {
    match OURS.iter().find(|(ours, _)| *ours == name) {
        Some((_, instead)) => Err(format!("`rdkafka.{name}` cannot be set: {instead}")),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    MskIam,
    OauthBearer,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::MskIam | Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// How to get in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Security {
    tls: bool,
    mechanism: Option<Mechanism>,
    user: Option<String>,
    password: Option<Secret>,
    key_password: Option<Secret>,
    /// Files of the authorities, of our certificate and of its key.
    files: Vec<(&'static str, String)>,
    pub(super) tokens: Tokens,
}

impl Security {
    /// Reads the options on security and the credentials; the error is what is missing.
    pub(super) fn from_options(
        options: &mut Options,
        user: Option<String>,
        password: Option<Secret>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Security, String> {
        let mechanisms = [
            ("plain", Mechanism::Plain),
            ("scram-sha-256", Mechanism::ScramSha256),
            ("scram-sha-512", Mechanism::ScramSha512),
            ("msk-iam", Mechanism::MskIam),
            ("aws-msk-iam", Mechanism::MskIam),
            ("oauthbearer", Mechanism::OauthBearer),
        ];
        let levels = [
            ("tls", (true, None)),
            ("ssl", (true, None)),
            ("plaintext", (false, None)),
            ("sasl-ssl", (true, Some(()))),
            ("sasl-tls", (true, Some(()))),
            ("sasl-plaintext", (false, Some(()))),
        ];
        let mut mechanism = options.choice("sasl", &mechanisms)?;
        let level = options.choice("security", &levels)?;
        let wants_sasl = level.is_some_and(|(_, sasl)| sasl.is_some());
        if mechanism.is_none() && (wants_sasl || user.is_some()) {
            mechanism = Some(Mechanism::Plain);
        }
        // A login is not sent in the clear unless someone says so.
        let tls = level.map_or(mechanism.is_some(), |(tls, _)| tls);
        let mut security = Security {
            tls,
            mechanism,
            key_password: options
                .take("key_password")
                .or_else(|| environment("KAFKA_SSL_KEY_PASSWORD"))
                .map(Secret),
            ..Security::default()
        };
        for (option, setting) in [
            ("ca", "ssl.ca.location"),
            ("cert", "ssl.certificate.location"),
            ("key", "ssl.key.location"),
        ] {
            if let Some(file) = options.take(option) {
                if !tls {
                    return Err(format!("`{option}` needs `security=tls` or `sasl_ssl`"));
                }
                if !std::path::Path::new(&file).is_file() {
                    return Err(format!("the file `{file}` of `{option}` is not there"));
                }
                security.files.push((setting, file));
            }
        }
        let user = user
            .or_else(|| options.take("user"))
            .or_else(|| environment("KAFKA_SASL_USERNAME"));
        let password = secret(options, password, environment("KAFKA_SASL_PASSWORD"));
        match mechanism {
            None => {}
            Some(Mechanism::MskIam) => {
                let region = options
                    .take("region")
                    .or_else(|| environment("AWS_REGION"))
                    .or_else(|| environment("AWS_DEFAULT_REGION"))
                    .or_else(|| region_of(&options.brokers))
                    .ok_or("`sasl=msk-iam` needs the region: `region=eu-west-1` or AWS_REGION")?;
                security.tokens = Tokens::msk_iam(region, options.take("profile"));
            }
            Some(Mechanism::OauthBearer) => {
                let file = options.take("token_file");
                let token = environment("KAFKA_SASL_TOKEN").map(Secret);
                security.tokens = match (file, token) {
                    (Some(file), _) => Tokens::File(file),
                    (None, Some(token)) => Tokens::Fixed(token),
                    (None, None) => {
                        return Err("`sasl=oauthbearer` needs a token: `token_file=..`, read again whenever it expires, or KAFKA_SASL_TOKEN".to_owned());
                    }
                };
            }
            Some(_) => {
                if user.is_none() || password.is_none() {
                    return Err("`sasl` needs a user and a password: KAFKA_SASL_USERNAME (or `user`) and KAFKA_SASL_PASSWORD".to_owned());
                }
                security.user = user;
                security.password = password;
            }
        }
        Ok(security)
    }

    /// The port of brokers that are given without.
    pub(super) fn default_port(&self) -> u16 {
        match self.mechanism {
            Some(Mechanism::MskIam) => 9098,
            _ => 9092,
        }
    }

    fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (self.tls, self.mechanism.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(mechanism) = self.mechanism {
            config.set("sasl.mechanisms", mechanism.name());
        }
        let secrets = [
            ("sasl.password", &self.password),
            ("ssl.key.password", &self.key_password),
        ];
        if let Some(user) = &self.user {
            config.set("sasl.username", user);
        }
        for (setting, secret) in secrets {
            if let Some(Secret(secret)) = secret {
                config.set(setting, secret);
            }
        }
        for (setting, file) in &self.files {
            config.set(*setting, file);
        }
    }

    pub(super) fn uses_tokens(&self) -> bool {
        !matches!(self.tokens, Tokens::None)
    }
}

/// The region in the name of an MSK broker: `b-1.name.x.c2.kafka.eu-west-1.amazonaws.com`.
fn region_of(brokers: &str) -> Option<String> {
    let host = brokers.split(',').next()?.split(':').next()?;
    let before = host.strip_suffix(".amazonaws.com")?;
    Some(before.rsplit('.').next()?.to_owned())
}

impl KafkaAddress {
    /// The settings of any client: brokers, TLS, SASL, and those given as `rdkafka.<name>`. To be
    /// used with [`KafkaAddress::context`].
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "pinflow");
        config.set("socket.keepalive.enable", "true");
        config.set("reconnect.backoff.ms", "100");
        config.set("reconnect.backoff.max.ms", "2000");
        config.set_log_level(RDKafkaLogLevel::Error);
        self.security.apply(&mut config);
        self.set_all(&mut config);
        config
    }

    /// The settings of a consumer of `partitions` partitions that may keep about `budget_bytes` in
    /// all.
    ///
    /// Fetched records may take five eighths of it: what waits in the queues of the partitions, and
    /// what the answers to the fetches under way add.
    pub fn consumer_config(&self, budget_bytes: usize, partitions: usize) -> ClientConfig {
        let partitions = partitions.max(1);
        let queue = (budget_bytes / 2 / partitions).max(16 << 10);
        let fetch = (budget_bytes / 8 / partitions).clamp(16 << 10, 8 << 20);
        let answer = (budget_bytes / 8).clamp(1 << 20, 50 << 20);
        let mut config = self.client_config();
        for (name, value) in [
            ("group.id", self.group.clone()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            ("isolation.level", self.isolation.setting().to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
            // Partitions are given, not shared by the broker: not polling is how we press back, for
            // as long as it takes.
            ("max.poll.interval.ms", "86400000".to_owned()),
            (
                "queued.max.messages.kbytes",
                (queue >> 10).min(2_000_000).to_string(),
            ),
            // Small records cost more than their bytes.
            (
                "queued.min.messages",
                (queue / RECORD_OVERHEAD).clamp(16, 1_000_000).to_string(),
            ),
            ("fetch.message.max.bytes", fetch.to_string()),
            ("fetch.max.bytes", answer.to_string()),
            ("fetch.wait.max.ms", "100".to_owned()),
            // A partition whose queue was full is asked for again at once, not after a second.
            ("fetch.queue.backoff.ms", "2".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
            ("statistics.interval.ms", statistics_ms(partitions)),
        ] {
            config.set(name, value);
        }
        self.set_all(&mut config);
        config
    }

    /// What to make clients with.
    pub fn context(&self) -> Context {
        Context::new(self.describe(), self.security.tokens.clone())
    }

    fn set_all(&self, config: &mut ClientConfig) {
        for (name, value) in &self.settings {
            config.set(name, value);
        }
    }
}

/// Statistics are a text about every partition: not too often where there are many.
fn statistics_ms(partitions: usize) -> String {
    (if partitions <= 200 { 500 } else { 5000 }).to_string()
}
