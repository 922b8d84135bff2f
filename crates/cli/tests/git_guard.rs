//! Commits by Git itself, guarded by the hook that `muse coord guard install --git` installs: each way in which Git
//! calls it, with a commit that passes and one that is stopped.

#![expect(clippy::disallowed_methods, reason = "tests write, move and remove files")]

mod git_site;
mod support;

use std::fs;
use std::path::Path;

use git_site::{Git, GitSite, MODULE, change, script, write};
use support::Site;

/// What `alice` holds and `bob` has changed: it stops `bob`, with this said.
const HELD: &str = "`src/billing.py::Invoice.total` is held by run `alice`";

/// A guarded repository in which `alice` holds one method.
fn site() -> GitSite {
    let site = GitSite::new();
    site.reserve("alice", "src/billing.py::Invoice.total");
    site
}

fn change_total(site: &GitSite) {
    site.change("src/billing.py", "return 1", "return 10");
}

fn change_net(site: &GitSite) {
    site.change("src/billing.py", "return 2", "return 20");
}

#[test]
fn plain() {
    let site = site();
    change_net(&site);
    site.git(&["add", "."]);
    site.try_git("bob", &["commit", "-m", "Net"]).passes();

    change_total(&site);
    site.git(&["add", "."]);
    let before = site.head();
    let done = site.try_git("bob", &["commit", "-m", "Total"]);
    done.is_stopped(&[HELD, "for 1h more", "muse coord reserve ADDRESS... --wait SECONDS --run-id bob"]);
    assert_eq!(site.head(), before);

    site.try_git("alice", &["commit", "-m", "Total"]).passes();
    assert_ne!(site.head(), before);
}

#[test]
fn what_is_changed_and_not_staged_does_not_count() {
    let site = site();
    change_total(&site);
    site.write("notes.txt", "two\n");
    site.git(&["add", "notes.txt"]);
    site.try_git("bob", &["commit", "-m", "Notes"]).passes();
}

#[test]
fn all_that_is_tracked() {
    let site = site();
    change_net(&site);
    site.try_git("bob", &["commit", "-a", "-m", "Net"]).passes();
    change_total(&site);
    site.try_git("bob", &["commit", "-a", "-m", "Total"]).is_stopped(&[HELD]);
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).passes();
}

#[test]
fn a_path_alone() {
    let site = site();
    // What is staged beside it is not committed, and does not count.
    change_total(&site);
    site.git(&["add", "src/billing.py"]);
    site.change("src/other.py", "return 3", "return 30");
    site.try_git("bob", &["commit", "-m", "Other", "--", "src/other.py"]).passes();
    site.try_git("bob", &["commit", "-m", "Total", "--", "src/billing.py"]).is_stopped(&[HELD]);

    // What is on the disk counts, and not what is staged.
    site.git(&["reset", "--quiet", "--hard"]);
    change_net(&site);
    site.git(&["add", "src/billing.py"]);
    change_total(&site);
    site.try_git("bob", &["commit", "-m", "Both", "src/billing.py"]).is_stopped(&[HELD]);
    site.try_git("bob", &["commit", "--include", "-m", "Both", "src/billing.py"]).is_stopped(&[HELD]);
    site.try_git("alice", &["commit", "-m", "Both", "src/billing.py"]).passes();
}

#[test]
fn from_a_folder_below() {
    let site = site();
    change_net(&site);
    let below = |arguments: &[&str]| site.command(&site.at("src"), arguments).run_id("bob").done();
    below(&["commit", "-m", "Net", "billing.py"]).passes();
    change_total(&site);
    below(&["commit", "-m", "Total", "billing.py"]).is_stopped(&[HELD]);
}

#[test]
fn amended() {
    let site = site();
    change_total(&site);
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).passes();
    // The commit that is made anew was guarded when it was made.
    site.try_git("bob", &["commit", "--amend", "-m", "Total, said better"]).passes();
    change_net(&site);
    site.try_git("bob", &["commit", "--amend", "-a", "--no-edit"]).passes();
    site.change("src/billing.py", "return 10", "return 11");
    site.try_git("bob", &["commit", "--amend", "-a", "--no-edit"]).is_stopped(&[HELD]);
    site.try_git("alice", &["commit", "--amend", "-a", "--no-edit"]).passes();
}

