//! The one overlap relation between addresses. It is symmetric, and exact: two globs overlap if and only if
//! some path could match both.
//!
//! - Literal paths overlap if one is the other or lies below it, since a file may become a directory. The
//!   same file with two symbols overlaps only if one symbol holds the other.
//! - A glob overlaps the files that it matches, whatever their symbols, and a directory if it could match
//!   a path strictly below it.
//!
//! Cost: literal pairs compare one string prefix. A glob of m and a path or glob of n segments walk a table
//! of m times n cells and compare only the segments of cells that are reached; the sum over all of them is
//! at most the product of the two lengths in bytes, a few times over (see `address::automaton`).

use crate::address::{Address, Pattern, Segment, Shape, Wild, symbols_overlap};

/// One segment of either side.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// Any number of segments.
    Rest,
    /// Exactly one segment of any name.
    One,
    /// One name.
    Name(&'a str),
    /// One name that a glob's segment matches.
    Wild(&'a Wild),
}

impl Address {
    /// Whether the two addresses claim something in common. This is the one relation that reservations are
    /// decided by; it is symmetric. An address overlaps itself, unless it is a glob that matches no path.
    ///
    /// Takes some ten nanoseconds for literal paths. For globs the time grows with the product of the two
    /// lengths, of which at most 512 characters each are more than plain names: some milliseconds at the worst.
    pub fn overlaps(&self, other: &Address) -> bool {
        match (self.shape(), other.shape()) {
            (Shape::Literal { .. }, Shape::Literal { .. }) => literals_overlap(self, other),
            (Shape::Glob(glob), Shape::Literal { is_directory, .. }) => {
                glob_meets_literal(glob, other.literal_text(), *is_directory)
            }
            (Shape::Literal { is_directory, .. }, Shape::Glob(glob)) => {
                glob_meets_literal(glob, self.literal_text(), *is_directory)
            }
            (Shape::Glob(one), Shape::Glob(other)) => globs_meet(one, other),
        }
    }
}

impl Address {
    /// Whether whoever holds this address holds all of `other`: whatever overlaps `other` overlaps this.
    ///
    /// A folder covers what lies below it, the globs that begin with its path included; a file its symbols; a symbol
    /// those within it; a glob the files that it matches. Of two globs only equal ones are told to cover each other, and
    /// no glob a folder. That a file that a glob matches may become a folder is not meant.
    pub fn covers(&self, other: &Address) -> bool {
        match (self.shape(), other.shape()) {
            (
                Shape::Literal { is_directory, .. },
                Shape::Literal { is_directory: is_other_directory, .. },
            ) => match other.literal_text().strip_prefix(self.literal_text()) {
                None => false,
                Some("") if *is_directory => *is_other_directory,
                Some("") => !is_other_directory && symbol_covers(self.symbol(), other.symbol()),
                Some(below) => *is_directory && (self.literal_text().is_empty() || below.starts_with('/')),
            },
            (Shape::Literal { is_directory, .. }, Shape::Glob(glob)) => {
                *is_directory && lies_below(glob, names_of(self.literal_text()))
            }
            (Shape::Glob(glob), Shape::Literal { is_directory: false, .. }) => {
                glob.is_matchable && meets(&glob.segments, names_of(other.literal_text()).map(Part::Name))
            }
            (Shape::Glob(_), _) => self == other,
        }
    }
}

/// Whether the first symbol of a file, or the whole file, holds the second.
fn symbol_covers(outer: Option<&str>, inner: Option<&str>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => outer.len() <= inner.len() && symbols_overlap(outer, inner),
    }
}

fn names_of(path: &str) -> impl Iterator<Item = &str> + Clone {
    path.split('/').filter(|name| !name.is_empty())
}

fn literals_overlap(one: &Address, other: &Address) -> bool {
    let (one_path, other_path) = (one.literal_text(), other.literal_text());
    let (outer, inner) =
        if one_path.len() <= other_path.len() { (one_path, other_path) } else { (other_path, one_path) };
    match inner.strip_prefix(outer) {
        None => false,
        Some("") => match (one.symbol(), other.symbol()) {
            (Some(one), Some(other)) => symbols_overlap(one, other),
            _ => true,
        },
        // The top, whose text is empty, holds everything.
        Some(below) => outer.is_empty() || below.starts_with('/'),
    }
}

