//! Ruby. Modules, classes, methods, constants and accessors at any depth; `class A::B` is `A.B`. What is assigned
//! `Struct.new`, `Class.new`, `Module.new` or `Data.define` is a class or a module, and its block is the body.
//!
//! A method of the class stands beside those of its objects, however it is written (`def self.f`, `class << self`); that
//! of another object stands below the name that is written before it. `attr_accessor :a` is `a` and `a=`,
//! `define_method(:a) { .. }` is `a`. A word in front, as in `private def f`, is part of the method. Blocks, lambdas and
//! variables belong to what is around them.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_ruby::LANGUAGE.into(), look, reference, attachment };

/// The scanner keeps the heredocs and the literals that it is in, and writes them into 1024 bytes: five for each literal, and
/// for a heredoc four and its word, of which it writes the length as one byte. Whether there is room for a heredoc it
/// asks two bytes too late.
const STATE_BYTES: usize = 1024;
const WORD_BYTES_MAX: usize = 255;

/// Whether the scanner may write more than it has room for, or read another state than it has written: on either, the
/// process ends.
///
/// There are no more literals in each other than interpolations between them and one; and no more heredocs than there are
/// `<<` with a word behind. Where a text does not fit the grammar, a literal can be left open: that two hundred were, beside
/// a heredoc, was never seen.
pub(crate) fn is_deadly(source: &[u8]) -> bool {
    let (mut interpolations, mut heredocs) = (0, 0);
    for (at, pair) in source.windows(2).enumerate() {
        match pair {
            b"#{" => interpolations += 1,
            b"<<" => match heredoc_word(&source[at + 2..]) {
                0 => {}
                word if word > WORD_BYTES_MAX => return true,
                word => heredocs += 4 + word,
            },
            _ => {}
        }
    }
    heredocs > 0 && 2 + 5 * (interpolations + 1) + heredocs > STATE_BYTES
}

/// How long the word of a heredoc is, or longer than the longest; 0 where there is none.
fn heredoc_word(after: &[u8]) -> usize {
    let after = after.strip_prefix(b"-").or_else(|| after.strip_prefix(b"~")).unwrap_or(after);
    let is_in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii();
    match after.split_first() {
        Some((quote @ (b'\'' | b'"' | b'`'), quoted)) => {
            quoted.iter().take(WORD_BYTES_MAX + 1).take_while(|byte| *byte != quote).count()
        }
        _ => after.iter().take(WORD_BYTES_MAX + 1).take_while(is_in_word).count(),
    }
}

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    match node.kind() {
        "module" => named(node, Kind::Module, source),
        "class" => named(node, Kind::Class, source),
        "method" | "singleton_method" => method(node, None, around),
        // The words in front of one method are one with it.
        "call" if is_modifier(around) => Look::Inside,
        "call" => match (modified(node), word(node, source)) {
            (Some(definition), _) => method(definition, Some(definition), around),
            (None, Some("attr" | "attr_accessor" | "attr_reader" | "attr_writer")) => accessors(node, source),
            (None, Some("define_method" | "define_singleton_method")) => made_method(node, source),
            _ => Look::Inside,
        },
        "assignment" | "operator_assignment" => constants(node, source),
        "string" | "comment" | "heredoc_body" | "method_parameters" => Look::Skip,
        _ => Look::Inside,
    }
}

fn named<'t>(node: Node<'t>, kind: Kind, source: &[u8]) -> Look<'t> {
    match path(node.child_by_field_name("name"), source) {
        Some(path) => {
            let body = node.child_by_field_name("body");
            Look::Symbol(Found { path, kind, body, same: None })
        }
        None => Look::Inside,
    }
}

/// The names of `A::B`.
fn path(node: Option<Node<'_>>, source: &[u8]) -> Option<Vec<String>> {
    let mut node = node?;
    let mut names = Vec::new();
    while node.kind() == "scope_resolution" {
        names.push(name(node.child_by_field_name("name"), source)?);
        // `::A` has no more.
        let Some(scope) = node.child_by_field_name("scope") else {
            names.reverse();
            return Some(names);
        };
        node = scope;
    }
    names.push(name(Some(node).filter(|node| node.kind() == "constant"), source)?);
    names.reverse();
    Some(names)
}

fn method<'t>(definition: Node<'t>, same: Option<Node<'t>>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let Some(its) = name(definition.child_by_field_name("name"), source) else { return Look::Inside };
    let is_member = matches!(around.enclosing, Some(Kind::Class | Kind::Module));
    let object = definition.child_by_field_name("object");
    // In a class, a constant is the class itself: nobody gives methods to another one there.
    let object =
        object.filter(|object| !matches!((object.kind(), is_member), ("self", _) | ("constant", true)));
    let mut path: Vec<String> = Vec::new();
    if object.is_some() {
        match name(object, source) {
            Some(object) => path.push(object),
            None => return Look::Inside,
        }
    }
    path.push(its);
    let kind = match path.as_slice() {
        [its] if is_member && its == "initialize" => Kind::Constructor,
        [_] if !is_member => Kind::Function,
        _ => Kind::Method,
    };
    Look::Symbol(Found { path, kind, body: definition.child_by_field_name("body"), same })
}

