//! What the languages differ in: which nodes of their trees are symbols, references, comments.

use std::ops::Range;

use tree_sitter::Node;

use crate::language::Language;
use crate::outline::{Kind, ReferenceKind, Unread};

#[cfg(feature = "bash")]
pub(crate) mod bash;
#[cfg(any(feature = "c", feature = "cpp"))]
pub(crate) mod c_family;
#[cfg(feature = "csharp")]
pub(crate) mod csharp;
pub(crate) mod ecmascript;
pub(crate) mod go;
pub(crate) mod java;
#[cfg(feature = "kotlin")]
pub(crate) mod kotlin;
#[cfg(feature = "php")]
pub(crate) mod php;
pub(crate) mod python;
#[cfg(feature = "ruby")]
pub(crate) mod ruby;
pub(crate) mod rust;
#[cfg(feature = "scala")]
pub(crate) mod scala;
#[cfg(feature = "swift")]
pub(crate) mod swift;

/// One language.
pub(crate) struct Grammar {
    pub(crate) language: fn() -> tree_sitter::Language,
    /// What a named node is. Called once for each that has others below it, from the outside in.
    pub(crate) look: for<'t> fn(Node<'t>, &Surroundings<'_>) -> Look<'t>,
    /// What a named node refers to, if it is a reference.
    pub(crate) reference: fn(Node<'_>, &Surroundings<'_>) -> Option<Referred>,
    /// What a node is to the symbol that stands right below it, or right before it. What is no extra of the grammar tells
    /// it by its kind alone.
    pub(crate) attachment: fn(Node<'_>) -> Attachment,
}

/// Why a text cannot be given to the grammar: its scanner, code that neither a limit of time nor anything else stops, would
/// not end or would end the process. Those of the other languages do neither, whatever the text.
pub(crate) fn refusal(source: &[u8], language: Language) -> Option<Unread> {
    match language {
        #[cfg(feature = "kotlin")]
        Language::Kotlin => kotlin::is_endless(source).then_some(Unread::TooSlow),
        Language::Python => python::is_deadly(source).then_some(Unread::Deadly),
        #[cfg(feature = "ruby")]
        Language::Ruby => ruby::is_deadly(source).then_some(Unread::Deadly),
        _ => None,
    }
}

/// Where a node stands.
pub(crate) struct Surroundings<'a> {
    pub(crate) source: &'a [u8],
    /// The kind of the innermost symbol around it.
    pub(crate) enclosing: Option<Kind>,
    /// The nodes around it, from the root to its parent.
    pub(crate) ancestors: &'a [Node<'a>],
}

impl<'a> Surroundings<'a> {
    pub(crate) fn parent(&self) -> Option<Node<'a>> {
        self.ancestors.last().copied()
    }
}

/// What a node is.
pub(crate) enum Look<'t> {
    Symbol(Found<'t>),
    /// One declaration of several names (`const a, b = 1, 2`): each is a symbol, and has all of the node.
    Symbols(Vec<Found<'t>>),
    /// None itself, and there may be some below it.
    Inside,
    /// There is none in it.
    Skip,
}

/// A symbol as its node tells it.
pub(crate) struct Found<'t> {
    /// Its name below the symbol around it: one, or several where the source writes a path (`func (t T) m()`).
    pub(crate) path: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) body: Option<Node<'t>>,
    /// A node below this one that is the same symbol, as the definition below its decorators.
    pub(crate) same: Option<Node<'t>>,
}

/// What stands beside a symbol and belongs to it: above it, if no empty line is between them, or right behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Part of the declaration (`#[test]`).
    Attribute,
    Comment,
    /// Ends the declaration, and the grammar has it behind that (`struct A { .. };`).
    #[allow(dead_code, reason = "not every build has a language with one")]
    End,
    None,
}

/// A reference as its node tells it.
pub(crate) struct Referred {
    pub(crate) name: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) kind: ReferenceKind,
}

/// What an address calls that which is in no symbol.
const TOP: &str = "@top";

/// The text of a node; `None` where it is not UTF-8, or cannot be a name in an address.
pub(crate) fn name(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    let text = node?.utf8_text(source).ok()?;
    let fits = |c: char| !matches!(c, '.' | ':') && !c.is_whitespace() && !c.is_control();
    (!text.is_empty() && text != TOP && text.chars().all(fits)).then(|| text.to_owned())
}

/// A name without the backticks that it can stand in.
#[cfg(any(feature = "kotlin", feature = "scala", feature = "swift"))]
pub(crate) fn unquoted(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    let name = name(node, source)?;
    let plain = name.trim_matches('`');
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// The first child of one of these kinds.
#[cfg(any(feature = "kotlin", feature = "scala", feature = "swift"))]
pub(crate) fn child<'t>(node: Node<'t>, kinds: &[&str]) -> Option<Node<'t>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).find(|child| kinds.contains(&child.kind()))
}

/// The longest qualifier, in bytes. Of a chain of calls each one's qualifier has all those before it.
const QUALIFIER_BYTES_MAX: usize = 256;

/// What stands before a name, as it is written; `None` where that is long.
pub(crate) fn qualifier(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    qualifier_in(node?.byte_range(), source)
}

fn qualifier_in(bytes: Range<usize>, source: &[u8]) -> Option<String> {
    let text = source.get(bytes).filter(|text| text.len() <= QUALIFIER_BYTES_MAX)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A reference to what `named` names.
#[cfg(any(feature = "kotlin", feature = "scala", feature = "swift"))]
pub(crate) fn referred(
    named: Node<'_>,
    before: Option<Node<'_>>,
    kind: ReferenceKind,
    source: &[u8],
) -> Option<Referred> {
    Some(Referred { name: name(Some(named), source)?, qualifier: qualifier(before, source), kind })
}

/// A reference to what the last one of the names in `node` names; names are its children of the kind `part`.
#[cfg(any(feature = "kotlin", feature = "swift"))]
pub(crate) fn referred_by_path(
    node: Node<'_>,
    part: &str,
    kind: ReferenceKind,
    source: &[u8],
) -> Option<Referred> {
    let mut cursor = node.walk();
    let mut parts = node.named_children(&mut cursor).filter(|its| its.kind() == part);
    let first = parts.next()?;
    let last = parts.last();
    let dot = last.and_then(|last| last.prev_sibling());
    let before = dot.and_then(|dot| qualifier_in(first.start_byte()..dot.start_byte(), source));
    Some(Referred { name: name(Some(last.unwrap_or(first)), source)?, qualifier: before, kind })
}
