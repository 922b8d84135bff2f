//! Random edits of real sources: Python's own library, the Rust crates of this build, and what lies in this repository.
//!
//! The edits of the first test are such that there is only one way to compare the two texts: what is touched has to be
//! exactly what their places say, which are known and not found by a diff. Those of the second are of any kind: copies,
//! moves, repeated lines. They have to keep the [`invariants`].

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a helper does not expect fails the test"
)]

mod invariants;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use muse_symbols::{Detail, Language, Limits, Outline, Part, Touched, outline, touched};

/// `SplitMix64`: the same edits on every machine that has the same sources.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

struct Source {
    text: Vec<u8>,
    language: Language,
}

/// Files of the languages that this build knows, of a size that people write.
fn sources() -> Vec<Source> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    folders.extend(python_library());
    folders.extend(crates());
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_symlink() {
                continue;
            }
            if !path.is_dir() {
                files.push(path);
            } else if !path.ends_with("site-packages") && !path.ends_with("dist-packages") {
                folders.push(path);
            }
        }
    }
    files.sort();
    files.dedup();
    let read = |path: PathBuf| {
        let language = Language::of_path(path.to_str()?)?;
        let text = fs::read(path).ok()?;
        ((500..60_000).contains(&text.len())).then_some(Source { text, language })
    };
    let sources: Vec<Source> = files.into_iter().filter_map(read).collect();
    for language in [Language::Python, Language::Rust] {
        let count = of(&sources, language).len();
        assert!(count > 300, "only {count} sources of {}", language.name());
    }
    sources
}

/// How often the text of each language is edited.
const EDITS_OF_EACH: usize = 10;

fn of(sources: &[Source], language: Language) -> Vec<&Source> {
    sources.iter().filter(|source| source.language == language).collect()
}

/// The folders of the crates that this one is built from.
fn crates() -> Vec<PathBuf> {
    let printed = |program: &str, arguments: &[&str]| {
        #[expect(clippy::disallowed_methods, reason = "only Cargo knows where they are")]
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    // Those of other systems are not on this machine.
    let version = printed("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let metadata = printed(
        env!("CARGO"),
        &[
            "metadata",
            "--format-version=1",
            "--offline",
            "--locked",
            "--filter-platform",
            host,
            "--manifest-path",
            manifest,
        ],
    );
    // No crate's folder has a quote or a backslash in its name where tests are run.
    let manifests = metadata.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let folders = manifests.filter_map(|path| Path::new(path).parent()).map(Path::to_owned);
    folders.filter(|folder| folder.join("src").is_dir()).map(|folder| folder.join("src")).collect()
}

fn python_library() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "only Python knows where its library is")]
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", "import sysconfig; print(sysconfig.get_paths()['stdlib'])"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn read(source: &[u8], language: Language) -> Outline {
    outline(source, language, Detail::Spans, &Limits::default()).expect("it can be read")
}

fn parts(old: &[u8], new: &[u8], language: Language) -> BTreeSet<Part> {
    match touched(Some(old), Some(new), Some(language), &Limits::default()) {
        Touched::Parts(parts) => parts,
        Touched::Whole(why) => panic!("{why}"),
    }
}

/// A text, cut at the ends of its lines.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A new text, and which ranges of both are not of the other one.
#[derive(Default)]
struct Edited {
    text: Vec<u8>,
    old: Vec<Range<usize>>,
    new: Vec<Range<usize>>,
}

impl Edited {
    /// Adds what replaces `old`, where `kept` was not looked at yet.
    fn replace(&mut self, source: &[u8], kept_from: usize, old: Range<usize>, new: &[u8]) {
        self.text.extend(&source[kept_from..old.start]);
        self.new.push(self.text.len()..self.text.len() + new.len());
        self.text.extend(new);
        self.old.push(old);
    }

