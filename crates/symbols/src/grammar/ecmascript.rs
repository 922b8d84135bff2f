//! TypeScript, TSX and JavaScript: one table, because the grammars name their nodes alike.
//!
//! Symbols are functions, classes with their methods, interfaces with their method signatures, enums, type aliases and
//! namespaces at any depth, and the functions and classes that a `const`, `let`, `var` or field is bound to. A name in
//! quotes is told without them. What is exported by default without a name is `default`, `declare global` is `global`.
//! What has no name that an address could carry (`[Symbol.iterator]() {}`) belongs to what it stands in; so do other
//! variables and fields, and an interface's properties, call and construct signatures.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const TYPESCRIPT: Grammar =
    Grammar { language: || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(), look, reference, attachment };

pub(crate) const TSX: Grammar =
    Grammar { language: || tree_sitter_typescript::LANGUAGE_TSX.into(), look, reference, attachment };

pub(crate) const JAVASCRIPT: Grammar =
    Grammar { language: || tree_sitter_javascript::LANGUAGE.into(), look, reference, attachment };

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let parent = || around.parent().map_or("", |parent| parent.kind());
    match node.kind() {
        "import_statement" | "import_alias" | "string" | "type_annotation" | "type_arguments"
        | "type_parameters" | "union_type" | "object_type" | "generic_type" | "array_type" => {
            return Look::Skip;
        }
        // Each is part of what stands around it, and is told with that.
        "ambient_declaration" | "lexical_declaration" | "variable_declaration" if is_wrapper(parent()) => {
            return Look::Inside;
        }
        "variable_declarator" if around.parent().and_then(only_declarator).is_some() => {
            return Look::Inside;
        }
        // An object's methods are part of the object, a type's of the type.
        "method_definition" | "method_signature" if !matches!(parent(), "class_body" | "interface_body") => {
            return Look::Inside;
        }
        _ => {}
    }
    let definition = unwrapped(node);
    match found(definition, node, around.source) {
        Some(found) => Look::Symbol(found),
        None => Look::Inside,
    }
}

/// Whether this is a statement around a declaration that is part of it.
fn is_wrapper(kind: &str) -> bool {
    matches!(kind, "export_statement" | "ambient_declaration")
}

