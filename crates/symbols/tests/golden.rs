//! Outlines of texts that show what a language can do, against what people read in them.
//!
//! `golden/<language>.txt` has a line for each symbol: its kind, qualified name, and the lines of its extent, its whole
//! and its body.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::path::Path;

use muse_symbols::{Detail, Language, Limits, Span, Symbol, outline};

fn lines(span: Option<&Span>) -> String {
    span.map_or_else(|| "-".to_owned(), |span| format!("{}-{}", span.lines.start(), span.lines.end()))
}

fn told(Symbol { kind, qualified, extent, whole, body, .. }: &Symbol) -> String {
    format!("{kind:?} {qualified} {} {} {}", lines(Some(extent)), lines(Some(whole)), lines(body.as_ref()))
}

/// Compares the outline of `golden/<file>` with what stands in the text file beside it.
fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let source = fs::read(&path).unwrap();
    let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    assert!(expected.len() >= 40, "{} symbols are few", expected.len());
    let language = Language::of_path(file).unwrap();
    let outline = outline(&source, language, Detail::Full, &Limits::default()).unwrap();
    let told: Vec<String> = outline.symbols.iter().map(told).collect();
    for (at, (told, expected)) in told.iter().zip(&expected).enumerate() {
        assert_eq!(told, expected, "{file}, symbol {}", at + 1);
    }
    assert_eq!(told.len(), expected.len(), "{file}");
    assert!(outline.is_clean(), "{file} does not fit the grammar");
}

#[test]
fn javascript() {
    check("javascript.js");
}

#[test]
fn python() {
    check("python.py");
}

#[test]
fn tsx() {
    check("tsx.tsx");
}

#[test]
fn typescript() {
    check("typescript.ts");
}
