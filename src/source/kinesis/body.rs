//! From the data of a Kinesis record to lines of a chunk.
//!
//! Most data is JSON text and stays as it is. The decoder unwraps a JSON *string* that holds JSON
//! text or its base64 (what a client's own base64 becomes behind the API's mapping template); what
//! is left to do here is base64 *without* quotes, as producers send it that encode for a client
//! that encodes again: it gets the quotes. So nothing is decoded twice, and what is not base64 of
//! JSON stays a dead letter as it came.

use super::place::Sequence;
use crate::decode::{push_record, push_value};

/// Appends the data of a record as one line.
pub fn push_data(lines: &mut Vec<u8>, data: &[u8]) {
    if is_bare_base64(data) {
        lines.push(b'"');
        lines.extend_from_slice(data.trim_ascii());
        lines.extend_from_slice(b"\"\n");
    } else {
        push_value(lines, data);
    }
}

/// Appends a record whose stream cannot be told, as one line of text that is not JSON.
pub fn push_unrouted(lines: &mut Vec<u8>, partition_key: &str, sequence: &Sequence, data: &[u8]) {
    let text = format!(
        "Kinesis record whose partition key {partition_key:?} names no stream, sequence number {}: ",
        sequence.as_str()
    );
    let line = [text.as_bytes(), data].concat();
    push_record(lines, &line);
}

/// Whether the data looks like base64 of JSON: letters where JSON begins with a bracket or a quote.
/// `true`, `null` and the like are no records in either reading.
fn is_bare_base64(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    data.len() >= 8 && data[0].is_ascii_alphabetic() && data.iter().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(data: &[u8]) -> String {
        let mut lines = Vec::new();
        push_data(&mut lines, data);
        String::from_utf8(lines).expect("UTF-8")
    }

    #[test]
    fn json_stays_and_bare_base64_becomes_a_json_string() {
        for (data, expected) in [
            (&br#"{"ind":1}"#[..], "{\"ind\":1}\n"),
            (b"{\n \"ind\": 1\n}", "{\r \"ind\": 1\r}\n"),
            (br#""eyJpbmQiOjF9""#, "\"eyJpbmQiOjF9\"\n"),
            (b"eyJpbmQiOjF9", "\"eyJpbmQiOjF9\"\n"),
            (b"eyJpbmQiOjF9\n", "\"eyJpbmQiOjF9\"\n"),
            (b"[{\"ind\":1}]", "[{\"ind\":1}]\n"),
            (b"not json", "not json\n"),
            (b"true", "true\n"),
            (b"12345678", "12345678\n"),
            (b"", "\"\"\n"),
        ] {
            assert_eq!(line(data), expected);
        }
    }

    #[test]
    fn an_unrouted_record_keeps_its_key_and_its_data() {
        let mut lines = Vec::new();
        let sequence = Sequence::new("42").expect("digits");
        push_unrouted(&mut lines, "a\nb", &sequence, b"{\"x\":\n1}");
        assert_eq!(
            String::from_utf8(lines).expect("UTF-8"),
            "Kinesis record whose partition key \"a\\nb\" names no stream, sequence number 42: {\"x\":\r1}\n"
        );
    }
}
