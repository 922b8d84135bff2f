//! What a merge changes itself, beside what it brings.

#![expect(clippy::disallowed_methods, reason = "tests run git, write files, and are a hook of Git's")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use muse_repo::{ChangeSet, Changes, ChangesError, GitEnvironment, Side};

use muse_testkit::git::{git, try_git};
use site::{Site, bytes, open, paths, write};

/// With branches `side` and `other`, one commit each, and one on `main` since.
fn branched() -> Site {
    let site = Site::new();
    for (branch, own) in [("side", "on side"), ("other", "on other")] {
        site.git(&["checkout", "--quiet", "-b", branch, "main"]);
        site.write("a.txt", &format!("{own}\n"));
        site.write(own, "text\n");
        site.git(&["rm", "--quiet", if branch == "side" { "z" } else { "src/d.txt" }]);
        site.commit_all(branch);
    }
    site.git(&["checkout", "--quiet", "main"]);
    site.write("b.txt", "on main\n");
    site.commit_all("main");
    site
}

fn staged(changes: &Changes) -> ChangeSet {
    changes.staged_against_all_parents().expect("known")
}

fn is_as_without_a_merge(site: &Site) {
    let changes = site.changes();
    assert_eq!(staged(&changes), changes.staged().expect("known"));
    assert_eq!(changes.worktree_against_all_parents().expect("known"), changes.worktree().expect("known"));
}

#[test]
fn where_nothing_is_merged_it_is_what_is_staged() {
    let site = Site::empty();
    site.write("file", "text\n");
    site.git(&["add", "--all"]);
    is_as_without_a_merge(&site);

    let site = branched();
    site.write("a.txt", "changed\n");
    site.git(&["add", "--all"]);
    site.write("z", "on the disk\n");
    is_as_without_a_merge(&site);
    site.git(&["reset", "--quiet", "--hard"]);
    // These stop and leave no `MERGE_HEAD`: what they commit is the work of whoever commits it.
    site.git(&["cherry-pick", "--no-commit", "side"]);
    assert_eq!(paths(&staged(&site.changes())), ["a.txt", "on side", "z"]);
    site.git(&["reset", "--quiet", "--hard"]);
    site.git(&["merge", "--quiet", "--squash", "side"]);
    assert_eq!(paths(&staged(&site.changes())), ["a.txt", "on side", "z"]);
}

#[test]
fn in_a_bare_repository_nothing_is_committed() {
    let site = branched();
    let bare = site.path.with_file_name("bare.git");
    site.git(&["clone", "--quiet", "--bare", ".", bare.to_str().expect("UTF-8")]);
    let changes = open(&bare);
    for told in [changes.staged_against_all_parents(), changes.worktree_against_all_parents()] {
        assert!(matches!(told, Err(ChangesError::NoWorkingTree { .. })), "{told:?}");
    }
}

#[test]
fn of_a_merge_it_is_what_no_side_has() {
    let site = branched();
    site.git(&["merge", "--quiet", "--no-commit", "side"]);
    assert_eq!(paths(&site.changes().staged().expect("known")), ["a.txt", "on side", "z"]);
    assert_eq!(staged(&site.changes()), ChangeSet::default());
    assert_eq!(site.changes().worktree_against_all_parents().expect("known"), ChangeSet::default());

    // Settled otherwise than either side has it; and what is changed beside it.
    site.write("a.txt", "settled\n");
    site.write("on side", "settled\n");
    site.write("src/deep/c.txt", "beside\n");
    site.write("new", "beside\n");
    site.git(&["add", "--all"]);
    site.git(&["rm", "--quiet", "link"]);
    let changes = site.changes();
    let own = staged(&changes);
    assert_eq!(paths(&own), ["a.txt", "link", "new", "on side", "src/deep/c.txt"]);
    let merged = |path: &str| {
        let change = own.files.iter().find(|change| change.path == path).expect("changed");
        let [merged] = &change.merged[..] else { panic!("{change:?}") };
        merged.as_ref().map(|side: &Side| bytes(&changes, Some(side)))
    };
    assert_eq!(merged("a.txt").as_deref(), Some("on side\n"));
    assert_eq!(merged("on side").as_deref(), Some("text\n"));
    assert_eq!(merged("new"), None);
    assert_eq!(own.files[3].old, None, "`on side` is not in HEAD");

    // As is on the disk what is not staged.
    site.write("a.txt", "on side\n");
    site.write("untracked", "text\n");
    let own = changes.worktree_against_all_parents().expect("known");
    assert_eq!(paths(&own), ["link", "new", "on side", "src/deep/c.txt", "untracked"]);
    // What one side has is taken whole: nothing is left of it.
    site.git(&["checkout", "HEAD", "--", "a.txt"]);
    site.git(&["checkout", "side", "--", "on side"]);
    assert_eq!(paths(&staged(&changes)), ["link", "new", "src/deep/c.txt"]);
}

