//! One test a rule, and one for each error.

use std::collections::BTreeMap;
use std::io;

use super::*;

/// A tree in memory: paths below the top, and what stands there.
struct MemoryTree(BTreeMap<String, Entry>);

impl MemoryTree {
    /// `a/` is a directory, `a -> b` a symlink, anything else a file. Parents come by themselves.
    fn new(lines: &[&str]) -> MemoryTree {
        let mut entries = BTreeMap::new();
        for line in lines {
            let (path, entry) = match line.split_once(" -> ") {
                Some((path, target)) => (path, Entry::Symlink(target.to_owned())),
                None => match line.strip_suffix('/') {
                    Some(path) => (path, Entry::Directory),
                    None => (*line, Entry::File),
                },
            };
            for (offset, _) in path.match_indices('/') {
                entries.entry(path[..offset].to_owned()).or_insert(Entry::Directory);
            }
            entries.insert(path.to_owned(), entry);
        }
        MemoryTree(entries)
    }
}

impl Tree for MemoryTree {
    fn entry(&self, segments: &[String]) -> io::Result<Option<Entry>> {
        assert!(!segments.is_empty());
        Ok(self.0.get(&segments.join("/")).cloned())
    }
}

/// A tree that answers everything with one error.
struct Broken(io::ErrorKind);

impl Tree for Broken {
    fn entry(&self, _segments: &[String]) -> io::Result<Option<Entry>> {
        Err(self.0.into())
    }
}

fn resolve_in(tree: &dyn Tree, current: &[&str], input: &str) -> Result<Resolved, AddressError> {
    Address::resolve(input, &Place::new("/work/tree", current.iter().copied()), tree)
}

/// The canonical text of an input typed at the top of a tree that holds `lines`. Checks on the way that the
/// canonical text is accepted where records are read, and resolves to itself.
fn canonical_in(lines: &[&str], current: &[&str], input: &str) -> String {
    let tree = MemoryTree::new(lines);
    let address = resolve_in(&tree, current, input).unwrap().address;
    let stored: Address = address.as_str().parse().unwrap();
    assert_eq!((stored.kind(), stored.symbol()), (address.kind(), address.symbol()), "{input}");
    assert_eq!(stored.literal_path(), address.literal_path(), "{input}");
    assert_eq!(resolve_in(&tree, &[], address.as_str()).unwrap().address, address, "{input}");
    address.to_string()
}

fn canonical(input: &str) -> String {
    canonical_in(&[], &[], input)
}

fn error_in(lines: &[&str], current: &[&str], input: &str) -> AddressError {
    let error = resolve_in(&MemoryTree::new(lines), current, input).unwrap_err();
    let quoted: String = input.chars().take(64).collect();
    assert!(error.to_string().contains(&quoted), "{error}");
    assert!(!error.to_string().contains('\n') || input.contains('\n'), "{error}");
    error
}

fn error(input: &str) -> AddressError {
    error_in(&[], &[], input)
}

fn pattern_fault(input: &str) -> PatternFault {
    match error(input) {
        AddressError::Pattern { fault, .. } => fault,
        other => panic!("{input}: {other:?}"),
    }
}

fn symbol_fault(input: &str) -> SymbolFault {
    match error(input) {
        AddressError::Symbol { fault, .. } => fault,
        other => panic!("{input}: {other:?}"),
    }
}

fn warnings(lines: &[&str], input: &str) -> Vec<String> {
    resolve_in(&MemoryTree::new(lines), &[], input).unwrap().warnings
}

fn address(text: &str) -> Address {
    Address::resolve(text, &Place::top("/work/tree"), &NoTree).unwrap().address
}

#[track_caller]
fn assert_overlap(one: &str, other: &str, expected: bool) {
    let (one, other) = (address(one), address(other));
    assert_eq!(one.overlaps(&other), expected, "{one} and {other}");
    assert_eq!(other.overlaps(&one), expected, "{other} and {one}");
}

#[test]
fn plain_paths_are_relative_to_the_top() {
    assert_eq!(canonical("src/a.py"), "src/a.py");
    assert_eq!(canonical("./src//./a.py"), "src/a.py");
    assert_eq!(canonical("src/../lib/a.py"), "lib/a.py");
    assert_eq!(canonical_in(&["src/api/"], &["src", "api"], "../a.py"), "src/a.py");
    assert_eq!(canonical("/work/tree/src/a.py"), "src/a.py");
    assert_eq!(canonical("//work/./tree//src/a.py"), "src/a.py");
    assert_eq!(canonical("a b#c\td"), "a b#c\td");
    assert_eq!(address("src/a.py").kind(), AddressKind::File);
}

