//! Files that bear the hash of their other lines: so one that somebody has changed is told from one that another version
//! of this program wrote, and only the latter is rewritten or removed.

use sha2::{Digest as _, Sha256};

/// How many hexadecimal digits of the hash are written: enough to tell a change that nobody makes on purpose.
const HASH_DIGITS: usize = 16;

/// What stands in a text in the place of its hash.
const PLACE: &str = "HASH";

/// What a file is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing of ours.
    Foreign,
    /// As a version of this program wrote it.
    Ours,
    /// Ours, and changed since.
    Changed,
}

/// Tells what a text is to us: `mark` is how the line begins that has the hash; a full stop follows.
pub(super) fn kind(text: &str, mark: &str) -> Kind {
    let Some(line) = marked(text, mark) else { return Kind::Foreign };
    let written = line[mark.len()..].split('.').next().unwrap_or_default();
    if written == hash(&text.replacen(line, "", 1)) { Kind::Ours } else { Kind::Changed }
}

/// A text with its hash in the line that begins with `mark`.
pub(super) fn signed(text: &str, mark: &str) -> String {
    let Some(line) = marked(text, mark) else { return text.to_owned() };
    let hash = hash(&text.replacen(line, "", 1));
    text.replacen(line, &line.replacen(PLACE, &hash, 1), 1)
}

fn marked<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_inclusive('\n').find(|line| line.starts_with(mark))
}

pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).take(HASH_DIGITS);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
