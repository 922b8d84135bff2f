//! An etcd of three members that can be killed, stopped and started again, and a proxy that can be cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::etcd::free_port;
use crate::process::until;

/// Ends etcd once nobody holds the other end of its standard input.
const SCRIPT: &str =
    "pid=$1; shift; etcd \"$@\" & etcd=$!; echo $etcd > \"$pid\"; cat > /dev/null; kill -9 $etcd; wait";

/// Three members of one etcd, on loopback. They end with this, and with the process.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    /// Where each listens to clients, and to the others.
    ports: Vec<(u16, u16)>,
    shells: Mutex<Vec<Option<Child>>>,
}

impl Cluster {
    /// Starts three members.
    ///
    /// # Panics
    ///
    /// If there is no `etcd`, or they do not begin to listen.
    pub fn start() -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
        let shells = Mutex::new(ports.iter().map(|_| None).collect());
        let cluster = Cluster { folder, ports, shells };
        (0..3).for_each(|member| cluster.launch(member));
        until("a cluster has a leader", || cluster.leader().is_some());
        cluster
    }

    fn launch(&self, member: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (client, peer) = self.ports[member];
        let all = self.ports.iter().enumerate();
        let all: Vec<String> = all.map(|(number, (_, peer))| format!("m{number}={}", url(*peer))).collect();
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(self.pid_file(member));
        shell
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.path().join(format!("m{member}")));
        shell.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        shell.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        shell.args(["--initial-cluster", &all.join(","), "--log-level", "error"]);
        let log = fs::File::create(self.path().join(format!("m{member}.log"))).expect("a log");
        shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.shells()[member] = Some(shell.spawn().expect("a shell runs"));
    }

    fn shells(&self) -> std::sync::MutexGuard<'_, Vec<Option<Child>>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn pid_file(&self, member: usize) -> PathBuf {
        self.path().join(format!("m{member}.pid"))
    }

    /// Where each member listens.
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}")).collect()
    }

    /// The ports at which the members listen to clients.
    pub fn ports(&self) -> Vec<u16> {
        self.ports.iter().map(|(client, _)| *client).collect()
    }

    /// Which member leads, by the word of any.
    pub fn leader(&self) -> Option<usize> {
        let states: Vec<Option<Value>> = self.ports.iter().map(|(client, _)| status(*client)).collect();
        let leader = states.iter().flatten().find_map(|state| {
            let leader = state["leader"].as_str()?;
            (leader != "0").then(|| leader.to_owned())
        })?;
        states.iter().position(|state| {
            state.as_ref().is_some_and(|state| state["header"]["member_id"].as_str() == Some(&leader))
        })
    }

    /// Whether all three answer and agree on who leads.
    pub fn is_whole(&self) -> bool {
        let leaders: Option<Vec<String>> = self
            .ports
            .iter()
            .map(|(client, _)| status(*client)?["leader"].as_str().map(str::to_owned))
            .collect();
        leaders.is_some_and(|leaders| leaders[0] != "0" && leaders.iter().all(|its| *its == leaders[0]))
    }

    /// The release of the members.
    ///
    /// # Panics
    ///
    /// If none answers.
    pub fn version(&self) -> String {
        let state = self.ports.iter().find_map(|(client, _)| status(*client)).expect("a member answers");
        state["version"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a signal to a member.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn signal(&self, member: usize, signal: Signal) {
        let pid = fs::read_to_string(self.pid_file(member)).expect("its id");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("an id");
        kill_process(pid, signal).expect("it is there");
    }

    /// Kills a member, as a machine that loses its power.
    pub fn kill(&self, member: usize) {
        let shell = self.shells()[member].take();
        end(shell);
    }

    /// Starts a member again that was killed.
    pub fn restart(&self, member: usize) {
        self.launch(member);
    }
}

fn end(shell: Option<Child>) {
    if let Some(mut shell) = shell {
        drop(shell.stdin.take());
        drop(shell.wait());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let shells: Vec<_> = self.shells().drain(..).collect();
        shells.into_iter().for_each(end);
    }
}

/// What the member at `port` says of itself.
fn status(port: u16) -> Option<Value> {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let request = "POST /v3/maintenance/status HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    serde_json::from_str(ask().ok()?.split_once("\r\n\r\n")?.1).ok()
}

/// Passes on what is sent to it, until it is cut: then nothing gets through in either direction, and nobody is told.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    is_cut: Arc<AtomicBool>,
}

impl Proxy {
    /// One in front of a port. It ends with the process.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let cut = Arc::clone(&cut);
                    thread::spawn(move || pass_on(from, to, &cut));
                }
            }
        });
        Proxy { port, is_cut }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops to pass on what is sent, or begins again.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut bytes = [0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        // What was sent meanwhile is lost for good, as the connection is.
        if is_cut.load(Ordering::SeqCst) {
            while is_cut.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            break;
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