fn glob_meets_literal(glob: &Pattern, path: &str, is_directory: bool) -> bool {
    if !glob.is_matchable {
        return false;
    }
    let names = names_of(path);
    if is_directory {
        // Strictly below: at least one more segment, then any number.
        meets(&glob.segments, names.map(Part::Name).chain([Part::One, Part::Rest]))
    } else {
        lies_below(glob, names.clone()) || meets(&glob.segments, names.map(Part::Name))
    }
}

/// Whether a glob names a file as a folder and goes on below it: the file may become one. That a glob such as
/// `**/*.py` could match below any file at all is not meant.
fn lies_below<'p>(glob: &Pattern, mut names: impl Iterator<Item = &'p str>) -> bool {
    let mut segments = glob.segments.iter();
    let leads_there =
        names.all(|name| matches!(segments.next(), Some(Segment::Literal(literal)) if **literal == *name));
    leads_there && segments.next().is_some()
}

fn globs_meet(one: &Pattern, other: &Pattern) -> bool {
    if !one.is_matchable || !other.is_matchable {
        return false;
    }
    // Most globs of a code base differ in their first names or in their last segments.
    for (one, other) in one.segments.iter().zip(&other.segments) {
        match (one, other) {
            (Segment::Literal(one), Segment::Literal(other)) if one != other => return false,
            (Segment::Literal(_), Segment::Literal(_)) => {}
            _ => break,
        }
    }
    if let (Some(one_last), Some(other_last)) = (one.segments.last(), other.segments.last())
        && !matches!((one_last, other_last), (Segment::Rest, _) | (_, Segment::Rest))
        && !segment_meets(one_last, Part::of(other_last))
    {
        return false;
    }
    meets(&one.segments, other.segments.iter().map(Part::of))
}

impl Part<'_> {
    fn of(segment: &Segment) -> Part<'_> {
        match segment {
            Segment::Rest => Part::Rest,
            Segment::Literal(name) => Part::Name(name),
            Segment::Wild(wild) => Part::Wild(wild),
        }
    }
}

/// Segments of a glob up to which the table row lives on the stack.
const ROW_ON_STACK: usize = 32;

/// Whether some path matches both lists of segments, each of which some path matches on its own.
///
/// `reached[j]` says that the parts read so far and the first `j` segments have a common path. Two lists of
/// nothing but `Rest` also have the empty path in common, which is none, but then they have others.
fn meets<'a>(segments: &[Segment], parts: impl Iterator<Item = Part<'a>>) -> bool {
    let mut few = [false; ROW_ON_STACK];
    let mut many = Vec::new();
    let reached = if let Some(row) = few.get_mut(..=segments.len()) {
        row
    } else {
        many.resize(segments.len() + 1, false);
        &mut many[..]
    };
    reached[0] = true;
    skip_rests(segments, reached);
    for part in parts {
        if matches!(part, Part::Rest) {
            // It takes any number of segments, whatever they are: all later cells are reached.
            let mut is_reached = false;
            for cell in reached.iter_mut() {
                is_reached |= *cell;
                *cell = is_reached;
            }
            continue;
        }
        for index in (0..=segments.len()).rev() {
            let stays = reached[index] && matches!(segments.get(index), Some(Segment::Rest));
            reached[index] =
                stays || (index > 0 && reached[index - 1] && segment_meets(&segments[index - 1], part));
        }
        if !reached.contains(&true) {
            return false;
        }
        skip_rests(segments, reached);
    }
    reached[segments.len()]
}

/// `**` may match no segment at all.
fn skip_rests(segments: &[Segment], reached: &mut [bool]) {
    for (index, segment) in segments.iter().enumerate() {
        if reached[index] && matches!(segment, Segment::Rest) {
            reached[index + 1] = true;
        }
    }
}

/// Whether some name matches one segment of a glob and one part of the other side. `Rest` on either side is
/// no single name, and is handled where it is met.
fn segment_meets(segment: &Segment, part: Part<'_>) -> bool {
    match (segment, part) {
        (Segment::Rest, _) | (_, Part::Rest) => false,
        (_, Part::One) => true,
        (Segment::Literal(one), Part::Name(other)) => **one == *other,
        (Segment::Literal(name), Part::Wild(wild)) => wild.matches(name),
        (Segment::Wild(wild), Part::Name(name)) => wild.matches(name),
        (Segment::Wild(one), Part::Wild(other)) => one.meets(other),
    }
}
