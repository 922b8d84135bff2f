//! From what was typed to the canonical address, with a look at the working tree.
//!
//! The path is walked segment by segment as a file system would: symlinks are replaced by their targets and
//! `..` goes up from where they lead. From the first segment that does not exist the walk goes on by the
//! text alone. Nothing outside the working tree is ever looked at.

use std::io;

use super::pattern::{has_metacharacter, has_only_brackets, unquote, unquoted};
use super::{Address, AddressError, PatternFault, check_input, quote_name, symbol};

/// A canonical address and what the person who typed it should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The canonical address.
    pub address: Address,
    /// Sentences about a spelling that may not mean what was meant. Usually empty.
    pub warnings: Vec<String>,
}

/// Where an input is typed: the top of the working tree, and the current directory below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    top: Vec<String>,
    current: Vec<String>,
}

impl Place {
    /// `top` is the absolute path of the top of the working tree without symlinks, `current` are the names
    /// that lead from there to the current directory, which exists and has no symlinks in it either.
    pub fn new(top: &str, current: impl IntoIterator<Item = impl Into<String>>) -> Place {
        Place {
            top: top.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            current: current.into_iter().map(Into::into).collect(),
        }
    }

    /// The top of the working tree itself.
    pub fn top(top: &str) -> Place {
        Place::new(top, std::iter::empty::<String>())
    }

    /// What follows the top in an absolute path, or `None` if the path does not lead there by the spelling
    /// that is known. Names may be quoted if `is_quoted`.
    fn below_top<'a>(&self, path: &'a str, is_quoted: bool) -> Option<std::str::Split<'a, char>> {
        let mut rest = path.split('/');
        for name in &self.top {
            let typed = rest.by_ref().find(|typed| !matches!(*typed, "" | "."))?;
            let is_equal = typed == name || (is_quoted && unquote(typed).is_ok_and(|typed| typed == *name));
            if !is_equal {
                return None;
            }
        }
        Some(rest)
    }
}

/// What stands at a path of the working tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file, or anything else that is neither a directory nor a symlink.
    File,
    /// A directory.
    Directory,
    /// A symlink, with its target as stored.
    Symlink(String),
}

/// The working tree, as far as addresses need to know it.
pub trait Tree {
    /// What stands at this path below the top, without following a symlink in its last segment. There is at
    /// least one segment, and the ones before the last are directories or files, not symlinks.
    ///
    /// # Errors
    ///
    /// Whatever the file system says. `NotFound`, `NotADirectory` and `InvalidFilename` are taken to mean
    /// that nothing stands there.
    fn entry(&self, segments: &[String]) -> io::Result<Option<Entry>>;

    /// Whether the directory at this path, below the top, is the top of another working tree: a submodule, a
    /// nested repository, a linked worktree inside the main tree's folder. Its files have addresses there.
    ///
    /// # Errors
    ///
    /// Whatever the file system says.
    fn is_working_tree(&self, segments: &[String]) -> io::Result<bool> {
        let _ = segments;
        Ok(false)
    }
}

/// A tree in which nothing exists.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTree;

impl Tree for NoTree {
    fn entry(&self, _segments: &[String]) -> io::Result<Option<Entry>> {
        Ok(None)
    }
}

/// Where a walk ended.
struct End {
    /// The names from the top to its end, without symlinks.
    names: Vec<String>,
    is_directory: bool,
    /// Whether every name that was typed stands in the tree.
    is_there: bool,
}

/// One name that a walk has yet to take.
struct Ahead {
    name: String,
    /// Typed, and not part of the target of a symlink.
    is_typed: bool,
}

/// One look at the tree on behalf of one input.
struct Walk<'a> {
    input: &'a str,
    place: &'a Place,
    tree: &'a dyn Tree,
}

