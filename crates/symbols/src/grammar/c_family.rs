//! C and C++: one table, because the grammars name their nodes alike.
//!
//! Symbols are functions with and without a body, structs, unions, enums and classes where they are declared with one,
//! `typedef` and `using` of types, namespaces and concepts at any depth; what `#define` gives a name; the variables of a
//! file or a namespace, and those that are bound to a lambda anywhere. A declaration that only says that there is a type
//! (`struct node;`) is none. The name of `typedef struct { .. } node;` is the struct's.
//!
//! What is defined outside of its class or namespace stands below the names that are written before it: `T::f` is
//! `T.f`, without parameters of templates. A conversion (`operator bool`) and `operator new` have no name that an address
//! could carry, and a nameless namespace has none: they belong to what is around them. Fields, and constants of enums,
//! belong to their type.
//!
//! Macros are not expanded. Those that stand where the language has a word of its own are a fault, and what is around them
//! is told as far as it can be: of `class EXPORT A { .. }` all but the constructors without a body.

use tree_sitter::Node;

use super::{Attachment, Found, Grammar, Look, Referred, Surroundings, name, qualifier};
use crate::outline::{Kind, ReferenceKind};

#[cfg(feature = "c")]
pub(crate) const C: Grammar =
    Grammar { language: || tree_sitter_c::LANGUAGE.into(), look, reference, attachment };

#[cfg(feature = "cpp")]
pub(crate) const CPP: Grammar =
    Grammar { language: || tree_sitter_cpp::LANGUAGE.into(), look, reference, attachment };

/// How many nodes around a declaration are looked at to tell whether it is in a function: each `#elif` is one.
const ANCESTORS_MAX: usize = 256;

/// The casts look like calls of templates.
const CASTS: [&str; 4] = ["const_cast", "dynamic_cast", "reinterpret_cast", "static_cast"];

fn look<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    if around.parent().is_some_and(|parent| wrapped(parent).is_some()) {
        return Look::Inside;
    }
    let definition = unwrapped(node);
    let field = |field| definition.child_by_field_name(field);
    let one = |path: Option<Vec<String>>, kind, body| match path {
        Some(path) => Look::Symbol(Found { path, kind, body, same: None }),
        None => Look::Inside,
    };
    match definition.kind() {
        "struct_specifier" | "class_specifier" | "union_specifier" | "enum_specifier" => {
            match tagged(definition, around.source) {
                Some(found) => Look::Symbol(found),
                None => Look::Inside,
            }
        }
        "function_definition" => function(definition, around),
        "declaration" | "field_declaration" => Look::Symbols(declared(definition, around)),
        "type_definition" => Look::Symbols(defined_types(definition, around.source)),
        "alias_declaration" => one(path(field("name"), around.source), Kind::TypeAlias, None),
        "concept_definition" => one(path(field("name"), around.source), Kind::Trait, None),
        "namespace_definition" => one(namespace(field("name"), around.source), Kind::Module, field("body")),
        "preproc_def" | "preproc_function_def" => {
            one(path(field("name"), around.source), Kind::Macro, field("value"))
        }
        "preproc_include" | "using_declaration" | "comment" => Look::Skip,
        _ => Look::Inside,
    }
}

/// What a statement that is part of one declaration encloses: `template <..>`, `extern "C"` without braces.
fn wrapped(node: Node<'_>) -> Option<Node<'_>> {
    match node.kind() {
        "template_declaration" => {
            let last = u32::try_from(node.named_child_count().checked_sub(1)?).ok()?;
            node.named_child(last)
        }
        "linkage_specification" => {
            node.child_by_field_name("body").filter(|body| body.kind() != "declaration_list")
        }
        _ => None,
    }
}

fn unwrapped(mut node: Node<'_>) -> Node<'_> {
    // `extern "C++" template <..> template <..>`: more of them are of a class in a class in a class.
    for _ in 0..8 {
        let Some(inner) = wrapped(node) else { break };
        node = inner;
    }
    node
}

/// A type that is declared with what is in it.
fn tagged<'t>(node: Node<'t>, source: &[u8]) -> Option<Found<'t>> {
    let (kind, body) = type_body(node)?;
    let path = path(node.child_by_field_name("name"), source)?;
    Some(Found { path, kind, body: Some(body), same: None })
}