    /// What is touched, by the symbols around each byte.
    fn expected(&self, source: &[u8], before: &Outline, after: &Outline) -> BTreeSet<Part> {
        let outlines = [before, after];
        let before = invariants::names_by_byte(before, source);
        let after = invariants::names_by_byte(after, &self.text);
        let mut expected = BTreeSet::new();
        for (text, names, ranges) in [(source, &before, &self.old), (&self.text, &after, &self.new)] {
            let marks = ranges.iter().cloned().flatten().filter(|at| !text[*at].is_ascii_whitespace());
            expected.extend(marks.map(|at| names[at]));
        }
        let kept = [kept(source, &self.old), kept(&self.text, &self.new)];
        assert_eq!(kept[0].len(), kept[1].len());
        for (old, new) in kept[0].iter().zip(&kept[1]) {
            if before[*old] != after[*new] {
                expected.extend([before[*old], after[*new]]);
            }
        }
        let mut expected = expected.into_iter().map(invariants::part).collect();
        for outline in outlines {
            invariants::add_names_beside(&mut expected, outline);
        }
        expected
    }
}

/// The places of what is no white space, and not in `ranges`, which are in order.
fn kept(text: &[u8], ranges: &[Range<usize>]) -> Vec<usize> {
    let starts = [0].into_iter().chain(ranges.iter().map(|range| range.end));
    let ends = ranges.iter().map(|range| range.start).chain([text.len()]);
    let places = starts.zip(ends).flat_map(|(start, end)| start..end);
    places.filter(|at| !text[*at].is_ascii_whitespace()).collect()
}

/// A call, as a statement of its own.
fn call(language: Language, word: &str) -> String {
    let end = if matches!(language, Language::Python | Language::Go) { "" } else { ";" };
    format!("{word}(){end}")
}

/// An assignment.
fn assignment(language: Language, word: &str) -> String {
    match language {
        Language::Python => format!("{word} = {word}"),
        Language::Go => format!("{word} := {word}"),
        Language::Java => format!("var {word} = {word};"),
        _ => format!("let {word} = {word};"),
    }
}

/// The lines of a function, or of what comes nearest to one.
fn function(language: Language, word: &str) -> [String; 3] {
    let (head, body, end) = match language {
        Language::Python => (format!("def {word}(x):"), "return x", ""),
        Language::Rust => (format!("fn {word}(x: u8) -> u8 {{"), "x", "}"),
        Language::Go => (format!("func {word}(x int) int {{"), "return x", "}"),
        Language::Java => (format!("int {word}(int x) {{"), "return x;", "}"),
        _ => (format!("function {word}(x) {{"), "return x;", "}"),
    };
    [head, format!("    {body}"), end.to_owned()]
}

