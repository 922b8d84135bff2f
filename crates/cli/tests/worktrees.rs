//! One store for all worktrees of a repository, with real Git: seen and denied from each, with each one's own
//! branch recorded.

#![expect(clippy::disallowed_methods, reason = "tests run git, and write and remove files")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

mod support;

use muse_testkit::git::git;
use support::{Answer, Held, Muse, Site, object, snapshot};

/// A repository with one commit on `main`.
fn repository(site: &Site, name: &str) -> PathBuf {
    let top = site.folder(name);
    git(&top, &["init", "--quiet"]);
    fs::create_dir(top.join("src")).unwrap();
    fs::write(top.join("src/a.py"), "def f(): pass\n").unwrap();
    git(&top, &["add", "."]);
    git(&top, &["commit", "--quiet", "-m", "One file"]);
    top
}

fn worktree(repository: &Path, path: &Path, branch: &str) {
    git(repository, &["worktree", "add", "--quiet", "-b", branch, path.to_str().unwrap()]);
}

fn muse(folder: &Path, arguments: &[&str]) -> Answer {
    Muse::in_folder(folder, arguments).json()
}

fn init(folder: &Path) -> Answer {
    let answer = muse(folder, &["init"]);
    answer.is_success();
    answer
}

fn reserve(folder: &Path, run: &str, address: &str) -> Answer {
    muse(folder, &["coord", "reserve", address, "--run-id", run])
}

#[track_caller]
fn held(folder: &Path, run: &str, address: &str, branch: Option<&str>) -> Held {
    let answer = reserve(folder, run, address);
    assert_eq!(answer.code, 0, "{answer:?}");
    let value = answer.value();
    assert_eq!(value["branch"], serde_json::json!(branch));
    assert_eq!(value["warnings"], serde_json::json!([]));
    Held { id: answer.field("reservation_id"), token: value["token"].as_u64().unwrap() }
}

/// From `folder`, the address is held by `held`, which was made on `branch`.
#[track_caller]
fn is_denied(folder: &Path, address: &str, held: &Held, branch: Option<&str>) {
    let answer = reserve(folder, "rival", address);
    answer.is_json_conflict();
    let holder = &answer.value()["conflicts"][0]["holder"];
    assert_eq!(holder["reservation_id"], held.id);
    assert_eq!(holder["branch"], serde_json::json!(branch));
}

#[track_caller]
fn is_clean(tree: &Path) {
    assert_eq!(git(tree, &["status", "--porcelain", "--untracked-files=all"]), "");
    assert_eq!(git(tree, &["status", "--porcelain", "--ignored=no"]), "");
}

#[test]
fn each_worktree_sees_what_every_other_one_reserved() {
    let site = Site::without_store();
    let main = repository(&site, "main tree");
    // Beside it, far outside, and inside the main tree's folder.
    let beside = site.at("bé side");
    let far = site.folder("far/away").join("élsewhere");
    let inside = main.join("trees/inside");
    for (path, branch) in [(&beside, "feature/one"), (&far, "zwei-ü"), (&inside, "three")] {
        worktree(&main, path, branch);
    }
    // Wherever init runs, it makes the one store.
    let store = main.join(".muse/coordination");
    init(&far).is_json(
        0,
        &[],
        &object! {
            "status": "ok", "created": true, "top": far.to_str().unwrap(), "store": store.to_str().unwrap(),
        },
    );
    for tree in [&main, &beside, &far, &inside] {
        assert_eq!(init(tree).value()["created"], false);
        assert_eq!(init(tree).field("store"), store.to_str().unwrap());
    }
    let trees = [(&main, "main"), (&beside, "feature/one"), (&far, "zwei-ü"), (&inside, "three")];
    for (number, (tree, branch)) in trees.iter().enumerate() {
        let address = format!("src/{number} é.py::f");
        let mine = held(tree, "holder", &address, Some(branch));
        for (other, _) in trees {
            is_denied(other, &format!("src/{number} é.py"), &mine, Some(branch));
            let listed = muse(other, &["coord", "list", "--branch", branch, "--run-id", "holder"]).value();
            assert_eq!(listed["reservations"][0]["reservation_id"], mine.id);
            let beat = muse(other, &["coord", "heartbeat", &mine.id, "--run-id", "holder"]);
            assert_eq!(beat.code, 0);
        }
        // Given back from another worktree.
        let (other, _) = trees[(number + 1) % trees.len()];
        let released = muse(other, &["coord", "release", &mine.id, "--run-id", "holder"]);
        assert_eq!(released.code, 0);
        held(other, "next", &address, Some(trees[(number + 1) % trees.len()].1));
    }
    for tree in [&beside, &far, &inside] {
        is_clean(tree);
        assert!(!tree.join(".muse").exists(), "one store, in the main tree");
    }
    // Git itself shows the nested worktree of the main tree; muse adds nothing to that.
    let status = git(&main, &["status", "--porcelain", "--untracked-files=all"]);
    assert!(!status.contains("muse"), "{status}");
}

