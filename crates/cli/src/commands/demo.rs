//! `muse demo`: the main job on real input, played by real processes.
//!
//! Every command of the story is a process of this very program in a scratch Git repository. What it printed
//! and its exit code are shown as they come and held against the contract; the first difference ends the demo
//! with exit code 3. The agent that gets killed is a process too: this program with a hidden flag, which reserves
//! and sends heartbeats, by starting `muse` each time, until it is dead.
//!
//! With `--engine etcd` the two working trees are those of two clones, as on two machines, and what is reserved is in an
//! etcd that the demo starts and ends.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anstream::AutoStream;
use anstyle::Style;
use muse_coord::{Endpoints, EtcdEngine, ReservationId, Stopwatch, SystemClock};
use muse_repo::Scratch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{DemoArgs, EngineName};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen, coloured, one_line};
use crate::report::shell_word;
use crate::settings::ENGINE_VARIABLES;

/// What the agents change.
const FILES: [(&str, &str); 3] = [
    (
        "src/billing.py",
        "class Invoice:\n    def total(self):\n        return sum(line.amount for line in self.lines)\n\n\n\
         def apply_discount(invoice, percent):\n    return invoice.total() * (100 - percent) / 100\n",
    ),
    ("src/report.py", "def render(invoices):\n    return [invoice.total() for invoice in invoices]\n"),
    ("README.md", "# Billing\n"),
];

/// The function that everybody wants.
const WANTED: &str = "src/billing.py::Invoice.total";
/// The function that the killed agent works on.
const ABANDONED: &str = "src/billing.py::apply_discount";

/// Who contends for [`WANTED`].
const RACERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// The run that gets killed.
const VICTIM: &str = "frank";

/// The lifetimes of the killed agent's reservation, in seconds: as granted, and what each heartbeat extends it to.
const VICTIM_TTL: &str = "2";
const VICTIM_EXTENSION: &str = "3";
const VICTIM_EXTENSION_SECONDS: u64 = 3;
/// How often it sends one. So that the third comes after the lifetime that was granted.
const BEAT_EVERY: Duration = Duration::from_millis(700);
/// After how many it is killed.
const BEATS_BEFORE_KILL: usize = 3;
/// After how many it would end by itself, so that nothing goes on for ever.
const BEATS_MAX: usize = 30;

/// How many digits of an id are shown.
const DIGITS_SHOWN: usize = 8;
/// How many digits an id has.
const DIGITS: usize = 64;

/// What a process was asked to do, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step {
    /// The scene that it belongs to.
    title: String,
    /// The working tree that it ran in.
    folder: String,
    command: String,
    /// `None` if it was killed.
    exit_code: Option<i32>,
    /// Its standard output, then its standard error.
    output: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct DemoReport {
    status: &'static str,
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    ended: Option<String>,
}

impl Report for DemoReport {
    fn exit_code(&self) -> u8 {
        if self.error.is_none() { exit::OK } else { exit::INTERNAL }
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(ended) = &self.ended {
            screen.result(ended);
        }
        if let Some(error) = &self.error {
            screen.error(error);
        }
    }
}

/// Something did not come as the contract says, or could not be done at all: a sentence.
#[derive(Debug)]
struct Difference(String);

impl Difference {
    fn cannot(what: &str) -> impl FnOnce(io::Error) -> Difference {
        move |error| Difference(format!("cannot {what}: {error}"))
    }
}

