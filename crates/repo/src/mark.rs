//! The mark that `muse init` leaves in the Git folder that all worktrees share.
//!
//! Its presence says that there was a store, so that a deleted one is told from one that was never there. Its
//! content says where: needed alone where Git does not record the main working tree (`--separate-git-dir`).

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{self, Entry, SMALL_FILE_BYTES_MAX};
use crate::error::{GitError, MarkError};
use crate::{STORE_FOLDER, publish};

/// Name of the mark, a JSON file in the Git folder that all worktrees share.
pub const MARK_FILE: &str = "muse-store.json";

/// The newest version of the mark that is known here.
const SCHEMA_VERSION: u32 = 1;

/// The content of the mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mark {
    schema_version: u32,
    /// The folder `.muse`, `/`-separated, relative to the folder of the mark where it can be. `None` where the path
    /// is not UTF-8.
    #[serde(default)]
    store: Option<String>,
    /// What later versions add.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// The path of the mark of a repository, if there is one.
pub(crate) fn present(common_dir: &Path) -> Result<Option<PathBuf>, GitError> {
    let path = common_dir.join(MARK_FILE);
    match disk::entry(&path) {
        Ok(Entry::Missing) => Ok(None),
        Ok(_) => Ok(Some(path)),
        Err(source) => Err(GitError::Io { operation: "look at", path, source }),
    }
}

/// Reads the mark at `path`; `None` if it is missing.
pub(crate) fn read(path: &Path) -> Result<Option<Mark>, MarkError> {
    let content = disk::read_at_most(path, SMALL_FILE_BYTES_MAX)
        .map_err(|source| MarkError::Io { path: path.to_owned(), source })?;
    let Some(content) = content else { return Ok(None) };
    let mark: Mark = serde_json::from_slice(&content)
        .map_err(|error| MarkError::Damaged { path: path.to_owned(), detail: error.to_string() })?;
    if mark.schema_version > SCHEMA_VERSION {
        return Err(MarkError::TooNew {
            path: path.to_owned(),
            found: mark.schema_version,
            known: SCHEMA_VERSION,
        });
    }
    Ok(Some(mark))
}

/// The folder that holds the store which the mark at `path` speaks of. It need not exist.
pub(crate) fn store_home(path: &Path) -> Result<PathBuf, MarkError> {
    let damaged = |detail: &str| MarkError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
    let mark = read(path)?.ok_or_else(|| damaged("it was removed just now"))?;
    let store = mark.store.ok_or_else(|| damaged("it does not say where the store is"))?;
    let store = Path::new(&store);
    let (Some(common_dir), Some(home)) = (path.parent(), store.parent()) else {
        return Err(damaged("it names no folder as the store"));
    };
    if store.file_name().is_none_or(|name| name != STORE_FOLDER) {
        return Err(damaged("the store that it names is not called .muse"));
    }
    Ok(disk::physical(common_dir.join(home)))
}

/// Writes the mark of `store` to `path`, or leaves the file alone where it says so already.
pub(crate) fn leave(path: &Path, store: &Path) -> Result<(), LeaveError> {
    let Some(common_dir) = path.parent() else { return Ok(()) };
    let store = relative(common_dir, store);
    let other = match read(path) {
        // Whoever left it may have been killed before it was synced.
        Ok(Some(mark)) if mark.store == store => return Ok(publish::sync_folder(common_dir)?),
        Ok(Some(mark)) => mark.other,
        // A damaged mark says nothing that is worth keeping. A newer one is not this version's to rewrite.
        Ok(None) | Err(MarkError::Damaged { .. }) => serde_json::Map::new(),
        Err(error) => return Err(error.into()),
    };
    let mark = Mark { schema_version: SCHEMA_VERSION, store, other };
    let mut content = serde_json::to_vec_pretty(&mark).map_err(std::io::Error::from)?;
    content.push(b'\n');
    publish::replace(common_dir, MARK_FILE, &content)?;
    Ok(())
}

/// Why [`leave`] failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaveError {
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// `to` as seen from the folder `from`, `/`-separated; absolute if they share no root. Both absolute and without
/// `.`, `..` and symbolic links. `None` if what is left of it is not UTF-8.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let is_name = |component: &&Component<'_>| matches!(component, Component::Normal(_));
    if from[shared..].iter().any(|component| !is_name(&component)) || shared == 0 {
        return to.iter().collect::<PathBuf>().into_os_string().into_string().ok();
    }
    let mut names = vec![".."; from.len() - shared];
    for component in &to[shared..] {
        names.push(component.as_os_str().to_str()?);
    }
    Some(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_store_is_named_as_seen_from_the_mark() {
        let named = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(named("/w/.git", "/w/.muse").as_deref(), Some("../.muse"));
        assert_eq!(named("/w.git", "/w.git/.muse").as_deref(), Some(".muse"));
        assert_eq!(named("/w/.git/modules/a/b", "/w/a b/.muse").as_deref(), Some("../../../../a b/.muse"));
        assert_eq!(named("/git", "/w/é/.muse").as_deref(), Some("../w/é/.muse"));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf8_matters_only_where_it_is_said() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let odd = Path::new(OsStr::from_bytes(b"/\xff"));
        assert_eq!(relative(&odd.join(".git"), &odd.join(".muse")).as_deref(), Some("../.muse"));
        assert_eq!(relative(Path::new("/git"), &odd.join(".muse")), None);
    }
}
