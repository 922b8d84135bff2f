//! Kotlin. Types, objects and functions at any depth, properties of the file, and those of types that have accessors. An
//! extension stands in its receiver's type, wherever that is declared and with the types around it as they are written. A
//! companion object without a name is `Companion`, and a secondary constructor `constructor`, as the language has it.
//!
//! What has no name of its own belongs to what is around it: initialisers, and the members of an object expression or of
//! an enum's entry. So do other properties, those that hold a lambda too.

use tree_sitter::Node;

use super::{
    Attachment, Found, Grammar, Look, Referred, Surroundings, child, referred, referred_by_path, unquoted,
};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_kotlin_ng::LANGUAGE.into(), look, reference, attachment };

/// Whether the scanner may never be done with a text: behind the `@` of an annotation it looks for white space, inside of
/// `(` for the end of the line, and does not see the end of the text. The end of a line is both, so one behind the last
/// `@` ends either loop; its other loops go as far as what is at hand does, or stop at the end. No limit of time stops it.
pub(crate) fn is_endless(source: &[u8]) -> bool {
    source.iter().rev().take_while(|byte| **byte != b'\n').any(|byte| *byte == b'@')
}

/// The grammar reads a class with a short body as one with entries.
const BODIES: [&str; 2] = ["class_body", "enum_class_body"];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let named = || unquoted(node.child_by_field_name("name"), source);
    let body = || child(node, &BODIES);
    let found = match node.kind() {
        "class_declaration" => alone(named(), kind_of_class(node), body()),
        "object_declaration" => alone(named(), Kind::Object, body()),
        "companion_object" => {
            let named = match node.child_by_field_name("name") {
                Some(_) => named(),
                None => Some("Companion".to_owned()),
            };
            alone(named, Kind::Object, body())
        }
        "type_alias" => alone(unquoted(node.child_by_field_name("type"), source), Kind::TypeAlias, None),
        "function_declaration" | "property_declaration" | "secondary_constructor"
            if is_of_nameless_class(around) =>
        {
            None
        }
        "function_declaration" => function(node, around),
        "property_declaration" => property(node, around),
        "secondary_constructor" => {
            alone(Some("constructor".to_owned()), Kind::Constructor, child(node, &["block"]))
        }
        "file_annotation" | "import" | "modifiers" | "package_header" => return Look::Skip,
        _ => None,
    };
    found.map_or(Look::Inside, Look::Symbol)
}

fn alone(named: Option<String>, kind: Kind, body: Option<Node<'_>>) -> Option<Found<'_>> {
    Some(Found { path: vec![named?], kind, body, same: None })
}

fn function<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Option<Found<'t>> {
    let named = unquoted(node.child_by_field_name("name"), around.source)?;
    let path = below_receiver(node, named, around.source);
    let kind = if is_member(around) || path.len() > 1 { Kind::Method } else { Kind::Function };
    Some(Found { path, kind, body: child(node, &["function_body"]), same: None })
}

fn property<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Option<Found<'t>> {
    let is_of_file = around.parent().is_some_and(|parent| parent.kind() == "source_file");
    if !(is_of_file || is_member(around) && accessor(node).is_some()) {
        return None;
    }
    let named = child(node, &["variable_declaration"]).and_then(|its| child(its, &["identifier"]));
    let path = below_receiver(node, unquoted(named, around.source)?, around.source);
    let kind = if is_constant(node) { Kind::Constant } else { Kind::Property };
    Some(Found { path, kind, body: accessor(node).or_else(|| value(node)), same: None })
}

fn is_member(around: &Surroundings<'_>) -> bool {
    around.parent().is_some_and(|parent| BODIES.contains(&parent.kind()))
}

fn kind_of_class(node: Node<'_>) -> Kind {
    let modifiers = child(node, &["modifiers"]);
    let is_enum = modifiers.is_some_and(|modifiers| {
        let mut cursor = modifiers.walk();
        modifiers.named_children(&mut cursor).any(|modifier| child(modifier, &["enum"]).is_some())
    });
    match child(node, &["interface"]) {
        Some(_) => Kind::Interface,
        None if is_enum => Kind::Enum,
        None => Kind::Class,
    }
}

fn is_constant(property: Node<'_>) -> bool {
    child(property, &["modifiers"]).is_some_and(|its| child(its, &["property_modifier"]).is_some())
}

