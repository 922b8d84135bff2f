//! Bash. Functions at any depth, with what their output is redirected to. A name with `:` or `.`, as `log::info`, is
//! none that an address can carry: that function belongs to what it stands in.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_bash::LANGUAGE.into(), look, reference, attachment };

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    // `f() { ...; } 2>&1 >file`: each is around what stands before it.
    let mut definition = node;
    while definition.kind() == "redirected_statement" {
        match definition.child_by_field_name("body") {
            Some(body) => definition = body,
            None => break,
        }
    }
    if definition.kind() != "function_definition" {
        return Look::Inside;
    }
    match name(definition.child_by_field_name("name"), around.source) {
        Some(name) => Look::Symbol(Found {
            path: vec![name],
            kind: Kind::Function,
            body: definition.child_by_field_name("body"),
            same: (definition != node).then_some(definition),
        }),
        None => Look::Inside,
    }
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    if node.kind() != "command" {
        return None;
    }
    let called = node.child_by_field_name("name")?.named_child(0)?;
    let (named, kind) = if called.utf8_text(around.source) == Ok("trap") {
        (node.child_by_field_name("argument")?, ReferenceKind::Use)
    } else {
        (called, ReferenceKind::Call)
    };
    // What has a path is a file.
    let is_name =
        |name: &String| named.kind() == "word" && !name.contains(['/', '\\']) && !name.starts_with('-');
    Some(Referred { name: name(Some(named), around.source).filter(is_name)?, qualifier: None, kind })
}

fn attachment(node: Node<'_>) -> Attachment {
    if node.kind() == "comment" { Attachment::Comment } else { Attachment::None }
}
