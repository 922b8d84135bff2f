//! How long it takes to tell what an edit touches, and which step of it how long: medians, in microseconds, over edits of
//! one word at places all over each file. A file below 950 lines is repeated until it has them.
//!
//! `cargo run --release -p muse-symbols --example stages -- [--once] FILE...`
//!
//! With `--once`, one edit of each and nothing printed: for `perf stat` or `valgrind --tool=callgrind`, whose counts of
//! instructions are the same on a busy machine.

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::io::{self, Write as _};
use std::time::{Duration, Instant};
use std::{env, fs};

use imara_diff::{Algorithm, Diff, InternedInput};
use muse_symbols::{Detail, Language, Limits, Outline, outline, touched};
use tree_sitter::{InputEdit, Parser, Point, Tree};

const LINES_MIN: usize = 950;
const PLACES: usize = 20;

fn main() -> io::Result<()> {
    let (options, files): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let mut out = io::stdout().lock();
    if options.is_empty() {
        writeln!(
            out,
            "{:>6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "lines", "parse", "walk", "diff", "parse 2", "rest", "all", "p95"
        )?;
    }
    for file in files {
        let Some(language) = Language::of_path(&file) else { continue };
        let mut text = fs::read(&file)?;
        while text.split(|byte| *byte == b'\n').count() < LINES_MIN {
            text.extend(text.clone());
        }
        if !options.is_empty() {
            touched(Some(&text), Some(&edited(&text, 1, 2)), Some(language), &Limits::default());
            continue;
        }
        let (mut parse, mut walk, mut diff, mut second, mut all) = (vec![], vec![], vec![], vec![], vec![]);
        let faults = read(&text, language).faults;
        for place in 0..PLACES {
            let new = edited(&text, place, PLACES);
            // Where a word of the language itself is hit, nothing is reused.
            if read(&new, language).faults != faults {
                continue;
            }
            let mut tree = None;
            parse.push(timed(|| tree = parsed(&text, language, None)));
            walk.push(timed(|| read(&text, language)));
            diff.push(timed(|| diff_lines(&text, &new)));
            if let Some(tree) = &mut tree {
                tree.edit(&input_edit(&text, &new));
            }
            second.push(timed(|| parsed(&new, language, tree.as_ref())));
            all.push(timed(|| touched(Some(&text), Some(&new), Some(language), &Limits::default())));
        }
        let p95 = quantile(&mut all, 95);
        let [parse, walk, diff, second, all] =
            [parse, walk, diff, second, all].map(|mut times| quantile(&mut times, 50));
        let walk = walk.saturating_sub(parse);
        let rest = all.saturating_sub(parse + 2 * walk + diff + second);
        let times = [parse, walk, diff, second, rest, all, p95].map(|time| time.as_micros());
        let lines = text.split(|byte| *byte == b'\n').count();
        let columns: Vec<String> = times.iter().map(|time| format!("{time:>7}")).collect();
        writeln!(out, "{lines:>6} {} {file}", columns.join(" "))?;
    }
    Ok(())
}

fn read(text: &[u8], language: Language) -> Outline {
    outline(text, language, Detail::Spans, &Limits::default()).unwrap_or(Outline {
        language,
        symbols: Vec::new(),
        references: Vec::new(),
        faults: 0,
    })
}

/// The text with a letter more in the first word of four letters or more, from one of `places` on.
fn edited(text: &[u8], place: usize, places: usize) -> Vec<u8> {
    let from = text.len() * place / places;
    let mut letters = 0;
    let at = text[from..].iter().position(|byte| {
        letters = if byte.is_ascii_lowercase() { letters + 1 } else { 0 };
        letters == 4
    });
    let at = at.map_or(from, |at| from + at);
    [&text[..at], b"q", &text[at..]].concat()
}

fn parsed(text: &[u8], language: Language, before: Option<&Tree>) -> Option<Tree> {
    let grammar = match language {
        Language::Go => tree_sitter_go::LANGUAGE,
        Language::Java => tree_sitter_java::LANGUAGE,
        Language::JavaScript => tree_sitter_javascript::LANGUAGE,
        Language::Python => tree_sitter_python::LANGUAGE,
        Language::Rust => tree_sitter_rust::LANGUAGE,
        Language::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
        Language::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
        _ => return None,
    };
    let mut parser = Parser::new();
    parser.set_language(&grammar.into()).ok()?;
    parser.parse(text, before)
}

/// The edit of one byte.
fn input_edit(old: &[u8], new: &[u8]) -> InputEdit {
    let at = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let row = old[..at].split(|byte| *byte == b'\n').count() - 1;
    let column = old[..at].iter().rev().take_while(|byte| **byte != b'\n').count();
    InputEdit {
        start_byte: at,
        old_end_byte: at,
        new_end_byte: at + 1,
        start_position: Point { row, column },
        old_end_position: Point { row, column },
        new_end_position: Point { row, column: column + 1 },
    }
}

fn diff_lines(old: &[u8], new: &[u8]) -> usize {
    let mut input = InternedInput::default();
    input.update_before(old.split_inclusive(|byte| *byte == b'\n'));
    input.update_after(new.split_inclusive(|byte| *byte == b'\n'));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    diff.hunks().count()
}

fn timed<T>(step: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    let result = step();
    let time = begun.elapsed();
    drop(result);
    time
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