/// Some edits at random lines, each of which can only be where it is: what is put in, and what is taken away, is not
/// anywhere else in the text, and there is at least one unchanged line between two edits.
fn unambiguous_edits(Source { text: source, language }: &Source, dice: &mut Dice) -> Edited {
    let lines = lines(source);
    let mut times: HashMap<&[u8], usize> = HashMap::new();
    for line in &lines {
        *times.entry(line).or_default() += 1;
    }
    let starts: Vec<usize> = lines
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end - line.len())
        })
        .collect();
    let mut edited = Edited::default();
    let mut kept_from = 0;
    let mut at = 0;
    let share = 1 + lines.len() / (1 + dice.below(5));
    loop {
        at += 2 + dice.below(share);
        let Some(line) = lines.get(at) else { break };
        let start = starts[at];
        let indentation = line.iter().take_while(|byte| **byte == b' ').count();
        // A letter in every language here; the only place of it is this.
        let word = format!("µ{}µ", dice.below(1_000_000));
        let is_only = times[line] == 1 && !line.trim_ascii().is_empty() && line.ends_with(b"\n");
        let space = " ".repeat(indentation);
        match dice.below(6) {
            0 => {
                let count = 1 + dice.below(3);
                let new = (0..count).map(|n| format!("{space}{}\n", call(*language, &format!("{word}{n}"))));
                edited.replace(source, kept_from, start..start, new.collect::<String>().as_bytes());
                kept_from = start;
            }
            1 => {
                // Where a language has no end of a function, the last line is empty.
                let new =
                    function(*language, &word).map(|line| format!("{space}{line}\n").replace("  \n", "\n"));
                edited.replace(source, kept_from, start..start, new.concat().as_bytes());
                kept_from = start;
            }
            2 if is_only => {
                let count =
                    lines[at..].iter().take(1 + dice.below(4)).take_while(|line| times[*line] == 1).count();
                let end = start + lines[at..at + count].concat().len();
                edited.replace(source, kept_from, start..end, b"");
                (kept_from, at) = (end, at + count);
            }
            3 if is_only => {
                let new = format!("{space}{}\n", assignment(*language, &word));
                edited.replace(source, kept_from, start..start + line.len(), new.as_bytes());
                kept_from = start + line.len();
            }
            4 if is_only => {
                let place = start + indentation + dice.below(line.len() - indentation);
                edited.replace(source, kept_from, place..place, word.as_bytes());
                kept_from = place;
            }
            5 if is_only => {
                let place = start + indentation + dice.below(line.len() - indentation - 1);
                let end = place + 1 + dice.below(start + line.len() - 1 - place);
                edited.replace(source, kept_from, place..end, word.as_bytes());
                kept_from = end;
            }
            _ => {}
        }
    }
    edited.text.extend(&source[kept_from..]);
    edited
}

#[test]
fn what_random_edits_touch_is_what_their_places_say() {
    let sources = sources();
    let mut dice = Dice(4);
    for (language, least) in [
        (Language::Python, 500),
        (Language::Rust, 500),
        (Language::Go, 100),
        (Language::Java, 100),
        (Language::JavaScript, 100),
        (Language::Tsx, 100),
        (Language::TypeScript, 100),
    ] {
        let sources = of(&sources, language);
        let (mut edits, mut texts, mut parts_told, mut faulty) = (0, 0, 0, 0);
        while edits < least {
            let source = dice.of(&sources);
            let text = &source.text;
            let edited = unambiguous_edits(source, &mut dice);
            let (before, after) = (read(text, language), read(&edited.text, language));
            if before.faults == after.faults {
                let told = parts(text, &edited.text, language);
                let expected = edited.expected(text, &before, &after);
                assert_eq!(told, expected, "{}", String::from_utf8_lossy(&edited.text));
                texts += 1;
                edits += edited.old.len();
                parts_told += told.len();
            } else {
                // What a fault hides is for the recovery to say.
                invariants::hold(text, &edited.text, language);
                faulty += 1;
            }
        }
        println!(
            "{}, {} sources: {edits} edits in {texts} texts touch {parts_told} parts; {faulty} more texts have more \
             faults on one side",
            language.name(),
            sources.len()
        );
    }
}

/// Some edits of any kind, at random lines.
fn any_edits(source: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut text: Vec<Vec<u8>> = lines(source).into_iter().map(<[u8]>::to_vec).collect();
    for _ in 0..=dice.below(4) {
        let from = dice.below(text.len());
        let to = (from + 1 + dice.below(12)).min(text.len());
        let place = dice.below(text.len() + 1);
        match dice.below(8) {
            0 => drop(text.drain(from..to)),
            // A copy, beside or elsewhere.
            1 => text.insert(to, text[from].clone()),
            2 => drop(text.splice(to..to, text[from..to].to_vec())),
            3 => drop(text.splice(place..place, text[from..to].to_vec())),
            // A move.
            4 => {
                let moved: Vec<_> = text.drain(from..to).collect();
                let place = dice.below(text.len() + 1);
                text.splice(place..place, moved);
            }
            5 => text.insert(place, b"\n".to_vec()),
            6 => text[from..to].iter_mut().for_each(|line| drop(line.splice(0..0, *b"    "))),
            _ => {
                let line = &mut text[from];
                let at = dice.below(line.len() + 1);
                line.splice(at..(at + dice.below(3)).min(line.len()), b"(x"[..dice.below(3)].to_vec());
            }
        }
        if text.is_empty() {
            break;
        }
    }
    text.concat()
}

