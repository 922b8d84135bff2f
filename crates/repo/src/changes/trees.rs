//! Trees of commits, against the index and against each other.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteVec};
use gix::diff::tree::recorder::Change;
use gix::index::entry::Flags;
use gix::index::extension::Tree as CachedTree;
use gix::objs::TreeRefIter;
use gix::objs::tree::EntryMode;

use super::{Changes, ChangesError, Differences, Kind, Side, unreadable};

/// The leaves of a tree, by path.
type Leaves = BTreeMap<BString, Side>;

/// A walk through a tree that leaves out the folders of which the index knows that they are the same.
struct Walk<'a> {
    changes: &'a Changes,
    index: Option<&'a gix::index::State>,
    leaves: Leaves,
    /// The folders left out, each with a `/` at its end.
    same: Vec<BString>,
}

impl Walk<'_> {
    fn tree(&mut self, id: ObjectId, prefix: &BStr, cached: Option<&CachedTree>) -> Result<(), ChangesError> {
        if self.is_same(id, prefix, cached) {
            self.same.push(prefix.to_owned());
            return Ok(());
        }
        let damaged = |error: gix::Error| unreadable("read a tree in", self.changes.git_dir(), error);
        let tree = self.changes.repository.find_tree(id).map_err(damaged)?;
        for entry in tree.iter() {
            let entry = entry.map_err(damaged)?;
            let mut path = prefix.to_owned();
            path.push_str(entry.filename());
            if let Some(kind) = Kind::of(entry.mode().kind()) {
                self.leaves.insert(path, Side::object(kind, entry.object_id()));
                continue;
            }
            path.push(b'/');
            let is_it =
                |child: &&CachedTree| child.name.as_slice() == AsRef::<[u8]>::as_ref(entry.filename());
            let below = cached.and_then(|cached| cached.children.iter().find(is_it));
            self.tree(entry.object_id(), path.as_ref(), below)?;
        }
        Ok(())
    }

    /// Whether the index has this very tree there: Git notes that in it, and a sparse index has nothing else.
    fn is_same(&self, id: ObjectId, prefix: &BStr, cached: Option<&CachedTree>) -> bool {
        let noted = cached.is_some_and(|cached| cached.num_entries.is_some() && cached.id == id);
        noted
            || self.index.is_some_and(|index| {
                index.is_sparse()
                    && index
                        .entry_by_path(prefix)
                        .is_some_and(|entry| entry.mode.is_sparse() && entry.id == id)
            })
    }
}

impl Changes {
    /// What the index has otherwise than `tree`, and the paths with a conflict.
    pub(super) fn tree_against_index(
        &self,
        tree: Option<ObjectId>,
        index: &gix::index::State,
    ) -> Result<(Differences, Vec<BString>), ChangesError> {
        let mut walk = Walk { changes: self, index: Some(index), leaves: Leaves::new(), same: Vec::new() };
        if let Some(tree) = tree {
            walk.tree(tree, BStr::new(""), index.tree())?;
        }
        let Walk { leaves: mut old, mut same, .. } = walk;
        same.sort();

        let mut differences = Differences::new();
        let mut conflicts: Vec<BString> = Vec::new();
        for entry in index.entries() {
            let path = entry.path(index);
            if is_below(path, &same) || entry.flags.contains(Flags::INTENT_TO_ADD) {
                continue;
            }
            if entry.stage_raw() != 0 {
                old.remove(path);
                if conflicts.last().is_none_or(|last| last != path) {
                    conflicts.push(path.to_owned());
                }
            } else if entry.mode.is_sparse() {
                for (path, new) in self.leaves(entry.id, path)? {
                    note(&mut differences, old.remove(&path), path, new);
                }
            } else if let Some(new) = staged_side(entry) {
                note(&mut differences, old.remove(path), path.to_owned(), new);
            }
        }
        differences.extend(old.into_iter().map(|(path, old)| (path, (Some(old), None))));
        Ok((differences, conflicts))
    }

    fn leaves(&self, tree: ObjectId, prefix: &BStr) -> Result<Leaves, ChangesError> {
        let mut walk = Walk { changes: self, index: None, leaves: Leaves::new(), same: Vec::new() };
        walk.tree(tree, prefix, None)?;
        Ok(walk.leaves)
    }

    /// What `new` has otherwise than `old`, only the folders that differ being read.
    pub(super) fn tree_against_tree(
        &self,
        old: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<Differences, ChangesError> {
        let damaged = |error: super::Source| unreadable("compare trees in", self.git_dir(), error);
        let data = |id: Option<ObjectId>| match id {
            Some(id) => self.repository.find_tree(id).map(|tree| tree.data.clone()),
            None => Ok(Vec::new()),
        };
        let old = data(old).map_err(|error| damaged(error.into()))?;
        let new = data(Some(new)).map_err(|error| damaged(error.into()))?;
        let format = self.repository.object_hash();
        let mut recorder = gix::diff::tree::Recorder::default();
        gix::diff::tree(
            TreeRefIter::from_bytes(&old, format),
            TreeRefIter::from_bytes(&new, format),
            gix::diff::tree::State::default(),
            &self.repository.objects,
            &mut recorder,
        )
        .map_err(|error| damaged(error.into()))?;

        let mut differences = Differences::new();
        let side = |mode: EntryMode, id| Kind::of(mode.kind()).map(|kind| Side::object(kind, id));
        for record in recorder.records {
            let (path, old, new) = match record {
                Change::Addition { entry_mode, oid, path, .. } => (path, None, side(entry_mode, oid)),
                Change::Deletion { entry_mode, oid, path, .. } => (path, side(entry_mode, oid), None),
                Change::Modification { previous_entry_mode, previous_oid, entry_mode, oid, path } => {
                    (path, side(previous_entry_mode, previous_oid), side(entry_mode, oid))
                }
            };
            // A file that gave way to a folder, or the other way round, comes in two records.
            let difference = differences.entry(path).or_insert((None, None));
            difference.0 = difference.0.take().or(old);
            difference.1 = difference.1.take().or(new);
        }
        differences.retain(|_, (old, new)| old != new);
        Ok(differences)
    }
}

/// What the index has at a path of its own; none where a mode is none of Git's.
pub(super) fn staged_side(entry: &gix::index::Entry) -> Option<Side> {
    let mode = entry.mode.to_tree_entry_mode()?;
    Some(Side::object(Kind::of(mode.kind())?, entry.id))
}

fn note(differences: &mut Differences, old: Option<Side>, path: BString, new: Side) {
    if old.as_ref() != Some(&new) {
        differences.insert(path, (old, Some(new)));
    }
}

/// Whether `path` is in one of the sorted folders, none of which is in another.
fn is_below(path: &BStr, folders: &[BString]) -> bool {
    let after = folders.partition_point(|folder| AsRef::<BStr>::as_ref(folder) <= path);
    after.checked_sub(1).and_then(|last| folders.get(last)).is_some_and(|folder| path.starts_with(folder))
}