#[test]
fn directories_end_in_a_slash() {
    assert_eq!(canonical("src/"), "src/");
    assert_eq!(canonical_in(&["src/a.py"], &[], "src"), "src/");
    assert_eq!(canonical_in(&["src/a.py"], &[], "src/a.py/"), "src/a.py");
    assert_eq!(canonical_in(&["src/a.py"], &[], "src/a.py/."), "src/a.py");
    assert_eq!(canonical_in(&["src/a.py"], &[], "src/a.py/b"), "src/a.py/b");
    assert_eq!(canonical("src/."), "src/");
    assert_eq!(canonical("src/api/.."), "src/");
    for top in [".", "./", "src/..", "/work/tree", "/work/tree/"] {
        assert_eq!(canonical_in(&["src/"], &[], top), "./");
    }
    assert_eq!(canonical_in(&["src/"], &["src"], ".."), "./");
    assert_eq!(canonical_in(&["src/"], &["src"], "."), "src/");
    assert_eq!(address("./").kind(), AddressKind::Directory);
    assert_eq!(address("./").literal_path(), Some(""));
    assert_eq!(address("src/").literal_path(), Some("src"));
}

#[test]
fn symlinks_are_resolved_where_the_path_exists() {
    let lines = [
        "src/api/a.py",
        "link -> src/api",
        "src/here -> .",
        "src/up -> ..",
        "src/file -> api/a.py",
        "absolute -> /work/tree/src",
        "dangling -> new/place",
        "chain -> link",
    ];
    let at = |input| canonical_in(&lines, &[], input);
    assert_eq!(at("link"), "src/api/");
    assert_eq!(at("link/a.py"), "src/api/a.py");
    assert_eq!(at("link/new.py"), "src/api/new.py");
    assert_eq!(at("link/.."), "src/");
    assert_eq!(at("link/../../x"), "x");
    assert_eq!(at("src/here/here/api"), "src/api/");
    assert_eq!(at("src/up/src/file"), "src/api/a.py");
    assert_eq!(at("src/up"), "./");
    assert_eq!(at("absolute/api/"), "src/api/");
    assert_eq!(at("dangling"), "new/place");
    assert_eq!(at("dangling/x"), "new/place/x");
    assert_eq!(at("chain/a.py::f"), "src/api/a.py::f");
    assert_eq!(at("link/*.py"), "src/api/*.py");
    assert_eq!(at("link/../*.py"), "src/*.py");
    assert_eq!(canonical_in(&lines, &["src", "api"], "../file"), "src/api/a.py");
    assert_eq!(canonical_in(&["[x] -> y"], &[], "[x]"), "y");
    assert_eq!(canonical_in(&["[x] -> y", "y/"], &[], "\\[x\\]"), "y/");
}