pub(super) fn resolve(input: &str, place: &Place, tree: &dyn Tree) -> Result<Resolved, AddressError> {
    check_input(input)?;
    let walk = Walk { input, place, tree };
    let mut end = walk.path(input);
    if is_decisive(&end) {
        return Ok(without_warnings(walk.literal(&end?, None)?));
    }
    let (path, symbol) = split_symbol(input);
    if path.is_empty() {
        return Err(AddressError::MissingPath { input: input.to_owned() });
    }
    let symbol = symbol
        .map(symbol::canonical)
        .transpose()
        .map_err(|fault| AddressError::Symbol { input: input.to_owned(), fault })?;
    if symbol.is_some() {
        end = walk.path(path);
        if is_decisive(&end) {
            return Ok(without_warnings(walk.literal(&end?, symbol.as_deref())?));
        }
    }
    let (start, segments) = walk.segments(path)?;
    if let Some(wild) = segments.iter().position(|segment| has_metacharacter(segment)) {
        if symbol.is_some() {
            return Err(AddressError::SymbolOnGlob { input: input.to_owned() });
        }
        return walk.glob(start, &segments, wild);
    }
    let mut warnings = Vec::new();
    if path.contains('\\') {
        let names =
            unquote_all(&segments).map_err(|_| AddressError::QuotesNothing { input: input.to_owned() })?;
        end = walk.names(start, names);
        if quotes_a_letter(path) {
            warnings.push(format!(
                "`{input}`: `\\` quotes the character after it and is no separator: write `/` between folders"
            ));
        }
    }
    Ok(Resolved { address: walk.literal(&end?, symbol.as_deref())?, warnings })
}

fn without_warnings(address: Address) -> Resolved {
    Resolved { address, warnings: Vec::new() }
}

/// Whether a path that was walked as it was typed stands in the tree, so that it means nothing else, or the
/// tree could not tell. Other failures of the walk do not matter as long as the text may mean something else.
fn is_decisive(end: &Result<End, AddressError>) -> bool {
    match end {
        Ok(end) => end.is_there,
        Err(error) => matches!(error, AddressError::Io { .. } | AddressError::OtherTree { .. }),
    }
}

/// Splits at the first unquoted `::`.
fn split_symbol(input: &str) -> (&str, Option<&str>) {
    let separator =
        unquoted(input).find(|&(offset, character)| character == ':' && input[offset + 1..].starts_with(':'));
    match separator {
        Some((offset, _)) => (&input[..offset], Some(&input[offset + 2..])),
        None => (input, None),
    }
}

fn unquote_all(segments: &[&str]) -> Result<Vec<String>, PatternFault> {
    segments.iter().map(|segment| unquote(segment)).collect()
}

/// Whether a `\` stands before a letter or digit, as in a path with the separators of another system.
fn quotes_a_letter(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        if character == '\\' && characters.next().is_some_and(char::is_alphanumeric) {
            return true;
        }
    }
    false
}

