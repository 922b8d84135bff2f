//! Every layout that Git makes, made by Git: which top, which store, which branch, and what `init` leaves behind.

#![expect(clippy::disallowed_methods, reason = "tests run git, and write and move files")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what a helper of a test does not expect fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use muse_repo::{FindError, InitError, MARK_FILE, MarkError, NotARepository, Repository, init};
use muse_testkit::git::{git, try_git};

/// A folder with repositories in it, deleted at the end.
struct Site {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Site {
    fn new() -> Self {
        // Blanks and letters that are not ASCII, in every path of every test.
        let folder = tempfile::Builder::new().prefix("müse repo ").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        Self { _folder: folder, path }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// A repository with one commit on `main`.
    fn repository(&self, name: &str) -> PathBuf {
        let path = self.folder(name);
        git(&path, &["init", "--quiet"]);
        commit(&path);
        path
    }

    /// A worktree of `repository` on a branch called like the last part of `name`.
    fn worktree(&self, repository: &Path, name: &str) -> PathBuf {
        let path = self.at(name);
        let branch = path.file_name().and_then(|name| name.to_str()).expect("a name").replace(' ', "-");
        git(repository, &["worktree", "add", "--quiet", "-b", &branch, path.to_str().expect("UTF-8")]);
        path
    }
}

fn commit(folder: &Path) {
    fs::write(folder.join("file"), "text\n").expect("written");
    git(folder, &["add", "file"]);
    git(folder, &["commit", "--quiet", "-m", "One file"]);
}

/// All of `muse init`, the engine's part included.
fn init_store(start: &Path) -> Repository {
    let initialised = init(start, None).expect("initialised");
    fs::create_dir_all(initialised.repository.coordination()).expect("made");
    initialised.leave_mark().expect("marked");
    initialised.repository
}

fn find(start: &Path) -> Repository {
    Repository::find(start, None).unwrap_or_else(|error| panic!("{}: {error}", start.display()))
}

#[track_caller]
fn assert_found(start: &Path, top: &Path, store: &Path) {
    let repository = find(start);
    assert_eq!((repository.top(), repository.store()), (top, store));
}

fn not_a_repository(start: &Path) -> NotARepository {
    match Repository::find(start, None) {
        Err(FindError::NotARepository { reason, .. }) => reason,
        other => panic!("{}: {other:?}", start.display()),
    }
}

#[track_caller]
fn assert_gone(start: &Path, home: &Path, common_dir: &Path) {
    match Repository::find(start, None) {
        Err(FindError::StoreGone { store, mark }) => {
            assert_eq!((store, mark), (home.join(".muse"), common_dir.join(MARK_FILE)));
        }
        other => panic!("{}: {other:?}", start.display()),
    }
}

fn no_store(home: &Path) -> NotARepository {
    NotARepository::NoStore { store: home.join(".muse") }
}

fn branch(start: &Path) -> Option<String> {
    find(start).branch().expect("a branch")
}

/// Everything under a folder: its kind, bytes and time of change.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let bytes = metadata.is_file().then(|| fs::read(&path).expect("bytes"));
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
        found.insert(path, (bytes, metadata.modified().expect("a time")));
    }
    found
}

#[test]
fn the_main_tree_and_its_subfolders() {
    let site = Site::new();
    let main = site.repository("main");
    let deep = site.folder("main/src/deep er");
    assert_eq!(not_a_repository(&deep), no_store(&main));

    let repository = init_store(&deep);
    assert_eq!((repository.top(), repository.store()), (&*main, &*main.join(".muse")));
    assert_found(&main, &main, &main.join(".muse"));
    assert_found(&deep, &main, &main.join(".muse"));
    // Where Git's own hooks may run, and where nobody works.
    assert_found(&main.join(".git/hooks"), &main, &main.join(".muse"));
    assert_found(&main.join(".muse/coordination"), &main, &main.join(".muse"));
    let folders = repository.git().expect("readable").expect("Git");
    assert_eq!((folders.git_dir(), folders.common_dir()), (&*main.join(".git"), &*main.join(".git")));
    assert!(!folders.is_linked());
}

