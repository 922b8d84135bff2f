//! Finding the repository that a folder is in.

use std::path::{Path, PathBuf};

use gix::prelude::ObjectIdExt as _;

use crate::disk::{self, Entry, SMALL_FILE_BYTES_MAX, is_missing};
use crate::error::{BranchError, FindError, GitError, NotARepository};
use crate::git::{self, DOT_GIT, GitFolders, Home};
use crate::head::{self, HEAD_FILE, Head, SHORT_ID_DIGITS};
use crate::{COORDINATION_FOLDER, STORE_FOLDER, mark};

/// A working tree, and the store that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    top: PathBuf,
    store: PathBuf,
    has_store: bool,
}

impl Repository {
    /// Finds the repository that the folder `start` is in.
    ///
    /// `start` is the current directory as the kernel tells it: absolute and without symbolic links, for the top is
    /// taken from its spelling. `root` is the value of `MUSE_REPO_ROOT` if that is set and not empty; a relative one
    /// is seen from `start`.
    ///
    /// `root`, if given, is the top and has to hold the store. Otherwise the top is the first folder, from `start`
    /// upwards, that holds `.muse` or `.git` or is a bare Git repository. If it holds no `.muse`, the store of a
    /// linked worktree is the main working tree's, and that of a bare repository is in its Git folder.
    ///
    /// # Errors
    ///
    /// - [`FindError::NotARepository`]: there is no store, and never was one.
    /// - [`FindError::StoreGone`]: there is no store, but [`init`](crate::init()) left a mark of one. Also where
    ///   `.muse` is there and its folder `coordination` is not.
    /// - [`FindError::NotAFolder`]: `.muse` or its `coordination` is a file or a symbolic link.
    /// - [`FindError::Git`], [`FindError::Mark`], [`FindError::Io`]: what decides cannot be read.
    pub fn find(start: &Path, root: Option<&Path>) -> Result<Self, FindError> {
        Self::find_at(Place::look_up(start, root)?, start)
    }

    /// As [`find`](Self::find), without a look for the store's folder where `.muse` is there, for those who are about to
    /// open it: they ask again when it is not there. Saves a system call.
    ///
    /// # Errors
    ///
    /// As there, but for what is wrong with that folder.
    pub fn find_unseen(start: &Path, root: Option<&Path>) -> Result<Self, FindError> {
        match Place::look_up(start, root)? {
            Place::Store { top } => Ok(Self { store: top.join(STORE_FOLDER), top, has_store: false }),
            place => Self::find_at(place, start),
        }
    }

    fn find_at(place: Place, start: &Path) -> Result<Self, FindError> {
        let no = |reason| FindError::NotARepository { start: start.to_owned(), reason };
        let (top, home, common_dir) = match place {
            Place::Store { top } => {
                let store = top.join(STORE_FOLDER);
                if holds_folder(&store, COORDINATION_FOLDER)? {
                    return Ok(Self { top, store, has_store: true });
                }
                let common_dir = marked_folder(&top)?;
                (top.clone(), top, common_dir)
            }
            Place::Git { top, home: Home::Folder(home), folders } => {
                (top, home, Some(folders.common_dir().to_owned()))
            }
            Place::Git { top, home: Home::Unrecorded, folders } => {
                let common_dir = folders.common_dir().to_owned();
                let Some(mark) = mark::present(&common_dir)? else {
                    return Err(no(NotARepository::MainWorktreeUnknown { common_dir }));
                };
                (top, mark::store_home(&mark)?, Some(common_dir))
            }
            Place::Root { root } => {
                return Err(match gone(&root, marked_folder(&root)?.as_deref())? {
                    Some(gone) => gone,
                    None => no(NotARepository::RootWithoutStore { root }),
                });
            }
            Place::RootMissing { root } => return Err(no(NotARepository::RootMissing { root })),
            Place::DotGit { top } => {
                return Err(no(NotARepository::NoStore { store: top.join(STORE_FOLDER) }));
            }
            Place::Nothing { .. } => return Err(no(NotARepository::NothingAbove)),
        };
        let store = home.join(STORE_FOLDER);
        let has_store = holds_folder(&home, STORE_FOLDER)?;
        if has_store && holds_folder(&store, COORDINATION_FOLDER)? {
            return Ok(Self { top, store, has_store: true });
        }
        if let Some(gone) = gone(&home, common_dir.as_deref())? {
            return Err(gone);
        }
        // Without a mark, an empty `.muse` is a store that was not used yet.
        if has_store {
            Ok(Self { top, store, has_store: false })
        } else {
            Err(no(NotARepository::NoStore { store }))
        }
    }

