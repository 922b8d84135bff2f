//! What can go wrong, with the path, the operation and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::{COORDINATION_FOLDER, STORE_FOLDER};

/// Why a folder is not in a repository. Guards let such folders pass: nobody asked for them to be watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotARepository {
    /// There is neither `.muse` nor `.git` in the start folder or above it.
    #[error(
        "neither it nor a folder above it holds {STORE_FOLDER} or .git; run `muse init` in the top folder of the \
         code, or set MUSE_REPO_ROOT to it"
    )]
    NothingAbove,
    /// A Git working tree (or a bare Git repository) whose store was never made.
    #[error("there is no {}; run `muse init` to make it", store.display())]
    NoStore {
        /// Where the store was looked for, and where `muse init` makes it.
        store: PathBuf,
    },
    /// `MUSE_REPO_ROOT` names a folder without a store.
    #[error(
        "MUSE_REPO_ROOT is {}, which holds no folder {STORE_FOLDER}; unset or correct it (`muse init` would make a \
         store there that other worktrees do not see)", root.display()
    )]
    RootWithoutStore {
        /// The folder that `MUSE_REPO_ROOT` names, made absolute.
        root: PathBuf,
    },
    /// `MUSE_REPO_ROOT` names nothing that exists.
    #[error("MUSE_REPO_ROOT is {}, which is not a folder; correct or unset it", root.display())]
    RootMissing {
        /// The folder that `MUSE_REPO_ROOT` names, made absolute.
        root: PathBuf,
    },
    /// A linked worktree of a repository made with `git init --separate-git-dir`, in whose main working tree
    /// `muse init` never ran: Git does not record where that one is.
    #[error(
        "Git does not record where the main working tree of {} is; run `muse init` there once, not in a linked \
         worktree", common_dir.display()
    )]
    MainWorktreeUnknown {
        /// The Git folder that all worktrees share.
        common_dir: PathBuf,
    },
}

/// Git's own files could not be read or make no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// A `.git` file, or the `commondir` file behind it, leads to a folder that does not exist.
    #[error(
        "{} leads to {}, which does not exist; run `git worktree repair` in the main working tree", file.display(),
        target.display()
    )]
    DeadLink {
        /// The file that leads astray.
        file: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file of Git's has content that does not belong there.
    #[error("{} is damaged: {source}; correct it, `git status` must work again first", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system said no.
    #[error("cannot {operation} {}: {source}; check its permissions", path.display())]
    Io {
        /// What was tried: a verb, as in "read".
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The mark that `muse init` leaves in the Git folder cannot be used where its content is needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// It is not the JSON that it has to be.
    #[error("{} is damaged: {detail}; run `muse init` in the main working tree to write it anew", path.display())]
    Damaged {
        /// The mark.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A later version of this program wrote it.
    #[error("{} has schema version {found}, and this muse knows {known}; upgrade muse", path.display())]
    TooNew {
        /// The mark.
        path: PathBuf,
        /// The version that it has.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The operating system said no.
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Io {
        /// The mark.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why no repository was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The folder is in no repository that muse was asked to watch.
    #[error("{} is not in a muse repository: {reason}", start.display())]
    NotARepository {
        /// Where the search began.
        start: PathBuf,
        /// What was found instead, and what to do.
        reason: NotARepository,
    },
    /// There was a store, and it was deleted: `git clean -fdx` does that.
    #[error(
        "the store {} is gone, and with it every reservation made there (`git clean -fdx` deletes it): stop, tell \
         those who work here, and run `muse init` to make a new one", store.join(COORDINATION_FOLDER).display()
    )]
    StoreGone {
        /// The folder `.muse` that was looked for.
        store: PathBuf,
        /// The file in the Git folder that says that there was a store.
        mark: PathBuf,
    },
    /// A file or a symbolic link has the name of a folder of the store.
    #[error(
        "{} is not a folder but a file or a symbolic link, which is not followed; move it away, or make it a folder",
        path.display()
    )]
    NotAFolder {
        /// The file or link.
        path: PathBuf,
    },
    /// Git's own files are in the way.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The place of the store is known from the mark alone, and the mark cannot be read.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The operating system said no.
    #[error("cannot {operation} {}: {source}; check its permissions", path.display())]
    Io {
        /// What was tried: a verb, as in "look at".
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why the branch is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BranchError {
    /// Git's folders could not be found or read, or its `HEAD` says nothing that Git would.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The operating system said no to reading the store's `HEAD`.
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why the place of the store could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The place could not be determined.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The mark was to be left before the store was made: a program error, for such a mark says "gone" at once.
    #[error("{} does not exist yet, so nothing is there to mark; run `muse init` again", path.display())]
    NothingToMark {
        /// The folder that has to be there first.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("cannot {operation} {}: {source}; check its permissions and the space left, and run `muse init` again", path.display())]
    Io {
        /// What was tried: a verb, as in "write".
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl From<GitError> for InitError {
    fn from(error: GitError) -> Self {
        Self::Find(error.into())
    }
}

impl From<MarkError> for InitError {
    fn from(error: MarkError) -> Self {
        Self::Find(error.into())
    }
}