#[test]
fn symlinks_do_not_leave_the_tree() {
    let lines = ["out -> /etc", "up -> ../x", "in/up -> ../../x", "tree2 -> /work/tree2/x", "ok -> in/../y"];
    for (input, name) in [("out/passwd", "out"), ("up", "up"), ("in/up", "in/up"), ("tree2", "tree2")] {
        match error_in(&lines, &[], input) {
            AddressError::SymlinkLeavesTree { link, .. } => assert_eq!(link, name),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(error_in(&lines, &[], "out/*.py"), AddressError::SymlinkLeavesTree { .. }));
    assert_eq!(canonical_in(&lines, &[], "ok"), "y");
}

#[test]
fn forty_symlinks_are_followed_and_no_more() {
    let lines: Vec<String> = (0..41).map(|index| format!("l{index} -> l{}", index + 1)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(canonical_in(&lines, &[], "l1"), "l41");
    assert!(matches!(error_in(&lines, &[], "l0"), AddressError::TooManySymlinks { .. }));
    assert!(matches!(error_in(&["a -> b", "b -> a"], &[], "a/x"), AddressError::TooManySymlinks { .. }));
    assert!(matches!(error_in(&["a -> a/a"], &[], "a"), AddressError::TooManySymlinks { .. }));
}

#[test]
fn what_leaves_the_tree_is_refused() {
    assert!(matches!(error(".."), AddressError::LeavesTree { .. }));
    assert!(matches!(error("src/../../x"), AddressError::LeavesTree { .. }));
    assert!(matches!(error("../*.py"), AddressError::LeavesTree { .. }));
    assert!(matches!(error("/etc/passwd"), AddressError::OutsideTree { .. }));
    assert!(matches!(error("/work/tree2/x"), AddressError::OutsideTree { .. }));
    assert!(matches!(error("/work"), AddressError::OutsideTree { .. }));
    assert!(matches!(error("/work/x/../tree/a"), AddressError::OutsideTree { .. }));
    assert!(matches!(error("/etc/*"), AddressError::OutsideTree { .. }));
}

#[test]
fn private_folders_are_refused() {
    for input in
        [".git", ".git/config", "sub/.GIT/x", ".muse/", "a/.Muse", "**/.git/*", ".git/**", "x/\\.git"]
    {
        assert!(matches!(error(input), AddressError::Private { .. }), "{input}");
    }
    assert!(matches!(error_in(&["link -> .git"], &[], "link/x"), AddressError::Private { .. }));
    assert_eq!(canonical(".git/../a"), "a");
    assert_eq!(canonical(".gitignore"), ".gitignore");
    assert_eq!(canonical("*/.git*"), "*/.git*");
    assert!(Address::of_file("a/.git/b").is_err());
    assert!(".MUSE/x".parse::<Address>().is_err());
}

#[test]
fn empty_nul_and_long_inputs_are_refused() {
    assert!(matches!(error(""), AddressError::Empty));
    assert!(matches!(error("a\0b"), AddressError::Nul { .. }));
    assert!(matches!(error("a*\0b"), AddressError::Nul { .. }));
    let longest = "a".repeat(Address::BYTES_MAX);
    assert_eq!(canonical(&longest), longest);
    assert!(matches!(error(&format!("{longest}a")), AddressError::TooLong { bytes: 4097, .. }));
    // The canonical spelling has its limit too: two bytes for each star.
    let stars = format!("{}\\*", "a".repeat(Address::BYTES_MAX - 2));
    assert_eq!(canonical(&stars), stars);
    assert!(Address::of_file(&"*".repeat(2048)).is_ok());
    assert!(matches!(Address::of_file(&"*".repeat(2049)), Err(AddressError::TooLong { .. })));
    let file = Address::of_file(&"a".repeat(4000)).unwrap();
    assert!(matches!(file.with_symbol(&"b".repeat(95)), Err(AddressError::TooLong { bytes: 4097, .. })));
    assert!(file.with_symbol(&"b".repeat(94)).is_ok());
    assert!(longest.parse::<Address>().is_ok());
    assert!(format!("{longest}a").parse::<Address>().is_err());
}

#[test]
fn symbols_are_dotted() {
    assert_eq!(canonical("a.py::A.b"), "a.py::A.b");
    assert_eq!(canonical("src/lib.rs::Invoice::total"), "src/lib.rs::Invoice.total");
    assert_eq!(address("a.py::A::b.c").symbol(), Some("A.b.c"));
    assert_eq!(address("a.py").symbol(), None);
    assert_eq!(address("a.py::A").literal_path(), Some("a.py"));
    for name in ["operator==", "save!", "r#type", "~Foo", "<init>", "@top", "a*[?]{}\\", "@topper", "é"] {
        assert_eq!(canonical(&format!("a.py::{name}")), format!("a.py::{name}"));
    }
    assert_eq!(canonical("a.py::e\u{301}.x"), "a.py::é.x");
}

#[test]
fn symbols_that_are_none_are_refused() {
    assert_eq!(symbol_fault("a.py::"), SymbolFault::Empty);
    for symbol in ["a..b", ".a", "a.", "a::", "a::.b", "::a", "."] {
        assert_eq!(symbol_fault(&format!("a.py::{symbol}")), SymbolFault::EmptyName, "{symbol}");
    }
    for symbol in ["a:b", ":a", "a:", "a:::b"] {
        assert_eq!(symbol_fault(&format!("a.py::{symbol}")), SymbolFault::SingleColon, "{symbol}");
    }
    for symbol in ["a b", "a\tb", "a\u{7}", "a.\u{a0}", "a\u{2028}", "\n"] {
        assert_eq!(symbol_fault(&format!("a.py::{symbol}")), SymbolFault::Space, "{symbol:?}");
    }
    for symbol in ["@top.x", "x.@top", "@top::@top"] {
        assert_eq!(symbol_fault(&format!("a.py::{symbol}")), SymbolFault::TopNotAlone, "{symbol}");
    }
    assert!(matches!(error("::Foo"), AddressError::MissingPath { .. }));
    assert!(matches!(error("src/::Foo"), AddressError::SymbolOnDirectory { .. }));
    assert!(matches!(error_in(&["src/"], &[], "src::Foo"), AddressError::SymbolOnDirectory { .. }));
    assert!(matches!(error(".::Foo"), AddressError::SymbolOnDirectory { .. }));
    assert!(matches!(error("*.py::Foo"), AddressError::SymbolOnGlob { .. }));
}

#[test]
fn with_symbol_replaces_the_symbol() {
    let file = address("a\\*.py");
    assert_eq!(file.with_symbol("A::b").unwrap().as_str(), "a\\*.py::A.b");
    assert_eq!(file.with_symbol("A").unwrap().with_symbol("B").unwrap().as_str(), "a\\*.py::B");
    assert_eq!(file.with_symbol("A").unwrap().literal_path(), Some("a*.py"));
    assert!(matches!(file.with_symbol("a b"), Err(AddressError::Symbol { .. })));
    assert!(matches!(address("a/").with_symbol("b"), Err(AddressError::SymbolOnDirectory { .. })));
    assert!(matches!(address("a/*").with_symbol("b"), Err(AddressError::SymbolOnGlob { .. })));
}

#[test]
fn what_exists_as_written_is_literal() {
    let lines = ["app/[id]/page.tsx", "a::b", "{x}", "*", "c\\d", "q?"];
    let at = |input| canonical_in(&lines, &[], input);
    assert_eq!(at("app/[id]/page.tsx"), "app/\\[id\\]/page.tsx");
    assert_eq!(at("app/[id]"), "app/\\[id\\]/");
    assert_eq!(at("app/[id]/page.tsx::Page"), "app/\\[id\\]/page.tsx::Page");
    assert_eq!(at("a::b"), "a\\::b");
    assert_eq!(at("a::b::c"), "a::b.c");
    assert_eq!(at("{x}"), "\\{x\\}");
    assert_eq!(at("q?"), "q\\?");
    assert_eq!(at("c\\d"), "c\\\\d");
    assert_eq!(resolve_in(&MemoryTree::new(&lines), &[], "*").unwrap().address.as_str(), "\\*");
    assert_eq!(resolve_in(&MemoryTree::new(&lines), &[], "/work/tree/*").unwrap().address.as_str(), "\\*");
}

#[test]
fn quoting_makes_a_path_literal() {
    assert_eq!(canonical("app/\\[id\\]/page.tsx"), "app/\\[id\\]/page.tsx");
    assert_eq!(address("app/\\[id\\]/page.tsx").kind(), AddressKind::File);
    assert_eq!(canonical("a\\::b"), "a\\::b");
    assert_eq!(address("a\\::b").literal_path(), Some("a::b"));
    assert_eq!(canonical("a\\::b::C"), "a\\::b::C");
    assert_eq!(canonical("a\\:"), "a\\:");
    assert_eq!(canonical("a:"), "a\\:");
    assert_eq!(canonical("a:/"), "a:/");
    assert_eq!(canonical("a:/b:c"), "a:/b:c");
    assert_eq!(canonical("a\\:\\:\\:b"), "a\\:\\::b");
    assert_eq!(address("a\\:::B").symbol(), Some("B"));
    assert_eq!(canonical("\\a\\#b\\ c"), "a#b c");
    assert_eq!(canonical("x/\\../y"), "y");
    assert_eq!(canonical_in(&["[x]/"], &[], "\\[x\\]"), "\\[x\\]/");
    for input in ["a\\", "a\\/b", "*/a\\/b", "\\[\\"] {
        let error = error(input);
        assert!(
            matches!(
                error,
                AddressError::QuotesNothing { .. }
                    | AddressError::Pattern { fault: PatternFault::QuotesNothing, .. }
            ),
            "{input}: {error:?}"
        );
    }
}

#[test]
fn globs_have_one_spelling() {
    for (input, expected) in [
        ("src/**/*.py", "src/**/*.py"),
        ("./src//./*.py", "src/*.py"),
        ("*/./a", "*/a"),
        ("a**b***", "a*b*"),
        ("***", "*"),
        ("**/**/a/**/**", "**/a/**"),
        ("src/*/", "src/*/**"),
        ("**/", "**"),
        ("src/**/", "src/**"),
        ("\\a*\\#\\*\\**", "a*#\\*\\**"),
        ("*a,b", "*a,b"),
        ("*a\\,b", "*a,b"),
        ("{a,b\\,c,{d,},\\}}", "{a,b\\,c,{d,},\\}}"),
        ("{}x", "{}x"),
        ("[abc]", "[abc]"),
        ("[]a]", "[\\]a]"),
        ("[!]a]", "[!\\]a]"),
        ("[a-]", "[a\\-]"),
        ("[-a]", "[\\-a]"),
        ("[a-c-e]", "[a-c\\-e]"),
        ("[\\!a]", "[\\!a]"),
        ("[a!]", "[a!]"),
        ("[\\^]", "[\\^]"),
        ("[!^!]", "[!^!]"),
        ("[\\a\\-\\z]", "[a\\-z]"),
        ("[a-a]", "[a]"),
        ("[]-a]", "[\\]-a]"),
        ("[*?{},[]", "[*?{},[]"),
        ("{[,}],b}", "{[,}],b}"),
        ("*:", "*\\:"),
        ("*a\\::b", "*a\\::b"),
        ("[\\::]", "[\\::]"),
        ("a\\[*/b\\{", "a\\[*/b\\{"),
        ("*e\u{301}[e\u{301}]", "*é[é]"),
        ("*e\\\u{301}", "*é"),
        ("[e\\\u{301}]", "[é]"),
    ] {
        assert_eq!(canonical(input), expected, "{input}");
        assert_eq!(address(input).kind(), AddressKind::Glob, "{input}");
        assert_eq!(address(input).literal_path(), None, "{input}");
    }
    assert_eq!(canonical_in(&["src/"], &["src"], "*.py"), "src/*.py");
    assert_eq!(canonical_in(&["src/"], &["src"], "../{a,b}"), "{a,b}");
    assert_eq!(canonical("src/x/../*.py"), "src/*.py");
    assert_eq!(canonical("/work/tree/src/*.py"), "src/*.py");
}

#[test]
fn globs_that_are_none_are_refused() {
    for input in ["a[", "a]", "[", "[]", "[!]", "[a", "a[b/c]d", "*]", "[[:alpha:]]", "\\[a]", "[a-", "[\\]"]
    {
        assert_eq!(pattern_fault(input), PatternFault::Bracket, "{input}");
    }
    for input in ["a{", "a}", "{a", "{a,{b}", "{a}}", "{a/b,c}", "*}", "{[}]"] {
        assert_eq!(pattern_fault(input), PatternFault::Brace, "{input}");
    }
    assert_eq!(pattern_fault("[^a]"), PatternFault::Caret);
    assert_eq!(pattern_fault("[z-a]"), PatternFault::ReversedRange);
    assert_eq!(pattern_fault("*/../a"), PatternFault::DotDot);
    assert_eq!(pattern_fault("*/\\.\\./a"), PatternFault::DotDot);
    assert!(error("a[").to_string().contains("quote it with `\\`"));
    assert!(error("[^a]").to_string().contains("write `[!`"));
}

#[test]
fn a_top_with_metacharacters_is_no_pattern() {
    let place = Place::top("/work/[x]");
    let at = |input: &str| Address::resolve(input, &place, &NoTree).unwrap().address.to_string();
    assert_eq!(at("/work/[x]/new.py"), "new.py");
    assert_eq!(at("/work/[x]/new.py::A"), "new.py::A");
    assert_eq!(at("/work/[x]/*.py"), "*.py");
    assert_eq!(at("/work/\\[x\\]/\\*.py"), "\\*.py");
    assert_eq!(Address::resolve("/a", &Place::top("/"), &NoTree).unwrap().address.as_str(), "a");
}

#[test]
fn doubtful_spellings_are_warned_about() {
    assert!(warnings(&[], "app/[id]/page.tsx")[0].contains("taken as a pattern"));
    assert!(warnings(&[], "{a,b}")[0].contains("taken as a pattern"));
    assert!(warnings(&[], "app/[id]/*.tsx").is_empty());
    assert!(warnings(&["app/[id]/"], "app/[id]/*.tsx")[0].contains("`app/[id]` exists"));
    assert!(warnings(&["app/[id]/page.tsx"], "app/[id]/page.tsx").is_empty());
    assert!(warnings(&[], "*/{}")[0].contains("matches no path"));
    assert!(warnings(&[], "src\\api\\x.py")[0].contains("write `/`"));
    assert!(warnings(&[], "src/\\[a\\].py").is_empty());
    assert!(warnings(&[], "src/**").is_empty());
}

#[test]
fn what_the_tree_cannot_tell_is_an_error() {
    let failing = Broken(io::ErrorKind::PermissionDenied);
    for input in ["a", "a::b", "a/*"] {
        let error = resolve_in(&failing, &[], input).unwrap_err();
        assert!(matches!(&error, AddressError::Io { path, .. } if path.starts_with('a')), "{error:?}");
    }
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::InvalidFilename] {
        assert_eq!(resolve_in(&Broken(kind), &[], "a/b").unwrap().address.as_str(), "a/b");
    }
}

#[test]
fn unicode_is_composed_and_looked_up_as_typed() {
    assert_eq!(canonical("cafe\u{301}/x"), "café/x");
    assert_eq!(canonical_in(&["cafe\u{301}/"], &[], "cafe\u{301}"), "café/");
    assert_eq!(Address::of_file("cafe\u{301}").unwrap(), address("café"));
    assert_eq!(canonical("e\\\u{301}"), "é");
}

#[test]
fn records_hold_canonical_spellings_only() {
    for text in ["a", "a/b", "a/", "./", "a.py::A.b", "*/**", "a\\::b", "a:b::c", "é", "a\\:", "\u{3}"] {
        let read: Address = text.parse().unwrap();
        assert_eq!(read.as_str(), text);
        assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(text).unwrap());
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), read);
    }
    for (text, expected) in [
        ("./a", "a"),
        ("a//b", "a/b"),
        ("a/../b", "b"),
        (".", "./"),
        ("a.py::A::b", "a.py::A.b"),
        ("e\u{301}", "é"),
        ("a.py::e\u{301}", "a.py::é"),
        ("\\a", "a"),
        ("**/", "**"),
        ("a:", "a\\:"),
        ("[]]", "[\\]]"),
        ("a/.", "a/"),
    ] {
        match text.parse::<Address>() {
            Err(AddressError::NotCanonical { input, canonical }) => {
                assert_eq!((input.as_str(), canonical.as_str()), (text, expected));
            }
            other => panic!("{text}: {other:?}"),
        }
        assert!(expected.parse::<Address>().is_ok());
    }
    for text in
        ["", "/a", "..", "../a", ".git/x", "a/.muse", "a::", "a::b c", "a/::b", "::a", "[", "a\0", "a\\"]
    {
        assert!(text.parse::<Address>().is_err(), "{text}");
        assert!(!matches!(text.parse::<Address>(), Err(AddressError::NotCanonical { .. })), "{text}");
    }
    assert!(matches!("/a".parse::<Address>(), Err(AddressError::NotRelative { .. })));
    assert!(serde_json::from_str::<Address>("\"./a\"").unwrap_err().to_string().contains("write `a`"));
    assert!(serde_json::from_str::<Address>("3").is_err());
}

