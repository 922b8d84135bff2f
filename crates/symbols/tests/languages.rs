//! What is particular to a language, and what holds in each of them.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::thread;

use muse_symbols::{Detail, Language, Limits, Outline, Symbol, SymbolHashes, outline};

fn read(language: Language, source: &str, detail: Detail) -> Outline {
    let limits = Limits { bytes_max: 2 * Limits::BYTES_MAX_DEFAULT, ..Limits::default() };
    outline(source.as_bytes(), language, detail, &limits).unwrap()
}

fn names(language: Language, source: &str) -> Vec<String> {
    let symbols = read(language, source, Detail::Full).symbols.into_iter();
    symbols.map(|symbol| symbol.qualified).collect()
}

fn hashes(language: Language, source: &str, symbol: &str) -> SymbolHashes {
    let symbols = read(language, source, Detail::Full).symbols;
    symbols.into_iter().find(|its: &Symbol| its.qualified == symbol).unwrap().hashes.unwrap()
}

#[test]
fn a_file_is_of_the_language_that_its_name_says() {
    for (path, language) in [
        ("src/lib.rs", Some(Language::Rust)),
        ("a.b/c.d.go", Some(Language::Go)),
        ("Main.java", Some(Language::Java)),
        #[cfg(feature = "bash")]
        ("a/b.sh", Some(Language::Bash)),
        #[cfg(not(feature = "bash"))]
        ("a/b.sh", None),
        #[cfg(feature = "c")]
        ("a/b.h", Some(Language::C)),
        #[cfg(not(feature = "c"))]
        ("a/b.h", None),
        #[cfg(feature = "cpp")]
        ("a/b.hpp", Some(Language::Cpp)),
        #[cfg(not(feature = "cpp"))]
        ("a/b.hpp", None),
        #[cfg(feature = "kotlin")]
        ("build.gradle.kts", Some(Language::Kotlin)),
        #[cfg(not(feature = "kotlin"))]
        ("build.gradle.kts", None),
        #[cfg(feature = "scala")]
        ("build.sbt", Some(Language::Scala)),
        #[cfg(not(feature = "scala"))]
        ("build.sbt", None),
        #[cfg(feature = "swift")]
        ("Package.swift", Some(Language::Swift)),
        #[cfg(not(feature = "swift"))]
        ("Package.swift", None),
        #[cfg(feature = "csharp")]
        ("A.cs", Some(Language::CSharp)),
        #[cfg(not(feature = "csharp"))]
        ("A.cs", None),
        #[cfg(feature = "php")]
        ("a.php", Some(Language::Php)),
        #[cfg(not(feature = "php"))]
        ("a.php", None),
        #[cfg(feature = "ruby")]
        ("a.rake", Some(Language::Ruby)),
        #[cfg(not(feature = "ruby"))]
        ("a.rake", None),
        ("a.rs/b", None),
        ("rs", None),
    ] {
        assert_eq!(Language::of_path(path), language, "{path}");
    }
}

#[test]
fn what_a_module_says_of_itself_is_not_about_its_first_item() {
    for inner in ["//! About all.", "/*! About all. */", "#![allow(unused)]"] {
        let outline = read(Language::Rust, &format!("{inner}\nfn f() {{}}\n"), Detail::Spans);
        assert_eq!(outline.symbols[0].extent.lines, 2..=2, "{inner}");
    }
    let outline = read(Language::Rust, "/// About it.\nfn f() {}\n", Detail::Spans);
    assert_eq!(outline.symbols[0].extent.lines, 1..=2);
}

#[test]
fn an_attribute_behind_something_else_on_its_line_is_of_what_follows() {
    let source = "fn a() {} #[test] fn b() {}";
    let outline = read(Language::Rust, source, Detail::Spans);
    let told: Vec<&str> = outline.symbols.iter().map(|symbol| &source[symbol.whole.bytes.clone()]).collect();
    assert_eq!(told, ["fn a() {}", "#[test] fn b() {}"]);
}

#[test]
fn a_comment_beside_what_opens_a_block_is_not_about_its_first_symbol() {
    let outline = read(Language::Rust, "mod m { // m's\n            fn f() {}\n}\n", Detail::Spans);
    assert_eq!(outline.symbols[1].extent.lines, 2..=2);
}

