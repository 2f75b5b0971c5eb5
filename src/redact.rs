//! Addresses without what may be secret in them, for errors and logs.

/// `address` without user, password and the values of options.
///
/// Someone may have written a password where none belongs, or mistyped the option's name, so
/// everything before an `@` and every value behind a `?` is left out, whatever it is.
pub(crate) fn redact(address: &str) -> String {
    let begins = match address.find("://") {
        Some(scheme) => scheme + "://".len(),
        None => address.find(':').map_or(0, |colon| colon + 1),
    };
    let (scheme, rest) = address.split_at(begins);
    let (hidden, rest) = match rest.rsplit_once('@') {
        Some((_, behind)) => ("…@", behind),
        None => ("", rest),
    };
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut shown = format!("{scheme}{hidden}{place}");
    for (number, option) in options.split('&').filter(|o| !o.is_empty()).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        match option.split_once('=') {
            Some((name, _)) => shown.push_str(&format!("{name}=…")),
            None => shown.push('…'),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn passwords_are_left_out_wherever_they_were_put() {
        for (address, shown) in [
            ("kafka://host:9092", "kafka://host:9092"),
            ("./streams", "./streams"),
            ("kafak://joe:PW@h/x", "kafak://…@h/x"),
            ("kafka://h?passwrd=PW&a=b", "kafka://h?passwrd=…&a=…"),
            ("kafka://joe:p?w@h?x=PW", "kafka://…@h?x=…"),
            ("kinesis://x-*?secret=PW", "kinesis://x-*?secret=…"),
            ("kinesis://x?PW", "kinesis://x?…"),
            ("dir:s3://KEY:PW@b/x", "dir:s3://…@b/x"),
            ("dir:https://joe:PW@h", "dir:https://…@h"),
            ("mysql:joe:PW@h/db", "mysql:…@h/db"),
        ] {
            assert_eq!(redact(address), shown);
            assert!(!redact(address).contains("PW"));
        }
    }
}