/// The first that has code: `private set` has none.
fn accessor(property: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = property.walk();
    let mut accessors = property.named_children(&mut cursor);
    accessors
        .find(|part| matches!(part.kind(), "getter" | "setter") && child(*part, &["function_body"]).is_some())
}

/// What a property is bound to.
fn value(property: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = property.walk();
    let mut after = property.children(&mut cursor).skip_while(|part| part.kind() != "=").skip(1);
    after.find(|part| !part.is_extra()).or_else(|| child(property, &["property_delegate"]))
}

/// Whether a member stands right in the body of `object : A { }` or of an enum's entry.
fn is_of_nameless_class(around: &Surroundings<'_>) -> bool {
    matches!(around.ancestors, [.., class, body]
        if matches!(class.kind(), "object_literal" | "enum_entry") && BODIES.contains(&body.kind()))
}

/// The path of a function or a property: of `fun A.B?.f()`, `A`, `B`, `f`.
fn below_receiver(node: Node<'_>, named: String, source: &[u8]) -> Vec<String> {
    let mut cursor = node.walk();
    let is_before_name = |part: &Node<'_>| {
        !matches!(part.kind(), "variable_declaration" | "function_value_parameters" | ":" | "=")
    };
    let mut before = node.children(&mut cursor).take_while(is_before_name);
    let receiver = before.find_map(|part| match part.kind() {
        "user_type" | "nullable_type" | "parenthesized_type" => type_path(part, source),
        _ => None,
    });
    receiver.into_iter().flatten().chain([named]).collect()
}

/// The names of a type, without what it is given: `None` where it is not one by name.
fn type_path(mut node: Node<'_>, source: &[u8]) -> Option<Vec<String>> {
    while node.kind() != "user_type" {
        node = match node.kind() {
            "nullable_type" | "parenthesized_type" => {
                child(node, &["user_type", "nullable_type", "parenthesized_type"])?
            }
            _ => return None,
        };
    }
    let mut cursor = node.walk();
    let names = node.children(&mut cursor).filter(|part| part.kind() == "identifier");
    names.map(|part| unquoted(Some(part), source)).collect()
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    match node.kind() {
        "call_expression" => called(node.named_child(0)?, source),
        // `a to b` calls `to`.
        "infix_expression" => {
            let (left, named) = (node.named_child(0), child(node, &["identifier"])?);
            let named = if Some(named) == left { node.named_child(1)? } else { named };
            referred(named, left, ReferenceKind::Call, source)
        }
        "constructor_invocation" => {
            let is_annotation = around.parent().is_some_and(|parent| parent.kind().ends_with("annotation"));
            let kind = if is_annotation { ReferenceKind::Use } else { ReferenceKind::Call };
            referred_by_path(child(node, &["user_type"])?, "identifier", kind, source)
        }
        "user_type" if around.parent().is_none_or(|parent| parent.kind() != "constructor_invocation") => {
            referred_by_path(node, "identifier", ReferenceKind::Use, source)
        }
        // `A::f`, and `A::class`, which uses `A`.
        "navigation_expression" if child(node, &["::"]).is_some() => {
            let (before, named) = (node.named_child(0)?, last(node)?);
            if named.utf8_text(source) == Ok("class") {
                let (named, before) = path(before)?;
                return referred(named, before, ReferenceKind::Use, source);
            }
            referred(named, Some(before), ReferenceKind::Use, source)
        }
        "callable_reference" => {
            let named = last(node).filter(|named| named.kind() == "identifier")?;
            let before = node.named_child(0).filter(|before| *before != named);
            referred(named, before, ReferenceKind::Use, source)
        }
        _ => None,
    }
}

fn called(mut function: Node<'_>, source: &[u8]) -> Option<Referred> {
    while function.kind() == "parenthesized_expression" {
        function = function.named_child(0)?;
    }
    let (named, before) = path(function)?;
    referred(named, before, ReferenceKind::Call, source)
}

/// A name, and what stands before it.
fn path(node: Node<'_>) -> Option<(Node<'_>, Option<Node<'_>>)> {
    match node.kind() {
        "identifier" => Some((node, None)),
        "navigation_expression" => Some((last(node)?, node.named_child(0))),
        _ => None,
    }
}

fn last(node: Node<'_>) -> Option<Node<'_>> {
    node.named_child(u32::try_from(node.named_child_count().checked_sub(1)?).ok()?)
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "line_comment" | "block_comment" => Attachment::Comment,
        _ => Attachment::None,
    }
}
