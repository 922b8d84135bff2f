//! The hook of a coding harness: one payload in, one answer out, in time.
//!
//! A thread of its own watches the work: whatever hangs (standard input that nobody closes, a store that a stopped process
//! has locked, a disk), the answer comes before the harness gives up on it. The work is left where it is then, and ends
//! with the process, which a store bears at any instruction. It is the work that is done on the main thread: memory for
//! the parsers is got there with a third of the system calls.
//!
//! So it is with a panic, of which there should be none: the shipped program would abort, and at such an exit code some
//! harnesses deny.

use std::io::{self, Read as _, Write as _};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use muse_coord::RunId;
use muse_guard::Harness;
use muse_guard::harness::{Answer, Event, EventKind, Reply, Sender as Caller};
use muse_repo::{FindError, Repository};

use super::files::{is_in, nearest_folder, physical};
use super::{edits, log, session};
use crate::args::HarnessArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit;
use crate::output::one_line;

/// The largest payload, 16 MiB: above what any model writes at once.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// When an answer is due: before the shortest time-out that `guard install` writes, of 10 s, and late enough for a store
/// that is merely busy.
const ANSWER_DUE: Duration = Duration::from_secs(4);

/// When the end of a session is answered: before the time-out that `guard install` writes, of 3 s, the most that Codex
/// allows.
const END_DUE: Duration = Duration::from_millis(2400);

/// The same for Claude Code, which gives 1.5 s to whoever asks for no more.
const SHORT_END_DUE: Duration = Duration::from_millis(1200);

/// What the work tells while it goes on.
enum Told {
    /// Who calls, and what for.
    Event { caller: Caller, is_edit: bool, is_end: bool },
    /// Where a log may be.
    Store(PathBuf),
    /// It is done, or could not be.
    Done(Result<Answer, String>),
    /// It has panicked, and does not go on.
    Panicked(String),
}

/// Answers the payload on standard input, and returns the exit code.
pub(super) fn run(called_as: Harness, args: &HarnessArgs, context: &Context) -> u8 {
    let watch = Watch { called_as, is_strict: args.strict, context: context.clone() };
    watched(watch, |teller| work(called_as, context, teller))
}

/// Does the work beside a thread that answers, and returns the exit code.
fn watched(watch: Watch, work: impl FnOnce(&Sender<Told>) -> Result<Answer, String>) -> u8 {
    let (teller, told) = mpsc::channel();
    tell_of_panics(teller.clone());
    let alone = watch.clone();
    let watching = thread::Builder::new().name(WATCH.to_owned()).spawn(move || watch.answer(&told));
    let watching = match watching {
        Ok(watching) => watching,
        Err(error) => {
            let why = format!("no thread could be started: {error}");
            return alone.give(Err(why), &Heard::default());
        }
    };
    let done = work(&teller);
    // Nobody listens any more once the time is up: the answer is being given.
    teller.send(Told::Done(done)).unwrap_or_default();
    watching.join().unwrap_or(exit::OK)
}

/// Has whoever watches answer when the work panics.
fn tell_of_panics(teller: Sender<Told>) {
    panic::set_hook(Box::new(move |panic| {
        let is_watched = thread::current().name() != Some(WATCH);
        if !is_watched || teller.send(Told::Panicked(panic.to_string())).is_err() {
            end(exit::OK);
        }
        // The answer ends the process.
        loop {
            thread::park();
        }
    }));
}

/// The name of the thread that watches.
const WATCH: &str = "watch";

/// Who waits for the work, and answers when it is done or the time is up.
#[derive(Clone)]
struct Watch {
    called_as: Harness,
    is_strict: bool,
    context: Context,
}

/// What the work has told of itself.
#[derive(Default)]
struct Heard {
    caller: Option<Caller>,
    is_edit: bool,
    store: Option<PathBuf>,
}