/// Two branches that both changed `other`, and `total` on the one that is merged.
fn conflicting(site: &GitSite) {
    site.git(&["checkout", "--quiet", "-b", "theirs"]);
    change_total(site);
    site.change("src/billing.py", "return 3", "return 4");
    site.commit_all("Theirs");
    site.git(&["checkout", "--quiet", "main"]);
    site.change("src/billing.py", "return 3", "return 5");
    site.commit_all("Ours");
    let done = site.try_git("bob", &["merge", "theirs"]);
    assert!(!done.is_ok && done.said.contains("CONFLICT"), "{}", done.said);
}

/// Settles the merge with this.
fn settle(site: &GitSite, total: &str) {
    site.write(
        "src/billing.py",
        &MODULE.replace("return 1", &format!("return {total}")).replace("return 3", "return 45"),
    );
    site.git(&["add", "src/billing.py"]);
}

#[test]
fn a_merge_commit_is_what_settles_it_and_not_what_it_brings() {
    let site = site();
    conflicting(&site);
    settle(&site, "99");
    site.try_git("bob", &["commit", "--no-edit"]).is_stopped(&[HELD]);
    settle(&site, "10");
    site.try_git("bob", &["commit", "--no-edit"]).passes();
    assert_eq!(site.git(&["rev-list", "--merges", "--count", "HEAD"]), "1");
}

#[test]
fn what_settles_a_merge_counts() {
    let site = GitSite::new();
    conflicting(&site);
    settle(&site, "10");
    site.reserve("alice", "src/billing.py::other");
    let words = ["`src/billing.py::other` is held by run `alice`"];
    site.try_git("bob", &["commit", "--no-edit"]).is_stopped(&words);
    site.try_git("bob", &["merge", "--continue"]).is_stopped(&words);
    site.try_git("alice", &["merge", "--continue"]).passes();
}

#[test]
fn a_rebase_moves_what_was_guarded_and_guards_what_is_new() {
    let site = site();
    site.git(&["checkout", "--quiet", "-b", "feature"]);
    change_total(&site);
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).passes();
    site.git(&["checkout", "--quiet", "main"]);
    site.write("notes.txt", "two\n");
    site.try_git("bob", &["commit", "-a", "-m", "Notes"]).passes();
    site.git(&["checkout", "--quiet", "feature"]);
    let done = site.try_git("bob", &["rebase", "main"]);
    assert!(done.is_ok, "{}", done.said);
    assert_eq!(site.git(&["rev-list", "--count", "HEAD"]), "3");

    // Stopped to be edited: what is written now is a commit like any other.
    let edit = site.command(&site.top, &["rebase", "--interactive", "HEAD~1"]).run_id("bob");
    let done = edit.env("GIT_SEQUENCE_EDITOR", "sed -i s/^pick/edit/").done();
    assert!(done.is_ok, "{}", done.said);
    site.change("src/billing.py", "return 10", "return 12");
    site.try_git("bob", &["commit", "-a", "--amend", "--no-edit"]).is_stopped(&[HELD]);
    site.git(&["checkout", "--quiet", "src/billing.py"]);
    change_net(&site);
    site.try_git("bob", &["commit", "-a", "--amend", "--no-edit"]).passes();
    let done = site.try_git("bob", &["rebase", "--continue"]);
    assert!(done.is_ok, "{}", done.said);
}

#[test]
fn a_linked_worktree() {
    let site = site();
    let linked = site.beside("linked é");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().expect("UTF-8")]);
    let git = |run: &str, arguments: &[&str]| site.command(&linked, arguments).run_id(run).done();
    change(&linked.join("src/billing.py"), "return 2", "return 20");
    git("bob", &["commit", "-a", "-m", "Net"]).passes();
    change(&linked.join("src/billing.py"), "return 1", "return 10");
    git("bob", &["commit", "-m", "Total", "src/billing.py"]).is_stopped(&[HELD, "on main"]);
    git("bob", &["commit", "-a", "-m", "Total"]).is_stopped(&[HELD]);
    git("alice", &["commit", "-a", "-m", "Total"]).passes();
}

