//! Scala 2 and 3. Types, objects, functions and type members at any depth, values and variables of packages and objects,
//! named givens. An extension is a block of methods named as the type that it extends. A secondary constructor is `this`,
//! as the source has it.
//!
//! What has no name of its own belongs to what is around it: the members of `new A { }` and of a given without a name. So
//! do other values and variables, the cases of an enum, and what patterns bind.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, child, referred, unquoted};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_scala::LANGUAGE.into(), look, reference, attachment };

const BODIES: [&str; 3] = ["template_body", "with_template_body", "enum_body"];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let field = |field| node.child_by_field_name(field);
    let (kind, path, body) = match node.kind() {
        "class_definition" => (Kind::Class, alone(field("name"), source), field("body")),
        "object_definition" | "package_object" => (Kind::Object, alone(field("name"), source), field("body")),
        "trait_definition" => (Kind::Trait, alone(field("name"), source), field("body")),
        "enum_definition" => (Kind::Enum, alone(field("name"), source), field("body")),
        "type_definition" => (Kind::TypeAlias, alone(field("name"), source), None),
        "given_definition" => {
            let body = field("body");
            let is_block = body.is_some_and(|body| BODIES.contains(&body.kind()));
            let kind = if is_block { Kind::Object } else { Kind::Constant };
            (kind, alone(field("name"), source), body)
        }
        "extension_definition" => {
            let body = field("body").filter(|body| BODIES.contains(&body.kind()));
            (Kind::Implementation, extended(node, source), body)
        }
        "package_clause" => match field("body") {
            Some(body) => (Kind::Module, package(field("name"), source), Some(body)),
            None => return Look::Skip,
        },
        "function_definition" | "function_declaration" => {
            if is_of_nameless_class(around) {
                return Look::Inside;
            }
            let path = alone(field("name"), source);
            let is_constructor = path.as_ref().is_some_and(|path| path == &["this"]);
            let kind = match class(around) {
                Some(_) if is_constructor => Kind::Constructor,
                Some(_) => Kind::Method,
                None => Kind::Function,
            };
            (kind, path, field("body"))
        }
        "val_definition" | "val_declaration" if is_of_package_or_object(around) => {
            return values(node, Kind::Constant, source);
        }
        "var_definition" | "var_declaration" if is_of_package_or_object(around) => {
            return values(node, Kind::Variable, source);
        }
        "annotation" | "export_declaration" | "import_declaration" | "modifiers" => return Look::Skip,
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

/// `package a.b:`
fn package(node: Option<Node<'_>>, source: &[u8]) -> Option<Vec<String>> {
    let node = node?;
    let mut cursor = node.walk();
    let names = node.named_children(&mut cursor).filter(|part| part.kind() == "identifier");
    names.map(|name| unquoted(Some(name), source)).collect()
}

/// `extension (a: m.A[T])`: `A`.
fn extended(node: Node<'_>, source: &[u8]) -> Option<Vec<String>> {
    let mut cursor = node.walk();
    let mut parameters = node.children_by_field_name("parameters", &mut cursor);
    // Before it there can be what it is given: `(using Context)`.
    let parameter = parameters
        .find_map(|list| child(list, &["parameter"]).filter(|_| child(list, &["using"]).is_none()))?;
    let (named, _) = type_name(parameter.child_by_field_name("type")?)?;
    alone(Some(named), source)
}

/// What a member stands right in the body of.
fn class<'t>(around: &Surroundings<'t>) -> Option<Node<'t>> {
    match around.ancestors {
        [.., class, body] if BODIES.contains(&body.kind()) && class.kind() != "package_clause" => {
            Some(*class)
        }
        [.., extension] if extension.kind() == "extension_definition" => Some(*extension),
        _ => None,
    }
}

/// Whether a member stands right in the body of `new A { }` or of a given without a name.
fn is_of_nameless_class(around: &Surroundings<'_>) -> bool {
    class(around).is_some_and(|class| match class.kind() {
        "given_definition" => class.child_by_field_name("name").is_none(),
        "instance_expression" => true,
        _ => false,
    })
}