#[test]
fn nothing_here_or_above() {
    let site = Site::new();
    let plain = site.folder("plain/folder");
    assert_eq!(not_a_repository(&plain), NotARepository::NothingAbove);

    let initialised = init(&plain, None).expect("initialised");
    assert!(initialised.created && !initialised.replaced_lost_store);
    // Outside Git there is nothing to ignore and nowhere to leave a mark.
    initialised.leave_mark().expect("nothing to do");
    assert_eq!(fs::read_dir(plain.join(".muse")).expect("a folder").count(), 0);
    assert_found(&site.folder("plain/folder/below"), &plain, &plain.join(".muse"));
    assert_eq!(not_a_repository(&site.at("plain")), NotARepository::NothingAbove);
}

#[test]
fn linked_worktrees_share_the_store_of_the_main_tree() {
    let site = Site::new();
    let main = site.repository("main");
    let beside = site.worktree(&main, "be side");
    let inside = site.worktree(&main, "main/trees/inside");
    let elsewhere = site.worktree(&main, "far/away/élsewhere");
    for tree in [&beside, &inside, &elsewhere] {
        assert_eq!(not_a_repository(tree), no_store(&main));
    }

    // From a linked worktree, `init` makes the one store that all share.
    let repository = init_store(&beside);
    assert_eq!((repository.top(), repository.store()), (&*beside, &*main.join(".muse")));
    assert!(main.join(".git").join(MARK_FILE).is_file());
    for tree in [&beside, &inside, &elsewhere] {
        assert_found(tree, tree, &main.join(".muse"));
        let below = tree.join("sub");
        fs::create_dir(&below).expect("a folder");
        assert_found(&below, tree, &main.join(".muse"));
        assert!(!tree.join(".muse").exists());
    }
    assert_found(&main, &main, &main.join(".muse"));

    let folders = find(&inside).git().expect("readable").expect("Git");
    assert_eq!(folders.git_dir(), main.join(".git/worktrees/inside"));
    assert_eq!(folders.common_dir(), main.join(".git"));
    assert!(folders.is_linked());

    assert_eq!(branch(&main).as_deref(), Some("main"));
    assert_eq!(branch(&beside).as_deref(), Some("be-side"));
    assert_eq!(branch(&elsewhere).as_deref(), Some("élsewhere"));
}

#[test]
fn a_worktree_with_relative_paths() {
    let site = Site::new();
    let main = site.repository("main");
    let output = try_git(&main, &["worktree", "add", "--relative-paths", "--quiet", "../linked"]);
    if !output.status.success() {
        // Before Git 2.48 there is no such option; what it writes is easily written.
        let linked = site.worktree(&main, "linked");
        fs::write(linked.join(".git"), "gitdir: ../main/.git/worktrees/linked\n").expect("written");
        fs::write(main.join(".git/worktrees/linked/gitdir"), "../../../../linked/.git\n").expect("written");
    }
    let linked = site.at("linked");
    init_store(&linked);
    assert_found(&linked, &linked, &main.join(".muse"));
    assert_eq!(branch(&linked).as_deref(), Some("linked"));
}

#[test]
fn a_linked_worktree_with_a_store_of_its_own_uses_it() {
    let site = Site::new();
    let main = site.repository("main");
    let linked = site.worktree(&main, "linked");
    init_store(&main);
    let own = init(&site.path, Some(&linked)).expect("initialised");
    assert!(own.created && !own.replaced_lost_store);
    // Its engine made nothing yet: the mark, which is of the shared store, is not taken for this one's.
    assert_found(&linked, &linked, &linked.join(".muse"));
    own.leave_mark().expect("there is none to leave");
    assert_found(&main, &main, &main.join(".muse"));
    assert_eq!(git(&linked, &["status", "--porcelain"]), "");
}

