use super::*;
use crate::edit::After;

/// The patch with these lines between its markers.
fn patch(lines: &[&str]) -> String {
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

fn edits(text: &str) -> Vec<(String, Change)> {
    parse(text).unwrap().into_iter().map(|edit| (edit.path, edit.change)).collect()
}

/// What the only edit of the patch makes of a file.
fn applied(old: &str, lines: &[&str]) -> Result<String, Unclear> {
    let all: Vec<&str> = std::iter::once("*** Update File: a.py").chain(lines.iter().copied()).collect();
    let edits = parse(&patch(&all)).unwrap();
    let [edit] = &edits[..] else { panic!("{edits:?}") };
    match edit.change.apply(Some(old.as_bytes())) {
        After::Bytes(bytes) => Ok(String::from_utf8(bytes).unwrap()),
        After::Unclear(unclear) => Err(unclear),
        After::Gone => panic!("it is not deleted"),
    }
}

#[test]
fn files_are_added_deleted_changed_and_moved() {
    let text = patch(&[
        "*** Add File: new.py",
        "+import os",
        "+",
        "+x = 1",
        "*** Delete File: old.py",
        "*** Update File: src/a b.py",
        "@@ def f():",
        "-    return 1",
        "+    return 2",
        "*** Update File: from.py",
        "*** Move to: to.py",
        "@@",
        "-a",
        "+b",
        "*** Add File: last.py",
        "+z",
    ]);
    let chunk = Chunk {
        context: Some("def f():".to_owned()),
        old: vec!["    return 1".to_owned()],
        new: vec!["    return 2".to_owned()],
        is_at_end: false,
    };
    assert_eq!(
        edits(&text),
        [
            ("new.py".to_owned(), Change::Write("import os\n\nx = 1\n".to_owned())),
            ("old.py".to_owned(), Change::Delete),
            ("src/a b.py".to_owned(), Change::Patch(vec![chunk])),
            ("from.py".to_owned(), Change::Delete),
            ("to.py".to_owned(), Change::Unknown),
            ("last.py".to_owned(), Change::Write("z\n".to_owned())),
        ]
    );
}

#[test]
fn a_patch_is_found_in_what_is_put_around_it() {
    let plain = edits("*** Begin Patch\n*** Delete File: a.py\n*** End Patch");
    for text in [
        "\n\n  *** Begin Patch  \n*** Delete File: a.py\n *** End Patch \n\n",
        "*** Begin Patch\r\n*** Delete File: a.py\r\n*** End Patch\r\n",
        "<<EOF\n*** Begin Patch\n*** Delete File: a.py\n*** End Patch\nEOF\n",
        "<<'EOF'\n*** Begin Patch\n*** Delete File: a.py\n*** End Patch\nEOF",
        "apply_patch <<\"PATCH\"\n*** Begin Patch\n*** Delete File: a.py\n*** End Patch\nPATCH\n",
        "*** Begin Patch\n  *** Delete File:   a.py  \n",
        "*** Begin Patch\n*** Delete File: a.py",
        "*** Begin Patch\n\n*** Delete File: a.py\n\n*** End Patch\nanything",
    ] {
        assert_eq!(edits(text), plain, "{text:?}");
    }
}

#[test]
fn what_is_no_patch_is_refused() {
    use PatchError::{Before, Empty, Line, NoBegin};
    let line = |number, line: &str| Line { number, line: line.to_owned() };
    for (text, error) in [
        ("", NoBegin),
        ("diff --git a/a b/a\n", NoBegin),
        ("*** Begin\n*** Delete File: a.py\n", NoBegin),
        (
            "cd src && apply_patch <<EOF\n*** Begin Patch\n*** Delete File: a.py\n",
            Before("cd src && apply_patch <<EOF".to_owned()),
        ),
        ("*** Begin Patch\n*** End Patch\n", Empty),
        ("*** Begin Patch\nhello\n", line(2, "hello")),
        ("*** Begin Patch\n*** Delete File:\n", line(2, "*** Delete File:")),
        ("*** Begin Patch\n*** Add File: a\nhello\n", line(3, "hello")),
        ("*** Begin Patch\n*** Delete File: a\n+hello\n", line(3, "+hello")),
        ("*** Begin Patch\n*** Update File: a\n@@\n-a\nhello\n", line(5, "hello")),
        ("*** Begin Patch\n*** Update File: a\n@@\n-a\n*** Move to: b\n", line(5, "*** Move to: b")),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    let long = format!("*** Begin Patch\n{}\n", "ü".repeat(1000));
    assert_eq!(parse(&long), Err(line(2, &"ü".repeat(SHOWN_MAX))));
}

#[test]
fn a_chunk_replaces_the_lines_that_it_shows() {
    let old =
        "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 1\n";
    let new =
        "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 2\n";
    let chunk = ["     def f(self):", "-        return 1", "+        return 2"];
    let with = |header: &[&'static str]| [header, &chunk[..]].concat();
    assert_eq!(applied(old, &with(&["@@ class B:"])).as_deref(), Ok(new));
    // Headers narrow the search one after the other.
    assert_eq!(applied(old, &with(&["@@ class B:", "@@"])).as_deref(), Ok(new));
    // Without one it is the first place, and a first chunk needs no header.
    let first = old.replacen("return 1", "return 2", 1);
    assert_eq!(applied(old, &with(&["@@"])), Ok(first.clone()));
    assert_eq!(applied(old, &chunk), Ok(first));
    // At the end it is the last.
    assert_eq!(applied(old, &[&chunk[..], &["*** End of File"]].concat()).as_deref(), Ok(new));
    assert_eq!(applied(old, &with(&["@@ class C:"])), Err(Unclear::Misfit));
    assert_eq!(applied(old, &["-        return 3"]), Err(Unclear::Misfit));
}

#[test]
fn chunks_stand_in_the_order_of_the_file() {
    let old = "a\nb\na\nb\n";
    let both = ["@@", "-a", "+c", "@@", "-b", "+d"];
    assert_eq!(applied(old, &both).as_deref(), Ok("c\nd\na\nb\n"));
    let again = ["@@", "-b", "+c", "@@", "-a", "+d"];
    assert_eq!(applied(old, &again).as_deref(), Ok("a\nc\nd\nb\n"));
    assert_eq!(applied("a\nb\n", &["@@", "-b", "@@", "-a"]), Err(Unclear::Misfit));
}

#[test]
fn lines_alone_are_added_at_the_end() {
    assert_eq!(applied("a\n", &["@@", "+b"]).as_deref(), Ok("a\nb\n"));
    assert_eq!(applied("a\n\n", &["@@", "+b"]).as_deref(), Ok("a\nb\n\n"));
    assert_eq!(applied("", &["+b"]).as_deref(), Ok("b\n"));
    assert_eq!(applied("a", &["@@ a", "+b", "@@", "+c"]).as_deref(), Ok("a\nb\nc\n"));
}

#[test]
fn lines_are_found_with_other_white_space_and_punctuation() {
    for (line, typed) in
        [("x = 1  ", "x = 1"), ("\tx = 1", "    x = 1"), ("x = “a” – ‘b’\u{a0}…", "x = \"a\" - 'b' …")]
    {
        assert_eq!(
            applied(&format!("a\n{line}\nb\n"), &[&format!("-{typed}"), "+y"]).as_deref(),
            Ok("a\ny\nb\n")
        );
    }
    // The better match is taken, wherever it stands.
    assert_eq!(applied(" x\nx\n", &["-x", "+y"]).as_deref(), Ok(" x\ny\n"));
    // An empty line stands for an empty line, or for none at the end of a chunk.
    assert_eq!(applied("a\n\nb\n", &["-a", "", "+c", " b"]).as_deref(), Ok("\nc\nb\n"));
    assert_eq!(applied("a\nb", &["-a", "+c", " b", ""]).as_deref(), Ok("c\nb\n"));
}

#[test]
fn line_ends_of_windows_are_kept() {
    assert_eq!(applied("a\r\nb\r\nc\r\n", &[" a", "-b", "+d"]).as_deref(), Ok("a\r\nd\r\nc\r\n"));
}

#[test]
fn what_cannot_be_found_out_is_said() {
    let chunk = Chunk { old: vec!["a".to_owned()], ..Chunk::default() };
    assert_eq!(apply(b"\xff\n", std::slice::from_ref(&chunk)), Err(Unclear::NotText));
    // Each chunk is looked for in all of the file.
    let old = "b\n".repeat(COMPARISONS_MAX / 2000);
    let contexts: Vec<Chunk> =
        (0..1000).map(|_| Chunk { old: vec!["b".to_owned(); 1000], ..Chunk::default() }).collect();
    let mut wanted = contexts;
    for chunk in &mut wanted {
        chunk.old.push("a".to_owned());
    }
    assert_eq!(apply(old.as_bytes(), &wanted), Err(Unclear::TooLarge));
}
