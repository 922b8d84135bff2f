//! The patch format of `apply_patch`: reading a patch, and applying it to the text of a file.
//!
//! ```text
//! *** Begin Patch
//! *** Add File: src/new.py            each line of the file, behind `+`
//! +import os
//! *** Delete File: src/old.py
//! *** Update File: src/billing.py
//! *** Move to: src/bill.py            optional
//! @@ class Invoice:                   optional: a line that stands before the chunk
//!      def total(self):               a line that stays, behind a blank
//! -        return 1                   a line that goes
//! +        return 2                   a line that comes
//! *** End of File                     optional: the chunk ends where the file does
//! *** End Patch
//! ```
//!
//! Nothing in it says where a chunk belongs but the lines themselves. So what is read and what is found follows the
//! program that defined the format, with its leniencies: white space around markers, a patch in a here-document, a first
//! chunk without `@@`, an empty line that stands for an empty line that stays, lines that differ from those of the file
//! in white space at their ends or in typographic punctuation. A patch that was cut off before its end marker is read
//! as far as it goes.

use crate::edit::{AFTER_BYTES_MAX, Change, Edit, Unclear};

/// A part of a file that a patch changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// A line that stands somewhere before it.
    pub context: Option<String>,
    /// The lines that it replaces, without their ends. None at all: lines are added at the end of the file.
    pub old: Vec<String>,
    /// The lines that it puts in their place.
    pub new: Vec<String>,
    /// Whether the lines that it replaces are the last ones of the file.
    pub is_at_end: bool,
}

/// Why a text is no patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It does not begin as one.
    #[error("the patch has no line `*** Begin Patch`")]
    NoBegin,
    /// Something stands before its beginning that could change what it means, such as `cd`.
    #[error("before `*** Begin Patch` stands `{0}`")]
    Before(String),
    /// A line that does not belong where it stands.
    #[error("line {number} of the patch, `{line}`, does not belong there")]
    Line {
        /// Which, from 1.
        number: usize,
        /// The line, shortened.
        line: String,
    },
    /// It changes no file.
    #[error("the patch changes no file")]
    Empty,
}

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";

/// The most characters of a line that an error repeats.
const SHOWN_MAX: usize = 80;

/// Reads a patch. A file that is moved is two edits: its old path is deleted, and what its new one becomes is not told.
///
/// # Errors
///
/// When `text` is no patch, or changes no file.
pub fn parse(text: &str) -> Result<Vec<Edit>, PatchError> {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| line.trim().is_empty());
    loop {
        let (_, line) = lines.next().ok_or(PatchError::NoBegin)?;
        match line.trim() {
            BEGIN => break,
            before if opens_document(before) => {}
            before => {
                let has_begin = lines.any(|(_, line)| line.trim() == BEGIN);
                return Err(if has_begin { PatchError::Before(shown(before)) } else { PatchError::NoBegin });
            }
        }
    }
    let mut reader = Reader { edits: Vec::new(), place: Place::Between };
    for (position, line) in lines {
        if line.trim() == END {
            break;
        }
        if !reader.take(line) {
            return Err(PatchError::Line { number: position + 1, line: shown(line) });
        }
    }
    if reader.edits.is_empty() { Err(PatchError::Empty) } else { Ok(reader.edits) }
}

fn shown(line: &str) -> String {
    line.chars().take(SHOWN_MAX).collect()
}