fn type_body(node: Node<'_>) -> Option<(Kind, Node<'_>)> {
    let kind = match node.kind() {
        "struct_specifier" => Kind::Struct,
        "class_specifier" => Kind::Class,
        "union_specifier" => Kind::Union,
        "enum_specifier" => Kind::Enum,
        _ => return None,
    };
    Some((kind, node.child_by_field_name("body")?))
}

fn function<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Look<'t> {
    let found = node.child_by_field_name("declarator").and_then(|declarator| {
        let Declared { named, .. } = declarator_name(declarator)?;
        let path = path(Some(named), around.source)?;
        let kind = exported_type(node).unwrap_or_else(|| function_kind(&path, node, around));
        Some(Found { path, kind, body: node.child_by_field_name("body"), same: None })
    });
    found.map_or(Look::Inside, Look::Symbol)
}

/// `class EXPORT A { .. };` looks like a function `A` without parameters, which there is not.
fn exported_type(function: Node<'_>) -> Option<Kind> {
    if function.child_by_field_name("declarator")?.kind() != "identifier" {
        return None;
    }
    match function.child_by_field_name("type")?.kind() {
        "class_specifier" => Some(Kind::Class),
        "struct_specifier" => Some(Kind::Struct),
        "union_specifier" => Some(Kind::Union),
        _ => None,
    }
}

fn function_kind(path: &[String], node: Node<'_>, around: &Surroundings<'_>) -> Kind {
    let is_in_type = matches!(around.enclosing, Some(Kind::Class | Kind::Struct | Kind::Union));
    let is_friend = around.parent().is_some_and(|parent| parent.kind() == "friend_declaration");
    let is_nameless = |name: &str| !name.starts_with('~') && node.child_by_field_name("type").is_none();
    match path {
        [.., class, name] if class == name && is_nameless(name) => Kind::Constructor,
        [_, _, ..] => Kind::Method,
        [name] if is_in_type && !is_friend => {
            let is_operator = name.starts_with("operator") && !name.ends_with(char::is_alphanumeric);
            if is_nameless(name) && !is_operator { Kind::Constructor } else { Kind::Method }
        }
        _ => Kind::Function,
    }
}

/// What a declaration declares: a type in front, functions, and variables where they are not those of a function or a
/// type.
fn declared<'t>(node: Node<'t>, around: &Surroundings<'_>) -> Vec<Found<'t>> {
    let source = around.source;
    let place = place(around);
    let of_type = node.child_by_field_name("type");
    let tag = of_type.and_then(|of_type| Some(Found { same: Some(of_type), ..tagged(of_type, source)? }));
    let mut all: Vec<Found<'t>> = tag.into_iter().collect();
    if around.parent().is_some_and(|parent| parent.kind() == "friend_declaration") {
        return all;
    }
    let mut cursor = node.walk();
    let is_constant = node
        .named_children(&mut cursor)
        .filter(|child| child.kind() == "type_qualifier")
        .any(|qualifier| matches!(source.get(qualifier.byte_range()), Some(b"const" | b"constexpr")));
    let mut cursor = node.walk();
    for declarator in node.children_by_field_name("declarator", &mut cursor).filter(Node::is_named) {
        let value = declarator
            .child_by_field_name("value")
            .or_else(|| node.child_by_field_name("default_value").filter(|_| place == Place::Type));
        let lambda = value.filter(|value| value.kind() == "lambda_expression");
        let Some(Declared { named, is_function, is_pointer }) = declarator_name(declarator) else { continue };
        let Some(path) = path(Some(named), source) else { continue };
        let (kind, body) = match (lambda, place) {
            (Some(lambda), _) => {
                let kind = if place == Place::Type { Kind::Method } else { Kind::Function };
                (kind, lambda.child_by_field_name("body"))
            }
            (None, Place::Type | Place::File) if is_function => (function_kind(&path, node, around), None),
            (None, Place::File) if is_constant && !is_pointer => (Kind::Constant, value),
            (None, Place::File) => (Kind::Variable, value),
            (None, Place::Type | Place::Function) => continue,
        };
        all.push(Found { path, kind, body, same: None });
    }
    all
}

/// What a declaration stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    File,
    Function,
    Type,
}

