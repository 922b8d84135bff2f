//! The operations that are killed, failed and traced, each with a store that is ready for it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use crate::process::until;
use crate::races::reserve;
use crate::scratch::names;
use crate::{Answer, Muse, Scratch, archive};

/// An operation of muse that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A reserve that meets nothing.
    Reserve,
    /// A reserve of something whose holder has lapsed.
    Supersede,
    /// A reserve that takes something over from its active holder.
    TakeOver,
    /// A reserve that repeats an active one.
    Renew,
    /// A reserve in a repository without a store.
    First,
    /// A heartbeat of a reservation that has had one before.
    Heartbeat,
    /// A release.
    Release,
    /// `muse init` in a Git repository.
    Init,
    /// A collection that moves one reservation of each kind behind those that are archived already.
    Gc,
    /// A collection that begins the archive.
    FirstGc,
}

impl Operation {
    /// Every one.
    pub const ALL: [Operation; 10] = [
        Operation::Reserve,
        Operation::Supersede,
        Operation::TakeOver,
        Operation::Renew,
        Operation::First,
        Operation::Heartbeat,
        Operation::Release,
        Operation::Init,
        Operation::Gc,
        Operation::FirstGc,
    ];

    /// Whether it moves reservations into the archive.
    pub const fn is_collection(self) -> bool {
        matches!(self, Operation::Gc | Operation::FirstGc)
    }

    /// Whether it leads to a new reservation.
    pub const fn is_grant(self) -> bool {
        matches!(self, Operation::Reserve | Operation::Supersede | Operation::TakeOver | Operation::First)
    }
}

/// A store that is ready for an operation, to be copied for each try.
#[derive(Debug)]
pub struct Ready {
    /// The operation.
    pub operation: Operation,
    /// The repository.
    pub scratch: Scratch,
    /// The arguments that carry the operation out.
    pub arguments: Vec<String>,
    /// The reservation that the operation is about, where it is about one: what it supersedes, takes over,
    /// extends or releases.
    pub target: Option<String>,
    /// A reservation that it is not about, and that must not notice.
    pub bystander: Option<String>,
    /// Whether the store is so large that it has an index.
    pub is_crowded: bool,
    /// The reservations that a collection moves.
    pub moved: Vec<String>,
}

/// How many reservations of others a crowded store has: more than are read without an index.
const CROWD: usize = 70;

impl Ready {
    /// Makes a store that is ready for `operation` and so large that it has an index.
    pub fn crowded(muse: &Muse, operation: Operation) -> Ready {
        let ready = Ready { is_crowded: true, ..Ready::make(muse, operation) };
        for number in 0..CROWD {
            let address = format!("crowd/{number}.py");
            let answer = muse.run(ready.scratch.path(), &reserve(&[&address], "crowd", &[]));
            assert!(answer.is_ok(), "{}", answer.brief());
        }
        ready
    }

    fn bare(operation: Operation, scratch: Scratch, arguments: Vec<String>) -> Ready {
        Ready {
            operation,
            scratch,
            arguments,
            target: None,
            bystander: None,
            is_crowded: false,
            moved: Vec::new(),
        }
    }

    /// A copy of the store, ready for the operation. The index of a copied store is not trusted until the next
    /// change: so there is one.
    pub fn copy(&self, muse: &Muse) -> Scratch {
        let scratch = self.scratch.copy();
        if self.is_crowded {
            let answer = muse.run(scratch.path(), &reserve(&["settled.py"], "settler", &[]));
            assert!(answer.is_ok(), "{}", answer.brief());
        }
        scratch
    }
}

/// The run that the operation is carried out by.
pub const RUN: &str = "worker";
const HOLDER: &str = "holder";
/// What a writer of the archive leaves that is killed in the middle of a line.
const TORN_LINE: &[u8] = b"{\"schema_version\":1,\"archived_at\":";
/// The run of [`Ready::bystander`].
pub const BYSTANDER: &str = "bystander";

/// The extensions of the heartbeat that is there before a heartbeat, and of that heartbeat itself.
pub const EXTENSIONS: [&str; 2] = ["1000", "2000"];