/// The method in `private def f`, and in `private memoize def f`.
fn modified(mut call: Node<'_>) -> Option<Node<'_>> {
    for _ in 0..4 {
        if call.child_by_field_name("receiver").is_some() || call.child_by_field_name("block").is_some() {
            return None;
        }
        let arguments = call.child_by_field_name("arguments")?;
        let alone = arguments.named_child(0).filter(|_| arguments.named_child_count() == 1)?;
        match alone.kind() {
            "method" | "singleton_method" => return Some(alone),
            "call" => call = alone,
            _ => return None,
        }
    }
    None
}

/// Whether a call is the argument of another word in front of the same method.
fn is_modifier(around: &Surroundings<'_>) -> bool {
    matches!(around.ancestors, [.., call, arguments]
        if arguments.kind() == "argument_list" && modified(*call).is_some())
}

/// The method that is called without a receiver.
fn word<'s>(call: Node<'_>, source: &'s [u8]) -> Option<&'s str> {
    if call.child_by_field_name("receiver").is_some() {
        return None;
    }
    call.child_by_field_name("method")?.utf8_text(source).ok()
}

fn accessors<'t>(call: Node<'t>, source: &[u8]) -> Look<'t> {
    let kind = word(call, source).unwrap_or_default();
    let mut all = Vec::new();
    if let Some(arguments) = call.child_by_field_name("arguments") {
        let mut cursor = arguments.walk();
        for its in arguments.named_children(&mut cursor).filter_map(|node| symbol_name(node, source)) {
            let writer = format!("{its}=");
            let found = |path| Found { path: vec![path], kind: Kind::Method, body: None, same: None };
            match kind {
                "attr_writer" => all.push(found(writer)),
                "attr_accessor" => all.extend([found(its), found(writer)]),
                _ => all.push(found(its)),
            }
        }
    }
    Look::Symbols(all)
}

/// What `:a` and `"a"` name.
fn symbol_name(node: Node<'_>, source: &[u8]) -> Option<String> {
    match node.kind() {
        "simple_symbol" => Some(node.utf8_text(source).ok()?.strip_prefix(':')?.to_owned()),
        "string" if node.named_child_count() == 1 => {
            name(node.named_child(0).filter(|inner| inner.kind() == "string_content"), source)
        }
        _ => None,
    }
}

fn made_method<'t>(call: Node<'t>, source: &[u8]) -> Look<'t> {
    let named = call.child_by_field_name("arguments").and_then(|arguments| arguments.named_child(0));
    let block = call.child_by_field_name("block");
    match (named.and_then(|named| symbol_name(named, source)), block) {
        (Some(its), Some(_)) => {
            Look::Symbol(Found { path: vec![its], kind: Kind::Method, body: block, same: None })
        }
        _ => Look::Inside,
    }
}

/// The constants that an assignment gives a value.
fn constants<'t>(node: Node<'t>, source: &[u8]) -> Look<'t> {
    let (Some(left), right) = (node.child_by_field_name("left"), node.child_by_field_name("right")) else {
        return Look::Inside;
    };
    let (kind, body) = right
        .and_then(|right| Some((made_type(right, source)?, right.child_by_field_name("block"))))
        .unwrap_or((Kind::Constant, right));
    let found = |path| Found { path, kind, body, same: None };
    match left.kind() {
        "constant" | "scope_resolution" => {
            path(Some(left), source).map_or(Look::Inside, |path| Look::Symbol(found(path)))
        }
        "left_assignment_list" => {
            let mut cursor = left.walk();
            let constants = left.named_children(&mut cursor);
            Look::Symbols(constants.filter_map(|constant| path(Some(constant), source)).map(found).collect())
        }
        _ => Look::Inside,
    }
}

/// What `Struct.new(..)` and its like make.
fn made_type(call: Node<'_>, source: &[u8]) -> Option<Kind> {
    let text = |field| call.child_by_field_name(field)?.utf8_text(source).ok();
    if call.kind() != "call" {
        return None;
    }
    match (text("receiver")?, text("method")?) {
        ("Class" | "Struct", "new") | ("Data", "define") => Some(Kind::Class),
        ("Module", "new") => Some(Kind::Module),
        _ => None,
    }
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    let told = |named, before, kind| {
        Some(Referred { name: name(named, source)?, qualifier: qualifier(before, source), kind })
    };
    let field = |field| node.child_by_field_name(field);
    match node.kind() {
        "call" => told(field("method"), field("receiver"), ReferenceKind::Call),
        "constant" | "scope_resolution" => {
            let parent = around.parent()?;
            let is_field = |field| parent.child_by_field_name(field) == Some(node);
            let is_told = match parent.kind() {
                "class" | "method" | "module" => !is_field("name"),
                "assignment" | "operator_assignment" => !is_field("left"),
                // The call tells it.
                "call" => !is_field("receiver") && !is_field("method"),
                "singleton_method" => !is_field("object") && !is_field("name"),
                "scope_resolution" | "left_assignment_list" => false,
                _ => true,
            };
            if !is_told {
                return None;
            }
            let named = if node.kind() == "constant" { Some(node) } else { field("name") };
            told(named, field("scope"), ReferenceKind::Use)
        }
        _ => None,
    }
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "comment" => Attachment::Comment,
        // The text of a constant stands below the line that has its beginning.
        ";" | "heredoc_body" => Attachment::End,
        _ => Attachment::None,
    }
}
