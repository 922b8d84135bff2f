//! Pushes by Git itself, guarded by the hook that `muse coord guard install --git` installs.

#![expect(clippy::expect_used, reason = "what a helper of a test does not expect fails the test")]

mod git_site;
mod support;

use std::fs;

use git_site::{Done, GitSite, MODULE, change, script};

const HELD: &str = "`src/billing.py::Invoice.total` is held by run `alice`";

/// A guarded repository with a remote that has `main`.
fn site() -> GitSite {
    let site = GitSite::new();
    let remote = site.beside("remote é.git");
    site.git(&["init", "--quiet", "--bare", remote.to_str().expect("UTF-8")]);
    site.git(&["remote", "add", "origin", remote.to_str().expect("UTF-8")]);
    site.git(&["push", "--quiet", "--no-verify", "--set-upstream", "origin", "main"]);
    site
}

/// What the remote has at a reference.
fn remote(site: &GitSite, reference: &str) -> String {
    let line = site.git(&["ls-remote", "origin", reference]);
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn push(site: &GitSite, arguments: &[&str]) -> Done {
    let all: Vec<&str> = ["push", "--quiet"].iter().chain(arguments).copied().collect();
    site.try_git("bob", &all)
}

#[test]
fn what_is_pushed_counts_and_not_what_is_on_the_disk() {
    let site = site();
    site.reserve("alice", "src/billing.py::Invoice.total");
    site.change("src/billing.py", "return 2", "return 20");
    site.commit_all("Net");
    site.change("src/billing.py", "return 1", "return 10");
    push(&site, &["origin", "main"]).passes();
    assert_eq!(remote(&site, "main"), site.head());

    site.commit_all("Total");
    site.git(&["checkout", "--quiet", "--detach", "HEAD~1"]);
    let before = remote(&site, "main");
    push(&site, &["origin", "main"]).is_stopped(&["this push is stopped", HELD, "git push --no-verify"]);
    assert_eq!(remote(&site, "main"), before);
    site.try_git("alice", &["push", "--quiet", "origin", "main"]).passes();
    assert_ne!(remote(&site, "main"), before);
}

#[test]
fn new_branches_tags_several_at_once_and_what_is_deleted() {
    let site = site();
    site.reserve("alice", "src/billing.py::Invoice.total");
    // All of it is known to the remote, under another name.
    push(&site, &["origin", "main:refs/heads/new", "main:refs/tags/one"]).passes();
    site.git(&["checkout", "--quiet", "-b", "feature"]);
    site.change("src/billing.py", "return 1", "return 10");
    site.commit_all("Total");
    site.git(&["tag", "-a", "-m", "A tag", "two"]);
    site.git(&["checkout", "--quiet", "main"]);
    push(&site, &["origin", "feature"]).is_stopped(&[HELD]);
    push(&site, &["origin", "two"]).is_stopped(&[HELD]);
    site.change("notes.txt", "one", "two");
    site.commit_all("Notes");
    push(&site, &["origin", "main", "feature"]).is_stopped(&[HELD]);
    push(&site, &["origin", "main"]).passes();
    push(&site, &["origin", ":new", ":refs/tags/one"]).passes();
    push(&site, &["origin"]).passes();
}

#[test]
fn what_a_merge_took_from_the_remote_does_not_count_and_what_a_push_takes_away_does() {
    let site = site();
    site.git(&["checkout", "--quiet", "-b", "feature"]);
    site.change("src/billing.py", "return 2", "return 20");
    site.commit_all("Net");
    site.git(&["push", "--quiet", "--no-verify", "origin", "feature"]);
    site.git(&["checkout", "--quiet", "main"]);
    site.change("src/billing.py", "return 1", "return 10");
    site.commit_all("Total");
    site.git(&["push", "--quiet", "--no-verify", "origin", "main"]);
    let main = site.head();

    site.git(&["checkout", "--quiet", "feature"]);
    site.reserve("alice", "src/billing.py::Invoice.total");
    site.git(&["merge", "--quiet", "--no-edit", "main"]);
    push(&site, &["origin", "feature"]).passes();

    // The remote has it there, and would have it no longer.
    site.git(&["checkout", "--quiet", "-B", "main", "main~1"]);
    push(&site, &["--force", "origin", "main"]).is_stopped(&[HELD]);
    assert_eq!(remote(&site, "main"), main);
}

#[test]
fn from_a_linked_worktree() {
    let site = site();
    site.reserve("alice", "src/billing.py::Invoice.total");
    let linked = site.beside("linked");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().expect("UTF-8")]);
    change(&linked.join("src/billing.py"), "return 1", "return 10");
    site.git_in(&linked, &["commit", "--quiet", "--no-verify", "-a", "-m", "Total"]);
    let push = |run: &str| site.command(&linked, &["push", "--quiet", "origin", "linked"]).run_id(run).done();
    push("bob").is_stopped(&[HELD]);
    push("alice").passes();
}

