//! The symbols of one source text, from one walk over its tree.

use std::ops::{ControlFlow, Range, RangeInclusive};
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Point, Tree};

use crate::grammar::{Attachment, Found, Grammar, Look, Referred, Surroundings};
use crate::hashes;
use crate::language::Language;

/// What a text consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The language that it was read in.
    pub language: Language,
    /// In the order in which they begin; what encloses others stands before them.
    pub symbols: Vec<Symbol>,
    /// In the order of the text. Empty unless asked for.
    pub references: Vec<Reference>,
    /// How many places do not fit the grammar. What stands around them is told as far as it can be.
    pub faults: usize,
}

impl Outline {
    /// Whether the whole text fits the grammar.
    pub const fn is_clean(&self) -> bool {
        self.faults == 0
    }
}

/// Something with a name that can be addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The last of its names.
    pub name: String,
    /// Its names from the outermost symbol to itself, joined by dots. Several symbols of a text may have the same one:
    /// overloads, blocks of methods, a property and its setter.
    pub qualified: String,
    /// What it is.
    pub kind: Kind,
    /// The symbol that it stands in, as a place in [`Outline::symbols`].
    pub parent: Option<usize>,
    /// With the comments right above it.
    pub extent: Span,
    /// The declaration, with its decorators or attributes.
    pub whole: Span,
    /// What the declaration encloses; `None` where there is none.
    pub body: Option<Span>,
    /// `None` unless asked for.
    pub hashes: Option<SymbolHashes>,
}

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the words that the languages use")]
pub enum Kind {
    Class,
    Constant,
    Constructor,
    Enum,
    Function,
    /// A block of methods of a type (`impl T`).
    Implementation,
    Interface,
    Macro,
    Method,
    Module,
    Record,
    Struct,
    Trait,
    TypeAlias,
    Union,
    Variable,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// In bytes from the beginning of the text.
    pub bytes: Range<usize>,
    /// From 1, the last one included.
    pub lines: RangeInclusive<usize>,
}

/// SHA-256 of what a symbol says, blind to white space and comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolHashes {
    /// Of all of it.
    pub content: [u8; 32],
    /// Of what is not its body.
    pub signature: [u8; 32],
    /// Of its body; of nothing where it has none.
    pub body: [u8; 32],
}

/// A place that names something which is, or could be, declared elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name that is referred to.
    pub name: String,
    /// What stands before it, as written: `self`, `module.Class`.
    pub qualifier: Option<String>,
    /// How.
    pub kind: ReferenceKind,
    /// Where.
    pub span: Span,
    /// The innermost symbol around it, as a place in [`Outline::symbols`].
    pub from: Option<usize>,
}

/// How a reference refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReferenceKind {
    /// It is called.
    Call,
    /// It is named otherwise: as a type, a base, a value.
    Use,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Names and places: what a guard needs on its way.
    Spans,
    /// Hashes and references too.
    Full,
}

/// What a text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest text, in bytes.
    pub bytes_max: usize,
    /// The longest time for parsing; `None` for no limit.
    pub time_max: Option<Duration>,
}

impl Limits {
    /// 1 MiB: above any source that people write, and a quarter of a second of parsing.
    pub const BYTES_MAX_DEFAULT: usize = 1024 * 1024;

    /// Whether a text is worth looking into.
    pub(crate) fn admit(&self, text: &[u8]) -> Result<(), Unread> {
        let Limits { bytes_max, .. } = *self;
        if text.len() > bytes_max {
            return Err(Unread::TooLarge { bytes: text.len(), bytes_max });
        }
        if text.contains(&0) { Err(Unread::Binary) } else { Ok(()) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: Limits::BYTES_MAX_DEFAULT, time_max: None }
    }
}

/// Why a text has no outline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is longer than the limit.
    #[error("it has {bytes} bytes, and at most {bytes_max} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Parsing took longer than the limit.
    #[error("it could not be parsed in time")]
    TooSlow,
    /// There is a NUL byte in it.
    #[error("it is no text")]
    Binary,
    /// The grammar is of another version than the parser.
    #[error("the grammar of {language:?} cannot be used")]
    Grammar {
        /// The language.
        language: Language,
    },
}

/// The symbols of `source`.
///
/// # Errors
///
/// When `source` is no text, or exceeds `limits`.
pub fn outline(
    source: &[u8],
    language: Language,
    detail: Detail,
    limits: &Limits,
) -> Result<Outline, Unread> {
    let tree = parse(source, language, None, limits)?;
    Ok(walk(source, language, &tree, detail))
}

/// The tree of `source`; `before` is that of an earlier text, edited to the places of this one.
pub(crate) fn parse(
    source: &[u8],
    language: Language,
    before: Option<&Tree>,
    limits: &Limits,
) -> Result<Tree, Unread> {
    limits.admit(source)?;
    let time_max = limits.time_max;
    let mut parser = Parser::new();
    parser.set_language(&(language.grammar().language)()).map_err(|_| Unread::Grammar { language })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "how long parsing takes, and no lease: no clock of a test decides it"
    )]
    let begun = Instant::now();
    let mut is_in_time = |_: &ParseState| match time_max {
        Some(time_max) if begun.elapsed() > time_max => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let options = ParseOptions::new().progress_callback(&mut is_in_time);
    let mut read = |at: usize, _: Point| source.get(at..).unwrap_or_default();
    parser.parse_with_options(&mut read, before, Some(options)).ok_or(Unread::TooSlow)
}

