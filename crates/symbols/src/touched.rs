//! The parts of a text that an edit changes: what two agents must not change at the same time.
//!
//! The lines that differ are found first ([`hunks`]); what is changed in them belongs to the innermost symbol around
//! it, on either side ([`Side`]). What both sides have, but one has in another symbol than the other, is changed as
//! well: a line `def g():` put into the middle of `f` takes the rest of `f` away from it without a line of `f` being
//! changed. So, where both sides fit the grammar, a part that is not touched has the same text on both.

mod hunks;
mod side;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use tree_sitter::Tree;

use self::hunks::{Hunk, Lines};
use self::side::{Side, is_blank, next_mark, previous_mark};
use crate::deadline;
use crate::language::Language;
use crate::outline::{Detail, Limits, Outline, Symbol, Unread, parse, walk};

/// What an edit of a file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// All of the file, as far as can be told.
    Whole(Why),
    /// These parts of it. None at all if nothing is changed, or nothing but empty lines that part one symbol from
    /// another.
    Parts(BTreeSet<Part>),
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// What stands in a symbol of this qualified name, but in none inside of it.
    Symbol(String),
    /// What stands outside every symbol: imports, statements of the module.
    Top,
}

/// Why a file is touched whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was none before.
    Created,
    /// There is none any more.
    Deleted,
    /// Its language is not known.
    NoLanguage,
    /// One of its sides could not be read.
    Unread(Unread),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Symbol(name) => name,
            Part::Top => "@top",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Created => f.write_str("it is new"),
            Why::Deleted => f.write_str("it is deleted"),
            Why::NoLanguage => f.write_str("its language is not known"),
            Why::Unread(unread) => unread.fmt(f),
        }
    }
}

/// The parts of a file that differ between `old` and `new`; `None` where there is no file. Each of the two may be as long
/// as `limits` allow; the time is for both.
///
/// Exchanging `old` and `new` changes nothing but [`Why`].
///
/// - What is changed belongs to the innermost symbol around it, with its decorators, its attributes and the comments
///   right above it. A new symbol between two others touches only itself, and so does one that is taken away. What one
///   declaration gives several names is touched by all of them.
/// - A change of white space alone touches the symbol that it is in, or whose indentation it changes. Empty lines
///   between one symbol and another (or between one and what stands outside) touch nothing.
/// - Where one side has more faults than the other, the better one tells what stands where, and the other one only adds
///   the symbols that are new in it. What is put between two symbols then touches both, and what encloses them: which
///   of them it belongs to is anyone's guess.
pub fn touched(
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    language: Option<Language>,
    limits: &Limits,
) -> Touched {
    if old == new {
        return Touched::Parts(BTreeSet::new());
    }
    let (Some(old), Some(new)) = (old, new) else {
        return Touched::Whole(if old.is_none() { Why::Created } else { Why::Deleted });
    };
    let Some(language) = language else { return Touched::Whole(Why::NoLanguage) };
    // One order for both directions: neither a diff nor the recovery from faults is the same the other way round.
    let texts = if old <= new { [old, new] } else { [new, old] };
    let told = match deadline::of(limits, old.len() + new.len()) {
        None => parts(texts, language, limits, &mut limits.lateness()),
        Some(silence_max) => {
            let (texts, its) = (texts.map(<[u8]>::to_vec), *limits);
            deadline::within(limits, silence_max, old.len(), move |is_late| {
                parts(texts.each_ref().map(Vec::as_slice), language, &its, is_late)
            })
        }
    };
    match told {
        Ok(parts) => Touched::Parts(parts),
        Err(unread) => Touched::Whole(Why::Unread(unread)),
    }
}

