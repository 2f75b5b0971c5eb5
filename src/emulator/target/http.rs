//! Requests to a gateway, and what its answers mean.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;

use super::{Answer, TargetOptions};

/// As the most careful of the original scripts has them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer with more is not from such a gateway.
const LONGEST_ANSWER: usize = 16 << 20;

/// A client that keeps its connections.
pub(super) struct Http {
    client: Client,
}

/// The answer to a request that got one.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Http {
    pub(super) fn new(options: &TargetOptions) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &options.api_key {
            let mut value = HeaderValue::from_str(key)
                .map_err(|_| "the API key holds characters that cannot be sent".to_owned())?;
            value.set_sensitive(true);
            headers.insert("x-api-key", value);
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(usize::MAX)
            // A redirect would turn what is posted into something else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pinflow/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .build()
            .map_err(|error| chain(&error))?;
        Ok(Self { client })
    }

    /// Sends `body`; without an answer it may be sent again.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Reply, Answer> {
        let request = self
            .client
            .request(method, url.clone())
            .header(CONTENT_TYPE, content_type)
            .body(body);
        let mut response = request
            .send()
            .await
            .map_err(|error| Answer::again(chain(&error)))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| Answer::again(chain(&error)))?
        {
            body.extend_from_slice(&part);
            if body.len() > LONGEST_ANSWER {
                return Err(Answer::Fatal(format!(
                    "{url} answers without end: is it a gateway?"
                )));
            }
        }
        Ok(Reply {
            status,
            retry_after,
            body: body.into(),
        })
    }
}

/// The body of an error, in any of the ways that proxies and gateways have.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl Reply {
    /// What an answer means that is no success.
    pub(super) fn failure(&self, url: &Url) -> Answer {
        let said = serde_json::from_slice(&self.body)
            .ok()
            .and_then(|body: ErrorBody| body.message)
            .unwrap_or_else(|| short(&self.body));
        let why = format!("{url} answers {}: {said}", self.status);
        match self.status.as_u16() {
            400 | 413 | 422 => Answer::Rejected(why),
            408 | 425 | 429 | 500.. => Answer::Again {
                why,
                after: self.retry_after,
            },
            401 | 403 => Answer::Fatal(format!(
                "{why}; the key of a gateway is given by --api-key or PINFLOW_API_KEY"
            )),
            404 => Answer::Fatal(format!(
                "{why}; is the path right, and does the topic or stream exist?"
            )),
            _ => Answer::Fatal(why),
        }
    }
}

/// The beginning of a text that should not have come.
pub(super) fn short(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    if short.is_empty() {
        "(nothing)".to_owned()
    } else {
        short
    }
}

/// An error with its causes: the outermost alone says little.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// `base/first/second..`, with whatever needs it escaped.
pub(super) fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(2)),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        reply.failure(&Url::parse("http://h/topics/a").unwrap())
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_told() {
        for status in [408, 429, 500, 502, 503, 504] {
            let Answer::Again { after, .. } = answer(status, "") else {
                panic!("{status}")
            };
            assert_eq!(after, Some(Duration::from_secs(2)));
        }
        for status in [400, 413, 422] {
            assert!(matches!(answer(status, ""), Answer::Rejected(_)));
        }
        for status in [302, 401, 403, 404, 405, 415] {
            assert!(matches!(answer(status, ""), Answer::Fatal(_)));
        }
    }

    #[test]
    fn the_message_of_an_error_is_passed_on() {
        let Answer::Fatal(why) =
            answer(404, r#"{"error_code":40401,"message":"Topic not found."}"#)
        else {
            panic!()
        };
        assert_eq!(
            why,
            "http://h/topics/a answers 404 Not Found: Topic not found.; is the path right, and does the topic or stream exist?"
        );
    }

    #[test]
    fn names_are_escaped_in_paths() {
        let base = Url::parse("http://h/dev/streams").unwrap();
        assert_eq!(
            below(&base, &["a b/c", "record"]).as_str(),
            "http://h/dev/streams/a%20b%2Fc/record"
        );
    }
}
