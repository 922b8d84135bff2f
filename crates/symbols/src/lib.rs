//! Source text to symbols and references, by tree-sitter.
//!
//! Knows nothing of reservations, files or processes: bytes in, values out.
//!
//! ```
//! use muse_symbols::{Detail, Language, Limits, outline};
//!
//! let source = b"class Invoice:\n    def total(self):\n        return 1\n";
//! let outline = outline(source, Language::Python, Detail::Spans, &Limits::default())?;
//! let names: Vec<&str> = outline.symbols.iter().map(|symbol| symbol.qualified.as_str()).collect();
//! assert_eq!(names, ["Invoice", "Invoice.total"]);
//! assert!(outline.is_clean());
//! # Ok::<(), muse_symbols::Unread>(())
//! ```
//!
//! # Names
//!
//! A symbol is named as the source names it, below the symbols around it. What has no name, or one that an address cannot
//! carry (with white space, `:` or `.`, or `@top`), is no symbol, and its text belongs to the symbol around it:
//! initialisers, anonymous classes, `_`. A block of methods is named as its type (`impl fmt::Display for &m::Invoice<T>`
//! is `Invoice`), a Go method and a Kotlin extension stand in their receiver's type, and a Java constructor is named as
//! its class. Backticks around a name are no part of it.
//!
//! # Limitations
//!
//! What a macro is given (`thread_local! { ... }`) is not read: neither symbols nor calls in it are told.
//! Names are read off the text: what a macro or a decorator makes at compile time or at run time is not seen.

mod deadline;
mod grammar;
mod hashes;
mod language;
mod outline;
mod touched;

pub use self::language::Language;
pub use self::outline::{
    Detail, Kind, Limits, Outline, Reference, ReferenceKind, Span, Symbol, SymbolHashes, Unread, outline,
};
pub use self::touched::{Part, Touched, Why, touched};
