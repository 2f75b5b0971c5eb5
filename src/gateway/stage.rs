//! The stage of API Gateway's invoke URLs: `/dev/topics/x.pin` means `/topics/x.pin`.

use axum::http::{Request, Uri};

/// What paths begin with when there is no stage.
const ROOTS: [&str; 5] = ["topics", "consumers", "streams", "metrics", "healthz"];

/// The stage that was taken from a request's path, with its slash: `/dev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage(pub String);

/// Takes the stage from the path, if there is one, and keeps it in the request's extensions.
pub fn strip<B>(mut request: Request<B>) -> Request<B> {
    if let Some((stage, uri)) = split(request.uri()) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(stage);
    }
    request
}

fn split(uri: &Uri) -> Option<(Stage, Uri)> {
    let path = uri.path().strip_prefix('/')?;
    let (stage, rest) = path.split_once('/')?;
    if stage.is_empty() || is_root(stage) || !is_root(rest.split('/').next()?) {
        return None;
    }
    let stage = format!("/{stage}");
    let whole = uri
        .path_and_query()?
        .as_str()
        .strip_prefix(stage.as_str())?;
    Some((Stage(stage.clone()), whole.parse().ok()?))
}

fn is_root(segment: &str) -> bool {
    ROOTS.contains(&segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_what_stands_before_a_known_root() {
        for (given, stage, path) in [
            ("/dev/topics/0ec6.pin", "/dev", "/topics/0ec6.pin"),
            ("/test/streams?Limit=2", "/test", "/streams?Limit=2"),
            (
                "/Production/streams/s/record",
                "/Production",
                "/streams/s/record",
            ),
            ("/prod/consumers/students", "/prod", "/consumers/students"),
        ] {
            let (found, uri) = split(&given.parse().unwrap()).unwrap();
            assert_eq!((found.0.as_str(), uri.to_string().as_str()), (stage, path));
        }
        for plain in [
            "/topics",
            "/topics/streams",
            "/streams/topics/record",
            "/a/b/topics",
            "/",
            "/x",
        ] {
            assert_eq!(split(&plain.parse().unwrap()), None, "{plain}");
        }
    }
}