/// Whether a line is `<<'EOF'`, with or without the command whose input it opens.
fn opens_document(line: &str) -> bool {
    let command = ["apply_patch", "applypatch"].iter().find_map(|name| line.strip_prefix(name));
    let rest = command.unwrap_or(line).trim_start();
    let word = rest.strip_prefix("<<").map(|word| word.trim_start_matches('-').trim());
    word.is_some_and(|word| {
        let word = word.trim_matches(['\'', '"']);
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Where a reader is.
enum Place {
    /// Before the first file, or behind one that has no lines.
    Between,
    /// In the text of a new file.
    Adding,
    /// In the chunks of a file.
    Updating,
}

struct Reader {
    edits: Vec<Edit>,
    place: Place,
}

impl Reader {
    /// Takes the next line; `false` if it does not belong there.
    fn take(&mut self, line: &str) -> bool {
        let trimmed = line.trim();
        let path = |marker: &str| trimmed.strip_prefix(marker).map(str::trim).filter(|path| !path.is_empty());
        if let Some(path) = path(ADD) {
            return self.begin(path, Change::Write(String::new()), Place::Adding);
        }
        if let Some(path) = path(DELETE) {
            return self.begin(path, Change::Delete, Place::Between);
        }
        if let Some(path) = path(UPDATE) {
            return self.begin(path, Change::Patch(Vec::new()), Place::Updating);
        }
        match (&self.place, self.edits.last_mut()) {
            (Place::Adding, Some(Edit { change: Change::Write(text), .. })) => match line.strip_prefix('+') {
                Some(added) => {
                    text.push_str(added);
                    text.push('\n');
                    true
                }
                None => trimmed.is_empty(),
            },
            (Place::Updating, Some(Edit { change: Change::Patch(chunks), .. })) => {
                match path(MOVE).filter(|_| chunks.is_empty()) {
                    Some(path) => self.moves_to(path),
                    None => take_chunk_line(chunks, line),
                }
            }
            // Behind a moved file: its chunks are of no interest, and read all the same.
            (Place::Updating, _) => take_chunk_line(&mut vec![Chunk::default()], line),
            _ => trimmed.is_empty(),
        }
    }

    fn begin(&mut self, path: &str, change: Change, place: Place) -> bool {
        self.edits.push(Edit { path: path.to_owned(), change });
        self.place = place;
        true
    }

    fn moves_to(&mut self, path: &str) -> bool {
        if let Some(edit) = self.edits.last_mut() {
            edit.change = Change::Delete;
        }
        self.edits.push(Edit { path: path.to_owned(), change: Change::Unknown });
        true
    }
}

fn take_chunk_line(chunks: &mut Vec<Chunk>, line: &str) -> bool {
    let trimmed = line.trim();
    if trimmed == END_OF_FILE {
        if let Some(chunk) = chunks.last_mut() {
            chunk.is_at_end = true;
        }
        return true;
    }
    if let Some(context) = line.trim_end().strip_prefix("@@") {
        let context = context.strip_prefix(' ').unwrap_or(context);
        let context = (!context.trim().is_empty()).then(|| context.to_owned());
        chunks.push(Chunk { context, ..Chunk::default() });
        return true;
    }
    let (stays, goes) = match line.as_bytes().first() {
        None | Some(b' ') => (true, true),
        Some(b'-') => (false, true),
        Some(b'+') => (true, false),
        Some(_) => return false,
    };
    let text = line.get(1..).unwrap_or_default();
    if chunks.is_empty() {
        chunks.push(Chunk::default());
    }
    if let Some(chunk) = chunks.last_mut() {
        if goes {
            chunk.old.push(text.to_owned());
        }
        if stays {
            chunk.new.push(text.to_owned());
        }
    }
    true
}

/// How many pairs of lines are compared at most. A patch that a person or a model wrote needs some thousands.
const COMPARISONS_MAX: usize = 5_000_000;

/// What `chunks` make of a file that is `old`.
///
/// # Errors
///
/// The file is no UTF-8 text, the chunks do not fit it, or it would take too long.
pub fn apply(old: &[u8], chunks: &[Chunk]) -> Result<Vec<u8>, Unclear> {
    let text = std::str::from_utf8(old).map_err(|_| Unclear::NotText)?;
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let mut search = Search { lines: &lines, left: COMPARISONS_MAX };
    let mut from = 0;
    // First line, number of lines, and what takes their place.
    let mut places: Vec<(usize, usize, &[String])> = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        if let Some(context) = &chunk.context {
            from = search.find(std::slice::from_ref(context), from, false)?.ok_or(Unclear::Misfit)? + 1;
        }
        if chunk.old.is_empty() {
            if !chunk.new.is_empty() {
                let is_blank_at_end = lines.last().is_some_and(|last| last.is_empty());
                places.push((lines.len() - usize::from(is_blank_at_end), 0, &chunk.new));
            }
            continue;
        }
        let (mut old, mut new) = (&chunk.old[..], &chunk.new[..]);
        let mut found = search.find(old, from, chunk.is_at_end)?;
        // An empty line at its end may be what parts it from the next one, and no line of the file.
        if let (None, Some((last, rest))) = (found, old.split_last())
            && last.is_empty()
        {
            old = rest;
            new = new.split_last().filter(|(last, _)| last.is_empty()).map_or(new, |(_, rest)| rest);
            found = search.find(old, from, chunk.is_at_end)?;
        }
        let start = found.ok_or(Unclear::Misfit)?;
        places.push((start, old.len(), new));
        from = start + old.len();
    }
    places.sort_by_key(|&(start, ..)| start);
    join(&lines, &places, text.contains("\r\n"))
}

/// Puts the file together again. It ends with a line end, as what the format's own program writes does.
fn join(
    lines: &[&str],
    places: &[(usize, usize, &[String])],
    is_of_windows: bool,
) -> Result<Vec<u8>, Unclear> {
    let mut made = Vec::new();
    let mut next = 0;
    let keep = |made: &mut Vec<u8>, lines: &[&str]| {
        for line in lines {
            made.extend_from_slice(line.as_bytes());
            made.push(b'\n');
        }
    };
    for &(start, count, new) in places {
        keep(&mut made, lines.get(next..start).ok_or(Unclear::Misfit)?);
        for line in new {
            made.extend_from_slice(line.as_bytes());
            let end: &[u8] = if is_of_windows && !line.ends_with('\r') { b"\r\n" } else { b"\n" };
            made.extend_from_slice(end);
        }
        next = start + count;
        if made.len() > AFTER_BYTES_MAX {
            return Err(Unclear::TooLarge);
        }
    }
    keep(&mut made, lines.get(next..).ok_or(Unclear::Misfit)?);
    Ok(made)
}

/// Looks for lines in a file, with an end to it.
struct Search<'a> {
    lines: &'a [&'a str],
    left: usize,
}

