//! Requests whose address cannot be read.
//!
//! A condition in an address has `>` and blanks in it, and must be encoded. What is not encoded
//! hyper answers with a 400 and not a word, before any route is asked. So the first line of a
//! connection is looked at before hyper has it: a client that does not know sends nothing else.
//!
//! Connections with TLS are not looked at: what they begin with is seen once it is decrypted, and
//! then it has been taken from hyper. There the answer is hyper's 400.

use std::io;
use std::time::Duration;

use axum::http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How much of the first line is looked at.
const LOOKED_AT: usize = 4 << 10;
/// How much of a request is read after the answer, and for how long, so that it arrives.
const READ_AFTER: u64 = 64 << 10;
const READ_WITHIN: Duration = Duration::from_secs(1);

/// What a connection begins with.
#[derive(Debug, PartialEq)]
pub(super) enum First {
    /// Something for hyper to read.
    Request,
    /// Nothing, for too long.
    Silence,
    /// A request that hyper would refuse, and why.
    Unreadable(String),
}

/// Looks at what a connection begins with, once something has come within `within`. Hyper has as
/// long again for the rest of the head: a kept connection may be silent for that time, and it must
/// not become shorter by how long the first request took to come.
pub(super) async fn first(stream: &TcpStream, within: Duration) -> First {
    let mut head = vec![0; LOOKED_AT];
    match tokio::time::timeout(within, stream.peek(&mut head)).await {
        Err(_) => First::Silence,
        Ok(Err(_)) => First::Request,
        Ok(Ok(seen)) => unreadable(&head[..seen]).map_or(First::Request, First::Unreadable),
    }
}

/// Answers such a request, and ends the connection.
pub(super) async fn refuse(mut stream: TcpStream, why: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{why}",
        why.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What was not read when a connection is closed would take the answer with it.
    let mut rest = stream.take(READ_AFTER);
    let mut nowhere = tokio::io::sink();
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(READ_WITHIN, read).await;
    Ok(())
}

/// What is wrong with the address in the first line of `head`.
fn unreadable(head: &[u8]) -> Option<String> {
    let line = head[..memchr::memchr(b'\n', head)?].trim_ascii_end();
    let method = memchr::memchr(b' ', line)?;
    let version = memchr::memrchr(b' ', line)?;
    let target = line.get(method + 1..version)?;
    let is_http = line[version + 1..].starts_with(b"HTTP/1.");
    if !is_http || Uri::try_from(target).is_ok() {
        return None;
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>".contains(&byte);
    let bad = *target.iter().find(|byte| !is_plain(**byte))?;
    let shown = match bad {
        b' ' => "a blank".to_owned(),
        bad if bad.is_ascii_graphic() => format!("`{}`", char::from(bad)),
        bad => format!("the byte {bad}"),
    };
    Some(format!(
        "the address of this request has {shown} in it, which is written %{bad:02X} in an address; \
         curl does so with -G --data-urlencode \"where=..\"\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_encoded_is_refused_with_what_to_write() {
        let said = |line: &str| unreadable(line.as_bytes());
        for fine in [
            "GET /views/v?where=a%3E1 HTTP/1.1\r\n",
            "GET / HTTP/1.0\n",
            "POST /topics/x HTTP/1.1\r\nHost: x\r\n\r\n<>",
            "GET /views/v?where=a>1",
            "SSH-2.0-x >\r\n",
            "",
        ] {
            assert_eq!(said(fine), None, "{fine}");
        }
        for (target, expected) in [
            ("/views/v?where=a>1", "has `>` in it, which is written %3E"),
            (
                "/views/v?where=a < 1",
                "has a blank in it, which is written %20",
            ),
            (
                "/views/v?where=\"a\"=1",
                "has `\"` in it, which is written %22",
            ),
        ] {
            let told = said(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n")).unwrap();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn the_refusal_is_the_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        // A body that is longer than what is looked at, and not whole yet when it is refused.
        let body = "x".repeat(2 * LOOKED_AT);
        let request = "POST /topics/v?where=a>1 HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let First::Unreadable(why) = first(&server, Duration::from_secs(60)).await else {
            panic!("it was taken for a request");
        };
        let mut answer = String::new();
        let asking = async {
            client.write_all(body.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (refused, ()) = tokio::join!(refuse(server, &why), asking);
        refused.unwrap();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(&why),
            "{answer}"
        );
    }
}
