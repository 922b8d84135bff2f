//! Scala.

use muse_symbols::{Language, ReferenceKind};

fn symbols(source: &str) -> String {
    super::symbols(Language::Scala, source)
}

#[test]
fn a_block_that_ends_by_indentation_keeps_its_own_comments_only() {
    let source = "class A:\n  def f =\n    1\n    // f's\n\n  // A's\n\n  // about g\n  // more\n  def g =\n    2\n// about h\ndef h = 3\n";
    let outline = super::read(Language::Scala, source);
    let told: Vec<_> = outline
        .symbols
        .iter()
        .map(|its| (its.name.as_str(), its.extent.lines.clone(), its.whole.lines.clone()))
        .collect();
    assert_eq!(
        told,
        [("A", 1..=11, 1..=11), ("f", 2..=4, 2..=3), ("g", 8..=11, 10..=11), ("h", 12..=13, 13..=13)]
    );
    assert_eq!(&source[outline.symbols[1].body.clone().unwrap().bytes], "1");
    assert_eq!(&source[outline.symbols[2].extent.bytes.clone()], "// about g\n  // more\n  def g =\n    2");
}

#[test]
fn a_comment_beside_the_end_of_a_block_is_about_that() {
    let outline = super::read(Language::Scala, "class A:\n  def f =\n    1 // f's\n  def g = 2\n");
    assert_eq!(outline.symbols[2].extent.lines, 4..=4);
    let outline = super::read(Language::Scala, "class A:\n  def f =\n    1\n    // f's\n  def g = 2\n");
    let told: Vec<_> = outline.symbols.iter().map(|its| its.extent.lines.clone()).collect();
    assert_eq!(told, [1..=5, 2..=4, 5..=5]);
}

#[test]
fn what_has_no_name_leaves_its_parts_to_what_is_around_it() {
    assert_eq!(
        symbols("object A { val b = new C { def f = { class D } } }"),
        "Object A, Constant A.b, Class A.b.D"
    );
    assert_eq!(
        symbols("given A with\n  def f = 1\n  class B\ngiven c: A with\n  def g = 1\n"),
        "Class B, Object c, Method c.g"
    );
    assert_eq!(
        symbols("class A { def ::(b: A) = 1; def `c d` = 2; def + = 3; def `e` = 4 }"),
        "Class A, Method A.+, Method A.e"
    );
}

#[test]
fn values_of_packages_and_objects_are_symbols() {
    assert_eq!(
        symbols(
            "val a = 1\nclass B { val c = 1 }\ntrait D { var e = 1 }\nobject F { val (g, h) = (1, 2); var i = 1 }"
        ),
        "Constant a, Class B, Trait D, Object F, Variable F.i"
    );
    assert_eq!(
        symbols("package a.b {\n  val c = 1\n}\npackage object d {\n  lazy val e = 1\n}"),
        "Module a.b, Constant a.b.c, Object d, Constant d.e"
    );
    assert_eq!(
        symbols("def f = {\n  val a = 1\n}\nobject B { def g = { var c = 1 } }"),
        "Function f, Object B, Method B.g"
    );
}

#[test]
fn an_extension_is_named_as_its_type() {
    assert_eq!(symbols("extension (a: m.A[B])\n  def f = 1\n"), "Implementation A, Method A.f");
    assert_eq!(symbols("extension [T](using C)(a: T) def f = 1\n"), "Implementation T, Method T.f");
    assert_eq!(symbols("extension (a: A => B)\n  def f = 1\n"), "Method f");
}

#[test]
fn calls_are_told() {
    let calls = |source: &str| {
        super::references(Language::Scala, ReferenceKind::Call, &format!("def z = {{ {source} }}"))
    };
    assert_eq!(
        calls(
            "f(); a.b.g(1); h[I](2); m.k[T](3); x foo y; p { q() }; this(1); s\"${t()}\"; this.u(); (v)(1)"
        ),
        "f a.b|g h m|k x|foo p q t this|u v"
    );
    assert_eq!(calls("new A; new B[C](1) {}; new m.D(); a + b; c.d; f(1)(2)"), "A B m|D f");
}

#[test]
fn types_and_annotations_are_uses() {
    let uses = |source| super::references(Language::Scala, ReferenceKind::Use, source);
    assert_eq!(
        uses(
            "@A class Z[T <: B](x: C) extends D[E](1) with m.F { type G = H; def f(y: => I): m.n.J[K] = new L[M] }"
        ),
        "A B C D E m|F H I m.n|J K M"
    );
    assert_eq!(uses("def f(a: Any) = a match { case b: B => 1; case C(d) => 2 }"), "Any B C");
}

#[test]
fn hashes_tell_signature_and_body_apart() {
    super::check_hashes(
        Language::Scala,
        "A.f",
        [
            "class A:\n  def f(b: Int) =\n    b\n",
            "class A:\n  // c\n  def f( b: Int ) =\n\n    b // d\n    // e\n\n  // g\n",
            "class A:\n  def f(b: Int) =\n    c\n",
            "class A:\n  def f(b: Any) =\n    b\n",
        ],
    );
}

#[test]
fn a_comment_belongs_to_one_symbol_where_a_fault_puts_them_beside_each_other() {
    let source = "class A:\n  del f =\n    1\n    // f's\n\n  // about g\n  def g = 2\n";
    let outline = super::read(Language::Scala, source);
    let extents: Vec<_> = outline.symbols.iter().map(|symbol| symbol.extent.bytes.clone()).collect();
    assert_eq!(extents.len(), 2, "the class is cut short, and `g` is beside it");
    assert!(extents[0].end <= extents[1].start, "{extents:?}");
}
