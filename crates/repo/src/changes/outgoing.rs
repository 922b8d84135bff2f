//! What a push would bring to the remote.

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::{ChangeSet, Changes, ChangesError, Differences, settled, unreadable};

impl Changes {
    /// What a push would bring: for each line that Git gives to the hook `pre-push`, the commit that is pushed against
    /// the one that the remote has there. Where that is none, or is unknown here, it is against the best common
    /// ancestor with all branches of remotes that are known here, and against nothing where there is none. A deleted
    /// reference brings nothing.
    ///
    /// # Errors
    ///
    /// A line is none of Git's, or commits and trees cannot be read.
    pub fn outgoing(&self, lines: &[u8]) -> Result<ChangeSet, ChangesError> {
        let mut set = ChangeSet::default();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let Some((local, remote)) = parse(line) else {
                return Err(ChangesError::PushLine { line: line.to_str_lossy().into_owned() });
            };
            if local.is_null() {
                continue;
            }
            let brought = settled(self.brought(local, remote)?, &[]);
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

    fn brought(&self, local: ObjectId, remote: ObjectId) -> Result<Differences, ChangesError> {
        let damaged = |error: gix::Error| unreadable("read what is pushed in", self.git_dir(), error);
        let pushed = self.repository.find_object(local).map_err(damaged)?;
        let pushed = pushed.peel_tags_to_end().map_err(damaged)?;
        if pushed.kind == gix::object::Kind::Blob {
            // A tag can name a file's content alone: that is at no path.
            return Ok(Differences::new());
        }
        let commit = (pushed.kind == gix::object::Kind::Commit).then_some(pushed.id);
        let new = pushed.peel_to_tree().map_err(damaged)?.id;
        let old = match (self.tree_of(remote), commit) {
            (Some(tree), _) => Some(tree),
            (None, Some(commit)) => self.tree_known_to_remotes(commit)?,
            (None, None) => None,
        };
        self.tree_against_tree(old, new)
    }

    /// The tree of a commit, of a tag, or a tree itself; none if it is not here.
    fn tree_of(&self, id: ObjectId) -> Option<ObjectId> {
        if id.is_null() {
            return None;
        }
        let object = self.repository.try_find_object(id).ok()??;
        Some(object.peel_to_tree().ok()?.id)
    }

    /// The tree of the best common ancestor of `commit` and what remotes are known to have.
    fn tree_known_to_remotes(&self, commit: ObjectId) -> Result<Option<ObjectId>, ChangesError> {
        let damaged = |error: gix::Error| unreadable("look through the references of", self.git_dir(), error);
        let references = self.repository.references().map_err(damaged)?;
        let mut tips: Vec<ObjectId> = Vec::new();
        for reference in references.prefixed("refs/remotes/").map_err(damaged)? {
            // One that leads nowhere, as `origin/HEAD` may, says nothing of what the remote has.
            let Some(mut reference) = reference.ok() else { continue };
            let Some(tip) = reference.peel_to_commit().ok() else { continue };
            tips.push(tip.id);
        }
        tips.sort();
        tips.dedup();
        // The best common ancestor with nothing would be the commit itself.
        if tips.is_empty() {
            return Ok(None);
        }
        let bases = self.repository.merge_bases_many(commit, &tips).map_err(damaged)?;
        Ok(bases.first().and_then(|base| self.tree_of(base.detach())))
    }
}

/// The ids in a line: of what is pushed, and of what the remote has.
fn parse(line: &[u8]) -> Option<(ObjectId, ObjectId)> {
    // A local reference can be an expression with blanks: `git push origin ':/fix it:refs/heads/x'`.
    let mut fields = line.rsplitn(4, |byte| *byte == b' ');
    let (remote, _, local, _) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((ObjectId::from_hex(local).ok()?, ObjectId::from_hex(remote).ok()?))
}
