//! Bash.

use muse_symbols::{Language, ReferenceKind};

fn symbols(source: &str) -> String {
    super::symbols(Language::Bash, source)
}

#[test]
fn a_name_that_no_address_carries_leaves_its_parts_to_what_is_around_it() {
    assert_eq!(symbols("a::b() { c() { :; }; }; d.e() { :; }; f-g() { :; }"), "Function c, Function f-g");
    assert_eq!(symbols("a() { @top() { b() { :; }; }; }; @top() { :; }"), "Function a, Function a.b");
}

#[test]
fn what_its_output_is_redirected_to_is_part_of_a_function() {
    for source in
        ["f() { :; } >a", "f() { :; } >a 2>&1 <b", "f() (\n:\n) 2>/dev/null", "f() { :; } <<E\na\nE"]
    {
        let outline = super::read(Language::Bash, source);
        let told: Vec<&str> = outline.symbols.iter().map(|its| &source[its.whole.bytes.clone()]).collect();
        assert_eq!(told, [source.trim_end()]);
    }
}

#[test]
fn the_first_line_of_a_script_is_about_no_function() {
    for (source, first) in
        [("#!/bin/sh\nf() { :; }\n", 2), ("#!/bin/sh\n# A\nf() { :; }\n", 2), ("# A\nf() { :; }\n", 1)]
    {
        let outline = super::read(Language::Bash, source);
        assert_eq!(outline.symbols[0].extent.lines.start(), &first, "{source}");
    }
}

#[test]
fn calls_and_uses_are_told() {
    let calls = |source| super::references(Language::Bash, ReferenceKind::Call, source);
    assert_eq!(
        calls("f; g a | h && ! i; j=$(k) l; m `n`; o <(p) >q; r <<E\n$(s)\nE\n"),
        "f g h i l k m n o p r s"
    );
    assert_eq!(calls("if a; then b; fi; while c; do d; done; case $(e) in f) g ;; esac"), "a b c d e g");
    assert_eq!(calls("./a; /bin/b; \"c\"; $d; ${e}f; \\g; a::b; -h"), "");
    let uses = |source| super::references(Language::Bash, ReferenceKind::Use, source);
    assert_eq!(uses("trap a EXIT; trap 'b' INT; trap - TERM; c d"), "a");
}

#[test]
fn hashes_tell_signature_and_body_apart() {
    super::check_hashes(
        Language::Bash,
        "f",
        ["f() { echo a; }", "# b\nf () {\n  # c\n  echo  a ;\n}", "f() { echo b; }", "f() { echo a; } >d"],
    );
}