#[test]
fn spaces_and_letters_that_are_not_ascii() {
    let site = GitSite::new();
    let file = "with blank/é [id] 'ü'.py";
    site.write(file, MODULE);
    site.commit_all("A name");
    site.reserve("alice", &format!("{file}::Invoice.total"));
    site.change(file, "return 2", "return 20");
    site.try_git("bob", &["commit", "-a", "-m", "Net"]).passes();
    site.change(file, "return 1", "return 10");
    let held = r"`with blank/é \[id\] 'ü'.py::Invoice.total` is held by run `alice`";
    site.try_git("bob", &["commit", "-a", "-m", "Total"]).is_stopped(&[held]);
    site.try_git("bob", &["commit", "-m", "Total", "--", &format!(":(literal){file}")]).is_stopped(&[held]);
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).passes();
}

#[test]
fn a_renamed_and_a_deleted_file_are_touched_whole_at_both_paths() {
    let site = GitSite::new();
    site.reserve("alice", "src/billing.py::Invoice.total");
    site.reserve("carol", "src/new.py");
    site.git(&["mv", "src/billing.py", "src/elsewhere.py"]);
    site.try_git("bob", &["commit", "-m", "Away"]).is_stopped(&["`src/billing.py` is held", "`alice`"]);
    site.git(&["reset", "--quiet", "--hard"]);
    site.git(&["mv", "src/other.py", "src/new.py"]);
    site.try_git("bob", &["commit", "-m", "There"]).is_stopped(&["`src/new.py` is held by run `carol`"]);
    site.git(&["reset", "--quiet", "--hard"]);
    site.git(&["rm", "--quiet", "src/billing.py"]);
    site.try_git("bob", &["commit", "-m", "Gone"]).is_stopped(&["`src/billing.py` is held", "`alice`"]);
    site.git(&["reset", "--quiet", "--hard"]);

    site.git(&["mv", "src/other.py", "src/another.py"]);
    site.git(&["rm", "--quiet", "notes.txt"]);
    site.try_git("bob", &["commit", "-m", "Free"]).passes();
}

#[test]
fn an_initial_commit() {
    let site = GitSite::without_commit();
    site.muse(&["init"]).run().is_success();
    site.install(&[]);
    site.write("src/billing.py", MODULE);
    site.write("notes.txt", "one\n");
    site.reserve("alice", "src/billing.py::Invoice.total");
    site.git(&["add", "src"]);
    site.try_git("bob", &["commit", "-m", "All"]).is_stopped(&["`src/billing.py` is held", "`alice`"]);
    site.git(&["rm", "--quiet", "--cached", "-r", "src"]);
    site.git(&["add", "notes.txt"]);
    site.try_git("bob", &["commit", "-m", "Notes"]).passes();
}

#[test]
fn a_submodule_has_hooks_and_a_store_of_its_own() {
    let site = site();
    let other = GitSite::unguarded();
    site.git(&["submodule", "add", "--quiet", other.top.to_str().expect("UTF-8"), "sub"]);
    site.git(&["commit", "--quiet", "-m", "A submodule"]);
    let sub = site.at("sub");
    let git = |run: &str, arguments: &[&str]| site.command(&sub, arguments).run_id(run).done();

    // Hooks, and nobody has asked that anything be watched.
    let guard = |arguments: &[&str]| site.muse_in(&sub, arguments).run().is_success();
    guard(&["coord", "guard", "install", "--git"]);
    change(&sub.join("src/billing.py"), "return 2", "return 20");
    git("bob", &["commit", "-a", "-m", "Net"]).passes();

    guard(&["init"]);
    guard(&["coord", "reserve", "src/billing.py::Invoice.total", "--run-id", "carol"]);
    change(&sub.join("src/billing.py"), "return 1", "return 10");
    let held = "`src/billing.py::Invoice.total` is held by run `carol`";
    git("bob", &["commit", "-a", "-m", "Total"]).is_stopped(&[held]);
    git("carol", &["commit", "-a", "-m", "Total"]).passes();

    // The commit of the submodule is one path of the repository around it.
    site.reserve("alice", "sub");
    site.git(&["add", "sub"]);
    site.try_git("bob", &["commit", "-m", "The submodule"]).is_stopped(&["`sub` is held", "`alice`"]);
    site.try_git("alice", &["commit", "-m", "The submodule"]).passes();
}