#[test]
fn order_equality_and_hash_are_those_of_the_text() {
    let mut all = [address("b"), address("a/"), address("a::B"), address("*")];
    all.sort();
    assert_eq!(all.iter().map(Address::as_str).collect::<Vec<_>>(), ["*", "a/", "a::B", "b"]);
    assert_eq!(address("./a"), address("a"));
    assert_eq!(format!("{:?} {:>3}", address("a"), address("b")), "Address(\"a\")   b");
    assert_eq!([address("a"), address("./a")].into_iter().collect::<std::collections::HashSet<_>>().len(), 1);
}

#[test]
fn files_known_literally_round_trip() {
    for path in [
        "a*b",
        "a?b",
        "[a]",
        "{a,b}",
        "a\\b",
        "\\",
        "a::b",
        "a:",
        ":",
        "::",
        ":::",
        "a:b",
        "x/:/y",
        "**",
        "a b",
        "#",
        "-",
        "!x",
        "]",
        "}",
        "[!a]",
        "\\*",
        "a\\::",
        "é[",
        "\u{1}*",
        "..a",
        "a..",
        "app/(x)/[[...slug]]/p.ts",
    ] {
        let file = Address::of_file(path).unwrap();
        assert_eq!(file.kind(), AddressKind::File);
        assert_eq!(file.literal_path(), Some(path));
        assert_eq!(file.as_str().parse::<Address>().unwrap().literal_path(), Some(path));
        assert_eq!(address(file.as_str()), file);
        let symbol = file.with_symbol("A.b").unwrap();
        let read: Address = symbol.as_str().parse().unwrap();
        assert_eq!((read.literal_path(), read.symbol()), (Some(path), Some("A.b")), "{symbol}");
        let directory = Address::of_directory(path).unwrap();
        assert_eq!(directory, Address::of_directory(&format!("{path}/")).unwrap());
        assert_eq!(directory.kind(), AddressKind::Directory);
        assert_eq!(directory.literal_path(), Some(path));
        assert_eq!(directory.as_str().parse::<Address>().unwrap(), directory);
        assert!(directory.overlaps(&file) && file.overlaps(&directory), "{file} {directory}");
        assert!(Address::of_file(&format!("{path}/x")).unwrap().overlaps(&file), "{file}");
        let tree = MemoryTree::new(&[path]);
        assert_eq!(resolve_in(&tree, &[], path).unwrap().address, file);
    }
    assert_eq!(Address::of_file("./a//b").unwrap().as_str(), "a/b");
    assert_eq!(Address::of_directory(".").unwrap().as_str(), "./");
    assert!(matches!(Address::of_file(""), Err(AddressError::Empty)));
    assert!(matches!(Address::of_directory(""), Err(AddressError::Empty)));
    for path in ["/a", "../a", "a/../b"] {
        assert!(matches!(Address::of_file(path), Err(AddressError::NotRelative { .. })), "{path}");
    }
    for path in ["a/", ".", "a/."] {
        assert!(matches!(Address::of_file(path), Err(AddressError::NotAFile { .. })), "{path}");
    }
    assert!(matches!(Address::of_file("a\0"), Err(AddressError::Nul { .. })));
}

