//! What has changed in a Git working tree, told without starting a `git` process.
//!
//! [`Changes::staged`] is what a commit would bring, as a hook of Git's sees it; [`Changes::since`] and
//! [`Changes::worktree`] look at the files on the disk; [`Changes::outgoing`] is what a push would bring. A rename is
//! a deletion and a creation. Bytes are read on demand, by [`Contents`].

mod contents;
mod merging;
mod outgoing;
mod trees;
mod working;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BStr, BString};
use gix::objs::tree::EntryKind;

pub use contents::{Content, Contents};

use crate::error::GitError;
use crate::git::{self, GitFolders};

/// What the variables of Git's own mean to a hook. The caller reads the environment: this crate does not.
///
/// Git sets `GIT_INDEX_FILE` for the hooks of a commit, to `index.lock` for `git commit -a` and to
/// `next-index-<process>.lock` for `git commit -- PATH`, and `GIT_DIR` in linked worktrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitEnvironment {
    /// `GIT_DIR`, if set and not empty: relative to the folder that is searched from.
    pub git_dir: Option<PathBuf>,
    /// `GIT_WORK_TREE`, if set and not empty: relative to the folder that is searched from.
    pub work_tree: Option<PathBuf>,
    /// `GIT_INDEX_FILE`, if set and not empty: relative to the top of the working tree, where Git runs hooks.
    pub index_file: Option<PathBuf>,
    /// What follows `GITHEAD_` in the names of variables: the ids of the commits that `git merge` is merging. The hook
    /// `pre-merge-commit` runs before Git writes them to `MERGE_HEAD`.
    pub merged: Vec<String>,
}

/// What a path leads to, in a commit, in the index or on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file that is not executable.
    File,
    /// An executable file.
    Executable,
    /// A symbolic link: its content is the path that it leads to.
    Symlink,
    /// A commit of another repository; it has no content here.
    Submodule,
}

impl Kind {
    fn of(kind: EntryKind) -> Option<Self> {
        match kind {
            EntryKind::Blob => Some(Self::File),
            EntryKind::BlobExecutable => Some(Self::Executable),
            EntryKind::Link => Some(Self::Symlink),
            EntryKind::Commit => Some(Self::Submodule),
            EntryKind::Tree => None,
        }
    }
}

/// One side of a change. [`Contents::read`] gives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    kind: Kind,
    id: Option<ObjectId>,
    /// Where its bytes are on the disk, below the top; otherwise they are an object of the repository.
    on_disk: Option<BString>,
}

impl Side {
    fn object(kind: Kind, id: ObjectId) -> Self {
        Self { kind, id: Some(id), on_disk: None }
    }

    fn on_disk(kind: Kind, id: Option<ObjectId>, path: &BStr) -> Self {
        Self { kind, id, on_disk: Some(path.to_owned()) }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Git's id of the object, in hexadecimal digits; for a submodule, of its commit. `None` for a file on the disk
    /// whose id nobody had to know.
    pub fn id(&self) -> Option<String> {
        self.id.map(|id| id.to_string())
    }

    /// Whether both are the same, as far as the ids are known.
    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id.is_some() && self.id == other.id
    }
}

/// A path that was created, deleted or changed, its executable bit or kind included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// From the top of the working tree, its parts separated by `/`.
    pub path: String,
    /// What it was; `None` if there was nothing.
    pub old: Option<Side>,
    /// What it is; `None` if there is nothing any more.
    pub new: Option<Side>,
    /// What it was in each commit that is being merged, none of which is as `new`. Empty where not asked for, and where
    /// nothing is being merged.
    pub merged: Vec<Option<Side>>,
}

/// A path that may have changed, of which cannot be said how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// From the top of the working tree; what is not UTF-8 in it is U+FFFD.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

/// Why it cannot be said how a path has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has a conflict that a merge left and that `git add` has not settled.
    Conflicted,
    /// It is not UTF-8, so there is no address for it.
    NotUtf8,
}

/// All that has changed, each in the order of the paths' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// What is known.
    pub files: Vec<FileChange>,
    /// What is not.
    pub unsettled: Vec<Unsettled>,
}