#[test]
fn worktrees_of_a_bare_repository() {
    let site = Site::new();
    let source = site.repository("source");
    git(&source, &["clone", "--quiet", "--bare", ".", "../bare.git"]);
    let bare = site.at("bare.git");
    let one = site.worktree(&bare, "one");
    let two = site.worktree(&bare, "bare.git/two");
    for start in [&one, &two, &bare, &bare.join("hooks")] {
        assert_eq!(not_a_repository(start), no_store(&bare));
    }

    let repository = init_store(&one);
    assert_eq!((repository.top(), repository.store()), (&*one, &*bare.join(".muse")));
    assert_found(&two, &two, &bare.join(".muse"));
    assert_found(&bare, &bare, &bare.join(".muse"));
    assert_found(&bare.join("refs/heads"), &bare, &bare.join(".muse"));
    assert_found(&bare.join("worktrees/one"), &bare, &bare.join(".muse"));
    assert_eq!(branch(&two).as_deref(), Some("two"));
    assert_eq!(branch(&bare).as_deref(), Some("main"));

    fs::remove_dir_all(bare.join(".muse")).expect("removed");
    for start in [&one, &two, &bare] {
        assert_gone(start, &bare, &bare);
    }
}

#[test]
fn worktrees_beside_a_git_file_that_leads_to_a_bare_repository() {
    let site = Site::new();
    let source = site.repository("source");
    let project = site.folder("project");
    git(&project, &["clone", "--quiet", "--bare", source.to_str().expect("UTF-8"), ".bare"]);
    fs::write(project.join(".git"), "gitdir: ./.bare\n").expect("written");
    let one = site.worktree(&project, "project/one");
    let bare = project.join(".bare");
    for start in [&one, &project, &bare] {
        assert_eq!(not_a_repository(start), no_store(&bare));
    }
    init_store(&one);
    for start in [&one, &project] {
        assert_found(start, start, &bare.join(".muse"));
    }
    assert!(!init(&project, None).expect("initialised").created);
    fs::remove_dir_all(bare.join(".muse")).expect("removed");
    for start in [&one, &project] {
        assert_gone(start, &bare, &bare);
    }
}

#[test]
fn worktrees_beside_a_bare_repository_called_dot_git() {
    let site = Site::new();
    let source = site.repository("source");
    let project = site.folder("project");
    git(&project, &["clone", "--quiet", "--bare", source.to_str().expect("UTF-8"), ".git"]);
    let one = site.worktree(&project.join(".git"), "project/one");
    let two = site.worktree(&project, "project/two");
    let bare = project.join(".git");
    for start in [&one, &two, &project, &bare] {
        assert_eq!(not_a_repository(start), no_store(&bare));
    }

    // Wherever it is made from, there is one store.
    init_store(&project);
    assert_found(&one, &one, &bare.join(".muse"));
    assert_found(&two, &two, &bare.join(".muse"));
    assert_found(&project, &project, &bare.join(".muse"));
    assert!(!init(&two, None).expect("initialised").created);

    fs::remove_dir_all(bare.join(".muse")).expect("removed");
    for start in [&one, &two, &project] {
        assert_gone(start, &bare, &bare);
    }
    // A store beside `.git`, put there by hand, is the one store too.
    let beside = init(&site.path, Some(&project)).expect("initialised");
    assert!(beside.created && beside.replaced_lost_store);
    fs::create_dir(project.join(".muse/coordination")).expect("made");
    for start in [&one, &two, &project] {
        assert_eq!(find(start).store(), project.join(".muse"));
    }
}

