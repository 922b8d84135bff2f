//! Putting guards into a repository and taking them out again.
//!
//! A [`Target`] says what it would change as a [`Plan`], from what is on the disk; all targets are planned before
//! anything is written, and [`apply`](apply::apply) alone writes. What is ours in a file is known by the command in it,
//! so that no record of it is kept elsewhere: the files are committed and shared between machines. Everything else in a
//! file stays byte for byte, and taking out what was put in gives the bytes back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{CommandError, Kind};

pub(crate) mod apply;
mod config;
mod git;
mod harness;
mod json;
mod mark;
#[cfg(test)]
mod tests;
mod text;

use self::json::Refusal;

/// The largest configuration file that is changed: far more than anybody writes by hand.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What guards can be put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    ClaudeCode,
    Codex,
    Cursor,
    Gemini,
    Copilot,
    Opencode,
    Git,
    Skill,
    AgentsMd,
}

impl Target {
    /// All of them, in the order in which they are told.
    pub(crate) const ALL: [Target; 9] = [
        Target::ClaudeCode,
        Target::Codex,
        Target::Cursor,
        Target::Gemini,
        Target::Copilot,
        Target::Opencode,
        Target::Git,
        Target::Skill,
        Target::AgentsMd,
    ];

    /// Its word in answers, and with two hyphens before it its flag.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Target::ClaudeCode => "claude-code",
            Target::Codex => "codex",
            Target::Cursor => "cursor",
            Target::Gemini => "gemini",
            Target::Copilot => "copilot",
            Target::Opencode => "opencode",
            Target::Git => "git",
            Target::Skill => "skill",
            Target::AgentsMd => "agents-md",
        }
    }

    /// Whether it is in use in this working tree, as far as files tell: `--all` takes these.
    pub(crate) fn is_in_use(self, top: &Path) -> bool {
        let signs: &[&str] = match self {
            Target::ClaudeCode => &[".claude", "CLAUDE.md", ".mcp.json"],
            Target::Codex => &[".codex"],
            Target::Cursor => &[".cursor", ".cursorrules"],
            Target::Gemini => &[".gemini", "GEMINI.md"],
            Target::Copilot => &[".github/hooks", ".github/copilot-instructions.md"],
            Target::Opencode => &[".opencode", "opencode.json", "opencode.jsonc"],
            Target::Git => &[".git"],
            Target::Skill | Target::AgentsMd => &[],
        };
        signs.iter().any(|sign| top.join(sign).exists())
    }
}

/// How guards are to be installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Options {
    /// Whether what could not be checked is blocked.
    pub(crate) strict: bool,
    /// Whether the harness is told of the MCP server too.
    pub(crate) mcp: bool,
    /// Whether Git's hooks ask that all that is touched is held.
    pub(crate) require: bool,
    /// Whether a folder of hooks that other repositories may use is written into.
    pub(crate) force: bool,
}

/// Where guards are installed, and what is planned there so far.
#[derive(Clone, Debug)]
pub(crate) struct Site<'a> {
    /// The top of the working tree: absolute, free of symbolic links.
    pub(crate) top: &'a Path,
    /// What the targets before this one want to change, one change a file.
    planned: Vec<FileChange>,
}

impl<'a> Site<'a> {
    pub(crate) const fn new(top: &'a Path) -> Site<'a> {
        Site { top, planned: Vec::new() }
    }

    /// Adds the changes of one target's plan.
    pub(crate) fn take(&mut self, changes: &[FileChange]) {
        for change in changes {
            match self.planned.iter_mut().find(|planned| planned.path == change.path) {
                Some(planned) => planned.after.clone_from(&change.after),
                None => self.planned.push(change.clone()),
            }
        }
    }

    /// All that is planned.
    pub(crate) fn changes(&self) -> &[FileChange] {
        &self.planned
    }

    /// The bytes of a file as they will be once what is planned so far has been carried out; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, CommandError> {
        if let Some(planned) = self.planned.iter().find(|planned| planned.path == path) {
            return Ok(planned.after.clone());
        }
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let message =
                    format!("cannot read {}: {error}: check its permissions, then try again", path.display());
                Err(CommandError::new(Kind::ConfigUnreadable, message))
            }
        }
    }

    /// Where a file of the working tree is, and its text as it will be once what is planned so far has been carried out;
    /// `None` where there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no text, or a symbolic link leads to it from outside of the working tree: why, for a sentence
    /// that begins with the file.
    pub(crate) fn text(&self, relative: &str) -> Result<(PathBuf, Option<String>), Refusal> {
        let path = self.locate(relative)?;
        let is_odd =
            path.metadata().is_ok_and(|metadata| !metadata.is_file() || metadata.len() > CONFIG_BYTES_MAX);
        if is_odd {
            return Err("it is no file, or too large for one".to_owned());
        }
        let bytes = self.read(&path).map_err(|error| error.message)?;
        let text = bytes.map(String::from_utf8).transpose().map_err(|_| "it is not UTF-8")?;
        Ok((path, text))
    }

    /// The file that a path leads to, by symbolic links that stay in the working tree.
    fn locate(&self, relative: &str) -> Result<PathBuf, Refusal> {
        let path = self.top.join(relative);
        let there = path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(self.top);
        let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
        let real =
            there.canonicalize().map_err(|error| format!("{} leads nowhere ({error})", self.shown(there)))?;
        if !real.starts_with(self.top) {
            return Err(format!(
                "{} leads out of the working tree, to {}",
                self.shown(there),
                real.display()
            ));
        }
        Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    }

    /// A path for people: from the top of the working tree where it is inside it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.top).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// What installing or uninstalling one target would do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The files to write or remove. Those that would stay as they are are left out.
    pub(crate) changes: Vec<FileChange>,
    /// What a person has to do by hand, because it cannot be done here without harm.
    pub(crate) to_paste: Vec<Paste>,
    /// What a person should know besides: one sentence each.
    pub(crate) notes: Vec<String>,
}

