//! Real processes: started, awaited with a deadline, never left behind.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use muse_coord::{Clock as _, SystemClock, Timestamp};
pub use rustix::process::Signal;
use serde_json::Value;

/// When a process counts as hanging. Every wait inside muse ends after ten seconds.
const HANG: Duration = Duration::from_mins(2);

/// The variable that tells a twin which protection it lacks.
const TWIN_VARIABLE: &str = "MUSE_TWIN_WITHOUT";

/// The program under test.
#[derive(Clone, Debug)]
pub struct Muse {
    program: PathBuf,
    without: Option<&'static str>,
    variables: Vec<(&'static str, String)>,
}

impl Muse {
    /// The built program at `program`: `env!("CARGO_BIN_EXE_muse")`.
    pub fn new(program: impl Into<PathBuf>) -> Muse {
        Muse { program: program.into(), without: None, variables: Vec::new() }
    }

    /// The twin at `program`, without the protection of that name.
    pub fn twin(program: impl Into<PathBuf>, without: &'static str) -> Muse {
        Muse { program: program.into(), without: Some(without), variables: Vec::new() }
    }

    /// The built program at `program`, whose reservations are kept by an etcd, in a repository that nobody else uses.
    pub fn on_etcd(program: impl Into<PathBuf>, etcd: &crate::etcd::Etcd) -> Muse {
        let variables = vec![
            ("MUSE_COORD_ENGINE", "etcd".to_owned()),
            ("MUSE_COORD_ENDPOINTS", etcd.url().to_owned()),
            ("MUSE_COORD_REPOSITORY", crate::etcd::Etcd::repository()),
        ];
        Muse { variables, ..Muse::new(program) }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, repository: &Path, arguments: &[S]) -> Answer {
        self.start(repository, &[] as &[&str], arguments).finish()
    }

    /// Starts it under another program: the words of `wrapper` stand before its own.
    pub fn start<W: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        repository: &Path,
        wrapper: &[W],
        arguments: &[S],
    ) -> Running {
        let command = self.command(repository, wrapper, arguments);
        Running::start(command, Stdio::null())
    }

    fn command<W: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        repository: &Path,
        wrapper: &[W],
        arguments: &[S],
    ) -> Command {
        let mut words = wrapper.iter().map(AsRef::as_ref).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().expect("the program's own name is there"));
        command.args(words).args(arguments).current_dir(repository);
        for inherited in ["MUSE_RUN_ID", "MUSE_REPO_ROOT", "GIT_DIR", "GIT_WORK_TREE"] {
            command.env_remove(inherited);
        }
        if let Some(without) = self.without {
            command.env(TWIN_VARIABLE, without);
        }
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Runs as many processes as there are lists of arguments, all let go at the same moment: each waits in a
    /// shell until the pipe that they share is closed, and becomes muse then. The answers stand in the order
    /// of the lists.
    pub fn race(&self, repository: &Path, arguments: &[Vec<String>]) -> Vec<Answer> {
        self.race_unread(repository, arguments).into_iter().map(Answer::read).collect()
    }

    /// As [`Muse::race`], with the answers' JSON left as null: for answers that are very long.
    pub fn race_unread(&self, repository: &Path, arguments: &[Vec<String>]) -> Vec<Answer> {
        let (barrier, gate) = std::io::pipe().expect("a pipe can be made");
        let wait = ["sh", "-c", "read -r _; exec \"$0\" \"$@\""];
        let running: Vec<Running> = arguments
            .iter()
            .map(|arguments| {
                let barrier = barrier.try_clone().expect("a pipe can be shared");
                Running::start(self.command(repository, &wait, arguments), barrier.into())
            })
            .collect();
        drop(gate);
        running.into_iter().map(Running::finish_unread).collect()
    }
}

/// A process that has not been waited for. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Receiver<(Vec<u8>, Vec<u8>)>,
    started: Timestamp,
    is_over: bool,
}

impl Running {
    fn start(mut command: Command, stdin: Stdio) -> Running {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, output) = channel();
        thread::spawn(move || {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            stdout.read_to_end(&mut out).expect("a pipe can be read");
            stderr.read_to_end(&mut err).expect("a pipe can be read");
            // Whoever gave up waiting is not told any more.
            sender.send((out, err)).unwrap_or_default();
        });
        Running { child, output, started, is_over: false }
    }

    /// Its process id; under a wrapper that starts another process, the wrapper's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn finish(self) -> Answer {
        self.finish_unread().read()
    }

    fn finish_unread(mut self) -> Answer {
        let (stdout, stderr) = match self.output.recv_timeout(HANG) {
            Ok(output) => output,
            Err(RecvTimeoutError::Timeout) => panic!("process {} hangs", self.id()),
            Err(RecvTimeoutError::Disconnected) => panic!("the reader of a pipe ended early"),
        };
        let status = self.child.wait().expect("a child can be waited for");
        let ended = now();
        self.is_over = true;
        Answer {
            exit: status.code(),
            signal: status.signal(),
            json: Value::Null,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            started: self.started,
            ended,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // A tracer that is killed leaves what it traces behind, stopped perhaps: that goes first.
        for pid in children(self.child.id()) {
            signal(pid, Signal::KILL);
        }
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// The processes that `parent` has started, where the system tells.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Sends a signal to a process of ours; one that has ended meanwhile is no error.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).unwrap_or_default();
}

/// The line, if it is the only one and ends.
fn whole_line(stdout: &[u8]) -> Option<&[u8]> {
    let line = stdout.strip_suffix(b"\n")?;
    (!line.contains(&b'\n')).then_some(line)
}

/// The time on the clock that muse reads too.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Waits until `is_so` says yes.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = now().as_microseconds() + i64::try_from(HANG.as_micros()).unwrap();
    while !is_so() {
        assert!(now().as_microseconds() < deadline, "waited in vain until {what}");
        thread::sleep(PAUSE);
    }
}

/// What a process said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit code, if it exited.
    pub exit: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Standard output if that was one whole line of JSON, else null.
    pub json: Value,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// Just before it was started.
    pub started: Timestamp,
    /// Just after it had ended.
    pub ended: Timestamp,
}

impl Answer {
    fn read(mut self) -> Answer {
        let line = whole_line(&self.stdout);
        self.json = line.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default();
        self
    }

    /// A field of the JSON as text; empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// `status` of the JSON.
    pub fn status(&self) -> &str {
        self.text("status")
    }

    /// `reservation_id` of the JSON.
    pub fn id(&self) -> String {
        self.text("reservation_id").to_owned()
    }

    /// `token` of the JSON.
    pub fn token(&self) -> u64 {
        self.json["token"].as_u64().unwrap_or_default()
    }

    /// Whether it exited with 0 after it had said so.
    pub fn is_ok(&self) -> bool {
        self.exit == Some(0) && self.json["exit_code"] == 0
    }

    /// In short, for a message.
    pub fn brief(&self) -> String {
        let end = match (self.exit, self.signal) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let said = String::from_utf8_lossy(&self.stdout);
        let said: String = said.chars().skip_while(|&character| character != '[').take(400).collect();
        format!("{end}: {said}{}", self.stderr.trim_end())
    }
}
