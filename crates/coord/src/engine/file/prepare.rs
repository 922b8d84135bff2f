//! Makes a store, or what is missing in one.
//!
//! A new store is built beside its place and moved there in one step, so that a store is never half there:
//! whoever finds one with a folder missing knows that somebody deleted it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use super::archive::Archive;
use super::layout::{FOLDER_MODE, Folder, Store, TOKEN_NAME, record_name};
use super::lock::StoreLock;
use super::moving::must_be_here;
use super::network;
use super::publish;
use super::safeguards::Safeguards;
use super::tokens;
use crate::clock::Timestamp;
use crate::engine::EngineError;
use crate::id::Token;

/// How a store that is being built is named, with random letters behind it.
pub(super) const BUILDING_PREFIX: &str = "coordination.new-";

/// What [`FileEngine::prepare`](super::FileEngine::prepare) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Whether there was no store before.
    pub created: bool,
    /// The folders of a store that were missing: what had been in them is lost.
    pub restored: Vec<PathBuf>,
}

/// Makes the store at `path`, or the parts of it that are missing. Its tokens begin at `now`, above those of
/// every store that was here before. The folder that it lies in has to be there: it is not this store's to make.
pub(super) fn prepare(path: &Path, safeguards: Safeguards, now: Timestamp) -> Result<Prepared, EngineError> {
    let parent = path.parent().unwrap_or(path);
    match Folder::open(path, safeguards)? {
        Some(root) if !root.is_empty()? => {
            must_be_here(&root)?;
            let restored = complete(&root, path, safeguards, now)?;
            remove_unfinished(parent);
            sync_name(path, safeguards)?;
            Ok(Prepared { created: false, restored })
        }
        _ => Ok(Prepared { created: build(parent, path, safeguards, now)?, restored: Vec::new() }),
    }
}

/// Builds a new store beside `path` and moves it there. `false` if another process was faster.
fn build(parent: &Path, path: &Path, safeguards: Safeguards, now: Timestamp) -> Result<bool, EngineError> {
    let building = Builder::new()
        .prefix(BUILDING_PREFIX)
        .permissions(fs::Permissions::from_mode(FOLDER_MODE))
        .tempdir_in(parent)
        .map_err(|source| unwritable(parent, "make a folder in", source))?;
    let built =
        fill(building.path(), safeguards, now).and_then(|()| publish::move_folder(building.path(), path));
    match built {
        Ok(()) => {
            // It is in its place, and nothing is left to be removed.
            let _moved = building.keep();
            remove_unfinished(parent);
            sync_name(path, safeguards)?;
            Ok(true)
        }
        // Another process was faster, and may have removed what was built here.
        Err(_) if Store::open(path, safeguards)?.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the name of the store at `path` last through a power loss. Whoever moved it into its place may have been
/// killed before doing so.
pub(super) fn sync_name(path: &Path, safeguards: Safeguards) -> Result<(), EngineError> {
    match Folder::open(path.parent().unwrap_or(path), safeguards)? {
        Some(parent) => parent.sync(),
        None => Ok(()),
    }
}

fn unwritable(path: &Path, operation: &'static str, source: io::Error) -> EngineError {
    EngineError::Unwritable { path: path.to_path_buf(), operation, source }
}

fn fill(building: &Path, safeguards: Safeguards, now: Timestamp) -> Result<(), EngineError> {
    let gone = || unwritable(building, "make", io::ErrorKind::NotFound.into());
    let _made = Folder::open(building, safeguards)?.ok_or_else(gone)?.make_rooms()?;
    let store = Store::open(building, safeguards)?.ok_or_else(gone)?;
    StoreLock::make(&store.root)?;
    let _lock = StoreLock::acquire(&store.root)?;
    tokens::start(&store, first_token(now))
}

/// Adds what is missing to a store that is there: folders, whose paths are returned, the lock, and a token above all
/// that it granted.
fn complete(
    root: &Folder,
    path: &Path,
    safeguards: Safeguards,
    now: Timestamp,
) -> Result<Vec<PathBuf>, EngineError> {
    network::refuse_network_file_system(root)?;
    if root.is_complete()? {
        // Fails if anything but a folder stands for one.
        Store::open(path, safeguards)?;
        return Ok(Vec::new());
    }
    StoreLock::make(root)?;
    let _lock = StoreLock::acquire(root)?;
    let restored = root.make_rooms()?;
    root.sync()?;
    let Some(store) = Store::open(path, safeguards)? else { return Ok(restored) };
    if store.root.holds(TOKEN_NAME)? {
        return Ok(restored);
    }
    let (names, misplaced) = store.reservations.names()?;
    // A record under another name may be the one with the last token.
    if let Some(error) = misplaced.into_iter().next() {
        return Err(error);
    }
    let mut last = first_token(now).max(Archive::open(&store)?.greatest_token()?.unwrap_or(Token::FIRST));
    for id in names {
        match store.reservation(id) {
            Ok(Some(reservation)) => last = last.max(reservation.token),
            Ok(None) => {}
            // A coordinator released it because nobody can read it: the clock speaks for its token.
            Err(_) if store.releases.holds(&record_name(id))? => {}
            Err(error) => return Err(error),
        }
    }
    tokens::start(&store, last)?;
    Ok(restored)
}

pub(super) fn first_token(now: Timestamp) -> Token {
    Token::next(None, now.milliseconds_since_1970()).unwrap_or(Token::FIRST)
}

/// Removes what killed builders left. A live one finds the finished store instead of its own. What cannot be
/// removed is in nobody's way.
fn remove_unfinished(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(BUILDING_PREFIX) {
            fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
}
