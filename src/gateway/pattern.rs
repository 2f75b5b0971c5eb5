//! Subscriptions to all topics whose names match.

use regex::Regex;

use super::backend::Fault;

/// A regular expression that whole names match or not.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles what the client sent.
    pub fn parse(text: &str) -> Result<Pattern, Fault> {
        let text = text.trim_start_matches('^').trim_end_matches('$');
        Regex::new(&format!("^(?:{text})$"))
            .map(Pattern)
            .map_err(|error| {
                Fault::Invalid(format!(
                    "the topic pattern is no regular expression: {error}"
                ))
            })
    }

    /// The expression, anchored at both ends.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the whole name matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match() {
        let pattern = Pattern::parse(r"0ec6\.(pin|geo)").unwrap();
        assert!(pattern.matches("0ec6.pin"));
        assert!(!pattern.matches("0ec6.pink"));
        assert!(!pattern.matches("x0ec6.pin"));
        assert!(Pattern::parse("(").is_err());
    }
}
