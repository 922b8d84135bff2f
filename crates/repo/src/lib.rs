//! Where a repository, its worktrees and its muse store are.
//!
//! [`Repository::find`] answers, for a folder, which folder addresses are relative to and where the store is;
//! [`Repository::branch`] answers what is checked out there; [`init()`] makes the place of the store. All worktrees
//! of one Git repository come to one store. The crate knows nothing of what lies in the store. [`Changes`] tells what
//! has changed in a working tree, in the index, or by a push, [`HooksFolder`] where Git looks for hooks, and
//! [`Repository::identity`] a name that all clones derive alike.
//!
//! Finding is on the path of every command, so the common case (a folder `.muse` here or above) looks at no Git
//! data. Nothing of that reads the environment, the user's or the system's Git configuration, or starts a process, and
//! what is read (`HEAD`, `config`, `commondir`, `.git` files) is never executed or followed into filters or hooks:
//! therefore a repository that belongs to another user is served too, `safe.directory` notwithstanding. The same is so
//! of [`Changes`] but where it compares files on the disk, as it says.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let start = folder.path().canonicalize()?;
//! let initialised = muse_repo::init(&start, None)?;
//! assert!(initialised.created);
//!
//! let repository = muse_repo::Repository::find(&start, None)?;
//! assert_eq!(repository.top(), start);
//! assert_eq!(repository.store(), start.join(muse_repo::STORE_FOLDER));
//! assert_eq!(repository.branch()?, None);
//! # Ok(())
//! # }
//! ```
//!
//! # Limitations
//!
//! - `include` and `includeIf` in a repository's `config` are not followed when `core.bare` and `core.worktree` are
//!   looked up.
//! - Where Git keeps its references as a reftable, the branch is unknown (`None`).
//! - `GIT_DIR` and `GIT_WORK_TREE` change nothing about where the store is; [`Changes`] heeds them.
//! - [`Changes`] and [`Repository::identity`] refuse a repository with SHA-256 or with a reftable.
//! - [`Repository::identity`] takes the remote's URL as it is written: `url.*.insteadOf` is not followed.

mod changes;
mod disk;
mod error;
mod find;
mod git;
mod head;
mod hooks;
mod identity;
mod init;
mod mark;
mod note;
mod publish;
mod scratch;

pub use changes::{
    ChangeSet, Changes, ChangesError, Content, Contents, FileChange, GitEnvironment, Kind, Reason, Side,
    Source, Unsettled,
};
pub use error::{BranchError, FindError, GitError, InitError, MarkError, NotARepository};
pub use find::Repository;
pub use git::GitFolders;
pub use hooks::HooksFolder;
pub use identity::{Identity, IdentityError};
pub use init::{Initialised, init};
pub use mark::MARK_FILE;
pub use scratch::{Scratch, ScratchError, scratch};

/// Name of the folder that makes a folder a repository here, and that holds the store.
pub const STORE_FOLDER: &str = ".muse";

/// Name of the folder inside [`STORE_FOLDER`] that holds the reservations.
pub const COORDINATION_FOLDER: &str = "coordination";
