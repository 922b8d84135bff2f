//! The symbols of one source text, from one walk over its tree.

use std::ops::{ControlFlow, Range, RangeInclusive};
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Point, Tree};

use crate::deadline;
use crate::grammar::{self, Attachment, Found, Grammar, Look, Referred, Surroundings};
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
    /// With the comments right above it and, where blocks end by indentation, those that end its block. Where one
    /// declaration gives several names, each has all of it.
    pub extent: Span,
    /// The declaration, with its decorators or attributes.
    pub whole: Span,
    /// What the declaration encloses; `None` where there is none.
    pub body: Option<Span>,
    /// `None` unless asked for.
    pub hashes: Option<SymbolHashes>,
}

impl Symbol {
    /// Whether one declaration gives both their names.
    pub(crate) fn is_declared_with(&self, other: &Symbol) -> bool {
        self.parent == other.parent && self.whole == other.whole
    }
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
    /// A class that there is one value of (`object`).
    Object,
    /// What is read like a variable, and has code for it.
    Property,
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

/// SHA-256 of what a symbol says, blind to white space and comments. Of a symbol that stands in it, it takes in the
/// `content`: what changes there changes the `content` and the `body` of what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolHashes {
    /// Of all of it.
    pub content: [u8; 32],
    /// Of what is not its body; where one declaration gives several names, of what is the body of none.
    pub signature: [u8; 32],
    /// Of its body; of nothing where it has none.
    pub body: [u8; 32],
}

/// A place that names something which is, or could be, declared elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name that is referred to.
    pub name: String,
    /// What stands before it, as written: `self`, `module.Class`. `None` where nothing does, and where that is longer
    /// than 256 bytes.
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
    /// The longest time for parsing, on a processor, all of it where there are two texts; `None` for no limit. What is not
    /// parsing takes no longer than that, and what is silent for twice as long is given up on, whatever keeps it. Grammars
    /// have texts that they need very long for: Python's, 0.5 s for 5,000 lines of comments that end a block, and four times
    /// as long for twice as many.
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

    /// Whether the time is over, which begins now.
    ///
    /// It is this thread's time on a processor: on a busy machine any text takes long, and each would count as a whole.
    /// That is asked for only once so much time has passed altogether, because it takes a system call.
    pub(crate) fn lateness(&self) -> impl FnMut() -> bool + use<> {
        #[expect(
            clippy::disallowed_methods,
            reason = "how long parsing takes, and no lease: no clock of a test decides it"
        )]
        let begun = Instant::now();
        let begun_on_processor = processor_time();
        let time_max = self.time_max;
        move || {
            time_max.is_some_and(|time_max| {
                begun.elapsed() > time_max && processor_time().saturating_sub(begun_on_processor) > time_max
            })
        }
    }
}

/// How long this thread has been on a processor.
fn processor_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "no lease depends on it")]
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // It is never negative.
    Duration::try_from(time).unwrap_or_default()
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
    /// Parsing took longer than the limit, or would not end.
    #[error("it could not be parsed in time")]
    TooSlow,
    /// The code of its grammar, which nothing can catch, would end the process.
    #[error("the parser would not survive it")]
    Deadly,
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
    limits.admit(source)?;
    let read = move |source: &[u8], is_late: &mut dyn FnMut() -> bool| {
        let tree = parse(source, language, None, is_late)?;
        Ok(walk(source, language, &tree, detail))
    };
    let Some(silence_max) = deadline::of(limits, source.len()) else {
        return read(source, &mut limits.lateness());
    };
    let source = source.to_vec();
    deadline::within(limits, silence_max, source.len(), move |is_late| read(&source, is_late))
}

/// How often parsing a text may ask for the time, besides once a byte: four times as often as random texts do at most,
/// and thirty times as often as sources that people write.
const LOOKS_MIN: usize = 100;

/// The tree of `source`; `before` is that of an earlier text, edited to the places of this one. Gives up once it
/// `is_late`, which it asks after every hundredth step.
pub(crate) fn parse(
    source: &[u8],
    language: Language,
    before: Option<&Tree>,
    is_late: &mut dyn FnMut() -> bool,
) -> Result<Tree, Unread> {
    if let Some(unread) = grammar::refusal(source, language) {
        return Err(unread);
    }
    let mut parser = Parser::new();
    parser.set_language(&(language.grammar().language)()).map_err(|_| Unread::Grammar { language })?;
    // Where it recovers from a fault, the parser can come back to the same place again and again (Kotlin's grammar has such
    // texts): without a limit of time it would never end.
    let mut looks_left = LOOKS_MIN.saturating_add(source.len());
    let mut is_in_time = |_: &ParseState| {
        looks_left = looks_left.saturating_sub(1);
        let is_over = looks_left == 0 || is_late();
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut is_in_time);
    let mut read = |at: usize, _: Point| source.get(at..).unwrap_or_default();
    parser.parse_with_options(&mut read, before, Some(options)).ok_or(Unread::TooSlow)
}

