//! The only reader of the environment, the current directory and terminal facts; hands the clock on.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muse_coord::address::{Entry, Place, Tree};
use muse_coord::{
    Address, AnyEngine, Clock, Coordinator, Endpoints, EndpointsError, EngineError, EtcdEngine, FileEngine,
    Progress, RunId, Safeguards, Server, Stopwatch, SystemClock, Timestamp,
};
use muse_repo::{FindError, GitEnvironment, Repository};

use crate::error::{CommandError, Kind};
use crate::settings::{self, Account, EngineSettings, Variables};

/// The environment variable that stands in for `--run-id`.
pub(crate) const RUN_ID_VARIABLE: &str = "MUSE_RUN_ID";
/// What the names of variables begin with by which `git merge` tells its hooks what it merges; an id follows.
const MERGED_PREFIX: &str = "GITHEAD_";
/// The environment variable that, set to `off`, keeps guards out of the way.
const GUARD_VARIABLE: &str = "MUSE_GUARD";
/// The environment variable that names the repository.
const ROOT_VARIABLE: &str = "MUSE_REPO_ROOT";

/// The environment variables in which harnesses name the file whose `export` lines become the environment of what the
/// session runs.
const SESSION_FILE_VARIABLES: [&str; 2] = ["CLAUDE_ENV_FILE", "CODEX_ENV_FILE"];

/// What the process was started with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The arguments, the program's name first.
    pub(crate) arguments: Vec<OsString>,
    /// Whether the answer is to be one JSON object.
    pub(crate) json: bool,
    /// Whether a terminal, if it is one, may be coloured.
    pub(crate) colour: bool,
    /// Whether a terminal can move its cursor.
    draws: bool,
    stopwatch: Stopwatch,
    run_id: Option<OsString>,
    root: Option<PathBuf>,
    guard: Option<OsString>,
    session_file: Option<PathBuf>,
    safeguards: Safeguards,
    /// `MUSE_COORD_*`.
    engine_variables: Variables,
}

