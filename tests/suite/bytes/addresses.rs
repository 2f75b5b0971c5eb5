//! Arguments that are addresses, as the command line reads them.
//!
//! Nothing is opened: what is wrong with an address is found by reading it. Each has a secret where
//! addresses have secrets, and no error may show it.

use clap::Parser;
use pinflow::command::Command;
use pinflow::lake::Lake;

use super::damage::{NUMBERS, damage, shown};
use super::{MAIN_STACK, each, no_sentence};
use crate::support::seed::Chance;

const SECRET: &str = "hunter2";

#[test]
fn any_address_is_taken_or_refused_with_a_sentence_that_hides_its_secrets() {
    let test = "suite::bytes::addresses::any_address";
    each(
        test,
        4000,
        MAIN_STACK,
        Address::new,
        Address::show,
        Address::check,
    );
}

/// An address, and which argument it is.
struct Address {
    arguments: Vec<String>,
    address: String,
}

impl Address {
    fn new(chance: &mut Chance) -> Address {
        let mut address = whole(chance).into_bytes();
        if !chance.rarely(4) {
            damage(chance, &mut address);
        }
        let arguments = *chance.one(&[
            "run --source",
            "gateway --topics",
            "gateway --streams",
            "emulate --to dir:x --from",
        ]);
        Address {
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            address: String::from_utf8_lossy(&address).replace('\0', ""),
        }
    }

    fn show(&self) -> String {
        format!("{:?} {}", self.arguments, shown(self.address.as_bytes()))
    }

    fn check(&self) -> Result<(), String> {
        // One word with its argument: it may begin with a hyphen.
        let mut words = vec!["pinflow".to_owned()];
        words.extend(self.arguments.iter().cloned());
        let last = words.pop().unwrap_or_default();
        words.push(format!("{last}={}", self.address));
        let refusal = Command::try_parse_from(words).err().map(|e| e.to_string());
        let lake = Lake::open(&self.address)
            .err()
            .map(|error| error.to_string());
        for refusal in [refusal, lake].into_iter().flatten() {
            if let Some(why) = no_sentence(&refusal, &self.address) {
                return Err(why);
            }
            if self.has_secret() && refusal.contains(SECRET) {
                return Err(format!("the secret is shown: {refusal}"));
            }
        }
        Ok(())
    }

    /// Whether the secret still is where a secret belongs: before an `@`, or the value of an
    /// option.
    fn has_secret(&self) -> bool {
        let address = &self.address;
        let Some(at) = address.find(SECRET) else {
            return false;
        };
        let Some(begin) = address.find("://").filter(|begin| *begin < at) else {
            return false;
        };
        if address.matches(SECRET).count() > 1 || address.matches("://").count() > 1 {
            return false;
        }
        let (before, behind) = (&address[begin + 3..at], &address[at..]);
        let option = before.rsplit('&').next().unwrap_or_default();
        let value = before.contains('?') && option.contains('=');
        let plain = !before.contains(['@', '#', '/', '\\']) && !behind.contains(['#', '/', '\\']);
        plain && (value && !behind.contains('@') || behind.contains('@') && !before.contains('?'))
    }
}

fn whole(chance: &mut Chance) -> String {
    let host = *chance.one(&[
        "localhost",
        "127.0.0.1",
        "[::1]",
        "b-1.kafka.example",
        "host",
        "bücher.example",
        "",
    ]);
    let port = match chance.below(3) {
        0 => String::new(),
        1 => ":9092".to_owned(),
        _ => format!(":{}", chance.one(&NUMBERS)),
    };
    let user = *chance.one(&["", "", "joe@", "joe:hunter2@", ":hunter2@", "hunter2@"]);
    let kind = *chance.one(&[
        "kafka", "kinesis", "mysql", "mariadb", "dir", "emulator", "s3", "log",
    ]);
    let place = match kind {
        "kinesis" => (*chance.one(&["", "s", "a-*", "pin=places", "a,b", "a,,b", "*"])).to_owned(),
        "dir" | "log" | "s3" => {
            let place = *chance.one(&[
                "/tmp/x",
                "x",
                "s3://bucket/prefix",
                "s3://joe:hunter2@bucket/prefix",
                "https://host/x",
                "file:///tmp/x",
                "file:",
                "s3://",
                "..",
                "",
            ]);
            return format!("{kind}:{place}{}", options(chance, kind));
        }
        "emulator" => return format!("emulator:{}", options(chance, kind)),
        "mysql" | "mariadb" => format!("{user}{host}{port}/{}", chance.one(&["db", "", "a/b"])),
        _ => format!("{user}{host}{port}"),
    };
    format!("{kind}://{place}{}", options(chance, kind))
}

fn options(chance: &mut Chance, kind: &str) -> String {
    let names: &[&str] = match kind {
        "kafka" => &[
            "start",
            "password",
            "user",
            "security",
            "mechanism",
            "ca",
            "certificate",
            "key",
            "key_password",
            "token_file",
            "group",
            "topic_prefix",
            "on_lost_offsets",
            "isolation",
            "partitions",
            "replication",
            "create_topics",
            "discover_ms",
            "wait",
            "rdkafka.fetch.max.bytes",
            "rdkafka.sasl.password",
            "stream.pin",
            "pin",
            "passwrd",
        ],
        "kinesis" => &[
            "region",
            "profile",
            "endpoint",
            "consumer",
            "consumer_name",
            "start",
            "on_lost_records",
            "unrouted",
            "poll_ms",
            "secret_access_key",
        ],
        "mysql" | "mariadb" => &[
            "ssl",
            "tls",
            "ca",
            "page_rows",
            "pin",
            "pin.key",
            "password",
        ],
        "emulator" => &["rate", "posts", "seed", "sede"],
        _ => &["region", "x"],
    };
    let mut text = String::new();
    for number in 0..chance.below(4) {
        text.push(if number == 0 { '?' } else { '&' });
        let value = match chance.below(8) {
            0 => SECRET,
            1 | 2 => *chance.one(&NUMBERS),
            3 => "2024-01-14T15:59:44%2B01:00",
            4 => *chance.one(&["true", "earliest", "latest", "fail", "fan-out", "skip"]),
            5 => *chance.one(&[
                "http://127.0.0.1:4567",
                "http://joe:hunter2@h",
                "http://",
                "%",
            ]),
            6 => *chance.one(&[
                "ssl",
                "plaintext",
                "sasl_ssl",
                "msk-iam",
                "plain",
                "scram-sha-512",
            ]),
            _ => "x",
        };
        let name = *chance.one(names);
        text.push_str(name);
        if !chance.rarely(12) {
            text.push('=');
        }
        text.push_str(value);
    }
    text
}