#[test]
fn literal_paths_overlap_by_whole_names() {
    assert_overlap("src/a.py", "src/a.py", true);
    assert_overlap("src/a.py", "src/b.py", false);
    assert_overlap("src", "src/a.py", true);
    assert_overlap("src/", "src/a.py", true);
    assert_overlap("src/", "src", true);
    assert_overlap("src/", "src/api/", true);
    assert_overlap("src/", "src2/", false);
    assert_overlap("src", "src.py", false);
    assert_overlap("src/a.py::A", "src/", true);
    assert_overlap("src::A", "src/a.py::B", true);
    assert_overlap("./", "a", true);
    assert_overlap("./", "./", true);
    assert_overlap("Src/a", "src/a", false);
    assert_overlap("a:", "a:/", true);
    assert_overlap("a\\[", "a\\[/b", true);
}

#[test]
fn symbols_overlap_by_whole_names() {
    assert_overlap("a::A", "a", true);
    assert_overlap("a::A", "a::A", true);
    assert_overlap("a::A", "a::A.b", true);
    assert_overlap("a::A.b", "a::A.c", false);
    assert_overlap("a::Foo", "a::Foobar", false);
    assert_overlap("a::@top", "a", true);
    assert_overlap("a::@top", "a::@top", true);
    assert_overlap("a::@top", "a::A", false);
    assert_overlap("a::@top", "a::@topper", false);
    assert_overlap("a::A", "b::A", false);
}