/// The definition that a statement consists of.
fn unwrapped(mut node: Node<'_>) -> Node<'_> {
    // `export declare const f = ...` has three of them; none holds another of its own kind.
    for _ in 0..4 {
        let inner = match node.kind() {
            "export_statement" => {
                let field = |field| node.child_by_field_name(field);
                field("declaration").or_else(|| field("value"))
            }
            "ambient_declaration" => node.named_child(0).filter(|inner| inner.kind() != "statement_block"),
            // TypeScript's grammar sees an expression where a namespace stands by itself.
            "expression_statement" => node.named_child(0).filter(|inner| inner.kind() == "internal_module"),
            "lexical_declaration" | "variable_declaration" => only_declarator(node),
            _ => None,
        };
        let Some(inner) = inner else { break };
        node = inner;
    }
    node
}

/// The declarator of a declaration that has one. Where there are several, each stands for itself.
fn only_declarator(declaration: Node<'_>) -> Option<Node<'_>> {
    // More than a few children are several declarators: there is no need to count them.
    const CHILDREN_MAX: usize = 4;
    if declaration.named_child_count() > CHILDREN_MAX {
        return None;
    }
    let mut cursor = declaration.walk();
    let mut declarators =
        declaration.named_children(&mut cursor).filter(|child| child.kind() == "variable_declarator");
    let first = declarators.next();
    first.filter(|_| declarators.next().is_none())
}

/// The symbol that `definition` is, which makes up the statement `node`.
fn found<'t>(definition: Node<'t>, node: Node<'t>, source: &[u8]) -> Option<Found<'t>> {
    let its = definition.kind();
    let field = |field| definition.child_by_field_name(field);
    let (kind, name, body) = match its {
        "function_declaration" | "generator_function_declaration" | "function_signature" => {
            (Kind::Function, property(field("name"), source), field("body"))
        }
        "class_declaration" | "abstract_class_declaration" => {
            (Kind::Class, property(field("name"), source), field("body"))
        }
        "method_definition" | "method_signature" | "abstract_method_signature" => {
            let name = property(field("name"), source)?;
            let kind = if name == "constructor" { Kind::Constructor } else { Kind::Method };
            (kind, Some(name), field("body"))
        }
        "interface_declaration" => (Kind::Interface, property(field("name"), source), field("body")),
        "enum_declaration" => (Kind::Enum, property(field("name"), source), field("body")),
        "type_alias_declaration" => (Kind::TypeAlias, property(field("name"), source), None),
        "module" | "internal_module" => {
            let path = namespace(field("name")?, source)?;
            return Some(Found {
                path,
                kind: Kind::Module,
                body: Some(field("body")?),
                same: same(definition, node),
            });
        }
        "ambient_declaration" => {
            let body = definition.named_child(0).filter(|body| body.kind() == "statement_block")?;
            (Kind::Module, Some("global".to_owned()), Some(body))
        }
        "variable_declarator" => {
            let (kind, body) = value(field("value")?)?;
            (kind, name(field("name"), source), body)
        }
        "public_field_definition" | "field_definition" => {
            let (kind, body) = value(field("value")?)?;
            let kind = if kind == Kind::Function { Kind::Method } else { kind };
            (kind, property(field("name").or_else(|| field("property")), source), body)
        }
        // What a default export has for a name is not known outside of it, and is often left out.
        _ if definition != node
            && node.kind() == "export_statement"
            && node.child_by_field_name("value") == Some(definition) =>
        {
            let (kind, body) = value(definition)?;
            (kind, Some("default".to_owned()), body)
        }
        _ => return None,
    };
    Some(Found { path: vec![name?], kind, body, same: same(definition, node) })
}

fn same<'t>(definition: Node<'t>, node: Node<'t>) -> Option<Node<'t>> {
    (definition != node).then_some(definition)
}

/// What a name is bound to, if that is a function or a class: its kind, and its body.
fn value(mut value: Node<'_>) -> Option<(Kind, Option<Node<'_>>)> {
    // `((() => {}) as F) satisfies G`: deeper than that nobody writes.
    for _ in 0..4 {
        match value.kind() {
            "parenthesized_expression" | "as_expression" | "satisfies_expression" => {
                value = value.named_child(0)?;
            }
            _ => break,
        }
    }
    let kind = match value.kind() {
        "arrow_function" | "function_expression" | "generator_function" => Kind::Function,
        "class" => Kind::Class,
        _ => return None,
    };
    Some((kind, value.child_by_field_name("body")))
}

/// The name of a function, a class or a property: without its quotes. `None` where it is computed.
fn property(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    match node?.kind() {
        "computed_property_name" => None,
        "string" => string(node?, source),
        _ => name(node, source),
    }
}

fn string(node: Node<'_>, source: &[u8]) -> Option<String> {
    if node.named_child_count() > 1 {
        return None;
    }
    // An escape is no text.
    name(node.named_child(0).filter(|inner| inner.kind() == "string_fragment"), source)
}

/// The names of `namespace A.B.C` and of `module "name"`.
fn namespace(node: Node<'_>, source: &[u8]) -> Option<Vec<String>> {
    match node.kind() {
        "string" => Some(vec![string(node, source)?]),
        "identifier" => Some(vec![name(Some(node), source)?]),
        _ => {
            let written = node.utf8_text(source).ok()?;
            let names: Vec<String> = written.split('.').map(|name| name.trim().to_owned()).collect();
            let fits = |name: &String| {
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_$".contains(c))
            };
            names.iter().all(fits).then_some(names)
        }
    }
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    let parent = around.parent();
    let in_parent = |field| parent.and_then(|parent| parent.child_by_field_name(field)) == Some(node);
    let (referred, kind) = match node.kind() {
        "call_expression" => (node.child_by_field_name("function")?, ReferenceKind::Call),
        "new_expression" => (node.child_by_field_name("constructor")?, ReferenceKind::Call),
        "jsx_opening_element" | "jsx_self_closing_element" => {
            let name = node.child_by_field_name("name")?;
            // `<div>` is the browser's.
            let is_own = |c: &u8| !c.is_ascii_lowercase();
            if name.kind() == "identifier" && !source.get(name.start_byte()).is_some_and(is_own) {
                return None;
            }
            (name, ReferenceKind::Use)
        }
        "nested_type_identifier" => {
            return Some(Referred {
                name: name(node.child_by_field_name("name"), source)?,
                qualifier: qualifier(node.child_by_field_name("module"), source),
                kind: ReferenceKind::Use,
            });
        }
        "type_identifier" => {
            let is_part = parent.is_some_and(|parent| parent.kind() == "nested_type_identifier");
            let is_generic = parent.is_some_and(|parent| parent.kind() == "generic_type");
            if is_part || (in_parent("name") && !is_generic) {
                return None;
            }
            (node, ReferenceKind::Use)
        }
        // The class that another one extends, and a decorator.
        "identifier" | "member_expression"
            if parent.is_some_and(|parent| {
                matches!(parent.kind(), "extends_clause" | "class_heritage" | "decorator")
            }) =>
        {
            (node, ReferenceKind::Use)
        }
        _ => return None,
    };
    let (named, object) = match referred.kind() {
        "identifier" | "type_identifier" => (referred, None),
        "member_expression" => {
            (referred.child_by_field_name("property")?, referred.child_by_field_name("object"))
        }
        _ => return None,
    };
    Some(Referred { name: name(Some(named), source)?, qualifier: qualifier(object, source), kind })
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "comment" | "html_comment" => Attachment::Comment,
        // In TypeScript, those of a method stand beside it.
        "decorator" => Attachment::Attribute,
        _ => Attachment::None,
    }
}