#[test]
fn git_status_stays_clean_through_everything() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    init(&main);
    is_clean(&main);
    let mine = held(&main, "alice", "src/a.py", Some("main"));
    muse(&main, &["coord", "heartbeat", &mine.id, "--run-id", "alice"]).is_success();
    is_clean(&main);
    muse(&main, &["coord", "release", &mine.id, "--run-id", "alice"]).is_success();
    is_clean(&main);
    assert_eq!(git(&main, &["check-ignore", ".muse/coordination/token"]), ".muse/coordination/token");
    assert_eq!(fs::read_to_string(main.join(".muse/.gitignore")).unwrap(), "*\n");
    // A second init changes neither Git's files nor the store's.
    let before = snapshot(&main);
    init(&main);
    assert_eq!(snapshot(&main), before);
}

#[test]
fn the_worktrees_of_a_bare_repository() {
    let site = Site::without_store();
    let seed = repository(&site, "seed");
    let bare = site.at("ba re.git");
    git(&seed, &["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let (one, two) = (site.at("one"), site.folder("deep").join("two"));
    worktree(&bare, &one, "one");
    worktree(&bare, &two, "two");
    for tree in [&one, &two, &bare] {
        let error = reserve(tree, "x", "src/a.py").is_failure(2, "not_a_repository", None);
        assert!(error.contains(bare.join(".muse").to_str().unwrap()), "{error}");
    }
    assert_eq!(init(&one).field("store"), bare.join(".muse/coordination").to_str().unwrap());
    let mine = held(&one, "alice", "src/a.py", Some("one"));
    is_denied(&two, "src/", &mine, Some("one"));
    is_denied(&bare, "src/a.py::f", &mine, Some("one"));
    held(&two, "bob", "src/b.py", Some("two"));
    is_clean(&one);
    is_clean(&two);
}

#[test]
fn a_submodule_is_its_own_repository() {
    let site = Site::without_store();
    let library = repository(&site, "library");
    let main = repository(&site, "main");
    git(&main, &["submodule", "--quiet", "add", library.to_str().unwrap(), "vendor/lib"]);
    git(&main, &["commit", "--quiet", "-m", "A submodule"]);
    let submodule = main.join("vendor/lib");
    init(&main);
    let outer = held(&main, "alice", "src/a.py", Some("main"));
    // The search stops at its own `.git`: it is not the outer repository's.
    let error = reserve(&submodule, "bob", "src/a.py").is_failure(2, "not_a_repository", None);
    assert!(error.contains(submodule.join(".muse").to_str().unwrap()), "{error}");
    reserve(&submodule.join("src"), "bob", "a.py").is_failure(2, "not_a_repository", None);
    let answer = init(&submodule);
    assert_eq!(answer.value()["created"], true);
    assert_eq!(answer.field("store"), submodule.join(".muse/coordination").to_str().unwrap());
    // From outside, its files are nobody's to reserve: they would have two addresses.
    for address in ["vendor/lib/src/a.py", "vendor/lib/src/*.py", "./vendor/lib/new.py::f"] {
        let error = reserve(&main, "bob", address).is_failure(1, "bad_address", None);
        assert!(error.contains("another working tree, `vendor/lib`"), "{error}");
    }
    let whole = reserve(&main, "bob", "vendor/lib");
    assert_eq!(whole.value()["addresses"], serde_json::json!(["vendor/lib/"]));
    let inner = held(&submodule, "bob", "src/a.py", Some("main"));
    assert_ne!(outer.id, inner.id);
    is_denied(&main, "src/a.py", &outer, Some("main"));
    assert_eq!(muse(&main, &["coord", "list"]).value()["count"], 2);
    is_clean(&main);
    is_clean(&submodule);
}

#[test]
fn a_store_that_git_clean_deleted_is_reported_as_gone() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    let linked = site.at("linked");
    worktree(&main, &linked, "linked");
    init(&main);
    let before = held(&main, "alice", "src/a.py", Some("main"));
    git(&main, &["clean", "-fdxq"]);
    assert!(!main.join(".muse").exists(), "git clean deletes it");

    for tree in [&main, &linked] {
        for arguments in [
            &["coord", "reserve", "src/a.py", "--run-id", "bob"][..],
            &["coord", "heartbeat", &before.id, "--run-id", "alice"],
            &["coord", "heartbeat", "--all", "--run-id", "alice"],
            &["coord", "release", &before.id, "--run-id", "alice"],
            &["coord", "release", "--all", "--run-id", "alice"],
            &["coord", "list"],
            &["coord", "show", &before.id],
        ] {
            let error = muse(tree, arguments).is_failure(3, "store_gone", None);
            assert!(error.contains("is gone") && error.contains("`muse init`"), "{error}");
            Muse::in_folder(tree, arguments).run().is_text_failure(3, &["is gone"]);
        }
    }
    assert!(!main.join(".muse").exists(), "nobody made it again in passing");

    let warning = "there had been a store here, and it was deleted: the reservations in it are lost, \
                   so tell those who work here to reserve again";
    init(&linked).is_json(
        0,
        &[warning],
        &object! {
            "status": "ok", "created": true, "top": linked.to_str().unwrap(),
            "store": main.join(".muse/coordination").to_str().unwrap(),
        },
    );
    assert_eq!(init(&main).value()["warnings"], serde_json::json!([]), "it is said once");
    let lost = muse(&main, &["coord", "heartbeat", &before.id, "--run-id", "alice"]);
    assert_eq!((lost.code, &*lost.field("status")), (4, "not_found"));
    let after = held(&linked, "bob", "src/a.py", Some("linked"));
    assert!(after.token > before.token, "{} <= {}", after.token, before.token);
    is_denied(&main, "src/a.py", &after, Some("linked"));
    is_clean(&main);
}

#[test]
fn a_store_that_never_was_is_not_gone() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    reserve(&main, "alice", "src/a.py").is_failure(2, "not_a_repository", None);
    git(&main, &["clean", "-fdxq"]);
    reserve(&main, "alice", "src/a.py").is_failure(2, "not_a_repository", None);
    assert_eq!(init(&main).value()["warnings"], serde_json::json!([]));
    // Only the folder inside was deleted.
    fs::remove_dir_all(main.join(".muse/coordination")).unwrap();
    reserve(&main, "alice", "src/a.py").is_failure(3, "store_gone", None);
}

