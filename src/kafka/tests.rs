//! Addresses: what they mean, what is refused, and that secrets are not shown.

use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "KAFKA_SASL_USERNAME" => Some("env-user".to_owned()),
        "KAFKA_SASL_PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn address(text: &str) -> KafkaAddress {
    KafkaAddress::parse(text, &environment).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    let none = |_: &str| None;
    match KafkaAddress::parse(text, &none) {
        Err(error) => error.to_string(),
        Ok(address) => panic!("{text} became {address}"),
    }
}

fn setting(text: &str, name: &str) -> Option<String> {
    let config = address(text).consumer_config(64 << 20, 4);
    config.get(name).map(str::to_owned)
}

#[test]
fn brokers_get_the_port_of_their_protocol() {
    assert_eq!(
        address("kafka://a,b:1,[::1]:2,[::1]").brokers(),
        "a:9092,b:1,[::1]:2,[::1]:9092"
    );
    let msk = "kafka://b-1.x.c2.kafka.eu-west-1.amazonaws.com?sasl=msk-iam";
    assert_eq!(
        address(msk).brokers(),
        "b-1.x.c2.kafka.eu-west-1.amazonaws.com:9098"
    );
}

#[test]
fn streams_are_bound_by_prefix_or_by_name() {
    let both = address("kafka://h?topic_prefix=0a1b.&geo=places&stream.start=begin");
    assert_eq!(both.topic_for("pin").as_deref(), Some("0a1b.pin"));
    assert_eq!(both.topic_for("geo").as_deref(), Some("places"));
    assert_eq!(both.topic_for("start").as_deref(), Some("begin"));
    assert_eq!(address("kafka://h").topic_for("pin"), None);
    assert!(address("kafka://h").is_of("any.pin", "pin"));
    assert!(!both.is_of("any.pin", "pin"));
}

#[test]
fn options_have_their_meaning() {
    let given = address(
        "kafka://h/?start=2024-05-01T14:00:00+02:00&on_lost_offsets=latest&isolation=read_uncommitted&create_topics=true&partitions=3&discover_ms=100&wait=5",
    );
    assert_eq!(given.start, Start::Timestamp(1_714_564_800_000));
    assert_eq!(given.on_lost_offsets, OnLostOffsets::Latest);
    assert_eq!(given.isolation, Isolation::ReadUncommitted);
    let three = NewTopics {
        partitions: Some(3),
        replication: None,
    };
    assert_eq!(given.create_topics, Some(three));
    assert_eq!((given.discover.as_millis(), given.wait.as_secs()), (100, 5));
    let plain = address("kafka://h");
    assert_eq!(plain.start, Start::Earliest);
    assert_eq!(plain.on_lost_offsets, OnLostOffsets::Fail);
    assert_eq!(
        (plain.isolation, plain.create_topics),
        (Isolation::ReadCommitted, None)
    );
}

#[test]
fn logins_go_over_tls_unless_told_otherwise() {
    for (text, protocol, mechanism) in [
        ("kafka://h", "plaintext", None),
        ("kafka://h?security=tls", "ssl", None),
        ("kafka://h?sasl=plain", "sasl_ssl", Some("PLAIN")),
        ("kafka://h?security=sasl_ssl", "sasl_ssl", Some("PLAIN")),
        (
            "kafka://h?security=tls&sasl=scram-sha-256",
            "sasl_ssl",
            Some("SCRAM-SHA-256"),
        ),
        (
            "kafka://h?security=plaintext&sasl=SCRAM-SHA-512",
            "sasl_plaintext",
            Some("SCRAM-SHA-512"),
        ),
        (
            "kafka://h?sasl=msk-iam&region=eu-west-1",
            "sasl_ssl",
            Some("OAUTHBEARER"),
        ),
        ("kafka://u:p@h", "sasl_ssl", Some("PLAIN")),
    ] {
        assert_eq!(
            setting(text, "security.protocol").as_deref(),
            Some(protocol),
            "{text}"
        );
        assert_eq!(
            setting(text, "sasl.mechanisms").as_deref(),
            mechanism,
            "{text}"
        );
    }
    assert_eq!(
        setting("kafka://h?sasl=plain", "sasl.username").as_deref(),
        Some("env-user")
    );
    assert_eq!(
        setting("kafka://h?sasl=plain", "sasl.password").as_deref(),
        Some("hunter2")
    );
    assert_eq!(
        setting("kafka://a:b%20c@h", "sasl.password").as_deref(),
        Some("b c")
    );
}

#[test]
fn settings_of_librdkafka_beat_ours_except_where_correctness_hangs_on_them() {
    assert_eq!(
        setting("kafka://h?rdkafka.fetch.wait.max.ms=7", "fetch.wait.max.ms").as_deref(),
        Some("7")
    );
    for name in [
        "enable.auto.commit",
        "auto.offset.reset",
        "group.id",
        "isolation.level",
    ] {
        let said = refusal(&format!("kafka://h?rdkafka.{name}=x"));
        assert!(said.contains("cannot be set"), "{said}");
    }
}

#[test]
fn queues_share_the_budget() {
    let address = address("kafka://h");
    for (budget, partitions) in [(64 << 20, 1), (64 << 20, 100), (8 << 20, 3)] {
        let config = address.consumer_config(budget, partitions);
        let number = |name: &str| config.get(name).unwrap().parse::<usize>().unwrap();
        let queues = partitions * (number("queued.max.messages.kbytes") << 10);
        assert!(queues <= budget / 2, "{queues} of {budget}");
        assert!(partitions * number("fetch.message.max.bytes") <= budget / 8);
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_secret() {
    for (text, expected) in [
        ("kafka://", "it names no broker"),
        ("kafka://:9092", "names no host"),
        ("kafka://h:99999", "port between"),
        ("kafka://h/topic", "nothing but `?`"),
        ("kafka://h?start=yesterday", "`start` is `earliest`"),
        ("kafka://h?start=latest&start=latest", "given twice"),
        ("kafka://h?sasl=kerberos", "`sasl` is one of plain"),
        ("kafka://h?sasl=plain", "KAFKA_SASL_PASSWORD"),
        ("kafka://h?sasl=oauthbearer", "KAFKA_SASL_TOKEN"),
        ("kafka://h?sasl=msk-iam", "needs the region"),
        ("kafka://h?ca=/x", "needs `security=tls`"),
        ("kafka://h?security=tls&ca=/no/such/file", "is not there"),
        ("kafka://h?pin=", "names no topic"),
        (
            "kafka://u:hunter2@h?password=hunter2&wait=x&rdkafka.ssl.key.password=hunter2",
            "`wait`",
        ),
        ("kafka://u:hunter2@h/x?p%61ssword=hunter2", "nothing but"),
    ] {
        let said = refusal(text);
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn an_address_is_shown_without_what_lets_one_in() {
    let secret = address(
        "kafka://me:hunter2@h?topic_prefix=a.&rdkafka.ssl.key.pem=hunter2&geo=g&key_password=hunter2",
    );
    assert_eq!(secret.describe(), "kafka://h:9092?topic_prefix=a.&geo=g");
    assert_eq!(secret.to_string(), secret.describe());
    assert!(!format!("{secret:?}").contains("hunter2"));
    let context = secret.context();
    assert!(context.health().trouble().is_none());
}

#[test]
fn a_wrong_setting_is_named_when_the_client_is_made() {
    let wrong = address("kafka://h?rdkafka.no.such.thing=1&wait=1");
    let said = list_topics(&wrong).unwrap_err().to_string();
    assert!(said.contains("`no.such.thing`"), "{said}");
}
