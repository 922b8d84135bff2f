//! What has changed, against what Git itself says: pushes, line ends and filters, odd indexes, odd paths, and what is
//! refused.

#![expect(clippy::disallowed_methods, reason = "tests run git and write files")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

mod site;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use muse_repo::{ChangeSet, Changes, ChangesError, Content, GitEnvironment, Kind, Reason, Side};

use muse_testkit::git::{git, try_git};
use site::{Lines, NO_ID, Site, assert_as_git_says, assert_since, bytes, open, ours, paths, raw, write};

const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

impl Site {
    fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", revision])
    }

    /// What a push of `local` would bring where the remote has `remote`.
    fn outgoing(&self, local: &str, remote: &str) -> ChangeSet {
        let line = format!("refs/heads/x {local} refs/heads/x {remote}\n");
        self.changes().outgoing(line.as_bytes()).expect("known")
    }

    fn between(&self, old: &str, new: &str) -> Lines {
        raw(&self.git(&["diff", "--raw", "-z", "--no-renames", "--no-abbrev", old, new]), true)
    }
}

#[test]
fn a_push_brings_what_the_remote_has_not() {
    let site = Site::new();
    let remote = site.path.with_file_name("remote");
    site.git(&["clone", "--quiet", "--bare", ".", remote.to_str().expect("UTF-8")]);
    site.git(&["remote", "add", "origin", remote.to_str().expect("UTF-8")]);
    site.git(&["fetch", "--quiet", "origin"]);
    let pushed = site.id("main");
    site.git(&["checkout", "--quiet", "-b", "new"]);
    site.write("a.txt", "on the new branch\n");
    site.git(&["rm", "--quiet", "-r", "src/deep"]);
    site.commit_all("on the new branch");
    let new = site.id("new");

    // The branch is known to the remote; it is new there; it has there what was never fetched.
    let expected = site.between(&pushed, &new);
    assert_eq!(ours(&site.outgoing(&new, &pushed), true), expected);
    assert_eq!(ours(&site.outgoing(&new, NO_ID), true), expected);
    assert_eq!(ours(&site.outgoing(&new, &"5".repeat(40)), true), expected);
    assert_eq!(site.outgoing(NO_ID, &pushed), ChangeSet::default());
    assert_eq!(site.outgoing(&pushed, &pushed), ChangeSet::default());

    // Forced: what the remote has and this has not goes away.
    site.git(&["checkout", "--quiet", "-b", "other", "main"]);
    site.write("b.txt", "on the other branch\n");
    site.commit_all("on the other branch");
    let other = site.id("other");
    let forced = site.outgoing(&other, &new);
    assert_eq!(paths(&forced), ["a.txt", "b.txt", "src/deep/c.txt"]);
    assert_eq!(ours(&forced, true), site.between(&new, &other));

    // A tag is the commit that it names.
    site.git(&["tag", "-a", "-m", "tagged", "tag", "other"]);
    assert_eq!(site.outgoing(&site.id("tag"), NO_ID), site.outgoing(&other, NO_ID));
    // What a tag names may be a file's content, and lies at no path.
    assert_eq!(site.outgoing(&site.id("other:b.txt"), NO_ID), ChangeSet::default());

    // Several at once, each once; a local reference may have blanks in it.
    let lines = format!(
        "refs/heads/new {new} refs/heads/new {NO_ID}\n:/on the {other} refs/heads/other {NO_ID}\n\
         refs/heads/new {new} refs/heads/again {pushed}\n(delete) {NO_ID} refs/heads/gone {pushed}\n"
    );
    let both = site.changes().outgoing(lines.as_bytes()).expect("known");
    assert_eq!(paths(&both), ["a.txt", "b.txt", "src/deep/c.txt"]);
    assert_eq!(site.changes().outgoing(b"").expect("known"), ChangeSet::default());

    // Nothing in common with any remote, and no remote at all.
    site.git(&["checkout", "--quiet", "--orphan", "orphan"]);
    site.git(&["commit", "--quiet", "-m", "without a parent"]);
    let all = site.between(EMPTY_TREE, "orphan");
    assert_eq!(ours(&site.outgoing(&site.id("orphan"), NO_ID), true), all);
    site.git(&["remote", "remove", "origin"]);
    let all = site.between(EMPTY_TREE, &new);
    assert_eq!(ours(&site.outgoing(&new, NO_ID), true), all);

    for line in ["refs/heads/x", &format!("x {new} y {}", "z".repeat(40)), &format!("x {new} y")] {
        match site.changes().outgoing(line.as_bytes()) {
            Err(ChangesError::PushLine { line: told }) => assert_eq!(told, line),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_push_from_a_shallow_clone() {
    let site = Site::new();
    let shallow = site.path.with_file_name("shallow");
    let url = format!("file://{}", site.path.display());
    site.git(&["clone", "--quiet", "--depth", "1", &url, shallow.to_str().expect("UTF-8")]);
    write(&shallow, "a.txt", "pushed\n");
    git(&shallow, &["commit", "--quiet", "-am", "pushed"]);
    let line = format!("x {} x {NO_ID}\n", git(&shallow, &["rev-parse", "HEAD"]));
    assert_eq!(paths(&open(&shallow).outgoing(line.as_bytes()).expect("known")), ["a.txt"]);
}

#[test]
fn line_ends_and_filters_change_nothing() {
    let site = Site::empty();
    site.write(".gitattributes", "*.text text=auto eol=crlf\n*.filtered -text filter=upper\n*.raw -text\n");
    site.git(&["config", "filter.upper.clean", "tr a-z A-Z"]);
    site.git(&["config", "filter.upper.smudge", "tr A-Z a-z"]);
    site.git(&["config", "core.autocrlf", "true"]);
    for name in ["one.text", "two.txt", "three.raw", "four.filtered", "five.txt"] {
        site.write(name, "one\r\ntwo\r\n");
    }
    site.commit_all("one");
    site.write("five.txt", "one\r\nthree\r\n");
    site.commit_all("two");
    assert_eq!(site.git(&["show", "HEAD:one.text"]), "one\ntwo");
    assert_eq!(site.git(&["show", "HEAD:four.filtered"]), "ONE\r\nTWO\r");

    // Read again, for the time and the size are not as the index says: other line ends, and what the filter undoes.
    site.write("one.text", "one\ntwo\n");
    site.write("two.txt", "one\ntwo\n");
    site.write("four.filtered", "ONE\r\ntwo\r\n");
    let changes = site.changes();
    assert_eq!(changes.worktree().expect("known"), ChangeSet::default());
    assert_eq!(paths(&changes.since("HEAD~1").expect("known")), ["five.txt"]);

    site.write("three.raw", "one\ntwo\n");
    site.write("two.txt", "one\r\nchanged\r\n");
    site.write("four.filtered", "changed\r\n");
    let worktree = changes.worktree().expect("known");
    assert_eq!(paths(&worktree), ["four.filtered", "three.raw", "two.txt"]);
    assert_eq!(bytes(&changes, worktree.files[0].new.as_ref()), "CHANGED\r\n");
    assert_eq!(bytes(&changes, worktree.files[2].old.as_ref()), "one\ntwo\n");
    assert_eq!(bytes(&changes, worktree.files[2].new.as_ref()), "one\nchanged\n");
    assert_since(&site.path, "HEAD~1");
}

#[test]
fn what_a_hook_asks_for_runs_no_filter() {
    let site = Site::new();
    let ran = site.at("ran");
    site.git(&["config", "filter.x.clean", &format!("touch '{}'; cat", ran.display())]);
    site.git(&["config", "core.fsmonitor", &format!("touch '{}'", ran.display())]);
    site.write("a.txt", "staged\n");
    site.git(&["-c", "core.fsmonitor=false", "add", "a.txt"]);
    site.write(".gitattributes", "* filter=x\n");
    let staged = site.changes().staged().expect("known");
    assert_eq!(paths(&staged), ["a.txt"]);
    assert_eq!(bytes(&site.changes(), staged.files[0].new.as_ref()), "staged\n");
    site.outgoing(&site.id("HEAD"), NO_ID);
    assert!(!ran.exists());
}

#[test]
fn odd_indexes() {
    let site = Site::new();
    // Promised, not staged; and of one the file is gone again.
    site.write("promised", "text\n");
    site.write("broken promise", "text\n");
    site.git(&["add", "--intent-to-add", "promised", "broken promise"]);
    fs::remove_file(site.at("broken promise")).expect("removed");
    let changes = site.changes();
    assert_eq!(changes.staged().expect("known"), ChangeSet::default());
    assert_eq!(paths(&changes.worktree().expect("known")), ["promised"]);
    assert_eq!(paths(&changes.since("HEAD").expect("known")), ["promised"]);
    site.git(&["reset", "--quiet"]);
    fs::remove_file(site.at("promised")).expect("removed");

    // Split, staged in either part.
    site.git(&["update-index", "--split-index"]);
    site.write("a.txt", "in the split index\n");
    site.write("new", "in the split index\n");
    site.git(&["rm", "--quiet", "src/d.txt"]);
    site.git(&["add", "--all"]);
    assert_eq!(paths(&assert_as_git_says(&site.path)), ["a.txt", "new", "src/d.txt"]);
    site.git(&["update-index", "--no-split-index"]);
    site.git(&["reset", "--quiet", "--hard"]);

    // Not to be looked at on the disk, and other versions of the file's format.
    site.git(&["update-index", "--skip-worktree", "z"]);
    site.git(&["update-index", "--assume-unchanged", "b.txt"]);
    fs::remove_file(site.at("z")).expect("removed");
    site.write("b.txt", "not looked at\n");
    for version in ["2", "3", "4"] {
        site.git(&["update-index", "--index-version", version]);
        site.write("a.txt", version);
        site.git(&["add", "a.txt"]);
        assert_eq!(paths(&assert_as_git_says(&site.path)), ["a.txt"]);
    }
}

#[test]
fn a_sparse_index() {
    let site = Site::new();
    for name in ["far/away/one", "far/away/two", "far/three", "near/four"] {
        site.write(name, "text\n");
    }
    site.commit_all("folders");
    site.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "near"]);
    assert!(site.git(&["ls-files", "--sparse"]).lines().any(|line| line == "far/"));
    site.write("near/four", "changed\n");
    site.git(&["add", "near/four"]);
    assert_eq!(paths(&assert_as_git_says(&site.path)), ["near/four"]);
    // Folders that the index does not look into, and that are not as in the commit.
    assert_since(&site.path, "HEAD~1");
    site.git(&["reset", "--quiet", "--soft", "HEAD~1"]);
    let staged = assert_as_git_says(&site.path);
    assert_eq!(paths(&staged), ["far/away/one", "far/away/two", "far/three", "near/four"]);
}

/// The trees that the index notes let whole folders be left out: with each of them valid, invalid, and missing.
#[test]
fn folders_that_are_the_same_are_left_out_and_no_others() {
    let site = Site::empty();
    for folder in ["a", "a/b", "a/b/c", "a-b", "a.b", "ab", "z/y"] {
        for file in ["1", "2"] {
            site.write(&format!("{folder}/{file}"), folder);
        }
    }
    site.commit_all("one");
    for (file, gone) in [("a/b/1", "ab/1"), ("a-b/1", "z/y/2"), ("a.b/new", "a/1"), ("z/new/new", "a/b/c/1")]
    {
        site.write(file, "changed\n");
        site.git(&["rm", "--quiet", gone]);
        site.git(&["add", file]);
        assert_as_git_says(&site.path);
        // Notes the trees of all folders, those that differ from the commit included.
        site.git(&["write-tree"]);
        assert_as_git_says(&site.path);
    }
    site.git(&["read-tree", "--empty"]);
    assert_eq!(site.changes().staged().expect("known").files.len(), 14);
    assert_eq!(paths(&site.changes().worktree().expect("known")).len(), 4 + 4);
}

#[test]
fn odd_paths_and_files() {
    let site = Site::new();
    let odd = site.path.join(OsStr::from_bytes(b"not \xff UTF-8"));
    fs::write(&odd, "text\n").expect("written");
    for name in ["tab\there", "quote\"d", "star*[x]?", "-dash", ":colon", "new\nline", "back\\slash"] {
        site.write(name, "text\n");
    }
    site.git(&["add", "--all"]);
    let staged = site.changes().staged().expect("known");
    let names = ["-dash", ":colon", "back\\slash", "new\nline", "quote\"d", "star*[x]?", "tab\there"];
    assert_eq!(paths(&staged), names);
    assert_eq!(staged.unsettled.len(), 1);
    let unsettled = &staged.unsettled[0];
    assert_eq!((&*unsettled.path, unsettled.reason), ("not \u{fffd} UTF-8", Reason::NotUtf8));
    assert_eq!(site.changes().worktree().expect("known").unsettled, staged.unsettled);
    site.commit_all("odd");

    // A repository inside that is no submodule, a link to a folder, a link to nothing, an untracked program.
    git(&site.path, &["init", "--quiet", "nested"]);
    write(&site.at("nested"), "file", "text\n");
    symlink("src", site.at("to a folder")).expect("a link");
    symlink("nowhere", site.at("to nothing")).expect("a link");
    site.write("program", "text\n");
    fs::set_permissions(site.at("program"), fs::Permissions::from_mode(0o755)).expect("set");
    let worktree = site.changes().worktree().expect("known");
    let kinds: Vec<_> = worktree.files.iter().map(|change| change.new.as_ref().map(Side::kind)).collect();
    assert_eq!(paths(&worktree), ["nested", "program", "to a folder", "to nothing"]);
    let expected = [Kind::Submodule, Kind::Executable, Kind::Symlink, Kind::Symlink].map(Some);
    assert_eq!(kinds, expected);
}

#[test]
fn what_is_no_file_is_not_read() {
    let site = Site::new();
    fs::remove_file(site.at("a.txt")).expect("removed");
    // To open one for reading waits for somebody that writes.
    let made = Command::new("mkfifo").arg(site.at("a.txt")).arg(site.at("untracked")).status();
    assert!(made.expect("mkfifo runs").success());
    let worktree = site.changes().worktree().expect("known");
    assert_eq!(paths(&worktree), ["a.txt"]);
    if let Some(new) = &worktree.files[0].new {
        assert_eq!(site.changes().contents().read(new, 1000).expect("read"), Content::Nothing);
    }
}

/// Only root can give a file away: for others there is nothing to try.
#[test]
fn filters_of_another_users_repository_are_not_run() {
    let site = Site::new();
    let ran = site.at(".git/ran");
    site.git(&["config", "filter.x.clean", &format!("touch '{}'; cat", ran.display())]);
    site.write(".git/info/attributes", "* filter=x\n");
    site.write("a.txt", "changed\n");
    assert_eq!(paths(&site.changes().worktree().expect("known")), ["a.txt"]);
    assert!(ran.exists(), "in one's own repository they are");
    fs::remove_file(&ran).expect("removed");
    let given = [".git", ""].iter().all(|name| chown(site.at(name), Some(12345), None).is_ok());
    if given {
        assert_eq!(paths(&site.changes().worktree().expect("known")), ["a.txt"]);
        assert!(!ran.exists());
    }
}

#[test]
fn no_more_bytes_are_read_than_asked_for() {
    let site = Site::new();
    site.write("a.txt", "0123456789");
    site.git(&["add", "a.txt"]);
    site.write("b.txt", "0123456789");
    let changes = site.changes();
    let mut contents = changes.contents();
    let all = Content::Bytes(b"0123456789".to_vec());
    for change in changes.worktree().expect("known").files {
        let new = change.new.expect("new");
        assert_eq!(contents.read(&new, 10).expect("read"), all);
        assert_eq!(contents.read(&new, 9).expect("read"), Content::TooLarge);
    }
    let gone = changes.worktree().expect("known").files.remove(1).new.expect("new");
    fs::remove_file(site.at("b.txt")).expect("removed");
    assert_eq!(contents.read(&gone, 10).expect("read"), Content::Nothing);
}

#[test]
fn folders_that_the_environment_names() {
    let site = Site::new();
    let git_dir = site.path.with_file_name("elsewhere.git");
    fs::rename(site.at(".git"), &git_dir).expect("moved");
    site.write("a.txt", "changed\n");
    let top = site.path.clone();
    let environment = |git_dir: Option<&str>, work_tree: Option<&str>| GitEnvironment {
        git_dir: git_dir.map(PathBuf::from),
        work_tree: work_tree.map(PathBuf::from),
        ..GitEnvironment::default()
    };
    let not_git = Changes::open(&top, &GitEnvironment::default()).expect_err("not there");
    assert!(matches!(&not_git, ChangesError::NotGit { start } if *start == top), "{not_git}");
    let alone = Changes::open(&top, &environment(Some("../elsewhere.git"), None)).expect("opened");
    assert_eq!(alone.top(), Some(&*top));
    assert_eq!(paths(&alone.worktree().expect("known")), ["a.txt"]);
    let both = environment(Some("../../elsewhere.git"), Some(".."));
    let both = Changes::open(&top.join("src"), &both).expect("opened");
    assert_eq!(both.top(), Some(&*top));
    assert_eq!(paths(&both.since("HEAD").expect("known")), ["a.txt"]);
    let file = site.at(".git");
    fs::write(&file, "gitdir: ../elsewhere.git\n").expect("written");
    let named = Changes::open(&top, &environment(Some(".git"), None)).expect("opened");
    assert_eq!(paths(&named.worktree().expect("known")), ["a.txt"]);

    // Relative to the top, wherever it is asked from.
    fs::copy(git_dir.join("index"), site.at("other index")).expect("copied");
    site.git(&["add", "a.txt"]);
    let other = GitEnvironment { index_file: Some("other index".into()), ..GitEnvironment::default() };
    let other = Changes::open(&top.join("src"), &other).expect("opened");
    assert_eq!(other.staged().expect("known"), ChangeSet::default());
    assert_eq!(paths(&open(&top).staged().expect("known")), ["a.txt"]);

    let bare = site.path.with_file_name("bare");
    site.git(&[
        "clone",
        "--quiet",
        "--bare",
        git_dir.to_str().expect("UTF-8"),
        bare.to_str().expect("UTF-8"),
    ]);
    assert_eq!(open(&bare).top(), None);
    assert!(matches!(open(&bare).worktree(), Err(ChangesError::NoWorkingTree { .. })));
}

#[test]
fn what_is_not_known_is_refused() {
    let site = Site::new();
    for revision in ["nothing", "HEAD~7", "HEAD:a.txt", ""] {
        match site.changes().since(revision) {
            Err(ChangesError::Revision { revision: told, .. }) => assert_eq!(told, revision),
            other => panic!("{other:?}"),
        }
    }
    fs::write(site.at(".git/index"), "no index").expect("written");
    match site.changes().staged() {
        Err(ChangesError::Unreadable { path, .. }) => assert_eq!(path, site.at(".git/index")),
        other => panic!("{other:?}"),
    }

    for (name, option) in [("hashes", "--object-format=sha256"), ("tables", "--ref-format=reftable")] {
        let path = site.path.with_file_name(name);
        // A Git of before 2.45 makes no reftable.
        let arguments = ["init", "--quiet", option, path.to_str().expect("UTF-8")];
        if !try_git(&site.path, &arguments).status.success() {
            continue;
        }
        let error = Changes::open(&path, &GitEnvironment::default()).expect_err("not read");
        assert!(matches!(error, ChangesError::Unsupported { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("sha256") || text.contains("reftable"), "{text}");
    }
}
