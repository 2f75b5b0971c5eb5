//! API keys, as API Gateway knows them: a request carries one in `x-api-key`.

use std::fmt;
use std::path::Path;

/// The keys that open the gateway; without any it is open to all. Never shown.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<Box<[u8]>>);

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file is not readable.
    #[error("the file of API keys {file} cannot be read: {cause}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// There is none in it.
    #[error("the file of API keys {file} holds no key; write one a line")]
    Empty {
        /// The file.
        file: String,
    },
}

impl ApiKeys {
    /// These keys; blank ones are none.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> ApiKeys {
        let keys = keys
            .into_iter()
            .map(str::trim)
            .filter(|key| !key.is_empty());
        ApiKeys(keys.map(|key| key.as_bytes().into()).collect())
    }

    /// The lines of a file; those that begin with `#` are comments.
    pub fn of_file(path: &Path) -> Result<ApiKeys, KeysError> {
        let file = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) => return Err(KeysError::File { file, cause }),
        };
        let keys = ApiKeys::new(text.lines().filter(|line| !line.starts_with('#')));
        if keys.is_open() {
            return Err(KeysError::Empty { file });
        }
        Ok(keys)
    }

    /// These keys and others.
    pub fn and(mut self, others: ApiKeys) -> ApiKeys {
        self.0.extend(others.0);
        self
    }

    /// Whether no key is needed.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request with this key may pass. Takes the same time for every key of a length,
    /// right or wrong.
    pub fn admit(&self, given: Option<&[u8]>) -> bool {
        if self.is_open() {
            return true;
        }
        let given = given.unwrap_or_default();
        let mut admitted = false;
        for key in &self.0 {
            admitted |= same(key, given);
        }
        admitted
    }
}

/// Compares all of `given`, whatever the first difference is.
fn same(key: &[u8], given: &[u8]) -> bool {
    let mut difference = key.len() ^ given.len();
    for (place, byte) in given.iter().enumerate() {
        let expected = key.get(place % key.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(std::hint::black_box(expected ^ byte));
    }
    std::hint::black_box(difference) == 0
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} API keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_opens_and_nothing_else_does() {
        let keys = ApiKeys::new(["first-key", " second ", ""]);
        for right in ["first-key", "second"] {
            assert!(keys.admit(Some(right.as_bytes())));
        }
        for wrong in ["", "first", "first-keyfirst-key", "First-key", "second "] {
            assert!(!keys.admit(Some(wrong.as_bytes())), "{wrong}");
        }
        assert!(!keys.admit(None));
        assert!(ApiKeys::new([""]).admit(None), "without keys all may pass");
    }

    #[test]
    fn keys_are_never_shown() {
        assert_eq!(format!("{:?}", ApiKeys::new(["hunter2"])), "1 API keys");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "# ours\n\n").unwrap();
        assert!(ApiKeys::of_file(&path).is_err());
        std::fs::write(&path, "# ours\nhunter2\n").unwrap();
        assert!(ApiKeys::of_file(&path).unwrap().admit(Some(b"hunter2")));
        assert!(ApiKeys::of_file(&dir.path().join("none")).is_err());
    }
}