#[expect(clippy::unused_self, reason = "whoever asks the process for something has the context at hand")]
impl Context {
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn of_process(safeguards: Safeguards) -> Context {
        let stopwatch = Stopwatch::start();
        let arguments: Vec<OsString> = env::args_os().collect();
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Context {
            json: asks_for_json(&arguments),
            colour: variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|term| term != "dumb"),
            draws: variable("TERM").is_some_and(|term| term != "dumb"),
            arguments,
            stopwatch,
            run_id: variable(RUN_ID_VARIABLE),
            root: variable(ROOT_VARIABLE).map(PathBuf::from),
            guard: variable(GUARD_VARIABLE),
            session_file: SESSION_FILE_VARIABLES.into_iter().find_map(variable).map(PathBuf::from),
            safeguards,
            engine_variables: Variables::read(variable),
        }
    }

    /// What a call of a server is to see: as for a process that is started now with `--json`, and with
    /// `run` in its environment if there is no run there.
    pub(crate) fn of_call(&self, run: &str) -> Context {
        Context {
            json: true,
            stopwatch: Stopwatch::start(),
            run_id: self.run_id.clone().or_else(|| Some(run.into())),
            ..self.clone()
        }
    }

    /// The arguments as the parser is to see them.
    ///
    /// Behind `help` it takes names of commands and nothing else: the wish for JSON, which is known already, is left
    /// out there.
    pub(crate) fn arguments_to_parse(&self) -> Vec<&OsString> {
        let is_wish = |argument: &OsString| argument == "--json" || argument == "-j";
        let words: Vec<&OsString> = self.arguments.iter().filter(|argument| !is_wish(argument)).collect();
        let is_help = match words.get(1..) {
            Some([first, second, ..]) if *first == "coord" => *second == "help",
            Some([first, ..]) => *first == "help",
            _ => false,
        };
        if is_help { words } else { self.arguments.iter().collect() }
    }

    /// Whether this is called as a hook, whose caller reads exit codes in its own way.
    pub(crate) fn is_hook(&self) -> bool {
        let is_flag = |argument: &&OsString| argument.as_encoded_bytes().starts_with(b"-");
        let mut words = self.arguments.iter().skip(1).filter(|argument| !is_flag(argument));
        words.next().is_some_and(|word| word == "coord") && words.next().is_some_and(|word| word == "hook")
    }

    /// Milliseconds since the process began its work, to the microsecond.
    pub(crate) fn duration_ms(&self) -> f64 {
        (self.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0
    }

    /// What shows how far something is that takes long.
    pub(crate) fn progress(&self) -> Box<dyn Progress> {
        crate::progress::progress(!self.json && self.draws, || io::stderr().is_terminal())
    }

    /// Whether a person looks at standard output, on a terminal that can be drawn on.
    pub(crate) fn has_screen(&self) -> bool {
        self.draws && io::stdout().is_terminal()
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The run that `--run-id` names, else the environment.
    pub(crate) fn run_id(&self, flag: Option<&OsString>) -> Result<RunId, CommandError> {
        let given = flag.or(self.run_id.as_ref()).ok_or_else(|| {
            CommandError::new(
                Kind::Usage,
                format!(
                    "a run id is required: give `--run-id ID` or set {RUN_ID_VARIABLE}, \
                     and use the same one for everything that this run does"
                ),
            )
        })?;
        let text = given.to_str().ok_or_else(|| {
            CommandError::new(Kind::BadArgs, "the run id is not valid UTF-8: choose another")
        })?;
        RunId::new(text).map_err(|error| CommandError::new(Kind::BadArgs, error.to_string()))
    }

    /// The run that the environment names, if it does.
    pub(crate) fn run_id_of_environment(&self) -> Result<Option<RunId>, CommandError> {
        self.run_id.as_ref().map(|run| self.run_id(Some(run))).transpose()
    }

    /// Whether guards are to let everything through.
    pub(crate) fn is_unguarded(&self) -> bool {
        self.guard.as_ref().is_some_and(|value| value.eq_ignore_ascii_case("off"))
    }

    /// The file whose `export` lines become the environment of what a harness's session runs.
    pub(crate) fn session_file(&self) -> Option<&Path> {
        self.session_file.as_deref()
    }

    /// The time since the process began its work.
    pub(crate) fn elapsed(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// The repository that the command runs in.
    pub(crate) fn repository(&self) -> Result<Repository, CommandError> {
        Ok(self.find_repository()??)
    }

    /// As [`Context::repository`], for those who open the store at once: see [`Repository::find_unseen`].
    pub(crate) fn repository_unseen(&self) -> Result<Repository, CommandError> {
        Ok(Repository::find_unseen(&self.current_directory()?, self.root())?)
    }

    /// As [`Context::repository`], for those who can do without.
    pub(crate) fn find_repository(&self) -> Result<Result<Repository, FindError>, CommandError> {
        Ok(Repository::find(&self.current_directory()?, self.root()))
    }

    /// The top of the working tree that the command runs in, whether or not there is a store.
    pub(crate) fn top(&self) -> Result<PathBuf, CommandError> {
        let current = self.current_directory()?;
        let found = match self.root() {
            Some(root) => Some(current.join(root)).filter(|root| root.is_dir()),
            None => current.ancestors().find(|folder| is_top(folder)).map(Path::to_owned),
        };
        let top = match found {
            Some(top) => top,
            // A bare repository without a store is told from no repository at all.
            None => self.repository()?.top().to_owned(),
        };
        top.canonicalize().map_err(|error| {
            CommandError::new(
                Kind::NotARepository,
                format!("{}: {error}: change to a folder that can be read", top.display()),
            )
        })
    }

    /// `MUSE_REPO_ROOT`, if it is set and not empty.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn current_directory(&self) -> Result<PathBuf, CommandError> {
        env::current_dir().map_err(|error| {
            let message =
                format!("the current directory cannot be told ({error}): change to one that exists");
            CommandError::new(Kind::NotARepository, message)
        })
    }

    /// What the pre-commit framework tells a hook `pre-push`, whose standard input it keeps: what the remote has, unless
    /// it has nothing, and what is pushed.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn told_by_pre_commit(&self) -> Option<(Option<String>, String)> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let local = variable("PRE_COMMIT_TO_REF").or_else(|| variable("PRE_COMMIT_LOCAL_BRANCH"))?;
        Some((variable("PRE_COMMIT_FROM_REF"), local))
    }

    /// What Git tells its hooks.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn git_environment(&self) -> GitEnvironment {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let is_id = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let merged = env::vars_os().filter_map(|(name, _)| {
            let id = name.to_str()?.strip_prefix(MERGED_PREFIX)?;
            is_id(id).then(|| id.to_owned())
        });
        let mut merged: Vec<String> = merged.collect();
        merged.sort();
        GitEnvironment {
            git_dir: path("GIT_DIR"),
            work_tree: path("GIT_WORK_TREE"),
            index_file: path("GIT_INDEX_FILE"),
            merged,
        }
    }

    /// The path of this very program, to start more of it.
    pub(crate) fn program(&self) -> Result<PathBuf, CommandError> {
        env::current_exe().map_err(|error| {
            CommandError::new(Kind::Internal, format!("the path of this program cannot be told: {error}"))
        })
    }

    /// Whether a program of this name would be found by its name alone.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    pub(crate) fn finds_program(&self, name: &str) -> bool {
        env::var_os("PATH")
            .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
    }

    /// Whether a command that is started from here would read from a terminal and write to one.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The folder for temporary files.
    pub(crate) fn temporary_folder(&self) -> PathBuf {
        env::temp_dir()
    }

    /// What the repository's store holds.
    pub(crate) fn coordinator(
        &self,
        repository: &Repository,
        purpose: Purpose,
    ) -> Result<Coordinator<AnyEngine<SystemClock>>, CommandError> {
        Ok(Coordinator::new(match self.engine(repository, purpose)? {
            AnyEngine::Files(files) => AnyEngine::Files(files.telling(self.progress())),
            etcd @ AnyEngine::Etcd(_) => etcd,
        }))
    }

    /// As [`Context::coordinator`], for what shows by itself how far it is, or has the terminal for something else.
    pub(crate) fn engine(
        &self,
        repository: &Repository,
        purpose: Purpose,
    ) -> Result<AnyEngine<SystemClock>, CommandError> {
        match self.settings(repository)? {
            EngineSettings::Files { is_chosen } => {
                if !is_chosen && purpose == Purpose::Ask {
                    settings::no_other_is_noted(repository)?;
                }
                Ok(AnyEngine::Files(self.files(repository)))
            }
            EngineSettings::Etcd { endpoints, repository: name, .. } => {
                let engine = EtcdEngine::new(&endpoints, &name, SystemClock)
                    .map_err(|error| CommandError::new(Kind::BadConfig, error.to_string()))?;
                Ok(AnyEngine::Etcd(Box::new(engine)))
            }
        }
    }

    /// After nothing was found: whether it is to be looked for in another engine, which this branch does not name.
    ///
    /// # Errors
    ///
    /// [`Kind::BadConfig`], which says where.
    pub(crate) fn must_not_be_elsewhere(&self, repository: &Repository) -> Result<(), CommandError> {
        match self.settings(repository)? {
            EngineSettings::Files { is_chosen: false } => settings::no_other_is_noted(repository),
            EngineSettings::Files { is_chosen: true } | EngineSettings::Etcd { .. } => Ok(()),
        }
    }

    /// After a grant: notes in this clone where it came from, for branches that name no engine. A warning where it cannot.
    pub(crate) fn note_grant(
        &self,
        repository: &Repository,
        engine: &AnyEngine<SystemClock>,
    ) -> Option<String> {
        let AnyEngine::Etcd(_) = engine else { return None };
        let Ok(EngineSettings::Etcd { endpoints, repository: name, is_by_branch: true }) =
            self.settings(repository)
        else {
            return None;
        };
        let place = format!("etcd, repository `{name}`, at {}", endpoints.urls.join(", "));
        repository.note_engine(&place).err().map(|error| {
            format!(
                "{} cannot be written ({error}), so whoever works on a branch that names no engine is not stopped: \
                 mend it, or have .muse/config.toml name the engine",
                repository.note_of_engine().display()
            )
        })
    }

    /// The distributed engine, whichever is chosen.
    pub(crate) fn etcd(&self, repository: &Repository) -> Result<EtcdEngine<SystemClock>, CommandError> {
        let (endpoints, name) = EngineSettings::read_etcd(repository, &self.engine_variables)?;
        EtcdEngine::new(&endpoints, &name, SystemClock)
            .map_err(|error| CommandError::new(Kind::BadConfig, error.to_string()))
    }

    /// Which engine is configured for the repository, and where.
    pub(crate) fn settings(&self, repository: &Repository) -> Result<EngineSettings, CommandError> {
        EngineSettings::read(repository, &self.engine_variables)
    }

    /// All that is configured for the repository, and what of it is missing or wrong.
    pub(crate) fn account(&self, repository: &Repository) -> Account {
        Account::of(repository, &self.engine_variables)
    }

    /// What each endpoint of an etcd tells of itself.
    #[expect(clippy::type_complexity, reason = "as the engine answers")]
    pub(crate) fn servers(
        &self,
        endpoints: &Endpoints,
    ) -> Result<Vec<(String, Result<Server, EngineError>)>, EndpointsError> {
        EtcdEngine::servers_at(endpoints, &SystemClock)
    }

    /// The embedded engine, whatever is configured.
    pub(crate) fn files(&self, repository: &Repository) -> FileEngine<SystemClock> {
        FileEngine::with_safeguards(repository.coordination(), SystemClock, self.safeguards)
            .was_there(repository.has_store())
    }

    /// Brings addresses as they were typed to their canonical spellings. Sentences about spellings that may
    /// not mean what was meant are added to `warnings`.
    pub(crate) fn addresses(
        &self,
        typed: &[OsString],
        repository: &Repository,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Address>, CommandError> {
        let bad = |message: String| CommandError::new(Kind::BadAddress, message);
        let not_utf8 =
            |path: &Path| bad(format!("{} is not valid UTF-8, and addresses are: rename it", path.display()));
        let top = repository.top();
        let current = self.current_directory()?;
        let below = match current.strip_prefix(top) {
            Ok(below) => below,
            // An absolute path needs no current directory.
            Err(_) if typed.iter().all(|input| Path::new(input).is_absolute()) => Path::new(""),
            Err(_) => {
                return Err(bad(format!(
                    "the current directory is not below {}, the repository that MUSE_REPO_ROOT names: \
                     change to it, or give absolute paths",
                    top.display()
                )));
            }
        };
        // Only where MUSE_REPO_ROOT leads out of the working tree that the command runs in.
        let other =
            below.ancestors().map(|folder| top.join(folder)).find(|folder| folder != top && is_top(folder));
        if let Some(other) = other {
            return Err(bad(format!(
                "the current directory is in another working tree, {}, than MUSE_REPO_ROOT names: unset it",
                other.display()
            )));
        }
        let names = below
            .iter()
            .map(|name| name.to_str().ok_or_else(|| not_utf8(below)))
            .collect::<Result<Vec<&str>, CommandError>>()?;
        let place = Place::new(top.to_str().ok_or_else(|| not_utf8(top))?, names);
        let tree = DiskTree { top };
        let mut addresses = Vec::with_capacity(typed.len());
        for input in typed {
            let typed = input.to_str().ok_or_else(|| not_utf8(Path::new(input)))?;
            let input = below_top(typed, top).unwrap_or_else(|| typed.to_owned());
            let resolved = Address::resolve(&input, &place, &tree).map_err(|error| bad(error.to_string()))?;
            warnings.extend(resolved.warnings);
            warnings.extend(slip(typed, &resolved.address, top, &current));
            addresses.push(resolved.address);
        }
        Ok(addresses)
    }
}

