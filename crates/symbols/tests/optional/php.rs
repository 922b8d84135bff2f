//! PHP.

use muse_symbols::{Language, ReferenceKind};

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(super::symbols(Language::Php, &format!("<?php {source}")), *expected, "{source}");
    }
}

#[test]
fn a_namespace_with_braces_is_a_module() {
    check(&[
        (
            "namespace A\\B { class C { } } namespace { function d() { } }",
            "Module A.B, Class A.B.C, Function d",
        ),
        ("namespace A\\B; class C { }", "Class C"),
    ]);
}

#[test]
fn types_methods_and_constants_are_symbols() {
    check(&[
        (
            "class A { const B = 1, C = 2; private $d = 1; function __construct(private $e) { } static function f() { } }",
            "Class A, Constant A.B, Constant A.C, Constructor A.__construct, Method A.f",
        ),
        ("interface A { const B = 1; function c(); }", "Interface A, Constant A.B, Method A.c"),
        ("trait A { use B; abstract function c(); }", "Trait A, Method A.c"),
        (
            "enum A: int { case B = 1; const C = self::B; function d() { } }",
            "Enum A, Constant A.C, Method A.d",
        ),
        (
            "const A = 1, B = 2; define('C', 3); function d() { function e() { } }",
            "Constant A, Constant B, Function d, Function d.e",
        ),
        ("if (A) { function b() { } } else { function b() { } }", "Function b, Function b"),
    ]);
}

#[test]
fn a_function_is_named_as_the_variable_that_it_is_bound_to() {
    check(&[
        ("$a = function () { $b = fn ($c) => $c; };", "Function a, Function a.b"),
        ("$a->b = function () { }; f(function () { }); $c = 1;", ""),
        ("$a = new class { const B = 1; function c() { function d() { } } };", "Function d"),
    ]);
}

#[test]
fn what_stands_around_the_program_is_no_part_of_it() {
    let source = "<p>function a() { }</p>\n<?php\n// About it.\n#[B]\nfunction c() { ?>\n<b></b>\n<?php }\n?>\n<?= d() ?>\n";
    let outline = super::read(Language::Php, source);
    let told: Vec<_> = outline
        .symbols
        .iter()
        .map(|its| (its.qualified.as_str(), its.extent.lines.clone(), its.whole.lines.clone()))
        .collect();
    assert_eq!(told, [("c", 3..=7, 4..=7)]);
}

#[test]
fn calls_and_uses_are_told() {
    let calls =
        |source: &str| super::references(Language::Php, ReferenceKind::Call, &format!("<?php {source}"));
    assert_eq!(
        calls("f(); a\\b\\g(); $c->h(); $c?->i(); D::j(); parent::k(); $l(); $m->$n();"),
        "f a\\b|g $c|h $c|i D|j parent|k"
    );
    assert_eq!(calls("new A(1); new b\\C; new static(); new $d; throw new \\E('f');"), "A b|C E");
    let uses =
        |source: &str| super::references(Language::Php, ReferenceKind::Use, &format!("<?php {source}"));
    assert_eq!(
        uses("#[A] class B extends C implements D, e\\F { use G; private H|I $j; }"),
        "A C D e|F G H I"
    );
    assert_eq!(
        uses(
            "function a(?B $c, self $d): e\\F { try { return G::H; } catch (I | J $e) { return $e instanceof K; } }"
        ),
        "B e|F G I J K"
    );
}
