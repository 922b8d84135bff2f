//! Where two texts differ.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput, Token};
use tree_sitter::{InputEdit, Point};

/// How far a hunk is moved, in bytes: more than a method that is like the one before it has in common with it. Each place
/// on the way is compared with all that is between.
const SLACK_MAX: usize = 4096;

/// How many lines of both texts, from the first that differs to the last, are compared the way that people find plainest.
/// That takes as long as their square, 10 ms for so many; another one takes 40 ms for ten times as many.
const LINES_MAX: usize = 4096;

/// A text and where its lines begin.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    /// And where the text ends.
    starts: Vec<usize>,
}

/// A place where the texts differ: a range of each.
#[derive(Clone, Debug)]
pub(super) struct Hunk {
    /// The lines that differ.
    pub(super) lines: [Range<usize>; 2],
    /// What differs in them: all of them but how they begin and end alike.
    pub(super) bytes: [Range<usize>; 2],
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a [u8]) -> Lines<'a> {
        let mut starts = vec![0];
        starts.extend(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
        if starts.last() != Some(&text.len()) {
            starts.push(text.len());
        }
        Lines { text, starts }
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.text.split_inclusive(|byte| *byte == b'\n')
    }

    fn bytes(&self, lines: &Range<u32>) -> Range<usize> {
        let start = |line: u32| self.starts.get(line as usize).copied().unwrap_or(self.text.len());
        start(lines.start)..start(lines.end)
    }

    fn point(&self, at: usize) -> Point {
        let row = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        // The end of the text is no line of its own unless a line ends there.
        let is_behind = at == self.text.len() && at > 0 && self.text.last() != Some(&b'\n');
        let row = if is_behind { row.saturating_sub(1) } else { row };
        Point { row, column: at - self.starts.get(row).copied().unwrap_or(0) }
    }
}