/// What an engine is asked for: how much depends on its being the one that others use too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be granted something, or told what others hold.
    Ask,
    /// To look after what is in it: it is kept alive, released, shown, archived, checked. What is not in it may be in
    /// another: see [`Context::must_not_be_elsewhere`].
    Tend,
}

/// The working tree on the disk.
struct DiskTree<'a> {
    top: &'a Path,
}

impl Tree for DiskTree<'_> {
    fn entry(&self, segments: &[String]) -> io::Result<Option<Entry>> {
        let path: PathBuf =
            std::iter::once(self.top.as_os_str()).chain(segments.iter().map(AsRef::as_ref)).collect();
        let metadata = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if metadata.is_dir() {
            return Ok(Some(Entry::Directory));
        }
        if !metadata.is_symlink() {
            return Ok(Some(Entry::File));
        }
        let target = path.read_link()?.into_os_string().into_string().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "the symbolic link's target is not valid UTF-8")
        })?;
        Ok(Some(Entry::Symlink(target)))
    }

    fn is_working_tree(&self, segments: &[String]) -> io::Result<bool> {
        let folder: PathBuf =
            std::iter::once(self.top.as_os_str()).chain(segments.iter().map(AsRef::as_ref)).collect();
        Ok(is_top(&folder))
    }
}

