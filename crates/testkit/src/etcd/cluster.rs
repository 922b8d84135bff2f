//! Three members on loopback that can be killed, stopped and started again.

use std::path::PathBuf;
use std::process::Child;

use muse_coord::Endpoints;
use rustix::process::Signal;
use serde_json::Value;

use super::{ask, begin_again, end, is_healthy, member_arguments, quiet_port, signal_member, spawn};
use crate::process::until;

/// How many members.
pub const MEMBERS: usize = 3;

/// A cluster. It ends with the process that started it.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    url: String,
    folder: PathBuf,
    shell: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        end(&mut self.shell);
    }
}

impl Cluster {
    /// Starts one, and waits until it has a leader.
    pub fn start() -> Cluster {
        let ports: Vec<[String; 2]> = (0..MEMBERS)
            .map(|_| [quiet_port(), quiet_port()].map(|port| format!("http://127.0.0.1:{port}")))
            .collect();
        let named: Vec<String> =
            ports.iter().enumerate().map(|(at, [_, peer])| format!("m{at}={peer}")).collect();
        let named = named.join(",");
        let members = ports.into_iter().enumerate().map(|(at, [url, peer])| {
            let folder = tempfile::tempdir().expect("a folder").keep();
            let shell = spawn(&folder, &member_arguments(&format!("m{at}"), &url, &peer, &named));
            Member { url, folder, shell }
        });
        let cluster = Cluster { members: members.collect() };
        cluster.until_healthy();
        cluster
    }

    /// The release of etcd, as in `[3, 5, 28]`.
    pub fn release(&self) -> Vec<u32> {
        let answer = ask(&self.members[0].url, "GET /version", "").expect("a member answers");
        let said = answer.split("\"etcdserver\":\"").nth(1).and_then(|rest| rest.split('"').next());
        said.expect("a release").split('.').map(|number| number.parse().unwrap_or(0)).collect()
    }

    /// Waits until every member answers.
    pub fn until_healthy(&self) {
        until("every member of etcd answers", || self.members.iter().all(|member| is_healthy(&member.url)));
    }

    /// Where each member listens.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    /// All members, as a client is told of them: each begins with another one.
    pub fn endpoints(&self, client: usize) -> Endpoints {
        let mut urls = self.urls();
        urls.rotate_left(client % MEMBERS);
        Endpoints { urls, ..Endpoints::default() }
    }

    /// The member that leads, by the word of one that is not `except`.
    pub fn leader_but(&self, except: Option<usize>) -> usize {
        let mut found = None;
        until("there is a leader", || {
            let leads = |url: &str| -> Option<bool> {
                let answer = ask(url, "POST /v3/maintenance/status", "{}").ok()?;
                let status: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()?;
                let leader = status["leader"].as_str()?;
                Some(status["header"]["member_id"] == leader)
            };
            found = (0..MEMBERS)
                .filter(|at| except != Some(*at))
                .find(|at| leads(&self.members[*at].url) == Some(true));
            found.is_some()
        });
        found.expect("a leader")
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        self.leader_but(None)
    }

    /// Sends a signal to a member.
    pub fn signal(&self, member: usize, signal: Signal) {
        signal_member(&self.members[member].folder, signal);
    }

    /// Starts a member again that was sent a signal that ends it.
    pub fn begin_again(&mut self, member: usize) {
        let member = &mut self.members[member];
        begin_again(&member.folder, &mut member.shell);
    }
}
