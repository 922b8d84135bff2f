//! What a commit changes itself where it is a merge: what differs from every commit that it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::{ChangeSet, Changes, ChangesError, Side, io_unreadable, unreadable};

/// Git's file of the commits that are being merged, one id a line.
const MERGE_HEAD: &str = "MERGE_HEAD";

impl Changes {
    /// As [`Changes::staged`], but during a merge only what is otherwise than in every commit that is merged too: what
    /// settles the merge, and not what it brings. A cherry-pick, a revert, a rebase or a squash is no merge.
    ///
    /// # Errors
    ///
    /// As those of [`Changes::staged`], where it cannot be told what is merged, and where there is no working tree, so
    /// that nobody commits.
    pub fn staged_against_all_parents(&self) -> Result<ChangeSet, ChangesError> {
        self.required_top()?;
        let index = self.index()?;
        let against = |tree| {
            let (differences, unsettled) = self.tree_against_index(tree, &index)?;
            Ok(super::settled(differences, &unsettled))
        };
        self.against_all_parents(against)
    }

    /// As [`Changes::worktree`], but during a merge only what is otherwise than in every commit that is merged too.
    ///
    /// # Errors
    ///
    /// As those of [`Changes::worktree`], and where it cannot be told what is merged.
    pub fn worktree_against_all_parents(&self) -> Result<ChangeSet, ChangesError> {
        self.against_all_parents(|tree| self.tree_against_disk(tree, true))
    }

    fn against_all_parents(
        &self,
        against: impl Fn(Option<ObjectId>) -> Result<ChangeSet, ChangesError>,
    ) -> Result<ChangeSet, ChangesError> {
        let mut own = against(self.head_tree()?)?;
        for tree in self.merged_trees()? {
            own.keep_what_is_in(against(Some(tree))?);
        }
        Ok(own)
    }

    /// The trees of the commits that are being merged.
    fn merged_trees(&self) -> Result<Vec<ObjectId>, ChangesError> {
        let path = self.git_dir().join(MERGE_HEAD);
        let ids = match fs::read(&path) {
            Ok(ids) => ids,
            Err(error) if crate::disk::is_missing(&error) => self.merged.join("\n").into_bytes(),
            Err(error) => return Err(io_unreadable("read", &path)(error)),
        };
        let tree = |id: &[u8]| {
            let failed = |error: gix::Error| unreadable("read what is merged by", &path, error);
            let id = ObjectId::from_hex(id).map_err(|error| unreadable("read", &path, error))?;
            let commit = self.repository.find_object(id).map_err(failed)?;
            Ok(commit.peel_to_tree().map_err(failed)?.id)
        };
        ids.lines().filter(|line| !line.is_empty()).map(tree).collect()
    }
}

impl ChangeSet {
    /// Leaves out what `other`, the changes against another parent, has not.
    pub(super) fn keep_what_is_in(&mut self, other: ChangeSet) {
        let mut olds: BTreeMap<String, Option<Side>> =
            other.files.into_iter().map(|change| (change.path, change.old)).collect();
        self.files.retain_mut(|change| match olds.remove(&change.path) {
            Some(old) => {
                change.merged.push(old);
                true
            }
            None => false,
        });
        let unsettled: BTreeSet<String> = other.unsettled.into_iter().map(|path| path.path).collect();
        self.unsettled.retain(|path| unsettled.contains(&path.path));
    }
}
