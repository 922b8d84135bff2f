//! Kotlin.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use muse_symbols::{
    Detail, Language, Limits, Outline, ReferenceKind, Touched, Unread, Why, outline, touched,
};

fn symbols(source: &str) -> String {
    super::symbols(Language::Kotlin, source)
}

#[test]
fn an_extension_stands_in_its_receivers_type() {
    assert_eq!(
        symbols("fun A.f() {}\nfun A.B<C>?.g() {}\nfun (A).h() {}"),
        "Method A.f, Method A.B.g, Method A.h"
    );
    assert_eq!(symbols("fun (() -> A).f() {}\nfun dynamic.g() {}"), "Function f, Function g");
    assert_eq!(
        symbols("val A.b: Int get() = 1\nval <T> List<T>.c: T get() = d"),
        "Property A.b, Property List.c"
    );
    assert_eq!(
        symbols("class A {\n fun B.f() {}\n}\nfun g() {\n fun B.h() {}\n}"),
        "Class A, Method A.B.f, Function g, Method g.B.h"
    );
}

#[test]
fn what_has_no_name_leaves_its_parts_to_what_is_around_it() {
    assert_eq!(
        symbols("val a = object : B {\n fun f() {\n class C\n }\n val d: Int get() = 1\n}"),
        "Property a, Class a.C"
    );
    assert_eq!(symbols("enum class A {\n B {\n fun f() {}\n };\n fun g() {}\n}"), "Enum A, Method A.g");
    assert_eq!(symbols("class A {\n init {\n fun f() {}\n }\n}"), "Class A, Function A.f");
    assert_eq!(symbols("fun `a b`() {\n class C\n}\nfun `d`() {}\nfun `e.f`() {}"), "Class C, Function d");
}

#[test]
fn only_a_property_with_code_is_a_symbol_of_its_type() {
    let source = "class A {\n val b = 1\n var c = 2\n  private set\n val d get() = 3\n var e = 4\n  set(f) {}\n val g by h\n}";
    assert_eq!(symbols(source), "Class A, Property A.d, Property A.e");
    assert_eq!(
        symbols("fun f() {\n val a = 1\n}\nval b = 2\nvar c = 3\nconst val d = 4"),
        "Function f, Property b, Property c, Constant d"
    );
}

#[test]
fn a_companion_has_a_name_where_it_is_given_none() {
    assert_eq!(
        symbols("class A {\n companion object {\n fun f() {}\n }\n}"),
        "Class A, Object A.Companion, Method A.Companion.f"
    );
    assert_eq!(symbols("class A {\n companion object B\n}"), "Class A, Object A.B");
}

#[test]
fn calls_are_told() {
    let calls = |source: &str| {
        super::references(Language::Kotlin, ReferenceKind::Call, &format!("fun z() {{ {source} }}"))
    };
    assert_eq!(
        calls("f(); a.b.g(1); x?.h<I>(2) { i() }; A(1); this.q(); (r)(); x!!.y(); super.s()"),
        "f a.b|g x|h i A this|q r x!!|y super|s"
    );
    assert_eq!(calls("a to b; run { c }; fs[0](); f(1)(2)"), "a|to run f");
    let of_file = |source| super::references(Language::Kotlin, ReferenceKind::Call, source);
    assert_eq!(of_file("class A : B(1), C, D by e\nval f = object : m.G() {}"), "B m|G");
}

#[test]
fn types_annotations_and_references_to_functions_are_uses() {
    let uses = |source| super::references(Language::Kotlin, ReferenceKind::Use, source);
    assert_eq!(uses("fun <T : A> B<C>.f(d: m.n.D, e: (E?) -> F): G where T : H {}"), "A B C m.n|D E F G H");
    assert_eq!(uses("@A @m.B(1) @get:C class D : E(), F by g\n"), "A m|B C F");
    assert_eq!(
        uses("val a = ::f\nval b = A::g\nval c = m.B::class\nval d = e as C\nval h = i is List<D>"),
        "f A|g m|B C List D"
    );
}

#[test]
fn hashes_tell_signature_and_body_apart() {
    super::check_hashes(
        Language::Kotlin,
        "B.f",
        [
            "@A fun B.f(c: Int): Int { return c }\n",
            "/** D */\n@A\nfun B.f( c: Int ) // e\n  : Int { return /* f */ c }\n",
            "@A fun B.f(c: Int): Int { return d }\n",
            "@A fun B.f(d: Int): Int { return c }\n",
        ],
    );
}

/// What reading `source` comes to without a limit of time; fails where that does not end.
fn read(source: &str) -> Result<Outline, Unread> {
    let (done, told) = channel();
    let source = source.to_owned();
    thread::spawn(move || {
        done.send(outline(source.as_bytes(), Language::Kotlin, Detail::Spans, &Limits::default()))
    });
    told.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn a_text_that_the_scanner_is_never_done_with_is_not_read() {
    for source in ["class A {\n val a = 1\n @Deprec", "val a = 1\n@A(\"b", "val a = 1\r@A"] {
        assert_eq!(read(source), Err(Unread::TooSlow), "{source}");
    }
    assert_eq!(symbols("@A val a = 1\n@B\nval b = 2"), "Property a, Property b");
}

#[test]
fn a_text_in_which_the_parser_goes_in_circles_is_not_read() {
    // At the `^`: it takes a name to be missing, finds the end of a statement of no length, and goes back.
    let source = format!("{{(y())\ng\n^ \n \n t\"{}", "\nx".repeat(100));
    assert_eq!(read(&source), Err(Unread::TooSlow));
    let limits = Limits { time_max: Some(Duration::from_millis(1)), ..Limits::default() };
    let told = touched(Some(source.as_bytes()), Some(b"x"), Some(Language::Kotlin), &limits);
    assert_eq!(told, Touched::Whole(Why::Unread(Unread::TooSlow)));
}