pub(crate) fn run(args: &DemoArgs, context: &Context) -> Result<Answer<DemoReport>, CommandError> {
    let internal = |message: String| CommandError::new(Kind::Internal, message);
    let program = context.program()?;
    if args.as_agent {
        let muse = Muse { program, etcd: args.etcd.clone() };
        let top = context.current_directory()?;
        let error = play_victim(&muse, &top).err().map(|Difference(error)| error);
        let status = if error.is_none() { "ok" } else { Kind::Internal.word_and_code().0 };
        return Ok(Answer::new(DemoReport { status, steps: Vec::new(), error, ended: None }));
    }

    let place = context.temporary_folder();
    let folder = tempfile::Builder::new().prefix("muse-demo-").tempdir_in(&place).map_err(|error| {
        internal(format!("cannot make a temporary folder in {}: {error}; set TMPDIR", place.display()))
    })?;
    let scratch = muse_repo::scratch(folder.path(), &FILES).map_err(|error| internal(error.to_string()))?;
    let (scratch, server) = match args.engine {
        EngineName::Files => (scratch, None),
        EngineName::Etcd => {
            let other = folder.path().join("other machine");
            let server = fs::create_dir(&other).map_err(|error| error.to_string());
            let clone =
                server.and_then(|()| muse_repo::scratch(&other, &FILES).map_err(|error| error.to_string()));
            let server = Server::start(folder.path(), context)?;
            (Scratch { linked: clone.map_err(internal)?.linked, ..scratch }, Some(server))
        }
    };
    let mut stage = Stage {
        muse: Muse { program, etcd: server.as_ref().map(|server| server.url.clone()) },
        scratch,
        voice: Voice {
            is_open: !context.json,
            title: String::new(),
            stdout: coloured(io::stdout(), context),
        },
        steps: Vec::new(),
    };
    let played = play(&mut stage);
    drop(server);
    let removed = folder.close().map_err(Difference::cannot("remove the temporary folder"));

    let steps = stage.steps;
    Ok(Answer::new(match played.and(removed) {
        Ok(()) => {
            let (count, seconds) = (steps.len(), context.duration_ms() / 1000.0);
            let ended = format!(
                "{count} processes, each of which did what the contract says, in {seconds:.1} s; \
                 the folder is gone."
            );
            DemoReport { status: "ok", steps, error: None, ended: Some(ended) }
        }
        Err(Difference(error)) => {
            let status = Kind::Internal.word_and_code().0;
            DemoReport { status, steps, error: Some(error), ended: None }
        }
    }))
}

/// The whole story.
fn play(stage: &mut Stage) -> Result<(), Difference> {
    stage.introduce()?;

    if stage.muse.etcd.is_some() {
        stage.scene("Make each clone ready. What is reserved will be in etcd, for both.")?;
        stage.call(Top::Main, &["init"], exit::OK, &["made the store"])?;
        stage.call(Top::Linked, &["init"], exit::OK, &["made the store"])?;
        let status = ["coord", "engine", "status"];
        stage.call(Top::Linked, &status, exit::OK, &["etcd"])?;
    } else {
        stage.scene("Make the store. Every worktree of the repository will find this one.")?;
        stage.call(Top::Main, &["init"], exit::OK, &["made the store"])?;
    }

    let (winner, held) = race(stage)?;
    let id = held.to_string();

    stage.scene("The holder keeps it alive with a heartbeat.")?;
    let beaten = format!("run={winner} extended until ");
    let beat = ["coord", "heartbeat", &id, "--run-id", winner, "--extension", "7200"];
    stage.call(Top::Main, &beat, exit::OK, &["💓", &id, &beaten, "Z (+7200s)"])?;

    stage.scene(
        "An agent in the other worktree sees it, is denied what overlaps it, and takes something else.",
    )?;
    stage.call(Top::Linked, &["coord", "list"], exit::OK, &[winner, WANTED, &id])?;
    let held_by = format!("is held as `{WANTED}` by run `{winner}` (modify, on main)");
    let glob = ["coord", "reserve", "src/**/*.py", "--run-id", "erin", "--op", "rename"];
    stage.call(Top::Linked, &glob, exit::CONFLICT, &[&held_by, &id])?;
    let file = ["coord", "reserve", "src/report.py", "--run-id", "erin", "--op", "rename"];
    stage.call(Top::Linked, &file, exit::OK, &["reserved sha256:", "run=erin"])?;
    let function = ["coord", "reserve", "src/report.py::render", "--run-id", winner, "--op", "modify"];
    let held_by = "is held as `src/report.py` by run `erin` (rename, on feature)";
    stage.call(Top::Main, &function, exit::CONFLICT, &[held_by])?;

    killed_agent(stage)?;

    stage
        .scene("A coordinator takes the first reservation away; its holder's next heartbeat says to stop.")?;
    let release = ["coord", "release", &id, "--run-id", "coordinator"];
    let not_holder = format!("is held by run `{winner}`, not by `coordinator`");
    stage.call(Top::Main, &release, exit::CONFLICT, &[&not_holder])?;
    let force = [&release[..], &["--force", "--reason", "merge freeze"]].concat();
    stage.call(Top::Main, &force, exit::OK, &["released ", &id])?;
    stage.call(Top::Main, &beat, exit::BAD_ARGUMENTS, &["is already released: stop work"])?;
    let who = ["released ", " by coordinator, forced: merge freeze"];
    stage.call(Top::Main, &["coord", "show", &id], exit::OK, &who)?;

    stage.scene("The others are done: they release what they hold, and nothing is left.")?;
    for (top, run) in [(Top::Main, "grace"), (Top::Linked, "erin")] {
        stage.call(top, &["coord", "release", "--all", "--run-id", run], exit::OK, &["released sha256:"])?;
    }
    let list = stage.call(Top::Main, &["coord", "list", "--json"], exit::OK, &[])?;
    stage.expect(list.json()?["count"] == 0, "an empty list")?;
    stage.voice.line("")
}