#[test]
fn an_unknown_run_a_missing_binary_and_a_guard_that_is_off() {
    let site = site();
    site.reserve("alice", "src/billing.py::Invoice.total");
    for (number, value) in ["10", "11", "12"].into_iter().enumerate() {
        let last = if number == 0 { "1" } else { ["10", "11"][number - 1] };
        site.change("src/billing.py", &format!("return {last}\n"), &format!("return {value}\n"));
        site.commit_all("Total");
        let push = site.command(&site.top, &["push", "--quiet", "origin", "main"]);
        match number {
            0 => push.done().passes_with(&["this push goes on: there is no MUSE_RUN_ID", HELD]),
            1 => {
                push.without_muse().done().passes_with(&["muse is not on PATH, so this push is not checked"]);
            }
            _ => push.run_id("bob").env("MUSE_GUARD", "off").done().passes(),
        }
        assert_eq!(remote(&site, "main"), site.head());
    }
}

/// A hook that notes what it is given.
const OLD: &str = "#!/bin/sh\ncat > \"$HOME/read\"\nprintf '%s\\n' \"$@\" > \"$HOME/given\"\n";

#[test]
fn what_git_says_reaches_the_hook_that_was_there_and_muse() {
    let site = site();
    site.uninstall();
    script(&site.hook("pre-push"), OLD);
    site.install(&[]);
    site.reserve("alice", "src/billing.py::Invoice.total");
    let (read, given) = (site.beside("home/read"), site.beside("home/given"));
    let read = || fs::read_to_string(&read).expect("read");

    site.change("src/billing.py", "return 1", "return 10");
    site.commit_all("Total");
    let line = |local: &str, old: &str| format!("{local} {} refs/heads/main {old}\n", site.head());
    let old = remote(&site, "main");
    push(&site, &["origin", "main"]).is_stopped(&[HELD]);
    assert_eq!(read(), line("refs/heads/main", &old));
    let url = site.git(&["remote", "get-url", "origin"]);
    assert_eq!(fs::read_to_string(&given).expect("given"), format!("origin\n{url}\n"));

    // Without muse it is run all the same.
    site.change("src/billing.py", "return 10", "return 11");
    site.commit_all("Total");
    let done = site.command(&site.top, &["push", "--quiet", "origin", "main"]).without_muse().done();
    done.passes_with(&["not checked"]);
    assert_eq!(read(), line("refs/heads/main", &old));

    // One that reads nothing, of more than a pipe holds.
    let branches: Vec<String> = (0..700).map(|number| format!("HEAD:refs/heads/b-{number}")).collect();
    script(&site.hook("pre-push.before-muse"), "#!/bin/sh\nexit 0\n");
    let arguments: Vec<&str> = ["origin"].into_iter().chain(branches.iter().map(String::as_str)).collect();
    push(&site, &arguments).passes();
    // One that says no.
    script(&site.hook("pre-push.before-muse"), "#!/bin/sh\necho never >&2\nexit 3\n");
    site.change("notes.txt", "one", "two");
    site.commit_all("Notes");
    let done = push(&site, &["origin", "main"]);
    assert!(!done.is_ok && done.said.contains("never") && !done.said.contains("muse"), "{}", done.said);
}

#[test]
fn the_pre_commit_framework_says_it_in_its_environment() {
    let site = site();
    site.reserve("alice", "src/billing.py::Invoice.total");
    let old = site.head();
    site.change("src/billing.py", "return 1", "return 10");
    site.commit_all("Total");
    let new = site.head();
    let hook = |variables: &[(&str, &str)]| {
        let mut muse = site.muse(&["coord", "hook", "pre-push", "--json"]).env("MUSE_RUN_ID", "bob");
        for (name, value) in variables {
            muse = muse.env(name, value);
        }
        let answer = muse.run();
        (answer.code, answer.field("status"))
    };
    assert_eq!(hook(&[]), (0, "ok".to_owned()));
    let conflict = (1, "conflict".to_owned());
    assert_eq!(hook(&[("PRE_COMMIT_FROM_REF", &old), ("PRE_COMMIT_TO_REF", &new)]), conflict);
    assert_eq!(hook(&[("PRE_COMMIT_FROM_REF", &new), ("PRE_COMMIT_TO_REF", &new)]), (0, "ok".to_owned()));
    // All that there is, from the first commit on.
    site.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    assert_eq!(hook(&[("PRE_COMMIT_LOCAL_BRANCH", "HEAD")]), conflict);
    assert_eq!(hook(&[("PRE_COMMIT_LOCAL_BRANCH", "nowhere")]).0, 0);
}

#[test]
fn a_first_push_is_all_there_is() {
    let site = GitSite::new();
    let remote = site.beside("remote.git");
    site.git(&["init", "--quiet", "--bare", remote.to_str().expect("UTF-8")]);
    site.git(&["remote", "add", "origin", remote.to_str().expect("UTF-8")]);
    let id = site.reserve("alice", "src/billing.py::Invoice.total");
    push(&site, &["origin", "main"]).is_stopped(&["`src/billing.py` is held", "`alice`"]);
    site.muse(&["coord", "release", &id]).run_id("alice").run().is_success();
    push(&site, &["origin", "main"]).passes();
    assert!(site.git(&["show", "origin/main:src/billing.py"]).starts_with(MODULE.trim_end()));
}
