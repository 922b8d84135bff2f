//! Ruby.

use muse_symbols::{Detail, Language, Limits, ReferenceKind, Unread, outline};

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(super::symbols(Language::Ruby, source), *expected, "{source}");
    }
}

#[test]
fn methods_keep_all_of_their_names() {
    check(&[
        (
            "class A\n def b!; end\n def c?; end\n def d=(e); end\n def ==(f); end\n def [](g); end\nend",
            "Class A, Method A.b!, Method A.c?, Method A.d=, Method A.==, Method A.[]",
        ),
        (
            "def f = 1\ndef self.g; end\ndef A.h; end\ndef a.i; end",
            "Function f, Function g, Method A.h, Method a.i",
        ),
        (
            "class A\n def self.b; end\n def A.c; end\n class << self\n def d; end\n end\nend",
            "Class A, Method A.b, Method A.c, Method A.d",
        ),
        ("module A::B\n class C < D::E\n end\nend\nclass ::F; end", "Module A.B, Class A.B.C, Class F"),
    ]);
}

#[test]
fn words_in_front_of_a_method_are_part_of_it() {
    let source = "class A\n  # About it.\n  private memoize def f\n  end\nend\n";
    check(&[(source, "Class A, Method A.f")]);
    let outline = super::read(Language::Ruby, source);
    let its = &outline.symbols[1];
    assert_eq!((its.extent.lines.clone(), its.whole.lines.clone()), (2..=4, 3..=4));
    assert!(source[its.whole.bytes.clone()].starts_with("private"));
    check(&[("f(1, def g; end)", "Function g"), ("a.f def g; end", "Function g")]);
}

#[test]
fn what_makes_methods_names_them() {
    check(&[
        (
            "class A\n attr_reader :b, 'c'\n attr_writer :d\n private attr_accessor :e\nend",
            "Class A, Method A.b, Method A.c, Method A.d=, Method A.e, Method A.e=",
        ),
        ("define_method(:a) { |b| b }\ndefine_method(a) { }\ndefine_method :c, d", "Method a"),
    ]);
}

#[test]
fn constants_are_symbols_and_variables_are_not() {
    check(&[
        (
            "A = 1\nB::C = 2\nD ||= 3\nE, f, G = 4, 5, 6\nh = 7\n$i = 8",
            "Constant A, Constant B.C, Constant D, Constant E, Constant G",
        ),
        (
            "A = Struct.new(:b) do\n def c; end\nend\nD = Class.new(E)\nF = Module.new { def g; end }",
            "Class A, Method A.c, Class D, Module F, Method F.g",
        ),
        ("A = Data.define(:b)\nC = Struct.for(1)\nD = -> { 1 }", "Class A, Constant C, Constant D"),
    ]);
}

#[test]
fn a_text_below_its_line_is_part_of_the_constant() {
    let source = "A = <<~B.freeze\n  b\nB\nC = 1\n";
    let outline = super::read(Language::Ruby, source);
    let lines: Vec<_> = outline.symbols.iter().map(|its| its.extent.lines.clone()).collect();
    assert_eq!(lines, [1..=3, 4..=4]);
}

#[test]
fn what_follows_the_end_of_the_program_is_none_of_it() {
    check(&[("def f; end\n__END__\ndef g; end\n", "Function f")]);
}

#[test]
fn calls_and_uses_are_told() {
    let calls = |source| super::references(Language::Ruby, ReferenceKind::Call, source);
    assert_eq!(
        calls("f(1); a.b.c; d 2; E.g; self.h; I::J.new(1) { |q| q.k }; l&.m"),
        "f a.b|c a|b d E|g self|h I::J|new q|k l|m"
    );
    let uses = |source| super::references(Language::Ruby, ReferenceKind::Use, source);
    assert_eq!(uses("class A < B::C\n include D\n E = F\n def g(h = I) = J::K::L\nend"), "B|C D F I J::K|L");
    assert_eq!(uses("begin\n f(A)\nrescue B, C => e\n D.g\nend"), "A B C");
}

#[test]
fn a_text_that_would_end_the_process_is_not_read() {
    let read = |source: &str| outline(source.as_bytes(), Language::Ruby, Detail::Spans, &Limits::default());
    let heredoc = |open: &str, word: &str| format!("A = <<{open}\nb\n{word}\n");
    let long = |bytes: usize| "W".repeat(bytes);
    assert!(read(&heredoc(&long(255), &long(255))).unwrap().is_clean());
    for open in
        [long(256), format!("~{}", long(256)), format!("-'{}'", long(256)), format!("\"{}", long(256))]
    {
        assert_eq!(read(&heredoc(&open, &long(256))), Err(Unread::Deadly), "{open}");
    }
    // 203 literals, and a heredoc of four letters: one byte too many. The text would be none that parses.
    let nested = format!("{} <<HTML +\n", "\"#{".repeat(203));
    assert_eq!(read(&nested), Err(Unread::Deadly));
    let beside = |count: usize| format!("{}{}", "a = \"#{1}\"\n".repeat(count), heredoc("EOS", "EOS"));
    assert!(read(&beside(200)).is_ok() && read(&beside(205)) == Err(Unread::Deadly));
    assert!(read(&heredoc("EOS", "EOS").repeat(140)).is_ok());
    assert_eq!(read(&heredoc("EOS", "EOS").repeat(150)), Err(Unread::Deadly));
    let many: String =
        (0..50).map(|at| heredoc("~HTML", "HTML").replace('b', &format!("#{{{at}}} <<"))).collect();
    assert!(read(&many).unwrap().is_clean());
    assert!(read(&format!("a = \"#{{1}}\"\nb << c << {}\n", long(300)).repeat(300)).unwrap().is_clean());
}
