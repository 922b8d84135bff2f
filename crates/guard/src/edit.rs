//! An edit as a harness describes it, and what becomes of the file by it.

use std::borrow::Cow;
use std::fmt;

use crate::patch::{self, Chunk};

/// A file that is about to be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file, as the harness spells it: absolute, or relative to the folder that it works in.
    pub path: String,
    /// What is done to it.
    pub change: Change,
}

/// What is done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is written whole.
    Write(String),
    /// Texts in it are replaced, one after the other.
    Replace(Vec<Replacement>),
    /// Chunks of a patch are applied to it.
    Patch(Vec<Chunk>),
    /// It is deleted.
    Delete,
    /// Something that is not told, such as the cell of a notebook, or being the end of a move.
    Unknown,
}

/// A text that is replaced by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The text. An empty one stands for a file that is empty, or not there.
    pub old: String,
    /// What it becomes.
    pub new: String,
    /// Whether each of its occurrences is replaced. Otherwise it has to occur once.
    pub all: bool,
}

/// Why it is not known what a file becomes by an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The text to be replaced is not in it. Some harnesses look for one that is similar then.
    NotFound,
    /// The text to be replaced is in it several times.
    Ambiguous,
    /// The patch does not fit it.
    Misfit,
    /// It is no UTF-8 text, and patches are.
    NotText,
    /// It would become larger than [`AFTER_BYTES_MAX`], or finding out would take too long.
    TooLarge,
    /// The harness does not tell.
    NotTold,
    /// It is there, and cannot be read.
    Unreadable,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unclear::NotFound => "the text to be replaced is not in it",
            Unclear::Ambiguous => "the text to be replaced is in it several times",
            Unclear::Misfit => "the patch does not fit it",
            Unclear::NotText => "it is no UTF-8 text",
            Unclear::TooLarge => "it is too large",
            Unclear::NotTold => "the edit does not tell what it becomes",
            Unclear::Unreadable => "it cannot be read",
        })
    }
}

/// What a file becomes by an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// These bytes.
    Bytes(Vec<u8>),
    /// It is gone.
    Gone,
    /// It cannot be told.
    Unclear(Unclear),
}

/// The largest file that an edit is followed through, 16 MiB: far above what is parsed, and below what a payload that
/// replaces each letter by a book could ask for.
pub const AFTER_BYTES_MAX: usize = 16 << 20;

impl Change {
    /// What the change makes of a file that is `old`; `None` where there is none.
    pub fn apply(&self, old: Option<&[u8]>) -> After {
        let made = match self {
            Change::Write(text) => Ok(text.clone().into_bytes()),
            Change::Replace(replacements) => replace_each(old, replacements),
            Change::Patch(chunks) => old.ok_or(Unclear::Misfit).and_then(|old| patch::apply(old, chunks)),
            Change::Delete => return After::Gone,
            Change::Unknown => Err(Unclear::NotTold),
        };
        match made {
            Ok(bytes) => After::Bytes(bytes),
            Err(unclear) => After::Unclear(unclear),
        }
    }
}

fn replace_each(old: Option<&[u8]>, replacements: &[Replacement]) -> Result<Vec<u8>, Unclear> {
    let mut bytes = old.unwrap_or_default().to_vec();
    for replacement in replacements {
        bytes = replace(&bytes, replacement)?;
    }
    Ok(bytes)
}

fn replace(bytes: &[u8], replacement: &Replacement) -> Result<Vec<u8>, Unclear> {
    let Replacement { old, new, all } = replacement;
    if old.is_empty() {
        return if bytes.is_empty() { Ok(new.clone().into_bytes()) } else { Err(Unclear::NotFound) };
    }
    match replaced(bytes, old.as_bytes(), new.as_bytes(), *all) {
        // Harnesses show a file with the line ends of Windows as one without, and write it back with them.
        Err(Unclear::NotFound) if bytes.windows(2).any(|pair| pair == b"\r\n") && old.contains('\n') => {
            replaced(
                bytes,
                with_carriage_returns(old).as_bytes(),
                with_carriage_returns(new).as_bytes(),
                *all,
            )
        }
        done => done,
    }
}

