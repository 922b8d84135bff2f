//! The one place of this crate that gives files their names: whole, or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Puts `content` under `name` in `folder`, replacing what was there.
///
/// The file and its name are on the disk when this returns. A process killed in between leaves at most a file
/// `<name>.<random letters>` behind, which nobody reads.
///
/// # Errors
///
/// What making, writing, syncing or renaming the file says; the file is then absent or as it was.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let prefix = format!("{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    // Less the umask, as any file that Git makes: temporary files are otherwise for their owner only.
    #[cfg(unix)]
    builder.permissions(mode);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes the names in `folder` survive a power loss.
///
/// # Errors
///
/// What opening or syncing the folder says.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file, and its names need no such call.
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
