//! Just enough C to read the mlx5 headers: structs and unions by name, enumerators, macros that
//! are numbers.

use std::collections::HashMap;

use super::lexer::{Source, Token};

/// What a header declares. Structs stay tokens until one is asked for, so that a struct which this
/// parser does not understand harms nobody else.
#[derive(Default)]
pub(crate) struct Header {
    records: HashMap<String, Record>,
    /// The enums, each a list of names and values; a value this parser can't compute is `None`.
    pub(crate) enums: Vec<Vec<(String, Option<u64>)>>,
    values: HashMap<String, u64>,
}

#[derive(Clone)]
struct Record {
    body: Body,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Body {
    union: bool,
    packed: bool,
}

/// How wide members are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `u8 name[width]` is a field of `width` bits and nothing is aligned (`mlx5_ifc_*_bits`).
    Bits,
    /// Members are C types, aligned as C aligns them.
    C,
}

/// A struct or union with all members placed; numbers in bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) members: Vec<Member>,
    pub(crate) size: u32,
    align: u32,
}

/// One named member; the members of an unnamed struct or union count as those of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset: u32,
    /// Width in bits of all elements together, 0 for `[]`.
    pub(crate) width: u32,
    pub(crate) shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One integer.
    Uint,
    /// Elements of so many bits; no count for `[]`.
    Array { element: u32, count: Option<u32> },
    /// A struct or union, by its name if it has one.
    Record(Option<String>),
}

impl Member {
    pub(crate) fn is_reserved(&self) -> bool {
        self.name.starts_with("reserved") || self.name.starts_with("rsvd")
    }
}

impl Header {
    /// Adds what a source declares.
    pub(crate) fn add(&mut self, text: &str) {
        let source = Source::new(text);
        for (name, value) in &source.defines {
            if let Some(value) = self.value_of(value) {
                self.values.insert(name.clone(), value);
            }
        }
        let tokens = &source.tokens;
        for at in 0..tokens.len() {
            let keyword = tokens[at].word().unwrap_or_default();
            let name = tokens.get(at + 1).and_then(Token::word);
            let open = at + 1 + usize::from(name.is_some());
            if !tokens.get(open).is_some_and(|token| token.is('{')) {
                continue;
            }
            let Some(close) = closing(tokens, open) else { continue };
            let inside = &tokens[open + 1..close];
            match (keyword, name) {
                ("enum", _) => self.add_enum(inside),
                ("struct" | "union", Some(name)) => {
                    let body = Body { union: keyword == "union", packed: packed(tokens.get(close + 1)) };
                    self.records.insert(name.to_owned(), Record { body, tokens: inside.to_vec() });
                }
                _ => {}
            }
        }
    }

    fn add_enum(&mut self, tokens: &[Token]) {
        let mut items = Vec::new();
        let mut next = Some(0);
        for item in split(tokens, ',') {
            let Some(name) = item.first().and_then(Token::word) else { continue };
            let value = match item.get(1) {
                Some(_) => self.value_of(&item[2..]),
                None => next,
            };
            if let Some(value) = value {
                self.values.insert(name.to_owned(), value);
            }
            next = value.map(|value| value.wrapping_add(1));
            items.push((name.to_owned(), value));
        }
        self.enums.push(items);
    }

    /// The value of an enumerator or macro.
    pub(crate) fn value(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }

    /// The value of an expression, `None` if there is more to it than this parser knows.
    fn value_of(&self, tokens: &[Token]) -> Option<u64> {
        let mut expression = Expression { header: self, rest: tokens };
        let value = expression.or()?;
        expression.rest.is_empty().then_some(value)
    }

    /// The struct or union of that name. `Ok(None)` if there is none.
    pub(crate) fn find(&self, name: &str, style: Style) -> Result<Option<Struct>, String> {
        let Some(record) = self.records.get(name) else { return Ok(None) };
        self.place(record.body, &record.tokens, style).map(Some).map_err(|e| format!("{name}: {e}"))
    }