impl Watch {
    /// Waits for the work and prints the answer; returns the exit code. If the time is up or the work has panicked, it ends
    /// the process with it.
    fn answer(&self, told: &Receiver<Told>) -> u8 {
        let mut heard = Heard::default();
        let mut due = ANSWER_DUE;
        loop {
            match told.recv_timeout(due.saturating_sub(self.context.elapsed())) {
                Ok(Told::Event { caller, is_edit, is_end }) => {
                    (heard.caller, heard.is_edit) = (Some(caller), is_edit);
                    due = match caller.harness {
                        _ if !is_end => due,
                        Harness::ClaudeCode => SHORT_END_DUE,
                        _ => END_DUE,
                    };
                }
                Ok(Told::Store(path)) => heard.store = Some(path),
                Ok(Told::Done(done)) => return self.give(done, &heard),
                Ok(Told::Panicked(why)) => end(self.give(Err(format!("the guard failed: {why}")), &heard)),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.give(Err("the guard failed".to_owned()), &heard);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("it took longer than {} ms", due.as_millis());
                    end(self.give(Err(why), &heard));
                }
            }
        }
    }

    /// Prints the answer and returns the exit code. What could not be checked is logged after that: the disk may hang.
    fn give(&self, done: Result<Answer, String>, heard: &Heard) -> u8 {
        let mut store = heard.store.clone();
        let why = match done {
            Ok(answer) => {
                return print(&heard.caller.map_or_else(Reply::default, |caller| caller.reply(&answer)));
            }
            // What could not be read or was not there in time may have come from a place that nobody asked to guard.
            Err(_) if store.is_none() && heard.caller.is_none() && !is_guarded(&self.context, &mut store) => {
                return print(&Reply::default());
            }
            Err(why) => one_line(&why),
        };
        let sentence = format!("could not check: {why}");
        let mut reply = match (self.is_strict, heard.caller) {
            (true, Some(caller)) if heard.is_edit => caller.reply(&Answer::Deny(strictly(&sentence))),
            (true, None) => self.called_as.refusal(&strictly(&sentence)),
            _ => Reply::default(),
        };
        if reply.stderr.is_empty() {
            reply.stderr = format!("muse coord hook: {sentence}");
        }
        let code = print(&reply);
        if let Some(store) = &store {
            log::add(store, self.called_as, &sentence, &self.context);
        }
        code
    }
}

/// Ends the process beside work that hangs or has panicked.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the main thread hangs or has panicked, and cannot return"
)]
fn end(code: u8) -> ! {
    std::process::exit(code.into())
}

fn strictly(sentence: &str) -> String {
    format!(
        "muse coord {sentence}; this guard was installed with --strict, so the edit was not made. Tell the user: \
         MUSE_GUARD=off lets edits through"
    )
}

/// Whether the process's own folder is in a guarded repository, and where its store is.
fn is_guarded(context: &Context, store: &mut Option<PathBuf>) -> bool {
    match context.repository() {
        Ok(repository) => {
            *store = Some(repository.store().to_owned());
            true
        }
        Err(error) => error.kind != crate::error::Kind::NotARepository,
    }
}

fn print(reply: &Reply) -> u8 {
    let line = |text: &str| if text.is_empty() { String::new() } else { format!("{text}\n") };
    // Whoever does not read the answer takes the exit code, and there is nobody else to tell.
    io::stderr().write_all(line(&reply.stderr).as_bytes()).unwrap_or_default();
    let mut stdout = io::stdout().lock();
    stdout.write_all(line(&reply.stdout).as_bytes()).and_then(|()| stdout.flush()).unwrap_or_default();
    reply.exit
}

fn work(called_as: Harness, context: &Context, teller: &Sender<Told>) -> Result<Answer, String> {
    let payload = payload()?;
    if context.is_unguarded() {
        return Ok(Answer::Pass);
    }
    let event = called_as.read(&payload).map_err(|error| error.to_string())?;
    let is_edit = matches!(event.kind, EventKind::Edits(_));
    let is_end = matches!(event.kind, EventKind::SessionEnd | EventKind::AgentEnd);
    // Whoever does not listen any more has answered.
    teller.send(Told::Event { caller: event.sender, is_edit, is_end }).unwrap_or_default();
    if event.kind == EventKind::Other {
        return Ok(Answer::Pass);
    }
    let folder = folder(&event, context)?;
    let repositories = repositories(&event, &folder, context);
    let Some(repository) = repositories.iter().flatten().next() else {
        // None of them guards, or can be told.
        return repositories.into_iter().next().map_or(Ok(Answer::Pass), |first| first.map(|_| Answer::Pass));
    };
    teller.send(Told::Store(repository.store().to_owned())).unwrap_or_default();
    let session = session_run(&event, context)?;
    // Where MUSE_RUN_ID leaves no room for a subagent below it, it is the session that edits.
    let run = RunId::new(event.below(session.as_str())).unwrap_or_else(|_| session.clone());
    match &event.kind {
        EventKind::Edits(edits) => edits::guard(edits, &folder, &run, &repositories, context),
        EventKind::SessionStart => session::start(&run, repository, context),
        EventKind::SessionEnd => session::end(&session, repository, context),
        EventKind::AgentEnd if run != session => session::end(&run, repository, context),
        EventKind::AgentEnd | EventKind::Other => Ok(Answer::Pass),
    }
}

