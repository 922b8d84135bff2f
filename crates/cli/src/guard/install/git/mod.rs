//! Git's hooks `pre-commit` and `pre-push`, in the folder that Git looks into.
//!
//! A hook that is there is put aside under another name in the same folder, as it is, and runs first: what it changes
//! in the index is checked too. Taking the guard out moves it back. Where another program manages the hooks, or the
//! folder belongs to other repositories as well, nothing is written, and what to put where is told.

mod managers;
mod script;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muse_repo::{ChangesError, HooksFolder};

use self::managers::Manager;
use self::script::{ASIDE, Hook, Kind, kind, script};
use crate::error::{CommandError, Kind as ErrorKind};
use crate::guard::install::{CHANGED, FileChange, Found, Options, Paste, Plan, Site, State};

/// Plans putting the hooks in.
pub(super) fn plan_install(site: &Site, options: Options) -> Result<Plan, CommandError> {
    let hooks = match HooksFolder::find(site.top) {
        Ok(hooks) => hooks,
        Err(error @ ChangesError::Unsupported { .. }) => {
            return Ok(left(vec![("hooks".to_owned(), error.to_string(), String::new())]));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(manager) = Manager::find(site, &hooks)? {
        let to_paste = manager.to_paste(site, &hooks, options)?;
        return Ok(Plan { to_paste, ..Plan::default() });
    }
    if hooks.path().exists() && !hooks.path().is_dir() {
        let setting = hooks.configured_in().unwrap_or_default();
        let reason = format!("core.hooksPath in {setting} names no folder, so Git runs no hooks: unset it");
        return Ok(left(vec![(site.shown(hooks.path()), reason, String::new())]));
    }
    if !hooks.is_own() && !options.force {
        let setting = hooks.configured_in().unwrap_or_default();
        let reason = format!(
            "core.hooksPath in {setting} leads out of this repository, so others may use it too: \
             --force writes into it all the same"
        );
        let lines = Hook::ALL.map(|hook| {
            let path = site.shown(&hooks.path().join(hook.name()));
            (path, reason.clone(), line(hook, options))
        });
        return Ok(left(lines.into()));
    }
    let mut plan = Plan::default();
    for hook in Hook::ALL {
        install(site, &hooks, hook, options, &mut plan)?;
    }
    Ok(plan)
}

/// Plans putting one hook in.
fn install(
    site: &Site,
    hooks: &HooksFolder,
    hook: Hook,
    options: Options,
    plan: &mut Plan,
) -> Result<(), CommandError> {
    let place = Place::look(site, hooks, hook)?;
    let text = script(hook, options);
    let (before, aside) = match place.kind {
        None => (None, None),
        Some(Kind::Ours) => (read(site, &place.path)?, None),
        Some(Kind::Foreign) if metadata(&place.path)?.is_some_and(|metadata| metadata.is_dir()) => {
            let reason =
                "it is a folder, so Git runs no hook there: move it away, then install again".to_owned();
            plan.paste(site.shown(&place.path), reason, text);
            return Ok(());
        }
        Some(Kind::Foreign) if !place.is_aside => (None, Some(place.aside.clone())),
        Some(Kind::Foreign) => {
            let reason = format!(
                "it is not muse's, and one from before muse is there already, {}: join the two, or remove one",
                site.shown(&place.aside)
            );
            plan.paste(site.shown(&place.path), reason, line(hook, options));
            return Ok(());
        }
        Some(Kind::Changed) => {
            plan.paste(site.shown(&place.path), CHANGED.to_owned(), text);
            return Ok(());
        }
    };
    if let Some(aside) = &aside {
        plan.notes.push(format!(
            "{} was there: it is {} now, and runs first",
            site.shown(&place.path),
            site.shown(aside)
        ));
    } else if place.kind.is_none() && place.is_aside {
        plan.notes.push(format!("{} is there, and runs first", site.shown(&place.aside)));
    }
    if before.as_deref() == Some(text.as_bytes()) && place.is_executable {
        return Ok(());
    }
    plan.changes.push(FileChange {
        path: place.path,
        before,
        after: Some(text.into_bytes()),
        mode: FileChange::EXECUTE,
        own_folders: 0,
        aside,
    });
    Ok(())
}

/// Plans taking the hooks out, also where Git looks no longer.
pub(super) fn plan_uninstall(site: &Site) -> Result<Plan, CommandError> {
    let mut plan = Plan::default();
    let Some(hooks) = find(site)? else { return Ok(plan) };
    for folder in hooks.all() {
        for hook in Hook::ALL {
            let place = Place::at(site, folder.join(hook.name()))?;
            match place.kind {
                Some(Kind::Ours) => plan.changes.push(FileChange {
                    before: read(site, &place.path)?,
                    path: place.path,
                    after: None,
                    mode: FileChange::EXECUTE,
                    own_folders: 0,
                    aside: place.is_aside.then_some(place.aside),
                }),
                Some(Kind::Changed) => {
                    let or_back = if place.is_aside {
                        format!(", or run: mv {} {}", word(&place.aside), word(&place.path))
                    } else {
                        String::new()
                    };
                    let reason = format!("{CHANGED}: take out of it what is muse's{or_back}");
                    plan.paste(site.shown(&place.path), reason, String::new());
                }
                Some(Kind::Foreign) | None => {}
            }
        }
    }
    if let Some(manager) = Manager::find(site, &hooks)?
        && manager.to_paste(site, &hooks, Options::default())?.is_empty()
    {
        for path in manager.files(&hooks) {
            let reason = format!("{} runs muse as it says: take `muse` out of it", manager.name());
            plan.paste(path, reason, String::new());
        }
    }
    Ok(plan)
}

/// Looks what hooks there are.
pub(super) fn look(site: &Site) -> Result<Found, CommandError> {
    let mut found = Found { state: State::Absent, strict: None, files: Vec::new(), notes: Vec::new() };
    let Some(hooks) = find(site)? else { return Ok(found) };
    if let Some(manager) = Manager::find(site, &hooks)? {
        found.files = manager.files(&hooks);
        if manager.to_paste(site, &hooks, Options::default())?.is_empty() {
            found.state = State::Installed;
            found.notes.push(format!("run by {}", manager.name()));
        } else {
            let name = manager.name();
            found.notes.push(format!(
                "{name} runs the hooks here: `muse coord guard install --git` says what it needs"
            ));
        }
        return Ok(found);
    }
    let mut states = Vec::new();
    for hook in Hook::ALL {
        let place = Place::look(site, &hooks, hook)?;
        let shown = site.shown(&place.path);
        let mut note = |text: &str| found.notes.push(format!("{shown} {text}"));
        let state = match place.kind {
            None | Some(Kind::Foreign) => {
                if place.is_aside && place.kind.is_some() {
                    note("has taken the place of muse's");
                }
                State::Absent
            }
            Some(Kind::Changed) => {
                note("was changed since muse wrote it");
                State::Broken
            }
            Some(Kind::Ours) if !place.is_executable => {
                note("is not executable, so Git leaves it out");
                State::Broken
            }
            Some(Kind::Ours) => {
                let text = read(site, &place.path)?.unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let options = Options {
                    strict: text.contains(" --strict"),
                    require: text.contains(" --require"),
                    ..Options::default()
                };
                found.strict = Some(options.strict);
                if text == script(hook, options) { State::Installed } else { State::Outdated }
            }
        };
        found.files.push(shown);
        states.push(state);
    }
    found.state = match *states {
        _ if states.contains(&State::Broken) => State::Broken,
        [one, other] if one == other => one,
        _ => State::Outdated,
    };
    Ok(found)
}

/// The folder of the hooks; `None` outside Git, and where muse reads nothing of Git's.
fn find(site: &Site) -> Result<Option<HooksFolder>, CommandError> {
    match HooksFolder::find(site.top) {
        Ok(hooks) => Ok(Some(hooks)),
        Err(ChangesError::NotGit { .. } | ChangesError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is under the name of a hook.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// `None` where nothing is.
    kind: Option<Kind>,
    is_executable: bool,
    /// Where one that was there before is put.
    aside: PathBuf,
    /// Whether something is there.
    is_aside: bool,
}

impl Place {
    fn look(site: &Site, hooks: &HooksFolder, hook: Hook) -> Result<Place, CommandError> {
        Place::at(site, hooks.path().join(hook.name()))
    }

    fn at(site: &Site, path: PathBuf) -> Result<Place, CommandError> {
        let mut aside = path.clone().into_os_string();
        aside.push(ASIDE);
        let aside = PathBuf::from(aside);
        let metadata = metadata(&path)?;
        let kind = match &metadata {
            None => None,
            Some(metadata) if metadata.is_file() => read(site, &path)?.as_deref().map(kind),
            Some(_) => Some(Kind::Foreign),
        };
        let is_executable = metadata.is_some_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
        let is_aside = self::metadata(&aside)?.is_some();
        Ok(Place { path, kind, is_executable, aside, is_aside })
    }
}

/// What is under a name, a symbolic link itself.
fn metadata(path: &Path) -> Result<Option<fs::Metadata>, CommandError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => {
            let message =
                format!("cannot look at {}: {error}: check its permissions, then try again", path.display());
            Err(CommandError::new(ErrorKind::ConfigUnreadable, message))
        }
    }
}

/// The bytes of a file; `None` where there is none, or a folder.
fn read(site: &Site, path: &Path) -> Result<Option<Vec<u8>>, CommandError> {
    if path.is_file() { site.read(path) } else { Ok(None) }
}

/// A line for a shell script of somebody else's.
fn line(hook: Hook, options: Options) -> String {
    format!("{}\n", hook.line(options, if hook == Hook::PrePush { " \"$@\"" } else { "" }))
}

fn word(path: &Path) -> String {
    crate::report::shell_word(&path.to_string_lossy())
}

fn left(files: Vec<(String, String, String)>) -> Plan {
    let mut plan = Plan::default();
    for (path, reason, text) in files {
        plan.paste(path, reason, text);
    }
    plan
}

impl Plan {
    fn paste(&mut self, path: String, reason: String, text: String) {
        self.to_paste.push(Paste { path, reason, text });
    }
}
