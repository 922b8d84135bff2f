//! A real etcd for tests: one for each process that asks, on loopback, on free ports, in a folder of its own. It ends with
//! the process that started it, whatever becomes of that: a shell waits at a pipe, ends it by its id and removes the folder.
//!
//! `MUSE_TEST_ETCD` names one that is there already, for many test processes to share; each of them uses names of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::until;

/// Ends etcd, and removes its folder, once nobody holds the other end of its standard input.
const SCRIPT: &str = "folder=$1; shift; etcd \"$@\" & etcd=$!; echo $etcd > \"$folder/pid\"; cat > /dev/null; kill -9 $etcd; wait; rm -rf \"$folder\"";

/// A member of a cluster of one.
#[derive(Debug)]
pub struct Etcd {
    url: String,
    folder: Option<PathBuf>,
    // The pipe at its standard input ends it.
    shell: Option<Child>,
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
        let [client, peer] = [free_port(), free_port()];
        let url = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(&folder);
        shell.args(["--name", "m1", "--data-dir"]).arg(folder.join("data"));
        shell.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        shell.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        shell.args(["--initial-cluster", &format!("m1={peer}"), "--log-level", "error"]).args(arguments);
        let log = fs::File::create(folder.join("log")).expect("a log");
        shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("a log")).stderr(log);
        let shell = shell.spawn().expect("a shell runs");
        let etcd = Etcd { url, folder: Some(folder), shell: Some(shell) };
        until("etcd answers (is it installed? Debian's package is etcd-server)", || etcd.is_healthy());
        etcd
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
        let folder = self.folder.as_ref().expect("an etcd of this process");
        let pid = fs::read_to_string(folder.join("pid")).expect("its id");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("an id");
        kill_process(pid, signal).expect("it is there");
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

    fn is_healthy(&self) -> bool {
        let host = self.url.trim_start_matches("http://");
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(host)?;
            write!(stream, "GET /health HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            drop(shell.wait());
        }
    }
}

/// A port that nobody listens at just now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("an address").port()
}
