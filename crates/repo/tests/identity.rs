//! The name of a repository, in clones that Git makes.

#![expect(clippy::disallowed_methods, reason = "tests run git, and write files")]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use muse_repo::{IdentityError, init};
use muse_testkit::git::git;

/// A bare repository with one commit, and room for its clones.
struct Site {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("müse repo ").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        let site = Self { _folder: folder, path };
        git(&site.path, &["init", "--quiet", "first"]);
        commit(&site.at("first"), "a");
        commit(&site.at("first"), "b");
        git(&site.path, &["clone", "--quiet", "--bare", "first", "shop.git"]);
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn clone(&self, name: &str, flags: &[&str]) -> PathBuf {
        let url = format!("file://{}", self.at("shop.git").display());
        let words = [&["clone", "--quiet"], flags, &[&*url, name]].concat();
        git(&self.path, &words);
        self.at(name)
    }
}

fn commit(folder: &Path, name: &str) {
    fs::write(folder.join(name), name).unwrap();
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "-m", name]);
}

fn identity(folder: &Path) -> Result<(String, String), IdentityError> {
    let identity = init(folder, None).unwrap().repository.identity()?;
    Ok((identity.name().to_owned(), identity.remote().to_owned()))
}

#[test]
fn all_clones_have_one_name() {
    let site = Site::new();
    let one = site.clone("one", &[]);
    let (name, remote) = identity(&one).unwrap();
    assert_eq!(remote, site.at("shop").to_string_lossy());
    let digits = name.strip_prefix("shop-").unwrap();
    assert!(digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");

    // Wherever it is, whatever was committed since, however its remote is written, whatever other remotes it has.
    let two = site.clone("elsewhere", &["--branch", "main"]);
    commit(&two, "c");
    git(&two, &["switch", "--quiet", "--create", "feature"]);
    commit(&two, "d");
    let path = format!("{}/", site.at("shop.git").display());
    git(&two, &["remote", "set-url", "origin", &path]);
    git(&two, &["remote", "add", "upstream", "https://example.com/x/y.git"]);
    assert_eq!(identity(&two).unwrap().0, name);
    // So its worktrees, and one with a detached HEAD.
    git(&one, &["worktree", "add", "--quiet", "--detach", "../tree"]);
    assert_eq!(identity(&site.at("tree")).unwrap().0, name);
    // One without files of the commits' content has the commits all the same.
    git(&site.at("shop.git"), &["config", "uploadpack.allowFilter", "true"]);
    let partial = site.clone("partial", &["--filter=blob:none", "--no-checkout"]);
    assert_eq!(identity(&partial).unwrap().0, name);

    // The only remote counts, whatever it is called.
    git(&one, &["remote", "rename", "origin", "hub"]);
    assert_eq!(identity(&one).unwrap().0, name);
    git(&one, &["remote", "add", "other", "https://example.com/x/y.git"]);
    assert!(matches!(identity(&one), Err(IdentityError::NoOrigin { count: 2 })));
}

#[test]
fn a_fork_and_another_history_have_others() {
    let site = Site::new();
    let name = identity(&site.clone("one", &[])).unwrap().0;
    let fork = site.clone("fork", &[]);
    git(&fork, &["remote", "set-url", "origin", "git@Example.com:fork/shop.git"]);
    let (forked, remote) = identity(&fork).unwrap();
    assert_eq!(remote, "example.com/fork/shop");
    assert!(forked.starts_with("shop-") && forked != name, "{forked}");
    git(&fork, &["remote", "set-url", "origin", "https://u:secret@example.com/fork/shop"]);
    assert_eq!(identity(&fork).unwrap(), (forked, remote));

    git(&site.path, &["init", "--quiet", "new"]);
    let new = site.at("new");
    fs::write(new.join("z"), "z").unwrap();
    commit(&new, "z");
    git(&new, &["remote", "add", "origin", &site.at("shop.git").to_string_lossy()]);
    let other = identity(&new).unwrap().0;
    assert_ne!(other, name);
    // Two first commits are not one.
    git(&new, &["fetch", "--quiet", "origin"]);
    git(&new, &["merge", "--quiet", "--allow-unrelated-histories", "-m", "both", "origin/main"]);
    let both = identity(&new).unwrap().0;
    assert!(both != other && both != name);
}

#[test]
fn what_has_no_name_says_why() {
    let site = Site::new();
    let shallow = site.clone("shallow", &["--depth", "1"]);
    assert!(matches!(identity(&shallow), Err(IdentityError::Shallow)));
    git(&shallow, &["fetch", "--quiet", "--unshallow"]);
    let name = identity(&shallow).unwrap().0;
    git(&shallow, &["remote", "remove", "origin"]);
    assert!(matches!(identity(&shallow), Err(IdentityError::NoRemote)));
    git(&shallow, &["remote", "add", "origin", "https://u:secret@/"]);
    let error = identity(&shallow).unwrap_err().to_string();
    assert!(error.contains("names no repository") && !error.contains("secret"), "{error}");
    assert!(name.starts_with("shop-"));

    git(&site.path, &["init", "--quiet", "empty"]);
    assert!(matches!(identity(&site.at("empty")), Err(IdentityError::NoCommits)));
    let outside = site.at("outside");
    fs::create_dir(&outside).unwrap();
    assert!(matches!(identity(&outside), Err(IdentityError::NotGit { .. })));
    git(&site.path, &["init", "--quiet", "--object-format=sha256", "long"]);
    commit(&site.at("long"), "a");
    let error = identity(&site.at("long")).unwrap_err().to_string();
    assert!(error.contains("extensions.objectFormat"), "{error}");
}