/// An absolute path that reaches the working tree by another spelling than its top has, as by a symbolic link
/// above it, in the top's own spelling. `None` where there is nothing to change.
fn below_top(typed: &str, top: &Path) -> Option<String> {
    let path = Path::new(typed);
    if !path.is_absolute() || path.starts_with(top) {
        return None;
    }
    let (physical, rest) = path.ancestors().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        Some((folder.canonicalize().ok()?, rest))
    })?;
    let is_empty = rest.as_os_str().is_empty();
    let whole = if is_empty { physical } else { physical.join(rest) };
    whole.starts_with(top).then(|| whole.to_str().map(str::to_owned)).flatten()
}

/// A warning about an address at which nothing is, where the same text means something that is there: typed from
/// the top instead of from here, with a position behind it, with white space around it.
fn slip(typed: &str, address: &Address, top: &Path, current: &Path) -> Option<String> {
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    if address.literal_path().is_none_or(|path| exists(&top.join(path))) {
        return None;
    }
    let (path, _) = typed.split_once("::").unwrap_or((typed, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut file = path;
    while let Some((before, _)) = file.rsplit_once(':').filter(|(_, number)| is_number(number)) {
        file = before;
    }
    let nothing = format!("nothing is at `{address}` yet");
    if file != path && exists(&current.join(file)) {
        return Some(format!(
            "{nothing}: positions are no part of an address, so write `{file}` for the file"
        ));
    }
    if path.trim() != path && exists(&current.join(path.trim())) {
        return Some(format!("{nothing}: without the white space around it, it is a file that is there"));
    }
    if current != top && !path.is_empty() && exists(&top.join(path)) {
        return Some(format!(
            "{nothing}: what is typed is relative to the current directory, and `{path}` is there from the top"
        ));
    }
    None
}

/// Whether a folder is where the search for a repository stops.
pub(crate) fn is_top(folder: &Path) -> bool {
    [".git", muse_repo::STORE_FOLDER].iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// Whether `--json` or `-j` stands among the arguments, found without the parser: its own errors are JSON too.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let is_short_flags = |text: &str| {
        text.strip_prefix('-').is_some_and(|flags| {
            flags.contains('j') && flags.chars().all(|flag| matches!(flag, 'j' | 'h' | 'V'))
        })
    };
    arguments
        .iter()
        .skip(1)
        .map_while(|argument| argument.to_str().map_or(Some(""), |text| (text != "--").then_some(text)))
        .any(|text| text == "--json" || text.starts_with("--json=") || is_short_flags(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_seen_before_the_double_hyphen_only() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("muse coord list --json"));
        assert!(asks("muse -j coord list"));
        assert!(asks("muse coord list -hj"));
        assert!(asks("muse coord list --json=yes"));
        assert!(!asks("muse coord list"));
        assert!(!asks("muse coord reserve -- --json -j"));
        assert!(!asks("muse coord list -x --jsonx json"));
        assert!(!asks("--json"));
    }
}
