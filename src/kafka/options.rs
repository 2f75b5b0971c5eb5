//! The text of an address, taken apart: brokers, credentials, and options that are used once each.

use std::collections::BTreeMap;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"…\"")
    }
}

/// The parts of `kafka://[user:password@]brokers?name=value&..`.
pub(super) struct Options {
    pub(super) brokers: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    named: BTreeMap<String, String>,
}

impl Options {
    /// Takes an address apart; the error is why that cannot be.
    pub(super) fn parse(address: &str) -> Result<Options, String> {
        let rest = address
            .strip_prefix("kafka://")
            .ok_or("it does not begin with `kafka://`")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, brokers) = match place.rsplit_once('@') {
            Some((login, brokers)) => (Some(login), brokers),
            None => (None, place),
        };
        let (user, password) = match login {
            None => (None, None),
            Some(login) => {
                let (user, password) = match login.split_once(':') {
                    Some((user, password)) => (user, Some(Secret(decode(password)))),
                    None => (login, None),
                };
                (Some(decode(user)), password)
            }
        };
        let mut named = BTreeMap::new();
        // A plus is a plus (as in time zones), not a blank.
        let query = query.replace('+', "%2B");
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name.is_empty() {
                continue;
            }
            if named
                .insert(name.clone().into_owned(), value.into_owned())
                .is_some()
            {
                return Err(format!("`{name}` is given twice"));
            }
        }
        Ok(Options {
            brokers: brokers.trim_end_matches('/').to_owned(),
            user,
            password,
            named,
        })
    }

    /// An option, which is then used up.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.named.remove(name).filter(|value| !value.is_empty())
    }

    /// A choice between words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let asked = value.to_ascii_lowercase().replace('_', "-");
        match words.iter().find(|(word, _)| *word == asked) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(format!("`{name}` is one of {}", known.join(", ")))
            }
        }
    }

    /// A whole number from `least` on.
    pub(super) fn number(&mut self, name: &str, least: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.parse().ok().filter(|number| *number >= least) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("`{name}` is a whole number from {least} on")),
        }
    }

    /// What was not used.
    pub(super) fn rest(self) -> BTreeMap<String, String> {
        self.named
    }
}

fn decode(text: &str) -> String {
    let text = text.replace('+', "%2B").replace('&', "%26");
    let text = text.replace('=', "%3D");
    match url::form_urlencoded::parse(text.as_bytes()).next() {
        Some((name, _)) => name.into_owned(),
        None => String::new(),
    }
}