/// How many symbols may stand in each other, how many names one declaration may give, and how long a qualified name may
/// be, in bytes. What exceeds them belongs to the symbol around it: a text of nothing but nesting would have names as
/// long as its square.
const DEPTH_MAX: usize = 128;
const NAMES_MAX: usize = 128;
const QUALIFIED_BYTES_MAX: usize = 1024;

/// One depth of the tree, among whose nodes the walk is.
#[derive(Clone, Copy, Default)]
struct Level<'t> {
    /// What stands right above the next node and may belong to it.
    above: Option<Above>,
    before: Option<Node<'t>>,
}

/// A symbol that the walk is in.
struct Open {
    symbol: usize,
    depth: usize,
    /// How far from the beginning of its line the declaration begins.
    column: usize,
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
    let mut open: Vec<Open> = Vec::new();
    // How deep in the tree each symbol is.
    let mut depths = Vec::new();
    let mut levels = vec![Level::default()];
    let mut ancestors: Vec<Node<'_>> = Vec::new();
    let mut end = End::default();
    let mut same = None;
    // How deep a node is in which there is no symbol, if the walk is in one.
    let mut without_symbols: Option<usize> = None;
    let mut attachments = Attachments::new(source, grammar);
    let has_faults = tree.root_node().has_error();
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let is_leaf = node.child_count() == 0;
        let depth = ancestors.len();
        while let Some(Open { symbol, depth: its, column }) = open.pop_if(|its| its.depth >= depth) {
            end.cut(&mut outline.symbols[symbol..], column, language);
            if its == depth && (grammar.attachment)(node) == Attachment::End {
                extend(&mut outline.symbols[symbol..], node);
            }
        }
        outline.faults += usize::from(has_faults && (node.is_error() || node.is_missing()));
        let parent = open.last().map(|its| its.symbol);
        let (mut is_walked, mut above) = (!is_leaf, None);
        let mut attachment = Attachment::None;
        if node.is_named() {
            attachment = attachments.of(node);
            let is_attached = matches!(attachment, Attachment::Attribute | Attachment::Comment);
            let enclosing = parent.and_then(|parent| outline.symbols.get(parent)).map(|symbol| symbol.kind);
            let around = Surroundings { source, enclosing, ancestors: &ancestors };
            without_symbols = without_symbols.filter(|its| *its < depth);
            let look = if is_leaf || without_symbols.is_some() || same == Some(node.id()) {
                Look::Inside
            } else if is_attached {
                // It is part of the symbol below it.
                Look::Skip
            } else {
                (grammar.look)(node, &around)
            };
            let found = match look {
                Look::Symbol(found) => vec![found],
                Look::Symbols(found) => found,
                Look::Inside => Vec::new(),
                Look::Skip => {
                    // A fault can hide anything.
                    let is_faulty = has_faults && node.has_error();
                    is_walked = detail == Detail::Full || is_faulty;
                    if !is_faulty || is_attached {
                        without_symbols = Some(depth);
                    }
                    Vec::new()
                }
            };
            if let Some(found) = found.first() {
                same = found.same.map(|same| same.id());
            }
            above = levels.last().and_then(|level| level.above);
            let first = outline.symbols.len();
            if open.len() < DEPTH_MAX && !found.is_empty() {
                add(&mut outline.symbols, parent, node, &found, above.or_else(|| end.above(node)));
                depths.resize(outline.symbols.len(), depth);
            }
            // What stands in the declaration of several names stands in the first of them.
            if outline.symbols.len() > first {
                open.push(Open { symbol: first, depth, column: node.start_position().column });
                above = None;
            }
            if detail == Detail::Full
                && let Some(Referred { name, qualifier, kind }) = (grammar.reference)(node, &around)
            {
                let from = open.last().map(|its| its.symbol);
                outline.references.push(Reference { name, qualifier, kind, span: span(node), from });
            }
            // What a comment consists of says nothing.
            is_walked &= attachment != Attachment::Comment;
        }
        if let Some(level) = levels.last_mut() {
            level.pass(node, attachment);
        }
        if is_walked && cursor.goto_first_child() {
            ancestors.push(node);
            // The comments above a block are those above what it begins with.
            let first = cursor.node();
            let is_begin = first.is_named() && first.start_byte() == node.start_byte();
            levels.push(Level { above: above.filter(|_| is_begin), before: None });
            continue;
        }
        end.pass(node, attachment);
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                for Open { symbol, column, .. } in open {
                    end.cut(&mut outline.symbols[symbol..], column, language);
                }
                if detail == Detail::Full {
                    hashes::add(&mut outline.symbols, &depths, tree, source, grammar);
                }
                return outline;
            }
            levels.pop();
            ancestors.pop();
        }
    }
}