#[test]
fn a_bare_repository_that_says_so_in_its_worktree_configuration() {
    let site = Site::new();
    let source = site.repository("source");
    let project = site.folder("project");
    git(&project, &["clone", "--quiet", "--bare", source.to_str().expect("UTF-8"), ".git"]);
    git(&project, &["config", "extensions.worktreeConfig", "true"]);
    git(&project, &["config", "--worktree", "core.bare", "true"]);
    git(&project, &["config", "--unset", "core.bare"]);
    let one = site.worktree(&project, "project/one");
    assert_eq!(not_a_repository(&one), no_store(&project.join(".git")));
    assert_eq!(not_a_repository(&project), no_store(&project.join(".git")));
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let site = Site::new();
    let library = site.repository("library");
    let project = site.repository("project");
    init_store(&project);
    git(&project, &["submodule", "--quiet", "add", library.to_str().expect("UTF-8"), "libs/sub module"]);
    let sub = project.join("libs/sub module");
    let common_dir = project.join(".git/modules/libs/sub module");
    assert_eq!(not_a_repository(&sub), no_store(&sub));
    let linked = site.worktree(&sub, "linked");
    assert_eq!(not_a_repository(&linked), no_store(&sub));

    let repository = init_store(&linked);
    assert_eq!((repository.top(), repository.store()), (&*linked, &*sub.join(".muse")));
    assert_found(&sub, &sub, &sub.join(".muse"));
    assert_found(&project, &project, &project.join(".muse"));
    assert_found(&common_dir, &project, &project.join(".muse"));
    assert_eq!(branch(&linked).as_deref(), Some("linked"));
    assert_eq!(git(&sub, &["status", "--porcelain"]), "");
    let folders = find(&sub).git().expect("readable").expect("Git");
    assert_eq!((folders.git_dir(), folders.is_linked()), (&*common_dir, false));

    git(&sub, &["clean", "-fdxq"]);
    assert_gone(&sub, &sub, &common_dir);
    assert_gone(&linked, &sub, &common_dir);
    assert_found(&project, &project, &project.join(".muse"));
}

