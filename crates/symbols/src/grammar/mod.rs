//! What the languages differ in: which nodes of their trees are symbols, references, comments.

use tree_sitter::Node;

use crate::outline::{Kind, ReferenceKind};

pub(crate) mod python;

/// One language.
pub(crate) struct Grammar {
    pub(crate) language: fn() -> tree_sitter::Language,
    /// What a named node is. Called once for each, from the outside in.
    pub(crate) look: for<'t> fn(Node<'t>, &Surroundings<'_>) -> Look<'t>,
    /// What a named node refers to, if it is a reference.
    pub(crate) reference: fn(Node<'_>, &[u8]) -> Option<Referred>,
    /// What a node of this kind is to the symbol that stands right below it.
    pub(crate) attachment: fn(&str) -> Attachment,
}

/// Where a node stands.
pub(crate) struct Surroundings<'a> {
    pub(crate) source: &'a [u8],
    /// The kind of the innermost symbol around it.
    pub(crate) enclosing: Option<Kind>,
}

/// What a node is.
pub(crate) enum Look<'t> {
    Symbol(Found<'t>),
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

/// What stands above a symbol and belongs to it, if no empty line is between them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Part of the declaration (`#[test]`).
    Attribute,
    Comment,
    None,
}

/// A reference as its node tells it.
pub(crate) struct Referred {
    pub(crate) name: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) kind: ReferenceKind,
}

/// The text of a node; `None` where it is not UTF-8, or cannot be a name in an address.
pub(crate) fn name(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    let text = node?.utf8_text(source).ok()?;
    let fits = |c: char| !matches!(c, '.' | ':') && !c.is_whitespace() && !c.is_control();
    (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
}

/// The text of a node as it is written.
pub(crate) fn text(node: Node<'_>, source: &[u8]) -> String {
    String::from_utf8_lossy(source.get(node.byte_range()).unwrap_or_default()).into_owned()
}