/// Several agents reserve the same function at once: one holds it, and every other one is told who.
fn race(stage: &mut Stage) -> Result<(&'static str, ReservationId), Difference> {
    stage.scene(
        "Four agents reserve the same function at the same time. One is granted, three are told who has it.",
    )?;
    let arguments = |run| ["coord", "reserve", WANTED, "--run-id", run, "--op", "modify"];
    let top = Top::Main.of(&stage.scratch).to_owned();
    let started: Vec<(&str, io::Result<Child>)> =
        RACERS.into_iter().map(|run| (run, stage.muse.command(&top, &arguments(run)).spawn())).collect();
    let mut answers = Vec::new();
    // All of them are waited for before the first failure is told: none is left behind.
    let ended: Vec<_> =
        started.into_iter().map(|(run, child)| (run, child.and_then(Child::wait_with_output))).collect();
    for (run, output) in ended {
        let output = output.map_err(Difference::cannot("start a process"))?;
        answers.push((run, stage.show(Top::Main, &arguments(run), &output)?));
    }

    let winners: Vec<&(&str, Said)> =
        answers.iter().filter(|(_, said)| said.code == Some(exit::OK)).collect();
    let [(winner, grant)] = winners[..] else {
        return Err(Difference(format!(
            "the race differs from the contract: {} were granted",
            winners.len()
        )));
    };
    let id = grant.granted_id()?;
    let held_by = format!("`{WANTED}` is held by run `{winner}` (modify, on main)");
    for (_, said) in answers.iter().filter(|(run, _)| run != winner) {
        said.holds_to(exit::CONFLICT, &[&held_by, &id.to_string()])?;
    }
    Ok((winner, id))
}

