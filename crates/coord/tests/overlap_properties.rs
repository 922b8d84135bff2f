//! Random addresses against an independent reading of the rules: a backtracking matcher that tries every
//! path made of a few letters.
//!
//! Why equality may be asserted, and not only implication: generated patterns name no letter but `a`, `b`
//! and `.`, and their ranges hold no others, so that `z` stands for every other one. On any way through a
//! segment at most two elements take a character and are no star. A character that both of two segments
//! take by a star can be left out of a common text, unless what remains is no name, which has two characters
//! at most. So if two segments have a common name, they have one of at most four characters. In the same
//! way a common path is no longer than the segments other than `**` of both sides together, or than the
//! side without `**`.

#![expect(clippy::expect_used, reason = "a test fails by a panic, in what several tests share too")]

use std::collections::{BTreeSet, HashSet};
use std::io;

use muse_coord::Address;
use muse_coord::address::{AddressKind, Entry, NoTree, Place, Tree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const LETTERS: [char; 4] = ['a', 'b', '.', 'z'];
const NAME_LENGTH_MAX: usize = 4;

/// Cases of the comparison with brute force.
const CASES: u32 = 24_000;

#[derive(Clone, Debug)]
enum Element {
    Letter(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
    Braces(Vec<Vec<Element>>),
}

#[derive(Clone, Debug)]
enum Segment {
    Rest,
    Name(Vec<Element>),
}

#[derive(Clone, Debug)]
enum Model {
    File { path: Vec<String>, symbol: Option<Vec<String>> },
    Directory(Vec<String>),
    Glob(Vec<Segment>),
}

// ---- text ----

fn spell_elements(elements: &[Element], text: &mut String) {
    for element in elements {
        match element {
            Element::Letter(letter) => text.push(*letter),
            Element::Any => text.push('?'),
            Element::Star => text.push('*'),
            Element::Class { negated, ranges } => {
                text.push_str(if *negated { "[!" } else { "[" });
                for (first, last) in ranges {
                    text.push(*first);
                    if first != last {
                        text.push('-');
                        text.push(*last);
                    }
                }
                text.push(']');
            }
            Element::Braces(alternatives) => {
                text.push('{');
                for (index, alternative) in alternatives.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    spell_elements(alternative, text);
                }
                text.push('}');
            }
        }
    }
}

fn spell(model: &Model) -> String {
    match model {
        Model::File { path, symbol: None } => path.join("/"),
        Model::File { path, symbol: Some(symbol) } => format!("{}::{}", path.join("/"), symbol.join(".")),
        Model::Directory(path) if path.is_empty() => "./".to_owned(),
        Model::Directory(path) => format!("{}/", path.join("/")),
        Model::Glob(segments) => {
            let spelled: Vec<String> = segments
                .iter()
                .map(|segment| match segment {
                    Segment::Rest => "**".to_owned(),
                    Segment::Name(elements) => {
                        let mut text = String::new();
                        spell_elements(elements, &mut text);
                        text
                    }
                })
                .collect();
            spelled.join("/")
        }
    }
}

fn resolve(text: &str) -> Address {
    Address::resolve(text, &Place::top("/t"), &NoTree).expect(text).address
}

// ---- the independent reading ----

/// Backtracks through elements and characters; `then` says whether the rest of the text is taken.
fn matches(elements: &[Element], text: &[char], then: &dyn Fn(&[char]) -> bool) -> bool {
    let Some((element, others)) = elements.split_first() else {
        return then(text);
    };
    let one = |is_taken: &dyn Fn(char) -> bool| {
        text.split_first().is_some_and(|(letter, rest)| is_taken(*letter) && matches(others, rest, then))
    };
    match element {
        Element::Letter(letter) => one(&|taken| taken == *letter),
        Element::Any => one(&|_| true),
        Element::Class { negated, ranges } => {
            one(&|taken| ranges.iter().any(|(first, last)| (*first..=*last).contains(&taken)) != *negated)
        }
        Element::Star => (0..=text.len()).any(|taken| matches(others, &text[taken..], then)),
        Element::Braces(alternatives) => alternatives
            .iter()
            .any(|alternative| matches(alternative, text, &|rest| matches(others, rest, then))),
    }
}

fn matches_name(elements: &[Element], name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    matches(elements, &letters, &<[char]>::is_empty)
}

/// Names that the segments under test cannot tell apart are one: which of the segments match it.
type Sort = Vec<bool>;

/// Segments by their index in a `Sort`, `None` for `**`.
type Path = Vec<Option<usize>>;

fn path_matches(pattern: &[Option<usize>], path: &[&Sort]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((None, others)), None) => path_matches(others, path),
        (Some((None, others)), Some((_, rest))) => path_matches(others, path) || path_matches(pattern, rest),
        (None, Some(_)) | (Some((Some(_), _)), None) => false,
        (Some((Some(index), others)), Some((name, rest))) => name[*index] && path_matches(others, rest),
    }
}