#[test]
fn what_has_no_name_leaves_its_parts_to_what_is_around_it() {
    assert_eq!(names(Language::Rust, "const _: () = { fn f() {} };"), ["f"]);
    assert_eq!(names(Language::Rust, "impl dyn Fn() { fn f() {} }"), ["Fn", "Fn.f"]);
    assert_eq!(names(Language::Rust, "impl A for fn() { fn f() {} }"), ["A", "A.f"]);
    assert_eq!(names(Language::Rust, "impl A for *const [&mut m::B<u8>; 2] {}"), ["B"]);
    assert_eq!(names(Language::Rust, "impl A for &(dyn m::B<C> + Send) {}"), ["B"]);
    assert_eq!(names(Language::Rust, "impl () { fn f() {} }"), ["f"]);
    assert_eq!(names(Language::Go, "package a\nvar _, b = 1, 2\nfunc _() {}\ntype _ struct{}\n"), ["b"]);
    assert_eq!(names(Language::Go, "package a\nfunc (a p.B) f() {}\nfunc () g() {}\n"), ["f", "g"]);
    assert_eq!(
        names(Language::Java, "class A { B b = new B() { void f() { class C { void g() {} } } }; { } }"),
        ["A", "A.C", "A.C.g"]
    );
}

#[test]
fn a_java_method_without_a_class_is_a_function() {
    assert_eq!(names(Language::Java, "void main() { class A {} }"), ["main", "main.A"]);
}

#[test]
fn hashes_tell_signature_and_body_apart_in_each_language() {
    for (language, first, spaced, body, signature, symbol) in [
        (
            Language::Rust,
            "impl A { #[x] fn f(a: u8) -> u8 { a } }",
            "impl A {\n /// B\n #[x]\n fn f(a: u8) // c\n -> u8 { /* d */ a } }",
            "impl A { #[x] fn f(a: u8) -> u8 { b } }",
            "impl A { #[y] fn f(a: u8) -> u8 { a } }",
            "A.f",
        ),
        (
            Language::Go,
            "package a\nfunc (a A) f(b int) int { return b }\n",
            "package a\n// B\nfunc (a A) f( b int ) int { return /* c */ b }\n",
            "package a\nfunc (a A) f(b int) int { return a }\n",
            "package a\nfunc (a A) f(b uint) int { return b }\n",
            "A.f",
        ),
        (
            Language::Java,
            "class A { @B int f(int a) { return a; } }",
            "class A {\n/** C */\n@B\nint f(int a) { // d\n return a; } }",
            "class A { @B int f(int a) { return b; } }",
            "class A { @C int f(int a) { return a; } }",
            "A.f",
        ),
        (
            Language::Go,
            "package a\nvar b, c = 1, 2\n",
            "package a\n// D\nvar  b,  c = 1, 2 // e\n",
            "package a\nvar b, c = 1, 3\n",
            "package a\nvar d, c = 1, 2\n",
            "c",
        ),
        #[cfg(feature = "c")]
        (
            Language::C,
            "static int f(int a) { return a; }",
            "/* B */\nstatic int\nf( int a ) // c\n{ return /* d */ a; }",
            "static int f(int a) { return b; }",
            "int f(int a) { return a; }",
            "f",
        ),
        #[cfg(feature = "cpp")]
        (
            Language::Cpp,
            "struct A { template <class B> int f(B b) { return b; } };",
            "struct A {\n // C\n template< class B >\n int f(B b) { return /* d */ b; }\n} ;",
            "struct A { template <class B> int f(B b) { return a; } };",
            "struct A { template <class C> int f(B b) { return b; } };",
            "A.f",
        ),
        #[cfg(feature = "csharp")]
        (
            Language::CSharp,
            "class A { [B] int F(int a) => a; }",
            "class A {\n/// C\n[B]\nint F( int a ) // d\n=> /* e */ a; }",
            "class A { [B] int F(int a) => b; }",
            "class A { [C] int F(int a) => a; }",
            "A.F",
        ),
        #[cfg(feature = "php")]
        (
            Language::Php,
            "<?php class A { #[B] function f($a) { return $a; } }",
            "<?php class A {\n// C\n#[B]\nfunction f( $a )\n{ return /* d */ $a; } }",
            "<?php class A { #[B] function f($a) { return $b; } }",
            "<?php class A { #[C] function f($a) { return $a; } }",
            "A.f",
        ),
        #[cfg(feature = "ruby")]
        (
            Language::Ruby,
            "class A\n def f(a)\n  a + 1\n end\nend\n",
            "class A\n # B\n def f( a ) # c\n\n  a+1\n end\nend\n",
            "class A\n def f(a)\n  a + 2\n end\nend\n",
            "class A\n def f(a = 1)\n  a + 1\n end\nend\n",
            "A.f",
        ),
    ] {
        let first = hashes(language, first, symbol);
        assert_eq!(first, hashes(language, spaced, symbol), "{language:?}");
        let body = hashes(language, body, symbol);
        assert_eq!(
            (first.signature == body.signature, first.body == body.body),
            (true, false),
            "{language:?}"
        );
        let other = hashes(language, signature, symbol);
        assert_eq!(
            (first.signature == other.signature, first.body == other.body),
            (false, true),
            "{language:?}"
        );
    }
}

