//! C#.

use muse_symbols::{Language, ReferenceKind};

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(super::symbols(Language::CSharp, source), *expected, "{source}");
    }
}

#[test]
fn a_namespace_with_braces_is_a_module() {
    check(&[
        ("namespace A.B { class C { } }", "Module A.B, Class A.B.C"),
        ("namespace A { namespace B { enum C { D } } }", "Module A, Module A.B, Enum A.B.C"),
        ("namespace A.B;\nclass C { }", "Class C"),
    ]);
}

#[test]
fn members_are_named_as_they_are_written() {
    check(&[
        (
            "class A { A() { } static A() { } ~A() { } int f; const int G = 1; }",
            "Class A, Constructor A.A, Constructor A.A, Method A.~A",
        ),
        (
            "class A { int B => 1; int C { get; set; } int this[int i] { get => i; } }",
            "Class A, Property A.B, Property A.C, Property A.this",
        ),
        (
            "class A { event E B, C; event E D { add { } remove { } } delegate int F(int a); }",
            "Class A, Property A.B, Property A.C, Property A.D, TypeAlias A.F",
        ),
        (
            "class A { public static A operator +(A a, A b) => a; public static implicit operator int(A a) => 1; }",
            "Class A, Method A.operator+",
        ),
        ("class A : I { void I.F() { } int I.G => 1; }", "Class A, Method A.F, Property A.G"),
        (
            "record A(int B); record struct C(int D) { int E() => 1; } interface F { void G(); }",
            "Record A, Record C, Method C.E, Interface F, Method F.G",
        ),
        (
            "class A { void F() { int G() { return 1; } Action h = () => { void I() { } }; } }",
            "Class A, Method A.F, Function A.F.G, Function A.F.I",
        ),
    ]);
}

#[test]
fn parts_of_a_class_have_one_name() {
    check(&[(
        "partial class A { void F() { } } partial class A { void F(int a) { } }",
        "Class A, Method A.F, Class A, Method A.F",
    )]);
}

#[test]
fn a_program_without_a_class_has_functions() {
    let source = "using System;\n\n// About it.\nvoid F() { }\nF();\n";
    let outline = super::read(Language::CSharp, source);
    assert_eq!(outline.symbols[0].extent.lines, 3..=4);
    check(&[(source, "Function F")]);
}

#[test]
fn calls_and_uses_are_told() {
    let calls = |body: &str| {
        let source = format!("class Z {{ void Y() {{ {body} }} }}");
        super::references(Language::CSharp, ReferenceKind::Call, &source)
    };
    assert_eq!(
        calls("F(); a.b.G(); this.H(); base.I(); J<int>(); x.K<int>(); a?.L(); nameof(a);"),
        "F a.b|G this|H base|I J x|K a|L"
    );
    assert_eq!(calls("new A(1); new B<int>(); var c = new d.E { F = 1 };"), "A B d|E");
    let uses = |source| super::references(Language::CSharp, ReferenceKind::Use, source);
    assert_eq!(uses("[A] class Z<T> : B<C>, d.E where T : F { }"), "A B C d|E F");
    assert_eq!(
        uses("class Z { A[] a; B? B(C c) => (D)c as E; F P { get; } void I.G() { } }"),
        "A B C D E F I"
    );
    assert_eq!(uses("class Z { void F() { try { G<H> g = new I<J>(); } catch (K) { } } }"), "G H J K");
}
