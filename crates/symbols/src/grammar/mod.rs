//! What the languages differ in: which nodes of their trees are symbols, references, comments.

use tree_sitter::Node;

use crate::outline::{Kind, ReferenceKind};

pub(crate) mod ecmascript;
pub(crate) mod go;
pub(crate) mod java;
pub(crate) mod python;
pub(crate) mod rust;

/// One language.
pub(crate) struct Grammar {
    pub(crate) language: fn() -> tree_sitter::Language,
    /// What a named node is. Called once for each that has others below it, from the outside in.
    pub(crate) look: for<'t> fn(Node<'t>, &Surroundings<'_>) -> Look<'t>,
    /// What a named node refers to, if it is a reference.
    pub(crate) reference: fn(Node<'_>, &Surroundings<'_>) -> Option<Referred>,
    /// What a named node is to the symbol that stands right below it. What is no extra of the grammar tells it by its
    /// kind alone.
    pub(crate) attachment: fn(Node<'_>) -> Attachment,
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

/// The longest qualifier, in bytes. Of a chain of calls each one's qualifier has all those before it.
const QUALIFIER_BYTES_MAX: usize = 256;

/// What stands before a name, as it is written; `None` where that is long.
pub(crate) fn qualifier(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    let text = source.get(node?.byte_range()).filter(|text| text.len() <= QUALIFIER_BYTES_MAX)?;
    Some(String::from_utf8_lossy(text).into_owned())
}
