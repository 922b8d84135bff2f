//! `muse coord check` about what has changed, with real Git: what is asked about, and whether it is clear.

#![expect(clippy::disallowed_methods, reason = "tests run git, write and remove files")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

mod support;

use muse_testkit::git::{git, try_git};
use support::{Answer, HOUR, Muse, Site};

const SHOP: &str = "\
import os

class Invoice:
    def total(self):
        return 1

    def tax(self):
        return 2

def main():
    return 0
";

/// A repository of Git's with a store, and one commit.
fn shop() -> Site {
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet"]);
    site.muse(&["init"]).run().is_success();
    site.file("src/shop.py", SHOP);
    site.file("notes.txt", "one\n");
    commit_all(site.path());
    site
}

fn commit_all(folder: &Path) {
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "-m", "all of it"]);
}

/// Changes a file, and stages it.
fn stage(folder: &Path, name: &str, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(folder.join(name), text.replace(from, to)).unwrap();
    git(folder, &["add", name]);
}

fn check(folder: &Path, run: &str, what: &[&str]) -> Muse {
    Muse::in_folder(folder, &["coord", "check"]).args(what).run_id(run)
}

fn words(answer: &Answer, list: &str) -> Vec<String> {
    let value = answer.value();
    let items = value[list].as_array().unwrap_or_else(|| unreachable!("{answer:?}"));
    items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// What the question is about, the way being clear; with the warnings.
#[track_caller]
fn asked(folder: &Path, what: &[&str]) -> (Vec<String>, Vec<String>) {
    let answer = check(folder, "alice", what).json();
    assert_eq!((answer.code, &*answer.field("status")), (0, "ok"), "{answer:?}");
    (words(&answer, "addresses"), words(&answer, "warnings"))
}

#[track_caller]
fn is_about(folder: &Path, what: &[&str], addresses: &[&str]) {
    let (asked, warnings) = asked(folder, what);
    assert_eq!(asked, addresses, "{what:?}");
    assert_eq!(warnings, [""; 0], "{what:?}");
}

fn reserve(folder: &Path, run: &str, address: &str) {
    let call = Muse::in_folder(folder, &["coord", "reserve", address, "--ttl", HOUR]).run_id(run);
    call.run().is_success();
}

#[test]
fn each_source_is_about_what_it_sees() {
    let site = shop();
    let top = site.path();
    is_about(top, &["--staged"], &[]);
    is_about(top, &["--worktree"], &[]);
    check(top, "alice", &["--staged"]).run().is_text(0, "clear run=alice\n", "");
    stage(top, "src/shop.py", "return 1", "return 3");
    site.file("src/shop.py", &SHOP.replace("return 1", "return 3").replace("return 2", "return 4"));
    site.file("new.py", "x = 1\n");
    is_about(top, &["--staged"], &["src/shop.py::Invoice.total"]);
    is_about(top, &["--diff", "HEAD"], &["src/shop.py::Invoice.tax", "src/shop.py::Invoice.total"]);
    let all = ["new.py", "src/shop.py::Invoice.tax", "src/shop.py::Invoice.total"];
    is_about(top, &["--worktree"], &all);
    commit_all(top);
    is_about(top, &["--worktree"], &[]);
    is_about(top, &["--diff", "main~1"], &all);
    is_about(top, &["--diff", "HEAD"], &[]);

    // What stands outside every symbol is asked about beside others.
    stage(top, "src/shop.py", "import os", "import os\nimport sys");
    let answer = check(top, "alice", &["--staged"]).json();
    assert_eq!(words(&answer, "shared"), ["src/shop.py::@top"]);
    assert_eq!(words(&answer, "addresses"), ["src/shop.py::@top"]);
}

#[test]
fn two_runs_in_two_worktrees_stop_each_other_at_the_same_symbol_alone() {
    let site = shop();
    let main = site.path();
    let other = site.at("other tree");
    git(main, &["worktree", "add", "--quiet", "-b", "other", other.to_str().unwrap()]);

    // Two methods of one class.
    reserve(main, "alice", "src/shop.py::Invoice.total");
    reserve(&other, "bob", "src/shop.py::Invoice.tax");
    stage(main, "src/shop.py", "return 1", "return 10");
    stage(&other, "src/shop.py", "return 2", "return 20");
    for (tree, run) in [(main, "alice"), (&*other, "bob")] {
        check(tree, run, &["--staged"]).run().is_success();
        check(tree, run, &["--staged", "--require"]).run().is_success();
    }
    // The same method: whoever does not hold it.
    stage(&other, "src/shop.py", "return 1", "return 11");
    let answer = check(&other, "bob", &["--staged"]).json();
    answer.is_json_conflict();
    let conflict = &answer.value()["conflicts"][0];
    assert_eq!(conflict["address"], "src/shop.py::Invoice.total");
    assert_eq!(conflict["holder"]["run_id"], "alice");
    assert!(conflict["holder"]["expires_in_seconds"].as_u64().unwrap() > 3000, "{answer:?}");
    assert!(answer.field("next").contains("--wait"), "{answer:?}");
    check(&other, "bob", &["--staged"]).run().is_text_failure(
        6,
        &[
            "`src/shop.py::Invoice.total` is held by run `alice` (on main) for 1h more",
            "hint: work elsewhere",
        ],
    );
    check(main, "alice", &["--staged"]).run().is_success();
    // Imports of both.
    for (tree, run) in [(main, "alice"), (&*other, "bob")] {
        git(tree, &["reset", "--quiet", "--hard"]);
        stage(tree, "src/shop.py", "import os", &format!("import os\nimport {run}"));
        check(tree, run, &["--staged"]).run().is_success();
    }
    // The whole file stops both; so does what is outside every symbol.
    for run in ["alice", "bob"] {
        Muse::in_folder(main, &["coord", "release", "--all"]).run_id(run).run().is_success();
    }
    for whole in ["src/shop.py", "src/shop.py::@top", "src/", "**/*.py"] {
        reserve(main, "carol", whole);
        for (tree, run) in [(main, "alice"), (&*other, "bob")] {
            check(tree, run, &["--staged"]).json().is_json_conflict();
        }
        Muse::in_folder(main, &["coord", "release", "--all"]).run_id("carol").run().is_success();
    }
    // Nobody is in the way, and nothing is held.
    let answer = check(main, "alice", &["--staged", "--require"]).json();
    assert_eq!((answer.code, &*answer.field("status")), (6, "not_held"));
}

#[test]
fn what_is_made_taken_away_or_no_text_counts_whole() {
    let site = shop();
    let top = site.path();
    for name in ["moved.py", "mode.py", "link.py", "gone.py", "with blank/ü [x].py"] {
        site.file(name, SHOP);
    }
    commit_all(top);
    fs::create_dir(site.at("to")).unwrap();
    fs::rename(site.at("moved.py"), site.at("to/moved.py")).unwrap();
    fs::set_permissions(site.at("mode.py"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(site.at("link.py")).unwrap();
    symlink("gone.py", site.at("link.py")).unwrap();
    fs::remove_file(site.at("gone.py")).unwrap();
    site.file("notes.txt", "two\n");
    site.file("with blank/ü [x].py", &SHOP.replace("return 0", "return 5"));
    site.file("new.py", "x = 1\n");
    git(top, &["add", "--all"]);
    let all = [
        "gone.py",
        "link.py",
        "mode.py",
        "moved.py",
        "new.py",
        "notes.txt",
        "to/moved.py",
        "with blank/ü \\[x\\].py::main",
    ];
    is_about(top, &["--staged"], &all);
    // Neither side of a rename can be taken from under somebody.
    for renamed in ["moved.py::main", "to/"] {
        reserve(top, "bob", renamed);
        check(top, "alice", &["--staged"]).json().is_json_conflict();
        site.coord(&["release", "--all"]).run_id("bob").run().is_success();
    }
}

#[test]
fn a_submodule_counts_whole_and_what_is_in_it_has_its_own_store_or_none() {
    let site = Site::without_store();
    let (inner, outer) = (site.folder("inner"), site.folder("outer"));
    for folder in [&inner, &outer] {
        git(folder, &["init", "--quiet"]);
        fs::write(folder.join("a.py"), SHOP).unwrap();
        commit_all(folder);
    }
    Muse::in_folder(&outer, &["init"]).run().is_success();
    git(&outer, &["submodule", "--quiet", "add", inner.to_str().unwrap(), "sub"]);
    is_about(&outer, &["--staged"], &[".gitmodules", "sub"]);
    reserve(&outer, "bob", "sub/");
    check(&outer, "alice", &["--staged"]).json().is_json_conflict();
    let inside = outer.join("sub");
    fs::write(inside.join("a.py"), "x = 1\n").unwrap();
    check(&inside, "alice", &["--worktree"]).json().is_failure(2, "not_a_repository", None);
    let answer = check(&inside, "alice", &["--worktree"]).env("MUSE_REPO_ROOT", &outer).json();
    let error = answer.is_failure(1, "bad_address", None);
    assert!(error.contains("MUSE_REPO_ROOT") && error.contains("outer/sub"), "{error}");
}

#[test]
fn a_first_commit_and_a_tree_below_the_top() {
    let site = Site::without_store();
    let top = site.path();
    git(top, &["init", "--quiet"]);
    site.muse(&["init"]).run().is_success();
    is_about(top, &["--staged"], &[]);
    site.file("src/a.py", SHOP);
    git(top, &["add", "--all"]);
    is_about(top, &["--staged"], &["src/a.py"]);
    is_about(&site.at("src"), &["--staged"], &["src/a.py"]);
    commit_all(top);
    site.file("src/a.py", "import os\n");
    site.file("b.py", "x = 1\n");
    let addresses =
        ["b.py", "src/a.py::Invoice", "src/a.py::Invoice.tax", "src/a.py::Invoice.total", "src/a.py::main"];
    is_about(&site.at("src"), &["--worktree"], &addresses);

    // A store of its own in a folder below Git's top: what is beside it is not its matter.
    let below = site.folder("src/part");
    fs::write(below.join("c.py"), "x = 1\n").unwrap();
    Muse::in_folder(&below, &["init"]).env("MUSE_REPO_ROOT", &below).run().is_success();
    let (addresses, warnings) = asked(&below, &["--worktree"]);
    assert_eq!(addresses, ["c.py"]);
    let [warning] = &warnings[..] else { unreachable!("{warnings:?}") };
    assert!(warning.starts_with("`b.py` and 1 more: left out"), "{warning}");
}

#[test]
fn of_a_merge_what_is_merged_in_is_in_nobodys_way() {
    let site = shop();
    let top = site.path();
    git(top, &["checkout", "--quiet", "-b", "side"]);
    stage(top, "src/shop.py", "return 1", "return 10");
    site.file("side.py", SHOP);
    commit_all(top);
    git(top, &["checkout", "--quiet", "main"]);
    stage(top, "src/shop.py", "return 0", "return 30");
    commit_all(top);
    reserve(top, "bob", "side.py");
    reserve(top, "bob", "src/shop.py::Invoice.total");
    git(top, &["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    is_about(top, &["--staged"], &[]);
    is_about(top, &["--worktree"], &[]);
    // Beside what is merged.
    stage(top, "src/shop.py", "return 2", "return 20");
    is_about(top, &["--staged"], &["src/shop.py::Invoice.tax"]);
    is_about(top, &["--worktree"], &["src/shop.py::Invoice.tax"]);
    // Otherwise than what is merged.
    stage(top, "src/shop.py", "return 10", "return 11");
    let answer = check(top, "alice", &["--staged"]).json();
    answer.is_json_conflict();
    assert_eq!(words(&answer, "addresses"), ["src/shop.py::Invoice.tax", "src/shop.py::Invoice.total"]);
    git(top, &["merge", "--abort"]);

    stage(top, "src/shop.py", "return 1", "return 12");
    commit_all(top);
    assert!(!try_git(top, &["merge", "--no-edit", "side"]).status.success());
    let answer = check(top, "alice", &["--staged"]).json();
    answer.is_json_conflict();
    assert_eq!(words(&answer, "addresses"), ["src/shop.py"]);
    assert_eq!(
        words(&answer, "warnings"),
        ["`src/shop.py` counts as a whole: a merge left a conflict in it"]
    );
}

#[test]
fn in_a_hook_it_is_about_what_that_commit_brings() {
    let site = shop();
    let top = site.path();
    let told = site.at(".git/told");
    let hook = site.at(".git/hooks/pre-commit");
    let script = format!(
        "#!/bin/sh\nexec '{}' coord check --staged --run-id alice > .git/told\n",
        env!("CARGO_BIN_EXE_muse")
    );
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let brings = |addresses: &[&str]| {
        let told = fs::read_to_string(&told).unwrap();
        let lines: Vec<&str> = told.lines().map(str::trim_start).collect();
        assert_eq!(lines, [&["clear run=alice"], addresses].concat());
    };
    stage(top, "notes.txt", "one", "two");
    site.file("src/shop.py", &SHOP.replace("return 0", "return 1"));
    git(top, &["commit", "--quiet", "-m", "path", "--", "src/shop.py"]);
    brings(&["src/shop.py::main"]);
    git(top, &["commit", "--quiet", "-m", "staged"]);
    brings(&["notes.txt"]);
    site.file("src/shop.py", SHOP);
    git(top, &["commit", "--quiet", "-am", "all"]);
    brings(&["src/shop.py::main"]);
    stage(top, "notes.txt", "two", "three");
    git(top, &["commit", "--quiet", "--amend", "--no-edit"]);
    brings(&["notes.txt"]);
    reserve(top, "bob", "notes.txt");
    stage(top, "notes.txt", "three", "four");
    assert!(!try_git(top, &["commit", "--quiet", "-m", "stopped"]).status.success());
    git(top, &["reset", "--quiet", "--hard"]);

    // Of a merge that does not stop, before Git says in a file what it merges.
    git(top, &["checkout", "--quiet", "-b", "side", "main~1"]);
    stage(top, "notes.txt", "two", "of side");
    git(top, &["commit", "--quiet", "--no-verify", "-m", "side"]);
    git(top, &["checkout", "--quiet", "-b", "ahead", "main~1"]);
    stage(top, "src/shop.py", "return 1", "return 9");
    git(top, &["commit", "--quiet", "-m", "ahead"]);
    fs::rename(&hook, hook.with_file_name("pre-merge-commit")).unwrap();
    git(top, &["merge", "--quiet", "--no-edit", "side"]);
    brings(&[]);
}

#[test]
fn what_is_too_large_is_not_read() {
    let site = shop();
    let top = site.path();
    let large = |text: &str| format!("{text}{}", "# large\n".repeat(128 * 1024));
    site.file("grows.py", SHOP);
    site.file("large.py", &large("x = 1\n"));
    commit_all(top);
    let diff = {
        site.file("large.py", &large("x = 2\n"));
        git(top, &["diff"]) + "\n"
    };
    site.file("grows.py", &large(SHOP));
    git(top, &["add", "--all"]);
    let (addresses, warnings) = asked(top, &["--staged"]);
    assert_eq!(addresses, ["grows.py", "large.py"]);
    let warning =
        "`grows.py` counts as a whole: it has more than 1048576 bytes; so do 1 more, for reasons of the kind";
    assert_eq!(warnings, [warning]);
    let file = patch(&site, &diff);
    let (addresses, warnings) = asked(top, &["--patch", file.to_str().unwrap()]);
    assert_eq!(addresses, ["large.py"]);
    assert_eq!(warnings, ["`large.py` counts as a whole: it has more than 1048576 bytes"]);
    fs::File::create(&file).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let answer = check(top, "alice", &["--patch", file.to_str().unwrap()]).json();
    let error = answer.is_failure(1, "bad_args", None);
    assert!(error.contains("more than 67108864 bytes"), "{error}");
}

/// The patch in a file outside of the repository.
fn patch(site: &Site, text: &str) -> PathBuf {
    let path = site.at(".git/a patch");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_patch_is_about_what_it_would_change() {
    let site = shop();
    let top = site.path();
    for name in ["ü \"q\" [x].py", "one.py", "gone.py"] {
        site.file(name, SHOP);
    }
    site.file("gone.py", "x = 1\n");
    site.file("last.py", "def f():\n    return 1\n\ndef g(): return 1");
    commit_all(top);
    site.file("src/shop.py", &SHOP.replace("return 1", "return 3"));
    site.file("ü \"q\" [x].py", &SHOP.replace("return 0", "return 3"));
    site.file("last.py", "def f():\n    return 1\n\ndef g(): return 2");
    site.file("new.py", "y = 2\nz = 3\n");
    fs::remove_file(site.at("gone.py")).unwrap();
    git(top, &["mv", "one.py", "two.py"]);
    git(top, &["add", "--all"]);
    let text = git(top, &["diff", "--cached", "--find-renames"]) + "\n";
    assert!(text.contains("rename from one.py") && text.contains("No newline"), "{text}");
    let file = patch(&site, &text);
    git(top, &["reset", "--quiet", "--hard"]);
    let all = [
        "gone.py",
        "last.py::g",
        "new.py",
        "one.py",
        "src/shop.py::Invoice.total",
        "two.py",
        "ü \"q\" \\[x\\].py::main",
    ];
    is_about(top, &["--patch", file.to_str().unwrap()], &all);
    // From its top, wherever it is asked from; and from standard input.
    is_about(&site.at("src"), &["--patch", file.to_str().unwrap()], &all);
    let answer = check(top, "alice", &["--patch", "-"]).stdin_of(&file).json();
    assert_eq!(words(&answer, "addresses"), all);
    reserve(top, "bob", "two.py");
    check(top, "alice", &["--patch", file.to_str().unwrap()]).json().is_json_conflict();

    // What is not as the patch has it counts whole, and it is said.
    site.file("src/shop.py", "class Invoice: pass\n");
    let answer = check(top, "bob", &["--patch", file.to_str().unwrap()]).json();
    assert!(words(&answer, "addresses").contains(&"src/shop.py".to_owned()), "{answer:?}");
    let warning = "`src/shop.py` counts as a whole: the patch does not apply to it";
    assert_eq!(words(&answer, "warnings"), [warning]);
}

#[test]
fn patches_of_other_kinds() {
    let site = shop();
    let top = site.path();
    let src = site.at("src");
    site.file("src/shop.py.orig", SHOP);
    site.file("src/shop.py", &SHOP.replace("return 2", "return 5"));
    let output = support::tool("diff", &src, &["-u", "shop.py.orig", "shop.py"]);
    let text = String::from_utf8(output.stdout).unwrap();
    // Relative to where `diff` ran. The file has the change already.
    let file = patch(&site, &text);
    let file = file.to_str().unwrap();
    let (addresses, warnings) = asked(&src, &["--patch", file]);
    assert_eq!(addresses, ["src/shop.py", "src/shop.py.orig"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    fs::remove_file(site.at("src/shop.py.orig")).unwrap();
    git(top, &["checkout", "--quiet", "src/shop.py"]);
    is_about(&src, &["--patch", file], &["src/shop.py::Invoice.tax"]);
    let (addresses, warnings) = asked(top, &["--patch", file]);
    assert_eq!(addresses, ["shop.py"]);
    assert_eq!(warnings, ["`shop.py` counts as a whole: the patch does not apply to it"]);

    // A series: the second change builds on the first.
    git(top, &["checkout", "--quiet", "-b", "series"]);
    for (from, to) in [("return 1", "return 10"), ("return 10", "return 100\n\n    def net(self): pass")] {
        stage(top, "src/shop.py", from, to);
        git(top, &["commit", "--quiet", "-m", to]);
    }
    patch(&site, &(git(top, &["format-patch", "--stdout", "main"]) + "\n"));
    git(top, &["checkout", "--quiet", "main"]);
    is_about(top, &["--patch", file], &["src/shop.py::Invoice.net", "src/shop.py::Invoice.total"]);

    // Out of the tree, through a link, and nothing at all.
    patch(&site, "--- /etc/hosts\n+++ /etc/hosts\n@@ -1 +1 @@\n-a\n+b\n");
    let (addresses, warnings) = asked(top, &["--patch", file]);
    assert_eq!((addresses.len(), warnings.len()), (0, 1), "{warnings:?}");
    assert!(warnings[0].starts_with("`/etc/hosts`: left out"), "{warnings:?}");
    symlink("src", site.at("link")).unwrap();
    patch(
        &site,
        "--- link/../link/shop.py\n+++ link/shop.py\n@@ -10,2 +10,2 @@\n def main():\n-    return 0\n+    return 1\n",
    );
    is_about(top, &["--patch", file], &["src/shop.py::main"]);
    patch(&site, "");
    is_about(top, &["--patch", file], &[]);
    check(top, "alice", &["--patch", "-"]).run().is_success();
    for wrong in ["not a patch\n", "--- a\n+++ b\n@@ -1 +1 @@\n-a\n"] {
        patch(&site, wrong);
        let error = check(top, "alice", &["--patch", file]).json().is_failure(1, "bad_args", None);
        assert!(error.contains("git diff"), "{error}");
    }
    check(top, "alice", &["--patch", "no such file"]).json().is_failure(1, "bad_args", None);
}

#[test]
fn what_is_not_known_is_never_clear() {
    let site = shop();
    let top = site.path();
    let error = check(top, "alice", &["--diff", "nope"]).json().is_failure(1, "bad_args", None);
    assert!(error.contains("nope") && error.contains("git rev-parse"), "{error}");
    check(top, "alice", &["--diff", "nope"]).run().is_text_failure(1, &["nope"]);
    stage(top, "src/shop.py", "return 1", "return 3");
    let tree = site.at(".git/index");
    let index = fs::read(&tree).unwrap();
    fs::write(&tree, "no index").unwrap();
    for what in ["--staged", "--worktree"] {
        let error = check(top, "alice", &[what]).json().is_failure(3, "store_damaged", None);
        assert!(error.starts_with("this could not be checked: cannot read the index"), "{error}");
    }
    fs::write(&tree, index).unwrap();
    // An object that is needed is not there.
    let object = git(top, &["rev-parse", ":src/shop.py"]);
    let (folder, name) = object.split_at(2);
    let object = site.at(".git/objects").join(folder).join(name);
    fs::remove_file(object).unwrap();
    let error = check(top, "alice", &["--staged"]).json().is_failure(3, "store_damaged", None);
    assert!(error.contains("could not be checked"), "{error}");

    fs::remove_dir_all(site.at(".muse")).unwrap();
    let error = check(top, "alice", &["--staged"]).json().is_failure(3, "store_gone", None);
    assert!(error.starts_with("this could not be checked: "), "{error}");
    // A store outside of Git; and Git without a store.
    let site = Site::new();
    let error = check(site.path(), "alice", &["--staged"]).json().is_failure(2, "not_a_repository", None);
    assert!(error.contains("not in a Git repository"), "{error}");
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet"]);
    check(site.path(), "alice", &["--staged"]).json().is_failure(2, "not_a_repository", None);
}

#[test]
fn one_question_at_a_time() {
    let site = shop();
    let sources: [&[&str]; 5] =
        [&["--staged"], &["--worktree"], &["--diff", "HEAD"], &["--patch", "-"], &["a.py"]];
    for (place, one) in sources.iter().enumerate() {
        check(site.path(), "alice", one).run().is_success();
        for other in &sources[place + 1..] {
            check(site.path(), "alice", one).args(other).json().is_failure(2, "usage", None);
        }
    }
    for source in &sources[..4] {
        check(site.path(), "alice", source).arg("--shared").json().is_failure(2, "usage", None);
    }
    check(site.path(), "alice", &[]).json().is_failure(2, "usage", None);
}

#[test]
fn names_that_no_address_can_say_are_told() {
    let site = shop();
    let name = site.path().join(support::not_utf8());
    // Not every file system takes such a name.
    if fs::write(&name, "text").is_ok() {
        let (addresses, warnings) = asked(site.path(), &["--worktree"]);
        assert_eq!((addresses.len(), warnings.len()), (0, 1), "{warnings:?}");
        assert!(warnings[0].contains("no address"), "{warnings:?}");
    }
}

#[test]
fn of_thousands_of_files_text_tells_the_first() {
    let site = shop();
    for number in 0..1500 {
        site.file(&format!("many/{number:04}.py"), "x = 1\n");
    }
    git(site.path(), &["add", "--all"]);
    assert_eq!(asked(site.path(), &["--staged"]).0.len(), 1500);
    let answer = check(site.path(), "alice", &["--staged"]).run();
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!((lines.len(), lines[10]), (11, "  many/0009.py"));
    assert_eq!(answer.stderr, "... and 1490 more addresses; --json names them all\n");
    reserve(site.path(), "bob", "many/0700.py");
    let answer = check(site.path(), "alice", &["--staged"]).run();
    answer.is_text_failure(6, &["`many/0700.py` is held by run `bob`"]);
}
