//! The least that a process does which rewrites small files atomically: for each target it writes 300 bytes to a
//! temporary file and renames that over the target. With `sync` before the targets, it also syncs file and folder.
//!
//! `floor [sync] TARGET...`

#![expect(clippy::disallowed_methods, reason = "the floor is what muse does without its rules")]

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1).peekable();
    let sync = arguments.next_if(|argument| argument == "sync").is_some();
    for target in arguments.map(PathBuf::from) {
        rewrite(&target, sync)?;
    }
    io::stdout().write_all(b"done\n")
}

fn rewrite(target: &Path, sync: bool) -> io::Result<()> {
    let temporary = target.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&[b'x'; 300])?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&temporary, target)?;
    if sync {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
