//! Go. Functions and types at any depth, the constants and variables of the package, the methods that an interface
//! asks for. A method stands in its receiver's type, wherever that is declared. `_` is no name: what declares it belongs
//! to what is around it.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

pub(crate) const GRAMMAR: Grammar =
    Grammar { language: || tree_sitter_go::LANGUAGE.into(), look, reference, attachment };

/// How deep the declarations of a package stand in the tree, and at most the names in one of them
/// (`var_declaration`, `var_spec_list`, `var_spec`).
const DEPTH_DECLARATION: usize = 1;
const DEPTH_SPEC_MAX: usize = 3;

/// The types that every package has.
const PREDECLARED: [&str; 22] = [
    "any",
    "bool",
    "byte",
    "comparable",
    "complex128",
    "complex64",
    "error",
    "float32",
    "float64",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "rune",
    "string",
    "uint",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "uintptr",
];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let source = around.source;
    let depth = around.ancestors.len();
    match node.kind() {
        "function_declaration" => found(Vec::new(), node, Kind::Function, node, source),
        "method_declaration" => {
            let receiver = node.child_by_field_name("receiver").and_then(receiver);
            let path = name(receiver, source).into_iter().collect();
            found(path, node, Kind::Method, node, source)
        }
        // Only what a named interface asks for can be told by a name.
        "method_elem" if is_of_named_type(around) => found(Vec::new(), node, Kind::Method, node, source),
        "type_declaration" => match alone(node) {
            Some(spec) => type_spec(spec, Some(spec), source),
            None => Look::Inside,
        },
        "type_spec" | "type_alias" => type_spec(node, None, source),
        "const_declaration" | "var_declaration" if depth == DEPTH_DECLARATION => match alone(node) {
            Some(spec) => value_spec(spec, Some(spec), source),
            None => Look::Inside,
        },
        "const_spec" | "var_spec" if depth <= DEPTH_SPEC_MAX => value_spec(node, None, source),
        "import_declaration" | "package_clause" | "comment" => Look::Skip,
        _ => Look::Inside,
    }
}

fn found<'t>(
    mut path: Vec<String>,
    node: Node<'t>,
    kind: Kind,
    of_body: Node<'t>,
    source: &[u8],
) -> Look<'t> {
    match declared(node.child_by_field_name("name"), source) {
        Some(name) => {
            path.push(name);
            Look::Symbol(Found { path, kind, body: of_body.child_by_field_name("body"), same: None })
        }
        None => Look::Inside,
    }
}

fn declared(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    name(node, source).filter(|name| name != "_")
}

/// The declaration's one part where it stands without parentheses: then what is above the declaration is about it.
fn alone(declaration: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = declaration.walk();
    let mut parts = declaration.children(&mut cursor).skip(1);
    parts
        .find(|part| !part.is_extra())
        .filter(|part| part.kind().ends_with("_spec") || part.kind() == "type_alias")
}

fn type_spec<'t>(spec: Node<'t>, same: Option<Node<'t>>, source: &[u8]) -> Look<'t> {
    let Some(name) = declared(spec.child_by_field_name("name"), source) else { return Look::Inside };
    let its = spec.child_by_field_name("type");
    let (kind, body) = match (spec.kind(), its.map(|its| its.kind())) {
        ("type_spec", Some("struct_type")) => (Kind::Struct, its.and_then(|its| its.named_child(0))),
        ("type_spec", Some("interface_type")) => (Kind::Interface, its),
        _ => (Kind::TypeAlias, None),
    };
    Look::Symbol(Found { path: vec![name], kind, body, same })
}

fn value_spec<'t>(spec: Node<'t>, same: Option<Node<'t>>, source: &[u8]) -> Look<'t> {
    let kind = if spec.kind() == "const_spec" { Kind::Constant } else { Kind::Variable };
    let body = spec.child_by_field_name("value");
    let mut cursor = spec.walk();
    // The commas between the names have the names' field too.
    let names = spec.children_by_field_name("name", &mut cursor).filter(Node::is_named);
    let names = names.filter_map(|name| declared(Some(name), source));
    Look::Symbols(names.map(|name| Found { path: vec![name], kind, body, same }).collect())
}

/// `func (t *T[K]) m()`: the name of `T`.
fn receiver(list: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = list.walk();
    let mut parameters = list.named_children(&mut cursor);
    let mut node =
        parameters.find(|its| its.kind() == "parameter_declaration")?.child_by_field_name("type")?;
    loop {
        node = match node.kind() {
            "type_identifier" => return Some(node),
            "generic_type" => node.child_by_field_name("type")?,
            "pointer_type" | "parenthesized_type" => node.named_child(0)?,
            _ => return None,
        }
    }
}

fn is_of_named_type(around: &Surroundings<'_>) -> bool {
    matches!(around.ancestors, [.., spec, _] if matches!(spec.kind(), "type_spec" | "type_alias"))
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    match node.kind() {
        "call_expression" => called(node.child_by_field_name("function")?, source),
        // `f[T](x)`: a call or a conversion, as `f(x)` is.
        "type_conversion_expression" => called(node.child_by_field_name("type").filter(is_generic)?, source),
        "type_identifier" => {
            let parent = around.parent()?;
            let before = match parent.kind() {
                "type_spec" | "type_alias" if parent.child_by_field_name("name") == Some(node) => {
                    return None;
                }
                "qualified_type" => parent.child_by_field_name("package"),
                _ => None,
            };
            let name = name(Some(node), source).filter(|name| !PREDECLARED.contains(&name.as_str()))?;
            if is_called(node, around.ancestors) {
                return None;
            }
            Some(Referred { name, qualifier: qualifier(before, source), kind: ReferenceKind::Use })
        }
        _ => None,
    }
}

fn is_generic(node: &Node<'_>) -> bool {
    node.kind() == "generic_type"
}

/// Whether a type's name is that of a conversion, which is told as a call.
fn is_called(name: Node<'_>, ancestors: &[Node<'_>]) -> bool {
    let (generic, name, above) = match ancestors {
        [above @ .., generic, path] if path.kind() == "qualified_type" => (generic, *path, above),
        [above @ .., generic] => (generic, name, above),
        [] => return false,
    };
    is_generic(generic)
        && generic.child_by_field_name("type") == Some(name)
        && above.last().is_some_and(|conversion| {
            conversion.kind() == "type_conversion_expression"
                && conversion.child_by_field_name("type") == Some(*generic)
        })
}

fn called(mut function: Node<'_>, source: &[u8]) -> Option<Referred> {
    loop {
        let (named, before) = match function.kind() {
            "identifier" | "type_identifier" => (Some(function), None),
            "selector_expression" => {
                (function.child_by_field_name("field"), function.child_by_field_name("operand"))
            }
            "qualified_type" => {
                (function.child_by_field_name("name"), function.child_by_field_name("package"))
            }
            // `f[T](x)`, and `fs[0](x)`, which looks the same.
            "index_expression" => {
                function = function.child_by_field_name("operand")?;
                continue;
            }
            "generic_type" | "type_instantiation_expression" => {
                function = function.child_by_field_name("type")?;
                continue;
            }
            "parenthesized_expression" => {
                function = function.named_child(0)?;
                continue;
            }
            _ => return None,
        };
        let name = name(named, source)?;
        return Some(Referred { name, qualifier: qualifier(before, source), kind: ReferenceKind::Call });
    }
}

fn attachment(node: Node<'_>) -> Attachment {
    if node.kind() == "comment" { Attachment::Comment } else { Attachment::None }
}