impl Walk<'_> {
    /// Walks a path without quoting.
    fn path(&self, path: &str) -> Result<End, AddressError> {
        let (start, segments) = if path.starts_with('/') {
            (Vec::new(), self.place.below_top(path, false).ok_or_else(|| self.outside_tree())?)
        } else {
            (self.place.current.clone(), path.split('/'))
        };
        self.names(start, segments.map(str::to_owned).collect())
    }

    /// Where a path that may be quoted starts, and its segments from there.
    fn segments<'a>(&self, path: &'a str) -> Result<(Vec<String>, Vec<&'a str>), AddressError> {
        if path.starts_with('/') {
            let rest = self.place.below_top(path, true).ok_or_else(|| self.outside_tree())?;
            Ok((Vec::new(), rest.collect()))
        } else {
            Ok((self.place.current.clone(), path.split('/').collect()))
        }
    }

    /// Walks from an existing directory.
    fn names(&self, start: Vec<String>, typed: Vec<String>) -> Result<End, AddressError> {
        let mut names = start;
        // How many of the names are known to stand in the tree.
        let mut standing = names.len();
        let mut is_directory = true;
        let mut is_file = false;
        let mut is_there = true;
        let mut symlinks = 0;
        let mut last_symlink = None;
        let mut ahead: Vec<Ahead> =
            typed.into_iter().rev().map(|name| Ahead { name, is_typed: true }).collect();
        while let Some(Ahead { name, is_typed }) = ahead.pop() {
            match &*name {
                // What stands there as a file is one, however it is spelled.
                "" | "." => is_directory = !is_file,
                ".." => {
                    if names.pop().is_none() {
                        return Err(self.leaves_tree(last_symlink.filter(|_| !is_typed)));
                    }
                    standing = standing.min(names.len());
                    is_directory = true;
                    is_file = false;
                }
                _ => {
                    let parent_stands = standing == names.len();
                    if parent_stands {
                        self.stay_in_this_tree(&names)?;
                    }
                    names.push(name);
                    let entry = if parent_stands { self.entry(&names)? } else { None };
                    is_directory = entry == Some(Entry::Directory);
                    is_file = entry == Some(Entry::File);
                    match entry {
                        None => is_there &= !is_typed,
                        Some(Entry::File | Entry::Directory) => standing = names.len(),
                        Some(Entry::Symlink(target)) => {
                            symlinks += 1;
                            if symlinks > Address::SYMLINKS_MAX {
                                return Err(AddressError::TooManySymlinks { input: self.input.to_owned() });
                            }
                            let link = names.join("/");
                            let Some(steps) = self.follow(&target, &mut names) else {
                                return Err(self.leaves_tree(Some((link, target))));
                            };
                            let steps = steps.rev().map(str::to_owned);
                            ahead.extend(steps.map(|name| Ahead { name, is_typed: false }));
                            standing = names.len();
                            last_symlink = Some((link, target));
                        }
                    }
                }
            }
        }
        Ok(End { names, is_directory, is_there })
    }

    /// Fails when the next step from here would be one into another working tree.
    fn stay_in_this_tree(&self, names: &[String]) -> Result<(), AddressError> {
        let is_other = !names.is_empty()
            && self
                .tree
                .is_working_tree(names)
                .map_err(|source| AddressError::Io { path: names.join("/"), source })?;
        if is_other {
            return Err(AddressError::OtherTree { input: self.input.to_owned(), folder: names.join("/") });
        }
        Ok(())
    }

    /// Goes from the symlink that the walk stands on to where its target starts, and returns the steps from
    /// there. `None` if the target lies outside the tree.
    fn follow<'t>(&self, target: &'t str, names: &mut Vec<String>) -> Option<std::str::Split<'t, char>> {
        if target.starts_with('/') {
            let steps = self.place.below_top(target, false)?;
            names.clear();
            Some(steps)
        } else {
            names.pop();
            Some(target.split('/'))
        }
    }

    /// The error of going above the top, by the target of a symlink or by what was typed.
    fn leaves_tree(&self, symlink: Option<(String, String)>) -> AddressError {
        let input = self.input.to_owned();
        match symlink {
            Some((link, target)) => AddressError::SymlinkLeavesTree { input, link, target },
            None => AddressError::LeavesTree { input },
        }
    }

    fn entry(&self, names: &[String]) -> Result<Option<Entry>, AddressError> {
        match self.tree.entry(names) {
            Ok(entry) => Ok(entry),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
                    Ok(None)
                }
                _ => Err(AddressError::Io { path: names.join("/"), source: error }),
            },
        }
    }

    fn outside_tree(&self) -> AddressError {
        AddressError::OutsideTree {
            input: self.input.to_owned(),
            top: format!("/{}", self.place.top.join("/")),
        }
    }

    fn literal(&self, end: &End, symbol: Option<&str>) -> Result<Address, AddressError> {
        let names = end.names.iter().map(String::as_str);
        Address::literal(self.input, names, end.is_directory, symbol)
    }

    /// Reads a glob: the segments before the first one with a metacharacter, at `wild`, are walked, the
    /// others are the pattern.
    fn glob(&self, start: Vec<String>, segments: &[&str], wild: usize) -> Result<Resolved, AddressError> {
        let (leading, rest) = segments.split_at(wild);
        let leading = unquote_all(leading)
            .map_err(|fault| AddressError::Pattern { input: self.input.to_owned(), fault })?;
        let end = self.names(start, leading)?;
        if end.is_there && end.is_directory {
            self.stay_in_this_tree(&end.names)?;
        }

        let mut pattern = String::with_capacity(self.input.len());
        for name in &end.names {
            quote_name(&mut pattern, name);
            pattern.push('/');
        }
        pattern.push_str(&rest.join("/"));
        let address = Address::glob(self.input, &pattern)?;

        let mut warnings = Vec::new();
        let input = self.input;
        if rest.iter().all(|segment| has_only_brackets(segment)) {
            warnings.push(format!(
                "`{input}` is taken as a pattern: put `\\` before its brackets to name the file literally"
            ));
        } else if let Some(&segment) = rest.first() {
            let mut names = end.names;
            names.push(segment.to_owned());
            if end.is_there && self.entry(&names)?.is_some() {
                warnings.push(format!(
                    "`{}` exists, but `{segment}` is taken as a pattern in `{input}`: put `\\` before its \
                     metacharacters to name it literally",
                    names.join("/")
                ));
            }
        }
        if !address.overlaps(&address) {
            warnings.push(format!("`{input}` matches no path at all: it protects nothing"));
        }
        Ok(Resolved { address, warnings })
    }
}
