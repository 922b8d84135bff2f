//! Rust. Items at any depth, those of blocks of functions too; what a macro is given is not read.
//!
//! An `impl` block is a symbol named as the type that it is for, without path, parameters and lifetimes: so is that of a
//! reference, a pointer, a slice or an array to it, and that of `dyn Trait` as the trait. Where that has no name
//! (`impl Trait for (A, B)`, `impl Trait for fn()`), as the trait. `_` is no name: `const _: () = ...` belongs to what is
//! around it.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_rust::LANGUAGE.into(), look, reference, attachment };

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    // A field costs more than the rest: most nodes are asked for none.
    let field = |name| node.child_by_field_name(name);
    let (kind, body) = match node.kind() {
        "function_item" | "function_signature_item" => match around.enclosing {
            Some(Kind::Implementation | Kind::Trait) => (Kind::Method, field("body")),
            _ => (Kind::Function, field("body")),
        },
        "impl_item" => (Kind::Implementation, field("body")),
        "trait_item" => (Kind::Trait, field("body")),
        "mod_item" => match field("body") {
            Some(body) => (Kind::Module, Some(body)),
            None => return Look::Inside,
        },
        "struct_item" => (Kind::Struct, field("body")),
        "enum_item" => (Kind::Enum, field("body")),
        "union_item" => (Kind::Union, field("body")),
        "type_item" | "associated_type" => (Kind::TypeAlias, None),
        "const_item" => (Kind::Constant, field("value")),
        "static_item" => (Kind::Variable, field("value")),
        "macro_definition" => (Kind::Macro, None),
        "attribute_item"
        | "inner_attribute_item"
        | "macro_invocation"
        | "macro_rule"
        | "token_tree"
        | "use_declaration"
        | "line_comment"
        | "block_comment"
        | "visibility_modifier"
        | "type_parameters"
        | "type_arguments"
        | "where_clause"
        | "trait_bounds"
        | "parameters"
        | "reference_type"
        | "generic_type"
        | "scoped_type_identifier"
        | "scoped_identifier" => {
            return Look::Skip;
        }
        _ => return Look::Inside,
    };
    let named = if kind == Kind::Implementation { implemented(node) } else { field("name") };
    match name(named, around.source).filter(|name| name != "_") {
        Some(name) => Look::Symbol(Found { path: vec![name], kind, body, same: None }),
        None => Look::Inside,
    }
}

/// The name that an `impl` block goes by.
fn implemented(node: Node<'_>) -> Option<Node<'_>> {
    type_name(node.child_by_field_name("type")?).or_else(|| type_name(node.child_by_field_name("trait")?))
}

fn type_name(mut node: Node<'_>) -> Option<Node<'_>> {
    loop {
        node = match node.kind() {
            "type_identifier" | "identifier" | "primitive_type" => return Some(node),
            "scoped_type_identifier" => node.child_by_field_name("name")?,
            "generic_type" | "higher_ranked_trait_bound" | "pointer_type" | "reference_type" => {
                node.child_by_field_name("type")?
            }
            "array_type" => node.child_by_field_name("element")?,
            "dynamic_type" | "function_type" => node.child_by_field_name("trait")?,
            "bounded_type" => {
                let mut cursor = node.walk();
                node.named_children(&mut cursor).find(|part| part.kind() != "lifetime")?
            }
            // One type in parentheses is a tuple to the grammar: `&(dyn A + B)`.
            "tuple_type" if node.named_child_count() == 1 && node.child_count() == 3 => {
                node.named_child(0)?
            }
            _ => return None,
        }
    }
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let (referring, kind) = match node.kind() {
        "call_expression" => (node.child_by_field_name("function")?, ReferenceKind::Call),
        "macro_invocation" => (node.child_by_field_name("macro")?, ReferenceKind::Call),
        // `m::S::<T> { .. }`: the path is that of an expression, and has no type in it.
        "generic_type_with_turbofish" => {
            let path = node.child_by_field_name("type").filter(|path| path.kind() == "scoped_identifier");
            (path?, ReferenceKind::Use)
        }
        "scoped_type_identifier" => (node, ReferenceKind::Use),
        "type_identifier" => {
            let parent = around.parent()?;
            let is_name = parent.child_by_field_name("name") == Some(node);
            if is_name && parent.kind() != "struct_expression" {
                return None;
            }
            (node, ReferenceKind::Use)
        }
        _ => return None,
    };
    let referring = match referring.kind() {
        "generic_function" => referring.child_by_field_name("function")?,
        _ => referring,
    };
    let (named, before) = match referring.kind() {
        "identifier" | "type_identifier" => (referring, None),
        "scoped_identifier" | "scoped_type_identifier" => {
            (referring.child_by_field_name("name")?, referring.child_by_field_name("path"))
        }
        "field_expression" => {
            (referring.child_by_field_name("field")?, referring.child_by_field_name("value"))
        }
        _ => return None,
    };
    let name = name(Some(named), around.source).filter(|name| name != "Self")?;
    Some(Referred { name, qualifier: qualifier(before, around.source), kind })
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "attribute_item" => Attachment::Attribute,
        // What begins with `//!` is about what it stands in.
        "line_comment" | "block_comment" if node.child_by_field_name("inner").is_none() => {
            Attachment::Comment
        }
        _ => Attachment::None,
    }
}
