//! What has changed, against what Git itself says: plain, in Git's hooks, in worktrees and submodules.

#![expect(clippy::disallowed_methods, reason = "tests run git, write files, and are a hook of Git's")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

mod site;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use muse_repo::{ChangeSet, Changes, Content, GitEnvironment, Kind, Reason, Side};

use muse_testkit::git::{git, try_git};
use site::{Lines, Site, assert_as_git_says, assert_since, bytes, open, ours, paths, raw, write};

/// Makes the hook of this name tell, in the file that is returned, what is staged as it sees it, and as Git does.
fn hook(site: &Site, folder: &Path, name: &str) -> PathBuf {
    let told = site.path.with_file_name(format!("told by {name}"));
    let test = std::env::current_exe().expect("the test itself");
    let script = format!(
        "#!/bin/sh\nset -e\nexport TOLD='{told}'\necho \"$GIT_INDEX_FILE\" >> \"$TOLD.index\"\n\
         git diff --cached --raw -z --no-renames --no-abbrev > \"$TOLD.git\"\n\
         '{test}' --exact as_a_hook > \"$TOLD.log\" 2>&1\n",
        told = told.display(),
        test = test.display()
    );
    let hook = folder.join(name);
    fs::write(&hook, script).expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("made executable");
    told
}

/// What Git says in the names of variables that it merges.
fn merged() -> Vec<String> {
    let id = |name: std::ffi::OsString| Some(name.to_str()?.strip_prefix("GITHEAD_")?.to_owned());
    std::env::vars_os().filter_map(|(name, _)| id(name)).collect()
}

/// What the hooks that the tests install run. By itself, it is where nothing is staged.
#[test]
fn as_a_hook() {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let Some(told) = variable("TOLD") else {
        assert_eq!(assert_as_git_says(&Site::new().path), ChangeSet::default());
        return;
    };
    let environment = GitEnvironment {
        git_dir: variable("GIT_DIR"),
        work_tree: variable("GIT_WORK_TREE"),
        index_file: variable("GIT_INDEX_FILE"),
        merged: merged(),
    };
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("its path");
    let staged = Changes::open(&here, &environment).expect("opened").staged().expect("known");
    let lines: Vec<String> = ours(&staged, true).into_iter().collect();
    fs::write(told, lines.join("\n")).expect("written");
}

/// What the hook told, when Git had told it the same.
#[track_caller]
fn told(file: &Path) -> Vec<String> {
    let beside = |ending: &str| {
        let path = PathBuf::from(format!("{}.{ending}", file.display()));
        fs::read_to_string(path).expect("told")
    };
    let lines = fs::read_to_string(file).unwrap_or_else(|_| panic!("no hook: {}", beside("log")));
    let lines: Lines = lines.lines().map(str::to_owned).collect();
    assert_eq!(lines, raw(&beside("git"), true), "with the index {}", beside("index"));
    fs::remove_file(file).expect("removed");
    let path = |line: &String| line.splitn(5, ' ').nth(4).expect("a path").to_owned();
    let mut paths: Vec<String> = lines.iter().map(path).collect();
    paths.sort();
    paths
}

