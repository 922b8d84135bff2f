//! The one place of the program that writes files of the working tree: whole, or not at all.
//!
//! All new contents are written and synced beside their files first; only when that has worked for each of them are the
//! names given, one after the other. So a folder that cannot be written or a full disk leaves everything as it was.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::guard::install::FileChange;

/// Why changes were not, or not all, carried out.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// Nothing was changed.
    Nothing(Fault),
    /// The first `done` of the changes were carried out.
    Partly { done: usize, fault: Fault },
}

/// What could not be done.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The operation, such as `write`.
    pub(crate) operation: &'static str,
    /// The file.
    pub(crate) path: PathBuf,
    /// Why; `None` where the file is no longer as it was planned for.
    pub(crate) source: Option<io::Error>,
}

impl ApplyError {
    /// Whether somebody else changed or made a file in between, or removed a folder: another plan may do then.
    pub(crate) fn is_overtaken(&self) -> bool {
        let (ApplyError::Nothing(fault) | ApplyError::Partly { fault, .. }) = self;
        fault.source.as_ref().is_none_or(|source| {
            matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display();
        match &self.source {
            Some(source) => write!(f, "cannot {} {path}: {source}", self.operation),
            None => write!(f, "{path} was changed by somebody else just now"),
        }
    }
}

/// A change whose new content lies beside its file.
struct Staged<'a> {
    change: &'a FileChange,
    /// `None` to remove the file.
    content: Option<NamedTempFile>,
}

/// Carries out changes.
///
/// A file that is there keeps its permissions. Folders that are missing are made.
///
/// # Errors
///
/// [`ApplyError::Nothing`]: something cannot be written, or is no longer as it was when it was planned.
/// [`ApplyError::Partly`]: giving a name failed after others had been given, as only a failing disk does.
pub(crate) fn apply(changes: &[FileChange]) -> Result<(), ApplyError> {
    let mut made = Vec::new();
    let staged = match stage(changes, &mut made) {
        Ok(staged) => staged,
        Err(fault) => {
            take_back(&made);
            return Err(ApplyError::Nothing(fault));
        }
    };
    if let Err(fault) = changes.iter().try_for_each(is_as_planned) {
        drop(staged);
        take_back(&made);
        return Err(ApplyError::Nothing(fault));
    }
    for (done, Staged { change, content }) in staged.into_iter().enumerate() {
        // A second time: somebody else may have been at it while those before it were published.
        if let Err(fault) = is_as_planned(change).and_then(|()| publish(change, content)) {
            if done == 0 {
                take_back(&made);
                return Err(ApplyError::Nothing(fault));
            }
            return Err(ApplyError::Partly { done, fault });
        }
        if change.after.is_none() {
            remove_empty_folders(change);
        }
    }
    Ok(())
}

/// Writes all new contents beside their files. Folders that it makes are added to `made`.
fn stage<'a>(changes: &'a [FileChange], made: &mut Vec<PathBuf>) -> Result<Vec<Staged<'a>>, Fault> {
    let mut staged = Vec::with_capacity(changes.len());
    for change in changes {
        let fault = |operation, source| Fault { operation, path: change.path.clone(), source: Some(source) };
        let content = match &change.after {
            Some(bytes) => {
                let folder = change.path.parent().unwrap_or(Path::new("/"));
                make_folders(folder, made).map_err(|error| fault("make the folder of", error))?;
                Some(write_beside(change, folder, bytes).map_err(|error| fault("write", error))?)
            }
            None => None,
        };
        staged.push(Staged { change, content });
    }
    Ok(staged)
}