#[test]
fn a_conflict_is_told_until_it_is_settled() {
    let site = branched();
    site.write("a.txt", "on main\n");
    site.commit_all("conflicting");
    assert!(!try_git(&site.path, &["merge", "--no-edit", "side"]).status.success());
    let own = staged(&site.changes());
    assert_eq!(paths(&own), [""; 0]);
    assert_eq!(own.unsettled.len(), 1);
    assert_eq!(own.unsettled[0].path, "a.txt");
    site.write("a.txt", "settled\n");
    site.git(&["add", "a.txt"]);
    assert_eq!(paths(&staged(&site.changes())), ["a.txt"]);
    site.git(&["commit", "--quiet", "--no-edit"]);
    is_as_without_a_merge(&site);
}

#[test]
fn of_several_parents_and_in_a_linked_tree() {
    let site = branched();
    let tree = site.path.with_file_name("linked tree");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", tree.to_str().expect("UTF-8")]);
    site.git(&["checkout", "--quiet", "other"]);
    write(&site.path, "a.txt", "a.txt\nline\n");
    site.commit_all("as it was");
    git(&tree, &["merge", "--quiet", "--no-commit", "side", "other"]);
    let heads = PathBuf::from(git(&tree, &["rev-parse", "--git-path", "MERGE_HEAD"]));
    assert_eq!(fs::read_to_string(&heads).expect("several").lines().count(), 2);
    assert_eq!(staged(&open(&tree)), ChangeSet::default());
    write(&tree, "a.txt", "beside\n");
    write(&tree, "on side", "beside\n");
    git(&tree, &["add", "--all"]);
    let own = staged(&open(&tree));
    assert_eq!(paths(&own), ["a.txt", "on side"]);
    assert_eq!(own.files[1].merged.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    // It is merged in that tree alone.
    assert_eq!(paths(&staged(&site.changes())), [""; 0]);

    // What cannot be read is nothing that can be left out.
    for text in ["no id\n", "0123456789012345678901234567890123456789\n"] {
        fs::write(&heads, text).expect("written");
        let error = open(&tree).staged_against_all_parents().expect_err("not known");
        assert!(matches!(&error, ChangesError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("MERGE_HEAD"), "{error}");
    }
    fs::remove_file(&heads).expect("removed");
    fs::create_dir(&heads).expect("a folder in its place");
    let error = open(&tree).staged_against_all_parents().expect_err("not known");
    assert!(matches!(&error, ChangesError::Unreadable { .. }), "{error}");
}

/// What the hook that the next test installs runs. By itself, it is where there is nothing to tell.
#[test]
fn as_a_hook() {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let Some(told) = variable("TOLD") else {
        assert_eq!(staged(&Site::new().changes()), ChangeSet::default());
        return;
    };
    let id = |name: std::ffi::OsString| Some(name.to_str()?.strip_prefix("GITHEAD_")?.to_owned());
    let environment = GitEnvironment {
        index_file: variable("GIT_INDEX_FILE"),
        merged: std::env::vars_os().filter_map(|(name, _)| id(name)).collect(),
        ..GitEnvironment::default()
    };
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("its path");
    let changes = Changes::open(&here, &environment).expect("opened");
    let lines = [staged(&changes), changes.staged().expect("known")].map(|set| paths(&set).join(","));
    fs::write(told, format!("{} {}", environment.merged.len(), lines.join(" < "))).expect("written");
}

#[test]
fn in_the_hook_of_a_merge_that_does_not_stop() {
    let site = branched();
    let told = site.path.with_file_name("told");
    let hook = site.at(".git/hooks/pre-merge-commit");
    let test = std::env::current_exe().expect("the test itself");
    let script =
        format!("#!/bin/sh\nTOLD='{}' exec '{}' --exact as_a_hook\n", told.display(), test.display());
    fs::write(&hook, script).expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("made executable");
    site.git(&["merge", "--quiet", "--no-edit", "side"]);
    assert_eq!(fs::read_to_string(told).expect("told"), "1  < a.txt,on side,z");
}
