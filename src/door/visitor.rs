//! Whose requests are answered at a door that only this machine can reach.
//!
//! The door trusts whatever runs on the machine. A web page that is open in a browser of the
//! machine runs there too, and is somebody else's: it can send requests, and if it makes a name of
//! its own mean 127.0.0.1 (DNS rebinding) it can read the answers. Both can be told by the
//! request's headers.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Whose requests a door answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visitors {
    /// Whoever can reach it.
    #[default]
    All,
    /// Those that call it by an address, as `localhost`, or by one of these names.
    OfThisMachine(Vec<String>),
}

impl Visitors {
    /// Why a request is not answered, if it is not.
    fn refusal(&self, headers: &HeaderMap) -> Option<(StatusCode, String)> {
        let Visitors::OfThisMachine(names) = self else {
            return None;
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let name = without_port(host.unwrap_or("localhost"));
        let is_ours = |ours: &String| ours == "*" || ours.eq_ignore_ascii_case(name);
        if !is_local(name) && !names.iter().any(is_ours) {
            let why = format!(
                "this door is for programs of its machine, which call it by address or as \
                 localhost; to be called `{name}` it needs --allow-host {name}"
            );
            return Some((StatusCode::MISDIRECTED_REQUEST, why));
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // A link may lead here; an image, a script or a fetch of a foreign page may not.
        if header("sec-fetch-site") == Some("cross-site")
            && header("sec-fetch-mode") != Some("navigate")
        {
            let why = "a web page of another site sent this request, and is not answered";
            return Some((StatusCode::FORBIDDEN, why.to_owned()));
        }
        None
    }
}

/// Words a refusal: of a request for this path, the status, and why.
pub type Refuse = fn(&str, StatusCode, &str) -> Response;

/// Lets requests of `visitors` pass; `refuse` words the answer to others.
pub async fn pass(
    State((visitors, refuse)): State<(Arc<Visitors>, Refuse)>,
    request: Request<Body>,
    next: Next,
) -> Response {
    match visitors.refusal(request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => refuse(request.uri().path(), status, &why).into_response(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((name, _)) if name.contains(':') && !name.ends_with(']') => host,
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a name cannot be made to mean another machine.
fn is_local(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || lower == "localhost" || lower.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let visitors = Visitors::OfThisMachine(vec!["lake.example".to_owned()]);
        assert_eq!(Visitors::All.refusal(&headers), None);
        visitors
            .refusal(&headers)
            .map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_door_of_this_machine_is_called_by_address_or_by_a_name_of_its_own() {
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "[::1]:8080",
            "::1",
            "10.0.0.3",
            "pin.localhost",
            "lake.example:80",
        ] {
            assert_eq!(refused(&[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "",
        ] {
            assert_eq!(refused(&[("host", host)]), Some(421), "{host}");
        }
    }

    #[test]
    fn a_foreign_page_may_lead_here_and_not_ask() {
        let host = ("host", "localhost");
        let from = |site| ("sec-fetch-site", site);
        assert_eq!(refused(&[host, from("same-origin")]), None);
        assert_eq!(refused(&[host, from("none")]), None);
        let navigate = ("sec-fetch-mode", "navigate");
        assert_eq!(refused(&[host, from("cross-site"), navigate]), None);
        let image = ("sec-fetch-mode", "no-cors");
        assert_eq!(refused(&[host, from("cross-site"), image]), Some(403));
    }
}
