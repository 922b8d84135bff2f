//! C.

use muse_symbols::{Language, Limits, Part, ReferenceKind, Touched, touched};

fn symbols(source: &str) -> String {
    super::symbols(Language::C, source)
}

#[test]
fn what_is_next_to_a_name_says_what_it_is() {
    assert_eq!(
        symbols(
            "int *f(void); int (g)(int); int (*h)(int); int (*(*i)(void))(int); int *(*j(int a))(int b);"
        ),
        "Function f, Function g, Variable h, Variable i, Function j"
    );
    assert_eq!(symbols("int a, *b = 0, c[2], d(void);"), "Variable a, Variable b, Variable c, Function d");
    assert_eq!(
        symbols("const int a = 1; const char *b; static const int *const c[2];"),
        "Constant a, Variable b, Variable c"
    );
}

#[test]
fn a_type_is_a_symbol_where_its_parts_are() {
    assert_eq!(symbols("struct a; struct b *c; enum d e;"), "Variable c, Variable e");
    assert_eq!(symbols("struct a { int b; } c, *d;"), "Struct a, Variable c, Variable d");
    assert_eq!(symbols("struct { int b; } c;"), "Variable c");
    assert_eq!(symbols("struct a { struct b { int c; } d; union { int e; }; };"), "Struct a, Struct a.b");
    assert_eq!(symbols("enum { A, B };"), "");
}

#[test]
fn a_typedef_is_the_type_that_it_names_first() {
    assert_eq!(symbols("typedef struct a { int b; } a;"), "Struct a");
    assert_eq!(symbols("typedef struct a { int b; } c, *d;"), "Struct a, TypeAlias c, TypeAlias d");
    assert_eq!(symbols("typedef union { int b; } *c, d;"), "TypeAlias c, Union d");
    assert_eq!(
        symbols("typedef struct a a; typedef int (*f)(a *), g(void);"),
        "TypeAlias a, TypeAlias f, TypeAlias g"
    );
}

#[test]
fn what_a_function_declares_is_its_own() {
    assert_eq!(
        symbols("int f(a, b) int a; char *b; { int c, g(void); struct d { int e; } h; }"),
        "Function f, Struct f.d"
    );
}

#[test]
fn calls_and_uses_are_told() {
    let calls = |source| super::references(Language::C, ReferenceKind::Call, source);
    assert_eq!(
        calls("int a(void) { f(); p->g(1); s.t.h(); (*i)(); (j)(k()); l[0](); }"),
        "f p|g s.t|h i j k"
    );
    let uses = |source| super::references(Language::C, ReferenceKind::Use, source);
    assert_eq!(uses("a *f(struct b *c, enum d e) { return (g *)sizeof(struct h); }"), "a b d g h");
    assert_eq!(uses("struct a { b c; }; typedef struct a *d, e[2]; typedef e (*f)(g);"), "b a e g");
}

#[test]
fn what_ends_a_declaration_is_part_of_it() {
    let source = "struct a { int b; };\n";
    let outline = super::read(Language::C, source);
    assert_eq!(&source[outline.symbols[0].extent.bytes.clone()], source.trim_end());
}

#[test]
fn an_edit_of_a_type_touches_all_of_its_names() {
    let old = "struct z { int y; };\n\ntypedef struct a { int b; } c, *d;\n\nstruct e { int f; } g;\n";
    let touched = |new: &str| {
        let texts = [old, new].map(|text| Some(text.as_bytes()));
        let parts = match touched(texts[0], texts[1], Some(Language::C), &Limits::default()) {
            Touched::Parts(parts) => parts,
            Touched::Whole(_) => return String::new(),
        };
        parts.iter().map(Part::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(touched(&old.replace("int b", "long b")), "a c d");
    assert_eq!(touched(&old.replace("int f", "long f")), "e g");
    // What ends the declaration is part of it.
    assert_eq!(touched(&old.replace("struct z { int y; };\n\n", "")), "z");
    assert_eq!(touched(&old.replace("typedef", "struct h { int i; };\n\ntypedef")), "h");
}