/// Why it is not known what has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangesError {
    /// There is no Git repository.
    #[error("{} is not in a Git repository; changes are known only there", start.display())]
    NotGit {
        /// Where the search began.
        start: PathBuf,
    },
    /// The repository has a format that is not known here.
    #[error(
        "{} has {setting} = {value}, which muse does not read; name what you change with `muse coord check ADDRESS`",
        git_dir.display()
    )]
    Unsupported {
        /// Git's folder.
        git_dir: PathBuf,
        /// The setting in its configuration.
        setting: &'static str,
        /// The setting's value.
        value: String,
    },
    /// Git's files lead nowhere or cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The repository has no working tree to look at.
    #[error("{} has no working tree; run this in one", git_dir.display())]
    NoWorkingTree {
        /// Git's folder.
        git_dir: PathBuf,
    },
    /// A revision is unknown or ambiguous, or is not a commit.
    #[error("{revision} is not a commit of {}: {source}; see `git rev-parse --verify {revision}`", git_dir.display())]
    Revision {
        /// Git's folder.
        git_dir: PathBuf,
        /// As it was given.
        revision: String,
        /// What is wrong with it.
        source: Source,
    },
    /// What Git gave to the hook `pre-push` is not what it gives.
    #[error("a line of pre-push's input is {line:?}; it has to be LOCAL-REF LOCAL-ID REMOTE-REF REMOTE-ID")]
    PushLine {
        /// The line; what is not UTF-8 in it is U+FFFD.
        line: String,
    },
    /// Something of Git's cannot be read or makes no sense.
    #[error("cannot {operation} {}: {source}; `git status` and `git fsck` must work there", path.display())]
    Unreadable {
        /// What was tried: a verb with its object, as in "read the index".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: Source,
    },
}

/// What lies behind an error.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What was, and what is, at each path that differs.
type Differences = BTreeMap<BString, (Option<Side>, Option<Side>)>;

/// A Git repository, opened to ask what has changed in it.
///
/// What a hook needs ([`staged`](Self::staged), [`outgoing`](Self::outgoing)) reads the repository alone: no
/// file of the working tree, no configuration of the user's, no attributes. Looking at the working tree does what
/// `git status` does: it reads the user's and the system's configuration (found by `HOME` and `XDG_CONFIG_HOME`) for
/// what is ignored and how lines end, and runs the clean filter that the configuration names (Git LFS, say) for a file
/// whose size or time is not as the index says. Filters named in the configuration of a repository that belongs to
/// another user are not run: `safe.directory` is not asked, for nothing else could be made to run.
#[derive(Debug)]
pub struct Changes {
    repository: gix::Repository,
    top: Option<PathBuf>,
    index_file: PathBuf,
    /// What the environment says is being merged.
    merged: Vec<String>,
    /// The repository with the user's configuration, opened when the working tree is looked at.
    configured: OnceCell<gix::Repository>,
}

impl Changes {
    /// Opens the repository that the environment names, else the one that `start` is in. `start` is absolute, free of
    /// symbolic links, and where a relative path in the environment begins.
    ///
    /// # Errors
    ///
    /// There is none, or it has a format that is not known here: SHA-256 or reftable.
    pub fn open(start: &Path, environment: &GitEnvironment) -> Result<Self, ChangesError> {
        let found = match &environment.git_dir {
            Some(git_dir) => GitFolders::at(&start.join(git_dir))?.map(|folders| (start.to_owned(), folders)),
            None => GitFolders::enclosing_with_top(start)?,
        };
        let (found, folders) = found.ok_or_else(|| ChangesError::NotGit { start: start.to_owned() })?;
        let git_dir = folders.git_dir();
        // A reftable would look like a repository without a commit.
        if let Some((setting, value)) = git::unsupported_format(folders.common_dir())? {
            return Err(ChangesError::Unsupported { git_dir: git_dir.to_owned(), setting, value });
        }
        let repository = open(git_dir, gix::open::Permissions::isolated())?;

        let is_bare = repository.is_bare();
        let top = match (&environment.work_tree, repository.workdir()) {
            (Some(top), _) => Some(start.join(top)),
            (None, Some(top)) => Some(top.to_owned()),
            // As Git has it where `GIT_DIR` alone is set.
            (None, None) => Some(found).filter(|_| !is_bare),
        };
        let top = top
            .map(|top| top.canonicalize().map_err(|source| unreadable("look at", &top, source)))
            .transpose()?;
        let hooks_run_in = top.as_deref().unwrap_or(git_dir);
        let index_file = match &environment.index_file {
            Some(file) => hooks_run_in.join(file),
            None => repository.git_dir().join("index"),
        };
        let merged = environment.merged.clone();
        Ok(Self { repository, top, index_file, merged, configured: OnceCell::new() })
    }