    pub(crate) fn new(top: PathBuf, home: &Path) -> Self {
        Self { top, store: home.join(STORE_FOLDER), has_store: false }
    }

    /// The folder that addresses are relative to: absolute, free of symbolic links.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// The folder `.muse`: absolute, free of symbolic links. Not always inside [`top`](Self::top).
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The folder `.muse/coordination`. It need not exist yet.
    pub fn coordination(&self) -> PathBuf {
        self.store.join(COORDINATION_FOLDER)
    }

    /// Whether [`coordination`](Self::coordination) was there when the repository was found.
    pub fn has_store(&self) -> bool {
        self.has_store
    }

    /// Tells the Git folders of the working tree that [`top`](Self::top) is, or is in; `None` outside Git.
    ///
    /// Looked up on each call: most commands do not need it.
    ///
    /// # Errors
    ///
    /// Git's files cannot be read, or lead nowhere.
    pub fn git(&self) -> Result<Option<GitFolders>, GitError> {
        GitFolders::enclosing(&self.top)
    }

    /// Tells what is checked out in the working tree: the name of the branch (`feature/x`), that of one without a
    /// commit included, or the short commit id of a detached `HEAD`.
    ///
    /// That is Git's `HEAD` where [`top`](Self::top) is a Git working tree, else `.muse/HEAD` (written as Git does,
    /// or just the name or the commit id), else the `HEAD` of the Git working tree around it. `None` if there is
    /// none of them, or if Git keeps its references as a reftable. A name that is not UTF-8 has U+FFFD in it.
    ///
    /// # Errors
    ///
    /// Git's files, or `.muse/HEAD`, cannot be read or make no sense.
    pub fn branch(&self) -> Result<Option<String>, BranchError> {
        if let Some(folders) = GitFolders::of(&self.top)? {
            return Ok(git_branch(&folders)?);
        }
        let path = self.store.join(HEAD_FILE);
        match disk::read_at_most(&path, SMALL_FILE_BYTES_MAX) {
            Ok(Some(content)) => Ok(match head::parse(&content) {
                Head::Branch(name) => Some(name),
                Head::Detached(mut id) => {
                    id.truncate(SHORT_ID_DIGITS);
                    Some(id)
                }
                Head::Other(name) if !name.is_empty() => Some(name),
                Head::Other(_) | Head::Elsewhere => None,
            }),
            Ok(None) => match self.git()? {
                Some(folders) => Ok(git_branch(&folders)?),
                None => Ok(None),
            },
            Err(source) => Err(BranchError::Io { path, source }),
        }
    }
}

/// Where a store is to be looked for, and to be made.
#[derive(Debug)]
pub(crate) enum Place {
    /// `top` holds a folder `.muse`.
    Store { top: PathBuf },
    /// `top` is a Git working tree, or a bare repository, without a `.muse`; the store is in `home`.
    Git { top: PathBuf, home: Home, folders: GitFolders },
    /// `top` holds a `.git` that is none of Git's, and no `.muse`.
    DotGit { top: PathBuf },
    /// `MUSE_REPO_ROOT` names this folder, which holds no `.muse`.
    Root { root: PathBuf },
    /// `MUSE_REPO_ROOT` names no folder.
    RootMissing { root: PathBuf },
    /// Neither here nor above is anything.
    Nothing { start: PathBuf },
}

