//! Reads the lines of a file from its end, in blocks, without ever holding more than one line.
//!
//! What stands after the last newline is no line: somebody is writing it, or was killed while doing so.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use memchr::{memchr_iter, memrchr};

use super::layout::{OpenFile, RECORD_BYTES_MAX};

/// How much is read at once, unless a line is longer: some fifty lines.
const BLOCK_BYTES: usize = 64 * 1024;

/// The longest line that is read: a reservation and three records beside it, each as long as a record may be.
pub(super) const LINE_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;

/// The lines of an open file that were not read yet, the last one first.
#[derive(Debug)]
pub(super) struct Backwards {
    open: OpenFile,
    /// Where `buffer` begins in the file.
    start: u64,
    buffer: Vec<u8>,
    /// What of `buffer` was not given out yet: nothing, or whole lines with a beginning of one before them.
    end: usize,
    /// What is read is part of something that is no line, or too long for one.
    skips: Option<Skip>,
    /// How many lines were found.
    found: u64,
    /// How many lines the file has, once they were counted.
    lines: Option<u64>,
    line_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Tail,
    TooLong,
}

/// A line, as a part of the buffer of [`Backwards`], without its newline.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// `None` for one that is too long to be read.
    pub(super) bytes: Option<Range<usize>>,
}