#[test]
fn a_fault_hides_nothing_that_stands_apart_from_it() {
    for (language, source, symbol) in [
        (Language::Rust, "fn f( { }\n\nfn g() {}\n", "g"),
        (Language::Go, "package a\nfunc f() { b := new(1 + 2) }\n\nfunc g() {}\n", "g"),
        (Language::Java, "class A { void f( { }\n\n void g() {} }\n", "A.g"),
        #[cfg(feature = "c")]
        (Language::C, "int f(int a) { a = ; }\n\nint g(void) { }\n", "g"),
        #[cfg(feature = "cpp")]
        (Language::Cpp, "struct A { void f( { }\n\n void g() {} };\n", "A.g"),
        #[cfg(feature = "bash")]
        (Language::Bash, "f() { if; }\n\ng() { :; }\n", "g"),
        #[cfg(feature = "kotlin")]
        (Language::Kotlin, "fun f() { a b c d; }\n\nfun g() {}\n", "g"),
        #[cfg(feature = "scala")]
        (Language::Scala, "class A {\n  def f( = 1\n\n  def g = 2\n}\n", "A.g"),
        #[cfg(feature = "swift")]
        (Language::Swift, "func f( { }\n\nfunc g() {}\n", "g"),
        #[cfg(feature = "csharp")]
        (Language::CSharp, "class A { void F( { }\n\n void G() {} }\n", "A.G"),
        #[cfg(feature = "php")]
        (Language::Php, "<?php class A { function f( { }\n\n function g() {} }\n", "A.g"),
        #[cfg(feature = "ruby")]
        (Language::Ruby, "class A\n def f\n  a = )\n end\n\n def g\n end\nend\n", "A.g"),
    ] {
        assert!(!read(language, source, Detail::Spans).is_clean(), "{language:?}");
        let names = names(language, source);
        assert!(names.iter().any(|name| name == symbol), "{language:?}: {names:?}");
    }
}

#[test]
fn what_nests_too_deeply_or_has_too_long_a_name_belongs_to_what_is_around_it() {
    let nested = |depth: usize| format!("{}{}", "mod a {".repeat(depth), "}".repeat(depth));
    assert_eq!(names(Language::Rust, &nested(128)).len(), 128);
    assert_eq!(names(Language::Rust, &nested(129)).len(), 128);
    let long = |bytes: usize| format!("mod m {{ fn {}() {{}} }}", "f".repeat(bytes));
    assert_eq!(names(Language::Rust, &long(1022)).len(), 2);
    assert_eq!(names(Language::Rust, &long(1023)), ["m"]);
    let several = |count: usize| format!("package a\nvar a{} int\n", ", a".repeat(count - 1));
    assert_eq!(names(Language::Go, &several(128)).len(), 128);
    assert_eq!(names(Language::Go, &several(129)).len(), 128);
}

/// A text of 1 MB that goes `open`, `open`, ... `close`, `close`.
fn deep(before: &str, open: &str, close: &str, after: &str) -> String {
    let depth = 1_000_000 / (open.len() + close.len());
    format!("{before}{}{}{after}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn a_megabyte_of_nesting_fits_a_small_stack() {
    let texts = [
        (Language::Rust, deep("", "mod a{", "}", "")),
        (Language::Rust, deep("impl A for ", "&", "", "B {}")),
        (Language::Go, deep("package a\nvar a = ", "func(){", "}", "\n")),
        (Language::Go, deep("package a\nfunc (a ", "*", "", "A) f() {}\n")),
        (Language::Java, deep("", "class A{", "}", "")),
        (Language::Java, deep("class A { int a = x", ".f()", "", "; }")),
        #[cfg(feature = "c")]
        (Language::C, deep("int a;\n", "#if A\n", "#endif\n", "")),
        #[cfg(feature = "csharp")]
        (Language::CSharp, deep("", "class A{", "}", "")),
        #[cfg(feature = "php")]
        (Language::Php, deep("<?php ", "function a(){", "}", "")),
        #[cfg(feature = "ruby")]
        (Language::Ruby, deep("", "class A;", "end;", "")),
        #[cfg(feature = "cpp")]
        (Language::Cpp, deep("int b; int ", "a::", "", "c() {}")),
        #[cfg(feature = "bash")]
        (Language::Bash, deep("", "f() { ", ":; }; ", "")),
        #[cfg(feature = "kotlin")]
        (Language::Kotlin, deep("", "class A{", "}\n", "")),
        #[cfg(feature = "scala")]
        (Language::Scala, deep("", "class A{", "}", "")),
        #[cfg(feature = "swift")]
        (Language::Swift, deep("", "class A{", "}\n", "")),
    ];
    let check = move || {
        for (language, source) in texts {
            let outline = read(language, &source, Detail::Spans);
            assert!((1..=128).contains(&outline.symbols.len()), "{language:?}: {}", &source[..40]);
        }
    };
    thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}
