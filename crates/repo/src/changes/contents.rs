//! The bytes of what has changed, as Git would store them.

use std::fs::{self, File};
use std::io::Read;

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice as _};
use gix::filter::Pipeline;
use gix::worktree::stack::state::attributes::Source as Attributes;

use super::{Changes, ChangesError, Kind, Side, io_unreadable, unreadable};

/// The bytes of one side of a change, if they may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of them: of a symbolic link, the path that it leads to.
    Bytes(Vec<u8>),
    /// There are more than were asked for.
    TooLarge,
    /// There are none: it is a submodule, or on the disk is no such file any more.
    Nothing,
}

/// Reads the bytes of what has changed. What it takes for that is opened when it is first needed.
#[allow(missing_debug_implementations, reason = "a pipeline of filters has none")]
pub struct Contents<'a> {
    changes: &'a Changes,
    filters: Option<(Pipeline<'a>, gix::index::File)>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(changes: &'a Changes) -> Self {
        Self { changes, filters: None }
    }

    /// The bytes of `side`, at most `bytes_max`. Those of a file on the disk are as Git would store them: with the
    /// line ends, and through the clean filter, that attributes and configuration ask for.
    ///
    /// # Errors
    ///
    /// An object is not there (as in a partial clone) or damaged; a file cannot be read, or its filter fails.
    pub fn read(&mut self, side: &Side, bytes_max: u64) -> Result<Content, ChangesError> {
        if side.kind == Kind::Submodule {
            return Ok(Content::Nothing);
        }
        match (&side.on_disk, side.id) {
            (Some(path), _) => self.read_file(side.kind, path.as_ref(), bytes_max),
            (None, Some(id)) => self.read_object(id, bytes_max),
            (None, None) => Ok(Content::Nothing),
        }
    }

    fn read_object(&self, id: ObjectId, bytes_max: u64) -> Result<Content, ChangesError> {
        let repository = &self.changes.repository;
        let damaged = |error: gix::Error| unreadable("read an object in", self.changes.git_dir(), error);
        if repository.find_header(id).map_err(damaged)?.size() > bytes_max {
            return Ok(Content::TooLarge);
        }
        let mut object = repository.find_object(id).map_err(damaged)?;
        Ok(Content::Bytes(std::mem::take(&mut object.data)))
    }

    fn read_file(&mut self, kind: Kind, path: &BStr, bytes_max: u64) -> Result<Content, ChangesError> {
        let below = gix::path::from_bstr(path)
            .map_err(|error| unreadable("name a file in", self.changes.git_dir(), error))?;
        let absolute = self.changes.required_top()?.join(&below);
        let metadata = match fs::symlink_metadata(&absolute) {
            Ok(metadata) => metadata,
            Err(error) if crate::disk::is_missing(&error) => return Ok(Content::Nothing),
            Err(error) => return Err(unreadable("look at", &absolute, error)),
        };
        if kind == Kind::Symlink && metadata.is_symlink() {
            let target = fs::read_link(&absolute).map_err(io_unreadable("read", &absolute))?;
            let target =
                gix::path::into_bstr(target).map_err(|error| unreadable("read", &absolute, error))?;
            return Ok(limited(target.as_bytes().to_vec(), bytes_max));
        }
        if !metadata.is_file() {
            return Ok(Content::Nothing);
        }
        if metadata.len() > bytes_max {
            return Ok(Content::TooLarge);
        }
        let file = File::open(&absolute).map_err(io_unreadable("read", &absolute))?;
        let (pipeline, index) = self.filters()?;
        let mut stored = pipeline
            .convert_to_git(file, &below, index)
            .map_err(|error| unreadable("convert to what Git stores", &absolute, error))?;
        let mut bytes = Vec::new();
        // One more than may be, to tell a file that grows.
        let read = Read::by_ref(&mut stored).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(io_unreadable("read", &absolute))?;
        Ok(limited(bytes, bytes_max))
    }

    fn filters(&mut self) -> Result<(&mut Pipeline<'a>, &gix::index::State), ChangesError> {
        if self.filters.is_none() {
            let repository = self.changes.configured()?;
            let index = self.changes.index()?;
            let failed =
                |error: gix::Error| unreadable("read the attributes of", self.changes.git_dir(), error);
            let attributes = repository
                .attributes_only(&index, Attributes::WorktreeThenIdMapping)
                .map_err(failed)?
                .detach();
            let pipeline = Pipeline::new(repository, attributes).map_err(failed)?;
            self.filters = Some((pipeline, index));
        }
        match &mut self.filters {
            Some((pipeline, index)) => Ok((pipeline, index)),
            None => Err(unreadable("read the attributes of", self.changes.git_dir(), "they are not there")),
        }
    }
}

fn limited(bytes: Vec<u8>, bytes_max: u64) -> Content {
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        Content::Bytes(bytes)
    } else {
        Content::TooLarge
    }
}
