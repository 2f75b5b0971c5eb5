//! What a request asks for: its parameters, and the headers that stand for some of them.

use axum::http::header::{ACCEPT, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};

use super::failure::Failure;
use crate::delta::Epoch;
use crate::nearest::nearest;
use crate::serve::format::Format;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) format: Format,
    pub(super) condition: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) wait: Option<Epoch>,
    pub(super) changed_after: Option<Epoch>,
    if_none_match: Option<HeaderValue>,
}

impl Asked {
    /// An error if a parameter is not one of `known`, or does not say what it should.
    pub(super) fn parse(
        known: &[&str],
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Asked, Failure> {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let mut asked = Asked {
            format: Format::accepted(accept.unwrap_or("")),
            condition: None,
            limit: None,
            wait: None,
            changed_after: None,
            if_none_match: headers.get(IF_NONE_MATCH).cloned(),
        };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            match known.iter().find(|known| **known == name) {
                Some(&"format") => {
                    let refuse =
                        |error| Failure::bad_request(error, "the default is json".to_owned());
                    asked.format = value.parse().map_err(refuse)?;
                }
                Some(&"where") => asked.condition = Some(value.into_owned()),
                Some(&"limit") => asked.limit = Some(number("limit", &value)?),
                Some(&"wait") => asked.wait = Some(number("wait", &value)?),
                Some(&"changed_after") => {
                    asked.changed_after = Some(number("changed_after", &value)?)
                }
                _ => {
                    let hint = match nearest(&name, known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are {}", known.join(", ")),
                    };
                    let error = format!("there is no parameter `{name}` here");
                    return Err(Failure::bad_request(error, hint));
                }
            }
        }
        Ok(asked)
    }

    /// Whether the client has the answer with this tag.
    pub(super) fn has(&self, etag: &HeaderValue) -> bool {
        let (Some(tags), Ok(etag)) = (&self.if_none_match, etag.to_str()) else {
            return false;
        };
        let tags = tags.to_str().unwrap_or("");
        tags.split(',')
            .any(|tag| tag.trim() == etag || tag.trim() == "*")
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Failure> {
    value.parse().map_err(|_| {
        let error = format!("`{name}={value}` is not a whole number from 0 on");
        Failure::bad_request(error, format!("for example `{name}=10`"))
    })
}
