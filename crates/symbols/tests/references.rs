//! What is told of calls and uses, in each language.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use muse_symbols::{Detail, Language, Limits, Outline, ReferenceKind, outline};

fn read(language: Language, source: &str) -> Outline {
    let outline = outline(source.as_bytes(), language, Detail::Full, &Limits::default()).unwrap();
    assert!(outline.is_clean(), "{outline:?}");
    outline
}

/// Each reference of a kind as `qualifier|name`.
fn told(language: Language, kind: ReferenceKind, source: &str) -> Vec<String> {
    let references = read(language, source).references.into_iter();
    references
        .filter(|reference| reference.kind == kind)
        .map(|reference| match reference.qualifier {
            Some(qualifier) => format!("{qualifier}|{}", reference.name),
            None => reference.name,
        })
        .collect()
}

fn rust(kind: ReferenceKind, source: &str) -> Vec<String> {
    told(Language::Rust, kind, source)
}

fn go(kind: ReferenceKind, source: &str) -> Vec<String> {
    told(Language::Go, kind, source)
}

fn java(kind: ReferenceKind, source: &str) -> Vec<String> {
    told(Language::Java, kind, source)
}

#[test]
fn rust_calls_are_told_in_all_their_forms() {
    let body = "f(); m::n::f(); Self::g(); x.y.h(); f::<T>(); m::f::<T>(); x.h::<T>(); Some(1); \
                <T as U>::k(); ::std::l(); fs[0](); (|| 1)();";
    let calls = rust(ReferenceKind::Call, &format!("fn a() {{ {body} }}"));
    let expected = ["f", "m::n|f", "Self|g", "x.y|h", "f", "m|f", "x|h", "Some", "<T as U>|k", "::std|l"];
    assert_eq!(calls, expected);
    assert_eq!(rust(ReferenceKind::Call, "fn a() { m!(); n::o![1]; }\nitem! {}"), ["m", "n|o", "item"]);
}

#[test]
fn rust_types_and_struct_literals_are_uses() {
    let uses = |source| rust(ReferenceKind::Use, source);
    assert_eq!(uses("fn a(b: B<C>, d: &m::D) -> impl E {}"), ["B", "C", "m|D", "E"]);
    assert_eq!(uses("impl<T: A> B for m::C<T> where T: D {}"), ["A", "B", "m|C", "T", "T", "D"]);
    assert_eq!(
        uses("fn a() { A {}; m::B { x }; C::<u8> {}; m::D::<u8> {}; Self {}; }"),
        ["A", "m|B", "C", "m|D"]
    );
    let declared = "struct A; enum B {} union C { a: u8 } trait D { type E; } type F = u8;";
    assert!(uses(declared).is_empty(), "{:?}", uses(declared));
    assert_eq!(uses("fn f(_: impl Iterator<Item = A>) -> Self {}"), ["Iterator", "A"]);
}

#[test]
fn a_reference_is_from_the_innermost_symbol_around_it() {
    let source = "struct S(A);\nimpl S {\n    fn f(&self) {\n        g();\n    }\n}\nh!();\n";
    let outline = read(Language::Rust, source);
    let told: Vec<_> = outline
        .references
        .iter()
        .map(|its| {
            let from = its.from.map(|from| outline.symbols[from].qualified.as_str());
            (its.name.as_str(), from, *its.span.lines.start())
        })
        .collect();
    assert_eq!(told, [("A", Some("S"), 1), ("S", Some("S"), 2), ("g", Some("S.f"), 4), ("h", None, 7)]);
}

#[test]
fn go_calls_are_told_in_all_their_forms() {
    let body = "f(); p.F(); x.y.h(1); f[int](1); p.G[int, string](1); (g)(); go k(); defer m(); func() {}()";
    let calls = go(ReferenceKind::Call, &format!("package a\nfunc a() {{ {body} }}\n"));
    assert_eq!(calls, ["f", "p|F", "x.y|h", "f", "p|G", "g", "k", "m"]);
}

#[test]
fn go_types_are_uses() {
    let uses = |source| go(ReferenceKind::Use, &format!("package a\n{source}\n"));
    assert_eq!(
        uses("func (t *T[K]) m(a A, b ...[]p.B) map[C]error { return nil }"),
        ["T", "K", "A", "p|B", "C"]
    );
    assert_eq!(uses("var a = f[[]T](1)\nvar b = p.G[T, *U](1)"), ["T", "T", "U"]);
    assert_eq!(uses("type A struct { B; *p.C; d D[E] }"), ["B", "p|C", "D", "E"]);
    assert_eq!(uses("type A interface { B; ~int | C }\ntype D = E"), ["B", "C", "E"]);
    assert_eq!(uses("var a = A{b: p.B{}, c: []C{}}\nvar d D = e.(*E)"), ["A", "p|B", "C", "D", "E"]);
}

#[test]
fn java_calls_are_told_in_all_their_forms() {
    let body =
        "f(); this.f(); a.b.g(); super.h(); List.<T>of(1); new A(); new B<C>(1) {}; new m.D(); x.new E();";
    let calls = java(ReferenceKind::Call, &format!("class Z {{ void z() {{ {body} }} }}"));
    assert_eq!(calls, ["f", "this|f", "a.b|g", "super|h", "List|of", "A", "B", "m|D", "E"]);
}

#[test]
fn java_types_annotations_and_method_references_are_uses() {
    let uses = |source| java(ReferenceKind::Use, source);
    assert_eq!(
        uses("class Z<T extends A> extends B implements C<D>, m.n.E {}"),
        ["A", "B", "C", "D", "m.n|E"]
    );
    assert_eq!(
        uses("class Z { A[] a; B f(C c) throws D { E e = (F) c; G[] g = new G[1]; } }"),
        ["A", "B", "C", "D", "E", "F", "G", "G"]
    );
    assert_eq!(uses("@A @m.B(1) class Z {}"), ["A", "m|B"]);
    assert_eq!(
        uses("class Z { void z() { var a = new B<C>(); m(this::f, D::new); } }"),
        ["C", "this|f", "D"]
    );
}

#[test]
fn what_stands_before_a_call_is_told_where_it_is_short() {
    let source = format!("fn a() {{ x{}; }}", ".f()".repeat(20_000));
    let outline = read(Language::Rust, &source);
    assert_eq!(outline.references.len(), 20_000);
    let longest = outline.references.iter().filter_map(|its| its.qualifier.as_ref()).map(String::len).max();
    assert_eq!(longest, Some(253));
}