/// An agent is killed; its reservation lapses, is taken by another run, and cannot be revived.
fn killed_agent(stage: &mut Stage) -> Result<(), Difference> {
    stage.scene(&format!(
        "{VICTIM} reserves for {VICTIM_TTL} s, stays alive by heartbeats, and is killed after the third (SIGKILL)."
    ))?;
    let mut victim = Victim::start(stage)?;
    let mut id = None;
    for _ in 0..=BEATS_BEFORE_KILL {
        let step = victim.next_step()?;
        let said = stage.tell(step)?;
        match id {
            None => {
                let grant = said.holds_to(exit::OK, &["reserved ", "run=frank"])?;
                id = Some(grant.granted_id()?.to_string());
            }
            Some(ref id) => {
                said.holds_to(exit::OK, &["💓", id, "extended until "])?;
            }
        }
    }
    let id = id.ok_or_else(|| Difference("the killed agent reserved nothing".to_owned()))?;
    let killed = victim.kill()?;
    stage.tell(killed)?;

    stage.scene(
        "Until the reservation lapses the dead agent is still in the way. Then another run is granted.",
    )?;
    let reserve = ["coord", "reserve", ABANDONED, "--run-id", "grace"];
    let json = [&reserve[..], &["--json"]].concat();
    let denied = stage.call(Top::Main, &json, exit::CONFLICT, &[])?.json()?;
    let holder = &denied["conflicts"][0]["holder"];
    stage.expect(denied["status"] == "conflict", "status `conflict`")?;
    stage.expect(
        holder["run_id"] == VICTIM && holder["reservation_id"] == id.as_str(),
        "the dead holder named",
    )?;
    let seconds = holder["expires_in_seconds"].as_u64().unwrap_or(u64::MAX);
    // etcd tells whole seconds, rounded up.
    let most = VICTIM_EXTENSION_SECONDS + u64::from(stage.muse.etcd.is_some());
    stage.expect(seconds <= most, "the seconds left")?;
    stage.voice.line(&format!("  ({seconds} s pass, as `expires_in_seconds` says)"))?;
    wait(Duration::from_secs(seconds));
    // etcd looks for what has lapsed twice a second.
    let patient = [&reserve[..], &["--wait", "10"]].concat();
    let reserve = if stage.muse.etcd.is_some() { &patient[..] } else { &reserve[..] };
    let granted = stage.call(Top::Main, reserve, exit::OK, &["reserved ", "run=grace"])?;
    let successor = granted.granted_id()?.to_string();

    stage.scene("The old holder comes back too late: its heartbeat is refused and names the new holder.")?;
    let beat = ["coord", "heartbeat", &id, "--run-id", VICTIM];
    stage.call(
        Top::Main,
        &beat,
        exit::NOT_FOUND,
        &["lapsed, and run `grace` was granted its addresses", &successor],
    )?;
    let json = [&beat[..], &["--json"]].concat();
    let late = stage.call(Top::Main, &json, exit::NOT_FOUND, &[])?.json()?;
    stage.expect(late["status"] == "not_found" && late["holder"]["run_id"] == "grace", "the new holder named")
}

/// Waits until a lease has lapsed.
#[expect(
    clippy::disallowed_methods,
    reason = "the story needs a lease to lapse in real time; the wait is bounded"
)]
fn wait(time: Duration) {
    std::thread::sleep(time.min(Duration::from_secs(VICTIM_EXTENSION_SECONDS)));
}

/// A working tree of the scratch repository.
#[derive(Clone, Copy, Debug)]
enum Top {
    Main,
    Linked,
}

impl Top {
    fn of(self, scratch: &Scratch) -> &Path {
        match self {
            Top::Main => &scratch.main,
            Top::Linked => &scratch.linked,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Top::Main => "main",
            Top::Linked => "feature",
        }
    }
}

/// Ends etcd once nobody holds the other end of its standard input, whatever became of the demo.
const SERVER_SCRIPT: &str = "etcd \"$@\" & etcd=$!; cat > /dev/null; kill -9 $etcd; wait";

/// How long etcd may take until it answers, and how long is waited between two looks.
const SERVER_WAIT: Duration = Duration::from_secs(20);
const SERVER_PAUSE: Duration = Duration::from_millis(50);