fn last_index(file: &Path) -> String {
    let all = fs::read_to_string(format!("{}.index", file.display())).expect("told");
    all.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn what_is_staged_and_what_is_only_on_the_disk() {
    let site = Site::new();
    assert_eq!(assert_as_git_says(&site.path), ChangeSet::default());

    site.write("a.txt", "staged\n");
    site.write("new file", "new\n");
    site.write("with blank/é ü.txt", "changed\n");
    fs::remove_file(site.at("src/d.txt")).expect("removed");
    fs::rename(site.at("z"), site.at("y")).expect("renamed");
    site.git(&["add", "--all"]);
    site.write("a.txt", "on the disk\n");
    site.write("b.txt", "on the disk\n");
    site.write("untracked/folder/file", "untracked\n");
    site.write(".gitignore", "*.log\n/ignored/\n");
    site.write("some.log", "ignored\n");
    site.write("ignored/file", "ignored\n");
    let staged = assert_as_git_says(&site.path);
    assert_eq!(paths(&staged), ["a.txt", "new file", "src/d.txt", "with blank/é ü.txt", "y", "z"]);

    let changes = site.changes();
    assert_eq!(changes.top(), Some(&*site.path));
    assert_eq!(bytes(&changes, staged.files[0].old.as_ref()), "a.txt\nline\n");
    assert_eq!(bytes(&changes, staged.files[0].new.as_ref()), "staged\n");
    let worktree = changes.worktree().expect("known");
    let change = |path: &str| worktree.files.iter().find(|change| change.path == path).expect("changed");
    assert_eq!(bytes(&changes, change("a.txt").new.as_ref()), "on the disk\n");
    assert_eq!(bytes(&changes, change("untracked/folder/file").new.as_ref()), "untracked\n");
    assert!(!paths(&worktree).iter().any(|path| path.contains("log") || path.contains("ignored/")));

    // From below the top, too, paths are from the top.
    assert_eq!(open(&site.at("src/deep")).staged().expect("known"), staged);
}

#[test]
fn what_is_on_the_disk_as_it_was_has_not_changed_whatever_is_staged() {
    let site = Site::new();
    site.write("a.txt", "staged\n");
    site.git(&["add", "a.txt"]);
    site.git(&["rm", "--quiet", "--cached", "z"]);
    site.write("a.txt", "a.txt\nline\n");
    assert_eq!(site.changes().worktree().expect("known"), ChangeSet::default());
    // `z` is not tracked any more, and only of tracked files tells `git diff`.
    assert_eq!(paths(&site.changes().since("HEAD").expect("known")), ["z"]);

    // Another size and time than the index has, and the same content.
    site.write("b.txt", "b, the third\n");
    site.git(&["add", "b.txt"]);
    site.write("b.txt", "b, the second\n");
    assert_eq!(site.changes().worktree().expect("known"), ChangeSet::default());
}

#[test]
fn modes_links_and_kinds() {
    let site = Site::new();
    fs::set_permissions(site.at("a.txt"), fs::Permissions::from_mode(0o755)).expect("set");
    let target = |name: &str, to: &str| {
        fs::remove_file(site.at(name)).expect("removed");
        symlink(to, site.at(name)).expect("a link");
    };
    target("link", "b.txt");
    target("z", "a.txt");
    // Folders where files were, and the other way round.
    fs::remove_file(site.at("b.txt")).expect("removed");
    site.write("b.txt/now a folder", "text\n");
    fs::remove_dir_all(site.at("src")).expect("removed");
    site.write("src", "now a file\n");
    assert_eq!(site.changes().since("HEAD").expect("known").files.len(), 6);
    assert_since(&site.path, "HEAD");
    site.git(&["add", "--all"]);
    let staged = assert_as_git_says(&site.path);
    let kinds = |path: &str| {
        let change = staged.files.iter().find(|change| change.path == path).expect("changed");
        (change.old.as_ref().map(Side::kind), change.new.as_ref().map(Side::kind))
    };
    assert_eq!(kinds("a.txt"), (Some(Kind::File), Some(Kind::Executable)));
    assert_eq!(kinds("z"), (Some(Kind::File), Some(Kind::Symlink)));
    assert_eq!(kinds("link"), (Some(Kind::Symlink), Some(Kind::Symlink)));
    assert_eq!(kinds("b.txt"), (Some(Kind::File), None));
    let link = staged.files.iter().find(|change| change.path == "link").expect("changed");
    assert_eq!(bytes(&site.changes(), link.new.as_ref()), "b.txt");
    // By commits, as a push has them.
    let tree = site.git(&["write-tree"]);
    let pushed = format!("x {tree} x {}\n", site.git(&["rev-parse", "HEAD"]));
    assert_eq!(site.changes().outgoing(pushed.as_bytes()).expect("known"), staged);
}

#[test]
fn a_first_commit() {
    let site = Site::empty();
    assert_eq!(assert_as_git_says(&site.path), ChangeSet::default());
    site.write("file", "text\n");
    assert_eq!(paths(&assert_as_git_says(&site.path)), [""; 0]);
    site.git(&["add", "file"]);
    let seen = hook(&site, &site.at(".git/hooks"), "pre-commit");
    // `--cached` against no commit is an error to `git diff HEAD` alone: without a revision it is none.
    let staged = assert_as_git_says(&site.path);
    assert_eq!(paths(&staged), ["file"]);
    assert_eq!(staged.files[0].old, None);
    site.git(&["commit", "--quiet", "-m", "first"]);
    assert_eq!(told(&seen), ["file"]);
}

#[test]
fn in_hooks_of_commits() {
    let site = Site::new();
    let seen = hook(&site, &site.at(".git/hooks"), "pre-commit");
    site.write("a.txt", "staged\n");
    site.git(&["add", "a.txt"]);
    site.write("b.txt", "not staged\n");
    site.write("with blank/é ü.txt", "not staged\n");
    site.write("src/deep/c.txt", "not staged\n");

    // Alone, with what else is staged left out; `a.txt` is still staged afterwards.
    site.git(&["commit", "--quiet", "-m", "paths", "--", "with blank/é ü.txt"]);
    assert_eq!(told(&seen), ["with blank/é ü.txt"]);
    assert!(last_index(&seen).contains("next-index-"), "{}", last_index(&seen));
    site.git(&["commit", "--quiet", "-m", "plain"]);
    assert_eq!(told(&seen), ["a.txt"]);
    // From a folder below.
    git(&site.at("src"), &["commit", "--quiet", "-m", "path", "--", "deep/c.txt"]);
    assert_eq!(told(&seen), ["src/deep/c.txt"]);
    site.git(&["rm", "--quiet", "z"]);
    site.git(&["commit", "--quiet", "--all", "-m", "all"]);
    assert_eq!(told(&seen), ["b.txt", "z"]);
    assert!(last_index(&seen).ends_with("index.lock"), "{}", last_index(&seen));

    // What `--amend` adds to the commit that it replaces.
    site.write("a.txt", "amended\n");
    site.git(&["add", "a.txt"]);
    site.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    assert_eq!(told(&seen), ["a.txt"]);

    // GIT_DIR and GIT_WORK_TREE set by whoever calls Git.
    site.write("a.txt", "from elsewhere\n");
    let top = site.path.to_str().expect("UTF-8");
    let arguments =
        ["--git-dir", &format!("{top}/.git"), "--work-tree", top, "commit", "--quiet", "-am", "x"];
    git(site.path.parent().expect("a folder"), &arguments);
    assert_eq!(told(&seen), ["a.txt"]);
}

#[test]
fn in_hooks_of_merges_and_rebases() {
    let site = Site::new();
    let hooks = site.at(".git/hooks");
    site.git(&["checkout", "--quiet", "-b", "side"]);
    site.write("a.txt", "side\n");
    site.write("only on side", "side\n");
    site.commit_all("side");
    site.git(&["checkout", "--quiet", "main"]);
    site.write("z", "main\n");
    site.commit_all("main");
    let before = site.git(&["rev-parse", "HEAD"]);

    let seen = hook(&site, &hooks, "pre-merge-commit");
    site.git(&["merge", "--quiet", "--no-edit", "side"]);
    assert_eq!(told(&seen), ["a.txt", "only on side"]);
    site.git(&["reset", "--quiet", "--hard", &before]);

    // A merge that stops, is settled, and is committed.
    let seen = hook(&site, &hooks, "pre-commit");
    site.write("a.txt", "main\n");
    site.git(&["commit", "--quiet", "-am", "conflicting"]);
    assert_eq!(told(&seen), ["a.txt"]);
    assert!(!try_git(&site.path, &["merge", "--no-edit", "side"]).status.success());
    let staged = assert_as_git_says(&site.path);
    assert_eq!(paths(&staged), ["only on side"]);
    assert_eq!(staged.unsettled.len(), 1);
    assert_eq!((&*staged.unsettled[0].path, staged.unsettled[0].reason), ("a.txt", Reason::Conflicted));
    site.write("a.txt", "settled\n");
    site.git(&["add", "a.txt"]);
    site.git(&["commit", "--quiet", "--no-edit"]);
    assert_eq!(told(&seen), ["a.txt", "only on side"]);
    site.git(&["reset", "--quiet", "--hard", "HEAD~1"]);

    // A rebase that stops likewise.
    assert!(!try_git(&site.path, &["rebase", "side"]).status.success());
    assert_as_git_says(&site.path);
    site.write("a.txt", "rebased\n");
    site.git(&["add", "a.txt"]);
    // `git rebase --continue` by itself calls no hook.
    site.git(&["commit", "--quiet", "-m", "rebased"]);
    assert_eq!(told(&seen), ["a.txt"]);
}

#[test]
fn in_linked_worktrees_and_submodules() {
    let site = Site::new();
    let seen = hook(&site, &site.at(".git/hooks"), "pre-commit");
    let tree = site.path.with_file_name("linked tree");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", tree.to_str().expect("UTF-8")]);
    write(&tree, "a.txt", "in the linked tree\n");
    write(&tree, "b.txt", "in the linked tree\n");
    site.write("z", "in the main tree\n");
    git(&tree, &["add", "a.txt"]);
    assert_eq!(paths(&assert_as_git_says(&tree)), ["a.txt"]);
    assert_eq!(open(&tree).top(), Some(&*tree));
    git(&tree, &["commit", "--quiet", "-am", "linked"]);
    assert_eq!(told(&seen), ["a.txt", "b.txt"]);
    write(&tree, "src/d.txt", "in the linked tree\n");
    git(&tree.join("src"), &["commit", "--quiet", "-m", "path", "d.txt"]);
    assert_eq!(told(&seen), ["src/d.txt"]);

    let other = Site::new();
    let url = other.path.to_str().expect("UTF-8");
    site.git(&["submodule", "--quiet", "add", url, "sub module"]);
    let staged = assert_as_git_says(&site.path);
    assert_eq!(paths(&staged), [".gitmodules", "sub module"]);
    let commit = staged.files[1].new.as_ref().expect("new");
    assert_eq!(commit.kind(), Kind::Submodule);
    assert_eq!(site.changes().contents().read(commit, 1000).expect("read"), Content::Nothing);
    site.git(&["commit", "--quiet", "-am", "submodule"]);
    told(&seen);

    let inside = site.at("sub module");
    write(&inside, "a.txt", "in the submodule\n");
    assert_eq!(paths(&open(&inside).worktree().expect("known")), ["a.txt"]);
    assert_eq!(open(&inside).top(), Some(&*inside));
    // It is a change of the submodule's alone until it is committed there.
    assert_eq!(site.changes().worktree().expect("known"), ChangeSet::default());
    git(&inside, &["commit", "--quiet", "-am", "in the submodule"]);
    assert_eq!(paths(&site.changes().worktree().expect("known")), ["sub module"]);
    assert_as_git_says(&site.path);
    assert_since(&site.path, "HEAD");
}
