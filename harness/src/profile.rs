//! Profile files: one TOML file says what the device and the fabric are.
//!
//! The sections and their ranges belong to the crates that use them: `[device]`, `[port]`, `[ethernet]`, `[capabilities.*]`, `[pages]`, `[firmware_timing]` and `[fabric]` to
//! `mlx5_twin_model`, `[topology]`, `[timing]` and `[[faults]]` to `mlx5_twin_sim`. Here they're read, and each error gets its file and line.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mlx5_twin_model::profile::Profile;
use toml::de::{DeTable, DeValue};

use crate::bounded;
use crate::hash::Fnv1a;

/// Name of the profile that is built in.
pub const DEFAULT_NAME: &str = "bluefield3-ib";

/// The profile that is built in: `fixtures/profiles/bluefield3-ib.toml`.
pub const DEFAULT: &str = include_str!("../../fixtures/profiles/bluefield3-ib.toml");

/// All profiles that are built in, by name: files of `fixtures/profiles` without their ending.
pub const BUILT_IN: &[(&str, &str)] =
    &[(DEFAULT_NAME, DEFAULT), ("bluefield3-eth", include_str!("../../fixtures/profiles/bluefield3-eth.toml"))];

/// The sections that there are. One that a file lacks has its defaults.
pub const SECTIONS: &[&str] = &[
    "device",
    "port",
    "ethernet",
    "capabilities",
    "pages",
    "firmware_timing",
    "timeouts",
    "topology",
    "fabric",
    "timing",
    "faults",
];

/// Longest profile file, in bytes. Ours; the default has about 12,000.
pub const MAX_BYTES: u64 = 1 << 20;

/// A profile, and which one it is.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its file's name without folder and ending.
    pub name: String,
    /// FNV-1a hash (64 bits) of the file.
    pub hash: u64,
    /// What it says. All ranges are checked.
    pub profile: Profile,
}

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("can't read the profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too long.
    #[error("the profile {} has more than {MAX_BYTES} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is no TOML, or a value in it is wrong.
    #[error("{place}: {message}")]
    Wrong {
        /// The file, and the line where it's known.
        place: Place,
        /// The field with its section, its value, and what is allowed.
        message: String,
    },
}

/// A place in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Loads a profile: the one that is built in under this name, else the file at this path; [`DEFAULT`] without a path. A file of such
/// a name in the working directory is meant by `./NAME`.
///
/// # Errors
/// The file can't be read, is no TOML, or a value is wrong.
pub fn load(path: Option<&Path>) -> Result<Loaded, LoadError> {
    let path = path.unwrap_or(Path::new(DEFAULT_NAME));
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| path.as_os_str() == *name) {
        return parse(name, &format!("{name}.toml"), text);
    }
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let read = bounded::read(path, MAX_BYTES).map_err(failed)?;
    let bytes = read.ok_or_else(|| LoadError::TooLong { path: path.to_owned() })?;
    let file = path.display().to_string();
    let text = str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count();
        LoadError::Wrong { place: Place { file: file.clone(), line: Some(line) }, message: "not UTF-8".to_owned() }
    })?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    parse(&name, &file, text)
}

/// Reads the text of a profile. Errors will call it `file`.
///
/// # Errors
/// It's no TOML, or a value is wrong.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Loaded, LoadError> {
    let wrong = |span: Option<Range<usize>>, message: String| {
        let line = span.and_then(|span| text.get(..span.start)).map(|before| 1 + before.matches('\n').count());
        LoadError::Wrong { place: Place { file: file.to_owned(), line }, message }
    };
    let document = DeTable::parse(text).map_err(|error| wrong(error.span(), error.message().to_owned()))?;
    let unknown = document.get_ref().keys().find(|key| !SECTIONS.contains(&key.get_ref().as_ref()));
    if let Some(key) = unknown {
        let message = format!("there is no section {:?}, only {}", key.get_ref(), SECTIONS.join(", "));
        return Err(wrong(Some(key.span()), message));
    }
    let profile: Profile = toml::from_str(text).map_err(|error| {
        let path = error.span().map(|span| path_at(document.get_ref(), &span)).unwrap_or_default();
        let message = with_range(error.message());
        wrong(error.span(), if path.is_empty() { message } else { format!("{path}: {message}") })
    })?;
    profile.validate().map_err(|error| {
        let message = error.to_string();
        wrong(named_field(document.get_ref(), &message), message)
    })?;
    Ok(Loaded { name: name.to_owned(), hash: Fnv1a::of(text.as_bytes()), profile })
}

/// The dotted name of the innermost field whose key or value has the place `span`.
fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> String {
    let mut path = Vec::new();
    let mut table = table;
    loop {
        let has = |place: Range<usize>| place.start <= span.start && span.end <= place.end;
        let exact = table.iter().find(|(key, value)| has(key.span()) || has(value.span()));
        // A section's span is that of its heading, so that its fields lie outside of it.
        let found = exact.or_else(|| table.iter().find(|(_, value)| contains(value.get_ref(), span)));
        let Some((key, value)) = found else { break };
        path.push(key.get_ref().as_ref());
        match value.get_ref() {
            DeValue::Table(inner) if !has(key.span()) => table = inner,
            _ => break,
        }
    }
    path.join(".")
}

/// Whether a table has a field, at any depth, at the place `span`.
fn contains(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    let DeValue::Table(table) = value else { return false };
    table.iter().any(|(key, value)| {
        let has = |place: Range<usize>| place.start <= span.start && span.end <= place.end;
        has(key.span()) || has(value.span()) || contains(value.get_ref(), span)
    })
}

/// Where the first field that `message` names stands in the profile. A message names fields with their sections: `timing.poll_ns`.
fn named_field(document: &DeTable<'_>, message: &str) -> Option<Range<usize>> {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    words.filter(|word| word.contains('.')).find_map(|word| span_of(document, word))
}

/// Where the value of the field with this dotted name stands, or the innermost section of the name.
fn span_of(document: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let mut table = document;
    let mut span = None;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == part) else { break };
        span = Some(key.span());
        let mut value = value.get_ref();
        if let (DeValue::Array(entries), Some(name)) = (value, parts.peek())
            && let Some(entry) = entries.iter().find(|entry| is_named(entry.get_ref(), name))
        {
            parts.next();
            span = Some(entry.span());
            value = entry.get_ref();
        }
        let DeValue::Table(inner) = value else { break };
        table = inner;
    }
    span
}

/// Whether an entry of a list is a table with this `name`; an entry that stands for several has numbers behind it.
fn is_named(entry: &DeValue<'_>, name: &str) -> bool {
    let DeValue::Table(table) = entry else { return false };
    let mut names = table.iter().filter(|(key, _)| key.get_ref() == "name");
    names.any(|(_, value)| match value.get_ref() {
        DeValue::String(entry) => {
            name.strip_prefix(entry.as_ref()).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        }
        _ => false,
    })
}

/// Says the range of a Rust integer type in numbers.
fn with_range(message: &str) -> String {
    let ranges = [
        (", expected u8", "0 to 255"),
        (", expected u16", "0 to 65535"),
        (", expected u32", "0 to 4294967295"),
        (", expected u64", "0 to 9223372036854775807"),
        (", expected i32", "-2147483648 to 2147483647"),
    ];
    let found = ranges.iter().find_map(|(end, range)| Some((message.strip_suffix(end)?, range)));
    found.map_or_else(|| message.to_owned(), |(before, range)| format!("{before}: allowed is {range}"))
}

#[cfg(test)]
mod tests;