#[test]
fn globs_overlap_what_they_match() {
    assert_overlap("src/*.py", "src/a.py", true);
    assert_overlap("src/*.py", "src/a.py::A", true);
    assert_overlap("src/*.py", "src/x/a.py", false);
    assert_overlap("src/**", "src", true);
    assert_overlap("src/**/a", "src/a", true);
    assert_overlap("**/a", "a", true);
    assert_overlap("ab*ba", "aba", false);
    assert_overlap("src/**/a", "src/x/y/a", true);
    assert_overlap("*", ".env", true);
    assert_overlap("?env", ".env", true);
    assert_overlap("[!a]", "b", true);
    assert_overlap("[!a]", "a", false);
    assert_overlap("[.-0]", "x/y", false);
    assert_overlap("{a,b{c,d}}x", "bdx", true);
    assert_overlap("{a,b{c,d}}x", "bx", false);
    assert_overlap("a\\**", "a*", true);
    assert_overlap("a\\**", "ab", false);
    assert_overlap("?", "é", true);
    assert_overlap("[à-ü]", "é", true);
}

#[test]
fn globs_overlap_directories_that_they_reach_into() {
    assert_overlap("src/*", "src/api/", false);
    assert_overlap("src/*", "src/", true);
    assert_overlap("src/**", "src/api/", true);
    assert_overlap("src/*/*.py", "src/api/", true);
    assert_overlap("src/*/*.py", "src/api/v1/", false);
    assert_overlap("**/*.py", "any/where/", true);
    assert_overlap("*", "./", true);
    assert_overlap("{}", "./", false);
    assert_overlap("src/ap[i]", "src/api/", false);
    assert_overlap("src/ap[i]/", "src/api/", true);
}

