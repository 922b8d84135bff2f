//! `muse symbols`, and what `reserve`, `check` and `run` say of symbols that are not there.

#![expect(clippy::disallowed_methods, reason = "tests write and remove files")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

mod support;

use muse_testkit::git::git;
use support::{Answer, Json, Muse, Site, is_superuser, make_fifo, object, set_mode};

const SHOP: &str = "\
import os

class Invoice:
    # What it comes to.
    def total(self):
        return self.net() + tax()

def main(): pass
";

fn symbols(folder: &Path, paths: &[&str]) -> Muse {
    Muse::in_folder(folder, &["symbols"]).args(paths)
}

/// A repository of Git's, without a store.
fn shop() -> Site {
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet"]);
    site.file("src/shop.py", SHOP);
    site
}

fn paths(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.code, &*answer.field("status")), (0, "ok"), "{answer:?}");
    let value = answer.value();
    value["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

fn warnings(answer: &Answer) -> Vec<String> {
    let value = answer.value();
    value["warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn symbols_are_printed_as_addresses() {
    let site = shop();
    let lines = "src/shop.py::Invoice  class  3-6\nsrc/shop.py::Invoice.total  method  5-6\n\
                 src/shop.py::main  function  8-8\n";
    symbols(site.path(), &["src/shop.py"]).run().is_text(0, lines, "");
    symbols(&site.at("src"), &["shop.py"]).run().is_text(0, lines, "");
    symbols(&site.at("src"), &["../src/./shop.py", "."]).run().is_text(0, lines, "");
    // Each of them can be reserved as it is.
    site.muse(&["init"]).run().is_success();
    for line in lines.lines() {
        let (address, _) = line.split_once("  ").unwrap();
        site.coord(&["reserve", address]).run_id("alice").run().is_success();
        let answer = site.coord(&["check", address]).run_id("alice").run();
        assert_eq!(answer.stderr, "", "{address}");
    }
}

#[test]
fn as_json_with_places_and_hashes() {
    let site = shop();
    site.file("one.py", "def f(): # what for\n    return 1\n");
    let answer = symbols(site.path(), &["one.py"]).json();
    let hashes = answer.value()["files"][0]["symbols"][0]["hashes"].clone();
    let [content, signature, body] = ["content", "signature", "body"].map(|name| {
        let hash = hashes[name].as_str().unwrap().to_owned();
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
        hash
    });
    let pair = |pair: [usize; 2]| Json(format!("[{},{}]", pair[0], pair[1]));
    let place = |lines, bytes| object! { "lines": pair(lines), "bytes": pair(bytes) };
    let symbol = object! {
        "address": "one.py::f", "name": "f", "qualified": "f", "kind": "function",
        "lines": pair([1, 2]), "bytes": pair([0, 32]), "extent": place([1, 2], [0, 32]),
        "body": place([2, 2], [24, 32]),
        "hashes": object! { "content": content, "signature": signature, "body": body },
    };
    let file = object! {
        "path": "one.py", "address": "one.py", "language": "Python", "faults": 0, "symbols": vec![symbol],
    };
    answer.is_json(0, &[], &object! { "status": "ok", "files": vec![file] });
    // White space and comments are no other text.
    site.file("one.py", "def f():\n\n        return  1\n");
    let value = symbols(site.path(), &["one.py"]).json().value();
    assert_eq!(value["files"][0]["symbols"][0]["hashes"], hashes);
}

#[test]
fn references_with_where_they_stand() {
    let site = shop();
    let value = symbols(site.path(), &["src", "--references"]).json().value();
    let references = value["files"][0]["references"].as_array().unwrap();
    let told: Vec<String> = references
        .iter()
        .map(|reference| {
            let text = |name: &str| reference[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {} {}",
                text("from"),
                text("kind"),
                text("qualifier"),
                text("name"),
                reference["lines"][0]
            )
        })
        .collect();
    assert!(told.contains(&"src/shop.py::Invoice.total call self net 6".to_owned()), "{told:?}");
    assert!(told.contains(&"src/shop.py::Invoice.total call - tax 6".to_owned()), "{told:?}");
    let text = symbols(site.path(), &["src", "--references"]).run().stdout;
    assert!(text.contains("src/shop.py::Invoice.total  calls self net  6-6\n"), "{text}");
}

#[test]
fn of_a_folder_what_git_does_not_ignore() {
    let site = shop();
    for name in ["a.py", "b/[id] ü.ts", "b/c.rs", ".github/d.js", "ignored/e.py", "b/local.py", "notes.txt"]
    {
        site.file(name, "\n");
    }
    site.file(".gitignore", "/ignored/\n");
    site.file("b/.gitignore", "local.*\n");
    site.file(".git/hooks/hook.py", "\n");
    symlink("a.py", site.at("link.py")).unwrap();
    symlink("b", site.at("linked")).unwrap();
    let nested = site.folder("vendor/nested");
    git(&nested, &["init", "--quiet"]);
    fs::write(nested.join("f.py"), "\n").unwrap();
    let all = [".github/d.js", "a.py", "b/[id] ü.ts", "b/c.rs", "src/shop.py"];
    let answer = symbols(site.path(), &["."]).json();
    assert_eq!((paths(&answer), warnings(&answer).len()), (all.map(str::to_owned).to_vec(), 0));
    assert_eq!(answer.value()["files"][2]["address"], "b/\\[id\\] ü.ts");
    assert_eq!(symbols(site.path(), &[".", "a.py", "b"]).json().value()["files"], answer.value()["files"]);
    assert_eq!(paths(&symbols(&site.at("b"), &["."]).json()), ["b/[id] ü.ts", "b/c.rs"]);
    // What is named is read, ignored or not, by the name that it has its address by.
    assert_eq!(paths(&symbols(site.path(), &["ignored/e.py", "link.py"]).json()), ["a.py", "ignored/e.py"]);
    // With a store and without Git.
    let site = Site::new();
    for name in ["a.py", "b.py", ".muse/x.py"] {
        site.file(name, "\n");
    }
    site.file(".gitignore", "b.py\n");
    assert_eq!(paths(&symbols(site.path(), &["."]).json()), ["a.py"]);
}

#[test]
fn what_cannot_be_told_is_said() {
    let site = shop();
    site.file("faulty.py", "def f(:\n    return 1\n\ndef g(): pass\n");
    site.file("binary.py", "\0");
    site.file("large.py", &"#".repeat(1024 * 1024 + 1));
    site.file("notes.txt", "text\n");
    let answer = symbols(site.path(), &["faulty.py", "binary.py", "large.py", "notes.txt", "src"]).json();
    assert_eq!(paths(&answer), ["faulty.py", "src/shop.py"]);
    assert!(answer.value()["files"][0]["faults"].as_u64().unwrap() > 0, "{answer:?}");
    assert!(answer.stdout.contains("faulty.py::g"), "{answer:?}");
    let told = warnings(&answer);
    assert_eq!(told.len(), 4, "{told:?}");
    for (warning, part) in
        told.iter().zip(["notes.txt", "`binary.py` is left out", "in it do not fit Python", "1048576"])
    {
        assert!(warning.contains(part), "{part}: {told:?}");
    }
    let answer = symbols(site.path(), &["faulty.py"]).run();
    assert!(answer.stderr.starts_with("warning: `faulty.py`: "), "{answer:?}");

    // Nobody writes into it.
    site.file("pipe.py", "");
    make_fifo(&site.at("pipe.py"));
    let answer = symbols(site.path(), &["pipe.py", "src"]).json();
    assert_eq!(paths(&answer), ["src/shop.py"]);
    assert_eq!(warnings(&answer), ["`pipe.py` is left out: it is no file"]);

    let error = symbols(site.path(), &["src", "nope.py"]).json().is_failure(4, "not_found", None);
    assert!(error.contains("nope.py"), "{error}");
    for (path, part) in
        [("/etc", "not below"), (".git", ".git"), (".git/config", ".git"), ("..", "not below")]
    {
        let error = symbols(site.path(), &[path]).json().is_failure(1, "bad_address", None);
        assert!(error.contains(part), "{error}");
    }
    symbols(site.path(), &[]).json().is_failure(2, "usage", None);
    symbols(Site::without_store().path(), &["."]).json().is_failure(2, "not_a_repository", None);
    if !is_superuser(&site) {
        set_mode(&site.at("binary.py"), 0);
        let answer = symbols(site.path(), &["binary.py", "src"]).json();
        assert_eq!((answer.code, &*answer.field("status")), (3, "internal"));
        assert_eq!(answer.value()["files"].as_array().unwrap().len(), 1);
    }
}

/// The warnings of a call that is answered.
fn told(call: Muse) -> Vec<String> {
    let answer = call.json();
    answer.is_success();
    warnings(&answer)
}

#[test]
fn a_symbol_that_is_not_there_is_told_of_and_stops_nobody() {
    let site = shop();
    site.muse(&["init"]).run().is_success();
    let wrong = "src/shop.py::Invoice.totl";
    let sentence = "there is no `src/shop.py::Invoice.totl` yet, but `Invoice.total`, `Invoice`: see `muse symbols`, if \
                    it was not meant to be new";
    assert_eq!(told(site.coord(&["reserve", wrong]).run_id("alice")), [sentence]);
    assert_eq!(
        told(site.coord(&["reserve", wrong]).run_id("alice")),
        [""; 0],
        "it was told when it was granted"
    );
    assert_eq!(told(site.coord(&["check", wrong]).run_id("alice")), [sentence]);
    assert_eq!(told(site.coord(&["reserve", wrong, "--wait", "5"]).run_id("alice/1")), [sentence]);
    let answer =
        site.coord(&["run", "src/shop.py::Invoice.totl.x"]).run_id("bob/1").args(&["--", "true"]).run();
    assert_eq!(answer.code, 6, "it is held: {answer:?}");
    let answer = site.coord(&["run", "src/shop.py::nowhere"]).run_id("bob").args(&["--", "true"]).run();
    assert_eq!(answer.code, 0);
    assert!(answer.stderr.starts_with("warning: there is no `src/shop.py::nowhere` yet: see"), "{answer:?}");
    for known in ["src/shop.py::main", "src/shop.py::@top", "src/shop.py", "src/", "new.py::f", "**/*.py"] {
        assert_eq!(told(site.coord(&["check", known]).run_id("alice/1")), [""; 0], "{known}");
    }
    // A link out of the tree is not followed.
    symlink("/etc/hosts", site.at("src/link.py")).unwrap();
    site.coord(&["reserve", "src/link.py::f"]).run_id("carol").json().is_failure(1, "bad_address", None);
}
