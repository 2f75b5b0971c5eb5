//! Cuts a dataflow file into statements and remembers where each one, and each word in it, stands.
//!
//! Statements are parsed one at a time, so that an error in one is reported at its own place, and
//! every statement can be searched for the word a message is about.

use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::error::{DefinitionError, Place};

/// One statement of a file: its text, and its words with their places.
pub struct StatementText {
    /// The file it is from.
    pub file: String,
    /// The statement without its semicolon.
    pub sql: String,
    /// Its words with one blank between any two: without comments, and words in small letters where
    /// SQL sees no difference.
    pub words: String,
    /// Where its first word stands.
    pub place: Place,
    tokens: Vec<TokenWithSpan>,
}

impl StatementText {
    /// An error about this statement, placed at the first of `words` that occurs in it, else at its
    /// beginning.
    pub fn error(
        &self,
        words: &[&str],
        what: impl Into<String>,
        help: Option<&str>,
    ) -> DefinitionError {
        let place = words
            .iter()
            .find_map(|word| self.find(word))
            .unwrap_or(self.place);
        self.error_at(place, what, help)
    }

    /// An error about what stands at `place`.
    pub fn error_at(
        &self,
        place: Place,
        what: impl Into<String>,
        help: Option<&str>,
    ) -> DefinitionError {
        DefinitionError {
            file: self.file.clone(),
            place: Some(place),
            what: what.into(),
            help: help.map(str::to_owned),
        }
    }

    /// Where the statement ends.
    pub fn end(&self) -> Place {
        self.tokens.last().map_or(self.place, |last| Place {
            line: last.span.end.line,
            column: last.span.end.column,
        })
    }

    /// Where `word` first stands as a word of its own, in any case of letters.
    pub fn find(&self, word: &str) -> Option<Place> {
        self.tokens.iter().find_map(|token| match &token.token {
            Token::Word(found) if found.value.eq_ignore_ascii_case(word) => Some(place_of(token)),
            _ => None,
        })
    }

    /// Where the first subquery stands that is neither read from nor compared with by a word.
    pub fn find_value_subquery(&self) -> Option<Place> {
        const BEFORE: [&str; 10] = [
            "FROM", "JOIN", "EXISTS", "IN", "ANY", "ALL", "SOME", "LATERAL", "AS", "UNION",
        ];
        let is = |token: &Token, words: &[&str]| match token {
            Token::Word(word) => words
                .iter()
                .any(|other| word.value.eq_ignore_ascii_case(other)),
            _ => false,
        };
        let found = self.tokens.windows(3).find(|three| {
            !is(&three[0].token, &BEFORE)
                && three[1].token == Token::LParen
                && is(&three[2].token, &["SELECT"])
        });
        found.map(|three| place_of(&three[1]))
    }

    /// How often `word` stands as a word of its own, in any case of letters.
    pub fn count(&self, word: &str) -> usize {
        let is = |token: &&TokenWithSpan| matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word));
        self.tokens.iter().filter(is).count()
    }

    /// Where these words, with blanks between them, stand one after the other, in any case of
    /// letters.
    pub fn find_words(&self, words: &str) -> Option<Place> {
        let words: Vec<&str> = words.split(' ').collect();
        let is = |token: &TokenWithSpan, word: &str| match &token.token {
            Token::Word(found) => {
                found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
            }
            _ => false,
        };
        let mut places = self.tokens.windows(words.len());
        let found = places.find(|tokens| tokens.iter().zip(&words).all(|(t, word)| is(t, word)));
        found.map(|tokens| place_of(&tokens[0]))
    }

    /// Where a column of a relation, or all of its columns, are named: `relation.column`,
    /// `relation.*`.
    pub fn find_qualified(&self, relation: &str, column: &str) -> Option<Place> {
        let is = |token: &Token, word: &str| matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word));
        let found = self.tokens.windows(3).find(|three| {
            is(&three[0].token, relation)
                && three[1].token == Token::Period
                && (is(&three[2].token, column) || three[2].token == Token::Mul)
        });
        found.map(|three| place_of(&three[0]))
    }

    /// Whether it asks for all columns: `SELECT *`, or `*` behind a comma.
    pub fn has_wildcard(&self) -> bool {
        self.tokens.windows(2).any(|pair| {
            let before = match &pair[0].token {
                Token::Word(word) => ["SELECT", "DISTINCT", "ALL"]
                    .iter()
                    .any(|keyword| word.value.eq_ignore_ascii_case(keyword)),
                Token::Comma => true,
                _ => false,
            };
            before && pair[1].token == Token::Mul
        })
    }

    /// The last `count` words before a place, in small letters; what is in quotes, and what is no
    /// word, is left out.
    pub fn words_before(&self, place: Place, count: usize) -> Vec<String> {
        let before = |token: &&TokenWithSpan| {
            let Place { line, column } = place_of(token);
            (line, column) < (place.line, place.column)
        };
        let tokens: Vec<_> = self.tokens.iter().take_while(before).collect();
        let last = tokens.into_iter().rev().take(count);
        last.filter_map(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            _ => None,
        })
        .collect()
    }

    /// Turns a place that a parser reports about [`Self::sql`] into a place in the file.
    pub fn place_in_file(&self, line: u64, column: u64) -> Place {
        Place {
            line: self.place.line + line.saturating_sub(1),
            column: if line <= 1 {
                self.place.column + column.saturating_sub(1)
            } else {
                column
            },
        }
    }
}

