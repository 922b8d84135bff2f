//! PHP, with what stands around it in a file. Classes, interfaces, traits and enums, their methods and constants, and
//! functions at any depth, constants of a file, and the functions that a variable is bound to, named without its `$`.
//!
//! A namespace with braces is a module; one without says where all that follows is, as a Java package does, and is no part
//! of its names. Properties, cases of enums and what `define` makes belong to what is around them, and so do the methods
//! of an anonymous class.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_php::LANGUAGE_PHP.into(), look, reference, attachment };

/// The names of the class that a method is in.
const OWN: [&str; 3] = ["parent", "self", "static"];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let kind = match node.kind() {
        "class_declaration" => Kind::Class,
        "interface_declaration" => Kind::Interface,
        "trait_declaration" => Kind::Trait,
        "enum_declaration" => Kind::Enum,
        "function_definition" => Kind::Function,
        "method_declaration" | "const_declaration" if is_of_nameless_class(around) => return Look::Inside,
        "method_declaration" => Kind::Method,
        "const_declaration" => return constants(node, source),
        "expression_statement" => return bound_function(node, source),
        "namespace_definition" => return namespace(node, source),
        "attribute_list" | "comment" | "namespace_use_declaration" | "text" | "text_interpolation" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    match name(node.child_by_field_name("name"), source) {
        Some(name) => {
            let is_constructor = kind == Kind::Method && name.eq_ignore_ascii_case("__construct");
            let kind = if is_constructor { Kind::Constructor } else { kind };
            let body = node.child_by_field_name("body");
            Look::Symbol(Found { path: vec![name], kind, body, same: None })
        }
        None => Look::Inside,
    }
}

/// Whether a member stands right in the body of `new class { }`.
fn is_of_nameless_class(around: &Surroundings<'_>) -> bool {
    matches!(around.ancestors, [.., class, _] if class.kind() == "anonymous_class")
}

fn namespace<'t>(node: Node<'t>, source: &[u8]) -> Look<'t> {
    let (Some(named), body @ Some(_)) = (node.child_by_field_name("name"), node.child_by_field_name("body"))
    else {
        return Look::Inside;
    };
    let mut cursor = named.walk();
    let path: Vec<String> =
        named.named_children(&mut cursor).filter_map(|part| name(Some(part), source)).collect();
    if path.is_empty() {
        return Look::Inside;
    }
    Look::Symbol(Found { path, kind: Kind::Module, body, same: None })
}

fn constants<'t>(node: Node<'t>, source: &[u8]) -> Look<'t> {
    let mut cursor = node.walk();
    let elements = node.named_children(&mut cursor).filter(|child| child.kind() == "const_element");
    let found = elements.filter_map(|element| {
        let path = vec![name(element.named_child(0), source)?];
        Some(Found { path, kind: Kind::Constant, body: element.named_child(1), same: None })
    });
    Look::Symbols(found.collect())
}

/// `$name = function () { };` and `$name = fn () => 1;`.
fn bound_function<'t>(statement: Node<'t>, source: &[u8]) -> Look<'t> {
    let found = || {
        let assignment = statement.named_child(0).filter(|inner| inner.kind() == "assignment_expression")?;
        let value = assignment.child_by_field_name("right")?;
        if !matches!(value.kind(), "anonymous_function" | "arrow_function") {
            return None;
        }
        let variable =
            assignment.child_by_field_name("left").filter(|left| left.kind() == "variable_name")?;
        let path = vec![name(variable.named_child(0), source)?];
        Some(Found { path, kind: Kind::Function, body: value.child_by_field_name("body"), same: None })
    };
    found().map_or(Look::Inside, Look::Symbol)
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    let field = |field| node.child_by_field_name(field);
    match node.kind() {
        "function_call_expression" => referred(field("function")?, ReferenceKind::Call, source),
        "object_creation_expression" => referred(node.named_child(0)?, ReferenceKind::Call, source),
        "member_call_expression" | "nullsafe_member_call_expression" | "scoped_call_expression" => {
            let before = field("object").or_else(|| field("scope"));
            Some(Referred {
                name: name(field("name").filter(|its| its.kind() == "name"), source)?,
                qualifier: qualifier(before, source),
                kind: ReferenceKind::Call,
            })
        }
        "name" | "qualified_name" => {
            let parent = around.parent()?;
            let is_used = match parent.kind() {
                "attribute" | "base_clause" | "class_interface_clause" | "named_type" | "use_declaration" => {
                    true
                }
                "class_constant_access_expression" => parent.named_child(0) == Some(node),
                "scoped_property_access_expression" => parent.child_by_field_name("scope") == Some(node),
                "binary_expression" => {
                    let operator = parent.child_by_field_name("operator");
                    operator.is_some_and(|operator| operator.kind() == "instanceof")
                        && parent.child_by_field_name("right") == Some(node)
                }
                _ => false,
            };
            if is_used { referred(node, ReferenceKind::Use, source) } else { None }
        }
        _ => None,
    }
}

/// A reference by `name` or `a\b\name`.
fn referred(node: Node<'_>, kind: ReferenceKind, source: &[u8]) -> Option<Referred> {
    let (named, before) = match node.kind() {
        "name" => (node, None),
        "qualified_name" => {
            let last = u32::try_from(node.named_child_count().checked_sub(1)?).ok()?;
            (node.named_child(last)?, node.named_child(0).filter(|before| before.kind() == "namespace_name"))
        }
        _ => return None,
    };
    let name = name(Some(named), source).filter(|name| !OWN.contains(&name.as_str()))?;
    Some(Referred { name, qualifier: qualifier(before, source), kind })
}

fn attachment(node: Node<'_>) -> Attachment {
    if node.kind() == "comment" { Attachment::Comment } else { Attachment::None }
}
