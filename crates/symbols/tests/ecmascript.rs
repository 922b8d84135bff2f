//! Small texts of TypeScript, TSX and JavaScript: what is called, what is named, what belongs to a symbol.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use muse_symbols::{Detail, Language, Limits, Outline, ReferenceKind, outline};

fn read(source: &str, language: Language) -> Outline {
    outline(source.as_bytes(), language, Detail::Full, &Limits::default()).unwrap()
}

fn names(source: &str, language: Language) -> Vec<String> {
    read(source, language).symbols.into_iter().map(|symbol| symbol.qualified).collect()
}

/// What `source` refers to: `name` for a use, `name()` for a call, with what stands before it.
fn references(source: &str, language: Language) -> Vec<String> {
    let told = read(source, language).references.into_iter().map(|its| {
        let before = its.qualifier.map(|qualifier| format!("{qualifier}.")).unwrap_or_default();
        let after = if its.kind == ReferenceKind::Call { "()" } else { "" };
        format!("{before}{}{after}", its.name)
    });
    told.collect()
}

#[test]
fn files_are_told_by_the_ending_of_their_name() {
    for (path, language) in [
        ("a/b.ts", Some(Language::TypeScript)),
        ("b.d.ts", Some(Language::TypeScript)),
        ("b.mts", Some(Language::TypeScript)),
        ("b.cts", Some(Language::TypeScript)),
        ("b.tsx", Some(Language::Tsx)),
        ("b.js", Some(Language::JavaScript)),
        ("b.mjs", Some(Language::JavaScript)),
        ("b.cjs", Some(Language::JavaScript)),
        ("b.jsx", Some(Language::JavaScript)),
        ("b.json", None),
        ("x.ts/b", None),
    ] {
        assert_eq!(Language::of_path(path), language, "{path}");
    }
}

#[test]
fn calls_are_told_also_when_chained_new_or_tagged() {
    let source =
        "f(); a.b.c(); new C(); new a.D(); a?.e?.(); a?.[0].g(); h`x`; this.#i(); super.j(); super();";
    let told = ["f()", "a.b.c()", "C()", "a.D()", "a.e()", "a?.[0].g()", "h()", "this.#i()", "super.j()"];
    for language in [Language::JavaScript, Language::TypeScript, Language::Tsx] {
        assert_eq!(references(source, language), told, "{language:?}");
    }
    assert_eq!(references("f<T>(); new C<T>();", Language::TypeScript), ["f()", "T", "C()", "T"]);
}

#[test]
fn elements_are_used_except_the_browsers() {
    let source = "x = <div><Row a={f()} /><Layout.Main></Layout.Main><b /></div>";
    for language in [Language::JavaScript, Language::Tsx] {
        assert_eq!(references(source, language), ["Row", "f()", "Layout.Main"], "{language:?}");
    }
}

#[test]
fn types_are_used_and_their_own_names_are_not() {
    let source =
        "interface I<T> extends J { k: a.K<T> } type L = M; class N extends O implements P {} @Q class R {}";
    let told = ["J", "a.K", "T", "M", "O", "P", "Q"];
    assert_eq!(references(source, Language::TypeScript), told);
    assert_eq!(references("class A extends b.B {}", Language::JavaScript), ["b.B"]);
}

#[test]
fn what_stands_around_a_declaration_is_part_of_it() {
    let source = "/** f */\nexport const f =\n  () => 1;\n@d\nexport default class A {}\nexport declare function g(\n): void;\n";
    let outline = read(source, Language::TypeScript);
    let lines: Vec<_> = outline
        .symbols
        .iter()
        .map(|its| (its.name.as_str(), its.extent.lines.clone(), its.whole.lines.clone()))
        .collect();
    assert_eq!(lines, [("f", 1..=3, 2..=3), ("A", 4..=5, 4..=5), ("g", 6..=7, 6..=7)]);
}

#[test]
fn of_several_declarators_each_stands_for_itself() {
    let source = "const f = () => 1, // f\n  g = () => 2;";
    let outline = read(source, Language::JavaScript);
    let [f, g] = outline.symbols.as_slice() else { panic!("{outline:?}") };
    assert_eq!(source.get(f.whole.bytes.clone()), Some("f = () => 1"));
    assert_eq!(source.get(g.whole.bytes.clone()), Some("g = () => 2"));
}

#[test]
fn a_default_export_without_a_name_is_called_default() {
    for (source, name) in [
        ("export default function () {}", "default"),
        ("export default () => {};", "default"),
        ("export default class {}", "default"),
        ("export default (class {});", "default"),
        ("export default function f() {}", "f"),
        ("export default class C {}", "C"),
    ] {
        for language in [Language::JavaScript, Language::TypeScript, Language::Tsx] {
            assert_eq!(names(source, language), [name], "{source}");
        }
    }
    assert_eq!(names("export default { f() {} };", Language::JavaScript), [""; 0]);
}

#[test]
fn names_that_no_address_can_carry_belong_to_what_is_around_them() {
    let source = "class A { [b]() {} 'c d'() {} 'e.f'() {} '\\x41'() {} 1.5() {} g() {} }";
    assert_eq!(names(source, Language::TypeScript), ["A", "A.g"]);
    assert_eq!(names(source, Language::JavaScript), ["A", "A.g"]);
    let source = "declare module './a.css' { function f(): void } declare module 'b' { function g(): void }";
    assert_eq!(names(source, Language::TypeScript), ["f", "b", "b.g"]);
}

#[test]
fn a_text_that_nests_deeply_is_walked() {
    for source in
        ["(".repeat(10_000), "x=>".repeat(10_000), "class A{f(){".repeat(5_000), "<a>".repeat(5_000)]
    {
        for language in [Language::JavaScript, Language::TypeScript, Language::Tsx] {
            read(&source, language);
        }
    }
}