#[test]
fn addresses_are_relative_to_the_folder_and_recorded_from_the_top() {
    let site = Site::without_store();
    let main = repository(&site, "ma in");
    let linked = site.at("lin ked");
    worktree(&main, &linked, "linked");
    init(&main);
    let deep = linked.join("src");
    let answer = reserve(&deep, "alice", "a.py::f");
    assert_eq!(answer.value()["addresses"], serde_json::json!(["src/a.py::f"]));
    let mine = Held { id: answer.field("reservation_id"), token: 0 };
    // Each tree's own absolute path leads to the one address.
    is_denied(&main, main.join("src/a.py").to_str().unwrap(), &mine, Some("linked"));
    is_denied(&main.join("src"), "./../src/a.py", &mine, Some("linked"));
    is_denied(&linked, linked.join("src/a.py").to_str().unwrap(), &mine, Some("linked"));
    // Another tree's is outside.
    reserve(&main, "bob", linked.join("src/a.py").to_str().unwrap()).is_failure(1, "bad_address", None);
    // From inside the store and Git's own folder too, the repository is found.
    assert_eq!(muse(&main.join(".git"), &["coord", "list"]).value()["count"], 1);
    assert_eq!(muse(&main.join(".muse/coordination"), &["coord", "list"]).value()["count"], 1);
}

