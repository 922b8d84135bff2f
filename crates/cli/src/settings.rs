//! Which engine keeps the reservations of a repository, and where: told by `muse.toml` at the top of the tree, which is
//! meant to be committed, `.muse/config.toml`, which is this machine's own and stronger, and the environment, which is
//! strongest.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muse_coord::Endpoints;
use muse_repo::Repository;
use serde::Deserialize;

use crate::error::{CommandError, Kind};

/// The file that is committed.
const SHARED_FILE: &str = "muse.toml";
/// The file of this machine.
const OWN_FILE: &str = "config.toml";

/// The longest name of a repository, so that keys stay short.
const REPOSITORY_MAX: usize = 128;

/// Which engine it is.
#[derive(Clone, Debug)]
pub(crate) enum EngineSettings {
    /// Files in the store's folder.
    Files {
        /// Whether anything says so.
        is_chosen: bool,
    },
    /// etcd.
    Etcd {
        endpoints: Endpoints,
        repository: String,
        /// Whether only `muse.toml` says so, which another branch need not have.
        is_by_branch: bool,
    },
}

/// What is configured, and where, for those who look at it: what is missing or wrong stands beside what is there.
#[derive(Debug)]
pub(crate) struct Account {
    /// The engine's name, as it is written.
    pub(crate) engine: String,
    /// The variable that says so; `None` where none does.
    pub(crate) chosen_by: Option<String>,
    /// The name of the repository, and where that stands.
    pub(crate) repository: Option<(String, String)>,
    /// Where the endpoints stand.
    pub(crate) endpoints_in: Option<String>,
    /// How etcd is spoken to, if enough of that is known.
    pub(crate) access: Option<Endpoints>,
    /// What is missing or wrong.
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    coordination: Table,
}

/// The table `[coordination]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    engine: Option<String>,
    endpoints: Option<Vec<String>>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    repository: Option<String>,
}

/// The variables `MUSE_COORD_*`.
pub(crate) const ENGINE_VARIABLES: &[&str] = &[
    "MUSE_COORD_ENGINE",
    "MUSE_COORD_ENDPOINTS",
    "MUSE_COORD_CA",
    "MUSE_COORD_CERT",
    "MUSE_COORD_KEY",
    "MUSE_COORD_USER",
    "MUSE_COORD_PASSWORD",
    "MUSE_COORD_PASSWORD_FILE",
    "MUSE_COORD_REPOSITORY",
];

/// The variables `MUSE_COORD_*` that are set and not empty.
#[derive(Clone, Default)]
pub(crate) struct Variables {
    engine: Option<OsString>,
    endpoints: Option<OsString>,
    ca: Option<OsString>,
    cert: Option<OsString>,
    key: Option<OsString>,
    user: Option<OsString>,
    password: Option<OsString>,
    password_file: Option<OsString>,
    repository: Option<OsString>,
}

/// Without the password.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Variables {
    /// Asks `variable` for each.
    pub(crate) fn read(variable: impl Fn(&'static str) -> Option<OsString>) -> Variables {
        Variables {
            engine: variable("MUSE_COORD_ENGINE"),
            endpoints: variable("MUSE_COORD_ENDPOINTS"),
            ca: variable("MUSE_COORD_CA"),
            cert: variable("MUSE_COORD_CERT"),
            key: variable("MUSE_COORD_KEY"),
            user: variable("MUSE_COORD_USER"),
            password: variable("MUSE_COORD_PASSWORD"),
            password_file: variable("MUSE_COORD_PASSWORD_FILE"),
            repository: variable("MUSE_COORD_REPOSITORY"),
        }
    }

    fn table(&self) -> Result<Table, CommandError> {
        let text = |name: &str, value: &Option<OsString>| -> Result<Option<String>, CommandError> {
            let text = |value: OsString| {
                value.into_string().map_err(|_| bad(format!("{name} is not valid UTF-8: set it anew")))
            };
            value.clone().map(text).transpose()
        };
        let endpoints = text("MUSE_COORD_ENDPOINTS", &self.endpoints)?;
        Ok(Table {
            engine: text("MUSE_COORD_ENGINE", &self.engine)?,
            endpoints: endpoints.map(|all| list(&all)),
            ca: self.ca.clone().map(PathBuf::from),
            cert: self.cert.clone().map(PathBuf::from),
            key: self.key.clone().map(PathBuf::from),
            user: text("MUSE_COORD_USER", &self.user)?,
            password_file: self.password_file.clone().map(PathBuf::from),
            repository: text("MUSE_COORD_REPOSITORY", &self.repository)?,
        })
    }
}