fn place_of(token: &TokenWithSpan) -> Place {
    Place {
        line: token.span.start.line,
        column: token.span.start.column,
    }
}

/// Cuts `text` at its semicolons. Comments and semicolons in strings are no borders.
pub fn split(file: &str, text: &str) -> Result<Vec<StatementText>, DefinitionError> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| DefinitionError {
            file: file.to_owned(),
            place: Some(Place {
                line: error.location.line,
                column: error.location.column,
            }),
            what: format!("this is not SQL: {}", error.message),
            help: None,
        })?;
    let lines = LineIndex::new(text);
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    let mut finish = |tokens: Vec<TokenWithSpan>| {
        if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
            let words: Vec<_> = tokens.iter().map(|token| lines.word(token)).collect();
            statements.push(StatementText {
                file: file.to_owned(),
                sql: lines.between(first, last).to_owned(),
                words: words.join(" "),
                place: place_of(first),
                tokens,
            });
        }
    };
    for token in tokens {
        match token.token {
            Token::SemiColon => finish(std::mem::take(&mut current)),
            Token::Whitespace(_) | Token::EOF => {}
            _ => current.push(token),
        }
    }
    finish(current);
    Ok(statements)
}

/// Byte positions of the places in a text.
struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i + 1))
            .collect();
        LineIndex { text, starts }
    }

    /// A word as written, or in small letters if it is the same to SQL.
    fn word(&self, token: &TokenWithSpan) -> String {
        match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            _ => self.between(token, token).to_owned(),
        }
    }

    /// The text from the beginning of one word to the end of another.
    fn between(&self, first: &TokenWithSpan, last: &TokenWithSpan) -> &'a str {
        let end = Place {
            line: last.span.end.line,
            column: last.span.end.column,
        };
        self.text[self.byte(place_of(first))..self.byte(end)].trim_end()
    }

    fn byte(&self, place: Place) -> usize {
        let start = self
            .starts
            .get(place.line as usize - 1)
            .copied()
            .unwrap_or(self.text.len());
        self.text[start..]
            .char_indices()
            .nth(place.column as usize - 1)
            .map_or(self.text.len(), |(offset, _)| start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_keep_their_places() {
        let text = "-- a; comment\nSELECT 1;\n  SELECT ';' AS b ;\n";
        let statements = split("x.sql", text).unwrap();
        let found: Vec<_> = statements
            .iter()
            .map(|s| (s.sql.as_str(), s.place.line, s.place.column))
            .collect();
        assert_eq!(found, [("SELECT 1", 2, 1), ("SELECT ';' AS b", 3, 3)]);
        assert_eq!(
            statements[1].find("B"),
            Some(Place {
                line: 3,
                column: 17
            })
        );
    }

    #[test]
    fn words_keep_what_has_a_meaning() {
        let text = "CREATE  VIEW v AS -- a comment; really\n  SELECT \"Big\", 'It''s; OK',\n\t1.50e3::double /* more */ FROM T";
        let words = "create view v as select \"Big\" , 'It''s; OK' , 1.50e3 :: double from t";
        let statements = split("x.sql", text).unwrap();
        let found: Vec<_> = statements.iter().map(|s| s.words.as_str()).collect();
        assert_eq!(found, [words]);
    }

    #[test]
    fn an_unclosed_string_is_an_error_at_its_place() {
        let error = split("x.sql", "SELECT\n 'abc").err().unwrap();
        assert_eq!(
            (error.file.as_str(), error.place.unwrap().line),
            ("x.sql", 2)
        );
    }
}
