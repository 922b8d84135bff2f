//! Drives `strace`: to see every system call of muse, and to kill, stop or fail it at one of them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::process::{Running, signal, until};
use crate::{Answer, Muse};

/// Strings are shown whole: no record of these tests is as long.
const STRING_BYTES: &str = "1000000";

/// One system call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments as strace shows them, strings as hexadecimal escapes in quotes.
    pub arguments: Vec<String>,
    /// What it returned; negative when it failed.
    pub result: i64,
    /// Its position among the calls of the same name, from 1.
    pub occurrence: usize,
}

impl Call {
    /// A string argument, unescaped.
    pub fn bytes(&self, argument: usize) -> Vec<u8> {
        let shown = &self.arguments[argument];
        let quoted = shown
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_else(|| panic!("strace shows no whole string in {self:?}"));
        quoted
            .split("\\x")
            .skip(1)
            .map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal digits"))
            .collect()
    }

    /// A string argument that is a path.
    pub fn path(&self, argument: usize) -> String {
        String::from_utf8(self.bytes(argument)).expect("the paths of these tests are UTF-8")
    }

    /// A numeric argument.
    pub fn number(&self, argument: usize) -> i64 {
        self.arguments[argument].parse().unwrap_or(-1)
    }

    /// Whether it was made with this flag.
    pub fn has_flag(&self, argument: usize, flag: &str) -> bool {
        self.arguments.get(argument).is_some_and(|flags| flags.split('|').any(|one| one == flag))
    }

    /// Whether it is one that changes a file system, answers to standard streams apart.
    pub fn is_change(&self) -> bool {
        match self.name.as_str() {
            "openat" => self.has_flag(2, "O_CREAT"),
            "open" => self.has_flag(1, "O_CREAT"),
            "write" | "fsync" | "fdatasync" | "ftruncate" => self.number(0) > 2,
            "link" | "linkat" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "mkdir"
            | "mkdirat" | "rmdir" => true,
            _ => false,
        }
    }

    /// Whether it is one that a database makes, and nothing else does.
    pub fn is_of_database(&self) -> bool {
        matches!(self.name.as_str(), "pwrite64" | "ftruncate" | "utimensat" | "fcntl" | "lseek" | "fchmod")
    }

    /// Whether it is one that asks a file system.
    pub fn is_question(&self) -> bool {
        match self.name.as_str() {
            "openat" | "open" => !self.is_change(),
            "read" | "pread64" | "getdents64" | "fstat" | "newfstatat" | "statx" | "stat" | "lstat"
            | "fstatfs" | "flock" => true,
            _ => false,
        }
    }
}

/// All system calls of a process, and what it answered.
#[derive(Debug)]
pub struct Trace {
    /// In order, `execve` first.
    pub calls: Vec<Call>,
    /// What it answered.
    pub answer: Answer,
    /// How many of the calls the loader and the language's runtime made before the program's own first one,
    /// which asks for the current directory.
    pub loading: usize,
}

/// Fails the test if `strace` is not there.
pub fn need_strace() {
    let found = Command::new("strace").arg("--version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "this test drives the program `strace`: install it (apt-get install strace) and run the test again"
    );
}

/// Runs muse and writes down every system call of it.
pub fn trace(muse: &Muse, repository: &Path, arguments: &[String]) -> Trace {
    traced(muse, repository, &[], arguments)
}

/// As [`trace`], and kills muse on entering `call`.
pub fn trace_killed(muse: &Muse, repository: &Path, call: &Call, arguments: &[String]) -> Trace {
    let injection = format!("inject={}:signal=SIGKILL:when={}", call.name, call.occurrence);
    traced(muse, repository, &["-e", &injection], arguments)
}

fn traced(muse: &Muse, repository: &Path, options: &[&str], arguments: &[String]) -> Trace {
    need_strace();
    let log = NamedTempFile::new().expect("a temporary file can be made");
    let options = [&["-xx", "-s", STRING_BYTES], options].concat();
    let answer = muse.start(repository, &wrapper(log.path(), &options), arguments).finish();
    let text = fs::read_to_string(log.path()).expect("strace writes its log");
    let calls = parse(&text);
    let loading = calls.iter().position(|call| call.name == "getcwd").unwrap_or(0);
    Trace { calls, answer, loading }
}

