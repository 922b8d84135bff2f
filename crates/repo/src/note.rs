//! What a clone notes of the engine that its branches use, beside the store: a branch need not say.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Repository, disk, publish};

/// The file in `.muse`.
const NAME: &str = "engine";

impl Repository {
    /// The file of the note. It need not exist.
    pub fn note_of_engine(&self) -> PathBuf {
        self.store().join(NAME)
    }

    /// What was noted; `None` where nothing was.
    ///
    /// # Errors
    ///
    /// What reading the file says.
    pub fn noted_engine(&self) -> io::Result<Option<String>> {
        let path = self.note_of_engine();
        let bytes = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => disk::read_at_most(&path, disk::SMALL_FILE_BYTES_MAX)?,
            // Neither followed nor waited for.
            Ok(_) => Some(Vec::new()),
            Err(error) if disk::is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(bytes.map(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().next().unwrap_or_default().trim();
            if line.is_empty() { "another engine".to_owned() } else { line.to_owned() }
        }))
    }

    /// Notes `place` in place of what was noted.
    ///
    /// # Errors
    ///
    /// What writing the file says; nothing has changed then.
    pub fn note_engine(&self, place: &str) -> io::Result<()> {
        if self.noted_engine().is_ok_and(|noted| noted.as_deref() == Some(place)) {
            return Ok(());
        }
        publish::replace(self.store(), NAME, format!("{place}\n").as_bytes())
    }

    /// Forgets what was noted.
    ///
    /// # Errors
    ///
    /// What removing the file says.
    pub fn forget_engine(&self) -> io::Result<()> {
        match fs::remove_file(self.note_of_engine()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
