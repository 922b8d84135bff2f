//! C++.

use muse_symbols::{Language, ReferenceKind};

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(super::symbols(Language::Cpp, source), *expected, "{source}");
    }
}

#[test]
fn what_is_defined_outside_stands_below_the_names_before_it() {
    check(&[
        ("int a::B::f() { return 0; }", "Method a.B.f"),
        ("template <class T> int A<T>::f() { return 0; }", "Method A.f"),
        ("template <class T> template <class U> A<T>::A(U u) {}", "Constructor A.A"),
        ("A::~A() {} void ::f() {}", "Method A.~A, Function f"),
        ("int A::count = 0; struct A::B { void f(); };", "Variable A.count, Struct A.B, Method A.B.f"),
        ("template <> struct hash<A> { int f() const; };", "Struct hash, Method hash.f"),
        (
            "namespace a::inline b { int f(); } namespace { int g(); }",
            "Module a.b, Function a.b.f, Function g",
        ),
    ]);
}

#[test]
fn an_operator_is_named_with_its_sign() {
    check(&[
        (
            "struct A { A operator + (A); bool operator==(A) const; int operator()(); int operator[](int); };",
            "Struct A, Method A.operator+, Method A.operator==, Method A.operator(), Method A.operator[]",
        ),
        ("A A::operator-() { return *this; }", "Method A.operator-"),
        ("A operator\"\"_a(int);", "Function operator\"\"_a"),
        (
            "struct A { operator bool(); void *operator new(size_t); void operator delete[](void *); };",
            "Struct A",
        ),
    ]);
}

#[test]
fn a_class_has_constructors_and_methods_but_no_fields() {
    check(&[
        (
            "class A { A(); explicit A(int); ~A(); A(const A &) = delete; virtual void f() = 0; int a, *b; int (*g)(); };",
            "Class A, Constructor A.A, Constructor A.A, Method A.~A, Constructor A.A, Method A.f",
        ),
        (
            "struct A { static int a; enum class B { C }; using D = int; };",
            "Struct A, Enum A.B, TypeAlias A.D",
        ),
        (
            "class A { friend class B; friend void f(A); friend int g() { return 1; } };",
            "Class A, Function A.g",
        ),
        ("class A { std::function<void()> f = [] {}; };", "Class A, Method A.f"),
    ]);
}

#[test]
fn a_lambda_is_named_as_what_it_is_bound_to() {
    check(&[
        ("const auto f = [](int a) { return a; };", "Function f"),
        (
            "void f() { auto g = [&] { struct A { int b; }; }; int h = 1; }",
            "Function f, Function f.g, Struct f.g.A",
        ),
        ("void f() { A a(b); int g(int); }", "Function f"),
    ]);
}

#[test]
fn what_stands_around_a_declaration_is_part_of_it() {
    let source = "// A\ntemplate <class T>\nstruct A {\n  template <class U>\n  void f(U u) {}\n};\nextern \"C\" int f() { return 0; }\n";
    let outline = super::read(Language::Cpp, source);
    let told: Vec<_> = outline
        .symbols
        .iter()
        .map(|its| (its.qualified.as_str(), its.extent.lines.clone(), its.whole.lines.clone()))
        .collect();
    assert_eq!(told, [("A", 1..=6, 2..=6), ("A.f", 4..=5, 4..=5), ("f", 7..=7, 7..=7)]);
    assert!(source[outline.symbols[2].whole.bytes.clone()].starts_with("extern"));
    check(&[
        ("extern \"C\" { int f(); }", "Function f"),
        ("template <class T> concept A = true;", "Trait A"),
    ]);
}

#[test]
fn calls_and_uses_are_told() {
    let calls =
        |body: &str| super::references(Language::Cpp, ReferenceKind::Call, &format!("void z() {{ {body} }}"));
    assert_eq!(
        calls("f(); a::b::g(); p->h(); x.i<int>(); j<int>(1); this->k(); ::l();"),
        "f a::b|g p|h x|i j this|k l"
    );
    assert_eq!(
        calls("new A(1); new a::B<int>{2}; static_cast<C>(x->template m<D>()); [] { n(); }();"),
        "A a|B x|m n"
    );
    let uses = |source| super::references(Language::Cpp, ReferenceKind::Use, source);
    assert_eq!(uses("class A : public B, c::D<E> { F f; }; using G = H; struct I;"), "B c|D E F H I");
    assert_eq!(
        uses("template <class T, typename U = A> a::B<T> b::C<U>::f(D &d) { return e::F{}; }"),
        "A a|B T b|C U D e|F"
    );
    assert_eq!(uses("void f() { new A<B>; catch_(C{}); std::vector<d::E> e; }"), "B C std|vector d|E");
}

#[test]
fn what_stands_before_a_name_is_told_where_it_is_short() {
    let calls = |names: usize| {
        let source = format!("void f() {{ {}g(); }}", "ab::".repeat(names));
        super::references(Language::Cpp, ReferenceKind::Call, &source)
    };
    assert!(calls(64).ends_with("ab|g"), "{}", calls(64));
    assert_eq!(calls(65), "g");
}

#[test]
fn a_class_is_one_with_a_macro_before_its_name() {
    let source = "\
class EXPORT A {
 public:
  static int f(const B &b);
  A(int a) : a_(a) {}
  virtual int g() { int local(int); return 1; }

 private:
  int a_;
};
struct EXPORT C : public D {
  void h() const;
};
int i() { int j(int); return 1; }
";
    let outline = super::read(Language::Cpp, source);
    let told: Vec<String> =
        outline.symbols.iter().map(|its| format!("{:?} {}", its.kind, its.qualified)).collect();
    assert_eq!(
        told.join(", "),
        "Class A, Method A.f, Constructor A.A, Method A.g, Struct C, Method C.h, Function i"
    );
}