fn is_of_package_or_object(around: &Surroundings<'_>) -> bool {
    let Some(parent) = around.parent() else { return false };
    let is_of_object =
        || class(around).is_some_and(|class| matches!(class.kind(), "object_definition" | "package_object"));
    let is_of_package = || {
        matches!(around.ancestors, [.., package, body]
            if package.kind() == "package_clause" && BODIES.contains(&body.kind()))
    };
    parent.kind() == "compilation_unit" || is_of_object() || is_of_package()
}

/// `val a, b = 1` gives two.
fn values<'t>(node: Node<'t>, kind: Kind, source: &[u8]) -> Look<'t> {
    let body = node.child_by_field_name("value");
    let mut cursor = node.walk();
    let fields = ["pattern", "name"].map(|field| node.child_by_field_name(field));
    let Some(pattern) = fields.into_iter().flatten().next() else { return Look::Inside };
    let names: Vec<Node<'t>> = match pattern.kind() {
        "identifier" if node.kind().ends_with("_declaration") => {
            node.children_by_field_name("name", &mut cursor).filter(Node::is_named).collect()
        }
        "identifier" => vec![pattern],
        "identifiers" => pattern.named_children(&mut pattern.walk()).collect(),
        _ => return Look::Inside,
    };
    let names = names.into_iter().filter_map(|name| unquoted(Some(name), source)).filter(|name| name != "_");
    Look::Symbols(names.map(|name| Found { path: vec![name], kind, body, same: None }).collect())
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    let parent = around.parent();
    match node.kind() {
        "call_expression" => called(node.child_by_field_name("function")?, source),
        // `a max b` calls `max`.
        "infix_expression" => {
            let named = node.child_by_field_name("operator").filter(|named| named.kind() == "identifier")?;
            referred(named, node.child_by_field_name("left"), ReferenceKind::Call, source)
        }
        "instance_expression" => {
            let (named, before) = type_name(created(node)?)?;
            referred(named, before, ReferenceKind::Call, source)
        }
        "type_identifier" | "stable_type_identifier" => {
            let parent = parent?;
            let is_declared = matches!(parent.kind(), "type_definition")
                && parent.child_by_field_name("name") == Some(node);
            if is_declared || parent.kind() == "stable_type_identifier" || is_created(node, around) {
                return None;
            }
            let (named, before) = type_name(node)?;
            referred(named, before, ReferenceKind::Use, source)
        }
        _ => None,
    }
}

fn called(mut function: Node<'_>, source: &[u8]) -> Option<Referred> {
    loop {
        let (named, before) = match function.kind() {
            "identifier" => (function, None),
            "field_expression" => {
                (function.child_by_field_name("field")?, function.child_by_field_name("value"))
            }
            "generic_function" => {
                function = function.child_by_field_name("function")?;
                continue;
            }
            "parenthesized_expression" => {
                function = function.named_child(0)?;
                continue;
            }
            _ => return None,
        };
        return referred(named, before, ReferenceKind::Call, source)
            .filter(|its| !matches!(its.name.as_str(), "this" | "super"));
    }
}

/// The type that `new` makes one of.
fn created(node: Node<'_>) -> Option<Node<'_>> {
    child(node, &["type_identifier", "stable_type_identifier", "generic_type"])
}

/// Whether a type is what `new` makes: its constructor is called there.
fn is_created(node: Node<'_>, around: &Surroundings<'_>) -> bool {
    let is_its_type =
        |parent: &Node<'_>, child| parent.kind() == "instance_expression" && created(*parent) == Some(child);
    match around.ancestors {
        [.., creation, generic] if generic.kind() == "generic_type" => {
            generic.child_by_field_name("type") == Some(node) && is_its_type(creation, *generic)
        }
        [.., parent] => is_its_type(parent, node),
        [] => false,
    }
}

/// The name of a type, and what stands before it.
fn type_name(mut node: Node<'_>) -> Option<(Node<'_>, Option<Node<'_>>)> {
    while node.kind() == "generic_type" {
        node = node.child_by_field_name("type")?;
    }
    match node.kind() {
        "type_identifier" => Some((node, None)),
        "stable_type_identifier" => Some((child(node, &["type_identifier"])?, node.named_child(0))),
        _ => None,
    }
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "comment" | "block_comment" => Attachment::Comment,
        _ => Attachment::None,
    }
}