fn with_carriage_returns(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { Cow::Borrowed(text) } else { Cow::Owned(text.replace('\n', "\r\n")) }
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8], all: bool) -> Result<Vec<u8>, Unclear> {
    let found: Vec<usize> = memchr::memmem::find_iter(bytes, old).collect();
    match found.len() {
        0 => return Err(Unclear::NotFound),
        2.. if !all => return Err(Unclear::Ambiguous),
        _ => {}
    }
    let size = found.len().saturating_mul(new.len()).saturating_add(bytes.len() - found.len() * old.len());
    if size > AFTER_BYTES_MAX {
        return Err(Unclear::TooLarge);
    }
    let mut made = Vec::with_capacity(size);
    let mut end = 0;
    for start in found {
        made.extend_from_slice(&bytes[end..start]);
        made.extend_from_slice(new);
        end = start + old.len();
    }
    made.extend_from_slice(&bytes[end..]);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacement(old: &str, new: &str, all: bool) -> Replacement {
        Replacement { old: old.to_owned(), new: new.to_owned(), all }
    }

    /// The text after the replacements, or why it is not known.
    fn after(old: Option<&str>, replacements: &[(&str, &str, bool)]) -> Result<String, Unclear> {
        let replacements = replacements.iter().map(|&(old, new, all)| replacement(old, new, all)).collect();
        match Change::Replace(replacements).apply(old.map(str::as_bytes)) {
            After::Bytes(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            After::Unclear(unclear) => Err(unclear),
            After::Gone => panic!("it is not deleted"),
        }
    }

    #[test]
    fn a_text_is_replaced_where_it_occurs_once() {
        assert_eq!(after(Some("a b a"), &[("b", "c", false)]), Ok("a c a".to_owned()));
        assert_eq!(after(Some("a b a"), &[("a", "c", false)]), Err(Unclear::Ambiguous));
        assert_eq!(after(Some("a b a"), &[("a", "c", true)]), Ok("c b c".to_owned()));
        for all in [false, true] {
            assert_eq!(after(Some("a b a"), &[("d", "c", all)]), Err(Unclear::NotFound));
            assert_eq!(after(None, &[("d", "c", all)]), Err(Unclear::NotFound));
        }
    }

    #[test]
    fn replacements_follow_one_another() {
        assert_eq!(after(Some("a"), &[("a", "b", false), ("b", "cc", false)]), Ok("cc".to_owned()));
        assert_eq!(after(Some("a"), &[("a", "b", false), ("a", "c", false)]), Err(Unclear::NotFound));
        assert_eq!(after(Some("a"), &[]), Ok("a".to_owned()));
    }

    #[test]
    fn an_empty_text_stands_for_an_empty_file() {
        assert_eq!(after(None, &[("", "new", false)]), Ok("new".to_owned()));
        assert_eq!(after(Some(""), &[("", "new", false)]), Ok("new".to_owned()));
        assert_eq!(after(Some("old"), &[("", "new", false)]), Err(Unclear::NotFound));
    }

    #[test]
    fn line_ends_of_windows_are_found_by_those_of_others() {
        assert_eq!(after(Some("a\r\nb\r\n"), &[("a\nb", "a\nc", false)]), Ok("a\r\nc\r\n".to_owned()));
        assert_eq!(after(Some("a\r\nb\r\n"), &[("b", "c", false)]), Ok("a\r\nc\r\n".to_owned()));
        assert_eq!(after(Some("a\nb\n"), &[("a\r\nb", "c", false)]), Err(Unclear::NotFound));
    }

    #[test]
    fn what_would_grow_without_bound_is_not_made() {
        let many = "a".repeat(100_000);
        assert_eq!(after(Some(&many), &[("a", &many, true)]), Err(Unclear::TooLarge));
    }

    #[test]
    fn the_other_changes_need_no_look_at_the_file() {
        for old in [None, Some(&b"old"[..])] {
            assert_eq!(Change::Write("new".to_owned()).apply(old), After::Bytes(b"new".to_vec()));
            assert_eq!(Change::Delete.apply(old), After::Gone);
            assert_eq!(Change::Unknown.apply(old), After::Unclear(Unclear::NotTold));
        }
        assert_eq!(Change::Patch(Vec::new()).apply(None), After::Unclear(Unclear::Misfit));
    }
}