#[test]
fn a_top_of_its_own_below_the_working_tree() {
    // Addresses are relative to the folder with `.muse`, and hooks run at the top of the working tree: there is none.
    let site = GitSite::without_commit();
    site.write("below/src/billing.py", MODULE);
    site.commit_all("One");
    let below = site.at("below");
    fs::create_dir(below.join(".muse")).expect("a folder");
    site.muse_in(&below, &["init"]).run().is_success();
    site.muse_in(&below, &["coord", "guard", "install", "--git"]).run().is_success();
    site.muse_in(&below, &["coord", "reserve", "src/billing.py", "--run-id", "alice"]).run().is_success();
    site.change("below/src/billing.py", "return 1", "return 10");
    site.try_git("bob", &["commit", "-a", "-m", "Total"]).passes();
}

#[test]
fn a_missing_binary_is_told_of_and_stops_nothing() {
    let site = site();
    change_total(&site);
    let commit = |arguments: &[&str]| site.command(&site.top, arguments).run_id("bob").without_muse().done();
    let told = "warning: muse is not on PATH, so this commit is not checked";
    let done = commit(&["commit", "-a", "-m", "Total"]);
    done.passes_with(&[told]);
    assert_eq!(done.said.matches("muse").count(), 1, "{}", done.said);

    site.install(&["--strict"]);
    change_net(&site);
    let done = commit(&["commit", "-a", "-m", "Net"]);
    assert!(!done.is_ok, "{}", done.said);
    done.says(&["muse is not on PATH, so this commit is stopped", "--no-verify"]);
    commit(&["commit", "-a", "-m", "Net", "--no-verify"]).passes();
}

#[test]
fn a_muse_that_fails_stops_nothing() {
    let site = site();
    let folder = site.beside("bin");
    // One that knows no hooks, and one that crashes.
    for (number, code) in ["2", "101"].into_iter().enumerate() {
        script(&folder.join("muse"), &format!("#!/bin/sh\nexit {code}\n"));
        site.write("notes.txt", &format!("{number}\n"));
        let commit =
            || site.command(&site.top, &["commit", "-a", "-m", "x"]).run_id("bob").with_muse_of(&folder);
        site.install(&["--strict"]);
        let done = commit().done();
        assert!(!done.is_ok, "{}", done.said);
        done.says(&[&format!("muse failed with exit code {code}, so this commit is stopped")]);
        site.install(&[]);
        commit()
            .done()
            .passes_with(&[&format!("muse failed with exit code {code}, so this commit is not checked")]);
    }
}

#[test]
fn a_commit_of_an_unknown_run_is_let_through_with_a_warning() {
    let site = site();
    change_net(&site);
    let commit = || site.command(&site.top, &["commit", "-a", "-m", "x"]);
    commit().done().passes();
    change_total(&site);
    commit().done().passes_with(&["there is no MUSE_RUN_ID", HELD]);

    site.install(&["--strict"]);
    site.change("src/billing.py", "return 10", "return 11");
    commit().done().is_stopped(&["there is no MUSE_RUN_ID", HELD]);
    // What nobody holds is nobody's matter.
    site.git(&["checkout", "--quiet", "src/billing.py"]);
    site.change("src/billing.py", "return 20", "return 21");
    commit().done().passes();
}

#[test]
fn a_guard_that_is_off_and_a_commit_that_asks_for_no_hooks() {
    let site = site();
    site.install(&["--strict", "--require"]);
    change_total(&site);
    let commit = |arguments: &[&str]| site.command(&site.top, arguments).run_id("bob");
    commit(&["commit", "-a", "-m", "x"]).env("MUSE_GUARD", "on").done().is_stopped(&[HELD]);
    commit(&["commit", "-a", "-m", "x"]).env("MUSE_GUARD", "off").done().passes();
    site.change("src/billing.py", "return 10", "return 11");
    commit(&["commit", "-a", "-m", "x", "--no-verify"]).done().passes();
}

