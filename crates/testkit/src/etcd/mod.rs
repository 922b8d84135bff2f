//! A real etcd for tests: one for each process that asks, on loopback, on free ports, in a folder of its own. It ends with
//! the process that started it, whatever becomes of that: a shell waits at a pipe, ends it by its id and removes the folder.
//!
//! `MUSE_TEST_ETCD` names one that is there already, for many test processes to share; each of them uses names of its own.

pub mod certificates;
pub mod cluster;
pub mod load;
pub mod proxy;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, io, process};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::until;

/// Starts etcd, and again for each line that comes, once it has ended. Ends it, and removes its folder, once nobody holds
/// the other end of its standard input.
const SCRIPT: &str = "folder=$1; shift; begin() { etcd \"$@\" & etcd=$!; echo $etcd > \"$folder/pid.new\"; mv \"$folder/pid.new\" \"$folder/pid\"; }; begin \"$@\"; while read -r _; do wait $etcd; begin \"$@\"; done; kill -9 $etcd; wait; rm -rf \"$folder\"";

/// A member of a cluster of one.
#[derive(Debug)]
pub struct Etcd {
    url: String,
    folder: Option<PathBuf>,
    // The pipe at its standard input ends it.
    shell: Option<Child>,
}

/// The process of a member: a shell that starts it, and ends it with the process of the test.
fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(folder);
    shell.arg("--data-dir").arg(folder.join("data")).args(["--log-level", "error"]).args(arguments);
    let log = fs::File::create(folder.join("log")).expect("a log");
    shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("a log")).stderr(log);
    shell.spawn().expect("a shell runs")
}

fn signal_member(folder: &Path, signal: Signal) {
    let mut pid = None;
    until("etcd has an id", || {
        let text = fs::read_to_string(folder.join("pid")).unwrap_or_default();
        pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.is_some()
    });
    kill_process(pid.expect("an id"), signal).expect("it is there");
}

/// Starts a member again that has ended or is about to.
fn begin_again(folder: &Path, shell: &mut Child) {
    fs::remove_file(folder.join("pid")).expect("it ran");
    let pipe = shell.stdin.as_mut().expect("its pipe");
    pipe.write_all(b"again\n").expect("the shell reads");
}

fn end(shell: &mut Child) {
    drop(shell.stdin.take());
    drop(shell.wait());
}

/// Asks one endpoint without TLS; an answer that does not come in a second is none.
pub(crate) fn ask(url: &str, request: &str, body: &str) -> io::Result<String> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_healthy(url: &str) -> bool {
    ask(url, "GET /health", "").is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

impl Etcd {
    /// Starts one with these arguments beside those of its place.
    ///
    /// # Panics
    ///
    /// If there is no `etcd`, or it does not begin to listen.
    pub fn start(arguments: &[&str]) -> Etcd {
        // The shell removes it: what a static holds is not dropped at the end of a process.
        let folder = tempfile::tempdir().expect("a folder").keep();
        let url = format!("http://127.0.0.1:{}", quiet_port());
        let peer = format!("http://127.0.0.1:{}", quiet_port());
        let mut all = member_arguments("m1", &url, &peer, &format!("m1={peer}"));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let shell = spawn(&folder, &all);
        let etcd = Etcd { url, folder: Some(folder), shell: Some(shell) };
        until("etcd answers (is it installed? Debian's package is etcd-server)", || is_healthy(&etcd.url));
        etcd
    }

    /// Starts one that speaks TLS with its clients. Nobody waits until it answers: its port listens.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn start_secure(arguments: &[&str]) -> Etcd {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let port = quiet_port();
        let url = format!("https://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{}", quiet_port());
        let mut all = member_arguments("m1", &url, &peer, &format!("m1={peer}"));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let shell = spawn(&folder, &all);
        until("etcd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Etcd { url, folder: Some(folder), shell: Some(shell) }
    }

    /// Kills it and starts it again, with what it had written.
    ///
    /// # Panics
    ///
    /// If it was not started by this process.
    pub fn restart(&mut self) {
        self.signal(Signal::KILL);
        let (Some(folder), Some(shell)) = (&self.folder, &mut self.shell) else { return };
        begin_again(folder, shell);
        until("etcd answers again", || is_healthy(&self.url));
    }

    /// The one of this process.
    pub fn shared() -> &'static Etcd {
        static SHARED: OnceLock<Etcd> = OnceLock::new();
        SHARED.get_or_init(|| match env::var("MUSE_TEST_ETCD") {
            Ok(url) => Etcd { url, folder: None, shell: None },
            Err(_) => Etcd::start(&[]),
        })
    }

    /// Stops it, as a machine that hangs, and continues it.
    ///
    /// # Panics
    ///
    /// If it was not started by this process.
    pub fn signal(&self, signal: Signal) {
        signal_member(self.folder.as_ref().expect("an etcd of this process"), signal);
    }

    /// Runs etcd's own tool on it, and tells what it said; `None` if it failed.
    pub fn control(&self, arguments: &[&str]) -> Option<String> {
        let mut tool = Command::new("etcdctl");
        let output = tool.env("ETCDCTL_API", "3").args(["--endpoints", &self.url]).args(arguments).output();
        let output = output.expect("etcdctl runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A name of a repository that nobody else uses.
    pub fn repository() -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let now = crate::process::now().as_microseconds();
        format!("test-{}-{now}-{number}", process::id())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            end(&mut shell);
        }
    }
}

fn member_arguments(name: &str, client: &str, peer: &str, cluster: &str) -> Vec<String> {
    [
        ["--name", name],
        ["--listen-client-urls", client],
        ["--advertise-client-urls", client],
        ["--listen-peer-urls", peer],
        ["--initial-advertise-peer-urls", peer],
        ["--initial-cluster", cluster],
    ]
    .as_flattened()
    .iter()
    .map(|&word| word.to_owned())
    .collect()
}

/// A port that nobody listens at just now, and that no connection is given by itself: what listens there can be ended and
/// started again.
pub fn quiet_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + next % 20_000).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A port that nobody listens at just now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("an address").port()
}