/// An etcd of the demo's own, on loopback. It ends when this is dropped.
struct Server {
    url: String,
    shell: Child,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "the demo starts what it shows; the wait is bounded")]
    fn start(folder: &Path, context: &Context) -> Result<Server, CommandError> {
        if !context.finds_program("etcd") {
            let message = "there is no program `etcd` to play with: install it (Debian's package is etcd-server), or run \
                           `muse demo` without --engine";
            return Err(CommandError::new(Kind::Usage, message));
        }
        let cannot = |what: &str| CommandError::new(Kind::Internal, format!("cannot start etcd: {what}"));
        let port = || Ok::<u16, io::Error>(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port());
        let ports = port().and_then(|client| Ok((client, port()?)));
        let (client, peer) = ports.map_err(|error| cannot(&error.to_string()))?;
        let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("sh");
        command.args(["-c", SERVER_SCRIPT, "sh", "--data-dir"]).arg(folder.join("etcd"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = command.spawn().map_err(|error| cannot(&error.to_string()))?;
        let server = Server { url, shell };
        let endpoints = Endpoints { urls: vec![server.url.clone()], ..Endpoints::default() };
        let engine = EtcdEngine::new(&endpoints, DEMO_REPOSITORY, SystemClock)
            .map_err(|error| cannot(&error.to_string()))?;
        let waiting = Stopwatch::start();
        while engine.name().is_err() {
            if waiting.elapsed() > SERVER_WAIT {
                return Err(cannot("it does not answer"));
            }
            std::thread::sleep(SERVER_PAUSE);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Fails only where it has ended already.
        self.shell.wait().map(drop).unwrap_or_default();
    }
}

/// The name of the repository in the demo's etcd.
const DEMO_REPOSITORY: &str = "demo";

/// This very program.
struct Muse {
    program: PathBuf,
    /// Where the etcd is that its processes use.
    etcd: Option<String>,
}

impl Muse {
    /// A process of it in the folder `top`. Its answer does not depend on what this process was started with.
    #[expect(clippy::disallowed_methods, reason = "this is the one caller")]
    fn command(&self, top: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(top);
        for variable in ["MUSE_RUN_ID", "MUSE_REPO_ROOT", "CLICOLOR_FORCE"].iter().chain(ENGINE_VARIABLES) {
            command.env_remove(variable);
        }
        if let Some(url) = &self.etcd {
            command.env("MUSE_COORD_ENGINE", "etcd").env("MUSE_COORD_ENDPOINTS", url);
            command.env("MUSE_COORD_REPOSITORY", DEMO_REPOSITORY);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What a process said.
#[derive(Debug)]
struct Said {
    /// Which step it was, for the sentence that tells a difference.
    step: String,
    code: Option<u8>,
    output: String,
}

impl Said {
    fn differs(&self, how: &str) -> Difference {
        let output: Vec<&str> = self.output.lines().collect();
        Difference(format!("{} differs from the contract: {how}; it said: {}", self.step, output.join(" / ")))
    }

    /// Checks the exit code, and that the output has these parts.
    fn holds_to(&self, code: u8, parts: &[&str]) -> Result<&Said, Difference> {
        if self.code != Some(code) {
            let found = self.code.map_or("none".to_owned(), |found| found.to_string());
            return Err(self.differs(&format!("exit code {found}, not {code}")));
        }
        match parts.iter().find(|part| !self.output.contains(**part)) {
            Some(missing) => Err(self.differs(&format!("no `{missing}`"))),
            None => Ok(self),
        }
    }

    /// The id in the line that tells a grant.
    fn granted_id(&self) -> Result<ReservationId, Difference> {
        let word = self.output.split_whitespace().nth(1).unwrap_or_default();
        word.parse().map_err(|_| self.differs("no reservation id"))
    }

    /// The one JSON object that is the whole output.
    fn json(&self) -> Result<Value, Difference> {
        let value: Value = serde_json::from_str(&self.output)
            .map_err(|_| self.differs("not one JSON object and nothing else"))?;
        if value["exit_code"].as_u64() == self.code.map(u64::from) {
            Ok(value)
        } else {
            Err(self.differs("`exit_code` is not the exit code"))
        }
    }
}

/// Where the story is played and told.
struct Stage {
    muse: Muse,
    scratch: Scratch,
    voice: Voice,
    steps: Vec<Step>,
}

impl Stage {
    fn introduce(&mut self) -> Result<(), Difference> {
        let (main, linked) = (self.scratch.main.display(), self.scratch.linked.display());
        let scene = match &self.muse.etcd {
            None => "A scratch Git repository with two working trees, and agents that are real processes."
                .to_owned(),
            Some(url) => format!(
                "Two clones of a scratch Git repository, as on two machines, an etcd at {url}, and agents that are real \
                 processes."
            ),
        };
        let lines = [
            scene,
            format!("  main     {main} (branch main)"),
            format!("  feature  {linked} (branch feature)"),
            format!("  muse     {}", self.muse.program.display()),
            format!("Ids are shown short: sha256: and {DIGITS_SHOWN} of their {DIGITS} digits."),
        ];
        lines.iter().try_for_each(|line| self.voice.line(line))
    }

    fn scene(&mut self, title: &str) -> Result<(), Difference> {
        self.voice.title(title)
    }

    /// Runs `muse` and checks its answer.
    fn call(&mut self, top: Top, arguments: &[&str], code: u8, parts: &[&str]) -> Result<Said, Difference> {
        let output = self
            .muse
            .command(top.of(&self.scratch), arguments)
            .output()
            .map_err(Difference::cannot("start a process"))?;
        let said = self.show(top, arguments, &output)?;
        said.holds_to(code, parts)?;
        Ok(said)
    }

    fn show(&mut self, top: Top, arguments: &[&str], output: &Output) -> Result<Said, Difference> {
        self.tell(step(top, arguments, output))
    }

    /// Records and shows what a process said.
    fn tell(&mut self, mut step: Step) -> Result<Said, Difference> {
        step.title.clone_from(&self.voice.title);
        self.voice.step(&step)?;
        let said = Said {
            step: format!("step {} (`{}` in {})", self.steps.len() + 1, step.command, step.folder),
            code: step.exit_code.and_then(|code| u8::try_from(code).ok()),
            output: step.output.clone(),
        };
        self.steps.push(step);
        Ok(said)
    }

    /// Checks a fact about the last step.
    fn expect(&self, holds: bool, what: &str) -> Result<(), Difference> {
        if holds {
            return Ok(());
        }
        let command = self.steps.last().map_or("", |step| &step.command);
        Err(Difference(format!(
            "step {} (`{command}`) differs from the contract: not {what}",
            self.steps.len()
        )))
    }
}

/// What a process of ours did, as a step without a title.
fn step(top: Top, arguments: &[&str], output: &Output) -> Step {
    let words: Vec<String> = arguments.iter().map(|word| shell_word(word)).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Step {
        title: String::new(),
        folder: top.name().to_owned(),
        command: format!("muse {}", words.join(" ")),
        exit_code: output.status.code(),
        output: text(&output.stdout) + &text(&output.stderr),
    }
}

/// Tells the story line by line, as it happens.
struct Voice {
    /// Whether anybody listens: with `--json` nobody does, nor once the pipe is closed.
    is_open: bool,
    title: String,
    stdout: AutoStream<io::Stdout>,
}

impl Voice {
    fn title(&mut self, title: &str) -> Result<(), Difference> {
        title.clone_into(&mut self.title);
        self.line("")?;
        self.styled(Style::new().bold(), title)
    }

    fn step(&mut self, step: &Step) -> Result<(), Difference> {
        self.styled(Style::new().bold(), &format!("  {}$ {}", step.folder, shortened(&step.command)))?;
        for line in step.output.lines() {
            self.line(&format!("  {}", shortened(line)))?;
        }
        self.line(&match step.exit_code {
            Some(code) => format!("  exit code {code}"),
            None => "  killed".to_owned(),
        })
    }

    fn line(&mut self, line: &str) -> Result<(), Difference> {
        self.styled(Style::new(), line)
    }

    fn styled(&mut self, style: Style, line: &str) -> Result<(), Difference> {
        if !self.is_open {
            return Ok(());
        }
        let stdout = &mut self.stdout;
        match writeln!(stdout, "{style}{}{style:#}", one_line(line)).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.is_open = false,
            Err(error) => return Err(Difference::cannot("print the story")(error)),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// The line with each id cut to its first digits.
fn shortened(line: &str) -> String {
    let mut parts = line.split(ReservationId::PREFIX);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push_str(ReservationId::PREFIX);
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == DIGITS {
            short.push_str(&part[..DIGITS_SHOWN]);
            short.push('…');
            short.push_str(&part[DIGITS..]);
        } else {
            short.push_str(part);
        }
    }
    short
}

/// The agent that gets killed, seen from outside.
struct Victim {
    process: Child,
    steps: io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Victim {
    fn start(stage: &Stage) -> Result<Victim, Difference> {
        let mut arguments = vec!["demo", "--as-agent"];
        if let Some(url) = &stage.muse.etcd {
            arguments.extend(["--etcd", url]);
        }
        let mut command = stage.muse.command(&stage.scratch.main, &arguments);
        // It ends when this pipe does, so that it does not outlive the demo.
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().map_err(Difference::cannot("start the agent"))?;
        match process.stdout.take() {
            Some(stdout) => Ok(Victim { process, steps: BufReader::new(stdout).lines() }),
            None => Err(Difference("the agent has no output".to_owned())),
        }
    }

    /// What it did next.
    fn next_step(&mut self) -> Result<Step, Difference> {
        let line = self.steps.next().ok_or_else(|| Difference("the agent ended by itself".to_owned()))?;
        let line = line.map_err(Difference::cannot("read what the agent says"))?;
        serde_json::from_str(&line).map_err(|_| Difference(format!("the agent said no step: {line}")))
    }

    /// Ends it as a crash would, between two heartbeats.
    fn kill(mut self) -> Result<Step, Difference> {
        const SIGKILL: i32 = 9;
        self.process.kill().map_err(Difference::cannot("kill the agent"))?;
        let status = self.process.wait().map_err(Difference::cannot("wait for the agent"))?;
        if status.signal() != Some(SIGKILL) {
            return Err(Difference(format!("the agent was not killed: {status}")));
        }
        let output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        Ok(step(Top::Main, &["demo", "--as-agent"], &output))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

/// The agent that gets killed, seen from inside: reserves, then sends heartbeats until it is dead, each by a real
/// process. Tells each as a line of JSON.
fn play_victim(muse: &Muse, top: &Path) -> Result<(), Difference> {
    let (stay, demo_lives) = channel::<()>();
    std::thread::spawn(move || {
        // Ends when the demo does, however that comes about; what it says or fails with does not matter.
        io::copy(&mut io::stdin().lock(), &mut io::sink()).unwrap_or_default();
        drop(stay);
    });

    let reserve = ["coord", "reserve", ABANDONED, "--run-id", VICTIM, "--ttl", VICTIM_TTL];
    let id = do_and_tell(muse, top, &reserve)?.granted_id()?.to_string();
    let beat = ["coord", "heartbeat", &id, "--run-id", VICTIM, "--extension", VICTIM_EXTENSION];
    for _ in 0..BEATS_MAX {
        if demo_lives.recv_timeout(BEAT_EVERY) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        do_and_tell(muse, top, &beat)?.holds_to(exit::OK, &[])?;
    }
    Ok(())
}

fn do_and_tell(muse: &Muse, top: &Path, arguments: &[&str]) -> Result<Said, Difference> {
    let output = muse.command(top, arguments).output().map_err(Difference::cannot("start a process"))?;
    let step = step(Top::Main, arguments, &output);
    let mut line = serde_json::to_vec(&step).map_err(|error| Difference(error.to_string()))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(Difference::cannot("tell the demo"))?;
    let code = step.exit_code.and_then(|code| u8::try_from(code).ok());
    Ok(Said { step: step.command, code, output: step.output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_ids_are_shortened_and_nothing_else() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(
            shortened(&format!("a sha256:{digits} b sha256:{digits}, sha256:12 sha256:")),
            "a sha256:01234567… b sha256:01234567…, sha256:12 sha256:"
        );
        assert_eq!(shortened(&format!("sha256:{digits}0")), format!("sha256:{digits}0"));
        assert_eq!(shortened("nothing"), "nothing");
    }
}
