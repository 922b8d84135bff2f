//! The few facts about a Git repository that decide where a store is, read from its files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::{self, CONFIG_BYTES_MAX, Entry, SMALL_FILE_BYTES_MAX, is_missing};
use crate::error::GitError;
use crate::head::HEAD_FILE;

/// Name of Git's folder, or of the file that leads to it.
pub(crate) const DOT_GIT: &str = ".git";

/// Where Git keeps what belongs to a working tree, and what all worktrees of its repository share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitFolders {
    git_dir: PathBuf,
    common_dir: PathBuf,
    is_linked: bool,
}

impl GitFolders {
    /// The Git folder of this working tree alone, absolute: it holds its `HEAD`.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The Git folder that all worktrees of the repository share, absolute. The same as
    /// [`git_dir`](Self::git_dir) for the main working tree and for a bare repository.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Whether this is a linked worktree, as `git worktree add` makes it.
    pub fn is_linked(&self) -> bool {
        self.is_linked
    }

    /// Tells the Git folders of `top`, itself a working tree or a bare repository. `top` is free of symbolic links.
    ///
    /// A `.git` that is a folder without a `HEAD` is none of Git's.
    pub(crate) fn of(top: &Path) -> Result<Option<Self>, GitError> {
        let dot_git = top.join(DOT_GIT);
        // Git follows a symbolic link here, and so do we.
        let metadata = match fs::metadata(&dot_git) {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => return Self::of_bare(top),
            Err(error) => return Err(io_error("look at", dot_git)(error)),
        };
        Self::named(&dot_git, &metadata)
    }

    /// Tells Git's folders where `dot_git` is the first of them, as `GIT_DIR` names it, or a file that leads there.
    pub(crate) fn at(dot_git: &Path) -> Result<Option<Self>, GitError> {
        match fs::metadata(dot_git) {
            Ok(metadata) => Self::named(dot_git, &metadata),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(io_error("look at", dot_git)(error)),
        }
    }

    fn named(dot_git: &Path, metadata: &fs::Metadata) -> Result<Option<Self>, GitError> {
        let git_dir = if metadata.is_dir() {
            if entry(&dot_git.join(HEAD_FILE))? == Entry::Missing {
                return Ok(None);
            }
            if metadata_is_link(dot_git)? { canonical(dot_git, dot_git)? } else { dot_git.to_owned() }
        } else {
            let content = disk::read_at_most(dot_git, SMALL_FILE_BYTES_MAX)
                .map_err(io_error("read", dot_git))?
                .unwrap_or_default();
            let target = gix::discover::parse::gitdir(&content)
                .map_err(|error| GitError::Damaged { path: dot_git.to_owned(), source: error.into() })?;
            canonical(dot_git, &dot_git.parent().unwrap_or(Path::new("")).join(target))?
        };
        let common_dir_file = git_dir.join("commondir");
        match gix::discover::path::from_plain_file_relative_to_file(&common_dir_file) {
            None => Ok(Some(Self { common_dir: git_dir.clone(), git_dir, is_linked: false })),
            Some(Ok(common_dir)) => {
                let common_dir = canonical(&common_dir_file, &common_dir)?;
                Ok(Some(Self { git_dir, common_dir, is_linked: true }))
            }
            Some(Err(source)) if source.kind() == std::io::ErrorKind::InvalidData => {
                Err(GitError::Damaged { path: common_dir_file, source: source.into() })
            }
            Some(Err(source)) => Err(io_error("read", common_dir_file)(source)),
        }
    }

    fn of_bare(folder: &Path) -> Result<Option<Self>, GitError> {
        let folders = Self { git_dir: folder.to_owned(), common_dir: folder.to_owned(), is_linked: false };
        Ok(is_bare_repository(folder)?.then_some(folders))
    }

    /// Tells the Git folders of the working tree that `folder` is in. `folder` is free of symbolic links.
    pub(crate) fn enclosing(folder: &Path) -> Result<Option<Self>, GitError> {
        Ok(Self::enclosing_with_top(folder)?.map(|(_, folders)| folders))
    }

    /// As [`enclosing`](Self::enclosing), with the working tree or bare repository itself.
    pub(crate) fn enclosing_with_top(folder: &Path) -> Result<Option<(PathBuf, Self)>, GitError> {
        for folder in folder.ancestors() {
            if let Some(folders) = Self::of(folder)? {
                return Ok(Some((folder.to_owned(), folders)));
            }
        }
        Ok(None)
    }
}

/// Where all worktrees of a repository look for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// In this folder: the main working tree, or a bare repository. It need not exist.
    Folder(PathBuf),
    /// In the main working tree, of which Git does not record where it is.
    Unrecorded,
}

