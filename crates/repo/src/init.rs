//! Making the place of the store: what `muse init` does before an engine fills it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Entry};
use crate::error::{FindError, InitError, NotARepository};
use crate::find::{Place, Repository, holds_folder, marked_folder};
use crate::git::{GitFolders, Home};
use crate::mark::{self, LeaveError, MARK_FILE};
use crate::{COORDINATION_FOLDER, STORE_FOLDER, publish};

/// Name of the file that keeps the store out of `git status`.
const IGNORE_FILE: &str = ".gitignore";

/// Its content: everything in the store, itself included.
const IGNORE_ALL: &[u8] = b"*\n";

/// The place of a store, made by [`init`].
#[derive(Clone, Debug)]
#[must_use = "the mark is still to be left, after the engine made its folder: call `leave_mark`"]
pub struct Initialised {
    /// The repository, as [`Repository::find`] finds it from now on.
    pub repository: Repository,
    /// Whether this call made the folder `.muse`.
    pub created: bool,
    /// Whether a mark says that there had been a store, and there was none: its reservations are lost.
    pub replaced_lost_store: bool,
    /// The mark to leave. None outside Git, and where the store is not the one that all worktrees share.
    mark: Option<PathBuf>,
}

/// Makes the folder `.muse` where [`Repository::find`] looks for it, with a `.gitignore` inside Git.
///
/// `start` is the current directory as the kernel tells it: absolute and without symbolic links. `root` is the value of `MUSE_REPO_ROOT` if that is set and not empty;
/// a relative one is seen from `start`. The place is `root`, if given, an existing folder. Otherwise it is the first
/// folder, from `start` upwards, that holds `.muse`; or that holds `.git` or is a bare Git repository, and then, for a
/// linked worktree, the main working tree, and for a bare repository its Git folder. If there is nothing of it, it is
/// `start`.
///
/// What is there already is left as it is, so that a second call changes nothing, and one after a call that was
/// killed completes it. The folder `coordination` is left to the engine; [`Initialised::leave_mark`] comes after it.
///
/// # Errors
///
/// - [`InitError::Find`]: `root` is no folder, `.muse` is a file or a symbolic link, Git's files cannot be read, or
///   the main working tree of a linked one is not known.
/// - [`InitError::Io`]: the folder or its `.gitignore` cannot be made.
pub fn init(start: &Path, root: Option<&Path>) -> Result<Initialised, InitError> {
    let no = |reason| FindError::NotARepository { start: start.to_owned(), reason };
    let (top, home, common_dir) = match Place::look_up(start, root)? {
        Place::Store { top } | Place::Root { root: top } => (top.clone(), top.clone(), marked_folder(&top)?),
        Place::Git { top, home: Home::Folder(home), folders } => {
            (top, home, Some(folders.common_dir().to_owned()))
        }
        Place::Git { top, home: Home::Unrecorded, folders } => {
            let common_dir = folders.common_dir().to_owned();
            let Some(mark) = mark::present(&common_dir)? else {
                return Err(no(NotARepository::MainWorktreeUnknown { common_dir }).into());
            };
            (top, mark::store_home(&mark)?, Some(common_dir))
        }
        Place::DotGit { top } | Place::Nothing { start: top } => (top.clone(), top, None),
        Place::RootMissing { root } => return Err(no(NotARepository::RootMissing { root }).into()),
    };

    let created = make_store_folder(&home)?;
    let repository = Repository::new(top, &home);
    let store = repository.store();
    if common_dir.is_some() || GitFolders::enclosing(&home)?.is_some() {
        make_ignore_file(store)?;
    }
    let mut replaced_lost_store = false;
    if let Some(common_dir) = &common_dir {
        replaced_lost_store =
            !holds_folder(store, COORDINATION_FOLDER)? && mark::present(common_dir)?.is_some();
    }
    let mark = common_dir.map(|common_dir| common_dir.join(MARK_FILE));
    Ok(Initialised { repository, created, replaced_lost_store, mark })
}

impl Initialised {
    /// Leaves the mark that tells a deleted store from one that was never there, in the Git folder that all worktrees
    /// share. Where there is one already, or where none belongs (outside Git; a store that `MUSE_REPO_ROOT` put
    /// elsewhere than the worktrees look), this does nothing.
    ///
    /// Called after the engine made the folder `coordination`: a mark without it says that the store is gone, and a
    /// process killed in between would leave just that.
    ///
    /// # Errors
    ///
    /// - [`InitError::NothingToMark`]: `coordination` does not exist.
    /// - [`InitError::Find`]: the mark there was written by a later version, or cannot be read.
    /// - [`InitError::Io`]: it cannot be written.
    pub fn leave_mark(&self) -> Result<(), InitError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        let store = self.repository.store();
        if !holds_folder(store, COORDINATION_FOLDER)? {
            return Err(InitError::NothingToMark { path: self.repository.coordination() });
        }
        mark::leave(mark, store).map_err(|error| match error {
            LeaveError::Mark(error) => error.into(),
            LeaveError::Io(source) => io_error("write", mark)(source),
        })
    }
}

/// Makes `.muse` in `home`, and tells whether it was missing.
fn make_store_folder(home: &Path) -> Result<bool, InitError> {
    let store = home.join(STORE_FOLDER);
    let created = !holds_folder(home, STORE_FOLDER)?
        && match fs::create_dir(&store) {
            Ok(()) => true,
            // Another `muse init` was faster, or something that is no folder came up just now.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && holds_folder(home, STORE_FOLDER)? =>
            {
                false
            }
            Err(source) => return Err(io_error("make", &store)(source)),
        };
    // Also what is there already: whoever made it may have been killed before it was synced.
    publish::sync_folder(home).map_err(io_error("sync", home))?;
    Ok(created)
}

/// Makes `.gitignore` in `store`, unless there is one, whatever it says.
fn make_ignore_file(store: &Path) -> Result<(), InitError> {
    let path = store.join(IGNORE_FILE);
    match disk::entry(&path) {
        Ok(Entry::Missing) => {
            publish::replace(store, IGNORE_FILE, IGNORE_ALL).map_err(io_error("write", &path))
        }
        Ok(Entry::Folder | Entry::Other) => publish::sync_folder(store).map_err(io_error("sync", store)),
        Err(source) => Err(io_error("look at", &path)(source)),
    }
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InitError {
    let path = path.to_owned();
    move |source| InitError::Io { operation, path, source }
}