impl Place {
    pub(crate) fn look_up(start: &Path, root: Option<&Path>) -> Result<Self, FindError> {
        if let Some(root) = root {
            let root = start.join(root);
            let top = match root.canonicalize() {
                Ok(top) if top.is_dir() => top,
                Ok(_) => return Ok(Self::RootMissing { root }),
                Err(error) if is_missing(&error) => return Ok(Self::RootMissing { root }),
                Err(source) => return Err(FindError::Io { operation: "look at", path: root, source }),
            };
            let has_store = holds_folder(&top, STORE_FOLDER)?;
            return Ok(if has_store { Self::Store { top } } else { Self::Root { root: top } });
        }

        for folder in start.ancestors() {
            if holds_folder(folder, STORE_FOLDER)? {
                return Ok(Self::Store { top: folder.to_owned() });
            }
            let dot_git = folder.join(DOT_GIT);
            let stops = match disk::entry(&dot_git) {
                // The parent of a folder `.git` holds `.git`: the search stops there, as it does in a working tree.
                Ok(Entry::Missing) => !git::is_named_dot_git(folder) && git::is_bare_repository(folder)?,
                Ok(Entry::Folder | Entry::Other) => true,
                Err(source) => return Err(FindError::Io { operation: "look at", path: dot_git, source }),
            };
            if stops {
                let top = folder.to_owned();
                return Ok(match GitFolders::of(&top)? {
                    Some(folders) => Self::Git { home: git::home(&top, &folders)?, top, folders },
                    None => Self::DotGit { top },
                });
            }
        }
        Ok(Self::Nothing { start: start.to_owned() })
    }
}

/// Whether `folder` holds a folder `name`; an error where that is a file or a symbolic link.
pub(crate) fn holds_folder(folder: &Path, name: &str) -> Result<bool, FindError> {
    let path = folder.join(name);
    match disk::entry(&path) {
        Ok(Entry::Folder) => Ok(true),
        Ok(Entry::Missing) => Ok(false),
        Ok(Entry::Other) => Err(FindError::NotAFolder { path }),
        Err(source) => Err(FindError::Io { operation: "look at", path, source }),
    }
}

/// The Git folder in which a store directly in `home` has its mark.
///
/// None outside Git, and none for a linked worktree with a store of its own: the mark speaks of the store that all
/// worktrees share.
pub(crate) fn marked_folder(home: &Path) -> Result<Option<PathBuf>, GitError> {
    let folders = GitFolders::of(home)?.filter(|folders| !folders.is_linked());
    Ok(folders.map(|folders| folders.common_dir().to_owned()))
}

/// The error to report if the Git folder has the mark of a store.
fn gone(home: &Path, common_dir: Option<&Path>) -> Result<Option<FindError>, GitError> {
    let Some(common_dir) = common_dir else { return Ok(None) };
    let mark = mark::present(common_dir)?;
    Ok(mark.map(|mark| FindError::StoreGone { store: home.join(STORE_FOLDER), mark }))
}

/// What Git's `HEAD` says.
fn git_branch(folders: &GitFolders) -> Result<Option<String>, GitError> {
    let path = folders.git_dir().join(HEAD_FILE);
    let damaged = |path, detail: &str| GitError::Damaged { path, source: detail.into() };
    match disk::read_at_most(&path, SMALL_FILE_BYTES_MAX) {
        Ok(Some(content)) => match head::parse(&content) {
            Head::Branch(name) => Ok(Some(name)),
            Head::Detached(id) => Ok(Some(short_id(folders, id))),
            Head::Elsewhere => Ok(None),
            Head::Other(_) => Err(damaged(path, "it names neither a branch nor a commit")),
        },
        Ok(None) => Err(damaged(path, "it is missing")),
        Err(source) => Err(GitError::Io { operation: "read", path, source }),
    }
}

/// Shortens a commit id as `git rev-parse --short` does.
///
/// Where the objects cannot be asked (SHA-256, a format that is not known here, a commit that is not there), it has
/// [`SHORT_ID_DIGITS`]: it is shown to people, and decides nothing.
fn short_id(folders: &GitFolders, mut id: String) -> String {
    let shortened = || {
        let options = gix::open::Options::isolated().open_path_as_is(true);
        let repository = gix::open_opts(folders.git_dir(), options).ok()?;
        let id = gix::ObjectId::from_hex(id.as_bytes()).ok()?;
        Some(id.attach(&repository).shorten().ok()?.to_string())
    };
    shortened().unwrap_or_else(|| {
        id.truncate(SHORT_ID_DIGITS);
        id
    })
}