/// Makes a folder and what is missing above it.
fn make_folders(folder: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_owned()),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_beside(change: &FileChange, folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".muse-guard.");
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(change.mode);
    // Less the umask: temporary files are otherwise for their owner only.
    #[cfg(unix)]
    builder.permissions(mode);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if change.before.is_some() {
        let mut permissions = fs::metadata(&change.path)?.permissions();
        #[cfg(unix)]
        if change.mode == FileChange::EXECUTE {
            use std::os::unix::fs::PermissionsExt as _;
            // Whoever may read it may execute it.
            permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
        }
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

/// Checks that a file still holds what the plan was made for.
fn is_as_planned(change: &FileChange) -> Result<(), Fault> {
    let fault = |operation, source| Fault { operation, path: change.path.clone(), source };
    if change.aside.is_some() && change.after.is_some() {
        // Putting it aside fails where it has gone, or where its new name is taken.
        return Ok(());
    }
    let now = match fs::read(&change.path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(fault("read", Some(error))),
    };
    if now == change.before { Ok(()) } else { Err(fault("change", None)) }
}

/// Gives a new content its name, or removes the file.
fn publish(change: &FileChange, content: Option<NamedTempFile>) -> Result<(), Fault> {
    let fault = |operation, source| Fault { operation, path: change.path.clone(), source: Some(source) };
    match content {
        Some(content) if let Some(aside) = &change.aside => {
            put_aside(&change.path, aside).map_err(|error| fault("put aside", error))?;
            if let Err(error) = content.persist(&change.path) {
                // It has its name still: what is removed is the second one.
                fs::remove_file(aside).unwrap_or_default();
                return Err(fault("replace", error.error));
            }
        }
        // A file that came up just now is somebody's.
        Some(content) if change.before.is_none() => {
            content.persist_noclobber(&change.path).map_err(|error| fault("make", error.error))?;
        }
        Some(content) => {
            content.persist(&change.path).map_err(|error| fault("replace", error.error))?;
        }
        None if let Some(aside) = &change.aside => {
            put_back(aside, &change.path).map_err(|error| fault("put back", error))?;
        }
        None => fs::remove_file(&change.path).map_err(|error| fault("remove", error))?,
    }
    Ok(())
}

/// Gives what is at `path`, be it a link, a second name, which nothing has yet.
#[expect(clippy::disallowed_methods, reason = "it is no file of a store, and no name is taken from anything")]
fn put_aside(path: &Path, aside: &Path) -> io::Result<()> {
    fs::hard_link(path, aside)
}

/// Gives what was put aside the name that it had, in place of what has it.
#[expect(clippy::disallowed_methods, reason = "it is no file of a store, and whole")]
fn put_back(aside: &Path, path: &Path) -> io::Result<()> {
    fs::rename(aside, path)
}

/// Removes folders that were made for nothing. Those that are in use by now are left.
fn take_back(made: &[PathBuf]) {
    for folder in made.iter().rev() {
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Removes the folders above a file that has gone, as far as they were its own and are empty.
fn remove_empty_folders(change: &FileChange) {
    for folder in change.path.ancestors().skip(1).take(change.own_folders) {
        // One that is not empty, which is what stops it.
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write files")]
mod tests {
    use super::*;

    fn change(path: PathBuf, before: Option<&str>, after: Option<&str>) -> FileChange {
        let bytes = |text: &str| text.as_bytes().to_owned();
        FileChange {
            path,
            before: before.map(bytes),
            after: after.map(bytes),
            mode: FileChange::READ,
            own_folders: 1,
            aside: None,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        fs::read_dir(folder).unwrap().map(name).collect()
    }

    #[test]
    fn one_that_cannot_be_written_leaves_all_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("there"), "old").unwrap();
        let changes = [
            change(at("there"), Some("old"), Some("new")),
            change(at("a/b/made"), None, Some("new")),
            change(at("there/below"), None, Some("new")),
        ];
        assert!(matches!(apply(&changes), Err(ApplyError::Nothing(fault)) if fault.source.is_some()));
        assert_eq!(fs::read_to_string(at("there")).unwrap(), "old");
        assert_eq!(names(folder.path()), ["there"], "no folder and no temporary file is left");
        apply(&changes[..2]).unwrap();
        assert_eq!(
            fs::read_to_string(at("there")).unwrap() + &fs::read_to_string(at("a/b/made")).unwrap(),
            "newnew"
        );
        apply(&[change(at("a/b/made"), Some("new"), None)]).unwrap();
        assert_eq!(names(&at("a")), Vec::<String>::new(), "of the folders as many go as are its own");
    }

    #[test]
    fn what_somebody_else_wrote_since_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "one").unwrap();
        fs::write(at("two"), "theirs").unwrap();
        for overtaken in [
            change(at("two"), Some("two"), Some("ours")),
            change(at("two"), None, Some("ours")),
            change(at("two"), Some("two"), None),
        ] {
            let error = apply(&[change(at("one"), Some("one"), Some("ours")), overtaken]).unwrap_err();
            assert!(error.is_overtaken() && matches!(error, ApplyError::Nothing(_)), "{error:?}");
        }
        assert_eq!(
            fs::read_to_string(at("one")).unwrap() + &fs::read_to_string(at("two")).unwrap(),
            "onetheirs"
        );
    }
}