impl Backwards {
    /// Reads from the end that the file had when it was opened.
    pub(super) fn new(open: OpenFile) -> Backwards {
        let start = u64::try_from(open.stat.st_size).unwrap_or_default();
        Backwards {
            open,
            start,
            buffer: Vec::new(),
            end: 0,
            skips: Some(Skip::Tail),
            found: 0,
            lines: None,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }

    /// The bytes of a line that was the last to be found.
    pub(super) fn line(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Finds the line before the last one that was found; `None` at the beginning of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let found = self.search()?;
        self.found += u64::from(found.is_some());
        Ok(found)
    }

    fn search(&mut self) -> io::Result<Option<Found>> {
        loop {
            // The line's own newline is the last byte; while something is skipped, any newline ends that.
            let searched = if self.skips.is_some() { self.end } else { self.end.saturating_sub(1) };
            let newline = memrchr(b'\n', &self.buffer[..searched]);
            match (self.skips, newline) {
                (Some(skip), Some(newline)) => {
                    self.skips = None;
                    self.end = newline + 1;
                    if skip == Skip::TooLong {
                        return Ok(Some(Found { offset: self.start + self.end as u64, bytes: None }));
                    }
                }
                (None, Some(newline)) => {
                    let bytes = newline + 1..self.end - 1;
                    self.end = newline + 1;
                    return Ok(Some(Found { offset: self.start + self.end as u64, bytes: Some(bytes) }));
                }
                (skip, None) if self.start == 0 => {
                    let end = std::mem::take(&mut self.end);
                    self.skips = Some(Skip::Tail);
                    return Ok(match skip {
                        Some(Skip::TooLong) => Some(Found { offset: 0, bytes: None }),
                        None if end > 0 => Some(Found { offset: 0, bytes: Some(0..end - 1) }),
                        Some(Skip::Tail) | None => None,
                    });
                }
                (Some(_), None) => {
                    self.end = 0;
                    self.load()?;
                }
                (None, None) if self.end > self.line_bytes_max => {
                    self.end = 0;
                    self.skips = Some(Skip::TooLong);
                }
                (None, None) => self.load()?,
            }
        }
    }

    /// Reads what stands before the buffer, and at least as much as is in it: so a long line is moved few times.
    fn load(&mut self) -> io::Result<()> {
        let length = BLOCK_BYTES.max(self.end).min(usize::try_from(self.start).unwrap_or(usize::MAX));
        let start = self.start - length as u64;
        let mut block = Vec::with_capacity(length + self.end);
        block.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match self.open.file.read_at(&mut block[filled..], start + filled as u64) {
                // The next writer has cut the tail off since the file was opened.
                Ok(0) if self.end == 0 => break,
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        block.truncate(filled);
        block.extend_from_slice(&self.buffer[..self.end]);
        (self.start, self.end, self.buffer) = (start, block.len(), block);
        Ok(())
    }

    /// The number of the line that was the last to be found, from 1; it begins at `offset`. The first time, all that
    /// comes before it is read: for errors. Any later number is that of a line so many before it.
    pub(super) fn number(&mut self, offset: u64) -> io::Result<u64> {
        let lines = match self.lines {
            Some(lines) => lines,
            None => self.newlines_before(offset)? + self.found,
        };
        self.lines = Some(lines);
        Ok(lines - self.found + 1)
    }

    fn newlines_before(&self, offset: u64) -> io::Result<u64> {
        let mut block = vec![0; BLOCK_BYTES];
        let (mut newlines, mut position) = (0, 0);
        while position < offset {
            let left = usize::try_from(offset - position).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            match self.open.file.read_at(&mut block[..left], position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    newlines += memchr_iter(b'\n', &block[..read]).count() as u64;
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newlines)
    }

    /// How many bytes of the file are whole lines.
    pub(super) fn whole_bytes(mut self) -> io::Result<u64> {
        loop {
            match memrchr(b'\n', &self.buffer[..self.end]) {
                Some(newline) => return Ok(self.start + newline as u64 + 1),
                None if self.start == 0 => return Ok(0),
                None => {
                    self.end = 0;
                    self.load()?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::file::layout::Folder;
    use crate::engine::file::safeguards::Safeguards;

    fn backwards(content: &[u8]) -> Backwards {
        let folder = tempfile::tempdir().unwrap();
        std::fs::File::create(folder.path().join("f")).unwrap().write_all_at(content, 0).unwrap();
        let open = Folder::open(folder.path(), Safeguards::ALL).unwrap().unwrap();
        Backwards::new(open.open_file("f").unwrap().unwrap())
    }

    /// Every line, the last first, with its number.
    fn lines(content: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut reader = backwards(content);
        let mut lines = Vec::new();
        while let Some(found) = reader.next().unwrap() {
            let number = reader.number(found.offset).unwrap();
            lines.push((number, reader.line(found.bytes.unwrap()).to_vec()));
        }
        assert!(reader.next().unwrap().is_none());
        lines
    }

    #[test]
    fn lines_come_the_last_first_and_a_tail_is_none() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"torn"), []);
        assert_eq!(lines(b"\n"), [(1, b"".to_vec())]);
        assert_eq!(lines(b"a\n\nb\n"), [(3, b"b".to_vec()), (2, b"".to_vec()), (1, b"a".to_vec())]);
        assert_eq!(lines(b"a\nbc\ntorn"), [(2, b"bc".to_vec()), (1, b"a".to_vec())]);
    }

    #[test]
    fn lines_longer_than_a_block_and_at_its_edges_are_whole() {
        for length in [BLOCK_BYTES - 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES] {
            for tail in [0, 1, BLOCK_BYTES + 3] {
                let long = vec![b'x'; length];
                let mut content = Vec::new();
                for part in [&b"first\n"[..], &long, b"\n", &long, b"\nlast\n", &vec![b't'; tail]] {
                    content.extend_from_slice(part);
                }
                let whole = (content.len() - tail) as u64;
                let expected = [(4, b"last".to_vec()), (3, long.clone()), (2, long), (1, b"first".to_vec())];
                assert_eq!(lines(&content), expected);
                assert_eq!(backwards(&content).whole_bytes().unwrap(), whole);
            }
        }
    }

    #[test]
    fn numbers_are_right_whichever_lines_they_are_asked_of() {
        let mut content = Vec::new();
        for number in 1..=5000_usize {
            content.resize(content.len() + number % 97, b'x');
            content.push(b'\n');
        }
        content.resize(content.len() + 6 * BLOCK_BYTES, b'y');
        content.extend_from_slice(b"\n\ntorn");
        for step in [1, 2, 7, 64, 4999] {
            for first in [5002, 5001, 5000, 4000, 1] {
                let mut reader = Backwards { line_bytes_max: 5 * BLOCK_BYTES, ..backwards(&content) };
                for number in (1..=5002).rev() {
                    let found = reader.next().unwrap().unwrap();
                    if number <= first && (first - number) % step == 0 {
                        assert_eq!(reader.number(found.offset).unwrap(), number);
                        assert_eq!(reader.number(found.offset).unwrap(), number, "asked again");
                    }
                }
                assert!(reader.next().unwrap().is_none());
            }
        }
    }

    #[test]
    fn what_is_too_long_for_a_line_is_passed_over() {
        let mut content = b"first\n".to_vec();
        content.resize(content.len() + 20 * BLOCK_BYTES, 0);
        content.extend_from_slice(b"\nlast\n");
        let mut reader = Backwards { line_bytes_max: 5 * BLOCK_BYTES, ..backwards(&content) };
        let mut found = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            found.push((line.offset, line.bytes.map(|bytes| reader.line(bytes).to_vec())));
        }
        let last = (content.len() - 5) as u64;
        assert_eq!(found, [(last, Some(b"last".to_vec())), (6, None), (0, Some(b"first".to_vec()))]);
    }
}