#[test]
fn globs_overlap_globs_exactly() {
    assert_overlap("src/*.py", "src/a*", true);
    assert_overlap("src/*.py", "src/*.rs", false);
    assert_overlap("src/**/*.py", "src/api/**", true);
    assert_overlap("**/*.py", "**/test_*", true);
    assert_overlap("a/**", "b/**", false);
    assert_overlap("**/a", "a/**", true);
    assert_overlap("**/a/b", "b/**", true);
    assert_overlap("*a", "b*", true);
    assert_overlap("a?c", "a[b-d]c", true);
    assert_overlap("a[!b]c", "a[b]c", false);
    assert_overlap("{a,b}*", "[c-z]*", false);
    assert_overlap("a*b*c", "*b*", true);
    assert_overlap("*aa", "a*a", true);
    assert_overlap("[ab]", "[]a]", true);
    assert_overlap("[a\\-c]", "[b]", false);
    // What no file can be called is no common path.
    assert_overlap("{,a}", "{,b}", false);
    assert_overlap("{.,a}", "{.,b}", false);
    assert_overlap("{..,a}", "{.?,b}", false);
    assert_overlap("{..,a}", "{.?,a}", true);
    assert_overlap("?", ".*", false);
    assert_overlap("??", ".*", true);
    assert_overlap("[.][.]", "??", false);
    assert_overlap(".*", "*.", true);
    assert_overlap("{}", "{}", false);
    assert_overlap("{}/a", "**", false);
    assert_overlap("**/a", "x/b/a", true);
    // Nothing but `/` is left, which no segment holds.
    assert_overlap("[!\u{1}-.0-\u{10FFFF}]", "*", false);
    assert_overlap("[!\u{1}-\u{10FFFF}]", "*", false);
    assert_overlap("[!\u{1}-\u{D7FF}\u{E000}-\u{10FFFF}]", "*", false);
    assert_overlap("**", "**", true);
    assert_overlap("*/**", "*", true);
    assert_overlap("*/*", "*", false);
}

