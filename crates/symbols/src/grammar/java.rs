//! Java. Types and their methods and constructors at any depth, overloads under one name. A constructor is named as its
//! class. What has no name of its own belongs to what is around it: initialisers, and the methods of an anonymous class
//! or of an enum's constant.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_java::LANGUAGE.into(), look, reference, attachment };

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let kind = match node.kind() {
        "class_declaration" => Kind::Class,
        "interface_declaration" | "annotation_type_declaration" => Kind::Interface,
        "enum_declaration" => Kind::Enum,
        "record_declaration" => Kind::Record,
        "method_declaration" if is_of_nameless_class(around) => return Look::Inside,
        // A file that is a program may have methods without a class.
        "method_declaration" if around.enclosing.is_none() => Kind::Function,
        "method_declaration" | "annotation_type_element_declaration" => Kind::Method,
        "constructor_declaration" | "compact_constructor_declaration" => Kind::Constructor,
        "import_declaration"
        | "package_declaration"
        | "module_declaration"
        | "modifiers"
        | "block_comment"
        | "formal_parameters" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    match name(node.child_by_field_name("name"), around.source) {
        Some(name) => {
            let body = node.child_by_field_name("body");
            Look::Symbol(Found { path: vec![name], kind, body, same: None })
        }
        None => Look::Inside,
    }
}

/// Whether a member stands right in the body of `new A() { }` or of an enum's constant.
fn is_of_nameless_class(around: &Surroundings<'_>) -> bool {
    matches!(around.ancestors, [.., class, _]
        if matches!(class.kind(), "object_creation_expression" | "enum_constant"))
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    let call = |named, before| {
        Some(Referred {
            name: name(named, source)?,
            qualifier: qualifier(before, source),
            kind: ReferenceKind::Call,
        })
    };
    match node.kind() {
        "method_invocation" => call(node.child_by_field_name("name"), node.child_by_field_name("object")),
        "object_creation_expression" => {
            let (named, before) = type_name(node.child_by_field_name("type")?)?;
            call(Some(named), before)
        }
        "method_reference" => {
            let (before, named) = (node.named_child(0)?, node.child(node.child_count().checked_sub(1)?)?);
            let is_name = named.kind() == "identifier";
            used(if is_name { named } else { before }, is_name.then_some(before), source)
        }
        "annotation" | "marker_annotation" => {
            let named = node.child_by_field_name("name")?;
            match named.kind() {
                "scoped_identifier" => {
                    used(named.child_by_field_name("name")?, named.child_by_field_name("scope"), source)
                }
                _ => used(named, None, source),
            }
        }
        "type_identifier" | "scoped_type_identifier" => {
            // A type's parameter, and the parts of a path, which is told as a whole.
            if matches!(around.parent()?.kind(), "type_parameter" | "scoped_type_identifier")
                || is_created(node, around)
            {
                return None;
            }
            let (named, before) = type_name(node)?;
            used(named, before, source)
        }
        _ => None,
    }
}

fn used(named: Node<'_>, before: Option<Node<'_>>, source: &[u8]) -> Option<Referred> {
    let name = name(Some(named), source).filter(|name| name != "var")?;
    Some(Referred { name, qualifier: qualifier(before, source), kind: ReferenceKind::Use })
}

/// The name of a type, and what stands before it.
fn type_name(mut node: Node<'_>) -> Option<(Node<'_>, Option<Node<'_>>)> {
    if node.kind() == "generic_type" {
        node = node.named_child(0)?;
    }
    match node.kind() {
        "type_identifier" => Some((node, None)),
        "scoped_type_identifier" => {
            let last = u32::try_from(node.named_child_count().checked_sub(1)?).ok()?;
            Some((node.named_child(last)?, node.named_child(0)))
        }
        _ => None,
    }
}

/// Whether a type is what `new` makes: its constructor is called there.
fn is_created(node: Node<'_>, around: &Surroundings<'_>) -> bool {
    let is_its_type = |parent: &Node<'_>, child: Node<'_>| {
        parent.kind() == "object_creation_expression" && parent.child_by_field_name("type") == Some(child)
    };
    match around.ancestors {
        [.., creation, generic] if generic.kind() == "generic_type" => {
            generic.named_child(0) == Some(node) && is_its_type(creation, *generic)
        }
        [.., parent] => is_its_type(parent, node),
        [] => false,
    }
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "line_comment" | "block_comment" => Attachment::Comment,
        _ => Attachment::None,
    }
}