impl EngineSettings {
    /// What is configured for a repository.
    ///
    /// # Errors
    ///
    /// [`Kind::BadConfig`] when a file cannot be read or says what is not understood.
    pub(crate) fn read(
        repository: &Repository,
        variables: &Variables,
    ) -> Result<EngineSettings, CommandError> {
        if variables.engine.as_deref() == Some(OsStr::new("files")) {
            return Ok(EngineSettings::Files { is_chosen: true });
        }
        let (own, shared) = Table::of_each(repository, variables)?;
        let is_by_branch = own.engine.is_none();
        let table = own.over(shared);
        match table.engine.as_deref() {
            None => Ok(EngineSettings::Files { is_chosen: false }),
            Some("files") => Ok(EngineSettings::Files { is_chosen: true }),
            Some("etcd") => {
                let (endpoints, repository) = etcd(table, variables)?;
                Ok(EngineSettings::Etcd { endpoints, repository, is_by_branch })
            }
            Some(other) => Err(no_engine(other)),
        }
    }

    /// Where the etcd of a repository is, whichever engine is chosen.
    ///
    /// # Errors
    ///
    /// As [`EngineSettings::read`].
    pub(crate) fn read_etcd(
        repository: &Repository,
        variables: &Variables,
    ) -> Result<(Endpoints, String), CommandError> {
        let (own, shared) = Table::of_each(repository, variables)?;
        etcd(own.over(shared), variables)
    }
}

impl Account {
    /// Reads everything, whichever engine it is: that another one is configured is worth knowing.
    pub(crate) fn of(repository: &Repository, variables: &Variables) -> Account {
        let mut problems = Vec::new();
        let mut noted = |table: Result<Table, CommandError>| {
            table.unwrap_or_else(|error| {
                problems.push(error.message);
                Table::default()
            })
        };
        let (own, shared) = (repository.store().join(OWN_FILE), shared_file(repository));
        let (own_table, shared_table) = (noted(read(&own)), noted(read(&shared)));
        let variables_table = noted(variables.table());
        let source_of = |has: fn(&Table) -> bool, variable: &str| {
            if has(&variables_table) {
                Some(variable.to_owned())
            } else if has(&own_table) {
                Some(own.display().to_string())
            } else {
                has(&shared_table).then(|| shared.display().to_string())
            }
        };
        let named_in = source_of(|table| table.repository.is_some(), "MUSE_COORD_REPOSITORY");
        let chosen_by = source_of(|table| table.engine.is_some(), "MUSE_COORD_ENGINE");
        let endpoints_in = source_of(|table| table.endpoints.is_some(), "MUSE_COORD_ENDPOINTS");
        let table = variables_table.over(own_table).over(shared_table);
        let mut account = Account {
            engine: table.engine.clone().unwrap_or_else(|| "files".to_owned()),
            chosen_by,
            repository: table.repository.clone().zip(named_in),
            endpoints_in,
            access: None,
            problems,
        };
        match &*account.engine {
            "files" => {
                if account.chosen_by.is_none() && account.problems.is_empty() {
                    account.problems.extend(no_other_is_noted(repository).err().map(|error| error.message));
                }
            }
            "etcd" => {
                account.problems.extend(name(&table).err().map(|error| error.message));
                match access(table, variables) {
                    Ok(access) => account.access = Some(access),
                    Err(error) => account.problems.push(error.message),
                }
            }
            other => account.problems.push(no_engine(other).message),
        }
        account
    }
}

impl Table {
    /// What is said of a repository on this machine, and what is committed, which is weaker.
    fn of_each(repository: &Repository, variables: &Variables) -> Result<(Table, Table), CommandError> {
        let own = read(&repository.store().join(OWN_FILE))?;
        let shared = read(&shared_file(repository))?;
        Ok((variables.table()?.over(own), shared))
    }

    /// What stands here, else what stands in `weaker`.
    fn over(self, weaker: Table) -> Table {
        Table {
            engine: self.engine.or(weaker.engine),
            endpoints: self.endpoints.or(weaker.endpoints),
            ca: self.ca.or(weaker.ca),
            cert: self.cert.or(weaker.cert),
            key: self.key.or(weaker.key),
            user: self.user.or(weaker.user),
            password_file: self.password_file.or(weaker.password_file),
            repository: self.repository.or(weaker.repository),
        }
    }
}

