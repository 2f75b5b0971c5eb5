//! A GET over HTTP/1.1, for talking to a pinflow: one connection a request, no redirects, no TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More header than this is not from a pinflow.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// What a server answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Fetched {
    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Asks the first of the addresses that can be reached. `silence` is how long nothing may come
/// before it is an error.
pub(super) fn fetch(
    addresses: &[SocketAddr],
    host: &str,
    path: &str,
    silence: Duration,
) -> io::Result<Fetched> {
    fetch_with(addresses, host, path, &[], silence)
}

/// The same with headers.
pub(super) fn fetch_with(
    addresses: &[SocketAddr],
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    silence: Duration,
) -> io::Result<Fetched> {
    let mut stream = connect(addresses)?;
    stream.set_read_timeout(Some(silence))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    read(BufReader::new(stream))
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read(mut stream: impl BufRead) -> io::Result<Fetched> {
    let mut head = stream.by_ref().take(HEADER_BYTES_MAX);
    let first = line(&mut head)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| not_http("the first line is not HTTP/1.1"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut head)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| not_http("a header has no colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut fetched = Fetched {
        status,
        headers,
        body: Vec::new(),
    };
    if fetched
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        fetched.body = chunks(stream)?;
    } else if let Some(length) = fetched.header("content-length") {
        let length: u64 = length
            .parse()
            .map_err(|_| not_http("the length is not a number"))?;
        stream.take(length).read_to_end(&mut fetched.body)?;
        if (fetched.body.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else if !matches!(status, 204 | 304) {
        stream.read_to_end(&mut fetched.body)?;
    }
    Ok(fetched)
}

fn chunks(mut stream: impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut stream)?;
        let size = size.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| not_http("a chunk has no size"))?;
        if size == 0 {
            // What may follow are trailers, which say nothing to us.
            return Ok(body);
        }
        let before = body.len() as u64;
        stream.by_ref().take(size).read_to_end(&mut body)?;
        if body.len() as u64 - before < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line(&mut stream)?;
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => Err(not_http("it ended within a line")),
    }
}

fn not_http(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the answer is not HTTP: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_by_its_length_by_chunks_or_with_the_connection() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello, not this",
            "HTTP/1.1 200 OK\r\nx-a: b\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nx-a:b\r\n\r\nhello",
        ] {
            let fetched = read(answer.as_bytes()).unwrap();
            assert_eq!(
                (fetched.status, fetched.body.as_slice()),
                (200, b"hello".as_slice())
            );
            assert_eq!(fetched.header("x-a"), Some("b"));
        }
    }

    #[test]
    fn half_an_answer_is_an_error() {
        for answer in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        ] {
            assert!(read(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
