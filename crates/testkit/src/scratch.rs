//! Scratch repositories, copies of them, and what lies in their stores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Muse;

/// A folder that is a repository of muse, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

/// The files of a store's four folders of records, by path below the store, with their content.
pub type Records = BTreeMap<PathBuf, Vec<u8>>;

impl Scratch {
    /// An empty folder, in memory where there is such a place: none of these tests is about a disk's speed,
    /// and power loss is modelled.
    pub fn empty() -> Scratch {
        let mut builder = tempfile::Builder::new();
        builder.prefix("muse-scratch-");
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir().then(|| builder.tempdir_in(memory)) {
            Some(Ok(folder)) => folder,
            _ => builder.tempdir().expect("a temporary folder can be made"),
        };
        Scratch { folder }
    }

    /// A folder with `.muse` but no store in it: the first reserve makes that.
    pub fn without_store() -> Scratch {
        let scratch = Scratch::empty();
        fs::create_dir(scratch.path().join(".muse")).expect("a folder can be made");
        scratch
    }

    /// A folder with a store.
    pub fn with_store(muse: &Muse) -> Scratch {
        let scratch = Scratch::without_store();
        let answer = muse.run(scratch.path(), &["init", "--json"]);
        assert!(answer.is_ok(), "init: {}", answer.brief());
        scratch
    }

    /// A copy of everything in it.
    #[must_use = "the copy is removed when it is dropped"]
    pub fn copy(&self) -> Scratch {
        let copy = Scratch::empty();
        copy_folder(self.path(), copy.path());
        copy
    }

    /// The top of the working tree.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path().join(".muse/coordination")
    }

    /// Everything that counts in the store but the token.
    pub fn records(&self) -> Records {
        let mut records = Records::new();
        for folder in ["reservations", "heartbeats", "releases", "superseded"] {
            for name in names(&self.store().join(folder)) {
                let below = Path::new(folder).join(name);
                let bytes = fs::read(self.store().join(&below)).expect("a record can be read");
                records.insert(below, bytes);
            }
        }
        records
    }

    /// What lies in the folder for temporary files.
    pub fn temporary(&self) -> Vec<String> {
        names(&self.store().join("tmp"))
    }

    /// The token file as a number; 0 where there is none.
    pub fn token(&self) -> u64 {
        fs::read_to_string(self.store().join("token"))
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .unwrap_or_default()
    }
}

/// The names in a folder, sorted; none where there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            fs::create_dir(&to).expect("a folder can be made");
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
