//! Makes a small Git repository with a linked worktree, for `muse demo` and for tests, without a `git` process.
//!
//! Objects and references are written by gix. The linked worktree and both indexes are plain files in Git's
//! documented formats (`gitrepository-layout(5)`, `gitformat-index(5)`), so that `git worktree list` shows both
//! and `git status` finds both clean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::objs::tree::{Entry, EntryKind};

use crate::git::DOT_GIT;
use crate::head::HEAD_FILE;
use crate::publish;

/// The branch of the main working tree.
const MAIN_BRANCH: &str = "main";
/// The branch and the folder of the linked worktree.
const LINKED_BRANCH: &str = "feature";

/// When the commit says it was made: the same on every run, so that its id is too.
const COMMITTED_AT: &str = "1767225600 +0000";

/// A Git repository with two working trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// The main working tree, on the branch `main`.
    pub main: PathBuf,
    /// A linked worktree beside it, on the branch `feature`.
    pub linked: PathBuf,
}

/// Why the repository could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// The operating system said no.
    #[error("cannot {operation} {}: {source}; check its permissions and the space left", path.display())]
    Io {
        /// What was tried: a verb, as in "write".
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Git's objects or references could not be written.
    #[error("cannot make a Git repository in {}: {source}", path.display())]
    Git {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Makes a repository in the folder `main` of `folder`, and a linked worktree in the folder `feature`. Both hold
/// `files`: paths with `/` and contents, committed once.
///
/// # Errors
///
/// - [`ScratchError::Io`]: a folder or a file cannot be made, one that is there already included.
/// - [`ScratchError::Git`]: gix says no.
pub fn scratch(folder: &Path, files: &[(&str, &str)]) -> Result<Scratch, ScratchError> {
    let folder = folder.canonicalize().map_err(io_error("find", folder))?;
    let (main, linked) = (folder.join(MAIN_BRANCH), folder.join(LINKED_BRANCH));
    for top in [&main, &linked] {
        fs::create_dir(top).map_err(io_error("make", top))?;
        for (path, content) in files {
            let (folder, name) = match path.rsplit_once('/') {
                Some((folder, name)) => (top.join(folder), name),
                None => (top.clone(), *path),
            };
            fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
            write(&folder, name, content.as_bytes())?;
        }
    }
    let index =
        commit(&main, files).map_err(|error| ScratchError::Git { path: main.clone(), source: error })?;

    let common_dir = main.join(DOT_GIT);
    let git_dir = common_dir.join("worktrees").join(LINKED_BRANCH);
    fs::create_dir_all(&git_dir).map_err(io_error("make", &git_dir))?;
    write(&common_dir, "index", &index)?;
    write(&git_dir, "index", &index)?;
    write(&git_dir, HEAD_FILE, format!("ref: refs/heads/{LINKED_BRANCH}\n").as_bytes())?;
    write(&git_dir, "commondir", b"../..\n")?;
    write(&git_dir, "gitdir", &line("", &linked.join(DOT_GIT)))?;
    write(&linked, DOT_GIT, &line("gitdir: ", &git_dir))?;
    Ok(Scratch { main, linked })
}

/// Makes the repository in `top` with one commit of `files` on both branches. Returns its index.
fn commit(top: &Path, files: &[(&str, &str)]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let repository = gix::ThreadSafeRepository::init_opts(
        top,
        gix::create::Kind::WithWorktree,
        gix::create::Options::default(),
        // Nobody's own configuration: not its branch name, its hooks, its signing.
        gix::open::Options::isolated(),
    )?
    .to_thread_local();

    let mut blobs = Vec::with_capacity(files.len());
    for (path, content) in files {
        blobs.push(Blob { path, size: content.len(), oid: repository.write_blob(content)?.detach() });
    }
    blobs.sort_by_key(|blob| blob.path);
    let below: Vec<(&str, gix::ObjectId)> = blobs.iter().map(|blob| (blob.path, blob.oid)).collect();
    let tree = write_tree(&repository, &below)?;
    let author = gix::actor::SignatureRef {
        name: "muse demo".into(),
        email: "demo@example.invalid".into(),
        time: COMMITTED_AT,
    };
    for branch in [MAIN_BRANCH, LINKED_BRANCH] {
        let no_parents: [gix::ObjectId; 0] = [];
        let name = format!("refs/heads/{branch}");
        repository.commit_as(author, author, name.as_str(), "Bill customers", tree, no_parents)?;
    }
    Ok(index(&blobs)?)
}

/// A file of the commit.
struct Blob<'a> {
    path: &'a str,
    size: usize,
    oid: gix::ObjectId,
}

/// Writes the tree of the files `below` and the trees in it. `below` is sorted by path.
fn write_tree(
    repository: &gix::Repository,
    below: &[(&str, gix::ObjectId)],
) -> Result<gix::ObjectId, gix::Error> {
    let folder_of = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
    let mut entries = Vec::new();
    for group in below.chunk_by(|(one, _), (other, _)| {
        folder_of(one).is_some_and(|folder| Some(folder) == folder_of(other))
    }) {
        let (name, kind, oid) = match group {
            [(path, oid)] if !path.contains('/') => ((*path).to_owned(), EntryKind::Blob, *oid),
            _ => {
                let inside: Vec<(&str, gix::ObjectId)> =
                    group.iter().filter_map(|(path, oid)| Some((path.split_once('/')?.1, *oid))).collect();
                let folder = folder_of(group[0].0).unwrap_or_default();
                (folder, EntryKind::Tree, write_tree(repository, &inside)?)
            }
        };
        entries.push(Entry { mode: kind.into(), filename: name.into(), oid });
    }
    entries.sort();
    Ok(repository.write_object(gix::objs::Tree { entries })?.detach())
}

/// The bytes of an index that holds `blobs`, sorted by path, as `gitformat-index(5)` describes version 2. What it
/// says of the files' times is zero, so that Git compares their contents once and writes the times itself.
fn index(blobs: &[Blob<'_>]) -> Result<Vec<u8>, gix::Error> {
    const VERSION: u32 = 2;
    const MODE_OF_FILES: u32 = 0o100_644;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);

    let mut bytes = Vec::with_capacity(512);
    bytes.extend(b"DIRC");
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(number(blobs.len()).to_be_bytes());
    for blob in blobs {
        let start = bytes.len();
        // Two times of two numbers, device, inode, mode, user, group, size.
        for field in [0, 0, 0, 0, 0, 0, MODE_OF_FILES, 0, 0, number(blob.size)] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(blob.oid.as_slice());
        // The flags: no stage, and the length of the path.
        let length = u16::try_from(blob.path.len()).unwrap_or(u16::MAX).min(0x0FFF);
        bytes.extend(length.to_be_bytes());
        bytes.extend(blob.path.bytes());
        // One to eight NULs, up to a multiple of eight.
        bytes.resize(start + (bytes.len() - start) / 8 * 8 + 8, 0);
    }
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&bytes);
    bytes.extend(hasher.try_finalize()?.as_slice());
    Ok(bytes)
}

/// A line that names a path, in the path's own bytes.
fn line(before: &str, path: &Path) -> Vec<u8> {
    [before.as_bytes(), path.as_os_str().as_encoded_bytes(), b"\n"].concat()
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), ScratchError> {
    publish::replace(folder, name, content).map_err(io_error("write", &folder.join(name)))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScratchError {
    let path = path.to_owned();
    move |source| ScratchError::Io { operation, path, source }
}
