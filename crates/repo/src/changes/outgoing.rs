//! What a push would bring to the remote.

use std::collections::BTreeSet;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::{ChangeSet, Changes, ChangesError, settled, unreadable};

impl Changes {
    /// What a push would bring: for each line that Git gives to the hook `pre-push`, the commit that is pushed against
    /// the one that the remote has there. Where that is none, or is unknown here, it is against the best common
    /// ancestor with all branches of remotes that are known here, and against nothing where there is none. What is as a
    /// branch of a remote has it that was merged is left out. A deleted reference brings nothing.
    ///
    /// # Errors
    ///
    /// A line is none of Git's, or commits and trees cannot be read.
    pub fn outgoing(&self, lines: &[u8]) -> Result<ChangeSet, ChangesError> {
        // Many references are often one commit.
        let mut pushed = BTreeSet::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let Some((local, remote)) = parse(line) else {
                return Err(ChangesError::PushLine { line: line.to_str_lossy().into_owned() });
            };
            if !local.is_null() {
                pushed.insert((local, remote));
            }
        }
        let mut set = ChangeSet::default();
        if pushed.is_empty() {
            return Ok(set);
        }
        let tips = self.remote_tips()?;
        for (local, remote) in pushed {
            let brought = self.brought(local, remote, &tips)?;
            set.files.extend(brought.files);
            set.unsettled.extend(brought.unsettled);
        }
        // Stable: of two references that touch one path, the first pushed comes first.
        set.files.sort_by(|one, other| one.path.cmp(&other.path));
        set.files.dedup();
        set.unsettled.sort_by(|one, other| one.path.cmp(&other.path));
        set.unsettled.dedup();
        Ok(set)
    }

    /// As [`Changes::outgoing`], of one push: of the revision `local` to where the remote has the revision `remote`, or
    /// nothing. So the pre-commit framework tells its hooks.
    ///
    /// # Errors
    ///
    /// A revision is unknown, or commits and trees cannot be read.
    pub fn outgoing_between(&self, remote: Option<&str>, local: &str) -> Result<ChangeSet, ChangesError> {
        let id = |revision: &str| {
            let id = self.repository.rev_parse_single(revision).map(gix::Id::detach);
            id.map_err(|error| ChangesError::Revision {
                git_dir: self.git_dir().to_owned(),
                revision: revision.to_owned(),
                source: error.into(),
            })
        };
        let null = ObjectId::null(self.repository.object_hash());
        self.brought(id(local)?, remote.map_or(Ok(null), id)?, &self.remote_tips()?)
    }

    fn brought(
        &self,
        local: ObjectId,
        remote: ObjectId,
        tips: &BTreeSet<ObjectId>,
    ) -> Result<ChangeSet, ChangesError> {
        let damaged = |error: gix::Error| unreadable("read what is pushed in", self.git_dir(), error);
        let pushed = self.repository.find_object(local).map_err(damaged)?;
        let pushed = pushed.peel_tags_to_end().map_err(damaged)?;
        if pushed.kind == gix::object::Kind::Blob {
            // A tag can name a file's content alone: that is at no path.
            return Ok(ChangeSet::default());
        }
        let commit = (pushed.kind == gix::object::Kind::Commit).then_some(pushed.id);
        let new = pushed.peel_to_tree().map_err(damaged)?.id;
        let mut known = match commit {
            Some(commit) => self.known_to_remotes(commit, remote, tips)?,
            None => Vec::new(),
        };
        let replaced = self.tree_of(remote);
        if replaced.is_some() {
            // What the remote has there and the push takes away from it is brought by the push, too.
            let is_followed = known.contains(&remote);
            known.retain(|commit| is_followed && *commit != remote);
        }
        let trees = known.into_iter().filter_map(|commit| self.tree_of(commit));
        let mut olds = replaced.into_iter().chain(trees);
        let against = |old| self.tree_against_tree(old, new).map(|differences| settled(differences, &[]));
        let mut brought = against(olds.next())?;
        for old in olds {
            brought.keep_what_is_in(against(Some(old))?);
        }
        Ok(brought)
    }

    /// The tree of a commit, of a tag, or a tree itself; none if it is not here.
    fn tree_of(&self, id: ObjectId) -> Option<ObjectId> {
        if id.is_null() {
            return None;
        }
        let object = self.repository.try_find_object(id).ok()??;
        Some(object.peel_to_tree().ok()?.id)
    }

    /// The commits that remotes are known to have at their branches.
    fn remote_tips(&self) -> Result<BTreeSet<ObjectId>, ChangesError> {
        let damaged = |error: gix::Error| unreadable("look through the references of", self.git_dir(), error);
        let references = self.repository.references().map_err(damaged)?;
        let mut tips = BTreeSet::new();
        for reference in references.prefixed("refs/remotes/").map_err(damaged)? {
            // One that leads nowhere, as `origin/HEAD` may, says nothing of what the remote has.
            let Some(mut reference) = reference.ok() else { continue };
            let Some(tip) = reference.peel_to_commit().ok() else { continue };
            tips.insert(tip.id);
        }
        Ok(tips)
    }

    /// The best common ancestors of `commit` with these, and with `remote` if that is a commit: several where one branch
    /// of a remote was merged into another.
    fn known_to_remotes(
        &self,
        commit: ObjectId,
        remote: ObjectId,
        tips: &BTreeSet<ObjectId>,
    ) -> Result<Vec<ObjectId>, ChangesError> {
        let remote = Some(remote).filter(|remote| self.repository.find_commit(*remote).is_ok());
        let tips: Vec<ObjectId> = tips.iter().copied().chain(remote).collect();
        // The best common ancestor with nothing would be the commit itself.
        if tips.is_empty() {
            return Ok(Vec::new());
        }
        let damaged = |error: gix::Error| unreadable("read what is pushed in", self.git_dir(), error);
        let bases = self.repository.merge_bases_many(commit, &tips).map_err(damaged)?;
        Ok(bases.into_iter().map(gix::Id::detach).collect())
    }
}

/// The ids in a line: of what is pushed, and of what the remote has.
fn parse(line: &[u8]) -> Option<(ObjectId, ObjectId)> {
    // A local reference can be an expression with blanks: `git push origin ':/fix it:refs/heads/x'`.
    let mut fields = line.rsplitn(4, |byte| *byte == b' ');
    let (remote, _, local, _) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((ObjectId::from_hex(local).ok()?, ObjectId::from_hex(remote).ok()?))
}