fn parts(
    texts: [&[u8]; 2],
    language: Language,
    limits: &Limits,
    is_late: &mut dyn FnMut() -> bool,
) -> Result<BTreeSet<Part>, Unread> {
    for text in texts {
        limits.admit(text)?;
    }
    // First, because it can be stopped: of a text that takes long nothing else is done.
    let first = parse(texts[0], language, None, is_late)?;
    let lines = texts.map(Lines::of);
    let hunks = hunks::between(&lines);
    let outlines = [
        walk(texts[0], language, &first, Detail::Spans),
        second_outline(texts[1], language, first, &lines, &hunks, is_late)?,
    ];
    let comparison = Comparison::new(&texts, &outlines);
    let mut parts = comparison.parts(&hunks, is_late)?;
    for Outline { symbols, .. } in &outlines {
        add_names_beside(&mut parts, symbols);
    }
    let parts = parts.into_iter();
    Ok(parts.map(|name| name.map_or(Part::Top, |name| Part::Symbol(name.to_owned()))).collect())
}

/// The outline of the second text. Its tree is made from the first one's, of which only the nodes at the hunks are
/// made anew.
fn second_outline(
    text: &[u8],
    language: Language,
    mut first: Tree,
    lines: &[Lines<'_>; 2],
    hunks: &[Hunk],
    is_late: &mut dyn FnMut() -> bool,
) -> Result<Outline, Unread> {
    /// With this many there is little of the tree left, and where the text does not fit the grammar, looking for it takes
    /// several times as long as a tree without it.
    const EDITS_MAX: usize = 100;
    if hunks.len() <= EDITS_MAX {
        // From the last to the first: none moves the place of another.
        for hunk in hunks.iter().rev() {
            first.edit(&hunk.input_edit(lines));
        }
        let tree = parse(text, language, Some(&first), is_late)?;
        // How a fault is recovered from depends on what was reused, and has to depend on the text alone.
        if !tree.root_node().has_error() {
            return Ok(walk(text, language, &tree, Detail::Spans));
        }
    }
    let tree = parse(text, language, None, is_late)?;
    Ok(walk(text, language, &tree, Detail::Spans))
}

/// Names of symbols; `None` is the top.
type Names<'a> = BTreeSet<Option<&'a str>>;

/// Adds the other names of declarations whose first one is among `names`.
fn add_names_beside<'a>(names: &mut Names<'a>, symbols: &'a [Symbol]) {
    for pair in symbols.windows(2) {
        if let [before, symbol] = pair
            && before.is_declared_with(symbol)
            && names.contains(&Some(before.qualified.as_str()))
        {
            names.insert(Some(symbol.qualified.as_str()));
        }
    }
}

struct Comparison<'a> {
    sides: [Side<'a>; 2],
    /// Whether a side tells what stands where. At least one does.
    is_trusted: [bool; 2],
    /// The names on the side that does, where the other one does not.
    names_known: Names<'a>,
}

impl<'a> Comparison<'a> {
    fn new(texts: &[&'a [u8]; 2], outlines: &'a [Outline; 2]) -> Comparison<'a> {
        let [one, two] = outlines;
        let better = match one.faults.cmp(&two.faults) {
            Ordering::Less => one.symbols.as_slice(),
            Ordering::Equal => &[],
            Ordering::Greater => &two.symbols,
        };
        Comparison {
            sides: [Side::new(texts[0], &one.symbols), Side::new(texts[1], &two.symbols)],
            is_trusted: [one.faults <= two.faults, two.faults <= one.faults],
            names_known: better.iter().map(|symbol| Some(symbol.qualified.as_str())).collect(),
        }
    }

