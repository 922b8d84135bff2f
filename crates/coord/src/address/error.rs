//! What can be wrong with an address. Every message is one sentence that quotes what was typed and says
//! what to write instead. The quoted text is as it came, control characters included: whoever prints a
//! message to a terminal sanitises it.

use std::io;

use thiserror::Error;

use super::Address;

/// Why a text is not an address.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was typed.
    #[error("`` is not an address: name a file, a directory or a glob")]
    Empty,
    /// The text holds a NUL character, which no path can hold.
    #[error("`{input}` holds a NUL character, which no path can hold: remove it")]
    Nul {
        /// What was typed.
        input: String,
    },
    /// The text, or its canonical spelling, is longer than [`Address::BYTES_MAX`].
    #[error(
        "`{start}...` is {bytes} bytes long: shorten it to at most {} bytes, quoting included",
        Address::BYTES_MAX
    )]
    TooLong {
        /// The first characters of the text.
        start: String,
        /// The length of the text that is too long, in bytes.
        bytes: usize,
    },
    /// Nothing stands before the `::`.
    #[error("`{input}` names a symbol of no file: write the file before `::`")]
    MissingPath {
        /// What was typed.
        input: String,
    },
    /// An absolute path that does not lie below the top of the working tree, or reaches it by another
    /// spelling.
    #[error("`{input}` lies outside the working tree `{top}`: name a path below it by that spelling")]
    OutsideTree {
        /// What was typed.
        input: String,
        /// The top of the working tree.
        top: String,
    },
    /// A `..` leads above the top of the working tree.
    #[error("`{input}` leaves the working tree by `..`: name a path inside it")]
    LeavesTree {
        /// What was typed.
        input: String,
    },
    /// The path leads into another working tree: a submodule, a nested repository, another worktree.
    #[error(
        "`{input}` lies in another working tree, `{folder}`: change into that one, and name the path from there"
    )]
    OtherTree {
        /// What was typed.
        input: String,
        /// The top of the other tree, relative to the top of this one.
        folder: String,
    },
    /// A symlink on the way has a target outside the working tree.
    #[error(
        "`{input}` leaves the working tree by the symlink `{link}` to `{target}`: name a path inside the tree"
    )]
    SymlinkLeavesTree {
        /// What was typed.
        input: String,
        /// The symlink, relative to the top.
        link: String,
        /// Its target, as stored.
        target: String,
    },
    /// More symlinks than [`Address::SYMLINKS_MAX`] had to be followed.
    #[error(
        "`{input}` leads through more than {} symlinks, probably a loop: name the file they end in",
        Address::SYMLINKS_MAX
    )]
    TooManySymlinks {
        /// What was typed.
        input: String,
    },
    /// A segment of the path is `.git` or `.muse`, whatever the case of its letters.
    #[error("`{input}` lies in `{name}`, which is never reserved: name a path outside it")]
    Private {
        /// What was typed.
        input: String,
        /// The segment as it is spelled in the path.
        name: String,
    },
    /// A path that has to be relative to the top, without `..`, is not.
    #[error(
        "`{input}` is not relative to the top of the working tree: write it without a leading `/` or `..`"
    )]
    NotRelative {
        /// The path that was given.
        input: String,
    },
    /// A path that has to be a file ends like a directory.
    #[error("`{input}` is spelled as a directory where a file is meant: remove what follows its name")]
    NotAFile {
        /// The path that was given.
        input: String,
    },
    /// A `\` stands at the end of a path segment.
    #[error(
        "`{input}` ends a path segment with a `\\` that quotes nothing: write `\\\\` for the character itself"
    )]
    QuotesNothing {
        /// What was typed.
        input: String,
    },
    /// A directory was given a symbol.
    #[error("`{input}` gives a directory a symbol: name a file before `::`")]
    SymbolOnDirectory {
        /// What was typed.
        input: String,
    },
    /// A glob was given a symbol.
    #[error("`{input}` gives a glob a symbol: name one file before `::`, and quote its `*?[]{{}}` with `\\`")]
    SymbolOnGlob {
        /// What was typed.
        input: String,
    },
    /// The part after `::` is not a symbol.
    #[error("`{input}` has a bad symbol: {fault}")]
    Symbol {
        /// What was typed.
        input: String,
        /// What is wrong with the symbol.
        fault: SymbolFault,
    },
    /// The path holds metacharacters, but is not a glob.
    #[error("`{input}` is not a glob: {fault}")]
    Pattern {
        /// What was typed.
        input: String,
        /// What is wrong with the glob.
        fault: PatternFault,
    },
    /// A stored address is not in its canonical spelling.
    #[error("`{input}` is not canonical: write `{canonical}`")]
    NotCanonical {
        /// What was read.
        input: String,
        /// The canonical spelling of the same address.
        canonical: String,
    },
    /// The working tree could not be looked at.
    #[error("cannot look at `{path}` to resolve an address: {source}; make it readable or name another path")]
    Io {
        /// The path that was looked at, relative to the top.
        path: String,
        /// What the tree answered.
        source: io::Error,
    },
}

/// What is wrong with the part of an address after its `::`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SymbolFault {
    /// Nothing stands after the `::`.
    #[error("nothing follows `::`, so name a symbol or remove the `::`")]
    Empty,
    /// Two separators in a row, or one at an end.
    #[error("a name is empty, so write one `.` between names and none at the ends")]
    EmptyName,
    /// A `:` that is not part of a `::`.
    #[error("a single `:` separates nothing, so write `.` between names")]
    SingleColon,
    /// White space or a control character.
    #[error("a name holds white space or a control character, so remove it")]
    Space,
    /// `@top` beside other names.
    #[error("`@top` is what lies outside every symbol, so it must stand alone")]
    TopNotAlone,
}

/// What is wrong with a glob.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternFault {
    /// A `[` without its `]` in the same segment, or the reverse.
    #[error("a `[` or `]` has no partner in its path segment, so quote it with `\\` if it is part of a name")]
    Bracket,
    /// A `{` without its `}` in the same segment, or the reverse.
    #[error(
        "a `{{` or `}}` has no partner in its path segment, so quote it with `\\` if it is part of a name"
    )]
    Brace,
    /// A class that starts with `[^`.
    #[error("a class is negated by `!`, so write `[!` for `[^`, or `[\\^` for the character itself")]
    Caret,
    /// A range whose ends are in the wrong order.
    #[error("a range in `[...]` runs backwards, so swap its ends")]
    ReversedRange,
    /// A `..` after a segment with a metacharacter.
    #[error("`..` follows a segment with a metacharacter, so write the pattern without it")]
    DotDot,
    /// More than 512 characters in the segments that hold metacharacters.
    #[error(
        "its path segments with metacharacters are longer than {} characters together, so write several shorter \
         globs",
        super::pattern::WILD_CHARACTERS_MAX
    )]
    TooLong,
    /// A `\` at the end of a segment.
    #[error("a `\\` at the end of a path segment quotes nothing, so write `\\\\` for the character itself")]
    QuotesNothing,
}
