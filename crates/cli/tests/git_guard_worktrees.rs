//! Two agents, two worktrees, one store: who may commit what, by real `git commit`s at the same time.

#![expect(clippy::expect_used, reason = "what a helper of a test does not expect fails the test")]

mod git_site;
mod support;

use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use git_site::{Done, GitSite, MODULE, change, write};

/// How often each is played.
const ROUNDS: usize = 5;

const RUNS: [&str; 2] = ["alice", "bob"];

/// A guarded repository, and two linked worktrees of it.
fn site() -> (GitSite, [PathBuf; 2]) {
    let site = GitSite::new();
    let trees = RUNS.map(|run| {
        let tree = site.beside(&format!("tree of {run}"));
        site.git(&["worktree", "add", "--quiet", "-b", run, tree.to_str().expect("UTF-8")]);
        tree
    });
    (site, trees)
}

/// Both runs, at the same time, each in its tree: reserve an address, if there is one, change the file all the same, and
/// commit.
fn both(site: &GitSite, trees: &[PathBuf; 2], address: [Option<&str>; 2], text: [&str; 2]) -> [Done; 2] {
    let start = Barrier::new(2);
    let play = |number: usize| {
        let (run, tree) = (RUNS[number], &trees[number]);
        start.wait();
        if let Some(address) = address[number] {
            site.muse_in(tree, &["coord", "reserve", address]).run_id(run).run();
        }
        write(&tree.join("src/billing.py"), text[number]);
        start.wait();
        site.command(tree, &["commit", "-a", "-m", "A change"]).run_id(run).done()
    };
    thread::scope(|scope| {
        let play = &play;
        let [one, other] = [0, 1].map(|number| scope.spawn(move || play(number)));
        [one, other].map(|thread| thread.join().expect("played"))
    })
}

/// As before the round.
fn again(site: &GitSite, trees: &[PathBuf; 2]) {
    for (run, tree) in RUNS.iter().zip(trees) {
        site.muse(&["coord", "release", "--all"]).run_id(run).run();
        site.git_in(tree, &["reset", "--quiet", "--hard", "main"]);
    }
}

#[test]
fn of_two_methods_of_one_class_both_are_committed_every_time() {
    let (site, trees) = site();
    let texts = [MODULE.replace("return 1", "return 10"), MODULE.replace("return 2", "return 20")];
    let addresses = [Some("src/billing.py::Invoice.total"), Some("src/billing.py::Invoice.net")];
    for _ in 0..ROUNDS {
        for done in both(&site, &trees, addresses, [&texts[0], &texts[1]]) {
            done.passes();
        }
        again(&site, &trees);
    }
}

#[test]
fn of_one_method_exactly_one_is_committed() {
    let (site, trees) = site();
    let texts = ["10", "11"].map(|value| MODULE.replace("return 1", &format!("return {value}")));
    let address = Some("src/billing.py::Invoice.total");
    for _ in 0..ROUNDS {
        let done = both(&site, &trees, [address; 2], [&texts[0], &texts[1]]);
        let (passed, stopped) = if done[0].is_ok { (&done[0], &done[1]) } else { (&done[1], &done[0]) };
        passed.passes();
        stopped.is_stopped(&["`src/billing.py::Invoice.total` is held by run"]);
        again(&site, &trees);
    }
}

#[test]
fn of_two_that_add_imports_both_are_committed_unless_somebody_holds_the_file() {
    let (site, trees) = site();
    let texts = ["import json\n", "import sys\n"].map(|line| format!("{line}{MODULE}"));
    let texts = [&*texts[0], &*texts[1]];
    for _ in 0..ROUNDS {
        for done in both(&site, &trees, [None; 2], texts) {
            done.passes();
        }
        again(&site, &trees);
    }
    // Each of them beside a method of its own.
    let addresses = [Some("src/billing.py::Invoice.total"), Some("src/billing.py::Invoice.net")];
    let more = [texts[0].replace("return 1", "return 10"), texts[1].replace("return 2", "return 20")];
    for done in both(&site, &trees, addresses, [&more[0], &more[1]]) {
        done.passes();
    }
    again(&site, &trees);

    for address in ["src/billing.py", "src/billing.py::@top", "src/", "src/*.py"] {
        let id = site.reserve("carol", address);
        for done in both(&site, &trees, [None; 2], texts) {
            done.is_stopped(&["`src/billing.py::@top` is held", "by run `carol`"]);
        }
        again(&site, &trees);
        site.muse(&["coord", "release", &id]).run_id("carol").run().is_success();
    }
}

#[test]
fn who_holds_the_whole_file_stops_changes_of_its_methods() {
    let (site, trees) = site();
    site.reserve("carol", "src/billing.py");
    change(&trees[0].join("src/billing.py"), "return 1", "return 10");
    change(&trees[1].join("src/billing.py"), "return 2", "return 20");
    for (run, tree) in RUNS.iter().zip(&trees) {
        let done = site.command(tree, &["commit", "-a", "-m", "A change"]).run_id(run).done();
        done.is_stopped(&["is held as `src/billing.py` by run `carol`"]);
    }
}