impl Search<'_> {
    /// Where `wanted` stands, at `from` or later: the first place at which all lines are equal, or else all but for the
    /// white space at their ends, or else at both ends, or else but for typographic punctuation. With `at_end`, the last
    /// lines of the file are tried first.
    fn find(&mut self, wanted: &[String], from: usize, at_end: bool) -> Result<Option<usize>, Unclear> {
        if wanted.is_empty() {
            return Ok(Some(from));
        }
        let Some(last) = self.lines.len().checked_sub(wanted.len()) else { return Ok(None) };
        let ways: [fn(&str, &str) -> bool; 4] = [
            |one, other| one == other,
            |one, other| one.trim_end() == other.trim_end(),
            |one, other| one.trim() == other.trim(),
            |one, other| plain(one).eq(plain(other)),
        ];
        for is_equal in ways {
            if at_end && last >= from && self.stands_at(last, wanted, is_equal)? {
                return Ok(Some(last));
            }
            for start in from..=last {
                if self.stands_at(start, wanted, is_equal)? {
                    return Ok(Some(start));
                }
            }
        }
        Ok(None)
    }

    fn stands_at(
        &mut self,
        start: usize,
        wanted: &[String],
        is_equal: fn(&str, &str) -> bool,
    ) -> Result<bool, Unclear> {
        for (line, wanted) in self.lines.iter().skip(start).zip(wanted) {
            self.left = self.left.checked_sub(1).ok_or(Unclear::TooLarge)?;
            if !is_equal(line, wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The characters of a line with ASCII for what word processors put in its place.
fn plain(line: &str) -> impl Iterator<Item = char> {
    line.trim().chars().map(|character| match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        '\u{00A0}' | '\u{2002}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => ' ',
        other => other,
    })
}

#[cfg(test)]
mod tests;