impl Ready {
    /// Makes a store that is ready for `operation`.
    pub fn make(muse: &Muse, operation: Operation) -> Ready {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        if operation == Operation::Init {
            let scratch = Scratch::empty();
            let made = Command::new("git").args(["init", "-q", "."]).current_dir(scratch.path()).status();
            assert!(made.is_ok_and(|status| status.success()), "this test needs the program `git`");
            let arguments = words(&["init", "--json"]);
            return Ready::bare(operation, scratch, arguments);
        }
        let arguments = reserve(&["target.py"], RUN, &[]);
        if operation == Operation::First {
            let scratch = Scratch::without_store();
            return Ready::bare(operation, scratch, arguments);
        }

        let scratch = Scratch::with_store(muse);
        let ok = |arguments: &[String]| {
            let answer = muse.run(scratch.path(), arguments);
            assert!(answer.is_ok(), "{arguments:?}: {}", answer.brief());
            answer.id()
        };
        let bystander = Some(ok(&reserve(&["bystander.py"], BYSTANDER, &[])));
        let heartbeat = |id: &str, extension: &str| {
            words(&["coord", "heartbeat", id, "--run-id", RUN, "--extension", extension, "--json"])
        };
        let mut moved = Vec::new();
        let (target, arguments) = match operation {
            Operation::Gc | Operation::FirstGc => {
                let collect = words(&["coord", "gc", "--older-than", "0", "--json"]);
                let release = |id: &str| ok(&words(&["coord", "release", id, "--run-id", RUN, "--json"]));
                if operation == Operation::Gc {
                    for address in ["old.py", "older.py"] {
                        release(&ok(&reserve(&[address], RUN, &[])));
                    }
                    ok(&collect);
                    let folder = scratch.store().join("archive");
                    for name in names(&folder) {
                        // What somebody was writing who was killed.
                        let mut file =
                            OpenOptions::new().append(true).open(folder.join(name)).expect("a file");
                        file.write_all(TORN_LINE).expect("a file can be written");
                    }
                }
                let released = ok(&reserve(&["target.py"], RUN, &[]));
                ok(&heartbeat(&released, EXTENSIONS[0]));
                release(&released);
                let [superseded, lapsed] = ["lapsed.py::f", "else.py"].map(|address| {
                    let id = ok(&reserve(&[address], HOLDER, &["--ttl", "1"]));
                    ok(&words(&[
                        "coord",
                        "heartbeat",
                        &id,
                        "--run-id",
                        HOLDER,
                        "--extension",
                        "1",
                        "--json",
                    ]));
                    id
                });
                until("the holder has lapsed", || state(muse, &scratch, &lapsed) == "lapsed");
                ok(&reserve(&["lapsed.py"], RUN, &[]));
                moved = vec![released.clone(), superseded, lapsed];
                (Some(released), collect)
            }
            Operation::Supersede => {
                let id = ok(&reserve(&["target.py::f"], HOLDER, &["--ttl", "1"]));
                until("the holder has lapsed", || state(muse, &scratch, &id) == "lapsed");
                (Some(id), arguments)
            }
            Operation::TakeOver => {
                let id = ok(&reserve(&["target.py::f"], HOLDER, &[]));
                let more = ["--take-over", &id, "--reason", "it crashed"];
                (Some(id.clone()), reserve(&["target.py"], RUN, &more))
            }
            Operation::Renew => {
                let id = ok(&arguments);
                (Some(id), reserve(&["target.py"], RUN, &["--ttl", "7200"]))
            }
            Operation::Heartbeat => {
                let id = ok(&arguments);
                ok(&heartbeat(&id, EXTENSIONS[0]));
                (Some(id.clone()), heartbeat(&id, EXTENSIONS[1]))
            }
            Operation::Release => {
                let id = ok(&arguments);
                (Some(id.clone()), words(&["coord", "release", &id, "--run-id", RUN, "--json"]))
            }
            Operation::Reserve | Operation::First | Operation::Init => (None, arguments),
        };
        Ready { target, bystander, moved, ..Ready::bare(operation, scratch, arguments) }
    }
}

/// What `show` says of a reservation.
pub fn show(muse: &Muse, scratch: &Scratch, id: &str) -> Answer {
    muse.run(scratch.path(), &["coord", "show", id, "--json"])
}

/// The state of a reservation.
pub fn state(muse: &Muse, scratch: &Scratch, id: &str) -> String {
    show(muse, scratch, id).json["reservation"]["state"].as_str().unwrap_or("missing").to_owned()
}

/// Whether the effect of a finished operation can be seen in the store. `answer` is what it said, where it did.
///
/// # Errors
///
/// A sentence on what cannot be seen.
pub fn effect(muse: &Muse, ready: &Ready, scratch: &Scratch, answer: &Answer) -> Result<(), String> {
    let target = ready.target.as_deref().unwrap_or_default();
    let expect = |what: &str, id: &str, expected: &str| {
        let found = state(muse, scratch, id);
        if found == expected { Ok(()) } else { Err(format!("{what} {id} is {found}, not {expected}")) }
    };
    let extended = |seconds: i64| {
        let row = &show(muse, scratch, target).json["reservation"];
        let left = row["expires_in_seconds"].as_i64().unwrap_or_default();
        // The one before was far below, and no test runs for as long as this allows.
        if left > seconds - 300 { Ok(()) } else { Err(format!("{target} has {left} s left of {seconds}")) }
    };
    match ready.operation {
        Operation::Reserve | Operation::First => expect("the new one", &answer.id(), "active"),
        Operation::Supersede => {
            expect("the new one", &answer.id(), "active")?;
            expect("the old one", target, "superseded")
        }
        Operation::TakeOver => {
            expect("the new one", &answer.id(), "active")?;
            expect("the old one", target, "released")
        }
        Operation::Renew => extended(7200),
        Operation::Heartbeat => {
            // The record's own hour is longer; the heartbeat's file tells.
            let beat = show(muse, scratch, target).json["heartbeat"]["last_beat_at"].clone();
            if beat == answer.json["last_beat_at"] { Ok(()) } else { Err(format!("the heartbeat is {beat}")) }
        }
        Operation::Release => expect("the released one", target, "released"),
        Operation::Gc | Operation::FirstGc => {
            for id in &ready.moved {
                expect("one that is over", id, "archived")?;
            }
            let mut wrong = archive::lost_or_doubled(ready, scratch);
            wrong.extend(archive::left_behind(ready, scratch));
            wrong.into_iter().next().map_or(Ok(()), Err)
        }
        Operation::Init => {
            let is_there = scratch.store().join("token").is_file()
                && scratch.path().join(".git/muse-store.json").is_file()
                && scratch.path().join(".muse/.gitignore").is_file();
            if is_there { Ok(()) } else { Err("init left something out".to_owned()) }
        }
    }
}