/// One file, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileChange {
    /// Absolute. If something is there, it is no symbolic link, nor is a folder above it.
    pub(crate) path: PathBuf,
    /// Its bytes, as they were read; `None` where there is no file.
    pub(crate) before: Option<Vec<u8>>,
    /// Its bytes to be; `None` to remove it.
    pub(crate) after: Option<Vec<u8>>,
    /// The permissions of a file that is made, before the umask. One that is there keeps its own.
    pub(crate) mode: u32,
    /// How many of the folders above it go with it when it is removed, if they are empty then.
    pub(crate) own_folders: usize,
    /// Where what has its name is put before it is made, as it is, be it a link: `before` is `None` then. Where it is
    /// taken from to have its name again when the file is removed.
    pub(crate) aside: Option<PathBuf>,
}

impl Plan {
    /// The plan to change one file.
    fn of_change(change: FileChange) -> Plan {
        Plan { changes: vec![change], ..Plan::default() }
    }

    /// The plan that a person carries out.
    fn of_paste(paste: Paste) -> Plan {
        Plan { to_paste: vec![paste], ..Plan::default() }
    }

    /// Both, one after the other.
    fn and(mut self, other: Plan) -> Plan {
        for change in other.changes {
            match self.changes.iter_mut().find(|planned| planned.path == change.path) {
                Some(planned) => planned.after = change.after,
                None => self.changes.push(change),
            }
        }
        self.to_paste.extend(other.to_paste);
        self.notes.extend(other.notes);
        self
    }
}

/// Why a file that somebody has changed is neither written over nor removed.
const CHANGED: &str = "it was changed since muse wrote it, and muse does not take part in that";

impl FileChange {
    /// The permissions of a file that is read.
    pub(crate) const READ: u32 = 0o666;
    /// The permissions of a file that is executed.
    pub(crate) const EXECUTE: u32 = 0o777;
}

/// What a person has to put into a file by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Paste {
    /// The file, for people: from the top of the working tree where it is inside it.
    pub(crate) path: String,
    /// Why it is not done here: a sentence without its end.
    pub(crate) reason: String,
    /// What belongs there.
    pub(crate) text: String,
}

/// How a target is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing of ours is there.
    Absent,
    /// As this version installs it.
    Installed,
    /// Something of ours is there, but not as this version installs it: `install` brings it up to date.
    Outdated,
    /// What is there cannot be read, or is ours and cannot work.
    Broken,
}

/// What there is of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// How it is found.
    pub(crate) state: State,
    /// Whether what is installed blocks what could not be checked. `None` where nothing is, or it makes no difference.
    pub(crate) strict: Option<bool>,
    /// The files that it is in, or would be in: from the top of the working tree where they are inside it.
    pub(crate) files: Vec<String>,
    /// What is to be known: a sentence each.
    pub(crate) notes: Vec<String>,
}

impl Found {
    /// What there is in one file: `look` tells its state and whether it is strict.
    fn in_file(
        path: &str,
        read: Result<(PathBuf, Option<String>), Refusal>,
        look: impl FnOnce(&str) -> Result<(State, Option<bool>), Refusal>,
    ) -> Found {
        let seen = read.and_then(|(_, text)| text.map_or(Ok((State::Absent, None)), |text| look(&text)));
        let (state, strict, notes) = match seen {
            Ok((state, strict)) => (state, strict, Vec::new()),
            Err(reason) => (State::Broken, None, vec![format!("{path}: {reason}")]),
        };
        Found { state, strict, files: vec![path.to_owned()], notes }
    }

    /// Both, as one: a part that is missing is out of date.
    fn and(mut self, other: Found) -> Found {
        self.state = match (self.state, other.state) {
            (one, other) if one == other => one,
            (State::Broken, _) | (_, State::Broken) => State::Broken,
            _ => State::Outdated,
        };
        self.strict = self.strict.or(other.strict);
        self.files.extend(other.files);
        self.notes.extend(other.notes);
        self
    }
}

/// Plans the installation of a target. Nothing is written.
///
/// # Errors
///
/// What is there cannot be read.
pub(crate) fn plan_install(target: Target, site: &Site, options: Options) -> Result<Plan, CommandError> {
    match target {
        Target::Git => git::plan_install(site, options),
        _ => Ok(harness::plan_install(target, site, options)),
    }
}

/// Plans taking a target out. Nothing is written.
///
/// # Errors
///
/// What is there cannot be read.
pub(crate) fn plan_uninstall(target: Target, site: &Site) -> Result<Plan, CommandError> {
    match target {
        Target::Git => git::plan_uninstall(site),
        _ => Ok(harness::plan_uninstall(target, site)),
    }
}

/// Looks what there is of a target.
///
/// # Errors
///
/// What is there cannot be read at all: permissions, the disk.
pub(crate) fn look(target: Target, site: &Site) -> Result<Found, CommandError> {
    match target {
        Target::Git => git::look(site),
        _ => Ok(harness::look(target, site)),
    }
}
