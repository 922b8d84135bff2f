//! Where hooks are looked for, against what Git itself says.

#![expect(clippy::disallowed_methods, reason = "tests run git and write files")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

mod site;

use std::fs;
use std::path::{Path, PathBuf};

use muse_repo::HooksFolder;

use muse_testkit::git::git;
use site::Site;

/// The folder, and that Git says the same, from the top of the working tree `folder`.
#[track_caller]
fn as_git_says(folder: &Path) -> HooksFolder {
    let hooks = HooksFolder::find(folder).expect("found");
    let said = folder.join(git(folder, &["rev-parse", "--git-path", "hooks"]));
    let physical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    assert_eq!(physical(hooks.path()), physical(&said));
    hooks
}

fn set(folder: &Path, scope: &str, value: &str) {
    git(folder, &["config", scope, "core.hooksPath", value]);
}

#[test]
fn it_is_the_shared_folder_unless_something_else_is_set() {
    let site = Site::new();
    let hooks = as_git_says(&site.path);
    assert_eq!(hooks.path(), site.at(".git/hooks"));
    assert_eq!((hooks.configured_in(), hooks.is_own(), hooks.top()), (None, true, Some(&*site.path)));

    let below = HooksFolder::find(&site.at("src/deep")).expect("found");
    assert_eq!(below, hooks);

    let linked = site.path.with_file_name("linked b");
    git(&site.path, &["worktree", "add", "--quiet", "--detach", linked.to_str().expect("UTF-8")]);
    let hooks = as_git_says(&linked);
    assert_eq!(hooks.path(), site.at(".git/hooks"));
    assert_eq!((hooks.is_own(), hooks.top()), (true, Some(&*linked)));
}

#[test]
fn what_is_set_is_seen_from_the_top_of_each_working_tree() {
    let site = Site::new();
    let linked = site.path.with_file_name("linked");
    git(&site.path, &["worktree", "add", "--quiet", "--detach", linked.to_str().expect("UTF-8")]);
    for value in [".githooks", "a b/ü", "./x//y/"] {
        set(&site.path, "--local", value);
        let hooks = as_git_says(&site.path);
        assert!(hooks.is_own() && hooks.path().starts_with(&site.path), "{hooks:?}");
        assert_eq!(hooks.configured_in(), site.at(".git/config").to_str());
        assert!(as_git_says(&linked).path().starts_with(&linked));
    }
    // One that names a folder of the main working tree is the repository's own for a linked one too.
    set(&site.path, "--local", site.at("hooks").to_str().expect("UTF-8"));
    assert!(as_git_says(&linked).is_own());
    fs::create_dir(site.path.with_file_name("elsewhere")).expect("a folder");
    set(&site.path, "--local", "../elsewhere");
    assert!(!as_git_says(&site.path).is_own());
    set(&site.path, "--local", "/dev/null");
    assert_eq!(as_git_says(&site.path).path(), Path::new("/dev/null"));
}

#[test]
fn a_worktrees_own_setting_counts_there_alone() {
    let site = Site::new();
    let linked = site.path.with_file_name("linked");
    git(&site.path, &["worktree", "add", "--quiet", "--detach", linked.to_str().expect("UTF-8")]);
    git(&site.path, &["config", "extensions.worktreeConfig", "true"]);
    set(&linked, "--worktree", "own");
    assert_eq!(as_git_says(&linked).path(), linked.join("own"));
    assert_eq!(as_git_says(&site.path).path(), site.at(".git/hooks"));
}

#[test]
fn includes_are_followed() {
    let site = Site::new();
    let included = site.at(".git/included");
    fs::write(&included, "[core]\n\thooksPath = from-include\n").expect("written");
    git(&site.path, &["config", "include.path", "included"]);
    let hooks = as_git_says(&site.path);
    assert_eq!(hooks.path(), site.at("from-include"));
    assert!(hooks.configured_in().expect("set").ends_with("included"), "{hooks:?}");

    git(&site.path, &["config", "--unset", "include.path"]);
    let condition = format!("includeIf.gitdir:{}/.path", site.path.display());
    git(&site.path, &["config", &condition, "included"]);
    assert_eq!(as_git_says(&site.path).path(), site.at("from-include"));
}

#[test]
fn a_submodule_has_its_own() {
    let site = Site::new();
    let other = Site::new();
    git(&site.path, &["submodule", "add", "--quiet", other.path.to_str().expect("UTF-8"), "sub"]);
    let hooks = as_git_says(&site.at("sub"));
    assert_eq!(hooks.path(), site.at(".git/modules/sub/hooks"));
    assert_eq!((hooks.is_own(), hooks.top()), (true, Some(&*site.at("sub"))));
    set(&site.at("sub"), "--local", "hooks");
    assert_eq!(as_git_says(&site.at("sub")).path(), site.at("sub/hooks"));
}

#[test]
fn a_bare_repository_has_no_top() {
    let site = Site::new();
    let bare = site.path.with_file_name("bare.git");
    git(&site.path, &["clone", "--quiet", "--bare", ".", bare.to_str().expect("UTF-8")]);
    let hooks = as_git_says(&bare);
    assert_eq!((hooks.path(), hooks.top(), hooks.is_own()), (&*bare.join("hooks"), None, true));
}

#[test]
fn outside_git_there_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let start: PathBuf = folder.path().canonicalize().expect("its path");
    assert!(HooksFolder::find(&start).is_err());
}