/// Where the texts differ, in order.
pub(super) fn between(lines: &[Lines<'_>; 2]) -> Vec<Hunk> {
    let mut input = InternedInput::default();
    input.update_before(lines[0].iter());
    input.update_after(lines[1].iter());
    let alike = |(one, other): &(&Token, &Token)| one == other;
    let head = input.before.iter().zip(&input.after).take_while(alike).count();
    let tails = input.before[head..].iter().rev().zip(input.after[head..].iter().rev());
    let between = input.before.len() + input.after.len() - 2 * (head + tails.take_while(alike).count());
    let diff = if between <= LINES_MAX {
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        diff
    } else {
        Diff::compute(Algorithm::Myers, &input)
    };
    diff.hunks().map(|hunk| Hunk::of(lines, &hunk)).collect()
}

/// How many bytes a part of `text` can be moved up, and down, within `around`: moving it takes away at one of its ends
/// what it adds at the other.
pub(super) fn slack(text: &[u8], part: &Range<usize>, around: Range<usize>) -> (usize, usize) {
    let before = text.get(around.start..part.start).unwrap_or_default();
    let until_end = text.get(around.start..part.end).unwrap_or_default();
    let after = text.get(part.end..around.end).unwrap_or_default();
    let from_start = text.get(part.start..around.end).unwrap_or_default();
    let up = before.iter().rev().zip(until_end.iter().rev());
    let down = after.iter().zip(from_start);
    (
        up.take(SLACK_MAX).take_while(|(one, other)| one == other).count(),
        down.take(SLACK_MAX).take_while(|(one, other)| one == other).count(),
    )
}

impl Hunk {
    fn of(lines: &[Lines<'_>; 2], hunk: &imara_diff::Hunk) -> Hunk {
        let ranges = [lines[0].bytes(&hunk.before), lines[1].bytes(&hunk.after)];
        let [one, two] = [0, 1].map(|at| lines[at].text.get(ranges[at].clone()).unwrap_or_default());
        let head = one.iter().zip(two).take_while(|(one, two)| one == two).count();
        let tails = one[head..].iter().rev().zip(two[head..].iter().rev());
        let tail = tails.take_while(|(one, two)| one == two).count();
        let bytes = [0, 1].map(|at| ranges[at].start + head..ranges[at].end - tail);
        Hunk { lines: ranges, bytes }
    }

    pub(super) fn starts(&self) -> [usize; 2] {
        [self.bytes[0].start, self.bytes[1].start]
    }

    pub(super) fn ends(&self) -> [usize; 2] {
        [self.bytes[0].end, self.bytes[1].end]
    }

    pub(super) fn moved_up(&self, by: usize) -> Hunk {
        self.moved(|at| at - by)
    }

    pub(super) fn moved_down(&self, by: usize) -> Hunk {
        self.moved(|at| at + by)
    }

    fn moved(&self, to: impl Fn(usize) -> usize) -> Hunk {
        let bytes = self.bytes.clone().map(|range| to(range.start)..to(range.end));
        Hunk { lines: bytes.clone(), bytes }
    }

    /// The edit that makes the second text of the first one, if what comes before is the same already.
    ///
    /// Of whole lines, unless it is of a part of one that what is behind it on that line parts from the line's end. For an
    /// external scanner may make tokens of nothing there (the end of a statement and of a block, in Python): where an edit
    /// ends right before them the parser takes all that follows for unfit, and makes it anew.
    pub(super) fn input_edit(&self, lines: &[Lines<'_>; 2]) -> InputEdit {
        let is_inside = self.lines.iter().zip(&self.bytes).zip(lines).all(|((whole, part), lines)| {
            let behind = lines.text.get(part.end..whole.end).unwrap_or_default();
            let rows =
                lines.text.get(whole.clone()).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
            rows.count() == 1 && !behind.trim_ascii().is_empty()
        });
        let [old, new] = if is_inside { self.bytes.clone() } else { self.lines.clone() };
        let start = lines[0].point(old.start);
        let (from, to) = (lines[1].point(new.start), lines[1].point(new.end));
        let rows = to.row - from.row;
        let column = if rows == 0 { start.column + new.len() } else { to.column };
        InputEdit {
            start_byte: old.start,
            old_end_byte: old.end,
            new_end_byte: old.start + new.len(),
            start_position: start,
            old_end_position: lines[0].point(old.end),
            new_end_position: Point { row: start.row + rows, column },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_told_in_bytes_and_in_lines() {
        let point = |row, column| Point { row, column };
        for (old, new, expected) in [
            ("a\nbcd\ne\n", "a\nbxyd\ne\n", (3, 4, 5, point(1, 1), point(1, 2), point(1, 3))),
            ("a\nbcd\ne\n", "a\nbcx\ne\n", (2, 6, 6, point(1, 0), point(2, 0), point(2, 0))),
            ("a\ne\n", "a\nb\ncc\ne\n", (2, 2, 7, point(1, 0), point(1, 0), point(3, 0))),
            ("a\nb\ncc\ne\n", "a\ne\n", (2, 7, 2, point(1, 0), point(3, 0), point(1, 0))),
            ("a\nb", "a\nbc\nde", (2, 3, 7, point(1, 0), point(1, 1), point(2, 2))),
        ] {
            let lines = [old, new].map(|text| Lines::of(text.as_bytes()));
            let hunks = between(&lines);
            let edits: Vec<_> = hunks.iter().map(|hunk| hunk.input_edit(&lines)).collect();
            let (start_byte, old_end_byte, new_end_byte, start, old_end, new_end) = expected;
            let edit = InputEdit {
                start_byte,
                old_end_byte,
                new_end_byte,
                start_position: start,
                old_end_position: old_end,
                new_end_position: new_end,
            };
            assert_eq!(edits, [edit], "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_hunk_is_not_moved_far() {
        let text = b"\n".repeat(100_000);
        assert_eq!(slack(&text, &(50_000..50_001), 0..100_000), (SLACK_MAX, SLACK_MAX));
        assert_eq!(slack(&text, &(50_000..50_001), 49_990..50_020), (10, 19));
    }

    #[test]
    fn many_lines_are_compared_the_cheap_way() {
        // Two kinds of lines without order: there are many ways to compare them.
        let mut state = 4_u32;
        let mut text = |count: usize| {
            let mut line = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 31 == 0 { "a\n" } else { "b\n" }
            };
            (0..count).map(|_| line()).collect::<String>()
        };
        for count in [LINES_MAX / 4, LINES_MAX] {
            let texts = [text(count), text(count)];
            let lines = texts.each_ref().map(|text| Lines::of(text.as_bytes()));
            let mut input = InternedInput::default();
            input.update_before(lines[0].iter());
            input.update_after(lines[1].iter());
            let cheap = Diff::compute(Algorithm::Myers, &input).hunks().count();
            let mut plain = Diff::compute(Algorithm::Histogram, &input);
            plain.postprocess_lines(&input);
            let plain = plain.hunks().count();
            assert_ne!(plain, cheap);
            let expected = if count < LINES_MAX / 2 { plain } else { cheap };
            assert_eq!(between(&lines).len(), expected, "{count} lines");
        }
    }
}
