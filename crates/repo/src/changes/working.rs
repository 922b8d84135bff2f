//! The working tree, as `git status` looks at it.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString};
use gix::dir::entry::Kind as DiskKind;
use gix::dir::walk::EmissionMode;
use gix::index::entry::{Flags, Mode};
use gix::status::index_worktree;
use gix::status::plumbing::index_as_worktree::traits::{HashEq, SubmoduleStatus};
use gix::status::plumbing::index_as_worktree::{Change, EntryStatus};
use gix::status::plumbing::index_as_worktree_with_renames::{Entry, VisitEntry};

use super::trees::staged_side;
use super::{ChangeSet, Changes, ChangesError, Content, Kind, Side, settled, unreadable};

/// Largest size in bytes of a file that is compared with an object which the index does not have there: one that is
/// larger counts as changed.
const COMPARED_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Changes {
    /// What is on the disk otherwise than in the commit `revision`, as `git diff REVISION` has it: of tracked files,
    /// whether staged or not. What is changed inside a submodule is not told before it is committed there.
    ///
    /// # Errors
    ///
    /// The revision is unknown, there is no working tree, or Git's data or the working tree cannot be read.
    pub fn since(&self, revision: &str) -> Result<ChangeSet, ChangesError> {
        let resolved = self.repository.rev_parse_single(revision);
        let commit = resolved.and_then(|id| id.object()).and_then(gix::Object::peel_to_commit);
        let tree = commit.and_then(|commit| commit.tree_id().map(gix::Id::detach));
        let tree = tree.map_err(|error| ChangesError::Revision {
            git_dir: self.git_dir().to_owned(),
            revision: revision.to_owned(),
            source: error.into(),
        })?;
        self.tree_against_disk(Some(tree), false)
    }

    /// What is on the disk otherwise than in `HEAD`: tracked files, staged or not, and untracked ones that are not
    /// ignored.
    ///
    /// # Errors
    ///
    /// There is no working tree, or Git's data or the working tree cannot be read.
    pub fn worktree(&self) -> Result<ChangeSet, ChangesError> {
        self.tree_against_disk(self.head_tree()?, true)
    }

    /// The repository with the configuration and the ignore and attribute files that `git status` would heed.
    pub(super) fn configured(&self) -> Result<&gix::Repository, ChangesError> {
        if let Some(repository) = self.configured.get() {
            return Ok(repository);
        }
        let top = self.required_top()?;
        let mut permissions = gix::open::Permissions::all();
        // What these name is passed in.
        permissions.env.other = gix::sec::Permission::Deny;
        permissions.env.objects = gix::sec::Permission::Deny;
        let mut repository = super::open(self.git_dir(), permissions)?;
        repository
            .set_workdir(top.to_owned())
            .map_err(|error| unreadable("read the working tree", top, error))?;
        Ok(self.configured.get_or_init(|| repository))
    }

    pub(super) fn required_top(&self) -> Result<&Path, ChangesError> {
        self.top().ok_or_else(|| ChangesError::NoWorkingTree { git_dir: self.git_dir().to_owned() })
    }

    pub(super) fn tree_against_disk(
        &self,
        tree: Option<ObjectId>,
        with_untracked: bool,
    ) -> Result<ChangeSet, ChangesError> {
        let index = self.index()?;
        let (mut differences, conflicts) = self.tree_against_index(tree, &index)?;
        let mut contents = self.contents();
        for Seen { path, staged, new } in self.index_against_disk(&index, with_untracked)? {
            let old = match differences.remove(&path) {
                Some((old, _)) => old,
                None => staged,
            };
            let new = match (&old, new) {
                (Some(old), Some(new)) if new.kind == old.kind && new.id.is_none() => {
                    let content = contents.read(&new, COMPARED_BYTES_MAX)?;
                    Some(Side { id: self.id_of(&content)?, ..new })
                }
                (_, new) => new,
            };
            let is_same = match (&old, &new) {
                (Some(old), Some(new)) => old.is_same(new),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                differences.insert(path, (old, new));
            }
        }
        Ok(settled(differences, &conflicts))
    }

    fn id_of(&self, content: &Content) -> Result<Option<ObjectId>, ChangesError> {
        let Content::Bytes(bytes) = content else { return Ok(None) };
        gix::objs::compute_hash(self.repository.object_hash(), gix::objs::Kind::Blob, bytes)
            .map(Some)
            .map_err(|error| unreadable("hash a file of", self.git_dir(), error))
    }

    /// What is on the disk otherwise than in the index.
    fn index_against_disk(
        &self,
        index: &gix::index::State,
        with_untracked: bool,
    ) -> Result<Vec<Seen>, ChangesError> {
        let top = self.required_top()?;
        let repository = self.configured()?;
        let failed = |error: gix::Error| unreadable("compare with the working tree", top, error);
        let walk = repository.dirwalk_options().map_err(failed)?.emit_untracked(EmissionMode::Matching);
        let options = index_worktree::Options {
            dirwalk_options: with_untracked.then_some(walk),
            ..index_worktree::Options::default()
        };
        let has_executable_bit = repository.filesystem_options().map_err(failed)?.executable_bit;
        let mut visitor = Visitor { top, has_executable_bit, seen: Vec::new() };
        repository
            .index_worktree_status(
                index,
                std::iter::empty::<&BStr>(),
                &mut visitor,
                HashEq,
                Submodules { top },
                &mut gix::progress::Discard,
                &AtomicBool::new(false),
                options,
            )
            .map_err(failed)?;
        Ok(visitor.seen)
    }
}

