//! C#. Types and delegates, their methods, constructors, properties, events and operators, and local functions at any
//! depth; overloads and the parts of a partial class under one name. A constructor is named as its class, a destructor as
//! that with a `~`, an operator with its sign (`operator+`), an indexer `this`.
//!
//! A namespace with braces is a module; one without says where the whole file is, as a Java package does, and is no part of
//! its names. Conversions and `operator true` have no name that an address could carry, and a member that implements one of an interface explicitly is named as that.
//! Fields, and members of enums, belong to their type; variables, and lambdas that they hold, to what is around them.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_c_sharp::LANGUAGE.into(), look, reference, attachment };

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let field = |field| node.child_by_field_name(field);
    let named = || name(field("name"), source);
    let body = || field("body");
    let accessors = || field("accessors").or_else(|| field("value"));
    let (its, kind, body) = match node.kind() {
        "class_declaration" => (named(), Kind::Class, body()),
        "struct_declaration" => (named(), Kind::Struct, body()),
        "interface_declaration" => (named(), Kind::Interface, body()),
        "enum_declaration" => (named(), Kind::Enum, body()),
        "record_declaration" => (named(), Kind::Record, body()),
        "delegate_declaration" => (named(), Kind::TypeAlias, None),
        "method_declaration" => (named(), Kind::Method, body()),
        "local_function_statement" => (named(), Kind::Function, body()),
        "constructor_declaration" => (named(), Kind::Constructor, body()),
        "destructor_declaration" => (named().map(|class| format!("~{class}")), Kind::Method, body()),
        "property_declaration" | "event_declaration" => (named(), Kind::Property, accessors()),
        "indexer_declaration" => (Some("this".to_owned()), Kind::Property, accessors()),
        "operator_declaration" => {
            let sign = name(field("operator"), source).filter(|sign| !sign.contains(char::is_alphabetic));
            (sign.map(|sign| format!("operator{sign}")), Kind::Method, body())
        }
        "event_field_declaration" => return event_fields(node, source),
        "namespace_declaration" => return namespace(node, source),
        "attribute_list" | "comment" | "parameter_list" | "preproc_region" | "using_directive" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    match its {
        Some(its) => Look::Symbol(Found { path: vec![its], kind, body, same: None }),
        None => Look::Inside,
    }
}

/// `event E a, b;`
fn event_fields<'t>(node: Node<'t>, source: &[u8]) -> Look<'t> {
    let mut cursor = node.walk();
    let declaration = node.named_children(&mut cursor).find(|child| child.kind() == "variable_declaration");
    let Some(declaration) = declaration else { return Look::Inside };
    let mut cursor = declaration.walk();
    let names = declaration
        .named_children(&mut cursor)
        .filter(|child| child.kind() == "variable_declarator")
        .filter_map(|declarator| name(declarator.child_by_field_name("name"), source));
    let found = |its| Found { path: vec![its], kind: Kind::Property, body: None, same: None };
    Look::Symbols(names.map(found).collect())
}

/// `namespace A.B { }`
fn namespace<'t>(node: Node<'t>, source: &[u8]) -> Look<'t> {
    let mut path = Vec::new();
    let mut rest = node.child_by_field_name("name");
    while let Some(written) = rest {
        let (last, before) = match written.kind() {
            "qualified_name" => {
                (written.child_by_field_name("name"), written.child_by_field_name("qualifier"))
            }
            _ => (Some(written), None),
        };
        let Some(last) = name(last, source) else { return Look::Inside };
        path.insert(0, last);
        rest = before;
    }
    let body = node.child_by_field_name("body");
    if path.is_empty() {
        return Look::Inside;
    }
    Look::Symbol(Found { path, kind: Kind::Module, body, same: None })
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    match node.kind() {
        "invocation_expression" => {
            let told = referred(node.child_by_field_name("function")?, ReferenceKind::Call, source)?;
            // It is a word of the language.
            (told.name != "nameof").then_some(told)
        }
        "object_creation_expression" => {
            referred(node.child_by_field_name("type")?, ReferenceKind::Call, source)
        }
        "alias_qualified_name" | "generic_name" | "identifier" | "qualified_name"
            if is_type(node, around.parent()?) =>
        {
            referred(node, ReferenceKind::Use, source)
        }
        _ => None,
    }
}

/// Whether a name is written where a type stands, other than that which `new` makes.
fn is_type(node: Node<'_>, parent: Node<'_>) -> bool {
    let is_field = |field| parent.child_by_field_name(field) == Some(node);
    match parent.kind() {
        "object_creation_expression" => false,
        "base_list" | "explicit_interface_specifier" | "type_argument_list" => true,
        "attribute" => is_field("name"),
        "as_expression" => is_field("right"),
        "method_declaration" => is_field("returns"),
        _ => is_field("type"),
    }
}

/// A reference by a name, with type arguments or not, or by one that others stand before.
fn referred(written: Node<'_>, kind: ReferenceKind, source: &[u8]) -> Option<Referred> {
    let field = |field| written.child_by_field_name(field);
    let (named, before) = match written.kind() {
        "identifier" | "generic_name" => (written, None),
        "qualified_name" => (field("name")?, field("qualifier")),
        "alias_qualified_name" => (field("name")?, field("alias")),
        "member_access_expression" => (field("name")?, field("expression")),
        // `a?.f()`
        "conditional_access_expression" => {
            let last = u32::try_from(written.named_child_count().checked_sub(1)?).ok()?;
            let binding = written.named_child(last)?;
            let is_next = binding.kind() == "member_binding_expression";
            (binding.child_by_field_name("name")?, field("condition").filter(|_| is_next))
        }
        _ => return None,
    };
    let named = if named.kind() == "generic_name" { named.named_child(0)? } else { named };
    Some(Referred { name: name(Some(named), source)?, qualifier: qualifier(before, source), kind })
}

fn attachment(node: Node<'_>) -> Attachment {
    if node.kind() == "comment" { Attachment::Comment } else { Attachment::None }
}
