//! One of the two texts, and which symbol each byte of it belongs to.

use std::ops::Range;

use crate::outline::Symbol;

/// A text and its symbols.
pub(super) struct Side<'a> {
    pub(super) text: &'a [u8],
    symbols: &'a [Symbol],
    /// Where another innermost symbol begins, or the top; up to the next one. In order, the first one at 0.
    runs: Vec<(usize, Option<usize>)>,
}

impl<'a> Side<'a> {
    pub(super) fn new(text: &'a [u8], symbols: &'a [Symbol]) -> Side<'a> {
        let mut side = Side { text, symbols, runs: vec![(0, None)] };
        let mut open: Vec<usize> = Vec::new();
        for (place, symbol) in symbols.iter().enumerate() {
            // The first name of a declaration stands for all of them.
            if symbols[..place].last().is_some_and(|before| before.is_declared_with(symbol)) {
                continue;
            }
            side.close(&mut open, symbol.extent.bytes.start);
            open.push(place);
            side.begin(symbol.extent.bytes.start, Some(place));
        }
        side.close(&mut open, text.len());
        side
    }

    /// Closes what ends at `until` or before.
    fn close(&mut self, open: &mut Vec<usize>, until: usize) {
        while let Some(end) = open.last().map(|last| self.symbols[*last].extent.bytes.end)
            && end <= until
        {
            open.pop();
            self.begin(end, open.last().copied());
        }
    }

    fn begin(&mut self, at: usize, owner: Option<usize>) {
        self.runs.push((at, owner));
    }

    /// The innermost symbol around each byte of `range`, in order, as ranges.
    pub(super) fn runs(
        &self,
        range: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, Option<usize>)> + use<'_, 'a> {
        let first = self.runs.partition_point(|(start, _)| *start <= range.start).saturating_sub(1);
        let rest = self.runs.get(first..).unwrap_or_default();
        let ends = rest.iter().skip(1).map(|(start, _)| *start).chain([self.text.len()]);
        let Range { start: from, end: to } = range;
        rest.iter()
            .zip(ends)
            .take_while(move |((start, _), _)| *start < to)
            .map(move |((start, owner), end)| (from.max(*start)..to.min(end), *owner))
            .filter(|(run, _)| !run.is_empty())
    }

    /// The innermost symbol around a byte.
    pub(super) fn owner(&self, at: usize) -> Option<usize> {
        let after = self.runs.partition_point(|(start, _)| *start <= at);
        self.runs.get(after.saturating_sub(1)).and_then(|(_, owner)| *owner)
    }

    /// The names of the innermost symbols around what is no white space in `range`.
    pub(super) fn owners(&self, range: Range<usize>) -> impl Iterator<Item = Option<&'a str>> + use<'_, 'a> {
        self.runs(range)
            .filter(|(run, _)| !is_blank(&self.text[run.clone()]))
            .map(|(_, owner)| self.name(owner))
    }

    /// The names of what a change of white space, or one that cannot be parsed, may belong to: what stands beside it on
    /// its lines; if nothing does, what is above and below it, and what it is in.
    pub(super) fn around(&self, range: &Range<usize>, lines: &Range<usize>) -> Vec<Option<&'a str>> {
        let is_alone = is_blank(&self.text[lines.clone()]);
        let marks = [previous_mark(self.text, range.start), next_mark(self.text, range.end)];
        let marks = marks.into_iter().flatten().filter(|mark| is_alone || lines.contains(mark));
        let owners = marks.map(|mark| self.owner(mark)).chain(is_alone.then(|| self.enclosing(range.start)));
        owners.map(|owner| self.name(owner)).collect()
    }

    /// The innermost symbol that begins before a byte.
    fn enclosing(&self, at: usize) -> Option<usize> {
        let mut owner = self.owner(at);
        while let Some(symbol) = owner.and_then(|owner| self.symbols.get(owner))
            && symbol.extent.bytes.start >= at
        {
            owner = symbol.parent;
        }
        owner
    }

    /// `None` for the top.
    pub(super) fn name(&self, owner: Option<usize>) -> Option<&'a str> {
        owner.and_then(|owner| self.symbols.get(owner)).map(|symbol| symbol.qualified.as_str())
    }

    /// Whether a symbol begins or ends where a range does.
    pub(super) fn is_edge(&self, range: &Range<usize>) -> bool {
        let begins = |at: usize| self.runs.binary_search_by_key(&at, |(start, _)| *start).is_ok();
        begins(range.start) || begins(range.end)
    }
}

pub(super) fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

/// The last byte before `at` that is no white space.
pub(super) fn previous_mark(text: &[u8], at: usize) -> Option<usize> {
    text.get(..at)?.iter().rposition(|byte| !byte.is_ascii_whitespace())
}

/// The first byte from `at` on that is no white space.
pub(super) fn next_mark(text: &[u8], at: usize) -> Option<usize> {
    text.get(at..)?.iter().position(|byte| !byte.is_ascii_whitespace()).map(|offset| at + offset)
}
