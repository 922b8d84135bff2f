//! Addresses: what a reservation claims. A file, a symbol of a file, a directory, or a glob, in one
//! canonical spelling relative to the top of the working tree.
//!
//! [`Address::resolve`] takes what a person typed, looks at the tree and gives the canonical address;
//! [`FromStr`] takes what records hold and accepts canonical spellings only; [`Address::of_file`] and
//! [`Address::of_directory`] take paths that are known literally. All of them end in the same spelling:
//! NFC, no `.`, `..` or empty segments, a final slash for directories (`./` for the top), `\` before each of
//! `\ * ? [ ] { }` in a literal path, and before a `:` that another `:` follows or that ends the path.
//!
//! # Limitations
//!
//! - Comparison is case-sensitive. On a file system that ignores case two spellings are two addresses.
//! - An absolute path must spell the top as [`Place`] does; one that reaches it through a symlink outside
//!   the tree is refused. Absolute paths start with `/`.
//! - Symlinks below the first segment with a metacharacter of a glob are not followed.

mod automaton;
mod error;
mod pattern;
mod resolve;
mod symbol;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub use self::error::{AddressError, PatternFault, SymbolFault};
pub(crate) use self::pattern::{Pattern, Segment, Wild};
pub use self::resolve::{Entry, NoTree, Place, Resolved, Tree};
pub use self::symbol::TOP_SYMBOL;
pub(crate) use self::symbol::symbols_overlap;

/// How the top of the working tree is spelled.
const TOP: &str = "./";

/// Folders that belong to Git and to this program, in any case of their letters.
const PRIVATE_NAMES: [&str; 2] = [".git", ".muse"];

/// A canonical address, such as `src/billing.py::Invoice.total`, `src/api/` or `src/**/*.py`.
///
/// Ordering, equality and hash are those of the canonical text.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    text: String,
    /// Where the path ends in `text`, in bytes. The symbol starts two bytes later, if there is one.
    path_end: usize,
    shape: Shape,
}

/// How the path of an address is read.
#[derive(Clone)]
pub(crate) enum Shape {
    /// One file or directory.
    Literal {
        is_directory: bool,
        /// The path without its quoting, if it has any.
        unquoted: Option<Box<str>>,
    },
    /// All paths that a pattern matches.
    Glob(Box<Pattern>),
}

/// What the path of an address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// One file, or one symbol of it.
    File,
    /// A directory and everything below it.
    Directory,
    /// The files that a pattern matches.
    Glob,
}

impl Address {
    /// The longest address, in bytes of UTF-8: what POSIX systems commonly take as the longest path.
    pub const BYTES_MAX: usize = 4096;

    /// How many symlinks [`Address::resolve`] follows: as many as Linux does.
    pub const SYMLINKS_MAX: usize = 40;

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the path stands for.
    pub fn kind(&self) -> AddressKind {
        match self.shape {
            Shape::Literal { is_directory: false, .. } => AddressKind::File,
            Shape::Literal { is_directory: true, .. } => AddressKind::Directory,
            Shape::Glob(_) => AddressKind::Glob,
        }
    }

    /// The symbol, with dots between its names, if the address has one: [`TOP_SYMBOL`], or names such as
    /// `Invoice.total`. Only files have symbols.
    pub fn symbol(&self) -> Option<&str> {
        self.text.get(self.path_end + 2..)
    }

    /// The path of a file or directory as the file system knows it: relative to the top, without quoting,
    /// final slash or symbol. Empty for the top, and `None` for a glob.
    pub fn literal_path(&self) -> Option<&str> {
        match self.shape {
            Shape::Literal { .. } => Some(self.literal_text()),
            Shape::Glob(_) => None,
        }
    }

    /// The address of a file that is known literally, by its path relative to the top of the working tree.
    /// Characters that mean something in an address are quoted; the file need not exist.
    ///
    /// # Errors
    ///
    /// If the path is empty, absolute, too long, ends like a directory, holds NUL or `..`, or lies in `.git`
    /// or `.muse`.
    pub fn of_file(relative_path: &str) -> Result<Address, AddressError> {
        match relative_path.rsplit('/').next() {
            Some("" | ".") if !relative_path.is_empty() => {
                Err(AddressError::NotAFile { input: relative_path.to_owned() })
            }
            _ => Address::of_path(relative_path, false),
        }
    }

    /// The address of a directory that is known literally, by its path relative to the top of the working
    /// tree, with or without its final slash. The top is `.` or `./`.
    ///
    /// # Errors
    ///
    /// If the path is empty, absolute, too long, holds NUL or `..`, or lies in `.git` or `.muse`.
    pub fn of_directory(relative_path: &str) -> Result<Address, AddressError> {
        Address::of_path(relative_path, true)
    }

