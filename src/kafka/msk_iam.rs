//! Tokens of Amazon MSK: a request to connect, signed in advance (AWS signature version 4) and
//! wrapped in base64.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::time::compact;

/// How long a token is good: the longest that MSK accepts.
pub(super) const LIFETIME_SECONDS: u64 = 900;

const SERVICE: &str = "kafka-cluster";

/// Who asks, and where.
pub(super) struct Login<'a> {
    pub(super) region: &'a str,
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a str,
    pub(super) session_token: Option<&'a str>,
}

/// A token that begins to be good at `now`, in seconds since 1970.
pub(super) fn token(login: &Login<'_>, now: u64) -> String {
    let url = format!(
        "{}&User-Agent={}",
        signed_url(login, now),
        escape("pinflow/kafka")
    );
    URL_SAFE_NO_PAD.encode(url)
}

fn signed_url(login: &Login<'_>, now: u64) -> String {
    let host = format!("kafka.{}.amazonaws.com", login.region);
    let time = compact(now);
    let date = &time[..8];
    let scope = format!("{date}/{}/{SERVICE}/aws4_request", login.region);
    let mut query = vec![
        ("Action", "kafka-cluster:Connect".to_owned()),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", format!("{}/{scope}", login.access_key)),
        ("X-Amz-Date", time.clone()),
        ("X-Amz-Expires", LIFETIME_SECONDS.to_string()),
    ];
    if let Some(session) = login.session_token {
        query.push(("X-Amz-Security-Token", session.to_owned()));
    }
    query.push(("X-Amz-SignedHeaders", "host".to_owned()));
    let query = query
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect::<Vec<_>>()
        .join("&");
    let nothing = hex(&Sha256::digest(b""));
    let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{nothing}");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let first = format!("AWS4{}", login.secret_key);
    let key = [date, login.region, SERVICE, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| sign(&key, part));
    let signature = hex(&sign(&key, &text));
    format!("https://{host}/?{query}&X-Amz-Signature={signature}")
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As AWS wants it: everything but letters, digits, `-`, `_`, `.` and `~`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'static> = Login {
        region: "eu-west-1",
        access_key: "AKIDEXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
    };
    const NOW: u64 = 1_714_564_800;

    /// The signatures were made by botocore's `SigV4QueryAuth` for the same request, keys and time.
    #[test]
    fn signatures_are_those_of_another_implementation() {
        let url = signed_url(&LOGIN, NOW);
        assert_eq!(
            url,
            "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20240501%2Feu-west-1%2Fkafka-cluster%2Faws4_request\
             &X-Amz-Date=20240501T120000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=75f12caf56fb23215831b8f45e81073f94483a0336fe570b2b2718b36033a314"
        );
        let with_session = Login {
            session_token: Some("FwoG/Zx+Yw=="),
            ..LOGIN
        };
        let url = signed_url(&with_session, NOW);
        assert!(url.contains("&X-Amz-Security-Token=FwoG%2FZx%2BYw%3D%3D&"));
        assert!(url.ends_with(
            "&X-Amz-Signature=7e4b008d62aff992fabafecbb3622230b5275cae4b3a190b6804ef35056f6762"
        ));
    }

    #[test]
    fn a_token_is_the_url_in_base64_without_padding() {
        let token = token(&LOGIN, NOW);
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
        assert!(url.starts_with("https://kafka.eu-west-1.amazonaws.com/?Action="));
        assert!(url.ends_with("&User-Agent=pinflow%2Fkafka"));
    }
}
