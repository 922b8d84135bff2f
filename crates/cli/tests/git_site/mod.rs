//! Repositories made by Git, guarded by the hooks that `muse coord guard install --git` puts into them.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "tests start processes and write files; what a helper does not expect fails the test"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::{Answer, HOUR, Muse, Site};

/// A module with two methods in one class, and what is outside of it.
pub(crate) const MODULE: &str = "\
import os


class Invoice:
    def total(self):
        return 1

    def net(self):
        return 2


def other():
    return 3
";

/// A repository with a store, guarded, with one commit of `src/billing.py`, `src/other.py` and `notes.txt`.
pub(crate) struct GitSite {
    /// The working tree.
    pub(crate) site: Site,
    pub(crate) top: PathBuf,
    /// What lies outside of it: the home folder, other working trees.
    outside: Site,
}

impl GitSite {
    /// Guarded, without options.
    pub(crate) fn new() -> GitSite {
        let site = GitSite::unguarded();
        site.install(&[]);
        site
    }

    /// With a store, and without hooks.
    pub(crate) fn unguarded() -> GitSite {
        let site = GitSite::without_commit();
        site.write("src/billing.py", MODULE);
        site.write("src/other.py", MODULE);
        site.write("notes.txt", "one\n");
        site.commit_all("One");
        site.muse(&["init"]).run().is_success();
        site
    }

    /// Without store, hooks and commits.
    pub(crate) fn without_commit() -> GitSite {
        let (site, outside) = (Site::without_store(), Site::without_store());
        outside.folder("home");
        let top = site.path().to_owned();
        let site = GitSite { site, top, outside };
        site.git(&["init", "--quiet"]);
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// A path outside of the working tree.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.outside.at(name)
    }

    pub(crate) fn hook(&self, name: &str) -> PathBuf {
        self.at(".git/hooks").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.at(name), text);
    }

    /// Replaces text that is there in a file.
    #[track_caller]
    pub(crate) fn change(&self, name: &str, from: &str, to: &str) {
        change(&self.at(name), from, to);
    }

    pub(crate) fn muse(&self, arguments: &[&str]) -> Muse {
        self.muse_in(&self.top, arguments)
    }

    pub(crate) fn muse_in(&self, folder: &Path, arguments: &[&str]) -> Muse {
        Muse::in_folder(folder, arguments).env("HOME", self.beside("home")).env("GIT_CONFIG_NOSYSTEM", "1")
    }

    #[track_caller]
    pub(crate) fn install(&self, flags: &[&str]) -> Answer {
        let answer = self.muse(&["coord", "guard", "install", "--git"]).args(flags).run();
        answer.is_success();
        answer
    }

    #[track_caller]
    pub(crate) fn uninstall(&self) {
        self.muse(&["coord", "guard", "uninstall", "--git"]).run().is_success();
    }

    /// Reserves for an hour.
    #[track_caller]
    pub(crate) fn reserve(&self, run: &str, address: &str) -> String {
        self.muse(&["coord", "reserve", address, "--ttl", HOUR]).run_id(run).granted().id
    }

    /// Git at the top, of nobody's run; it has to go well.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.top, arguments)
    }

    /// As [`GitSite::git`], in another folder.
    #[track_caller]
    pub(crate) fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let done = self.command(folder, arguments).done();
        assert!(done.is_ok, "git {arguments:?}: {}", done.said);
        done.stdout
    }

    /// Commits everything, past the hooks.
    #[track_caller]
    pub(crate) fn commit_all(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--no-verify", "-m", message]);
    }

    /// Git at the top, by a run.
    pub(crate) fn try_git(&self, run: &str, arguments: &[&str]) -> Done {
        self.command(&self.top, arguments).run_id(run).done()
    }

    /// Git in a folder of this repository, or in another of its working trees.
    pub(crate) fn command(&self, folder: &Path, arguments: &[&str]) -> Git {
        Git::new(folder, &self.beside("home"), arguments)
    }

    /// The id of the last commit.
    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("written");
}

#[track_caller]
pub(crate) fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("a text");
    assert!(text.contains(from), "no {from:?} in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

/// Writes an executable file.
pub(crate) fn script(path: &Path, text: &str) {
    write(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("made executable");
}

/// One call of Git, without the settings of whoever runs the tests, and with `muse` on the path.
pub(crate) struct Git {
    command: Command,
}

impl Git {
    fn new(folder: &Path, home: &Path, arguments: &[&str]) -> Git {
        let mut command = Command::new("git");
        command
            .args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", path(Some(built())))
            .env("HOME", home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_EDITOR", "true")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "A. Tester");
            command.env(format!("GIT_{who}_EMAIL"), "tester@example.com");
        }
        Git { command }
    }

    pub(crate) fn run_id(self, run: &str) -> Git {
        self.env("MUSE_RUN_ID", run)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Git {
        self.command.env(name, value);
        self
    }

    /// Without `muse` on the path.
    pub(crate) fn without_muse(mut self) -> Git {
        self.command.env("PATH", path(None));
        self
    }

    /// With the `muse` of this folder on the path.
    pub(crate) fn with_muse_of(mut self, folder: &Path) -> Git {
        self.command.env("PATH", path(Some(folder)));
        self
    }

    pub(crate) fn done(mut self) -> Done {
        Done::of(&self.command.output().expect("git runs"))
    }
}

/// The folder of the program of this build.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_muse")).parent().expect("a folder")
}

/// The search path: first the folder of `muse`, if any, and nowhere else a program of its name.
fn path(with_muse: Option<&Path>) -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&own).filter(|folder| !folder.join("muse").exists());
    let all = with_muse.map(Path::to_owned).into_iter().chain(folders);
    env::join_paths(all).expect("a path")
}

/// What Git did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) is_ok: bool,
    pub(crate) stdout: String,
    /// Both streams.
    pub(crate) said: String,
}

impl Done {
    fn of(output: &Output) -> Done {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        let stdout = text(&output.stdout);
        let said = format!("{stdout}\n{}", text(&output.stderr));
        Done { is_ok: output.status.success(), stdout, said }
    }

    /// It went well, and no guard said anything.
    #[track_caller]
    pub(crate) fn passes(&self) {
        assert!(self.is_ok, "{}", self.said);
        assert!(!self.said.contains("warning:") && !self.said.contains("muse"), "{}", self.said);
    }

    /// It went well, and a guard warned with these words.
    #[track_caller]
    pub(crate) fn passes_with(&self, words: &[&str]) {
        assert!(self.is_ok, "{}", self.said);
        self.says(words);
        assert!(self.said.contains("warning: "), "{}", self.said);
    }

    /// A guard stopped it, with these words.
    #[track_caller]
    pub(crate) fn is_stopped(&self, words: &[&str]) {
        assert!(!self.is_ok, "{}", self.said);
        self.says(words);
        self.says(&["is stopped", "--no-verify", "MUSE_GUARD=off"]);
    }

    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.said.contains(word), "no {word:?} in: {}", self.said);
        }
    }
}