fn place(around: &Surroundings<'_>) -> Place {
    let mut ancestors = around.ancestors.iter().rev().take(ANCESTORS_MAX);
    while let Some(node) = ancestors.next() {
        match node.kind() {
            "translation_unit" | "declaration_list" => return Place::File,
            "field_declaration_list" => return Place::Type,
            "compound_statement" => {
                let of_type = ancestors.next().filter(|function| function.kind() == "function_definition");
                let of_type = of_type.and_then(|function| exported_type(*function));
                return if of_type.is_some() { Place::Type } else { Place::Function };
            }
            // The declarations of parameters that stand behind their list.
            "function_definition" => return Place::Function,
            _ => {}
        }
    }
    Place::Function
}

/// `typedef struct node { .. } node, *link;`: the struct, and each name that is not its own.
fn defined_types<'t>(node: Node<'t>, source: &[u8]) -> Vec<Found<'t>> {
    let of_type = node.child_by_field_name("type");
    let tag = of_type.and_then(|of_type| Some(Found { same: Some(of_type), ..tagged(of_type, source)? }));
    let mut nameless = if tag.is_none() { of_type.and_then(type_body) } else { None };
    let mut all: Vec<Found<'t>> = tag.into_iter().collect();
    let mut cursor = node.walk();
    for declarator in node.children_by_field_name("declarator", &mut cursor).filter(Node::is_named) {
        let Some(Declared { named, is_function, is_pointer }) = declarator_name(declarator) else { continue };
        let Some(path) = path(Some(named), source) else { continue };
        if all.first().is_some_and(|tag| tag.same.is_some() && tag.path == path) {
            continue;
        }
        let its = if is_function || is_pointer { None } else { nameless.take() };
        let (kind, body) = its.map_or((Kind::TypeAlias, None), |(kind, body)| (kind, Some(body)));
        all.push(Found { path, kind, body, same: None });
    }
    all
}

/// What a declarator declares.
struct Declared<'t> {
    named: Node<'t>,
    is_function: bool,
    is_pointer: bool,
}

/// Goes to the name: what is next to it says what it is. `*f()` is a function, `(*f)()` a pointer.
fn declarator_name(mut node: Node<'_>) -> Option<Declared<'_>> {
    let (mut is_function, mut is_pointer) = (false, false);
    loop {
        let kind = node.kind();
        match kind {
            "parenthesized_declarator" | "init_declarator" | "attributed_declarator" => {}
            "function_declarator" | "array_declarator" | "pointer_declarator" | "reference_declarator" => {
                is_function = kind == "function_declarator";
                is_pointer |= kind == "pointer_declarator";
            }
            _ => return Some(Declared { named: node, is_function, is_pointer }),
        }
        node = if let Some(inner) = node.child_by_field_name("declarator") {
            inner
        } else {
            let mut cursor = node.walk();
            let is_inner = |child: &Node<'_>| {
                child.kind().ends_with("declarator") || child.kind().ends_with("identifier")
            };
            node.named_children(&mut cursor).find(is_inner)?
        };
    }
}

/// The names of `A<T>::B::f`: `None` where one of them has none that an address could carry.
fn path(node: Option<Node<'_>>, source: &[u8]) -> Option<Vec<String>> {
    let mut node = node?;
    let mut names = Vec::new();
    while node.kind() == "qualified_identifier" {
        // `::f` has none.
        if let Some(scope) = node.child_by_field_name("scope") {
            names.push(simple_name(scope, source)?);
        }
        node = node.child_by_field_name("name")?;
    }
    names.push(simple_name(node, source)?);
    Some(names)
}

fn simple_name(node: Node<'_>, source: &[u8]) -> Option<String> {
    match node.kind() {
        "identifier" | "field_identifier" | "type_identifier" | "namespace_identifier" | "primitive_type" => {
            name(Some(node), source)
        }
        "template_type" | "template_function" | "template_method" => {
            name(node.child_by_field_name("name"), source)
        }
        "destructor_name" => Some(format!("~{}", name(node.named_child(0), source)?)),
        "operator_name" => {
            let written = node.utf8_text(source).ok()?.strip_prefix("operator")?.trim_start();
            // `operator new` would not be one name.
            let is_word = written.starts_with(|c: char| c.is_alphabetic() || c == '_');
            let written: String = written.split_whitespace().collect();
            (!is_word && !written.contains(['.', ':'])).then(|| format!("operator{written}"))
        }
        _ => None,
    }
}