    /// Places the members of a struct or union.
    fn place(&self, body: Body, tokens: &[Token], style: Style) -> Result<Struct, String> {
        let mut out = Struct { align: 1, ..Struct::default() };
        let mut at = 0;
        while at < tokens.len() {
            let end = at + end_of_member(&tokens[at..]).ok_or("a member without `;`")?;
            let (mut member, inner, align) = self.member(&tokens[at..end], style)?;
            let align = if body.packed || style == Style::Bits { 1 } else { align };
            out.align = out.align.max(align);
            member.offset = if body.union { 0 } else { out.size.next_multiple_of(align) };
            let end_of_data = member.offset.checked_add(member.width).ok_or("too large")?;
            out.size = out.size.max(end_of_data);
            if member.name.is_empty() {
                let base = member.offset;
                out.members.extend(inner.into_iter().map(|m| Member { offset: m.offset + base, ..m }));
            } else {
                out.members.push(member);
            }
            at = end + 1;
        }
        out.size = out.size.next_multiple_of(out.align);
        Ok(out)
    }

    /// One member at offset 0, the members of its type if that is unnamed, and its alignment.
    fn member(&self, tokens: &[Token], style: Style) -> Result<(Member, Vec<Member>, u32), String> {
        let keyword = tokens.first().and_then(Token::word).ok_or("a member without type")?;
        if keyword == "DECLARE_FLEX_ARRAY" {
            return self.flex_array(tokens, style);
        }
        let (element, shape, inner, declarator) = match keyword {
            "struct" | "union" => {
                let name = tokens.get(1).and_then(Token::word);
                if name.is_some() && tokens.get(2).is_some_and(|token| token.is('{')) {
                    return Err(format!("struct {} is defined inside another", name.unwrap_or_default()));
                }
                let (record, after) = match name {
                    Some(name) => (self.find(name, style)?.ok_or_else(|| format!("no struct {name}"))?, 2),
                    None => {
                        let close = closing(tokens, 1).ok_or("no closing brace")?;
                        let is_packed = packed(tokens.get(close + 1));
                        let body = Body { union: keyword == "union", packed: is_packed };
                        let record = self.place(body, &tokens[2..close], style)?;
                        (record, close + 1 + usize::from(is_packed))
                    }
                };
                (record.size, Shape::Record(name.map(str::to_owned)), record, after)
            }
            scalar => {
                let size = match (style, scalar) {
                    (Style::Bits, "u8") => 1,
                    (Style::C, "u8" | "char") => 8,
                    (Style::C, "u16" | "__be16") => 16,
                    (Style::C, "u32" | "__be32") => 32,
                    (Style::C, "u64" | "__be64") => 64,
                    _ => return Err(format!("unknown type {scalar}")),
                };
                (size, Shape::Uint, Struct { align: size, ..Struct::default() }, 1)
            }
        };
        let align = inner.align;
        let name = tokens.get(declarator).and_then(Token::word).unwrap_or_default().to_owned();
        let mut dimensions = self.dimensions(tokens.get(declarator + 1..).unwrap_or_default())?;
        let mut element = element;
        if style == Style::Bits && shape == Shape::Uint {
            // The last dimension is not a number of elements but the width of one.
            element = dimensions.pop().flatten().ok_or_else(|| format!("{name} has no width"))?;
        }
        let shape = match (dimensions.as_slice(), shape) {
            ([], shape) => shape,
            ([count], _) => Shape::Array { element, count: *count },
            _ => return Err(format!("{name} has too many dimensions")),
        };
        let count = dimensions.first().map_or(1, |count| count.unwrap_or(0));
        let width = element.checked_mul(count).ok_or_else(|| format!("{name} is too large"))?;
        Ok((Member { name, offset: 0, width, shape }, inner.members, align))
    }

    /// `DECLARE_FLEX_ARRAY(struct name, member)`: as `struct name member[]`.
    fn flex_array(&self, tokens: &[Token], style: Style) -> Result<(Member, Vec<Member>, u32), String> {
        let word = |at: usize| tokens.get(at).and_then(Token::word).ok_or("not the members of a flexible array");
        let (keyword, record, name) = (word(2)?, word(3)?, word(5)?.to_owned());
        let element = match keyword {
            "struct" => self.find(record, style)?.ok_or_else(|| format!("no struct {record}"))?.size,
            _ => return Err(format!("a flexible array of {keyword}")),
        };
        Ok((Member { name, offset: 0, width: 0, shape: Shape::Array { element, count: None } }, Vec::new(), 1))
    }