    /// The folder that paths are relative to, absolute and free of symbolic links; `None` in a bare repository. It is
    /// not always the folder that addresses are relative to.
    pub fn top(&self) -> Option<&Path> {
        self.top.as_deref()
    }

    /// Reads the bytes of what has changed.
    pub fn contents(&self) -> Contents<'_> {
        Contents::new(self)
    }

    /// What is staged: the index against `HEAD`, against nothing where there is no commit yet. As `git diff --cached`
    /// has it, `git add --intent-to-add` stages nothing.
    ///
    /// # Errors
    ///
    /// The index, `HEAD` or a tree cannot be read.
    pub fn staged(&self) -> Result<ChangeSet, ChangesError> {
        let index = self.index()?;
        let (differences, unsettled) = self.tree_against_index(self.head_tree()?, &index)?;
        Ok(settled(differences, &unsettled))
    }

    /// The tree of `HEAD`; none where there is no commit yet.
    fn head_tree(&self) -> Result<Option<ObjectId>, ChangesError> {
        let unreadable = |error: gix::Error| unreadable("read HEAD in", self.git_dir(), error);
        let mut head = self.repository.head().map_err(unreadable)?;
        if head.is_unborn() {
            return Ok(None);
        }
        let tree = head.peel_to_commit().and_then(|commit| commit.tree_id().map(gix::Id::detach));
        tree.map(Some).map_err(unreadable)
    }

    fn index(&self) -> Result<gix::index::File, ChangesError> {
        let options = gix::index::decode::Options::default();
        // As Git does, without verifying the checksum.
        gix::index::File::at_or_default(&self.index_file, gix::hash::Kind::Sha1, true, options)
            .map_err(|error| unreadable("read the index", &self.index_file, error))
    }

    fn git_dir(&self) -> &Path {
        self.repository.git_dir()
    }
}

/// What is known, with its paths as text, and what is not.
fn settled(differences: Differences, unsettled: &[BString]) -> ChangeSet {
    let mut set = ChangeSet::default();
    let not_settled = |path: &BStr, reason| Unsettled { path: path.to_string(), reason };
    set.unsettled.extend(unsettled.iter().map(|path| not_settled(path.as_ref(), Reason::Conflicted)));
    for (path, (old, new)) in differences {
        match String::from_utf8(path.into()) {
            Ok(path) => set.files.push(FileChange { path, old, new, merged: Vec::new() }),
            Err(error) => set.unsettled.push(not_settled(error.as_bytes().into(), Reason::NotUtf8)),
        }
    }
    set.unsettled.sort_by(|one, other| one.path.cmp(&other.path));
    set
}

fn open(git_dir: &Path, permissions: gix::open::Permissions) -> Result<gix::Repository, ChangesError> {
    let options = gix::open::Options::default().permissions(permissions).open_path_as_is(true);
    gix::open_opts(git_dir, options).map_err(|error| unreadable("open", git_dir, error))
}

fn unreadable(operation: &'static str, path: &Path, source: impl Into<Source>) -> ChangesError {
    ChangesError::Unreadable { operation, path: path.to_owned(), source: source.into() }
}

/// An error of the operating system with what it was about.
fn io_unreadable(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ChangesError {
    move |source| unreadable(operation, path, source)
}