#[test]
fn a_detached_head_is_the_short_commit_id() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    let linked = site.at("linked");
    git(&main, &["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    init(&main);
    let short = git(&linked, &["rev-parse", "--short", "HEAD"]);
    let mine = held(&linked, "alice", "src/a.py", Some(&short));
    is_denied(&main, "src/a.py", &mine, Some(&short));
    let error = reserve(&main, "bob", "src/a.py").field("error");
    assert!(error.contains(&format!("(on {short})")), "{error}");
    // Switching branches changes what is recorded from now on.
    git(&linked, &["switch", "--quiet", "-c", "later/on"]);
    held(&linked, "alice", "src/b.py", Some("later/on"));
    let shown = muse(&linked, &["coord", "show", &mine.id]).value();
    assert_eq!(shown["reservation"]["branch"], short);
}

#[test]
fn a_repository_without_a_commit_has_a_branch() {
    let site = Site::without_store();
    let top = site.folder("new");
    git(&top, &["init", "--quiet"]);
    init(&top);
    held(&top, "alice", "a.py", Some("main"));
    is_clean(&top);
}

#[test]
fn the_named_root_outweighs_where_the_command_runs() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    let linked = main.join("trees/inside");
    worktree(&main, &linked, "inside");
    init(&main);
    let with_root = |folder: &Path, root: &str, arguments: &[&str]| {
        Muse::in_folder(folder, arguments).env("MUSE_REPO_ROOT", root).json()
    };
    let root = main.to_str().unwrap();
    // What is typed in one working tree is no address of another one, though that is the folder around it.
    let arguments = ["coord", "reserve", "src/a.py", "--run-id", "alice"];
    let error = with_root(&linked, root, &arguments).is_failure(1, "bad_address", None);
    assert!(error.contains("unset it"), "{error}");
    let error = with_root(&linked.join("src"), root, &arguments).is_failure(1, "bad_address", None);
    assert!(error.contains("unset it"), "{error}");
    let answer = with_root(&main.join("src"), root, &["coord", "reserve", "a.py", "--run-id", "alice"]);
    assert_eq!(answer.value()["addresses"], serde_json::json!(["src/a.py"]));
    assert_eq!(answer.value()["branch"], "main");
    // An absolute path needs no current directory below the root.
    let path = main.join("src/b.py");
    let arguments = ["coord", "reserve", path.to_str().unwrap(), "--run-id", "alice"];
    let answer = with_root(site.path(), root, &arguments);
    assert_eq!(answer.value()["addresses"], serde_json::json!(["src/b.py"]));
    // A relative one is seen from the current directory.
    let answer = with_root(&main.join("src"), "..", &["coord", "list"]);
    assert_eq!(answer.value()["count"], 2);
    // A linked worktree holds no `.muse`.
    let answer = with_root(&linked, ".", &["coord", "list"]);
    let error = answer.is_failure(2, "not_a_repository", None);
    assert!(error.contains("MUSE_REPO_ROOT"), "{error}");
}

#[test]
fn a_link_to_the_repository_is_the_repository() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    init(&main);
    std::os::unix::fs::symlink(&main, site.at("alias")).unwrap();
    let mine = held(&site.at("alias/src"), "alice", "a.py", Some("main"));
    is_denied(&main, "src/a.py", &mine, Some("main"));
    let typed = site.at("alias").join("src/a.py");
    let answer = reserve(&main, "rival", typed.to_str().unwrap());
    assert!(matches!(answer.code, 1 | 6), "outside, or the same: never granted: {answer:?}");
}

#[test]
fn a_branch_that_cannot_be_told_does_not_stop_the_work() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    init(&main);
    fs::write(main.join(".git/HEAD"), "junk\n").unwrap();
    let answer = reserve(&main, "alice", "src/a.py");
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.value()["branch"], serde_json::Value::Null);
    let warnings = answer.value()["warnings"].clone();
    assert!(warnings[0].as_str().unwrap().starts_with("the branch is not recorded: "), "{warnings}");
}

#[test]
fn a_worktree_that_moved_or_went_is_told() {
    let site = Site::without_store();
    let main = repository(&site, "main");
    let linked = site.at("linked");
    worktree(&main, &linked, "linked");
    init(&main);
    let mine = held(&linked, "alice", "src/a.py", Some("linked"));
    git(&main, &["worktree", "move", linked.to_str().unwrap(), site.at("moved").to_str().unwrap()]);
    is_denied(&site.at("moved"), "src/a.py", &mine, Some("linked"));
    // The main tree moved by hand: the link leads nowhere, and that is said.
    fs::rename(&main, site.at("elsewhere")).unwrap();
    let answer = reserve(&site.at("moved"), "bob", "src/a.py");
    let error = answer.is_failure(3, "store_damaged", None);
    assert!(error.contains("git worktree repair"), "{error}");
    git(&site.at("elsewhere"), &["worktree", "repair", site.at("moved").to_str().unwrap()]);
    is_denied(&site.at("moved"), "src/a.py", &mine, Some("linked"));
}
