//! Repositories made by Git, and what Git says of them in the words of `git diff --raw`.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use muse_repo::{ChangeSet, Changes, Content, GitEnvironment, Kind, Side};

use muse_testkit::git::{git, try_git};

/// A repository with two commits of files, in a folder with a blank and letters that are not ASCII.
pub(crate) struct Site {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Site {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("müse chänges ").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path").join("main");
        fs::create_dir(&path).expect("a folder");
        git(&path, &["init", "--quiet"]);
        Self { _folder: folder, path }
    }

    pub(crate) fn new() -> Self {
        let site = Self::empty();
        for name in ["a.txt", "b.txt", "src/deep/c.txt", "src/d.txt", "with blank/é ü.txt", "z"] {
            site.write(name, &format!("{name}\nline\n"));
        }
        symlink("a.txt", site.at("link")).expect("a link");
        site.commit_all("one");
        site.write("b.txt", "b, the second\n");
        site.commit_all("two");
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.path, name, text);
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, arguments)
    }

    pub(crate) fn commit_all(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
    }

    pub(crate) fn changes(&self) -> Changes {
        open(&self.path)
    }
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("written");
}

pub(crate) fn open(folder: &Path) -> Changes {
    Changes::open(folder, &GitEnvironment::default()).expect("opened")
}

/// A path with its modes and ids, old and new; `-` where an id is not compared.
pub(crate) type Lines = BTreeSet<String>;

pub(crate) const NO_ID: &str = "0000000000000000000000000000000000000000";

pub(crate) fn mode(side: Option<&Side>) -> &'static str {
    match side.map(Side::kind) {
        None => "000000",
        Some(Kind::File) => "100644",
        Some(Kind::Executable) => "100755",
        Some(Kind::Symlink) => "120000",
        Some(Kind::Submodule) => "160000",
    }
}

pub(crate) fn id(side: Option<&Side>) -> String {
    side.map_or(NO_ID.to_owned(), |side| side.id().unwrap_or_else(|| "-".to_owned()))
}

/// A set of changes as `git diff --raw` has it; with the new ids, or without.
pub(crate) fn ours(set: &ChangeSet, with_new_id: bool) -> Lines {
    let files = set.files.iter().map(|change| {
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        let new_id = if with_new_id { id(new) } else { "-".to_owned() };
        format!("{} {} {} {new_id} {}", mode(old), mode(new), id(old), change.path)
    });
    let unsettled = set.unsettled.iter().map(|path| format!("{:?} {}", path.reason, path.path));
    files.chain(unsettled).collect()
}

/// What `git diff --raw -z` said.
pub(crate) fn raw(output: &str, with_new_id: bool) -> Lines {
    let mut fields = output.split('\0').filter(|field| !field.is_empty());
    let mut lines = Lines::new();
    while let Some(head) = fields.next() {
        let path = fields.next().expect("a path");
        let [old_mode, new_mode, old_id, new_id, status] =
            head.trim_start_matches(':').split(' ').collect::<Vec<_>>()[..]
        else {
            panic!("{head}")
        };
        let new_id = if with_new_id { new_id } else { "-" };
        if status == "U" {
            lines.retain(|line| !line.ends_with(&format!(" {path}")));
            lines.insert(format!("Conflicted {path}"));
        } else if !lines.contains(&format!("Conflicted {path}")) {
            lines.insert(format!("{old_mode} {new_mode} {old_id} {new_id} {path}"));
        }
    }
    lines
}

/// What `git status --porcelain=v2 -z` said of `HEAD` against the working tree.
pub(crate) fn status(folder: &Path) -> Lines {
    let output = git(folder, &["status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=all"]);
    let line = |field: &str| match field.split_at(2) {
        ("1 ", rest) => {
            let fields: Vec<_> = rest.splitn(8, ' ').collect();
            format!("{} {} {} - {}", fields[2], fields[4], fields[5], fields[7])
        }
        ("u ", rest) => format!("Conflicted {}", rest.splitn(10, ' ').nth(9).expect("a path")),
        ("? ", path) => format!("000000 100644 {NO_ID} - {path}"),
        _ => panic!("{field}"),
    };
    output.split('\0').filter(|field| !field.is_empty()).map(line).collect()
}

/// Compares everything that can be asked with what Git says of it; returns what is staged.
#[track_caller]
pub(crate) fn assert_as_git_says(folder: &Path) -> ChangeSet {
    let changes = open(folder);
    let staged = changes.staged().expect("known");
    let said = git(folder, &["diff", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev"]);
    assert_eq!(ours(&staged, true), raw(&said, true), "staged");
    assert_eq!(ours(&changes.worktree().expect("known"), false), status(folder), "worktree");
    // `git diff REVISION` shows what lies on the disk of a path with a conflict, `git status` the conflict.
    let has_revision = try_git(folder, &["rev-parse", "--verify", "HEAD~1"]).status.success();
    if has_revision && staged.unsettled.is_empty() {
        assert_since(folder, "HEAD~1");
    }
    staged
}

#[track_caller]
pub(crate) fn assert_since(folder: &Path, revision: &str) {
    let since = open(folder).since(revision).expect("known");
    let said = git(folder, &["diff", "--raw", "-z", "--no-renames", "--no-abbrev", revision]);
    assert_eq!(ours(&since, false), raw(&said, false), "since {revision}");
}

pub(crate) fn paths(set: &ChangeSet) -> Vec<&str> {
    set.files.iter().map(|change| change.path.as_str()).collect()
}

pub(crate) fn bytes(changes: &Changes, side: Option<&Side>) -> String {
    match changes.contents().read(side.expect("a side"), 1 << 20).expect("read") {
        Content::Bytes(bytes) => String::from_utf8(bytes).expect("UTF-8"),
        other => panic!("{other:?}"),
    }
}