    fn parts(&self, hunks: &[Hunk], is_late: &mut dyn FnMut() -> bool) -> Result<Names<'a>, Unread> {
        let mut names = Names::new();
        let ends = [0, 1].map(|side| self.sides[side].text.len());
        let mut kept_from = [0, 0];
        // The end of the white space that was looked at last: each change in it says the same.
        let mut seen_until = None;
        for (place, hunk) in hunks.iter().enumerate() {
            if is_late() {
                return Err(Unread::TooSlow);
            }
            let next = hunks.get(place + 1).map_or(ends, Hunk::starts);
            let hunk = self.settle(hunk, kept_from, next);
            self.keep(kept_from, hunk.starts(), &mut names);
            if !self.is_blank(&hunk.lines) {
                self.change(&hunk, &mut names);
            } else if seen_until.is_none_or(|end| hunk.bytes[0].start > end) {
                self.change_empty_lines(&hunk, &mut names);
                seen_until = Some(next_mark(self.sides[0].text, hunk.bytes[0].end).unwrap_or(ends[0]));
            }
            kept_from = hunk.ends();
        }
        self.keep(kept_from, ends, &mut names);
        Ok(names)
    }

    /// What both sides have, from `starts` to `ends`, and have in different symbols.
    fn keep(&self, starts: [usize; 2], ends: [usize; 2], names: &mut Names<'a>) {
        if self.is_trusted != [true, true] {
            return;
        }
        let [one, two] = &self.sides;
        for (run, owner) in one.runs(starts[0]..ends[0]) {
            let offset = run.start - starts[0] + starts[1];
            for (part, other) in two.runs(offset..offset + run.len()) {
                if one.name(owner) != two.name(other) && !is_blank(&two.text[part]) {
                    names.insert(one.name(owner));
                    names.insert(two.name(other));
                }
            }
        }
    }

    /// What a hunk changes that is more than empty lines.
    fn change(&self, hunk: &Hunk, names: &mut Names<'a>) {
        let is_blank = self.is_blank_each(&hunk.bytes);
        for (at, side) in self.sides.iter().enumerate() {
            let other = 1 - at;
            let range = hunk.bytes[at].clone();
            if !self.is_trusted[at] {
                let known = &self.names_known;
                names.extend(side.owners(range).filter(|name| name.is_some() && !known.contains(name)));
            } else if is_blank[at] && (is_blank[other] || !self.is_trusted[other]) {
                names.extend(side.around(&range, &hunk.lines[at]));
            } else {
                names.extend(side.owners(range));
            }
        }
    }

    /// Empty lines that came or went belong to the symbol that they are in the middle of.
    fn change_empty_lines(&self, hunk: &Hunk, names: &mut Names<'a>) {
        for (at, side) in self.sides.iter().enumerate().filter(|(at, _)| self.is_trusted[*at]) {
            let above = previous_mark(side.text, hunk.bytes[at].start);
            let below = next_mark(side.text, hunk.bytes[at].end);
            if let (Some(above), Some(below)) = (above, below)
                && side.owner(above) == side.owner(below)
            {
                names.insert(side.name(side.owner(above)));
            }
        }
    }

    /// The hunk at the place where it changes the fewest parts.
    ///
    /// Where the text around what was put in begins or ends like it, a diff can place it here or there: as the whole of
    /// a new method, or as the end of one and the beginning of the next. `from` and `to` are where the unchanged text
    /// around it begins and ends.
    fn settle(&self, hunk: &Hunk, from: [usize; 2], to: [usize; 2]) -> Hunk {
        let at = usize::from(hunk.bytes[0].is_empty());
        if !hunk.bytes[1 - at].is_empty() || self.is_blank(&hunk.bytes) {
            return hunk.clone();
        }
        let side = &self.sides[at];
        let (up, down) = hunks::slack(side.text, &hunk.bytes[at], from[at]..to[at]);
        let (first, last) = (hunk.moved_up(up), hunk.moved_down(down));
        let count = |hunk: &Hunk| {
            let mut names = Names::new();
            self.keep(first.starts(), hunk.starts(), &mut names);
            self.change(hunk, &mut names);
            self.keep(hunk.ends(), last.ends(), &mut names);
            names.len()
        };
        let mut best = hunk.clone();
        let mut fewest = count(hunk);
        // The nearest ones first: of two that are as good, the one where the diff has it stays.
        let places = (1..=up.max(down)).flat_map(|by| {
            let up = (by <= up).then(|| hunk.moved_up(by));
            up.into_iter().chain((by <= down).then(|| hunk.moved_down(by)))
        });
        for place in places.filter(|place| side.is_edge(&place.bytes[at])) {
            // Nothing is better than one.
            if fewest <= 1 {
                break;
            }
            let parts = count(&place);
            if parts < fewest {
                (best, fewest) = (place, parts);
            }
        }
        best
    }

    fn is_blank_each(&self, ranges: &[Range<usize>; 2]) -> [bool; 2] {
        [0, 1].map(|at| is_blank(&self.sides[at].text[ranges[at].clone()]))
    }

    fn is_blank(&self, ranges: &[Range<usize>; 2]) -> bool {
        self.is_blank_each(ranges) == [true, true]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is asked for the time, and what comes of it, if it is late from the `late`-th time on.
    fn looks(texts: [&[u8]; 2], late: usize) -> (usize, Result<BTreeSet<Part>, Unread>) {
        let mut looks = 0;
        let mut is_late = || {
            looks += 1;
            looks > late
        };
        let parts = parts(texts, Language::Python, &Limits::default(), &mut is_late);
        (looks, parts)
    }

    /// How often parsing a text asks for the time.
    fn looks_of(text: &[u8]) -> usize {
        let mut looks = 0;
        let mut is_late = || {
            looks += 1;
            false
        };
        assert!(parse(text, Language::Python, None, &mut is_late).is_ok());
        looks
    }

    #[test]
    fn all_of_it_stops_once_it_is_late() {
        let statements = |each: &str, end: &str| format!("{}{end}", each.repeat(200)).into_bytes();
        for (old, new) in [
            (statements("x = 1\n", ""), statements("x = 1\n", "y = 1\n")),
            // Parsed three times: what is made from the other tree has faults, and is made anew.
            (statements("x = 1\n", ""), statements("x = 1\n", "y = = (\n")),
            (statements("x = 1\n", ""), statements("y = [1, 2]\n", "")),
        ] {
            let (all, parts) = looks([&old, &new], usize::MAX);
            assert!(parts.is_ok());
            assert!(all > looks_of(&old), "{all}");
            for late in 0..all {
                assert_eq!(looks([&old, &new], late), (late + 1, Err(Unread::TooSlow)));
            }
        }
    }

    #[test]
    fn comparing_asks_for_the_time_at_each_hunk() {
        let text = |value: u8| format!("x = {value}\ny = 1\n").repeat(3).into_bytes();
        let (old, new) = (text(1), text(2));
        assert_eq!(looks([&old, &new], usize::MAX).0, looks_of(&old) + looks_of(&new) + 3);
    }

    /// How often the second outline of two texts asks for the time.
    fn looks_of_second(texts: [&[u8]; 2]) -> usize {
        let language = Language::Python;
        let first = parse(texts[0], language, None, &mut || false).unwrap();
        let lines = texts.map(Lines::of);
        let hunks = hunks::between(&lines);
        let mut looks = 0;
        let mut is_late = || {
            looks += 1;
            false
        };
        assert!(second_outline(texts[1], language, first, &lines, &hunks, &mut is_late).is_ok());
        looks
    }

    #[test]
    fn what_an_edit_leaves_is_not_parsed_again() {
        let method = |at: usize| {
            format!(
                "    def f{at}(self, a):\n        for b in a[{at}:]:\n            g(b, {at})\n        h(a, {at})\n        \
                 return {at}\n\n"
            )
        };
        let methods: String = (0..200).map(method).collect();
        let old = format!("class C:\n{methods}");
        let all = looks_of(old.as_bytes());
        let edited = |from: &str, to: &str| old.replacen(from, to, 1);
        for new in [
            edited("(b, 100)", "(b, 1000)"),
            edited("[100:]", "[101:]"),
            edited("return 100\n", "return 200\n"),
            edited("return 100\n", "return 1\n"),
            edited("        h(a, 100)\n", "        h(a, 100)\n        i(a)\n        j(a)\n"),
        ] {
            for texts in [[&old, &new], [&new, &old]] {
                let looks = looks_of_second(texts.map(String::as_bytes));
                assert!(looks < all / 4, "{looks} of {all}");
            }
        }
    }

    #[test]
    fn of_a_tree_with_many_edits_nothing_is_reused() {
        let text = |value: &str| format!("x = 1\n{value}\n").repeat(200).into_bytes();
        let (old, new) = (text("y = 1"), text("y = = ("));
        let (all, parts) = looks([&old, &new], usize::MAX);
        assert!(parts.is_ok());
        assert_eq!(all, looks_of(&old) + looks_of(&new) + 200);
    }
}