/// The names of `namespace a::inline b`.
fn namespace(node: Option<Node<'_>>, source: &[u8]) -> Option<Vec<String>> {
    let mut node = node?;
    let mut names = Vec::new();
    while node.kind() == "nested_namespace_specifier" {
        let (first, last) = (node.named_child(0)?, node.named_child(1)?);
        names.push(name(Some(first), source)?);
        node = last;
    }
    names.push(name(Some(node), source)?);
    Some(names)
}

fn reference(node: Node<'_>, around: &Surroundings<'_>) -> Option<Referred> {
    let source = around.source;
    match node.kind() {
        "call_expression" => called(node.child_by_field_name("function")?, source),
        "new_expression" => called(node.child_by_field_name("type")?, source),
        "type_identifier" => {
            let (written, above) = written_type(node, around.ancestors);
            if is_declared(written, *above.last()?) {
                return None;
            }
            // `a::T<U>::f`: the type is in the middle.
            let around = above.iter().rev().take_while(|node| node.kind() == "qualified_identifier");
            let path = around.last().copied().unwrap_or(written);
            Some(Referred {
                name: name(Some(node), source)?,
                qualifier: scope_before(path, node, source),
                kind: ReferenceKind::Use,
            })
        }
        _ => None,
    }
}

/// All of the path that ends in a type's name, and what it stands in.
fn written_type<'a, 't>(mut node: Node<'t>, mut ancestors: &'a [Node<'t>]) -> (Node<'t>, &'a [Node<'t>]) {
    while let [above @ .., parent] = ancestors
        && matches!(parent.kind(), "qualified_identifier" | "template_type")
        && parent.child_by_field_name("name") == Some(node)
    {
        (node, ancestors) = (*parent, above);
    }
    (node, ancestors)
}

/// Whether a type's name is told elsewhere: as what is declared there, or as what `new` calls.
fn is_declared(written: Node<'_>, parent: Node<'_>) -> bool {
    let is_field = |field| parent.child_by_field_name(field) == Some(written);
    match parent.kind() {
        "struct_specifier" | "class_specifier" | "union_specifier" | "enum_specifier" => {
            is_field("name") && parent.child_by_field_name("body").is_some()
        }
        "alias_declaration" | "optional_type_parameter_declaration" => is_field("name"),
        "type_parameter_declaration" | "variadic_type_parameter_declaration" => true,
        "type_definition" => !is_field("type"),
        "new_expression" => is_field("type"),
        kind => kind.ends_with("declarator"),
    }
}

fn called(mut function: Node<'_>, source: &[u8]) -> Option<Referred> {
    let written = function;
    let mut object = None;
    loop {
        function = match function.kind() {
            "identifier" | "field_identifier" | "type_identifier" => break,
            "qualified_identifier" | "template_function" | "template_method" | "template_type" => {
                function.child_by_field_name("name")?
            }
            "field_expression" => {
                object = function.child_by_field_name("argument");
                function.child_by_field_name("field")?
            }
            "dependent_name" | "parenthesized_expression" => function.named_child(0)?,
            "pointer_expression" => function.child_by_field_name("argument")?,
            _ => return None,
        };
    }
    let qualifier = match object {
        Some(_) => qualifier(object, source),
        None => scope_before(written, function, source),
    };
    let name = name(Some(function), source).filter(|name| !CASTS.contains(&name.as_str()))?;
    Some(Referred { name, qualifier, kind: ReferenceKind::Call })
}

/// What `a::b::` is before a name, without its last `::`.
fn scope_before(written: Node<'_>, named: Node<'_>, source: &[u8]) -> Option<String> {
    if written.kind() != "qualified_identifier" {
        return None;
    }
    let before = source.get(written.start_byte()..named.start_byte())?;
    let scope = before.trim_ascii_end().strip_suffix(b"::")?.trim_ascii_end();
    (!scope.is_empty() && scope.len() <= super::QUALIFIER_BYTES_MAX)
        .then(|| String::from_utf8_lossy(scope).into_owned())
}

fn attachment(node: Node<'_>) -> Attachment {
    match node.kind() {
        "comment" => Attachment::Comment,
        ";" => Attachment::End,
        _ => Attachment::None,
    }
}