/// A path that is on the disk otherwise than in the index.
struct Seen {
    path: BString,
    /// What the index has there.
    staged: Option<Side>,
    /// What the disk has there.
    new: Option<Side>,
}

struct Visitor<'a> {
    top: &'a Path,
    /// Whether the file system can tell an executable file.
    has_executable_bit: bool,
    seen: Vec<Seen>,
}

impl Visitor<'_> {
    fn is_executable(&self, path: &BStr) -> bool {
        let metadata = || fs::symlink_metadata(self.top.join(gix::path::from_bstr(path).ok()?)).ok();
        self.has_executable_bit && metadata().is_some_and(|metadata| gix::fs::is_executable(&metadata))
    }
}

impl<'index> VisitEntry<'index> for Visitor<'_> {
    type ContentChange = ObjectId;
    type SubmoduleStatus = ObjectId;

    fn visit_entry(&mut self, entry: Entry<'index, ObjectId, ObjectId>) {
        match entry {
            Entry::Modification { entry, rela_path, status, .. } => {
                let on_disk = |kind, id| Some(Side::on_disk(kind, id, rela_path));
                let staged = staged_side(entry);
                let is_promised = entry.flags.contains(Flags::INTENT_TO_ADD);
                let kind = staged.as_ref().map_or(Kind::File, Side::kind);
                let (staged, new) = match status {
                    EntryStatus::Change(Change::Removed) => (staged, None),
                    EntryStatus::Change(Change::Type { worktree_mode }) => {
                        let kind = kind_of(worktree_mode);
                        (staged, kind.and_then(|kind| on_disk(kind, None)))
                    }
                    EntryStatus::Change(Change::Modification {
                        executable_bit_changed,
                        content_change,
                        ..
                    }) => {
                        let kind = if executable_bit_changed { with_other_bit(kind) } else { kind };
                        (staged, on_disk(kind, content_change.or(Some(entry.id))))
                    }
                    EntryStatus::Change(Change::SubmoduleModification(id)) => {
                        (staged, on_disk(Kind::Submodule, Some(id)))
                    }
                    EntryStatus::IntentToAdd => (staged, on_disk(kind, None)),
                    // Told from the index alone, and: nothing but the times differs.
                    EntryStatus::Conflict { .. } | EntryStatus::NeedsUpdate(_) => return,
                };
                // What the index has of a promised file is no content yet.
                let staged = staged.filter(|_| !is_promised);
                self.seen.push(Seen { path: rela_path.to_owned(), staged, new });
            }
            Entry::DirectoryContents { entry, .. } => {
                let kind = match entry.disk_kind {
                    Some(DiskKind::File) if self.is_executable(entry.rela_path.as_ref()) => Kind::Executable,
                    Some(DiskKind::File) => Kind::File,
                    Some(DiskKind::Symlink) => Kind::Symlink,
                    Some(DiskKind::Repository) => Kind::Submodule,
                    Some(DiskKind::Directory | DiskKind::Untrackable) | None => return,
                };
                let new = Some(Side::on_disk(kind, None, entry.rela_path.as_ref()));
                self.seen.push(Seen { path: entry.rela_path, staged: None, new });
            }
            // Not asked for.
            Entry::Rewrite { .. } => {}
        }
    }
}

fn kind_of(mode: Mode) -> Option<Kind> {
    Kind::of(mode.to_tree_entry_mode()?.kind())
}

fn with_other_bit(kind: Kind) -> Kind {
    match kind {
        Kind::File => Kind::Executable,
        Kind::Executable => Kind::File,
        Kind::Symlink | Kind::Submodule => kind,
    }
}

/// Tells the commit that is checked out in a submodule, where it is not the one in the index.
#[derive(Clone)]
struct Submodules<'a> {
    top: &'a Path,
}

impl SubmoduleStatus for Submodules<'_> {
    type Output = ObjectId;

    fn status(&mut self, entry: &gix::index::Entry, path: &BStr) -> gix::Result<Option<ObjectId>> {
        let folder = self.top.join(gix::path::from_bstr(path)?);
        // One that was never checked out has nothing changed in it.
        let Ok(submodule) = gix::open_opts(folder, gix::open::Options::isolated()) else { return Ok(None) };
        let Ok(id) = submodule.head_id() else { return Ok(None) };
        Ok((id != entry.id).then_some(id.detach()))
    }
}