/// One depth of the tree, among whose nodes the walk is.
#[derive(Clone, Copy, Default)]
struct Level {
    /// What stands right above the next node and may belong to it.
    above: Option<Above>,
    /// The last line of the node before.
    last_row: Option<usize>,
}

#[derive(Clone, Copy)]
struct Above {
    start: (usize, usize),
    attribute: Option<(usize, usize)>,
    last_row: usize,
}

/// Goes over `tree` once, without recursion: a text can nest as deeply as it is long.
pub(crate) fn walk(source: &[u8], language: Language, tree: &Tree, detail: Detail) -> Outline {
    let grammar = language.grammar();
    let mut outline = Outline { language, symbols: Vec::new(), references: Vec::new(), faults: 0 };
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut levels = vec![Level::default()];
    let mut same = None;
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let depth = levels.len() - 1;
        while open.last().is_some_and(|(_, its)| *its >= depth) {
            open.pop();
        }
        outline.faults += usize::from(node.is_error() || node.is_missing());
        let parent = open.last().map(|(symbol, _)| *symbol);
        let mut is_walked = true;
        if node.is_named() {
            let enclosing = parent.and_then(|parent| outline.symbols.get(parent)).map(|symbol| symbol.kind);
            let look = if same == Some(node.id()) {
                Look::Inside
            } else {
                (grammar.look)(node, &Surroundings { source, enclosing })
            };
            match look {
                Look::Symbol(found) => {
                    same = found.same.map(|same| same.id());
                    let above = levels.last().and_then(|level| level.above);
                    open.push((outline.symbols.len(), depth));
                    let symbol = symbol(&outline.symbols, parent, node, &found, above);
                    outline.symbols.push(symbol);
                }
                Look::Inside => {}
                Look::Skip => is_walked = detail == Detail::Full || node.has_error(),
            }
            if detail == Detail::Full
                && let Some(Referred { name, qualifier, kind }) = (grammar.reference)(node, source)
            {
                let from = open.last().map(|(symbol, _)| *symbol);
                outline.references.push(Reference { name, qualifier, kind, span: span(node), from });
            }
            if let Some(level) = levels.last_mut() {
                level.pass(node, grammar);
            }
        }
        if is_walked && cursor.goto_first_child() {
            levels.push(Level::default());
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                if detail == Detail::Full {
                    hashes::add(&mut outline.symbols, tree, source, grammar);
                }
                return outline;
            }
            levels.pop();
        }
    }
}

impl Level {
    /// Takes note of a node that the walk has come to.
    fn pass(&mut self, node: Node<'_>, grammar: &Grammar) {
        let start = (node.start_byte(), node.start_position().row);
        let attachment = (grammar.attachment)(node.kind());
        let last_row = last_row(node);
        self.above = match (attachment, self.above) {
            (Attachment::None, _) => None,
            // What stands behind something else on its line belongs to that.
            (_, None) if self.last_row == Some(start.1) => None,
            (_, above) => {
                let above = above.filter(|above| start.1 <= above.last_row + 1);
                let attribute = (attachment == Attachment::Attribute).then_some(start);
                Some(Above {
                    start: above.map_or(start, |above| above.start),
                    attribute: above.and_then(|above| above.attribute).or(attribute),
                    last_row,
                })
            }
        };
        self.last_row = Some(last_row);
    }
}

fn symbol(
    before: &[Symbol],
    parent: Option<usize>,
    node: Node<'_>,
    found: &Found<'_>,
    above: Option<Above>,
) -> Symbol {
    let start = (node.start_byte(), node.start_position().row);
    let above = above.filter(|above| start.1 <= above.last_row + 1);
    let whole_start = above.and_then(|above| above.attribute).unwrap_or(start);
    let extent_start = above.map_or(start, |above| above.start);
    let to_end = |(byte, row): (usize, usize)| Span {
        bytes: byte..node.end_byte(),
        lines: row + 1..=last_row(node) + 1,
    };
    let mut path = String::new();
    if let Some(parent) = parent.and_then(|parent| before.get(parent)) {
        path.push_str(&parent.qualified);
        path.push('.');
    }
    path.push_str(&found.path.join("."));
    Symbol {
        name: found.path.last().cloned().unwrap_or_default(),
        qualified: path,
        kind: found.kind,
        parent,
        extent: to_end(extent_start),
        whole: to_end(whole_start),
        body: found.body.map(span),
        hashes: None,
    }
}

fn span(node: Node<'_>) -> Span {
    Span { bytes: node.byte_range(), lines: node.start_position().row + 1..=last_row(node) + 1 }
}

/// The last line that a node has a character on, from 0: some grammars take in the end of the line.
fn last_row(node: Node<'_>) -> usize {
    let Point { row, column } = node.end_position();
    if column == 0 && row > node.start_position().row { row - 1 } else { row }
}
