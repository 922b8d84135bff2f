//! Python. Functions and classes at any depth; what is assigned is no symbol.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_python::LANGUAGE.into(), look, reference, attachment };

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