#[test]
fn edits_of_any_kind_keep_the_invariants() {
    let sources = sources();
    let mut dice = Dice(44);
    for _ in 0..200 {
        let Source { text, language } = dice.of(&sources);
        invariants::hold(text, &any_edits(text, &mut dice), *language);
    }
}

#[test]
fn edits_in_each_language_keep_the_invariants() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut languages = BTreeSet::new();
    let mut dice = Dice(4444);
    for path in paths {
        let Some(language) = Language::of_path(path.to_str().unwrap()) else { continue };
        let text = fs::read(path).unwrap();
        let crlf = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n").into_bytes();
        for text in [&text, &crlf] {
            for _ in 0..EDITS_OF_EACH / 2 {
                invariants::hold(text, &any_edits(text, &mut dice), language);
            }
            // As it is while it is being written.
            invariants::hold(text, &text[..dice.below(text.len())], language);
        }
        languages.insert(language);
    }
    assert_eq!(languages, Language::ALL.iter().copied().collect());
}

/// The symbols that no other one of their text is named like, and that stand on lines of their own: they can be put in
/// and taken away.
fn whole_symbols(outline: &Outline, text: &[u8]) -> Vec<usize> {
    let is_whole = |place: &usize| {
        let symbol = &outline.symbols[*place];
        let bytes = &symbol.extent.bytes;
        let indentation = text[..bytes.start].iter().rev().take_while(|byte| **byte == b' ').count();
        let begins_a_line = text[..bytes.start - indentation].last().is_none_or(|before| *before == b'\n');
        let ends_a_line = text.get(bytes.end) == Some(&b'\n') || text[..bytes.end].last() == Some(&b'\n');
        let is_only =
            |name: &str| outline.symbols.iter().filter(|other| other.qualified == name).count() == 1;
        begins_a_line && ends_a_line && is_only(&symbol.qualified)
    };
    (0..outline.symbols.len()).filter(is_whole).collect()
}

#[test]
fn a_symbol_that_is_taken_away_or_put_back_touches_only_itself() {
    let sources = sources();
    let mut dice = Dice(444);
    let mut count = 0;
    while count < 200 {
        let Source { text, language } = dice.of(&sources);
        let before = read(text, *language);
        let whole = whole_symbols(&before, text);
        if whole.is_empty() {
            continue;
        }
        let gone = &before.symbols[*dice.of(&whole)];
        let mut rest: Vec<&[u8]> = lines(text);
        rest.drain(gone.extent.lines.start() - 1..*gone.extent.lines.end());
        let rest = rest.concat();
        let after = read(&rest, *language);
        let below = format!("{}.", gone.qualified);
        let is_gone = |name: &str| name == gone.qualified || name.starts_with(&below);
        let names = |outline: &Outline| -> Vec<String> {
            let names = outline.symbols.iter().map(|symbol| symbol.qualified.clone());
            names.filter(|name| !is_gone(name)).collect()
        };
        if before.faults != after.faults || names(&before) != names(&after) {
            continue;
        }
        let own = [invariants::own_texts(&before, text), invariants::own_texts(&after, &rest)];
        let differ = invariants::parts_that_differ(&own[0], &own[1]);
        let expected: BTreeSet<Part> = before
            .symbols
            .iter()
            .map(|symbol| &symbol.qualified)
            .filter(|name| is_gone(name))
            .cloned()
            .map(Part::Symbol)
            .collect();
        // A block that is empty now is a fault, or it is where something else belonged.
        if differ != expected {
            continue;
        }
        let told = invariants::hold(text, &rest, *language).expect("it can be read");
        assert_eq!(told, expected, "without {}", gone.qualified);
        count += 1;
    }
}
