//! Outlines of small texts: nesting, what belongs to a symbol, hashes, limits.

#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use muse_symbols::{Detail, Language, Limits, Outline, SymbolHashes, Unread, outline};

fn python(source: &str) -> Outline {
    outline(source.as_bytes(), Language::Python, Detail::Full, &Limits::default()).unwrap()
}

fn hashes(source: &str, symbol: &str) -> SymbolHashes {
    let outline = python(source);
    outline.symbols.iter().find(|its| its.qualified == symbol).unwrap().hashes.unwrap()
}

#[test]
fn symbols_are_told_from_the_outside_in() {
    let outline =
        python("class A:\n  def f(self):\n    def g(): pass\n  class B:\n    x = 1\nasync def h(): pass\n");
    let told: Vec<(&str, Option<usize>)> =
        outline.symbols.iter().map(|symbol| (symbol.qualified.as_str(), symbol.parent)).collect();
    assert_eq!(told, [("A", None), ("A.f", Some(0)), ("A.f.g", Some(1)), ("A.B", Some(0)), ("h", None)]);
}

#[test]
fn decorators_and_the_comments_above_belong_to_a_symbol() {
    let source = "import x  # not this\n\n# nor this\n\n# about f\n# more\n@x.y\ndef f():\n    pass\n";
    let outline = python(source);
    let [f] = outline.symbols.as_slice() else { panic!("{outline:?}") };
    assert_eq!(f.extent.lines, 5..=9);
    assert_eq!(f.whole.lines, 7..=9);
    assert_eq!(f.body.as_ref().unwrap().lines, 9..=9);
}

#[test]
fn comments_that_end_a_block_belong_to_its_extent() {
    let source = "class A:\n    def f(self):\n        pass\n        # f's\n\n    # A's\n\nx = 1\n";
    let outline = python(source);
    let [a, f] = outline.symbols.as_slice() else { panic!("{outline:?}") };
    assert_eq!((&a.extent.lines, &a.whole.lines), (&(1..=6), &(1..=3)));
    assert_eq!((&f.extent.lines, &f.whole.lines), (&(2..=4), &(2..=3)));
    assert_eq!(f.body.as_ref().unwrap().lines, 3..=3);
    let at_the_end = python("def f():\n    pass\n    # f's\n");
    assert_eq!(at_the_end.symbols[0].whole.lines, 1..=2);
}

#[test]
fn a_comment_above_the_first_symbol_of_a_block_belongs_to_that() {
    let outline = python("class A:\n    # about f\n    def f(self): pass\n");
    assert_eq!(outline.symbols[1].extent.lines, 2..=3);
}

#[test]
fn hashes_are_blind_to_white_space_and_comments() {
    let one = hashes("def f(a, b):\n    return a + b\n", "f");
    let same = hashes("# c\ndef f(a,\n      b):  # d\n\n    # e\n    return a+b  # f\n", "f");
    assert_eq!(one, same);
    let body = hashes("def f(a, b):\n    return a - b\n", "f");
    assert_eq!((one.signature == body.signature, one.body == body.body), (true, false));
    let signature = hashes("def f(a, b=1):\n    return a + b\n", "f");
    assert_eq!((one.signature == signature.signature, one.body == signature.body), (false, true));
    assert_ne!(one.content, signature.content);
}

#[test]
fn what_stands_beside_a_symbol_is_not_in_its_hashes() {
    let one = hashes("class A:\n    def f(self): pass\n", "A.f");
    assert_eq!(one, hashes("class A:\n    def f(self): pass\n    def g(self): pass\n", "A.f"));
    assert_eq!(one, hashes("class A:\n    x = 1\n    def f(self): pass\n", "A.f"));
}

#[test]
fn a_block_that_moves_is_another_body() {
    let inside = hashes("def f():\n    if a:\n        b()\n        c()\n", "f");
    let behind = hashes("def f():\n    if a:\n        b()\n    c()\n", "f");
    assert_ne!(inside.body, behind.body);
}

#[test]
fn a_change_of_a_nested_symbol_changes_those_around_it() {
    let around = |inside: &str| hashes(&format!("class A:\n  x = 1\n  def f(self):\n    {inside}\n"), "A");
    let one = around("return 1");
    assert_eq!(one, around("return  1  # one"));
    for inside in ["return 2", "def g(): pass"] {
        let other = around(inside);
        assert_eq!(one.signature, other.signature, "{inside}");
        assert_ne!(one.body, other.body, "{inside}");
        assert_ne!(one.content, other.content, "{inside}");
    }
    assert_ne!(around("def g(): pass"), around("def g(): return"));
    let signature = hashes("class B:\n  x = 1\n  def f(self):\n    return 1\n", "B");
    assert_eq!((one.body, one.signature == signature.signature), (signature.body, false));
    assert_ne!(one.content, signature.content);
}

