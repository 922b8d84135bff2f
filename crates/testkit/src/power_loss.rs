//! Power loss, in a model: what a real process did to its files is replayed from a trace of its system calls
//! against a file system that promises nothing beyond what was asked of it.
//!
//! # The model
//!
//! - A file's content is durable once the file was synced (`fsync`, `fdatasync`) after its last write. Until
//!   then a power loss may leave anything of it: all, nothing, a part, other bytes. What stands before the place of
//!   the first write or cut since the last sync stays.
//! - A name in a folder, made, replaced or removed (`openat` with `O_CREAT`, `linkat`, `renameat`, `unlinkat`,
//!   `mkdirat`), is durable once that folder was synced after the change. Until then a power loss may leave
//!   the name as it was or as it became, each change by itself and in any order: a rename across folders may
//!   be there in one of them and not in the other. Syncing a file does not make its name durable.
//! - Everything that was there when the first process started is durable.
//! - The folder of the index is left out: what lies there is never synced, and never read after another boot.
//!
//! Real file systems promise more; none promises less. After every call, and at the moment of the answer, the
//! model knows for each name what it *may* lead to after a power loss, and asks:
//!
//! - whether whatever a record's name may lead to is a whole and durable record of that name, in every folder
//!   whose records count (heartbeats are not synced, and a broken one counts as absent);
//! - whether a reservation that may be there has a token file that is there for certain, with no smaller token;
//! - whether one that supersedes or takes over, and may be there, has its marks there for certain;
//! - whether a store that may be there is there with all its folders;
//! - whether a reservation that a collection moves is there for certain, in one place or the other, and not without
//!   what says that it is over;
//! - when the answer is written, whether everything that it acknowledges is there for certain.
//!
//! At the end the model's own files are compared with those on the disk, so that a call which the model does
//! not know cannot go unnoticed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::operations::{Operation, Ready};
use crate::strace::{Call, Trace, trace, trace_killed};
use crate::{Muse, Violations, archive};

/// Calls that change files, or where descriptors lead, in ways that the model does not know.
const UNKNOWN: [&str; 22] = [
    "truncate",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "sendfile",
    "splice",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "fallocate",
    "io_uring_setup",
    "clone",
    "clone3",
    "fork",
    "vfork",
    "dup2",
    "dup3",
    "chdir",
    "fchdir",
];

/// What replaying an operation came to.
#[derive(Debug, Default)]
pub struct PowerReport {
    /// What must not be.
    pub violations: Violations,
    /// After how many calls a power loss was imagined.
    pub moments: usize,
    /// How many of the calls were syncs.
    pub syncs: usize,
}

/// Traces `operation` once and imagines a power loss after each of its calls and at its answer.
pub fn lose_power_everywhere(muse: &Muse, ready: &Ready) -> PowerReport {
    let operation = ready.operation;
    let scratch = ready.copy(muse);
    let top = scratch.path().canonicalize().expect("the scratch folder is there");
    let mut model = Model::of(&top);
    let traced = trace(muse, &top, &ready.arguments);
    assert!(traced.answer.is_ok(), "{operation:?}: {}", traced.answer.brief());

    let mut report = PowerReport::default();
    model.follow(ready, &traced, &format!("{operation:?}"), &mut report);
    model.assert_like_disk(&top);
    report
}

/// Kills `operation` on entering each call that changes the file system, carries it out again, and imagines a
/// power loss after each call and at the answer of this second process: what the killed one left behind
/// unsynced is as little durable as what the second one has not synced, and yet the second one may rely on it.
pub fn lose_power_after_a_kill(muse: &Muse, ready: &Ready) -> PowerReport {
    let operation = ready.operation;
    let untouched = trace(muse, ready.copy(muse).path(), &ready.arguments);
    let mut report = PowerReport::default();
    for call in untouched.calls.iter().skip(untouched.loading) {
        if !call.is_change() && call.name != "close" {
            continue;
        }
        let scratch = ready.copy(muse);
        let top = scratch.path().canonicalize().expect("the scratch folder is there");
        let mut model = Model::of(&top);
        let place = format!("{operation:?} after one that was killed at {} {}", call.name, call.occurrence);

        let killed = trace_killed(muse, &top, call, &ready.arguments);
        assert!(killed.answer.signal.is_some(), "{place}: {}", killed.answer.brief());
        for call in killed.calls.iter().skip(killed.loading).filter(|call| call.result >= 0) {
            model.replay(call);
        }
        model.handles.clear();
        model.assert_like_disk(&top);
        let traced = trace(muse, &top, &ready.arguments);
        assert!(traced.answer.is_ok(), "{place}: {}", traced.answer.brief());
        model.follow(ready, &traced, &place, &mut report);
        model.assert_like_disk(&top);
    }
    report
}