    /// `[2][0x40]` as numbers; `[]` has none.
    fn dimensions(&self, tokens: &[Token]) -> Result<Vec<Option<u32>>, String> {
        let mut out = Vec::new();
        for part in split(tokens, ']') {
            match part.split_first() {
                Some((open, [])) if open.is('[') => out.push(None),
                Some((open, size)) if open.is('[') => {
                    let size = self.value_of(size).and_then(|size| u32::try_from(size).ok());
                    out.push(Some(size.ok_or_else(|| format!("unknown size {part:?}"))?));
                }
                _ => return Err(format!("not an array: {part:?}")),
            }
        }
        Ok(out)
    }
}

/// Whether a token says that the struct before it is packed.
fn packed(token: Option<&Token>) -> bool {
    token.and_then(Token::word) == Some("__packed")
}

/// Where the brace at `open` is closed.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += usize::from(token.is('{'));
        if token.is('}') {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Where the `;` of the first member is.
fn end_of_member(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0i32;
    tokens.iter().position(|token| {
        depth += i32::from(token.is('{')) - i32::from(token.is('}'));
        depth == 0 && token.is(';')
    })
}

/// The parts between the marks; no empty part at the end.
fn split(tokens: &[Token], mark: char) -> impl Iterator<Item = &[Token]> {
    let parts = tokens.split(move |token| token.is(mark));
    parts.filter(|part| !part.is_empty())
}

/// A constant expression: numbers, names, `BIT(n)`, `cpu_to_be16(n)`, casts to `u64`, `| << + - * /`.
struct Expression<'a> {
    header: &'a Header,
    rest: &'a [Token],
}

impl Expression<'_> {
    /// The next token, if it is `token`.
    fn take(&mut self, token: &Token) -> bool {
        let found = self.rest.first() == Some(token);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    fn or(&mut self) -> Option<u64> {
        let mut value = self.shift()?;
        while self.take(&Token::Mark('|')) {
            value |= self.shift()?;
        }
        Some(value)
    }

    fn shift(&mut self) -> Option<u64> {
        let mut value = self.sum()?;
        while self.take(&Token::Shift('<')) {
            value = value.checked_shl(u32::try_from(self.sum()?).ok()?)?;
        }
        Some(value)
    }

    fn sum(&mut self) -> Option<u64> {
        let mut value = self.product()?;
        loop {
            value = if self.take(&Token::Mark('+')) {
                value.checked_add(self.product()?)?
            } else if self.take(&Token::Mark('-')) {
                value.checked_sub(self.product()?)?
            } else {
                return Some(value);
            };
        }
    }

    fn product(&mut self) -> Option<u64> {
        let mut value = self.atom()?;
        loop {
            value = if self.take(&Token::Mark('*')) {
                value.checked_mul(self.atom()?)?
            } else if self.take(&Token::Mark('/')) {
                value.checked_div(self.atom()?)?
            } else {
                return Some(value);
            };
        }
    }

    fn atom(&mut self) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match first {
            Token::Number(number) => Some(*number),
            Token::Word(word) if word == "BIT" || word == "BIT_ULL" => {
                let bit = self.atom()?;
                1u64.checked_shl(u32::try_from(bit).ok()?)
            }
            // Byte order is not a matter of values here.
            Token::Word(word) if word == "cpu_to_be16" => self.atom(),
            Token::Word(name) => self.header.value(name),
            Token::Mark('(') if self.rest.first().and_then(Token::word) == Some("u64") => {
                self.rest = self.rest.get(2..)?;
                self.atom()
            }
            Token::Mark('(') => {
                let value = self.or()?;
                self.take(&Token::Mark(')')).then_some(value)
            }
            _ => None,
        }
    }
}
