//! Whole texts of each language against lists of their symbols that were made by hand: `golden/rust.rs` and
//! `golden/rust.txt`. A language adds its two files, and one behind a feature a row of [`OPTIONAL`]. A line of a list that
//! begins with `#` is a comment.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use muse_symbols::{Detail, Language, Limits, Outline, Span, outline};

const SYMBOLS_MIN: usize = 40;

/// The names of the lists whose language not every build knows, and whether this one does.
const OPTIONAL: &[(&str, bool)] = &[
    ("bash", cfg!(feature = "bash")),
    ("c", cfg!(feature = "c")),
    ("cpp", cfg!(feature = "cpp")),
    ("csharp", cfg!(feature = "csharp")),
    ("kotlin", cfg!(feature = "kotlin")),
    ("php", cfg!(feature = "php")),
    ("ruby", cfg!(feature = "ruby")),
    ("scala", cfg!(feature = "scala")),
    ("swift", cfg!(feature = "swift")),
];

#[test]
fn the_symbols_of_a_text_are_those_that_a_reader_finds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        texts.insert(name, fs::read_to_string(path).unwrap());
    }
    let optional = |stem: &str| OPTIONAL.iter().find(|(name, _)| *name == stem);
    let mut seen = Vec::new();
    for (name, source) in &texts {
        let (stem, ending) = name.rsplit_once('.').unwrap();
        if ending == "txt" {
            continue;
        }
        seen.push(stem);
        let language = Language::of_path(name);
        if let Some((_, false)) = optional(stem) {
            assert_eq!(language, None, "{name} is not compared, and its language is known");
            continue;
        }
        let language = language.unwrap_or_else(|| panic!("the language of {name} is not known"));
        let list = &texts[&format!("{stem}.txt")];
        let expected: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(expected.len() >= SYMBOLS_MIN, "{name} has {} symbols", expected.len());
        let spans = outline(source.as_bytes(), language, Detail::Spans, &Limits::default()).unwrap();
        let full = outline(source.as_bytes(), language, Detail::Full, &Limits::default()).unwrap();
        for outline in [spans, full] {
            assert!(outline.is_clean(), "{name} has {} faults", outline.faults);
            check_parents(&outline);
            let told = lines(&outline);
            for (told, expected) in told.iter().zip(&expected) {
                assert_eq!(told, expected, "{name}");
            }
            assert_eq!(told.len(), expected.len(), "{name}: {told:#?}");
        }
    }
    assert_eq!(texts.len(), 2 * seen.len(), "a list without a text");
    let missing: Vec<_> = OPTIONAL.iter().filter(|(name, _)| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no texts: {missing:?}");
}

fn lines(outline: &Outline) -> Vec<String> {
    let lines = |lines: &RangeInclusive<usize>| format!("{}-{}", lines.start(), lines.end());
    let body = |body: &Option<Span>| body.as_ref().map_or("-".to_owned(), |body| lines(&body.lines));
    outline
        .symbols
        .iter()
        .map(|symbol| {
            let muse_symbols::Symbol { kind, qualified, extent, whole, body: its, .. } = symbol;
            format!("{kind:?} {qualified} {} {} {}", lines(&extent.lines), lines(&whole.lines), body(its))
        })
        .collect()
}

/// A symbol stands in its parent and is named below it, and one without a parent stands in no symbol before it.
fn check_parents(outline: &Outline) {
    for (at, symbol) in outline.symbols.iter().enumerate() {
        let encloses = |other: &&muse_symbols::Symbol| {
            let (its, bytes) = (&other.extent.bytes, &symbol.extent.bytes);
            its.start <= bytes.start && bytes.end <= its.end && its != bytes
        };
        let innermost = outline.symbols[..at].iter().rev().find(encloses);
        // What one declaration gives several names stands in the first of them.
        let first = |its: &muse_symbols::Symbol| {
            outline.symbols.iter().find(|first| (first.parent, &first.whole) == (its.parent, &its.whole))
        };
        let innermost = innermost.and_then(first);
        let parent = symbol.parent.map(|parent| &outline.symbols[parent]);
        assert_eq!(parent, innermost, "{symbol:?}");
        if let Some(parent) = parent {
            assert!(symbol.qualified.starts_with(&format!("{}.", parent.qualified)), "{symbol:?}");
        }
        assert!(symbol.qualified.ends_with(&symbol.name), "{symbol:?}");
    }
}