    fn of_path(path: &str, is_directory: bool) -> Result<Address, AddressError> {
        check_input(path)?;
        if path.starts_with('/') || path.split('/').any(|name| name == "..") {
            return Err(AddressError::NotRelative { input: path.to_owned() });
        }
        let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        Address::literal(path, names, is_directory, None)
    }

    /// The address of a symbol of this file, in place of the symbol that it has, if any. `::` between names
    /// is taken as `.`.
    ///
    /// # Errors
    ///
    /// If this is no file, if the symbol is not well formed, or if the address becomes too long.
    pub fn with_symbol(&self, symbol: &str) -> Result<Address, AddressError> {
        let path = &self.text[..self.path_end];
        let input = || format!("{path}::{symbol}");
        match &self.shape {
            Shape::Glob(_) => Err(AddressError::SymbolOnGlob { input: input() }),
            Shape::Literal { is_directory: true, .. } => {
                Err(AddressError::SymbolOnDirectory { input: input() })
            }
            Shape::Literal { is_directory: false, .. } => {
                let symbol = symbol::canonical(symbol)
                    .map_err(|fault| AddressError::Symbol { input: input(), fault })?;
                let text = format!("{path}::{symbol}");
                check_length(&text, &text)?;
                Ok(Address { text, path_end: self.path_end, shape: self.shape.clone() })
            }
        }
    }

    /// The canonical address of what a person or an agent typed at `place`.
    ///
    /// What exists in the tree as it is written is that file or directory, `::` and metacharacters included.
    /// Otherwise the first unquoted `::` separates path and symbol; a path with an unquoted metacharacter is
    /// a glob; and any other path is taken literally once its quoting is removed, whether it exists or not.
    /// Symlinks are resolved where the path exists, `..` goes up from where they lead, and an existing
    /// directory, or a path that ends in a slash, is a directory.
    ///
    /// # Errors
    ///
    /// Any [`AddressError`] but `NotRelative`, `NotAFile` and `NotCanonical`.
    pub fn resolve(input: &str, place: &Place, tree: &dyn Tree) -> Result<Resolved, AddressError> {
        resolve::resolve(input, place, tree)
    }

    /// Builds a file or directory from names that are neither empty nor `.` nor `..`; no names are the top.
    /// `symbol` is canonical. `input` is what errors quote.
    fn literal<'a>(
        input: &str,
        names: impl Iterator<Item = &'a str>,
        is_directory: bool,
        symbol: Option<&str>,
    ) -> Result<Address, AddressError> {
        let mut text = String::with_capacity(input.len() + 1);
        let mut plain = String::with_capacity(input.len() + 1);
        for name in names {
            let name = nfc(name);
            if is_private(&name) {
                return Err(AddressError::Private { input: input.to_owned(), name: name.into_owned() });
            }
            if !plain.is_empty() {
                plain.push('/');
                text.push('/');
            }
            plain.push_str(&name);
            quote_name(&mut text, &name);
        }
        let is_directory = is_directory || plain.is_empty();
        if plain.is_empty() {
            TOP.clone_into(&mut text);
        } else if is_directory {
            text.push('/');
        }
        quote_colons(&mut text);
        let path_end = text.len();
        if let Some(symbol) = symbol {
            if is_directory {
                return Err(AddressError::SymbolOnDirectory { input: input.to_owned() });
            }
            text.push_str("::");
            text.push_str(symbol);
        }
        check_length(input, &text)?;
        let unquoted = text[..path_end].contains('\\').then(|| plain.into_boxed_str());
        Ok(Address { text, path_end, shape: Shape::Literal { is_directory, unquoted } })
    }

    /// Builds a glob from a pattern that is relative to the top. `input` is what errors quote.
    fn glob(input: &str, pattern: &str) -> Result<Address, AddressError> {
        let parsed = Pattern::parse(&nfc(pattern))
            .map_err(|fault| AddressError::Pattern { input: input.to_owned(), fault })?;
        if let Some(name) = parsed.private {
            return Err(AddressError::Private { input: input.to_owned(), name });
        }
        let text = parsed.canonical;
        check_length(input, &text)?;
        Ok(Address { path_end: text.len(), text, shape: Shape::Glob(Box::new(parsed.pattern)) })
    }

    /// The path that everything which overlaps this address lies at, above or below: that of a file or directory,
    /// and what a glob spells before its first metacharacter. Without quoting, in whole names, empty for the top.
    pub(crate) fn node(&self) -> Cow<'_, str> {
        match &self.shape {
            Shape::Literal { .. } => Cow::Borrowed(self.literal_text()),
            Shape::Glob(pattern) => {
                let leading = pattern.segments.iter().map_while(|segment| match segment {
                    Segment::Literal(name) => Some(&**name),
                    Segment::Rest | Segment::Wild(_) => None,
                });
                Cow::Owned(leading.collect::<Vec<&str>>().join("/"))
            }
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The path as in [`Address::literal_path`], and the spelling of the pattern for a glob.
    pub(crate) fn literal_text(&self) -> &str {
        match &self.shape {
            Shape::Literal { unquoted: Some(plain), .. } => plain,
            Shape::Literal { is_directory: true, .. } => match &self.text[..self.path_end] {
                TOP => "",
                path => path.strip_suffix('/').unwrap_or(path),
            },
            Shape::Literal { .. } | Shape::Glob(_) => &self.text[..self.path_end],
        }
    }
}