#[test]
fn a_git_folder_elsewhere_is_known_by_its_mark() {
    let site = Site::new();
    let main = site.folder("trees/main");
    site.folder("git folders");
    git(&main, &["init", "--quiet", "--separate-git-dir", "../../git folders/main"]);
    commit(&main);
    let linked = site.worktree(&main, "trees/linked");
    let common_dir = site.at("git folders/main");
    assert_eq!(not_a_repository(&main), no_store(&main));
    let unknown = NotARepository::MainWorktreeUnknown { common_dir: common_dir.clone() };
    assert_eq!(not_a_repository(&linked), unknown);
    assert!(matches!(
        init(&linked, None),
        Err(InitError::Find(FindError::NotARepository { reason, .. })) if reason == unknown
    ));

    init_store(&main);
    assert_found(&main, &main, &main.join(".muse"));
    assert_found(&linked, &linked, &main.join(".muse"));
    assert_eq!(branch(&linked).as_deref(), Some("linked"));
    // The Git folder is none of the places to work in.
    assert_eq!(not_a_repository(&common_dir), NotARepository::NothingAbove);

    git(&main, &["clean", "-fdxq"]);
    assert_gone(&main, &main, &common_dir);
    assert_gone(&linked, &main, &common_dir);
    assert!(init(&linked, None).expect("initialised").replaced_lost_store);
    assert!(main.join(".muse").is_dir());

    // The mark is corrected where the main tree was moved.
    let moved = site.at("trees/moved");
    fs::rename(&main, &moved).expect("moved");
    assert_gone(&linked, &main, &common_dir);
    init_store(&moved);
    assert_found(&linked, &linked, &moved.join(".muse"));

    fs::write(common_dir.join(MARK_FILE), r#"{"schema_version": 1}"#).expect("written");
    let found = Repository::find(&linked, None);
    assert!(matches!(found, Err(FindError::Mark(MarkError::Damaged { .. }))), "{found:?}");
    assert_found(&moved, &moved, &moved.join(".muse"));
    init_store(&moved);
    assert_found(&linked, &linked, &moved.join(".muse"));
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_called_dot_git_is_followed() {
    let site = Site::new();
    let main = site.repository("main");
    fs::rename(main.join(".git"), site.at("git folder")).expect("moved");
    std::os::unix::fs::symlink("../git folder", main.join(".git")).expect("linked");
    init_store(&main);
    assert_found(&main, &main, &main.join(".muse"));
    assert!(site.at("git folder").join(MARK_FILE).is_file());
    assert_eq!(branch(&main).as_deref(), Some("main"));
    let linked = site.worktree(&main, "linked");
    assert_found(&linked, &linked, &main.join(".muse"));
}

#[test]
fn nested_repositories_are_their_own() {
    let site = Site::new();
    let outer = site.repository("outer");
    init_store(&outer);
    let inner = site.repository("outer/vendor/inner");
    git(&inner, &["clone", "--quiet", "--bare", ".", "../bare.git"]);
    assert_eq!(not_a_repository(&inner), no_store(&inner));
    assert_eq!(
        not_a_repository(&site.at("outer/vendor/bare.git")),
        no_store(&site.at("outer/vendor/bare.git"))
    );
    assert_found(&site.at("outer/vendor"), &outer, &outer.join(".muse"));
    init_store(&inner);
    assert_found(&inner, &inner, &inner.join(".muse"));
}

#[test]
fn a_deleted_store_is_gone_and_not_never_there() {
    let site = Site::new();
    let main = site.repository("main");
    let linked = site.worktree(&main, "linked");
    init_store(&main);
    git(&main, &["clean", "-fdxq"]);
    assert!(!main.join(".muse").exists());
    assert_gone(&main, &main, &main.join(".git"));
    assert_gone(&linked, &main, &main.join(".git"));
    let with_root = Repository::find(&linked, Some(&main));
    assert!(matches!(with_root, Err(FindError::StoreGone { .. })), "{with_root:?}");

    let again = init(&linked, None).expect("initialised");
    assert!(again.created && again.replaced_lost_store);
    // Killed here, it is still gone; the next `init` knows so as well.
    assert_gone(&main, &main, &main.join(".git"));
    let again = init(&linked, None).expect("initialised");
    assert!(!again.created && again.replaced_lost_store);
    init_store(&main);
    assert_found(&linked, &linked, &main.join(".muse"));
    assert!(!init(&main, None).expect("initialised").replaced_lost_store);

    fs::remove_dir(main.join(".muse/coordination")).expect("removed");
    assert_gone(&main, &main, &main.join(".git"));
    assert_gone(&linked, &main, &main.join(".git"));
    let error = Repository::find(&main, None).expect_err("gone").to_string();
    assert!(error.contains("git clean -fdx") && error.contains("muse init"), "{error}");
}

#[test]
fn a_moved_repository_keeps_its_store() {
    let site = Site::new();
    let main = site.repository("main");
    init_store(&main);
    let moved = site.folder("some/where").join("moved");
    fs::rename(&main, &moved).expect("moved");
    assert_found(&moved, &moved, &moved.join(".muse"));
    let before = snapshot(&moved);
    init_store(&moved);
    assert_eq!(snapshot(&moved), before);
    git(&moved, &["clean", "-fdxq"]);
    assert_gone(&moved, &moved, &moved.join(".git"));
}

#[test]
fn a_worktree_whose_repository_is_gone_says_so() {
    let site = Site::new();
    let main = site.repository("main");
    let linked = site.worktree(&main, "linked");
    init_store(&main);
    fs::rename(&main, site.at("moved")).expect("moved");
    match Repository::find(&linked, None) {
        Err(FindError::Git(error @ muse_repo::GitError::DeadLink { .. })) => {
            assert!(error.to_string().contains("git worktree repair"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    git(&site.at("moved"), &["worktree", "repair", linked.to_str().expect("UTF-8")]);
    assert_found(&linked, &linked, &site.at("moved/.muse"));

    fs::write(linked.join(".git"), "nonsense\n").expect("written");
    let found = Repository::find(&linked, None);
    assert!(matches!(found, Err(FindError::Git(muse_repo::GitError::Damaged { .. }))), "{found:?}");
}

#[test]
fn an_empty_dot_git_stops_the_search_and_is_none_of_gits() {
    let site = Site::new();
    init_store(&site.repository("outer"));
    let odd = site.folder("outer/odd");
    fs::create_dir(odd.join(".git")).expect("made");
    assert_eq!(not_a_repository(&odd), no_store(&odd));
    init_store(&odd);
    assert_found(&odd, &odd, &odd.join(".muse"));
    assert_eq!(fs::read_dir(odd.join(".git")).expect("a folder").count(), 0);
}

#[test]
fn a_root_that_is_given_is_taken() {
    let site = Site::new();
    let main = site.repository("main");
    let sub = site.folder("main/packages/sub");
    let reason = |root: &Path| match Repository::find(&main, Some(root)) {
        Err(FindError::NotARepository { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&sub), NotARepository::RootWithoutStore { root: sub.clone() });
    assert_eq!(reason(Path::new("nowhere")), NotARepository::RootMissing { root: main.join("nowhere") });
    assert_eq!(reason(Path::new("file")), NotARepository::RootMissing { root: main.join("file") });
    assert!(init(&main, Some(Path::new("nowhere"))).is_err());

    let initialised = init(&main, Some(Path::new("packages/sub"))).expect("initialised");
    assert_eq!(initialised.repository.top(), sub);
    initialised.leave_mark().expect("there is none to leave");
    let repository = Repository::find(&main, Some(Path::new("packages/../packages/sub"))).expect("found");
    assert_eq!((repository.top(), repository.store()), (&*sub, &*sub.join(".muse")));
    // It is inside Git: the branch is the working tree's, and the store does not show up there.
    assert_eq!(repository.branch().expect("readable").as_deref(), Some("main"));
    assert_eq!(git(&main, &["status", "--porcelain"]), "");
    // And no mark of it makes the main tree believe that a store of its own was deleted.
    assert_eq!(not_a_repository(&main), no_store(&main));

    let main_store = init(&site.path, Some(&main)).expect("initialised");
    fs::create_dir(main_store.repository.coordination()).expect("made");
    main_store.leave_mark().expect("marked");
    assert!(main.join(".git").join(MARK_FILE).is_file());
    assert_eq!(Repository::find(&sub, Some(&main)).expect("found").top(), main);
    assert_found(&sub, &sub, &sub.join(".muse"));
}

#[cfg(unix)]
#[test]
fn a_root_that_is_a_symbolic_link_is_followed() {
    let site = Site::new();
    let main = site.repository("main");
    init_store(&main);
    let link = site.at("link");
    std::os::unix::fs::symlink(&main, &link).expect("linked");
    assert_eq!(Repository::find(&site.path, Some(&link)).expect("found").top(), main);
}

#[cfg(unix)]
#[test]
fn a_link_or_a_file_in_place_of_the_store_is_refused() {
    let site = Site::new();
    let main = site.repository("main");
    let linked = site.worktree(&main, "linked");
    let store = main.join(".muse");
    let refuses = |path: &Path| {
        for start in [&main, &linked] {
            match Repository::find(start, None) {
                Err(FindError::NotAFolder { path: named }) => assert_eq!(named, path),
                other => panic!("{other:?}"),
            }
        }
    };
    fs::write(&store, "").expect("written");
    refuses(&store);
    assert!(matches!(init(&main, None), Err(InitError::Find(FindError::NotAFolder { .. }))));
    assert!(matches!(init(&linked, None), Err(InitError::Find(FindError::NotAFolder { .. }))));

    fs::remove_file(&store).expect("removed");
    let target = site.folder("target");
    fs::create_dir(target.join("coordination")).expect("made");
    std::os::unix::fs::symlink(&target, &store).expect("linked");
    refuses(&store);
    assert!(matches!(init(&main, None), Err(InitError::Find(FindError::NotAFolder { .. }))));
    assert_eq!(fs::read_dir(&target).expect("a folder").count(), 1);

    fs::remove_file(&store).expect("removed");
    std::os::unix::fs::symlink("nowhere", &store).expect("linked");
    refuses(&store);

    fs::remove_file(&store).expect("removed");
    fs::create_dir(&store).expect("made");
    std::os::unix::fs::symlink(target.join("coordination"), store.join("coordination")).expect("linked");
    refuses(&store.join("coordination"));
}

#[test]
fn init_twice_changes_nothing() {
    let site = Site::new();
    let main = site.repository("main");
    let linked = site.worktree(&main, "linked");
    let first = init(&main, None).expect("initialised");
    assert!(first.created && !first.replaced_lost_store);
    // A mark before the store would say that the store is gone.
    assert!(matches!(first.leave_mark(), Err(InitError::NothingToMark { .. })));
    assert!(!main.join(".git").join(MARK_FILE).exists());
    assert_found(&main, &main, &main.join(".muse"));
    init_store(&main);
    assert_eq!(fs::read_to_string(main.join(".muse/.gitignore")).expect("text"), "*\n");
    let mark = fs::read_to_string(main.join(".git").join(MARK_FILE)).expect("text");
    assert_eq!(mark, "{\n  \"schema_version\": 1,\n  \"store\": \"../.muse\"\n}\n");
    assert_eq!(git(&main, &["status", "--porcelain", "--ignored=no"]), "");
    assert_eq!(git(&linked, &["status", "--porcelain"]), "");

    let before = snapshot(&main);
    init_store(&main);
    init_store(&linked);
    assert!(!init(&main, None).expect("initialised").created);
    assert_eq!(snapshot(&main), before);

    // What somebody put there stays.
    fs::write(main.join(".muse/.gitignore"), "*\n!HEAD\n").expect("written");
    init_store(&main);
    assert_eq!(fs::read_to_string(main.join(".muse/.gitignore")).expect("text"), "*\n!HEAD\n");
}

#[test]
fn init_completes_what_is_missing() {
    let site = Site::new();
    let main = site.repository("main");
    // Killed after the folder was made.
    fs::create_dir(main.join(".muse")).expect("made");
    let initialised = init(&main, None).expect("initialised");
    assert!(!initialised.created && !initialised.replaced_lost_store);
    assert!(main.join(".muse/.gitignore").is_file());
    // Killed after the engine made its folder.
    fs::create_dir(main.join(".muse/coordination")).expect("made");
    init(&main, None).expect("initialised").leave_mark().expect("marked");
    let mark = main.join(".git").join(MARK_FILE);
    assert!(mark.is_file());
    // A mark that says nothing is written anew, and one of a later version is left alone.
    fs::write(&mark, "").expect("written");
    init_store(&main);
    assert!(fs::read_to_string(&mark).expect("text").contains("../.muse"));
    fs::write(&mark, r#"{"schema_version": 2}"#).expect("written");
    let error = init(&main, None).expect("initialised").leave_mark().expect_err("too new");
    assert!(error.to_string().contains("upgrade"), "{error}");
    assert_eq!(fs::read_to_string(&mark).expect("text"), r#"{"schema_version": 2}"#);
    // What is not known here is carried along.
    fs::write(&mark, r#"{"schema_version": 1, "store": "elsewhere/.muse", "color": "blue"}"#)
        .expect("written");
    init_store(&main);
    let text = fs::read_to_string(&mark).expect("text");
    assert!(text.contains("\"color\": \"blue\"") && text.contains("\"../.muse\""), "{text}");
}

#[cfg(unix)]
#[test]
fn files_get_the_modes_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let main = site.repository("main");
    init_store(&main);
    let mode = |path: &str| fs::metadata(main.join(path)).expect("metadata").permissions().mode() & 0o777;
    // Git makes its files the same way.
    assert_eq!(mode(".muse/.gitignore"), mode(".git/HEAD"));
    assert_eq!(mode(".git/muse-store.json"), mode(".git/HEAD"));
    assert_eq!(mode(".muse"), mode(".git"));
}

#[test]
fn many_inits_at_once_make_one_store() {
    let site = Site::new();
    let main = site.repository("main");
    let created = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let initialised = init(&main, None).expect("initialised");
                    fs::create_dir_all(initialised.repository.coordination()).expect("made");
                    initialised.leave_mark().expect("marked");
                    initialised.created
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).filter(|created| *created).count()
    });
    assert_eq!(created, 1);
    let mut names: Vec<_> = fs::read_dir(main.join(".muse"))
        .expect("a folder")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".gitignore", "coordination"]);
}

#[test]
fn the_branch_is_that_of_the_worktree() {
    let site = Site::new();
    let main = site.folder("main");
    git(&main, &["init", "--quiet"]);
    init_store(&main);
    // No commit yet.
    assert_eq!(branch(&main).as_deref(), Some("main"));
    commit(&main);
    git(&main, &["checkout", "--quiet", "-b", "feature/ü/x"]);
    assert_eq!(branch(&main).as_deref(), Some("feature/ü/x"));
    git(&main, &["pack-refs", "--all"]);
    assert_eq!(branch(&main).as_deref(), Some("feature/ü/x"));

    let short = git(&main, &["rev-parse", "--short", "HEAD"]);
    git(&main, &["checkout", "--quiet", "--detach"]);
    assert_eq!(branch(&main), Some(short.clone()));
    let linked = site.worktree(&main, "linked");
    assert_eq!(branch(&linked).as_deref(), Some("linked"));
    git(&linked, &["checkout", "--quiet", "--detach"]);
    assert_eq!(branch(&linked), Some(short));
    git(&main, &["config", "core.abbrev", "12"]);
    assert_eq!(branch(&linked), Some(git(&main, &["rev-parse", "--short", "HEAD"])));
    assert_eq!(branch(&linked).expect("detached").len(), 12);

    // A commit that is not there can be told all the same.
    fs::write(main.join(".git/HEAD"), "0123456789abcdef0123456789abcdef01234567\n").expect("written");
    assert_eq!(branch(&main).as_deref(), Some("0123456"));
    fs::write(main.join(".git/HEAD"), "nonsense\n").expect("written");
    let error = find(&main).branch().expect_err("nonsense").to_string();
    assert!(error.contains("HEAD"), "{error}");
}

#[test]
fn repositories_in_newer_formats_are_found() {
    let site = Site::new();
    for (name, option) in [("sha256", "--object-format=sha256"), ("reftable", "--ref-format=reftable")] {
        let path = site.folder(name);
        if !try_git(&path, &["init", "--quiet", option]).status.success() {
            continue;
        }
        commit(&path);
        init_store(&path);
        let linked = site.worktree(&path, &format!("{name} tree"));
        assert_found(&linked, &linked, &path.join(".muse"));
        if name == "reftable" {
            // It is not written in `HEAD`, and not a failure.
            assert_eq!(branch(&path), None);
            continue;
        }
        assert_eq!(branch(&path).as_deref(), Some("main"));
        git(&path, &["checkout", "--quiet", "--detach"]);
        assert_eq!(branch(&path), Some(git(&path, &["rev-parse", "--short=7", "HEAD"])));
    }
}

#[test]
fn outside_git_the_store_may_say_the_branch() {
    let site = Site::new();
    let plain = site.folder("plain");
    init_store(&plain);
    let head = plain.join(".muse/HEAD");
    assert_eq!(branch(&plain), None);
    for (content, expected) in [
        ("ref: refs/heads/feature/x\n", Some("feature/x")),
        ("trunk\n", Some("trunk")),
        ("0123456789abcdef0123456789abcdef01234567\n", Some("0123456")),
        ("\n", None),
    ] {
        fs::write(&head, content).expect("written");
        assert_eq!(branch(&plain).as_deref(), expected, "{content:?}");
    }
    fs::write(&head, vec![b'x'; 70_000]).expect("written");
    let error = find(&plain).branch().expect_err("too large").to_string();
    assert!(error.contains("65536 bytes"), "{error}");

    // Git's word counts in a Git working tree, and the store's in a folder below one.
    let main = site.repository("main");
    init_store(&main);
    fs::write(main.join(".muse/HEAD"), "other\n").expect("written");
    assert_eq!(branch(&main).as_deref(), Some("main"));
}