/// The folder of the index.
const INDEX: &str = "coordination/index";

type Node = usize;

#[derive(Debug)]
enum Kind {
    /// `durable` is how many of the first bytes are.
    File {
        content: Vec<u8>,
        is_synced: bool,
        durable: usize,
    },
    Folder(Folder),
}

#[derive(Debug, Default)]
struct Folder {
    now: BTreeMap<String, Node>,
    /// For each name that was changed since the last sync, what it may lead to.
    unsettled: BTreeMap<String, BTreeSet<Option<Node>>>,
}

impl Folder {
    fn set(&mut self, name: &str, node: Option<Node>) {
        let before = self.now.get(name).copied();
        self.unsettled.entry(name.to_owned()).or_insert_with(|| BTreeSet::from([before])).insert(node);
        match node {
            Some(node) => self.now.insert(name.to_owned(), node),
            None => self.now.remove(name),
        };
    }

    /// What a name may lead to after a power loss.
    fn possible(&self, name: &str) -> BTreeSet<Option<Node>> {
        let settled = || BTreeSet::from([self.now.get(name).copied()]);
        self.unsettled.get(name).cloned().unwrap_or_else(settled)
    }

    /// Every name that may be there after a power loss.
    fn names(&self) -> BTreeSet<&String> {
        self.now.keys().chain(self.unsettled.keys()).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Handle {
    node: Node,
    offset: usize,
    appends: bool,
}

#[derive(Debug)]
struct Model {
    top: String,
    nodes: Vec<Kind>,
    handles: HashMap<i64, Handle>,
}

const TOP: Node = 0;

impl Model {
    fn of(top: &Path) -> Model {
        let path = top.to_str().expect("the scratch folder's path is UTF-8").to_owned();
        let mut model = Model { top: path, nodes: Vec::new(), handles: HashMap::new() };
        model.load(top);
        model
    }

    fn load(&mut self, path: &Path) -> Node {
        let node = self.nodes.len();
        if path.ends_with(INDEX) {
            self.nodes.push(Kind::Folder(Folder::default()));
        } else if path.is_dir() {
            self.nodes.push(Kind::Folder(Folder::default()));
            for name in crate::scratch::names(path) {
                let child = self.load(&path.join(&name));
                self.folder(node).now.insert(name, child);
            }
        } else {
            let content = fs::read(path).expect("a file can be read");
            let durable = content.len();
            self.nodes.push(Kind::File { content, is_synced: true, durable });
        }
        node
    }

    /// Replays a process that came to its end, and imagines a power loss after each of its calls.
    fn follow(&mut self, ready: &Ready, traced: &Trace, place: &str, report: &mut PowerReport) {
        let mut seen = BTreeSet::new();
        let mut answered = false;
        for (position, call) in traced.calls.iter().enumerate().skip(traced.loading) {
            if call.result < 0 {
                continue;
            }
            self.replay(call);
            report.moments += 1;
            report.syncs += usize::from(call.name == "fsync" || call.name == "fdatasync");
            let mut wrong = self.store_violations(ready);
            if call.name == "write" && call.number(0) == 1 {
                answered = true;
                wrong.extend(self.answer_violations(ready, &traced.answer.json));
            }
            for what in wrong {
                // One mistake is seen after every later call too: the first is enough.
                if seen.insert(what.clone()) {
                    let after = format!("{place}, power lost after call {} ({})", position + 1, call.name);
                    report.violations.push(format!("{after}: {what}"));
                }
            }
        }
        assert!(answered, "{place}: no answer");
    }

    fn folder(&mut self, node: Node) -> &mut Folder {
        match &mut self.nodes[node] {
            Kind::Folder(folder) => folder,
            Kind::File { .. } => panic!("node {node} is a file"),
        }
    }

    /// The folder that a call's path lies in and the last name of the path; `None` for what lies elsewhere.
    fn place(&self, directory: Option<&str>, path: &str) -> Option<(Node, String)> {
        let (mut node, below) = match (path.strip_prefix(&self.top), directory) {
            (Some(below), _) if below.is_empty() || below.starts_with('/') => (TOP, below),
            _ if path.starts_with('/') => return None,
            (_, None | Some("AT_FDCWD")) => (TOP, path),
            (_, Some(descriptor)) => (self.handles.get(&descriptor.parse().ok()?)?.node, path),
        };
        if below.strip_suffix('/').unwrap_or(below).contains(&format!("{INDEX}/")) {
            return None;
        }
        let mut names: Vec<&str> = below.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let last = names.pop().unwrap_or(".").to_owned();
        for name in names {
            assert!(name != "..", "the model knows no `..`: {path}");
            let Kind::Folder(folder) = &self.nodes[node] else { return None };
            node = *folder.now.get(name)?;
        }
        Some((node, last))
    }

    fn at(&self, place: &(Node, String)) -> Option<Node> {
        let (node, name) = place;
        match &self.nodes[*node] {
            _ if name == "." => Some(*node),
            Kind::Folder(folder) => folder.now.get(name).copied(),
            Kind::File { .. } => None,
        }
    }

    fn make(&mut self, kind: Kind) -> Node {
        self.nodes.push(kind);
        self.nodes.len() - 1
    }

    fn replay(&mut self, call: &Call) {
        let name = call.name.as_str();
        let is_tracked = call.arguments.first().is_none_or(|first| {
            first.parse().map_or(true, |descriptor: i64| self.handles.contains_key(&descriptor))
        });
        assert!(!(is_tracked && UNKNOWN.contains(&name)), "the model of power loss does not know {call:?}");
        // The older calls take no folder: as if it were the current one.
        let (first, second) = match name {
            "open" | "mkdir" | "unlink" | "rmdir" => (self.place(None, &call.path(0)), None),
            "link" | "rename" => (self.place(None, &call.path(0)), self.place(None, &call.path(1))),
            "openat" | "mkdirat" | "unlinkat" => (self.place(Some(&call.arguments[0]), &call.path(1)), None),
            "linkat" | "renameat" | "renameat2" => (
                self.place(Some(&call.arguments[0]), &call.path(1)),
                self.place(Some(&call.arguments[2]), &call.path(3)),
            ),
            _ => (None, None),
        };
        match (name, first) {
            ("open" | "openat", place) => {
                let flags = if name == "open" { 1 } else { 2 };
                self.open(call, flags, place);
            }
            ("mkdir" | "mkdirat", Some((folder, name))) => {
                let made = self.make(Kind::Folder(Folder::default()));
                self.folder(folder).set(&name, Some(made));
            }
            ("unlink" | "unlinkat" | "rmdir", Some((folder, name))) => self.folder(folder).set(&name, None),
            ("link" | "linkat", Some(from)) => {
                let node = self.at(&from);
                let (folder, name) = second.expect("no link leads out of the scratch folder");
                self.folder(folder).set(&name, node);
            }
            ("rename" | "renameat" | "renameat2", Some(from)) => {
                let node = self.at(&from);
                let (folder, name) = second.expect("nothing is moved out of the scratch folder");
                self.folder(folder).set(&name, node);
                self.folder(from.0).set(&from.1, None);
            }
            ("close", _) => drop(self.handles.remove(&call.number(0))),
            ("dup", _) => self.duplicate(call),
            ("fcntl", _) if call.arguments[1].starts_with("F_DUPFD") => self.duplicate(call),
            ("write", _) => self.write(call),
            ("ftruncate", _) => {
                let handle = self.handles.get(&call.number(0));
                if let Some(Kind::File { content, is_synced, durable }) =
                    handle.map(|handle| &mut self.nodes[handle.node])
                {
                    let length = usize::try_from(call.number(1)).expect("a length");
                    content.resize(length, 0);
                    *is_synced = false;
                    *durable = length.min(*durable);
                }
            }
            ("fsync" | "fdatasync", _) => {
                if let Some(handle) = self.handles.get(&call.number(0)) {
                    match &mut self.nodes[handle.node] {
                        Kind::File { content, is_synced, durable } => {
                            *is_synced = true;
                            *durable = content.len();
                        }
                        Kind::Folder(folder) => folder.unsettled.clear(),
                    }
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, call: &Call, flags: usize, place: Option<(Node, String)>) {
        // A descriptor's number is used again: whatever it led to before is closed.
        self.handles.remove(&call.result);
        let Some(place) = place else { return };
        assert!(!call.has_flag(flags, "O_TMPFILE"), "unknown: {call:?}");
        let node = match self.at(&place) {
            Some(node) => node,
            None if call.has_flag(flags, "O_CREAT") => {
                let made = self.make(Kind::File { content: Vec::new(), is_synced: false, durable: 0 });
                self.folder(place.0).set(&place.1, Some(made));
                made
            }
            None => panic!("the model lacks a file that was opened: {call:?}"),
        };
        if call.has_flag(flags, "O_TRUNC") {
            self.nodes[node] = Kind::File { content: Vec::new(), is_synced: false, durable: 0 };
        }
        let appends = call.has_flag(flags, "O_APPEND");
        self.handles.insert(call.result, Handle { node, offset: 0, appends });
    }

    fn duplicate(&mut self, call: &Call) {
        if let Some(&handle) = self.handles.get(&call.number(0)) {
            self.handles.insert(call.result, handle);
        }
    }

    fn write(&mut self, call: &Call) {
        let Some(handle) = self.handles.get_mut(&call.number(0)) else { return };
        let mut bytes = call.bytes(1);
        bytes.truncate(usize::try_from(call.result).unwrap_or(0));
        if let Kind::File { content, is_synced, durable } = &mut self.nodes[handle.node] {
            if handle.appends {
                handle.offset = content.len();
            }
            *durable = handle.offset.min(*durable);
            content.truncate(handle.offset);
            content.extend_from_slice(&bytes);
            handle.offset = content.len();
            *is_synced = false;
        }
    }

    /// What a path below the top may lead to after a power loss.
    fn possible(&self, path: &str) -> BTreeSet<Option<Node>> {
        path.split('/').fold(BTreeSet::from([Some(TOP)]), |nodes, name| {
            nodes.into_iter().flat_map(|node| self.possible_in(node, name)).collect()
        })
    }

    fn possible_in(&self, node: Option<Node>, name: &str) -> BTreeSet<Option<Node>> {
        match node.map(|node| &self.nodes[node]) {
            Some(Kind::Folder(folder)) => folder.possible(name),
            Some(Kind::File { .. }) | None => BTreeSet::from([None]),
        }
    }

    /// The durable content of a file; `None` for a file whose content is not.
    fn content(&self, node: Node) -> Option<&[u8]> {
        match &self.nodes[node] {
            Kind::File { content, is_synced: true, .. } => Some(content),
            _ => None,
        }
    }

    /// What would be wrong with the store if the power were lost now.
    fn store_violations(&self, ready: &Ready) -> Violations {
        let mut wrong = Violations::new();
        for store in self.possible(".muse/coordination").into_iter().flatten() {
            for folder in ["reservations", "heartbeats", "releases", "superseded", "tmp"] {
                if self.possible_in(Some(store), folder).contains(&None) {
                    wrong.push(format!("a store without {folder}"));
                }
            }
            wrong.extend(self.collection_violations(ready, store));
            let token = self.certain_token(store, &mut wrong);
            for folder in ["reservations", "releases", "superseded"] {
                for node in self.possible_in(Some(store), folder).into_iter().flatten() {
                    let Kind::Folder(records) = &self.nodes[node] else { continue };
                    for name in records.names() {
                        for record in records.possible(name).into_iter().flatten() {
                            self.record_violations(ready, (folder, name), record, token, &mut wrong);
                        }
                    }
                }
            }
        }
        wrong
    }

    /// What may have become of reservations that are moved.
    fn collection_violations(&self, ready: &Ready, store: Node) -> Violations {
        let mut wrong = Violations::new();
        let archived = self.certain_in_archive(store);
        let may_be = |folder: &str, id: &str| -> BTreeSet<bool> {
            let folders = self.possible_in(Some(store), folder);
            let nodes = folders.into_iter().flat_map(|node| self.possible_in(node, &format!("{id}.json")));
            nodes.map(|node| node.is_some()).collect()
        };
        for id in &ready.moved {
            let record = may_be("reservations", id);
            if record.contains(&false) && !archived.contains(id) {
                wrong.push(format!("{id} may be in neither place"));
            }
            for folder in ["releases", "superseded"] {
                let was_there = ready.scratch.store().join(folder).join(format!("{id}.json")).exists();
                if was_there && record.contains(&true) && may_be(folder, id).contains(&false) {
                    wrong.push(format!("{id} may be back without its record in {folder}"));
                }
            }
        }
        wrong
    }

    /// The ids of the lines that are in the archive for certain.
    fn certain_in_archive(&self, store: Node) -> BTreeSet<String> {
        let mut certain = BTreeSet::new();
        let folders = self.possible_in(Some(store), "archive");
        let [Some(folder)] = folders.into_iter().collect::<Vec<_>>()[..] else { return certain };
        let Kind::Folder(months) = &self.nodes[folder] else { return certain };
        for name in months.names() {
            let possible: Vec<Option<Node>> = months.possible(name).into_iter().collect();
            if let [Some(node)] = possible[..]
                && let Kind::File { content, durable, .. } = &self.nodes[node]
            {
                let lines = archive::lines_of(&content[..*durable]);
                certain.extend(lines.iter().map(|line| archive::id_of(line).to_owned()));
            }
        }
        certain
    }

    /// The smallest token that the token file may hold.
    fn certain_token(&self, store: Node, wrong: &mut Violations) -> u64 {
        let mut smallest = u64::MAX;
        for node in self.possible_in(Some(store), "token") {
            let content = node.and_then(|node| self.content(node));
            let token = content.and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim_end().parse().ok());
            match token {
                Some(token) => smallest = smallest.min(token),
                None => wrong.push("a store whose token file is missing or not whole".to_owned()),
            }
        }
        smallest
    }

    fn record_violations(
        &self,
        ready: &Ready,
        (folder, name): (&str, &str),
        record: Node,
        token: u64,
        wrong: &mut Violations,
    ) {
        let Some(content) = self.content(record) else {
            wrong.push(format!("{folder}/{name} may be there with anything in it"));
            return;
        };
        let value: Value = serde_json::from_slice(content).unwrap_or_default();
        let id = name.strip_suffix(".json").unwrap_or_default();
        if value["reservation_id"] != id || !content.ends_with(b"}\n") {
            wrong.push(format!("{folder}/{name} may be there and is not whole"));
        }
        if folder != "reservations" {
            return;
        }
        if value["token"].as_u64().is_none_or(|granted| granted > token) {
            wrong.push(format!("{folder}/{name} may be there with a token above the token file's"));
        }
        let is_new = value["run_id"] == crate::operations::RUN;
        if is_new && let Some(mark) = mark_of(ready) {
            wrong.extend(self.missing(&mark).map(|what| format!("{folder}/{name} may be there, but {what}")));
        }
    }

    /// Says so if a path is not there for certain.
    fn missing(&self, path: &str) -> Option<String> {
        let possible = self.possible(path);
        let is_certain = !possible.contains(&None)
            && possible.iter().flatten().all(|&node| {
                matches!(self.nodes[node], Kind::Folder(_) | Kind::File { is_synced: true, .. })
            });
        (!is_certain).then(|| format!("{path} may be missing"))
    }

    /// What the answer promises and a power loss would break.
    fn answer_violations(&self, ready: &Ready, answer: &Value) -> Violations {
        let mut promised: Vec<String> = mark_of(ready).into_iter().collect();
        let record = |folder: &str, id: &str| format!(".muse/coordination/{folder}/{id}.json");
        if ready.operation.is_grant() {
            promised.push(record("reservations", answer["reservation_id"].as_str().unwrap_or_default()));
            promised.push(".muse/coordination/token".to_owned());
        }
        if ready.operation == Operation::Release {
            promised.push(record("releases", ready.target.as_deref().unwrap_or_default()));
        }
        if ready.operation == Operation::Init {
            promised.extend(
                [".muse/coordination/token", ".muse/.gitignore", ".git/muse-store.json"].map(str::to_owned),
            );
        }
        let missing = promised.iter().filter_map(|path| self.missing(path));
        let stores = self.possible(".muse/coordination").into_iter().flatten();
        let archived: BTreeSet<String> = stores.flat_map(|store| self.certain_in_archive(store)).collect();
        let lost =
            ready.moved.iter().filter(|id| !archived.contains(*id)).map(|id| format!("{id} is not archived"));
        missing.chain(lost).map(|what| format!("acknowledged, but {what}")).collect()
    }

    fn assert_like_disk(&self, top: &Path) {
        let mut on_disk = Model::of(top);
        assert_eq!(self.files(TOP), on_disk.files(TOP), "the model has missed a call");
        on_disk.handles.clear();
    }

    fn files(&self, node: Node) -> BTreeMap<String, Option<&[u8]>> {
        let Kind::Folder(folder) = &self.nodes[node] else { return BTreeMap::new() };
        let mut files = BTreeMap::new();
        for (name, &child) in &folder.now {
            match &self.nodes[child] {
                Kind::File { content, .. } => {
                    files.insert(name.clone(), Some(content.as_slice()));
                }
                Kind::Folder(_) => {
                    files.insert(format!("{name}/"), None);
                    let below = self.files(child).into_iter();
                    files.extend(below.map(|(path, content)| (format!("{name}/{path}"), content)));
                }
            }
        }
        files
    }
}

/// The mark that an operation's new reservation must not be there without.
fn mark_of(ready: &Ready) -> Option<String> {
    let folder = match ready.operation {
        Operation::Supersede => "superseded",
        Operation::TakeOver => "releases",
        _ => return None,
    };
    Some(format!(".muse/coordination/{folder}/{}.json", ready.target.as_ref()?))
}
