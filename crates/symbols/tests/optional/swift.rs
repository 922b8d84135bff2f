//! Swift.

use muse_symbols::{Language, ReferenceKind};

fn symbols(source: &str) -> String {
    super::symbols(Language::Swift, source)
}

#[test]
fn an_extension_is_named_as_its_type() {
    assert_eq!(symbols("extension A.B<C> {\n func f() {}\n}"), "Implementation A.B, Method A.B.f");
    assert_eq!(
        symbols("extension [A] {}\nextension [A: B] {}\nextension A? {}"),
        "Implementation Array, Implementation Dictionary, Implementation Optional"
    );
    assert_eq!(symbols("extension A & B {\n func f() {}\n}"), "Method f");
}

#[test]
fn what_has_no_name_leaves_its_parts_to_what_is_around_it() {
    assert_eq!(
        symbols("struct A {\n subscript(b: B) -> C {\n func f() {}\n return d\n }\n}"),
        "Struct A, Function A.f"
    );
    assert_eq!(symbols("prefix operator +++\nprecedencegroup A {\n higherThan: B\n}"), "");
    assert_eq!(symbols("let (a, b) = c\nlet _ = d\nfunc `default`() {}"), "Function default");
}

#[test]
fn only_a_property_with_code_is_a_symbol_of_its_type() {
    let source =
        "class A {\n let b = 1\n var c: Int { 1 }\n var d = 1 {\n didSet {}\n }\n lazy var e = { 1 }()\n}";
    assert_eq!(symbols(source), "Class A, Property A.c, Property A.d");
    assert_eq!(
        symbols(
            "func f() {\n let a = 1\n var b: Int { 1 }\n}\nlet c = 1, d = 2\nvar e = 3\nvar g: Int { 4 }"
        ),
        "Function f, Constant c, Constant d, Variable e, Property g"
    );
}

#[test]
fn calls_are_told() {
    let calls = |source: &str| {
        super::references(Language::Swift, ReferenceKind::Call, &format!("func z() {{\n{source}\n}}"))
    };
    assert_eq!(
        calls(
            "f(); a.b.g(1); x?.h { i() }; Foo<Int>(1); Self.k(); self.q(); .make(); x!.y(); #mac(1); try! await z(); v {}; super.w()"
        ),
        "f a.b|g x|h i Foo Self|k self|q make x!|y mac z v super|w"
    );
    assert_eq!(calls("a[0]; b.c[1]; [Int](); t.0(); d[1]()"), "");
}

#[test]
fn types_and_attributes_are_uses() {
    let uses = |source| super::references(Language::Swift, ReferenceKind::Use, source);
    assert_eq!(uses("@A func f<T: B>(c: m.n.C, d: [D: E?]) -> some F where T: G {}"), "A B m.n|C D E F G");
    assert_eq!(
        uses("class A: B, C {\n var d: D { e as! E }\n func f() -> Self { x() }\n}\nextension F {}"),
        "B C D E F"
    );
}

#[test]
fn hashes_tell_signature_and_body_apart() {
    super::check_hashes(
        Language::Swift,
        "A.f",
        [
            "extension A { @B func f(c: Int) -> Int { return c } }",
            "extension A {\n  /// D\n  @B\n  func f( c: Int ) // e\n  -> Int { return /* f */ c }\n}",
            "extension A { @B func f(c: Int) -> Int { return d } }",
            "extension A { @B func f(d: Int) -> Int { return c } }",
        ],
    );
}
