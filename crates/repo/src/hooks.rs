//! Where Git looks for the hooks of a working tree: `core.hooksPath`, else `hooks` in the folder that all worktrees
//! share.

use std::path::{Path, PathBuf};

use crate::changes::ChangesError;
use crate::git::{self, DOT_GIT, GitFolders};
use crate::{Source, disk};

/// The setting that names the folder of the hooks.
const SETTING: &str = "core.hooksPath";

/// The folder in which Git looks for hooks, as `git rev-parse --git-path hooks` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HooksFolder {
    path: PathBuf,
    default: PathBuf,
    top: Option<PathBuf>,
    configured_in: Option<String>,
    is_own: bool,
}

impl HooksFolder {
    /// Tells the folder for the repository that `start` is in. `start` is absolute and free of symbolic links.
    ///
    /// Reads the configuration as Git does: the system's, the user's (found by `HOME` and `XDG_CONFIG_HOME`), the
    /// repository's and the worktree's own, with what they include. Nothing in it is executed.
    ///
    /// # Errors
    ///
    /// There is no Git repository, its format is not known here (SHA-256, reftable), or its files or the configuration
    /// cannot be read.
    pub fn find(start: &Path) -> Result<Self, ChangesError> {
        let found = GitFolders::enclosing_with_top(start)?;
        let (found, folders) = found.ok_or_else(|| ChangesError::NotGit { start: start.to_owned() })?;
        let (git_dir, common_dir) = (folders.git_dir(), folders.common_dir());
        if let Some((setting, value)) = git::unsupported_format(common_dir)? {
            return Err(ChangesError::Unsupported { git_dir: git_dir.to_owned(), setting, value });
        }
        let unreadable = |source: Source| ChangesError::Unreadable {
            operation: "read the configuration of",
            path: git_dir.to_owned(),
            source,
        };
        // Whose files these are decides nothing: what is read here is a path to show and to write to.
        let options = gix::open::Options::default()
            .permissions(gix::open::Permissions::all())
            .open_path_as_is(true)
            .with(gix::sec::Trust::Full);
        let repository = gix::open_opts(git_dir, options).map_err(|error| unreadable(error.into()))?;
        let top = if repository.is_bare() {
            None
        } else {
            Some(disk::physical(repository.workdir().unwrap_or(&found).to_owned()))
        };
        let configuration = repository.config_snapshot();
        let configured = configuration.trusted_path(SETTING).map_err(|error| unreadable(error.into()))?;
        let default = common_dir.join("hooks");
        let (path, configured_in) = match configured {
            // Hooks run at the top of the working tree, and in the Git folder where there is none.
            Some(path) => {
                let path = disk::physical(top.as_deref().unwrap_or(git_dir).join(path));
                (path, Some(origin(configuration.plumbing())))
            }
            None => (default.clone(), None),
        };
        // The main working tree, of which a linked one is a part as well.
        let main = common_dir.parent().filter(|_| common_dir.ends_with(DOT_GIT));
        let own = [top.as_deref(), Some(common_dir), main];
        let is_own = own.into_iter().flatten().any(|own| path.starts_with(own));
        Ok(Self { path, default, top, configured_in, is_own })
    }

    /// The folder: absolute. It need not exist, and need not be a folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder, and the one that Git would look into if nothing were set, where that is another.
    pub fn all(&self) -> Vec<&Path> {
        let mut all = vec![self.path(), &self.default];
        all.dedup();
        all
    }

    /// The top of the working tree, where Git runs hooks: absolute, free of symbolic links. `None` in a bare
    /// repository.
    pub fn top(&self) -> Option<&Path> {
        self.top.as_deref()
    }

    /// Where `core.hooksPath` is set: a file, or a word such as "the environment". `None` if it is not set.
    pub fn configured_in(&self) -> Option<&str> {
        self.configured_in.as_deref()
    }

    /// Whether the folder lies in this repository: in this working tree, in the main one, or in the Git folder. Another
    /// repository may use it otherwise.
    pub fn is_own(&self) -> bool {
        self.is_own
    }
}

/// The file that the setting is in, for people.
fn origin(configuration: &gix::config::File) -> String {
    let mut found = None;
    for section in configuration.sections_by_name("core").into_iter().flatten() {
        if section.header().subsection_name().is_none() && section.value("hooksPath").is_some() {
            found = Some(section.meta());
        }
    }
    match found.map(|meta| meta.path.as_ref()) {
        Some(Some(path)) => path.display().to_string(),
        Some(None) | None => "the environment".to_owned(),
    }
}