/// Reads the canonical spelling that records hold. Plain paths, which most are, are read in one pass.
impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Address, AddressError> {
        if let Some((path_end, is_directory)) = read_plain(&text) {
            return Ok(Address { text, path_end, shape: Shape::Literal { is_directory, unquoted: None } });
        }
        if text.starts_with('/') {
            return Err(AddressError::NotRelative { input: text });
        }
        // Without a tree and at the top, resolving is nothing but bringing to the canonical spelling.
        let address = Address::resolve(&text, &Place::top("/"), &NoTree)?.address;
        if address.text == text {
            Ok(address)
        } else {
            Err(AddressError::NotCanonical { input: text, canonical: address.text })
        }
    }
}

/// Accepts canonical spellings only, and names the canonical one if there is one.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::try_from(text.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Address").field(&self.text).finish()
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.text == other.text
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Address) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Address) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Reads a canonical file or directory that needs no second look: ASCII, nothing quoted, no metacharacter.
/// Returns where the path ends and whether it is a directory; `None` says to read it the long way, which
/// also finds what is wrong with it.
fn read_plain(text: &str) -> Option<(usize, bool)> {
    if text.len() > Address::BYTES_MAX {
        return None;
    }
    let bytes = text.as_bytes();
    let mut name_start = 0;
    let mut path_end = bytes.len();
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => {
                if !is_plain_name(&text[name_start..index]) {
                    return None;
                }
                name_start = index + 1;
            }
            b':' if bytes.get(index + 1) == Some(&b':') => {
                path_end = index;
                break;
            }
            0 | b':' | b'\\' | b'*' | b'?' | b'[' | b']' | b'{' | b'}' | 0x80.. => return None,
            _ => {}
        }
    }
    let is_directory = name_start == path_end;
    if is_directory {
        return (path_end == bytes.len() && path_end > 0).then_some((path_end, true));
    }
    if !is_plain_name(&text[name_start..path_end]) {
        return None;
    }
    if let Some(symbol) = text.get(path_end + 2..)
        && symbol::canonical(symbol).ok()? != symbol
    {
        return None;
    }
    Some((path_end, false))
}

fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !is_private(name)
}

fn is_private(name: &str) -> bool {
    PRIVATE_NAMES.iter().any(|private| name.eq_ignore_ascii_case(private))
}

/// Refuses what is no address whatever it means: nothing, NUL, too many bytes.
fn check_input(input: &str) -> Result<(), AddressError> {
    if input.is_empty() {
        return Err(AddressError::Empty);
    }
    check_length(input, input)?;
    if input.contains('\0') {
        return Err(AddressError::Nul { input: input.to_owned() });
    }
    Ok(())
}

/// Refuses a text of too many bytes, quoting the start of what was typed.
fn check_length(input: &str, text: &str) -> Result<(), AddressError> {
    const CHARACTERS_QUOTED: usize = 64;
    if text.len() <= Address::BYTES_MAX {
        return Ok(());
    }
    Err(AddressError::TooLong { start: input.chars().take(CHARACTERS_QUOTED).collect(), bytes: text.len() })
}

/// Brings a text to Unicode normal form C. What is ASCII, or quickly seen to be in it, is not copied.
fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Writes a name of a literal path, with `\` before what would mean something. Colons come later.
fn quote_name(text: &mut String, name: &str) {
    for character in name.chars() {
        if character == '\\' || pattern::is_metacharacter(character) {
            text.push('\\');
        }
        text.push(character);
    }
}

/// Quotes each `:` of a path that another `:` follows, or that ends it, so that it cannot be taken for the
/// separator of a symbol. No other step quotes a `:`.
fn quote_colons(path: &mut String) {
    if !path.ends_with(':') && !path.contains("::") {
        return;
    }
    let mut quoted = String::with_capacity(path.len() + 2);
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ':' && characters.peek().is_none_or(|&next| next == ':') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    *path = quoted;
}