/// Fails where no engine is named, and a branch of this clone uses another than the files.
///
/// # Errors
///
/// [`Kind::BadConfig`].
pub(crate) fn no_other_is_noted(repository: &Repository) -> Result<(), CommandError> {
    match repository.noted_engine() {
        Ok(None) => Ok(()),
        Ok(Some(place)) => Err(bad(format!(
            "this branch names no engine, and another one of this clone uses {place}: files know nothing of what is \
             reserved there. Copy its [coordination] from muse.toml to {}, which counts on every branch, with whole \
             paths; or, if no branch uses it any more, remove {}",
            repository.store().join(OWN_FILE).display(),
            repository.note_of_engine().display()
        ))),
        Err(error) => Err(unreadable(&repository.note_of_engine(), &error)),
    }
}

/// The file that is committed: that of the working tree, else, in a linked worktree whose branch has none, that of the
/// main one. All worktrees have one store, so they are to use one engine.
fn shared_file(repository: &Repository) -> PathBuf {
    let its = repository.top().join(SHARED_FILE);
    match repository.store().parent() {
        Some(home) if home != repository.top() && its.symlink_metadata().is_err() => home.join(SHARED_FILE),
        _ => its,
    }
}

fn etcd(table: Table, variables: &Variables) -> Result<(Endpoints, String), CommandError> {
    let repository = name(&table)?;
    Ok((access(table, variables)?, repository))
}

/// The name of the repository.
fn name(table: &Table) -> Result<String, CommandError> {
    let repository = table.repository.clone().ok_or_else(|| {
        bad("the engine `etcd` needs `repository`, the name by which all clones of this repository find each other: \
             run `muse coord engine status`, which shows one to copy into muse.toml")
    })?;
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if repository.is_empty() || repository.len() > REPOSITORY_MAX || !repository.chars().all(is_of_name) {
        return Err(bad(format!(
            "`repository` is 1 to {REPOSITORY_MAX} letters, digits, `.`, `_` and `-`, and not `{repository}`: \
             choose another"
        )));
    }
    Ok(repository)
}

/// How etcd is spoken to.
fn access(table: Table, variables: &Variables) -> Result<Endpoints, CommandError> {
    let bytes = |path: &Option<PathBuf>| -> Result<Option<Vec<u8>>, CommandError> {
        let read = |path: &PathBuf| fs::read(path).map_err(|error| unreadable(path, &error));
        path.as_ref().map(read).transpose()
    };
    let identity = match (bytes(&table.cert)?, bytes(&table.key)?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(bad("`cert` and `key` go together: give both, or neither")),
    };
    let login = match table.user {
        Some(user) => Some((user, password(table.password_file.as_deref(), variables)?)),
        None => None,
    };
    Ok(Endpoints { urls: table.endpoints.unwrap_or_default(), ca: bytes(&table.ca)?, identity, login })
}

/// The password: from the environment, or from a file that nobody else can read.
fn password(file: Option<&Path>, variables: &Variables) -> Result<String, CommandError> {
    if let Some(password) = &variables.password {
        let password = password.clone().into_string();
        return password.map_err(|_| bad("MUSE_COORD_PASSWORD is not valid UTF-8: set another"));
    }
    let Some(file) = file else {
        return Err(bad(
            "`user` needs a password: set MUSE_COORD_PASSWORD, or name a file in `password_file` that only you can \
             read",
        ));
    };
    let mode = file.metadata().map_err(|error| unreadable(file, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(bad(format!(
            "others can read the password in {0}: `chmod 600 {0}`, and change it if they may have",
            file.display()
        )));
    }
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A file of settings; an empty one where there is none. Paths in it are relative to its folder.
fn read(path: &Path) -> Result<Table, CommandError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Table::default());
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    let file: File = toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        bad(format!("{}, line {line}: {}: mend it", path.display(), error.message()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let beside = |its: Option<PathBuf>| its.map(|its| folder.join(its));
    let table = file.coordination;
    Ok(Table {
        ca: beside(table.ca),
        cert: beside(table.cert),
        key: beside(table.key),
        password_file: beside(table.password_file),
        ..table
    })
}

/// What stands between commas.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

fn no_engine(name: &str) -> CommandError {
    bad(format!("there is no engine `{name}`: `engine` is `files` or `etcd`"))
}

fn bad(message: impl Into<String>) -> CommandError {
    CommandError::new(Kind::BadConfig, message)
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    bad(format!("{} cannot be read ({error}): mend it, or name another", path.display()))
}
