//! Questions to the disk that never follow the last symbolic link, and reading with a bound.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Largest size in bytes of a `.git` file, of `HEAD` and of the mark. A path or a reference name in them is
/// at most 4 KiB.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Largest size in bytes of a repository's `config`. One with ten thousand submodules has about 2 MB.
pub(crate) const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What bears a name on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Missing,
    Folder,
    /// A file, a symbolic link to whatever, a socket.
    Other,
}

/// Tells what is at `path`, itself not followed if it is a symbolic link: one `lstat`.
pub(crate) fn entry(path: &Path) -> io::Result<Entry> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(Entry::Folder),
        Ok(_) => Ok(Entry::Other),
        Err(error) if is_missing(&error) => Ok(Entry::Missing),
        Err(error) => Err(error),
    }
}

/// Whether there is nothing under a name, one of its folders being no folder included.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The absolute path `path` without symbolic links and `..`; where it leads to nothing, at least without `..`.
pub(crate) fn physical(path: PathBuf) -> PathBuf {
    if let Ok(physical) = path.canonicalize() {
        return physical;
    }
    match gix::path::normalize(Cow::Borrowed(&path), Path::new("")) {
        Some(Cow::Owned(normal)) => normal,
        Some(Cow::Borrowed(_)) | None => path,
    }
}

/// Reads a whole file, or `None` if it is missing.
///
/// # Errors
///
/// `InvalidData` for a file larger than `bytes_max`; whatever opening and reading say.
pub(crate) fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(512);
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok(Some(bytes))
}
