//! The files of an edit: where they are in the working tree, and what they hold before and after it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use muse_coord::address::AddressError;
use muse_coord::{Address, Request, Stopwatch};
use muse_guard::edit::After;
use muse_guard::{Edit, Footprint, Reason, Unclear, limits};
use muse_repo::Repository;
use muse_symbols::{Limits, Unread, Why};

use crate::context::is_top;

/// How long all files of one edit may take to be read, in all its repositories. Beyond that a file counts as a whole.
const TIME_MAX: Duration = Duration::from_millis(1500);

/// The files of an edit, each once.
pub(super) struct Files<'a> {
    repository: &'a Repository,
    /// The folder that paths are relative to.
    folder: &'a Path,
    all: Vec<File>,
}

struct File {
    /// Relative to the top of its working tree.
    path: String,
    before: Option<Vec<u8>>,
    after: Content,
}

/// What a file holds.
enum Content {
    /// These bytes, or it is not there.
    Known(Option<Vec<u8>>),
    Unknown(Reason),
}

impl<'a> Files<'a> {
    pub(super) fn new(repository: &'a Repository, folder: &'a Path) -> Files<'a> {
        Files { repository, folder, all: Vec::new() }
    }

    /// Follows one more edit. One of a file outside the repository is none of ours.
    pub(super) fn follow(&mut self, edit: &Edit) -> Result<(), String> {
        let real = physical(&self.folder.join(&edit.path));
        let Some(below) = below(self.repository, &real) else { return Ok(()) };
        let path = below.to_str().map(str::to_owned);
        let path = path.ok_or_else(|| format!("{} is not valid UTF-8, and addresses are", real.display()))?;
        let known = self.all.iter().position(|file| file.path == path);
        let position = known.unwrap_or(self.all.len());
        if known.is_none() {
            let (before, after) = match read(&real) {
                Ok(bytes) => (bytes.clone(), Content::Known(bytes)),
                Err(reason) => (None, Content::Unknown(reason)),
            };
            self.all.push(File { path, before, after });
        }
        let file = &mut self.all[position];
        if let Content::Known(bytes) = &file.after {
            file.after = match edit.change.apply(bytes.as_deref()) {
                After::Bytes(bytes) => Content::Known(Some(bytes)),
                After::Gone => Content::Known(None),
                After::Unclear(unclear) => Content::Unknown(unclear.into()),
            };
        }
        Ok(())
    }

    /// The files as addresses, without those that can have none.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.all.iter().filter_map(|file| Address::of_file(&file.path).ok()).collect()
    }

    /// What the edits touch; `clock` began with the first file that was read for them, in whatever repository.
    pub(super) fn footprint(&self, clock: &Stopwatch) -> Result<Footprint, String> {
        let mut footprint = Footprint::default();
        for file in &self.all {
            let left = TIME_MAX.saturating_sub(clock.elapsed());
            let limits = Limits { time_max: limits().time_max.map(|most| most.min(left)), ..limits() };
            unless_private(match &file.after {
                Content::Known(after) if left > Duration::ZERO => {
                    footprint.add(&file.path, file.before.as_deref(), after.as_deref(), &limits)
                }
                Content::Known(_) => footprint.add_whole(&file.path, Why::Unread(Unread::TooSlow)),
                Content::Unknown(reason) => footprint.add_whole(&file.path, *reason),
            })?;
        }
        if footprint.exclusive().len().max(footprint.shared().len()) <= Request::ADDRESSES_MAX {
            return Ok(footprint);
        }
        // More than can be asked for at once.
        let mut whole = Footprint::default();
        for file in &self.all {
            unless_private(whole.add_whole(&file.path, Unclear::TooLarge))?;
        }
        Ok(whole)
    }
}

/// Whether a file can have an address of this repository's store.
pub(super) fn is_in(repository: &Repository, real: &Path) -> bool {
    below(repository, real).is_some()
}

/// The path that addresses have; `None` where no address of this store is.
fn below(repository: &Repository, real: &Path) -> Option<PathBuf> {
    let below =
        |top: &Path| real.strip_prefix(top).ok().filter(|below| *below != Path::new("")).map(Path::to_owned);
    let top = repository.top();
    let is_own = |below: &PathBuf| {
        // The file itself is no folder.
        let folders = below.ancestors().skip(1).filter(|folder| *folder != Path::new(""));
        !folders.map(|folder| top.join(folder)).any(|folder| is_top(&folder))
    };
    below(top).filter(is_own).or_else(|| {
        // In another working tree, which may have the same store.
        let other = Repository::find(nearest_folder(real)?, None).ok()?;
        if other.store() == repository.store() { below(other.top()) } else { None }
    })
}

/// The folder that a file is in, or the first above it that is there.
pub(super) fn nearest_folder(real: &Path) -> Option<&Path> {
    real.ancestors().skip(1).find(|folder| folder.is_dir())
}

/// A file in `.git` or `.muse` is never reserved.
fn unless_private(added: Result<(), AddressError>) -> Result<(), String> {
    match added {
        Ok(()) | Err(AddressError::Private { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a file holds; `None` if there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Reason> {
    let is_missing =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let unreadable = Reason::from(Unclear::Unreadable);
    match path.metadata() {
        Err(error) if is_missing(&error) => return Ok(None),
        // What is no file could keep its reader waiting.
        Ok(metadata) if metadata.is_file() => {
            let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
            let bytes_max = limits().bytes_max;
            if bytes > bytes_max {
                return Err(Why::Unread(Unread::TooLarge { bytes, bytes_max }).into());
            }
        }
        _ => return Err(unreadable),
    }
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(_) => Err(unreadable),
    }
}

/// The path without symbolic links and `..`, as far as it is there; the rest by its text.
pub(super) fn physical(path: &Path) -> PathBuf {
    for folder in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (folder.canonicalize(), path.strip_prefix(folder)) {
            return rest.components().fold(real, |mut path, component| {
                match component {
                    Component::Normal(name) => path.push(name),
                    Component::ParentDir => {
                        path.pop();
                    }
                    Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
                }
                path
            });
        }
    }
    path.to_owned()
}