/// What nodes are to the symbol beside them: most are nothing, and their kind says so.
struct Attachments<'g> {
    grammar: &'g Grammar,
    is_script: bool,
    /// Of what is no extra of the grammar; `None` where it was not asked yet.
    by_kind: Vec<Option<Attachment>>,
}

impl<'g> Attachments<'g> {
    fn new(source: &[u8], grammar: &'g Grammar) -> Attachments<'g> {
        Attachments { grammar, is_script: source.starts_with(b"#!"), by_kind: Vec::new() }
    }

    fn of(&mut self, node: Node<'_>) -> Attachment {
        // The first line of a script is about all of it.
        if self.is_script && node.start_byte() == 0 {
            return Attachment::None;
        }
        let kind = usize::from(node.kind_id());
        if node.is_extra() || node.is_error() {
            return (self.grammar.attachment)(node);
        }
        if self.by_kind.len() <= kind {
            self.by_kind.resize(kind + 1, None);
        }
        *self.by_kind[kind].get_or_insert_with(|| (self.grammar.attachment)(node))
    }
}

/// Where the code ends that the walk has been through.
#[derive(Default)]
struct End<'t> {
    last: Option<Node<'t>>,
    /// The comments since.
    comments: Vec<Comment>,
    /// Where those end that were left to a symbol.
    taken: usize,
}

#[derive(Clone, Copy)]
struct Comment {
    start: (usize, usize),
    column: usize,
    end: usize,
    last_row: usize,
}

impl<'t> End<'t> {
    /// Takes note of a node that the walk goes no deeper into.
    fn pass(&mut self, node: Node<'t>, attachment: Attachment) {
        if attachment == Attachment::Comment {
            let Point { row, column } = node.start_position();
            let (start, last_row) = ((node.start_byte(), row), last_row(node));
            self.comments.push(Comment { start, column, end: node.end_byte(), last_row });
        } else if node.start_byte() < node.end_byte() {
            self.last = Some(node);
            self.comments.clear();
        }
    }

    /// The byte behind the code, and its line.
    fn place(&self) -> (usize, usize) {
        self.last.map_or((0, 0), |last| (last.end_byte(), last_row(last)))
    }

    /// Takes what is behind the code that the first of `symbols` ends with from it, and from all that its declaration
    /// gives a name: grammars count comments before the next code into it where nothing marks its end. Where blocks end
    /// by indentation, those that stand deeper than the declaration, whose `column` this is, are left to the extent.
    /// Elsewhere it depends on what was parsed before whether they are in it.
    fn cut(&mut self, symbols: &mut [Symbol], column: usize, language: Language) {
        let without = self.place();
        if symbols.first().is_none_or(|first| first.extent.bytes.end <= without.0) {
            return;
        }
        let is_its = |comment: &&Comment| language.ends_blocks_by_indentation() && comment.column > column;
        let its = self.comments.iter().take_while(is_its).last();
        let with_comments = its.map_or(without, |comment| (comment.end, comment.last_row));
        self.taken = self.taken.max(with_comments.0);
        for symbol in declared_together(symbols) {
            let Symbol { extent, whole, body, .. } = symbol;
            let ends = [(Some(extent), with_comments), (Some(whole), without), (body.as_mut(), without)];
            for (span, (byte, row)) in ends {
                if let Some(span) = span.filter(|span| (span.bytes.start + 1..span.bytes.end).contains(&byte))
                {
                    *span = Span { bytes: span.bytes.start..byte, lines: *span.lines.start()..=row + 1 };
                }
            }
        }
    }

    /// The comments right above `node`, where the blocks that ended before it have them.
    fn above(&self, node: Node<'_>) -> Option<Above> {
        let Point { row, column } = node.start_position();
        let (byte, code_row) = self.place();
        let mut above: Option<Above> = None;
        for comment in self.comments.iter().rev() {
            let next_row = above.map_or(row, |above| above.start.1);
            let is_apart = comment.start.1 == code_row && byte > 0 || comment.start.0 < self.taken;
            if is_apart || comment.column > column || comment.last_row + 1 < next_row {
                break;
            }
            let last_row = above.map_or(comment.last_row, |above| above.last_row);
            above = Some(Above { start: comment.start, attribute: None, last_row });
        }
        above
    }
}