#[test]
fn a_file_that_may_become_a_folder_overlaps_a_glob_below_it() {
    assert_overlap("pkg", "pkg/*.py", true);
    assert_overlap("pkg::f", "pkg/**/*.py", true);
    assert_overlap("src/pkg", "src/pkg/sub/*", true);
    assert_overlap("pkg", "pkgs/*.py", false);
    // But not with every glob that could match below some file.
    assert_overlap("pkg", "**/*.py", false);
    assert_overlap("pkg", "*/x.py", false);
    assert_overlap("src/pkg", "src/*/x.py", false);
    assert_overlap("pkg", "pkg/[!\u{1}-\u{10FFFF}]", false);
}

#[test]
fn nested_braces_do_not_blow_up() {
    let many = "{a,b}".repeat(102);
    assert_overlap(&many, &format!("{}c", "{a,b}".repeat(101)), false);
    let deep = format!("{}x{}", "{".repeat(255), "}".repeat(255));
    assert_overlap(&deep, "x", true);
    assert_overlap(&deep, "[xy]", true);
    assert_overlap(&deep, "y", false);
    let long = format!("{}b", "*/".repeat(512));
    assert_overlap(&long, &format!("{}c", "*/".repeat(512)), false);
    for too_long in ["{a,b}".repeat(103), "*".to_owned() + &"a".repeat(512), "*/".repeat(513)] {
        match Address::resolve(&too_long, &Place::top("/top"), &NoTree) {
            Err(AddressError::Pattern { fault: PatternFault::TooLong, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    // The limit is on the canonical spelling, which quotes more: what is accepted is accepted when it is read.
    for classes in [85, 86, 102, 103, 128] {
        if let Ok(resolved) = Address::resolve(&"[:-]".repeat(classes), &Place::top("/top"), &NoTree) {
            assert_eq!(resolved.address.as_str().parse::<Address>().unwrap(), resolved.address, "{classes}");
        } else {
            assert!(classes > 102, "{classes}");
        }
    }
    assert_overlap(&"**/a/".repeat(800), &"**/b/".repeat(800), true);
}

#[test]
fn an_address_covers_what_lies_within_it() {
    let covers = |one: &str, other: &str, expected: bool| {
        let [one, other]: [Address; 2] = [one, other].map(|text| text.parse().unwrap());
        assert_eq!(one.covers(&other), expected, "{one} and {other}");
        assert!(!expected || one.overlaps(&other), "{one} and {other}");
    };
    for (one, other) in [
        ("a.py", "a.py"),
        ("a.py", "a.py::f"),
        ("a.py", "a.py::@top"),
        ("a.py::A", "a.py::A.b"),
        ("src/", "src/"),
        ("src/", "src/api/"),
        ("src/", "src/a.py::f"),
        ("src/", "src/**/*.py"),
        ("./", "src/a.py"),
        ("./", "*.py"),
        ("./", "./"),
        ("src/*.py", "src/a.py::f"),
        ("**", "src/a.py"),
        ("src/*.py", "src/*.py"),
    ] {
        covers(one, other, true);
        if one != other {
            covers(other, one, false);
        }
    }
    for (one, other) in [
        ("a.py::A", "a.py::AB"),
        ("a.py::A.b", "a.py::A"),
        ("a.py::@top", "a.py::f"),
        ("src", "src/a.py"),
        ("src", "src/"),
        ("src/", "src"),
        ("src/", "srcs/a.py"),
        ("src/api/", "src/*.py"),
        ("src/", "s*/a.py"),
        ("src/*.py", "src/api/a.py"),
        ("src/*.py", "src/*.p?"),
        ("src/**", "src/"),
        ("a.py", "*.py"),
        ("a.py", "b.py"),
    ] {
        covers(one, other, false);
    }
}
