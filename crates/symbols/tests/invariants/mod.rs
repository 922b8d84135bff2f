//! What holds for any two texts, told from their outlines alone: without a diff.

use std::collections::{BTreeMap, BTreeSet};

use muse_symbols::{Detail, Language, Limits, Outline, Part, Symbol, Touched, Unread, Why, outline, touched};

/// Each symbol with the name that its declaration gives first.
fn with_first_names(outline: &Outline) -> impl Iterator<Item = (&Symbol, &str)> {
    outline.symbols.iter().scan(None::<&Symbol>, |first, symbol| {
        let is_beside = |first: &&Symbol| (first.parent, &first.whole) == (symbol.parent, &symbol.whole);
        let its = first.filter(is_beside).unwrap_or(symbol);
        *first = Some(its);
        Some((symbol, its.qualified.as_str()))
    })
}

/// Adds the other names of declarations whose first one is among `parts`.
#[allow(dead_code, reason = "not every test that has this module needs it")]
pub(crate) fn add_names_beside(parts: &mut BTreeSet<Part>, outline: &Outline) {
    for (symbol, first) in with_first_names(outline) {
        if parts.contains(&part(Some(first))) {
            parts.insert(part(Some(&symbol.qualified)));
        }
    }
}

/// The innermost symbol that each byte of `text` is in, by the first of its names; `None` for the top.
pub(crate) fn names_by_byte<'a>(outline: &'a Outline, text: &[u8]) -> Vec<Option<&'a str>> {
    let mut names = vec![None; text.len()];
    // What stands inside of another symbol comes after it.
    for (symbol, first) in with_first_names(outline) {
        names[symbol.extent.bytes.clone()].fill(Some(first));
    }
    names
}

pub(crate) fn part(name: Option<&str>) -> Part {
    name.map_or(Part::Top, |name| Part::Symbol(name.to_owned()))
}

fn name(part: &Part) -> Option<&str> {
    match part {
        Part::Symbol(name) => Some(name),
        Part::Top => None,
    }
}

/// What each part says for itself: without white space, and without the symbols inside of it.
pub(crate) fn own_texts(outline: &Outline, text: &[u8]) -> BTreeMap<Part, Vec<u8>> {
    let mut texts: BTreeMap<Option<&str>, Vec<u8>> = BTreeMap::new();
    for (name, byte) in names_by_byte(outline, text).into_iter().zip(text) {
        if !byte.is_ascii_whitespace() {
            texts.entry(name).or_default().push(*byte);
        }
    }
    texts.into_iter().map(|(name, text)| (part(name), text)).collect()
}

/// The parts whose own text is not the same in both.
pub(crate) fn parts_that_differ(
    old: &BTreeMap<Part, Vec<u8>>,
    new: &BTreeMap<Part, Vec<u8>>,
) -> BTreeSet<Part> {
    let parts = old.keys().chain(new.keys());
    parts.filter(|part| old.get(*part) != new.get(*part)).cloned().collect()
}

/// Checks that symbols begin in order, and that each ends before the next one begins or holds all of it.
pub(crate) fn nest(outline: &Outline) {
    for (place, symbol) in outline.symbols.iter().enumerate() {
        let bytes = &symbol.extent.bytes;
        let around =
            |its: &Symbol| its.extent.bytes.start <= bytes.start && bytes.end <= its.extent.bytes.end;
        let mut before = place.checked_sub(1).map(|before| &outline.symbols[before]);
        assert!(
            before.is_none_or(|before| before.extent.bytes.start <= bytes.start),
            "{before:?} {symbol:?}"
        );
        while let Some(its) = before {
            assert!(its.extent.bytes.end <= bytes.start || around(its), "{its:?} {symbol:?}");
            before = its.parent.map(|parent| &outline.symbols[parent]);
        }
    }
}

/// Checks what is touched between two texts; what it is, unless the file is touched whole.
#[allow(dead_code, reason = "not every test that has this module needs it")]
pub(crate) fn hold(old: &[u8], new: &[u8], language: Language) -> Option<BTreeSet<Part>> {
    hold_within(old, new, language, &Limits::default())
}

/// The same within `limits`: where the time is over, nothing is said.
pub(crate) fn hold_within(
    old: &[u8],
    new: &[u8],
    language: Language,
    limits: &Limits,
) -> Option<BTreeSet<Part>> {
    let told = touched(Some(old), Some(new), Some(language), limits);
    let other = touched(Some(new), Some(old), Some(language), limits);
    let is_late =
        |told: &Touched| limits.time_max.is_some() && *told == Touched::Whole(Why::Unread(Unread::TooSlow));
    if is_late(&told) || is_late(&other) {
        return None;
    }
    assert_eq!(told, other, "the other way round");
    let Touched::Parts(parts) = told else { return None };
    let read = |text| match outline(text, language, Detail::Spans, limits) {
        Err(Unread::TooSlow) if limits.time_max.is_some() => None,
        read => Some(read.expect("it was read before")),
    };
    let (before, after) = (read(old)?, read(new)?);
    nest(&before);
    nest(&after);
    let texts = [own_texts(&before, old), own_texts(&after, new)];
    if before.faults == after.faults {
        // Each part whose own text differs is touched.
        let missing: Vec<_> = parts_that_differ(&texts[0], &texts[1]).difference(&parts).cloned().collect();
        assert!(missing.is_empty(), "{missing:?} differ, touched are {parts:?}");
    } else {
        // What the better side has outside of what is touched, the other one has too, in this order.
        let (better, better_text, other) =
            if before.faults < after.faults { (&before, old, new) } else { (&after, new, old) };
        let mut rest = other.iter();
        let touched: BTreeSet<Option<&str>> = parts.iter().map(name).collect();
        for (name, byte) in names_by_byte(better, better_text).into_iter().zip(better_text) {
            if !byte.is_ascii_whitespace() && !touched.contains(&name) {
                assert!(rest.any(|other| other == byte), "a byte of {name:?} is gone, touched are {parts:?}");
            }
        }
    }
    for text in [old, new] {
        let same = touched(Some(text), Some(text), Some(language), limits);
        assert_eq!(same, Touched::Parts(BTreeSet::new()), "a text differs from itself");
    }
    Some(parts)
}
