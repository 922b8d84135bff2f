//! Python. Functions and classes at any depth; what is assigned is no symbol.

use std::collections::BTreeSet;

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_python::LANGUAGE.into(), look, reference, attachment };

/// The scanner keeps the indentation of each block that it is in, and the strings around it. It writes both into 1024 bytes:
/// two, one for each of up to 255 strings, and two for each indentation while there is a byte left. With an odd number of
/// strings the last indentation is one byte too long: that is the 384th at the earliest.
const INDENTATIONS_MAX: usize = 383;

/// Whether the scanner may write more than it has room for, on which the parser ends the process.
///
/// Each indentation that it keeps is wider than the one around it, so there are no more of them than there are widths. It
/// counts a space as one and a tab as eight, from the last of the bytes that begin it anew, modulo 65,536. Behind a `\`
/// that ends a blank line it counts on; where it begins behind the `\`, it does not: one more width each.
pub(crate) fn is_deadly(source: &[u8]) -> bool {
    let mut widths = BTreeSet::new();
    let mut continued = 0;
    // The width so far, where nothing but white space and `\` stand before it in its line.
    let mut width = Some(0_u16);
    let mut is_backslash = false;
    for byte in source {
        width = match (byte, width) {
            (b'\n' | b'\r' | b'\x0C', _) => {
                continued += usize::from(is_backslash);
                // Of `\`, CR and LF, both are.
                is_backslash &= *byte == b'\r';
                Some(0)
            }
            (b' ', Some(width)) => Some(width.wrapping_add(1)),
            (b'\t', Some(width)) => Some(width.wrapping_add(8)),
            (b'\\', Some(width)) => Some(width),
            (_, Some(width)) => {
                widths.insert(width);
                None
            }
            (_, None) => None,
        };
        if !matches!(byte, b'\n' | b'\r' | b'\x0C') {
            is_backslash = *byte == b'\\' && width.is_some();
        }
        if widths.len() + continued > INDENTATIONS_MAX {
            return true;
        }
    }
    false
}

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let (definition, same) = match node.kind() {
        "decorated_definition" => {
            let Some(definition) = node.child_by_field_name("definition") else { return Look::Inside };
            (definition, Some(definition))
        }
        "function_definition" | "class_definition" => (node, None),
        // No definition can stand in a simple statement, an expression or a signature.
        "expression_statement"
        | "import_statement"
        | "import_from_statement"
        | "return_statement"
        | "raise_statement"
        | "assert_statement"
        | "delete_statement"
        | "parameters"
        | "argument_list"
        | "decorator"
        | "with_clause"
        | "call"
        | "attribute"
        | "comparison_operator"
        | "boolean_operator"
        | "not_operator"
        | "string" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    let kind = match (definition.kind(), around.enclosing) {
        ("class_definition", _) => Kind::Class,
        (_, Some(Kind::Class)) => Kind::Method,
        _ => Kind::Function,
    };
    match name(definition.child_by_field_name("name"), around.source) {
        Some(name) => {
            Look::Symbol(Found { path: vec![name], kind, body: definition.child_by_field_name("body"), same })
        }
        None => Look::Inside,
    }
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    if node.kind() != "call" {
        return None;
    }
    let function = node.child_by_field_name("function")?;
    let (called, object) = match function.kind() {
        "identifier" => (function, None),
        "attribute" => (function.child_by_field_name("attribute")?, function.child_by_field_name("object")),
        _ => return None,
    };
    Some(Referred {
        name: name(Some(called), around.source)?,
        qualifier: qualifier(object, around.source),
        kind: ReferenceKind::Call,
    })
}

fn attachment(node: Node<'_>) -> Attachment {
    if node.kind() == "comment" { Attachment::Comment } else { Attachment::None }
}
