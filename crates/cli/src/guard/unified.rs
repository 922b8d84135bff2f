//! What a patch would change, as the addresses that it touches.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use muse_guard::unified::{self, Change, FilePatch, Name, Target};
use muse_guard::{Footprint, Reason};
use muse_repo::{Changes, ChangesError, Repository};
use muse_symbols::Why;

use super::gathered::Gathered;
use super::physical;
use crate::context::Context;
use crate::error::{CommandError, Kind};

/// The longest patch, in bytes: it is in memory as a whole.
const PATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What standard input is called.
const STANDARD_INPUT: &str = "-";

/// What the patch in `file` touches of what is on the disk.
pub(crate) fn footprint(
    file: &Path,
    context: &Context,
    repository: &Repository,
    warnings: &mut Vec<String>,
) -> Result<Footprint, CommandError> {
    let bad = |message: String| CommandError::new(Kind::BadArgs, message);
    let patch = read_patch(file).map_err(|error| {
        bad(format!(
            "the patch {} cannot be read ({error}): give another, or - for standard input",
            file.display()
        ))
    })?;
    let files = unified::parse(&patch).map_err(|error| {
        bad(format!(
            "{} is no patch that can be read ({error}): give a unified diff as `git diff` or `diff -u` prints it",
            file.display()
        ))
    })?;
    let current = context.current_directory()?;
    let git_top = if files.iter().any(|file| file.is_git) {
        match Changes::open(&current, &context.git_environment()) {
            Ok(changes) => changes.top().map(Path::to_owned),
            Err(ChangesError::NotGit { .. }) => None,
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let git_top = git_top.as_deref().unwrap_or(repository.top());
    let mut tree = Tree { top: repository.top(), texts: HashMap::new(), gathered: Gathered::default() };
    for FilePatch { target, is_git } in files {
        tree.add(if is_git { git_top } else { &current }, target)?;
    }
    Ok(tree.gathered.finish(repository, warnings))
}

fn read_patch(file: &Path) -> io::Result<Vec<u8>> {
    let mut patch = Vec::new();
    let limit = PATCH_BYTES_MAX + 1;
    if file == Path::new(STANDARD_INPUT) {
        io::stdin().lock().take(limit).read_to_end(&mut patch)?;
    } else {
        File::open(file)?.take(limit).read_to_end(&mut patch)?;
    }
    if u64::try_from(patch.len()).is_ok_and(|length| length == limit) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {PATCH_BYTES_MAX} bytes"),
        ));
    }
    Ok(patch)
}

/// What stands at a path.
enum Found {
    Text(Vec<u8>),
    TooLarge,
    Nothing,
    /// Something that is no file.
    Other,
}

/// The files on the disk, as the parts of the patch before have changed them.
struct Tree<'a> {
    top: &'a Path,
    /// What has been changed, by its path below the top.
    texts: HashMap<String, Vec<u8>>,
    gathered: Gathered,
}

impl Tree<'_> {
    /// Adds what is done to `target`, whose names are relative to `base`.
    fn add(&mut self, base: &Path, target: Target<'_>) -> Result<(), CommandError> {
        match target {
            Target::Created(to) => self.whole(base, &to, Why::Created),
            Target::Deleted(from) => self.whole(base, &from, Why::Deleted),
            Target::Renamed { from, to } => {
                self.whole(base, &from, Why::Deleted);
                self.whole(base, &to, Why::Created);
            }
            Target::Other(name) => self.whole(base, &name, Reason::NoFile),
            Target::Changed { names, change } => {
                // One that is not below the top is noted, and not looked for.
                let mut paths: Vec<String> =
                    names.iter().filter_map(|name| self.below_top(base, name)).collect();
                paths.dedup();
                let mut is_there = paths.is_empty();
                for path in &paths {
                    is_there |= self.change(path, &change)?;
                }
                if let (false, Some(path)) = (is_there, paths.first()) {
                    self.gathered.whole(path, Reason::NotApplied);
                }
            }
        }
        Ok(())
    }

    fn whole(&mut self, base: &Path, name: &Name, why: impl Into<Reason>) {
        if let Some(path) = self.below_top(base, name) {
            self.gathered.whole(&path, why);
        }
    }

    /// Adds what the change touches of a file; `false` where there is none.
    fn change(&mut self, path: &str, change: &Change<'_>) -> Result<bool, CommandError> {
        match self.find(path)? {
            Found::Nothing => return Ok(false),
            Found::Other => self.gathered.whole(path, Reason::NoFile),
            Found::TooLarge => self.gathered.whole(path, Reason::Large(Gathered::bytes_max())),
            Found::Text(old) => match change.apply(&old) {
                Some(new) => {
                    self.gathered.texts(path, &[Some(&old)], &new);
                    self.texts.insert(path.to_owned(), new);
                }
                None => self.gathered.whole(path, Reason::NotApplied),
            },
        }
        Ok(true)
    }

    fn find(&self, path: &str) -> Result<Found, CommandError> {
        if let Some(text) = self.texts.get(path) {
            return Ok(Found::Text(text.clone()));
        }
        let absolute = self.top.join(path);
        let failed = |error: io::Error| {
            let message = format!("{} cannot be read ({error}): make it readable", absolute.display());
            CommandError::new(Kind::Internal, message)
        };
        let metadata = match absolute.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(failed(error)),
        };
        if !metadata.is_file() {
            return Ok(Found::Other);
        }
        let bytes_max = Gathered::bytes_max();
        let mut text = Vec::new();
        let file = File::open(&absolute).map_err(failed)?;
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
        let is_whole = u64::try_from(text.len()).is_ok_and(|length| length <= bytes_max);
        Ok(if is_whole { Found::Text(text) } else { Found::TooLarge })
    }

    /// The path below the top of what is so called at `base`. What is not below it, or no text, is noted.
    fn below_top(&mut self, base: &Path, name: &Name) -> Option<String> {
        let absolute = physical(&base.join(OsStr::from_bytes(name)));
        let Ok(below) = absolute.strip_prefix(self.top) else {
            self.gathered.outside(&unified::display(name));
            return None;
        };
        let below = below.to_str().map(str::to_owned);
        if below.is_none() {
            self.gathered.not_addressed(&unified::display(name));
        }
        below
    }
}