impl<'t> Level<'t> {
    /// Takes note of a node that the walk has come to.
    fn pass(&mut self, node: Node<'t>, attachment: Attachment) {
        let before = self.before.replace(node);
        if matches!(attachment, Attachment::None | Attachment::End) {
            if node.is_named() {
                self.above = None;
            }
            return;
        }
        let start = (node.start_byte(), node.start_position().row);
        // What stands behind something else on its line is about that.
        let is_behind = before.is_some_and(|before| last_row(before) == start.1);
        if attachment == Attachment::Comment && self.above.is_none() && is_behind {
            return;
        }
        let above = self.above.filter(|above| start.1 <= above.last_row + 1);
        let attribute = (attachment == Attachment::Attribute).then_some(start);
        self.above = Some(Above {
            start: above.map_or(start, |above| above.start),
            attribute: above.and_then(|above| above.attribute).or(attribute),
            last_row: last_row(node),
        });
    }
}

/// Adds what a declaration gives a name.
fn add(
    symbols: &mut Vec<Symbol>,
    parent: Option<usize>,
    node: Node<'_>,
    found: &[Found<'_>],
    above: Option<Above>,
) {
    let new = found.iter().take(NAMES_MAX).filter_map(|found| symbol(symbols, parent, node, found, above));
    let new: Vec<Symbol> = new.collect();
    symbols.extend(new);
}

/// `None` where its name would be too long.
fn symbol(
    before: &[Symbol],
    parent: Option<usize>,
    node: Node<'_>,
    found: &Found<'_>,
    above: Option<Above>,
) -> Option<Symbol> {
    let mut qualified = String::new();
    if let Some(parent) = parent.and_then(|parent| before.get(parent)) {
        qualified.push_str(&parent.qualified);
        qualified.push('.');
    }
    qualified.push_str(&found.path.join("."));
    if qualified.len() > QUALIFIED_BYTES_MAX {
        return None;
    }
    let start = (node.start_byte(), node.start_position().row);
    let above = above.filter(|above| start.1 <= above.last_row + 1);
    let whole_start = above.and_then(|above| above.attribute).unwrap_or(start);
    let extent_start = above.map_or(start, |above| above.start);
    let to_end = |(byte, row): (usize, usize)| Span {
        bytes: byte..node.end_byte(),
        lines: row + 1..=last_row(node) + 1,
    };
    Some(Symbol {
        name: found.path.last()?.clone(),
        qualified,
        kind: found.kind,
        parent,
        extent: to_end(extent_start),
        whole: to_end(whole_start),
        body: found.body.map(span),
        hashes: None,
    })
}

/// Has the first of `symbols`, and all that its declaration gives a name, end where `node` does.
fn extend(symbols: &mut [Symbol], node: Node<'_>) {
    for symbol in declared_together(symbols) {
        for span in [&mut symbol.extent, &mut symbol.whole] {
            let lines = *span.lines.start()..=last_row(node) + 1;
            *span = Span { bytes: span.bytes.start..node.end_byte(), lines };
        }
    }
}

/// The first of `symbols`, and the others that its declaration gives a name.
fn declared_together(symbols: &mut [Symbol]) -> impl Iterator<Item = &mut Symbol> {
    let first = symbols.first().cloned();
    symbols
        .iter_mut()
        .take_while(move |symbol| first.as_ref().is_some_and(|first| first.is_declared_with(symbol)))
}

fn span(node: Node<'_>) -> Span {
    Span { bytes: node.byte_range(), lines: node.start_position().row + 1..=last_row(node) + 1 }
}

/// The last line that a node has a character on, from 0: some grammars take in the end of the line.
fn last_row(node: Node<'_>) -> usize {
    let Point { row, column } = node.end_position();
    if column == 0 && row > node.start_position().row { row - 1 } else { row }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn waiting_for_a_processor_is_no_time() {
        let time_max = Duration::from_millis(10);
        let limits = Limits { time_max: Some(time_max), ..Limits::default() };
        let mut is_late = limits.lateness();
        // Nobody sends anything: the thread is off its processor for so long.
        let (_sender, receiver) = mpsc::channel::<()>();
        assert!(receiver.recv_timeout(time_max * 2).is_err());
        assert!(!is_late());
        let mut looks = 0_u64;
        while !is_late() {
            looks += 1;
            assert!(looks < 1_000_000_000, "it is never late");
        }
    }
}