/// Numbers the segments of a glob, after those that `elements` already holds.
fn indexed<'a>(segments: &'a [Segment], elements: &mut Vec<&'a [Element]>) -> Path {
    segments
        .iter()
        .map(|segment| match segment {
            Segment::Rest => None,
            Segment::Name(name) => {
                elements.push(name);
                Some(elements.len() - 1)
            }
        })
        .collect()
}

/// The names of up to [`NAME_LENGTH_MAX`] letters.
fn all_names() -> Vec<String> {
    let mut names = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..NAME_LENGTH_MAX {
        longest = longest
            .iter()
            .flat_map(|name| LETTERS.iter().map(move |letter| format!("{name}{letter}")))
            .collect();
        names.extend(longest.iter().cloned());
    }
    names.retain(|name| name != "." && name != "..");
    names
}

/// Whether the glob begins with the names of the file, spelled out, and goes on below it.
fn goes_on_below(glob: &[Segment], file: &[String]) -> bool {
    let plain = |segment: &Segment| match segment {
        Segment::Name(elements) => elements
            .iter()
            .map(|element| if let Element::Letter(letter) = element { Some(*letter) } else { None })
            .collect::<Option<String>>(),
        Segment::Rest => None,
    };
    let names: Vec<Option<String>> =
        glob.iter().map(plain).filter(|name| name.as_deref() != Some(".")).collect();
    names.len() > file.len() && file.iter().zip(&names).all(|(file, name)| Some(file) == name.as_ref())
}

/// Whether some path matches the glob and is the file, lies strictly below the directory, or matches the
/// other glob; or the glob goes on below the file by name.
fn glob_overlaps(glob: &[Segment], other: &Model, names: &[String]) -> bool {
    let mut elements: Vec<&[Element]> = Vec::new();
    let one = indexed(glob, &mut elements);
    let mut two = Path::new();
    let mut literal: &[String] = &[];
    match other {
        Model::Glob(segments) => two = indexed(segments, &mut elements),
        Model::File { path, .. } | Model::Directory(path) => literal = path,
    }
    let sort_of =
        |name: &str| -> Sort { elements.iter().map(|elements| matches_name(elements, name)).collect() };
    let sorts: Vec<Sort> =
        names.iter().map(|name| sort_of(name)).collect::<HashSet<_>>().into_iter().collect();
    let of_literal: Vec<Sort> = literal.iter().map(|name| sort_of(name)).collect();
    match other {
        Model::File { path, .. } => {
            path_matches(&one, &of_literal.iter().collect::<Vec<_>>())
                || (goes_on_below(glob, path) && some_path(&[], 4, &sorts, &|path| path_matches(&one, path)))
        }
        Model::Directory(_) => {
            let start: Vec<&Sort> = of_literal.iter().collect();
            some_path(&start, 4, &sorts, &|path| path.len() > start.len() && path_matches(&one, path))
        }
        Model::Glob(_) => some_path(&[], 4, &sorts, &|path| {
            !path.is_empty() && path_matches(&one, path) && path_matches(&two, path)
        }),
    }
}

