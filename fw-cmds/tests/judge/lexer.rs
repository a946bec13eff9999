//! C source as tokens: comments gone, `#define NAME value` kept aside, other directives dropped.

/// A token of C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name or keyword.
    Word(String),
    /// An integer, its suffix dropped.
    Number(u64),
    /// Any other character.
    Mark(char),
    /// `<<` or `>>`.
    Shift(char),
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }
}

/// The tokens of a source, and those of the values of its macros without parameters.
pub(crate) struct Source {
    pub(crate) tokens: Vec<Token>,
    pub(crate) defines: Vec<(String, Vec<Token>)>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let text = without_comments(text).replace("\\\n", " ");
        let mut source = Self { tokens: Vec::new(), defines: Vec::new() };
        for line in text.lines() {
            match line.trim_start().strip_prefix('#') {
                Some(directive) => source.defines.extend(define(directive)),
                None => source.tokens.extend(tokens(line)),
            }
        }
        source
    }
}

/// Name and value of `define NAME value`; nothing for any other directive, for a macro with
/// parameters (its parenthesis touches the name), or for one without a value.
fn define(directive: &str) -> Option<(String, Vec<Token>)> {
    let rest = directive.trim_start().strip_prefix("define")?.trim_start();
    let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    let (name, value) = rest.split_at(end);
    let value = tokens(value.strip_prefix('(').map_or(value, |_| ""));
    (!value.is_empty()).then(|| (name.to_owned(), value))
}

/// The text with each comment replaced by a blank.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        let (before, comment) = rest.split_at(start);
        out.push_str(before);
        out.push(' ');
        let end = match comment.starts_with("/*") {
            true => comment.find("*/").map(|end| end + 2),
            false => comment.find('\n'),
        };
        rest = &comment[end.unwrap_or(comment.len())..];
    }
    out + rest
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("<<") || rest.starts_with(">>") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(len);
        out.push(if first.is_ascii_digit() {
            number(token).map_or_else(|| Token::Word(token.to_owned()), Token::Number)
        } else if is_word(first) {
            Token::Word(token.to_owned())
        } else if len == 2 {
            Token::Shift(first)
        } else {
            Token::Mark(first)
        });
        rest = after.trim_start();
    }
    out
}

/// An integer literal without its suffix.
fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['u', 'U', 'l', 'L']);
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
