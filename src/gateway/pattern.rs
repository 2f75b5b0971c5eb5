//! Subscriptions to all topics whose names match.

use regex::{Regex, RegexBuilder};

use super::backend::Fault;

/// How large an expression may become, in bytes, and how much it may remember while it matches: any
/// client can make a thousand consumers, each with its own.
const SIZE_MAX: usize = 128 << 10;

/// A regular expression that whole names match or not.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles what the client sent.
    pub fn parse(text: &str) -> Result<Pattern, Fault> {
        let text = text.trim_start_matches('^').trim_end_matches('$');
        // Alone first: a bracket too many would close that of ours.
        build(text)?;
        build(&format!("^(?:{text})$")).map(Pattern)
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

fn build(text: &str) -> Result<Regex, Fault> {
    let mut builder = RegexBuilder::new(text);
    let built = builder
        .size_limit(SIZE_MAX)
        .dfa_size_limit(SIZE_MAX)
        .build();
    built.map_err(|error| {
        Fault::Invalid(format!(
            "the topic pattern is no regular expression: {error}"
        ))
    })
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
        assert!(Pattern::parse("a)|(?:b").is_err());
    }

    #[test]
    fn a_pattern_is_bounded_in_size() {
        assert!(Pattern::parse(r"[a-z0-9]{12}\.(pin|geo|user)").is_ok());
        assert!(Pattern::parse("((x{50}){50}){50}").is_err());
    }
}