fn some_path<'a>(
    start: &[&'a Sort],
    length_max: usize,
    sorts: &'a [Sort],
    is_wanted: &dyn Fn(&[&'a Sort]) -> bool,
) -> bool {
    if is_wanted(start) {
        return true;
    }
    if start.len() >= length_max {
        return false;
    }
    let mut longer = start.to_vec();
    sorts.iter().any(|sort| {
        longer.truncate(start.len());
        longer.push(sort);
        some_path(&longer, length_max, sorts, is_wanted)
    })
}

fn is_prefix(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

fn overlaps(one: &Model, other: &Model, names: &[String]) -> bool {
    match (one, other) {
        (Model::Glob(glob), _) => glob_overlaps(glob, other, names),
        (_, Model::Glob(glob)) => glob_overlaps(glob, one, names),
        (Model::File { path: one, symbol: Some(a) }, Model::File { path: other, symbol: Some(b) })
            if one == other =>
        {
            is_prefix(a, b)
        }
        (
            Model::File { path: one, .. } | Model::Directory(one),
            Model::File { path: other, .. } | Model::Directory(other),
        ) => is_prefix(one, other),
    }
}

// ---- what is generated ----

fn letter() -> impl Strategy<Value = char> {
    prop_oneof![4 => Just('a'), 3 => Just('b'), 3 => Just('.')]
}

/// One element that takes exactly one character.
fn taking() -> impl Strategy<Value = Element> {
    let range = prop_oneof![
        5 => letter().prop_map(|letter| (letter, letter)),
        1 => Just(('a', 'b')),
    ];
    prop_oneof![
        6 => letter().prop_map(Element::Letter),
        2 => Just(Element::Any),
        3 => (any::<bool>(), vec(range, 1..3))
            .prop_map(|(negated, ranges)| Element::Class { negated, ranges }),
    ]
}

/// Elements of which at most `length_max` take a character without being a star.
fn elements(length_max: usize, depth: u32) -> BoxedStrategy<Vec<Element>> {
    if length_max == 0 {
        return prop_oneof![3 => Just(vec![]), 1 => Just(vec![Element::Star])].boxed();
    }
    let plain = (vec(taking(), 0..=length_max), vec(any::<prop::sample::Index>(), 0..3)).prop_map(
        |(mut elements, stars)| {
            for star in stars {
                let at = star.index(elements.len() + 1);
                elements.insert(at, Element::Star);
            }
            elements
        },
    );
    if depth == 0 {
        return plain.boxed();
    }
    let braced = (0..=length_max).prop_flat_map(move |inside| {
        let outside = length_max - inside;
        (0..=outside).prop_flat_map(move |before| {
            (elements(before, 0), vec(elements(inside, depth - 1), 1..4), elements(outside - before, 0))
                .prop_map(|(mut before, alternatives, after)| {
                    before.push(Element::Braces(alternatives));
                    before.extend(after);
                    before
                })
        })
    });
    prop_oneof![3 => plain, 2 => braced].boxed()
}

fn is_name(elements: &[Element]) -> bool {
    let mut text = String::new();
    spell_elements(elements, &mut text);
    !matches!(text.as_str(), "" | "." | ".." | "**")
}

fn segment() -> impl Strategy<Value = Segment> {
    let literal = vec(letter().prop_map(Element::Letter), 1..3);
    prop_oneof![1 => literal, 3 => elements(2, 2)]
        .prop_filter("a segment that is spelled as one", |elements| is_name(elements))
        .prop_map(Segment::Name)
}

/// Up to two segments beside up to two `**`, with a metacharacter somewhere; or three segments and no `**`.
fn glob() -> impl Strategy<Value = Model> {
    let with_rest =
        (vec(segment(), 0..3), vec(any::<prop::sample::Index>(), 1..3)).prop_map(|(mut segments, rests)| {
            for rest in rests {
                let at = rest.index(segments.len() + 1);
                segments.insert(at, Segment::Rest);
            }
            segments
        });
    prop_oneof![vec(segment(), 1..4), with_rest]
        .prop_map(Model::Glob)
        .prop_filter("a glob", |model| spell(model).contains(['*', '?', '[', '{']))
}

fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof![letter(), Just('z')], 1..4)
        .prop_map(String::from_iter)
        .prop_filter("a name", |name| name != "." && name != "..")
}

fn literal() -> impl Strategy<Value = Model> {
    let symbol_name = prop_oneof![Just("A"), Just("AB"), Just("B"), Just("a!")].prop_map(str::to_owned);
    let symbol = prop_oneof![
        2 => vec(symbol_name, 1..4),
        1 => Just(vec!["@top".to_owned()]),
    ];
    prop_oneof![
        3 => (vec(name(), 1..4), prop::option::of(symbol))
            .prop_map(|(path, symbol)| Model::File { path, symbol }),
        2 => vec(name(), 0..3).prop_map(Model::Directory),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![3 => glob(), 2 => literal()]
}

/// Two addresses that often have to do with one another.
fn pair() -> impl Strategy<Value = (Model, Model)> {
    fn below(one: Model, other: Model) -> (Model, Model) {
        // The same start, so that literal pairs are not almost always disjoint.
        let start = match &one {
            Model::File { path, .. } | Model::Directory(path) => path.clone(),
            Model::Glob(_) => return (one, other),
        };
        let other = match other {
            Model::File { symbol, .. } => Model::File { path: start, symbol },
            Model::Directory(path) if start.len() < 3 && path.is_empty() => Model::Directory(start),
            other => other,
        };
        let is_empty_file = matches!(&other, Model::File { path, .. } if path.is_empty());
        if is_empty_file { (one.clone(), one) } else { (one, other) }
    }
    prop_oneof![
        8 => (model(), model()),
        1 => (literal(), literal()).prop_map(|(one, other)| below(one, other)),
    ]
}

// ---- properties ----

#[test]
fn overlap_is_what_brute_force_finds() {
    let names = all_names();
    let (mut hits, mut globs) = (0_u32, 0_u32);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let counts = std::cell::RefCell::new((&mut hits, &mut globs));
    runner
        .run(&pair(), |(one, other)| {
            let expected = overlaps(&one, &other, &names);
            let (left, right) = (resolve(&spell(&one)), resolve(&spell(&other)));
            let mut counts = counts.borrow_mut();
            *counts.0 += u32::from(expected);
            *counts.1 += u32::from(left.kind() == AddressKind::Glob && right.kind() == AddressKind::Glob);
            prop_assert_eq!(left.overlaps(&right), expected, "{} and {}", &left, &right);
            prop_assert_eq!(right.overlaps(&left), expected, "{} and {}", &right, &left);
            Ok(())
        })
        .unwrap();
    // The comparison is worth something only if both answers are common.
    assert!(hits > CASES / 10 && hits < CASES * 9 / 10, "{hits} of {CASES} overlap");
    assert!(globs > CASES / 5, "{globs} of {CASES} are pairs of globs");
}

proptest! {
    #![proptest_config(Config { cases: 4096, failure_persistence: None, ..Config::default() })]

    #[test]
    fn what_matches_anything_overlaps_itself(model in model()) {
        let address = resolve(&spell(&model));
        let matches_anything = address.overlaps(&resolve("./"));
        prop_assert!(matches_anything || address.kind() == AddressKind::Glob);
        prop_assert_eq!(address.overlaps(&address), matches_anything);
        prop_assert_eq!(address.overlaps(&address.clone()), matches_anything);
    }

    #[test]
    fn canonical_text_stays_as_it_is(model in model()) {
        let address = resolve(&spell(&model));
        prop_assert_eq!(&resolve(address.as_str()), &address);
        prop_assert_eq!(&address.as_str().parse::<Address>().unwrap(), &address);
    }

    /// Any text at all: what is accepted is canonical from then on, and no text is a panic.
    #[test]
    fn any_text_is_refused_or_canonical(
        text in prop_oneof![
            "\\PC{0,12}",
            "[ab*?\\[\\]{},!^\\\\:./@\u{301}e\u{344}\u{958}-]{0,16}",
        ],
    ) {
        if let Ok(resolved) = Address::resolve(&text, &Place::top("/t"), &NoTree) {
            let address = resolved.address;
            prop_assert_eq!(&resolve(address.as_str()), &address);
            prop_assert_eq!(&address.as_str().parse::<Address>().unwrap(), &address);
            prop_assert!(address.kind() == AddressKind::Glob || address.overlaps(&address));
            // The strict reader accepts this spelling if and only if it is the canonical one.
            prop_assert_eq!(text.parse::<Address>().is_ok(), address.as_str() == text);
        } else {
            prop_assert!(text.parse::<Address>().is_err());
        }
    }

    #[test]
    fn files_known_literally_keep_their_path(path in "[ab*?\\[\\]{},!^\\\\:.@# é-]{1,6}(/[a:*\\\\\\[]{1,3}){0,2}") {
        if let Ok(file) = Address::of_file(&path) {
            prop_assert_eq!(file.kind(), AddressKind::File);
            prop_assert_eq!(file.literal_path().map(str::len), Some(path.strip_prefix("./").unwrap_or(&path).len()));
            let read: Address = file.as_str().parse().unwrap();
            prop_assert_eq!(&read, &file);
            prop_assert_eq!(read.literal_path(), file.literal_path());
            prop_assert_eq!(&resolve(file.as_str()), &file);
            let symbol = file.with_symbol("A.b").unwrap();
            prop_assert_eq!(&symbol.as_str().parse::<Address>().unwrap(), &symbol);
            prop_assert_eq!(symbol.literal_path(), file.literal_path());
            prop_assert!(symbol.overlaps(&file) && file.overlaps(&symbol));
        }
    }

    /// One place of a tree has one address, however it is spelled.
    #[test]
    fn spelling_does_not_matter(
        current in prop_oneof![Just(vec![]), Just(vec!["src"]), Just(vec!["src", "café"])],
        target in prop::sample::select(&["", "src", "src/café", "src/café/a.py", "new", "src/new/x", "src/*.py", "src/{a,b}/**"][..]),
        noise in vec(prop::sample::select(&[".", "", "src/..", "src/café/../..", "loop", "absolute/.."][..]), 0..3),
        spelling in 0..4,
        is_decomposed in any::<bool>(),
    ) {
        let place = Place::new("/work/tree", current.iter().copied());
        let canonical = Address::resolve(if target.is_empty() { "." } else { target }, &Place::top("/work/tree"), &Sample).unwrap().address;
        let noisy: Vec<&str> = noise.iter().copied().chain((!target.is_empty()).then_some(target)).collect();
        let below = noisy.join("/");
        let up = "../".repeat(current.len());
        let mut spelled = match spelling {
            0 => format!("/work/tree/{below}"),
            1 => format!("./{up}{below}"),
            2 => format!("{up}absolute/../{}", below.trim_start_matches('/')),
            _ => format!("{up}./{below}"),
        };
        if is_decomposed {
            spelled = spelled.replace('é', "e\u{301}");
        }
        let resolved = Address::resolve(&spelled, &place, &Sample).unwrap().address;
        prop_assert_eq!(&resolved, &canonical, "{}", &spelled);
    }
}

/// A tree with directories and symlinks, in which both spellings of `é` are found, as on macOS.
struct Sample;

impl Tree for Sample {
    fn entry(&self, segments: &[String]) -> io::Result<Option<Entry>> {
        let directories: BTreeSet<&str> = ["src", "src/café"].into();
        let path = segments.join("/").replace("e\u{301}", "é");
        Ok(match path.as_str() {
            "loop" => Some(Entry::Symlink(".".to_owned())),
            "absolute" => Some(Entry::Symlink("/work/tree/src".to_owned())),
            "src/café/a.py" => Some(Entry::File),
            other => directories.contains(other).then_some(Entry::Directory),
        })
    }
}