/// Runs muse while strace does `injections` to it, each as its option `-e inject=` takes it.
pub fn inject(muse: &Muse, repository: &Path, injections: &[String], arguments: &[String]) -> Answer {
    let options: Vec<String> =
        injections.iter().flat_map(|one| ["-e".to_owned(), format!("inject={one}")]).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    muse.start(repository, &wrapper(Path::new("/dev/null"), &options), arguments).finish()
}

fn wrapper(log: &Path, options: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-f", "-o"].map(OsString::from).to_vec();
    words.push(log.into());
    words.extend(options.iter().map(OsString::from));
    words
}

/// A process that was stopped at a system call and waits to go on.
#[derive(Debug)]
pub struct Stopped {
    running: Running,
    pid: u32,
    _log: NamedTempFile,
}

impl Stopped {
    /// Starts muse, and returns once SIGSTOP has stopped it at the given call.
    pub fn at(
        muse: &Muse,
        repository: &Path,
        name: &str,
        occurrence: usize,
        arguments: &[String],
    ) -> Stopped {
        need_strace();
        let log = NamedTempFile::new().expect("a temporary file can be made");
        let injection = format!("inject={name}:signal=SIGSTOP:when={occurrence}");
        let running = muse.start(repository, &wrapper(log.path(), &["-e", &injection]), arguments);
        let mut pid = None;
        until("muse is stopped", || {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            let stopped = text.lines().find(|line| line.contains("--- stopped by SIGSTOP ---"));
            pid = stopped.and_then(|line| line.split_whitespace().next()?.parse().ok());
            pid.is_some()
        });
        Stopped { running, pid: pid.expect("it was found"), _log: log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it go on to its end.
    pub fn go_on(self) -> Answer {
        signal(self.pid, rustix::process::Signal::CONT);
        self.running.finish()
    }

    /// Kills it.
    pub fn die(self) -> Answer {
        signal(self.pid, rustix::process::Signal::KILL);
        self.running.finish()
    }
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in log.lines() {
        let (_, rest) = line.split_once(' ').unwrap_or_default();
        let rest = rest.trim_start();
        if rest.starts_with("---") || rest.starts_with("+++") {
            continue;
        }
        assert!(!rest.contains(" resumed>"), "muse has more than one thread: {rest}");
        if rest.contains("<unfinished ...>") {
            // Killed on entering it.
            continue;
        }
        let (name, rest) = rest.split_once('(').unwrap_or_else(|| panic!("not a system call: {line}"));
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let arguments = arguments.trim_end().trim_end_matches(')');
        let result = result.split_whitespace().next().unwrap_or_default();
        let result = match result.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).unwrap_or(0),
            // One that never returned, because the process was killed on entering it, did nothing.
            None => result.parse().unwrap_or(-1),
        };
        let occurrence = calls.iter().filter(|call| call.name == name).count() + 1;
        let arguments = arguments.split(", ").map(str::to_owned).collect();
        calls.push(Call { name: name.to_owned(), arguments, result, occurrence });
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let calls = parse(
            "12  openat(AT_FDCWD, \"\\x2f\\x61\", O_RDONLY|O_CLOEXEC) = 3\n\
             12  fsync(3)    = -1 EIO (Input/output error) (INJECTED)\n\
             12  fsync(3) = 0\n\
             12  --- SIGSTOP {si_signo=SIGSTOP} ---\n\
             12  exit_group(0) = ?\n12  +++ exited with 0 +++\n",
        );
        assert_eq!(calls.len(), 4);
        assert_eq!(calls[0].path(1), "/a");
        assert!(calls[0].has_flag(2, "O_CLOEXEC") && !calls[0].has_flag(2, "O_CREAT"));
        assert_eq!((calls[0].result, calls[1].result, calls[2].occurrence), (3, -1, 2));
        assert_eq!(calls[2].number(0), 3);
    }
}
