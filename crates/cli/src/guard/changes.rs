//! What Git knows to have changed, as the addresses that it touches.

use std::iter;
use std::path::Path;

use muse_guard::{Footprint, Reason};
use muse_repo::{ChangeSet, Changes, Content, Contents, FileChange, Kind, Repository, Side, Unsettled};
use muse_symbols::{Language, Why};

use super::comparing::{self, Texts};
use super::gathered::Gathered;
use crate::context::Context;
use crate::error::{self, CommandError};

/// Which changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// What a commit would bring.
    Staged,
    /// What is on the disk otherwise than in this commit, of tracked files.
    Since(&'a str),
    /// What is on the disk otherwise than in `HEAD`, with untracked files.
    Worktree,
    /// What a push would bring: what Git gives to the hook `pre-push`.
    Outgoing(&'a [u8]),
    /// What a push of one revision would bring to where the remote has another, or nothing.
    Pushed { remote: Option<&'a str>, local: &'a str },
}

/// What these changes touch. What cannot be told by an address is told in `warnings`.
pub(crate) fn footprint(
    source: Source<'_>,
    context: &Context,
    repository: &Repository,
    warnings: &mut Vec<String>,
) -> Result<Footprint, CommandError> {
    let changes = Changes::open(&context.current_directory()?, &context.git_environment())?;
    let place = Place::of(&changes, repository)?;
    let ChangeSet { files, unsettled } = match source {
        Source::Staged => changes.staged_against_all_parents()?,
        Source::Since(revision) => changes.since(revision)?,
        Source::Worktree => changes.worktree_against_all_parents()?,
        Source::Outgoing(lines) => changes.outgoing(lines)?,
        Source::Pushed { remote, local } => changes.outgoing_between(remote, local)?,
    };
    let mut reader = Reader { contents: changes.contents(), gathered: Gathered::default() };
    let mut gathered = comparing::compare(files.len(), |hand_over| {
        for change in &files {
            if let Some(path) = place.address_path(&change.path) {
                reader.add(path, change, hand_over)?;
            } else {
                reader.gathered.outside(&change.path);
            }
        }
        Ok::<(), CommandError>(())
    })?;
    gathered.append(reader.gathered);
    for Unsettled { path, reason } in &unsettled {
        match (reason, place.address_path(path)) {
            (_, None) => gathered.outside(path),
            (muse_repo::Reason::Conflicted, Some(path)) => gathered.whole(path, Reason::Conflicted),
            (_, Some(path)) => gathered.not_addressed(path),
        }
    }
    Ok(gathered.finish(repository, warnings))
}

/// Where paths below Git's working tree are, seen from the top that addresses are relative to.
struct Place {
    /// That top, from Git's: empty, or with a slash at its end.
    top: String,
}

impl Place {
    fn of(changes: &Changes, repository: &Repository) -> Result<Place, CommandError> {
        let top = repository.top();
        let working_tree = changes.top().unwrap_or(top);
        let elsewhere = || {
            let message = format!(
                "Git looks at {}, and addresses are relative to {}: run this in the repository that is meant, \
                 with MUSE_REPO_ROOT, GIT_DIR and GIT_WORK_TREE unset",
                working_tree.display(),
                top.display()
            );
            CommandError::new(error::Kind::BadAddress, message)
        };
        let below: &Path = top.strip_prefix(working_tree).map_err(|_| elsewhere())?;
        let below = below.to_str().ok_or_else(elsewhere)?;
        Ok(Place { top: if below.is_empty() { String::new() } else { format!("{below}/") } })
    }

    fn address_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.top)
    }
}

/// Reads what is needed of the files that have changed.
struct Reader<'a> {
    contents: Contents<'a>,
    gathered: Gathered,
}

impl Reader<'_> {
    /// Adds what is known without its text; the others are handed over to be compared.
    fn add(
        &mut self,
        path: &str,
        change: &FileChange,
        hand_over: &mut dyn FnMut(Texts),
    ) -> Result<(), CommandError> {
        let Some(new) = &change.new else {
            self.gathered.whole(path, Why::Deleted);
            return Ok(());
        };
        let olds = || iter::once(&change.old).chain(&change.merged);
        if olds().all(Option::is_none) {
            self.gathered.whole(path, Why::Created);
        } else if !is_file(new) || olds().flatten().all(|old| !is_file(old)) {
            self.gathered.whole(path, Reason::NoFile);
        } else if olds().flatten().all(|old| old.kind() != new.kind()) {
            self.gathered.whole(path, Reason::Mode);
        } else if Language::of_path(path).is_none() {
            self.gathered.whole(path, Why::NoLanguage);
        } else {
            let olds = olds().flatten().filter(|old| old.kind() == new.kind());
            if let Some(texts) = self.texts(path, olds, new)? {
                hand_over(texts);
            }
        }
        Ok(())
    }

    /// The texts of a file. Where they are not to be had, the file is noted as touched whole.
    fn texts<'a>(
        &mut self,
        path: &str,
        olds: impl Iterator<Item = &'a Side>,
        new: &Side,
    ) -> Result<Option<Texts>, CommandError> {
        let bytes_max = Gathered::bytes_max();
        let new = match self.contents.read(new, bytes_max)? {
            Content::Bytes(bytes) => bytes,
            Content::TooLarge => {
                self.gathered.whole(path, Reason::Large(bytes_max));
                return Ok(None);
            }
            // It went away meanwhile.
            Content::Nothing => {
                self.gathered.whole(path, Why::Deleted);
                return Ok(None);
            }
        };
        let mut texts = Vec::new();
        for old in olds {
            // One that is too large tells nothing that the others do not tell better.
            if let Content::Bytes(bytes) = self.contents.read(old, bytes_max)? {
                texts.push(bytes);
            }
        }
        if texts.is_empty() {
            self.gathered.whole(path, Reason::Large(bytes_max));
            return Ok(None);
        }
        Ok(Some(Texts { path: path.to_owned(), olds: texts, new }))
    }
}

fn is_file(side: &Side) -> bool {
    matches!(side.kind(), Kind::File | Kind::Executable)
}