/// Tells in which folder the store of `folders` is, seen from the working tree `top` that they belong to.
pub(crate) fn home(top: &Path, folders: &GitFolders) -> Result<Home, GitError> {
    let common_dir = &folders.common_dir;
    if !folders.is_linked && *common_dir != top.join(DOT_GIT) {
        // `git clone --bare URL .bare` and a file `.git` that leads there, with worktrees beside it.
        let leads_to_bare = common_dir != top && Settings::read(common_dir)?.is_bare(false);
        // Otherwise a bare repository itself, a submodule, the main tree of `--separate-git-dir`.
        return Ok(Home::Folder(if leads_to_bare { common_dir.clone() } else { top.to_owned() }));
    }
    let settings = Settings::read(common_dir)?;
    if let Some(parent) = common_dir.parent().filter(|_| is_named_dot_git(common_dir)) {
        // `git clone --bare URL .git` and worktrees beside it. Where a store lies beside `.git` all the same, it is
        // the one that a search from there finds: two stores in one repository would not see each other.
        let store_beside = || entry(&parent.join(crate::STORE_FOLDER));
        let bare = settings.is_bare(false) && store_beside()? == Entry::Missing;
        return Ok(Home::Folder(if bare { common_dir.clone() } else { parent.to_owned() }));
    }
    if let Some(worktree) = settings.worktree {
        // A submodule says so, and a Git folder with a working tree elsewhere.
        return Ok(Home::Folder(disk::physical(common_dir.join(worktree))));
    }
    if settings.is_bare(true) { Ok(Home::Folder(common_dir.clone())) } else { Ok(Home::Unrecorded) }
}

/// Whether `folder` is a bare repository itself. One `lstat` where it is not.
pub(crate) fn is_bare_repository(folder: &Path) -> Result<bool, GitError> {
    if entry(&folder.join(HEAD_FILE))? == Entry::Missing
        || entry(&folder.join("objects"))? == Entry::Missing
        || entry(&folder.join("refs"))? == Entry::Missing
    {
        return Ok(false);
    }
    Ok(Settings::read(folder)?.is_bare(true))
}

pub(crate) fn is_named_dot_git(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == DOT_GIT)
}

/// A setting with which a repository has a format that gix, as it is built here, does not read, and its value.
pub(crate) fn unsupported_format(common_dir: &Path) -> Result<Option<(&'static str, String)>, GitError> {
    let Some(config) = read_config(&common_dir.join("config"))? else { return Ok(None) };
    for (setting, supported) in [("extensions.objectFormat", "sha1"), ("extensions.refStorage", "files")] {
        if let Some(value) = config.string(setting)
            && !value.eq_ignore_ascii_case(supported.as_bytes())
        {
            return Ok(Some((setting, value.to_string())));
        }
    }
    Ok(None)
}

pub(crate) fn read_config(path: &Path) -> Result<Option<gix::config::File>, GitError> {
    let content = disk::read_at_most(path, CONFIG_BYTES_MAX).map_err(io_error("read", path))?;
    let Some(content) = content else { return Ok(None) };
    let options = gix::config::file::init::Options::default();
    let metadata = gix::config::file::Metadata::api();
    let config = gix::config::File::from_bytes_no_includes(&content, metadata, options);
    config.map(Some).map_err(|error| GitError::Damaged { path: path.to_owned(), source: error.into() })
}

/// What a repository's configuration says about its working tree.
#[derive(Debug, Default)]
struct Settings {
    bare: Option<bool>,
    worktree: Option<PathBuf>,
}

impl Settings {
    /// Reads `config` and, where that says so, `config.worktree`, which is the main working tree's own.
    fn read(common_dir: &Path) -> Result<Self, GitError> {
        let mut settings = Self::default();
        let has_worktree_config = settings.add(&common_dir.join("config"))?;
        if has_worktree_config {
            settings.add(&common_dir.join("config.worktree"))?;
        }
        Ok(settings)
    }

    /// Takes over what the file at `path` says, and tells whether it turns on `extensions.worktreeConfig`.
    fn add(&mut self, path: &Path) -> Result<bool, GitError> {
        let Some(config) = read_config(path)? else { return Ok(false) };
        let damaged = |error: gix::Error| GitError::Damaged { path: path.to_owned(), source: error.into() };
        if let Some(bare) = config.boolean("core.bare").map_err(damaged)? {
            self.bare = Some(bare);
        }
        if let Some(worktree) = config.string("core.worktree") {
            let worktree = gix::path::from_bstring(worktree)
                .map_err(|error| GitError::Damaged { path: path.to_owned(), source: error.into() })?;
            self.worktree = Some(worktree);
        }
        Ok(config.boolean("extensions.worktreeConfig").map_err(damaged)?.unwrap_or_default())
    }

    /// Whether the repository has no main working tree; `otherwise` where it does not say so, which Git does not
    /// leave out in repositories that it makes.
    fn is_bare(&self, otherwise: bool) -> bool {
        self.worktree.is_none() && self.bare.unwrap_or(otherwise)
    }
}

fn entry(path: &Path) -> Result<Entry, GitError> {
    disk::entry(path).map_err(io_error("look at", path))
}

fn metadata_is_link(path: &Path) -> Result<bool, GitError> {
    Ok(entry(path)? == Entry::Other)
}

/// `target`, which `file` leads to, without symbolic links and `..`.
fn canonical(file: &Path, target: &Path) -> Result<PathBuf, GitError> {
    target.canonicalize().map_err(|error| {
        if is_missing(&error) {
            GitError::DeadLink { file: file.to_owned(), target: target.to_owned() }
        } else {
            io_error("look at", target)(error)
        }
    })
}

fn io_error(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> GitError {
    move |source| GitError::Io { operation, path: path.into(), source }
}
