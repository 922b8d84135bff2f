//! What is particular to the languages that are behind features: one module for each that this build knows.

#![cfg(any(feature = "c", feature = "cpp"))]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

#[cfg(feature = "c")]
mod c;

use muse_symbols::{Detail, Language, Limits, Outline, ReferenceKind, outline};

fn read(language: Language, source: &str) -> Outline {
    outline(source.as_bytes(), language, Detail::Full, &Limits::default()).unwrap()
}

/// Each symbol as `Kind name`, in one line.
#[track_caller]
fn symbols(language: Language, source: &str) -> String {
    let outline = read(language, source);
    assert!(outline.is_clean(), "{source}: {outline:?}");
    let told: Vec<String> =
        outline.symbols.iter().map(|symbol| format!("{:?} {}", symbol.kind, symbol.qualified)).collect();
    told.join(", ")
}

/// Each reference of a kind as `qualifier|name`, in one line.
#[track_caller]
fn references(language: Language, kind: ReferenceKind, source: &str) -> String {
    let outline = read(language, source);
    assert!(outline.is_clean(), "{source}: {outline:?}");
    let references = outline.references.into_iter().filter(|reference| reference.kind == kind);
    let told: Vec<String> = references
        .map(|reference| match reference.qualifier {
            Some(qualifier) => format!("{qualifier}|{}", reference.name),
            None => reference.name,
        })
        .collect();
    told.join(" ")
}
