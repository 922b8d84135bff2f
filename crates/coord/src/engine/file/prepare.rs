//! Makes a store, or what is missing in one.
//!
//! A new store is built beside its place and moved there in one step, so that a store is never half there:
//! whoever finds one with a folder missing knows that somebody deleted it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::layout::{Folder, Store, TOKEN_NAME};
use super::lock::StoreLock;
use super::publish;
use super::safeguards::Safeguards;
use super::tokens;
use crate::clock::Timestamp;
use crate::engine::EngineError;
use crate::id::Token;

/// How a store that is being built is named, with the builder's process id behind it.
const BUILDING_PREFIX: &str = "coordination.new-";

/// Makes the store at `path`, or the parts of it that are missing. Its tokens begin at `now`, above those of
/// every store that was here before. Whether there was none before.
pub(super) fn prepare(path: &Path, safeguards: Safeguards, now: Timestamp) -> Result<bool, EngineError> {
    let unwritable = |operation| {
        move |source: io::Error| EngineError::Unwritable { path: path.to_path_buf(), operation, source }
    };
    let created = match Folder::open(path, safeguards)? {
        Some(root) if !root.is_empty()? => {
            complete(&root, path, safeguards, now)?;
            false
        }
        _ => {
            let parent = path.parent().unwrap_or(path);
            DirBuilder::new().recursive(true).mode(0o777).create(parent).map_err(unwritable("make"))?;
            build(parent, path, safeguards, now)?
        }
    };
    Ok(created)
}

/// Builds a new store beside `path` and moves it there. `false` if another process was faster.
fn build(parent: &Path, path: &Path, safeguards: Safeguards, now: Timestamp) -> Result<bool, EngineError> {
    let building = parent.join(format!("{BUILDING_PREFIX}{}", std::process::id()));
    let built = fill(&building, safeguards, now).and_then(|()| publish::move_folder(&building, path));
    let is_there = Store::open(path, safeguards)?.is_some();
    if is_there {
        remove_unfinished(parent)?;
    }
    match built {
        Ok(()) => {
            if let Some(parent) = Folder::open(parent, safeguards)? {
                parent.sync()?;
            }
            Ok(true)
        }
        Err(_) if is_there => Ok(false),
        Err(error) => {
            remove_unfinished(parent)?;
            Err(error)
        }
    }
}

fn fill(building: &Path, safeguards: Safeguards, now: Timestamp) -> Result<(), EngineError> {
    let unwritable =
        |source| EngineError::Unwritable { path: building.to_path_buf(), operation: "make", source };
    match DirBuilder::new().mode(0o777).create(building) {
        Ok(()) => {}
        // Left by a dead process that had the same id.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unwritable(error)),
    }
    let root =
        Folder::open(building, safeguards)?.ok_or_else(|| unwritable(io::ErrorKind::NotFound.into()))?;
    root.make_rooms()?;
    let store =
        Store::open(building, safeguards)?.ok_or_else(|| unwritable(io::ErrorKind::NotFound.into()))?;
    let _lock = StoreLock::acquire(&store)?;
    // Another thread, or a process of another container, may build under the same number. If it was faster,
    // this folder is in its place by now, and tokens were granted from it: they never go back.
    let mut token = first_token(now);
    if store.root.holds(TOKEN_NAME)? {
        token = token.max(tokens::last(&store)?);
    }
    tokens::start(&store, token)?;
    store.root.sync()
}

/// Adds what is missing to a store that is there: folders, and a token above all that it granted.
fn complete(root: &Folder, path: &Path, safeguards: Safeguards, now: Timestamp) -> Result<(), EngineError> {
    root.make_rooms()?;
    let Some(store) = Store::open(path, safeguards)? else { return Ok(()) };
    if store.root.holds(TOKEN_NAME)? {
        return Ok(());
    }
    let _lock = StoreLock::acquire(&store)?;
    if store.root.holds(TOKEN_NAME)? {
        return Ok(());
    }
    let (names, _) = store.reservations.names()?;
    let mut last = first_token(now);
    for id in names {
        if let Some(reservation) = store.reservation(id)? {
            last = last.max(reservation.token);
        }
    }
    tokens::start(&store, last)
}

fn first_token(now: Timestamp) -> Token {
    Token::next(None, now.milliseconds_since_1970()).unwrap_or(Token::FIRST)
}

/// Removes what killed builders left. A live one finds the finished store instead of its own.
fn remove_unfinished(parent: &Path) -> Result<(), EngineError> {
    let unwritable = |path: PathBuf, source| EngineError::Unwritable { path, operation: "clean", source };
    let entries = fs::read_dir(parent).map_err(|source| unwritable(parent.to_path_buf(), source))?;
    for entry in entries {
        let entry = entry.map_err(|source| unwritable(parent.to_path_buf(), source))?;
        if entry.file_name().to_string_lossy().starts_with(BUILDING_PREFIX) {
            match fs::remove_dir_all(entry.path()).map_err(|error| (error.kind(), error)) {
                // A live builder removed it, or is still making files in it and will remove it.
                Ok(()) | Err((io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty, _)) => {}
                Err((_, error)) => return Err(unwritable(entry.path(), error)),
            }
        }
    }
    Ok(())
}