/// What is on standard input. It is read to its end, so that whoever writes it is not stopped by a broken pipe.
fn payload() -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("standard input cannot be read: {error}");
    let mut stdin = io::stdin().lock();
    let mut payload = Vec::new();
    let read = stdin.by_ref().take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload).map_err(failed)?;
    if u64::try_from(read).is_ok_and(|read| read <= PAYLOAD_BYTES_MAX) {
        return Ok(payload);
    }
    io::copy(&mut stdin, &mut io::sink()).map_err(failed)?;
    Err(format!("the payload is larger than {} MiB", PAYLOAD_BYTES_MAX >> 20))
}

/// The folder that the session works in, without symbolic links.
fn folder(event: &Event, context: &Context) -> Result<PathBuf, String> {
    let told = event.cwd.as_deref().map(Path::new).filter(|cwd| cwd.is_absolute());
    match told.and_then(|cwd| cwd.canonicalize().ok()).filter(|cwd| cwd.is_dir()) {
        Some(folder) => Ok(folder),
        None => context.current_directory().map_err(|error| error.message),
    }
}

/// The repositories that guard the files of an edit, each file by the one that it is in: an agent may have gone elsewhere,
/// into a submodule for example, and edits by whole paths. For anything else, and where no file is in one, that of the
/// session's folder. Of one that cannot be told: why.
fn repositories(event: &Event, folder: &Path, context: &Context) -> Vec<Result<Repository, String>> {
    let find = |folder: &Path| match Repository::find(folder, context.root()) {
        Ok(repository) => Some(Ok(repository)),
        Err(FindError::NotARepository { .. }) => None,
        Err(error) => Some(Err(CommandError::from(error).message)),
    };
    let here = find(folder);
    let EventKind::Edits(edits) = &event.kind else { return here.into_iter().collect() };
    let mut files: Vec<PathBuf> = edits.iter().map(|edit| physical(&folder.join(&edit.path))).collect();
    let count = files.len();
    files.retain(|file| !here.iter().flatten().any(|here| is_in(here, file)));
    let is_here = files.len() < count;
    let mut others: Vec<Result<Repository, String>> = Vec::new();
    for file in &files {
        if others.iter().flatten().any(|other| is_in(other, file)) {
            continue;
        }
        let there = nearest_folder(file).and_then(find);
        others.extend(there.filter(|there| there.as_ref().map_or(true, |there| is_in(there, file))));
    }
    let here = here.filter(|_| is_here || others.is_empty());
    here.into_iter().chain(others).collect()
}

/// The run of the session: the one that the environment names, else one made of the harness and the session.
fn session_run(event: &Event, context: &Context) -> Result<RunId, String> {
    if let Some(run) = context.run_id_of_environment().map_err(|error| error.message)? {
        return Ok(run);
    }
    let run = Event { agent: None, kind: EventKind::Other, cwd: None, ..event.clone() }.run();
    let run = run.ok_or("the payload tells no session, and MUSE_RUN_ID is not set")?;
    RunId::new(run).map_err(|error| error.to_string())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a panic ends the process, so it is one of its own")]
mod tests {
    use std::{env, process};

    use muse_coord::Safeguards;

    use super::*;

    /// In the environment of the process that panics: whether it is strict.
    const STRICT: &str = "MUSE_TEST_STRICT";

    fn panicking(strict: &str) {
        let context = Context::of_process(Safeguards::ALL);
        let watch = Watch { called_as: Harness::Copilot, is_strict: strict == "true", context };
        watched(watch, |teller| {
            let caller = Caller { harness: Harness::Copilot, is_compatible: false };
            teller.send(Told::Event { caller, is_edit: true, is_end: false }).unwrap();
            panic!("of a test")
        });
    }

    #[test]
    fn a_panic_is_answered_as_any_other_failure() {
        if let Ok(strict) = env::var(STRICT) {
            panicking(&strict);
        }
        for (strict, denies) in [("false", false), ("true", true)] {
            let name = "commands::hook::harness::tests::a_panic_is_answered_as_any_other_failure";
            let mut program = process::Command::new(env::current_exe().unwrap());
            let output = program.args(["--exact", name, "--nocapture"]).env(STRICT, strict).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            assert!(stderr.contains("could not check: the guard failed: panicked at "), "{stderr}");
            assert!(stderr.contains("of a test"), "{stderr}");
            assert_eq!(stdout.contains(r#""permissionDecision":"deny""#), denies, "{stdout}");
        }
    }
}