#[test]
fn what_is_not_held_stops_where_that_is_asked_for() {
    let site = GitSite::new();
    site.install(&["--require"]);
    site.reserve("bob", "src/billing.py::Invoice.net");
    change_net(&site);
    site.try_git("bob", &["commit", "-a", "-m", "Net"]).passes();
    change_total(&site);
    site.try_git("bob", &["commit", "-a", "-m", "Total"])
        .is_stopped(&["does not hold", "`src/billing.py::Invoice.total` is not held by run `bob`"]);
    // Whose commit it is, nobody knows: so not whether it is held.
    site.command(&site.top, &["commit", "-a", "-m", "Total"]).done().passes_with(&["no MUSE_RUN_ID"]);
}

#[test]
fn what_a_run_lost_stops_it() {
    let site = GitSite::new();
    site.site.lapsed("bob", "src/billing.py::Invoice.total", 5);
    let taken = site.reserve("carol", "src/billing.py::Invoice.total");
    site.muse(&["coord", "release", &taken]).run_id("carol").run().is_success();
    change_total(&site);
    site.try_git("bob", &["commit", "-a", "-m", "Total"]).is_stopped(&[
        "has lost",
        "`src/billing.py::Invoice.total` was yours",
        "run `carol` was granted it",
    ]);
}

#[test]
fn runs_below_and_above() {
    let site = GitSite::new();
    site.reserve("alice", "src/billing.py::Invoice.net");
    site.reserve("alice/sub-1", "src/billing.py::Invoice.total");
    // What the run above holds stops none below; two beside each other stop each other.
    change_net(&site);
    site.try_git("alice/sub-1", &["commit", "-a", "-m", "Net"]).passes();
    change_total(&site);
    let held = "`src/billing.py::Invoice.total` is held by run `alice/sub-1`";
    site.try_git("alice/sub-2", &["commit", "-a", "-m", "Total"]).is_stopped(&[held]);
    // Its environment is that of the run above, which therefore may be it.
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).passes_with(&[held, "MUSE_RUN_ID"]);
    site.install(&["--strict"]);
    site.change("src/billing.py", "return 10", "return 11");
    site.try_git("alice", &["commit", "-a", "-m", "Total"]).is_stopped(&[held]);
    // One of another run beside it stops it in any case.
    site.install(&[]);
    site.reserve("carol", "src/other.py::other");
    site.change("src/other.py", "return 3", "return 33");
    site.try_git("alice", &["commit", "-a", "-m", "Both"]).is_stopped(&[held, "`carol`"]);
}

#[test]
fn a_repository_that_nobody_initialised_is_left_alone() {
    let site = GitSite::without_commit();
    let answer = site.install(&[]);
    assert!(answer.stderr.contains("let everything through"), "{answer:?}");
    site.write("a.py", MODULE);
    site.git(&["add", "."]);
    site.command(&site.top, &["commit", "-m", "One"]).done().passes();
    site.install(&["--strict", "--require"]);
    site.change("a.py", "return 1", "return 10");
    site.command(&site.top, &["commit", "-a", "-m", "Two"]).done().passes();
}

#[test]
fn a_check_that_cannot_be_made_is_told_of_and_stops_only_where_that_is_asked_for() {
    let site = site();
    change_total(&site);
    let commit = || site.try_git("bob", &["commit", "-a", "-m", "Total"]);
    fs::rename(site.at(".muse"), site.at("gone")).expect("moved");
    commit().passes_with(&["this commit goes on", "is gone", "muse init"]);

    fs::rename(site.at("gone"), site.at(".muse")).expect("moved");
    site.change("src/billing.py", "return 10", "return 9");
    let elsewhere = site.command(&site.top, &["commit", "-a", "-m", "x"]).run_id("bob");
    elsewhere
        .env("MUSE_REPO_ROOT", "/nowhere")
        .done()
        .passes_with(&["this commit goes on", "MUSE_REPO_ROOT"]);
    site.change("src/billing.py", "return 9", "return 10");
    let records = site.at(".muse/coordination/reservations");
    let record = fs::read_dir(&records).expect("a folder").next().expect("one").expect("one").path();
    fs::write(&record, "{").expect("written");
    site.change("src/billing.py", "return 10", "return 11");
    commit().passes_with(&["this commit goes on", "muse coord fsck"]);

    site.install(&["--strict"]);
    site.change("src/billing.py", "return 11", "return 12");
    commit().is_stopped(&["muse coord fsck"]);
    let odd = site.command(&site.top, &["commit", "-a", "-m", "x"]).run_id(&"é".repeat(257)).done();
    odd.is_stopped(&["the run id is too long"]);
}

