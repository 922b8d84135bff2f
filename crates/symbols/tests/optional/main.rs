//! What is particular to the languages that are behind features: one module for each that this build knows.

#![cfg(any(
    feature = "bash",
    feature = "c",
    feature = "cpp",
    feature = "csharp",
    feature = "kotlin",
    feature = "php",
    feature = "ruby",
    feature = "scala",
    feature = "swift"
))]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

#[cfg(feature = "bash")]
mod bash;
#[cfg(feature = "c")]
mod c;
#[cfg(feature = "cpp")]
mod cpp;
#[cfg(feature = "csharp")]
mod csharp;
#[cfg(feature = "kotlin")]
mod kotlin;
#[cfg(feature = "php")]
mod php;
#[cfg(feature = "ruby")]
mod ruby;
#[cfg(feature = "scala")]
mod scala;
#[cfg(feature = "swift")]
mod swift;

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

/// Checks the hashes of `symbol` in four texts: one, the same with other white space and comments, one with another body,
/// and one with another signature.
#[cfg(any(feature = "bash", feature = "kotlin", feature = "scala", feature = "swift"))]
fn check_hashes(language: Language, symbol: &str, texts: [&str; 4]) {
    let [first, spaced, body, signature] = texts.map(|text| {
        let symbols = read(language, text).symbols;
        symbols.into_iter().find(|its| its.qualified == symbol).unwrap().hashes.unwrap()
    });
    assert_eq!(first, spaced);
    assert_eq!((first.signature == body.signature, first.body == body.body), (true, false));
    assert_eq!((first.signature == signature.signature, first.body == signature.body), (false, true));
}