#[test]
fn where_a_nested_symbol_stands_is_hashed() {
    let texts = [
        "def f():\n  a()\n  def g(): pass\n  b()\n",
        "def f():\n  a()\n  b()\n  def g(): pass\n",
        "def f():\n  def g(): pass\n  a()\n  b()\n",
        "def f():\n  if c:\n    def g(): pass\n    a()\n",
        "def f():\n  if c:\n    a()\n  def g(): pass\n",
        "def f():\n  if c:\n    a()\n    def g(): pass\n",
        "def f():\n  if c:\n    def g(): pass\n  a()\n",
        "def f():\n  def g():\n    def h(): pass\n",
        "def f():\n  def g(): pass\n  def h(): pass\n",
    ];
    let bodies: Vec<[u8; 32]> = texts.iter().map(|text| hashes(text, "f").body).collect();
    for (at, body) in bodies.iter().enumerate() {
        assert_eq!(bodies.iter().position(|its| its == body), Some(at), "{}", texts[at]);
    }
}

#[test]
fn calls_are_told_with_what_they_are_made_from() {
    let outline = python("class A:\n    def f(self):\n        self.g(h(1))\n");
    let told: Vec<_> = outline
        .references
        .iter()
        .map(|its| {
            (
                its.name.as_str(),
                its.qualifier.as_deref(),
                its.from.map(|from| outline.symbols[from].name.as_str()),
            )
        })
        .collect();
    assert_eq!(told, [("g", Some("self"), Some("f")), ("h", None, Some("f"))]);
}

#[test]
fn what_does_not_fit_the_grammar_hides_nothing_else() {
    let outline = python("def f(:\n    pass\n\ndef g():\n    pass\n");
    assert!(!outline.is_clean());
    assert!(outline.symbols.iter().any(|symbol| symbol.qualified == "g"), "{outline:?}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let read = |source: &[u8], limits: &Limits| {
        outline(source, Language::Python, Detail::Spans, limits).unwrap_err()
    };
    assert_eq!(read(b"a\0b", &Limits::default()), Unread::Binary);
    let limits = Limits { bytes_max: 2, ..Limits::default() };
    assert_eq!(read(b"abc", &limits), Unread::TooLarge { bytes: 3, bytes_max: 2 });
    let limits = Limits { time_max: Some(Duration::ZERO), ..Limits::default() };
    assert_eq!(read("x = [1, 2, 3]\n".repeat(10_000).as_bytes(), &limits), Unread::TooSlow);
}

#[test]
fn what_a_limit_of_time_does_not_stop_is_given_up_on() {
    // At the end of the text, the parser tells in one step what all of it could have been.
    let source = format!("{}sealed", "a<".repeat(16_000));
    let (done, told) = channel();
    thread::spawn(move || {
        let limits = Limits { time_max: Some(Duration::from_millis(500)), ..Limits::default() };
        done.send(outline(source.as_bytes(), Language::Java, Detail::Spans, &limits))
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(8)), Ok(Err(Unread::TooSlow)));
}

#[test]
fn a_text_that_would_end_the_process_is_not_read() {
    // As a fault can have it: strings that do not end, and each line deeper than the one before.
    let nested = |depth: usize, line: &str| -> String {
        let lines: Vec<String> = (0..depth).map(|width| format!("{}{line}\n", " ".repeat(width))).collect();
        lines.concat()
    };
    let read = |source: &str| {
        outline(source.as_bytes(), Language::Python, Detail::Spans, &Limits::default()).map(drop)
    };
    assert_eq!(read(&format!("$ \"\n{}", nested(600, "$"))), Err(Unread::Deadly));
    assert_eq!(read(&nested(384, "$ \"")), Err(Unread::Deadly));
    assert_eq!(read(&nested(383, "$ \"")), Ok(()));
    // Widths that there are only with what stands above them.
    let continued: Vec<String> =
        (0..200).map(|width| " ".repeat(width)).map(|its| format!("{its}\\\r\n{its}{its}x\n")).collect();
    assert_eq!(read(&continued.concat()), Err(Unread::Deadly));
    assert_eq!(read(&"x = 1 + \\\n  2 # \\\n".repeat(400)), Ok(()));
    let functions = nested(300, "def f():") + &" ".repeat(300) + "pass\n";
    assert!(python(&functions).is_clean());
}

#[test]
fn a_text_that_nests_deeply_is_walked() {
    let source = format!("{}1{}\n", "(".repeat(20_000), ")".repeat(20_000));
    python(&source);
    let functions: Vec<String> = (0..100).map(|depth| format!("{}def f():\n", " ".repeat(depth))).collect();
    let functions = functions.concat();
    let outline = python(&format!("{functions}{}pass\n", " ".repeat(100)));
    assert_eq!(outline.symbols.len(), 100);
}