#[test]
fn the_hook_answers_in_json_too() {
    let site = site();
    change_total(&site);
    site.git(&["add", "."]);
    let hook =
        |run: &str| site.muse(&["coord", "hook", "pre-commit", "--json"]).env("MUSE_RUN_ID", run).run();
    let answer = hook("bob");
    assert_eq!((answer.code, &*answer.field("status"), &*answer.stderr), (1, "conflict", ""));
    let value = answer.value();
    assert_eq!((&value["stopped"], &value["exit_code"]), (&true.into(), &1.into()));
    assert_eq!(value["conflicts"][0]["holder"]["run_id"], "alice");
    let answer = hook("alice");
    assert_eq!(
        (answer.code, &*answer.field("status"), answer.value()["stopped"].clone()),
        (0, "ok", false.into())
    );
    // Called wrongly, it stops nothing.
    let wrong = site.muse(&["coord", "hook", "pre-commit", "--stricter"]).env("MUSE_RUN_ID", "bob").run();
    assert_eq!(wrong.code, 0);
    assert!(wrong.stderr.contains("--stricter"), "{wrong:?}");
}

/// The folders of three hooks settings, each of which Git really looks into.
#[test]
fn a_folder_of_hooks_that_is_set() {
    for (value, folder) in [(".githooks", ".githooks"), ("a b/ü", "a b/ü")] {
        let site = GitSite::unguarded();
        site.git(&["config", "core.hooksPath", value]);
        site.install(&[]);
        assert!(site.at(folder).join("pre-commit").is_file() && !site.hook("pre-commit").exists());
        guards(&site, &site.top);
        // Each working tree has its own; where the setting is absolute, all have this one.
        let linked = site.beside("linked");
        site.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().expect("UTF-8")]);
        site.git(&["config", "core.hooksPath", site.at(folder).to_str().expect("UTF-8")]);
        guards(&site, &linked);
    }
}

#[test]
fn a_folder_of_hooks_below_the_home_folder_and_one_of_a_worktree() {
    let site = GitSite::unguarded();
    let hooks = site.beside("home/my hooks");
    site.git(&["config", "core.hooksPath", "~/my hooks"]);
    // Not without being asked, and what to do instead is told.
    let answer = site.muse(&["coord", "guard", "install", "--git"]).run();
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains("--force") && !hooks.exists(), "{answer:?}");
    site.install(&["--force"]);
    assert!(hooks.join("pre-push").is_file());
    guards(&site, &site.top);

    let linked = site.beside("linked");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().expect("UTF-8")]);
    site.git(&["config", "extensions.worktreeConfig", "true"]);
    site.git_in(&linked, &["config", "--worktree", "core.hooksPath", "own"]);
    site.muse_in(&linked, &["coord", "guard", "install", "--git"]).run().is_success();
    assert!(linked.join("own/pre-commit").is_file());
    guards(&site, &linked);
}

/// In this working tree one commit is stopped, and one passes.
#[track_caller]
fn guards(site: &GitSite, tree: &Path) {
    let commit = |run: &str| -> Git { site.command(tree, &["commit", "-a", "-m", "x"]).run_id(run) };
    let id = site.reserve("alice", "src/billing.py::Invoice.total");
    let file = tree.join("src/billing.py");
    change(&file, "return 1", "return 10");
    commit("bob").done().is_stopped(&[HELD]);
    commit("alice").done().passes();
    site.muse(&["coord", "release", &id]).run_id("alice").run().is_success();
    change(&file, "return 10", "return 1");
    commit("bob").done().passes();
}

#[test]
fn outside_git_there_is_nothing_to_install_into() {
    let site = Site::new();
    write(&site.at("a.py"), MODULE);
    let answer = site.muse(&["coord", "guard", "install", "--git"]).json();
    let error = answer.is_failure(2, "not_a_repository", None);
    assert!(error.contains("Git"), "{error}");
}
