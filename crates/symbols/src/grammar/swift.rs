//! Swift. Types, functions, initialisers and macros at any depth, the constants and variables of the file, and properties
//! of types that have code for getting, setting or observing them. An extension is a block of methods named as its type,
//! with the types around that as they are written; `[T]` is `Array`, `[K: V]` is `Dictionary`, and `T?` is `Optional`. A
//! function that is an operator is named as that, unless an address cannot carry it.
//!
//! What has no name of its own belongs to what is around it: subscripts, cases, operators and precedence groups.

use tree_sitter::Node;

use super::{
    Attachment, Found, Grammar, Look, Referred, Surroundings, child, referred, referred_by_path, unquoted,
};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_swift::LANGUAGE.into(), look, reference, attachment };

const BODIES: [&str; 3] = ["class_body", "enum_class_body", "protocol_body"];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let parent = around.parent().map_or("", |parent| parent.kind());
    let is_member = BODIES.contains(&parent);
    let field = |field| node.child_by_field_name(field);
    let (path, kind, body) = match node.kind() {
        "class_declaration" => {
            let kind = match field("declaration_kind").map_or("", |kind| kind.kind()) {
                "enum" => Kind::Enum,
                "extension" => Kind::Implementation,
                "struct" => Kind::Struct,
                _ => Kind::Class,
            };
            (field("name").and_then(|named| type_path(named, source)), kind, field("body"))
        }
        "protocol_declaration" => (alone(field("name"), source), Kind::Interface, field("body")),
        "function_declaration" if !is_member => (alone(field("name"), source), Kind::Function, field("body")),
        "function_declaration" | "protocol_function_declaration" => {
            (alone(field("name"), source), Kind::Method, field("body"))
        }
        "init_declaration" => (Some(vec!["init".to_owned()]), Kind::Constructor, field("body")),
        "deinit_declaration" => (Some(vec!["deinit".to_owned()]), Kind::Method, field("body")),
        "property_declaration" if is_member || parent == "source_file" => {
            return property(node, parent, source);
        }
        "typealias_declaration" | "associatedtype_declaration" => {
            (alone(field("name"), source), Kind::TypeAlias, None)
        }
        "macro_declaration" => {
            (alone(child(node, &["simple_identifier"]), source), Kind::Macro, field("definition"))
        }
        "import_declaration" | "modifiers" | "operator_declaration" | "precedence_group_declaration" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    match path {
        Some(path) => Look::Symbol(Found { path, kind, body, same: None }),
        None => Look::Inside,
    }
}

fn alone(node: Option<Node<'_>>, source: &[u8]) -> Option<Vec<String>> {
    Some(vec![unquoted(node, source)?])
}

/// The names of a type, without what it is given: `None` where it is not one by name.
fn type_path(node: Node<'_>, source: &[u8]) -> Option<Vec<String>> {
    let sugar = match node.kind() {
        "type_identifier" => return alone(Some(node), source),
        "user_type" => {
            let mut cursor = node.walk();
            let names = node.named_children(&mut cursor).filter(|part| part.kind() == "type_identifier");
            return names.map(|part| unquoted(Some(part), source)).collect();
        }
        "array_type" => "Array",
        "dictionary_type" => "Dictionary",
        "optional_type" => "Optional",
        _ => return None,
    };
    Some(vec![sugar.to_owned()])
}

/// A property with code of its own, or what the file declares: of that, `let a = 1, b = 2` gives two.
fn property<'t>(node: Node<'t>, parent: &str, source: &[u8]) -> Look<'t> {
    let code = node.child_by_field_name("computed_value").or_else(|| child(node, &["willset_didset_block"]));
    let is_let = child(node, &["value_binding_pattern"]).is_some_and(|its| child(its, &["let"]).is_some());
    let kind = match code {
        Some(_) => Kind::Property,
        None if parent != "source_file" => return Look::Inside,
        None if is_let => Kind::Constant,
        None => Kind::Variable,
    };
    let mut cursor = node.walk();
    let names = node.children_by_field_name("name", &mut cursor);
    let names = names.filter_map(|pattern| unquoted(pattern.child_by_field_name("bound_identifier"), source));
    let body = code.or_else(|| node.child_by_field_name("value"));
    Look::Symbols(names.map(|name| Found { path: vec![name], kind, body, same: None }).collect())
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    match node.kind() {
        // `a[0]` looks like a call.
        "call_expression" => {
            let suffix = child(node, &["call_suffix"])?;
            let is_call = source.get(suffix.start_byte()) != Some(&b'[');
            called(node.named_child(0).filter(|_| is_call)?, source)
        }
        "constructor_expression" => referred_by_path(
            node.child_by_field_name("constructed_type")?,
            "type_identifier",
            ReferenceKind::Call,
            source,
        ),
        "macro_invocation" => {
            referred(child(node, &["simple_identifier"])?, None, ReferenceKind::Call, source)
        }
        "user_type" if around.parent().is_none_or(|parent| parent.kind() != "constructor_expression") => {
            referred_by_path(node, "type_identifier", ReferenceKind::Use, source)
                .filter(|its| its.name != "Self")
        }
        _ => None,
    }
}

fn called(function: Node<'_>, source: &[u8]) -> Option<Referred> {
    let (named, before) = match function.kind() {
        "simple_identifier" => (function, None),
        "navigation_expression" => {
            let suffix = function.child_by_field_name("suffix")?;
            (suffix.child_by_field_name("suffix")?, function.child_by_field_name("target"))
        }
        // `.make()`, of the type that is expected.
        "prefix_expression" if source.get(function.start_byte()) == Some(&b'.') => {
            (function.child_by_field_name("target")?, None)
        }
        _ => return None,
    };
    // `tuple.0()`
    (named.kind() == "simple_identifier").then(|| referred(named, before, ReferenceKind::Call, source))?
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "comment" | "multiline_comment" => Attachment::Comment,
        _ => Attachment::None,
    }
}
