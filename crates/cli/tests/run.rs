//! `muse coord run` with real children: how they end, who is told, and that nothing is left behind.
//!
//! Children that wait do so in a loop that ends by itself when the scratch folder is gone.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "tests start processes, write files and hold locks")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muse_coord::Timestamp;
use muse_testkit::process::{Running, now, signal, until};
use muse_testkit::tmux::Tmux;
use muse_testkit::{Answer, Muse, Scratch};
use rustix::process::Signal;

mod support;

use support::{make_fifo, redact};

const PROGRAM: &str = env!("CARGO_BIN_EXE_muse");

/// A child that says that it is there, and waits until a file `go` is made. What a test runs it with stands
/// before it: traps, and jobs beside it.
const WAIT: &str = "echo $$ > started.new; mv started.new started; \
                    while [ -e started ] && ! [ -e go ]; do sleep 0.02; done";

/// A child that says that it is there, and waits for a word of [`Stage::words`]. It starts nothing, as anything must
/// whose whole group is to be seen stopped: a shell starts programs by `vfork`, and if the signal stops the new process
/// before it is that program, the shell stays in the kernel, not stopped, until the new process is continued.
const LISTEN: &str = "echo $$ > started; read -r word < words";

/// A scratch repository and what is asked of it.
struct Stage {
    muse: Muse,
    scratch: Scratch,
}

impl Stage {
    fn new() -> Stage {
        let muse = Muse::new(PROGRAM);
        let scratch = Scratch::with_store(&muse);
        Stage { muse, scratch }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn coord(&self, arguments: &[&str]) -> Answer {
        self.muse.run(self.path(), &[&["coord"], arguments, &["--json"]].concat())
    }

    /// Starts a script under `muse coord run` with these flags.
    fn start(&self, flags: &[&str], script: &str) -> Running {
        self.start_under(&[], flags, script)
    }

    fn start_under(&self, wrapper: &[&str], flags: &[&str], script: &str) -> Running {
        let arguments =
            [&["coord", "run", "--run-id", "worker", "src/a.py"], flags, &["--", "sh", "-c", script]]
                .concat();
        self.muse.start(self.path(), wrapper, &arguments)
    }

    /// Waits until the child says that it is there, and returns its process id.
    fn child(&self) -> u32 {
        let mut pid = None;
        until("the child has started", || {
            pid = fs::read_to_string(self.at("started")).ok().and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        pid.unwrap()
    }

    fn go(&self) {
        fs::write(self.at("go"), "").unwrap();
    }

    /// A pipe of which children read words. They come to its end when what is returned is dropped.
    fn words(&self) -> File {
        let place = self.at("words");
        fs::write(&place, "").unwrap();
        make_fifo(&place);
        // Open for both, it keeps nobody waiting who opens or fills it.
        File::options().read(true).write(true).open(place).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// The reservations that are active.
    fn active(&self) -> Vec<String> {
        let list = self.coord(&["list"]);
        assert!(list.is_ok(), "{}", list.brief());
        let rows = list.json["reservations"].as_array().unwrap();
        rows.iter().map(|row| row["reservation_id"].as_str().unwrap().to_owned()).collect()
    }

    /// The only reservation there is.
    fn only(&self) -> String {
        let active = self.active();
        assert_eq!(active.len(), 1, "{active:?}");
        active[0].clone()
    }

    fn force(&self, id: &str) {
        let forced = self.coord(&["release", id, "--run-id", "boss", "--force", "--reason", "merge freeze"]);
        assert!(forced.is_ok(), "{}", forced.brief());
    }

    fn state(&self, id: &str) -> String {
        let shown = self.coord(&["show", id]);
        shown.json["reservation"]["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Nothing is active any more, and no process works in the folder.
    #[track_caller]
    fn is_left_clean(&self) {
        assert_eq!(self.active(), Vec::<String>::new());
        self.is_deserted();
        assert_eq!(self.scratch.temporary(), Vec::<String>::new());
    }

    fn is_deserted(&self) {
        until("no process is left in the folder", || processes_in(self.path()).is_empty());
    }
}

/// The living processes whose current directory is this one.
fn processes_in(folder: &Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place == folder)).collect()
}

/// The letter that the system has for the state of a process: `T` is stopped.
fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_alive(pid: u32) -> bool {
    process_state(pid).is_some_and(|state| state != 'Z')
}

#[track_caller]
fn ends_with(answer: &Answer, code: i32) {
    assert_eq!((answer.exit, answer.signal), (Some(code), None), "{}", answer.brief());
}

/// The command was stopped because of its reservation.
#[track_caller]
fn is_stopped(answer: &Answer, because: &str) {
    ends_with(answer, 8);
    assert!(answer.stderr.contains(because), "no {because:?} in {:?}", answer.stderr);
}

// How a command ends by itself

#[test]
fn streams_and_exit_code_are_the_commands_own() {
    let stage = Stage::new();
    // More than a pipe holds, every byte among it.
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    fs::write(stage.at("data"), &bytes).unwrap();
    for code in ["0", "7", "255"] {
        let words =
            ["sh", "-c", "cat; cat data >&2; printf '%s|' \"$@\"; exit $1", "sh", code, "-j", "--json", ""];
        let play = |before: &[&str]| {
            let all = [before, &words].concat();
            let mut command = Command::new(all[0]);
            command.args(&all[1..]).current_dir(stage.path());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (mut stdin, input) = (child.stdin.take().unwrap(), bytes.clone());
            let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            output
        };
        let bare = play(&[]);
        for flags in
            [&["coord", "run", "--run-id", "worker"][..], &["coord", "run", "--json", "--run-id", "worker"]]
        {
            let wrapped = play(&[&[PROGRAM], flags, &["data", "--"]].concat());
            assert_eq!(wrapped.status.code(), bare.status.code());
            assert_eq!(wrapped.status.code(), code.parse().ok());
            assert!(wrapped.stdout == bare.stdout, "stdout differs");
            assert!(wrapped.stderr == bare.stderr, "stderr differs");
        }
    }
    stage.is_left_clean();
}

#[test]
fn a_command_that_a_signal_ends_is_128_and_the_signal() {
    let stage = Stage::new();
    for (number, code) in [("9", 137), ("15", 143), ("2", 130), ("34", 162)] {
        ends_with(&stage.start(&[], &format!("kill -{number} $$; sleep 1000")).finish(), code);
        stage.is_left_clean();
    }
}

#[test]
fn the_command_knows_what_it_runs_under() {
    let stage = Stage::new();
    let script = "echo \"$MUSE_RUN_ID $MUSE_RESERVATION_ID $MUSE_TOKEN\"; \
                  \"$0\" coord show \"$MUSE_RESERVATION_ID\" --json";
    let arguments = ["coord", "run", "--run-id", "worker/1", "--op", "modify", "--shared", "--ttl", "77"];
    let arguments = [&arguments[..], &["src/a.py", "b.py", "--", "sh", "-c", script, PROGRAM]].concat();
    let answer = stage.muse.run(stage.path(), &arguments);
    ends_with(&answer, 0);
    let stdout = String::from_utf8(answer.stdout).unwrap();
    let (variables, shown) = stdout.split_once('\n').unwrap();
    let row = &serde_json::from_str::<serde_json::Value>(shown).unwrap()["reservation"];
    assert_eq!(variables, format!("worker/1 {} {}", row["reservation_id"].as_str().unwrap(), row["token"]));
    assert_eq!(row["state"], "active");
    assert_eq!(row["addresses"], serde_json::json!(["b.py", "src/a.py"]));
    assert_eq!((&row["mode"], &row["operation"]), (&"shared".into(), &"modify".into()));
    assert_eq!(row["ttl_seconds"], 77);
    stage.is_left_clean();
}

/// What a process inherits beside its streams.
#[test]
fn the_command_inherits_what_it_would_without_muse() {
    let stage = Stage::new();
    // The last two signals that are ignored are the C library's own, which any of its ways to start a process
    // sets so.
    let script = "for fd in /proc/self/fd/*; do echo \"${fd##*/}\"; done; ulimit -n; umask; pwd; \
                  sed -n 's/^SigBlk:\\|^SigIgn:\\|^SigPnd:/&/p' /proc/self/status | sed 's/00000001800/00000000000/'; \
                  env | grep -v '^MUSE_' | sort";
    for setup in ["", "trap '' HUP INT;", "exec 7</dev/null; ulimit -S -n 100; umask 027;"] {
        let play = |before: &str| {
            let command = format!("{setup} exec {before} sh -c \"$SCRIPT\"");
            let output = Command::new("sh")
                .args(["-c", &command])
                .env("SCRIPT", script)
                .env("MUSE", PROGRAM)
                .current_dir(stage.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let bare = play("");
        assert!(bare.contains("SigBlk"), "{bare}");
        assert_eq!(play("\"$MUSE\" coord run --run-id worker a.py --"), bare, "after {setup:?}");
    }
    stage.is_left_clean();
}

#[test]
fn ignored_ends_of_children_and_broken_pipes_have_their_default_again() {
    let stage = Stage::new();
    let ignoring = ["env", "--ignore-signal=CHLD,PIPE,HUP"];
    let script = "sed -n 's/^SigIgn:.*\\(.....\\)$/\\1/p' /proc/$$/status; exit 9";
    for flags in [&[][..], &["--wait", "1"]] {
        let answer = stage.start_under(&ignoring, flags, script).finish();
        ends_with(&answer, 9);
        // The hangup alone is ignored still.
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "00001\n", "{}", answer.brief());
    }
    stage.is_left_clean();
}

// What never starts

#[test]
fn a_denied_command_is_never_started_and_the_answer_is_that_of_reserve() {
    let stage = Stage::new();
    let held = stage.coord(&["reserve", "src/a.py", "--run-id", "rival", "--ttl", "3630"]);
    assert!(held.is_ok());
    for json in [&[][..], &["--json"]] {
        let reserve = [&["coord", "reserve", "src/a.py::f", "--run-id", "worker"], json].concat();
        let run =
            [&["coord", "run", "src/a.py::f", "--run-id", "worker"], json, &["--", "touch", "ran"]].concat();
        let (reserve, run) = (stage.muse.run(stage.path(), &reserve), stage.muse.run(stage.path(), &run));
        assert_eq!((run.exit, reserve.exit), (Some(6), Some(6)));
        let text = |answer: &Answer| redact(std::str::from_utf8(&answer.stdout).unwrap());
        assert_eq!(text(&run), text(&reserve));
        assert_eq!(redact(&run.stderr), redact(&reserve.stderr));
    }
    assert!(!stage.at("ran").exists());
    assert_eq!(stage.active(), [held.id()]);
}

/// Waits until somebody has a place in the queue.
fn somebody_waits(stage: &Stage) {
    until("somebody waits", || {
        let waiting = fs::read_dir(stage.at(".muse/coordination/waiting"));
        waiting.is_ok_and(|mut entries| entries.next().is_some())
    });
}

#[test]
fn a_command_waits_for_its_turn() {
    let stage = Stage::new();
    let holder = stage.coord(&["reserve", "src/", "--run-id", "alice"]);
    let running = stage.start(&["--wait", "60"], "touch started; echo done");
    somebody_waits(&stage);
    assert!(!stage.at("started").exists());
    assert!(stage.coord(&["release", &holder.id(), "--run-id", "alice"]).is_ok());
    let answer = running.finish();
    assert_eq!((answer.exit, &*answer.stdout), (Some(0), &b"done\n"[..]), "{}", answer.brief());
    assert!(answer.stderr.contains("waiting at place 1"), "{}", answer.stderr);
    stage.is_left_clean();
}

#[test]
fn a_command_whose_wait_is_over_is_never_started() {
    let stage = Stage::new();
    stage.coord(&["reserve", "src/a.py", "--run-id", "alice"]);
    let words =
        ["coord", "run", "--run-id", "worker", "src/a.py", "--wait", "1", "--json", "--", "touch", "started"];
    let answer = stage.muse.run(stage.path(), &words);
    assert_eq!((answer.exit, answer.status()), (Some(7), "wait_timeout"), "{}", answer.brief());
    for (signal_sent, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let words = [&words[..5], &["--wait", "60"], &words[7..]].concat();
        let running = stage.muse.start(stage.path(), &[] as &[&str], &words);
        somebody_waits(&stage);
        signal(running.id(), signal_sent);
        let answer = running.finish();
        assert_eq!((answer.exit, answer.status()), (Some(code), "interrupted"), "{}", answer.brief());
        let left = fs::read_dir(stage.at(".muse/coordination/waiting")).unwrap().count();
        assert_eq!(left, 0, "the place is given up");
    }
    assert!(!stage.at("started").exists());
    let answer = stage.coord(&["list"]);
    assert_eq!(answer.json["count"], 1, "{}", answer.brief());
}

#[test]
fn a_command_that_cannot_be_started_leaves_nothing() {
    let stage = Stage::new();
    fs::write(stage.at("plain"), "no program").unwrap();
    for (command, code, status) in
        [("no-such-command", 127, "command_not_found"), ("./plain", 126, "command_not_executable")]
    {
        let run = ["coord", "run", "--run-id", "worker", "a.py"];
        let text = stage.muse.run(stage.path(), &[&run[..], &["--", command]].concat());
        ends_with(&text, code);
        assert!(text.stdout.is_empty() && text.stderr.starts_with("error: the command "), "{}", text.brief());
        assert!(text.stderr.contains(command), "{}", text.brief());
        let json = stage.muse.run(stage.path(), &[&run[..], &["--json", "--", command]].concat());
        ends_with(&json, code);
        assert_eq!((json.status(), &json.json["exit_code"], &*json.stderr), (status, &code.into(), ""));
        stage.is_left_clean();
    }
}

#[test]
fn what_cannot_be_released_is_told_also_if_the_command_could_not_be_started() {
    muse_testkit::strace::need_strace();
    // The grant is published, nothing more; and no thread or process is to be had.
    let full = ["strace", "-f", "-o", "/dev/null", "-e", "inject=linkat:error=ENOSPC:when=2+"];
    let full = [&full[..], &["-e", "inject=clone,clone3:error=EAGAIN"]].concat();
    for json in [&[][..], &["--json"]] {
        let stage = Stage::new();
        let answer = stage.start_under(&full, json, "touch ran").finish();
        ends_with(&answer, 126);
        let warning = format!("reservation {} was not released, and lapses by itself", stage.only());
        assert!(answer.stderr.contains(&warning), "{}", answer.brief());
        let said = if json.is_empty() { &*answer.stderr } else { answer.text("error") };
        assert!(said.contains("the command could not be started"), "{}", answer.brief());
        assert!(!stage.at("ran").exists());
        stage.is_deserted();
    }
}

#[test]
fn bad_arguments_change_nothing() {
    let stage = Stage::new();
    for (flags, code, status) in [
        (&["--ttl", "10"][..], 1, "bad_args"),
        (&["--ttl", "10", "--grace", "11"], 1, "bad_args"),
        (&["--grace", "-1"], 1, "bad_args"),
        (&["--ttl", "0", "--grace", "0"], 1, "bad_args"),
        (&["--ttl", "5", "--grace", "4", "../out"], 1, "bad_address"),
        (&["--grace", "x"], 2, "usage"),
        (&["--run-id", "again"], 2, "usage"),
    ] {
        let run = ["coord", "run", "--json", "--run-id", "worker", "a.py"];
        let answer = stage.muse.run(stage.path(), &[&run[..], flags, &["--", "touch", "ran"]].concat());
        assert_eq!((answer.exit, answer.status()), (Some(code), status), "{flags:?}: {}", answer.brief());
    }
    for arguments in [&["a.py"][..], &["a.py", "--"], &["--", "true"]] {
        let answer =
            stage.muse.run(stage.path(), &[&["coord", "run", "--json", "--run-id", "x"], arguments].concat());
        assert_eq!((answer.exit, answer.status()), (Some(2), "usage"), "{arguments:?}");
    }
    assert!(!stage.at("ran").exists());
    assert!(stage.scratch.records().is_empty());
}

#[test]
fn a_grace_that_is_too_long_names_what_is_a_default_and_both_ways_out() {
    let stage = Stage::new();
    let refused = |flags: &[&str]| {
        let run = ["coord", "run", "--run-id", "worker", "a.py", "--json"];
        let answer = stage.muse.run(stage.path(), &[&run[..], flags, &["--", "touch", "ran"]].concat());
        assert_eq!((answer.exit, answer.status()), (Some(1), "bad_args"), "{flags:?}: {}", answer.brief());
        answer.text("error").to_owned()
    };
    for (flags, is, ways) in [
        (
            &["--ttl", "5"][..],
            ["--grace is 10 seconds (the default)", "--ttl, which is 5 seconds, "],
            "give a --grace of at most 4 or a --ttl of at least 11; ",
        ),
        (
            &["--grace", "60"],
            ["--grace is 60 seconds, ", "--ttl, which is 60 seconds (the default)"],
            "give a --grace of at most 59 or a --ttl of at least 61; ",
        ),
        (
            &["--grace", "-1"],
            ["--grace is -1 seconds, ", "--ttl, which is 60 seconds (the default)"],
            "give a --grace of at most 59; ",
        ),
        (
            &["--grace", "31536000", "--ttl", "1"],
            ["--grace is 31536000 seconds, ", "--ttl, which is 1 seconds, "],
            "give a --grace of at most 0; ",
        ),
    ] {
        let error = refused(flags);
        for part in is.into_iter().chain([ways]) {
            assert!(error.contains(part), "no {part:?} in {error:?}");
        }
    }
    // What it says is so.
    for flags in [&["--ttl", "5", "--grace", "4"][..], &["--ttl", "11"], &["--grace", "59"]] {
        ends_with(&stage.start(flags, "exit 9").finish(), 9);
    }
    assert!(!stage.at("ran").exists());
    stage.is_left_clean();
}

// Signals to muse

#[test]
fn a_signal_to_muse_reaches_the_whole_group_once() {
    for (number, name, code) in
        [(Signal::TERM, "TERM", 143), (Signal::INT, "INT", 130), (Signal::HUP, "HUP", 129)]
    {
        // By default it ends the command and what it has started. (What a shell starts with `&` ignores SIGINT.)
        let stage = Stage::new();
        let beside = if number == Signal::INT { "" } else { "sh -c 'while [ -e . ]; do sleep 0.02; done' &" };
        let running = stage.start(&[], &format!("{beside} {WAIT}"));
        stage.child();
        signal(running.id(), number);
        ends_with(&running.finish(), code);
        stage.is_left_clean();

        // A command may do with it what it likes.
        let stage = Stage::new();
        let running = stage.start(&[], &format!("trap 'echo {name} >> got' {name}; {WAIT}; exit 9"));
        stage.child();
        signal(running.id(), number);
        until("it has arrived", || !stage.read("got").is_empty());
        stage.go();
        ends_with(&running.finish(), 9);
        assert_eq!(stage.read("got"), format!("{name}\n"));
        stage.is_left_clean();
    }
}

#[test]
fn a_signal_to_muse_reaches_a_stopped_command() {
    for (number, name, code) in [
        (Signal::TERM, "TERM", 143),
        (Signal::INT, "INT", 130),
        (Signal::HUP, "HUP", 129),
        (Signal::QUIT, "QUIT", 131),
    ] {
        for (script, code) in [(WAIT, code), (&format!("trap 'echo {name}; exit 9' {name}; {WAIT}"), 9)] {
            let stage = Stage::new();
            let running = stage.start(&[], script);
            let child = stage.child();
            signal(child, Signal::STOP);
            until("it is stopped", || process_state(child) == Some('T'));
            signal(running.id(), number);
            ends_with(&running.finish(), code);
            stage.is_left_clean();
        }
    }
}

#[test]
fn a_stop_and_its_end_reach_what_the_command_has_started() {
    let stage = Stage::new();
    let mut words = stage.words();
    // The leader sees to the stop itself; what it has started stops.
    let inner = "echo $$ > inner.new; mv inner.new inner; read -r word < words";
    let script = format!("trap : TSTP; sh -c '{inner}; echo inner went on' & {WAIT}; wait; wait; exit 9");
    let running = stage.start(&[], &script);
    let leader = stage.child();
    until("the inner one has started", || stage.at("inner").exists());
    let inner = stage.read("inner").trim().parse().unwrap();
    signal(running.id(), Signal::TSTP);
    until("the inner one is stopped", || process_state(inner) == Some('T'));
    assert_ne!(process_state(leader), Some('T'));
    signal(running.id(), Signal::CONT);
    until("the inner one goes on", || process_state(inner) != Some('T'));
    writeln!(words, "go").unwrap();
    stage.go();
    let answer = running.finish();
    ends_with(&answer, 9);
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "inner went on\n");
    stage.is_left_clean();
}

#[test]
fn a_stopped_command_without_a_terminal_keeps_its_reservation() {
    let stage = Stage::new();
    let running = stage.start(&["--ttl", "2", "--grace", "1"], &format!("{WAIT}; exit 9"));
    let child = stage.child();
    signal(child, Signal::STOP);
    until("it is stopped", || process_state(child) == Some('T'));
    let id = stage.only();
    let shown = stage.coord(&["show", &id]);
    let known = shown.json["reservation"]["effective_expires_at"].as_str().unwrap().to_owned();
    until("the time that was known is over", || now().to_string() > known);
    assert_eq!((process_state(child), &*stage.state(&id)), (Some('T'), "active"));
    signal(child, Signal::CONT);
    stage.go();
    ends_with(&running.finish(), 9);
    stage.is_left_clean();
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let stage = Stage::new();
    let running = stage.start_under(&["nohup"], &[], &format!("{WAIT}; exit 9"));
    stage.child();
    signal(running.id(), Signal::HUP);
    stage.go();
    ends_with(&running.finish(), 9);
    stage.is_left_clean();
}

#[test]
fn a_killed_muse_takes_its_command_along() {
    let stage = Stage::new();
    // What the shell becomes keeps the parent-death signal.
    let running = stage.start(
        &["--ttl", "1", "--grace", "0"],
        "echo $$ > started.new; mv started.new started; exec sleep 1000",
    );
    let child = stage.child();
    signal(running.id(), Signal::KILL);
    until("the child is gone", || !is_alive(child));
    assert_eq!(running.finish().signal, Some(9));
    until("the reservation has lapsed", || stage.active().is_empty());
    stage.is_deserted();
}

// The reservation is lost

#[test]
fn a_forced_release_stops_the_command() {
    let stage = Stage::new();
    let running = stage.start(&[], &format!("trap 'echo TERM >> got; exit 0' TERM; {WAIT}"));
    stage.child();
    let id = stage.only();
    stage.force(&id);
    let answer = running.finish();
    is_stopped(&answer, "run `boss` released it: merge freeze");
    assert_eq!(stage.read("got"), "TERM\n");
    assert!(answer.stdout.is_empty());
    stage.is_left_clean();
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let stage = Stage::new();
    let script = format!("trap '' TERM; {WAIT}");
    let running = stage.start(&["--grace", "1"], &script);
    let child = stage.child();
    stage.force(&stage.only());
    is_stopped(&running.finish(), "was lost");
    assert!(!is_alive(child));
    stage.is_left_clean();

    // The leader of the group ends at once, and what it has started does not.
    let stage = Stage::new();
    let script = format!("(trap '' TERM; {WAIT}) & while [ -e . ]; do sleep 0.02; done");
    let running = stage.start(&["--grace", "1"], &script);
    stage.child();
    stage.force(&stage.only());
    is_stopped(&running.finish(), "was lost");
    stage.is_left_clean();
}

#[test]
fn a_stopped_command_is_told_too() {
    let stage = Stage::new();
    let running = stage.start(&["--grace", "9"], &format!("trap 'echo TERM >> got; exit 0' TERM; {WAIT}"));
    let child = stage.child();
    signal(child, Signal::STOP);
    until("it is stopped", || process_state(child) == Some('T'));
    stage.force(&stage.only());
    is_stopped(&running.finish(), "was lost");
    assert_eq!(stage.read("got"), "TERM\n");
    stage.is_left_clean();
}

#[test]
fn a_command_that_stops_again_and_again_is_killed_after_the_grace() {
    let stage = Stage::new();
    let script = format!("trap 'while [ -e . ]; do kill -STOP $$; done' TERM; {WAIT}");
    let running = stage.start(&["--grace", "1"], &script);
    stage.child();
    stage.force(&stage.only());
    is_stopped(&running.finish(), "was lost");
    stage.is_left_clean();
}

#[test]
fn a_machine_that_slept_past_the_ttl_has_lost_to_a_rival() {
    let stage = Stage::new();
    let running = stage
        .start(&["--ttl", "2", "--grace", "1"], &format!("trap 'echo TERM >> got; exit 0' TERM; {WAIT}"));
    stage.child();
    let id = stage.only();
    signal(running.id(), Signal::STOP);
    let rival = || stage.coord(&["reserve", "src/", "--run-id", "rival", "--ttl", "3600"]);
    let mut granted = rival();
    assert_eq!(granted.exit, Some(6), "{}", granted.brief());
    until("the rival is granted it", || {
        granted = rival();
        granted.is_ok()
    });
    signal(running.id(), Signal::CONT);
    is_stopped(&running.finish(), "it lapsed, and run `rival` was granted its addresses");
    assert_eq!(stage.read("got"), "TERM\n");
    assert_eq!(stage.active(), [granted.id()]);
    assert_ne!(stage.state(&id), "active");
    stage.is_deserted();
}

#[test]
fn a_machine_that_slept_goes_on_if_nobody_was_granted_anything() {
    let stage = Stage::new();
    let running = stage.start(&["--ttl", "2", "--grace", "1"], &format!("{WAIT}; exit 9"));
    stage.child();
    let id = stage.only();
    signal(running.id(), Signal::STOP);
    until("it has lapsed", || stage.state(&id) == "lapsed");
    signal(running.id(), Signal::CONT);
    until("it is active again", || stage.state(&id) == "active");
    stage.go();
    let answer = running.finish();
    ends_with(&answer, 9);
    assert!(answer.stderr.contains("nobody was granted its addresses meanwhile"), "{}", answer.brief());
    stage.is_left_clean();
}

#[test]
fn heartbeats_keep_the_reservation_past_its_ttl() {
    let stage = Stage::new();
    let running = stage.start(&["--ttl", "2", "--grace", "1"], &format!("{WAIT}; exit 9"));
    stage.child();
    let id = stage.only();
    let shown = stage.coord(&["show", &id]);
    let granted = shown.json["reservation"]["expires_at"].as_str().unwrap().to_owned();
    until("the time that was granted is over", || now().to_string() > granted);
    assert_eq!(stage.state(&id), "active");
    stage.go();
    ends_with(&running.finish(), 9);
    stage.is_left_clean();
}

/// A child that writes down how its reservation stands when it is told to end.
fn witness() -> String {
    format!("trap '{PROGRAM} coord show $MUSE_RESERVATION_ID --json > seen; exit 0' TERM; {WAIT}")
}

/// When the command was told, its reservation was still held: before the expiry and not after.
#[track_caller]
fn was_told_in_time(stage: &Stage) {
    let seen: serde_json::Value = serde_json::from_str(&stage.read("seen")).unwrap();
    assert_eq!(seen["reservation"]["state"], "active", "{seen}");
}

#[test]
fn a_full_disk_stops_the_command_before_the_expiry() {
    muse_testkit::strace::need_strace();
    let stage = Stage::new();
    // Each process and thread counts for itself: the token and the first heartbeat are written, nothing more.
    let full = ["strace", "-f", "-o", "/dev/null", "-e", "inject=renameat:error=ENOSPC:when=2+"];
    let running = stage.start_under(&full, &["--ttl", "8", "--grace", "4"], &witness());
    stage.child();
    is_stopped(&running.finish(), "No space left on device");
    was_told_in_time(&stage);
    stage.is_left_clean();
}

#[test]
fn a_store_that_is_held_stops_the_command_before_the_expiry() {
    let stage = Stage::new();
    let running = stage.start(&["--ttl", "6", "--grace", "3"], &witness());
    stage.child();
    let id = stage.only();
    let record = File::open(stage.scratch.store().join(format!("reservations/{id}.json"))).unwrap();
    record.lock().unwrap();
    until("the command was told", || stage.at("seen").exists());
    until("the command has ended", || !stage.read("seen").is_empty());
    drop(record);
    is_stopped(&running.finish(), "no heartbeat was written in time");
    was_told_in_time(&stage);
    stage.is_left_clean();
}

#[test]
fn a_heartbeat_that_failed_is_tried_again() {
    let stage = Stage::new();
    let running = stage.start(&["--ttl", "9", "--grace", "1"], &format!("{WAIT}; exit 9"));
    stage.child();
    let id = stage.only();
    let heartbeat = stage.scratch.store().join(format!("heartbeats/{id}.json"));
    let (tmp, aside) = (stage.scratch.store().join("tmp"), stage.at("aside"));
    until("the first heartbeat was written", || heartbeat.exists());
    let written = || fs::read(&heartbeat).unwrap();
    let before = written();
    fs::rename(&tmp, &aside).unwrap();
    let beat = || stage.coord(&["heartbeat", &id, "--run-id", "worker", "--extension", "9"]);
    assert_eq!(beat().exit, Some(3), "heartbeats cannot be written");
    // Long enough for one to be due and to fail: its expiry comes nearer than a heartbeat lets it.
    let content: serde_json::Value = serde_json::from_slice(&before).unwrap();
    let expiry: Timestamp = serde_json::from_value(content["extended_expires_at"].clone()).unwrap();
    until("one is overdue", || expiry.seconds_left(now()) <= 5);
    fs::rename(&aside, &tmp).unwrap();
    until("the next one was written", || written() != before);
    stage.go();
    ends_with(&running.finish(), 9);
    stage.is_left_clean();
}

// What the run had already

#[test]
fn a_reservation_that_the_run_had_is_left_as_it_was() {
    let stage = Stage::new();
    let held = stage.coord(&["reserve", "src/a.py", "--run-id", "worker", "--ttl", "1800"]);
    let beat = stage.coord(&["heartbeat", &held.id(), "--run-id", "worker", "--extension", "3600"]);
    assert!(held.is_ok() && beat.is_ok());
    let running = stage.start(&["--ttl", "2", "--grace", "1"], &format!("{WAIT}; exit 9"));
    stage.child();
    assert_eq!(stage.only(), held.id());
    // One that was granted at the same time for as long has had a heartbeat since; this one needed none.
    let other =
        ["coord", "run", "--run-id", "other", "--ttl", "2", "--grace", "1", "b.py", "--", "sh", "-c", WAIT];
    let other = stage.muse.start(stage.path(), &[] as &[&str], &other);
    let heartbeats = stage.scratch.store().join("heartbeats");
    until("the other one has had a heartbeat", || muse_testkit::scratch::names(&heartbeats).len() > 1);
    stage.go();
    ends_with(&other.finish(), 0);
    ends_with(&running.finish(), 9);
    assert_eq!(stage.only(), held.id());
    let until =
        |answer: &Answer| answer.json["reservation"]["effective_expires_at"].as_str().unwrap().to_owned();
    assert!(*until(&stage.coord(&["show", &held.id()])) >= *beat.text("extended_expires_at"));
    stage.is_deserted();
}

#[test]
fn a_reservation_of_the_run_that_had_lapsed_or_soon_would_is_kept_and_not_released() {
    for has_lapsed in [true, false] {
        let stage = Stage::new();
        let held = stage.coord(&["reserve", "src/a.py", "--run-id", "worker", "--ttl", "2"]).id();
        if has_lapsed {
            until("it has lapsed", || stage.state(&held) == "lapsed");
        }
        let running = stage.start(&["--ttl", "2", "--grace", "1"], &format!("{WAIT}; exit 9"));
        stage.child();
        assert_eq!(stage.only(), held);
        let shown = stage.coord(&["show", &held]);
        let known = shown.json["reservation"]["effective_expires_at"].as_str().unwrap().to_owned();
        until("the time that was known is over", || now().to_string() > known);
        assert_eq!(stage.state(&held), "active");
        stage.go();
        ends_with(&running.finish(), 9);
        // It lapses by itself.
        assert_eq!(stage.coord(&["show", &held]).json["release"], serde_json::Value::Null);
        until("it has lapsed again", || stage.state(&held) == "lapsed");
        stage.is_left_clean();
    }
}

#[test]
fn a_wider_reservation_of_the_run_is_not_touched() {
    let stage = Stage::new();
    let wide = stage.coord(&["reserve", "src/", "--run-id", "worker", "--ttl", "1800"]);
    let answer = stage.start(&["--ttl", "3600"], "echo $MUSE_RESERVATION_ID").finish();
    ends_with(&answer, 0);
    let own = String::from_utf8(answer.stdout).unwrap();
    assert_ne!(own.trim(), wide.id());
    assert_eq!((&*stage.state(own.trim()), stage.only()), ("released", wide.id()));
    let shown = stage.coord(&["show", &wide.id()]);
    assert_eq!(shown.json["reservation"]["effective_expires_at"], wide.json["expires_at"]);
    stage.is_deserted();
}

#[test]
fn a_reservation_that_the_command_gives_back_itself_is_not_lost() {
    // The other reason is that of another command of the run, which has just ended.
    for flags in ["", "--reason 'the command that it was held for ended'"] {
        let stage = Stage::new();
        let release = format!("{PROGRAM} coord release $MUSE_RESERVATION_ID {flags}");
        ends_with(&stage.start(&[], &format!("{release} > /dev/null; exit 9")).finish(), 9);
        stage.is_left_clean();
    }
}

#[test]
fn a_reservation_that_was_lost_just_before_the_command_ended_is_lost() {
    let stage = Stage::new();
    let force = "release $MUSE_RESERVATION_ID --run-id boss --force --reason freeze";
    let running = stage.start(&[], &format!("{PROGRAM} coord {force} > /dev/null; exit 9"));
    is_stopped(&running.finish(), "run `boss` released it: freeze");
    stage.is_left_clean();
}

#[test]
fn a_command_whose_reservation_ended_with_another_command_of_its_run_is_told_how_to_go_on() {
    let stage = Stage::new();
    let first = stage.start(&[], &format!("{WAIT}; rm started"));
    stage.child();
    let second = stage.start(&[], "trap 'exit 0' TERM; touch second; while [ -e . ]; do sleep 0.02; done");
    until("both run", || stage.at("second").exists());
    stage.go();
    ends_with(&first.finish(), 0);
    let answer = second.finish();
    is_stopped(
        &answer,
        "another command of run `worker` that it was granted for has ended, and gave it back",
    );
    assert!(answer.stderr.contains("(`worker/1`, `worker/2`)"), "{}", answer.brief());
    stage.is_left_clean();

    // What it says to do. One after the other, by run ids of their own:
    for name in ["go", "second"] {
        fs::remove_file(stage.at(name)).unwrap();
    }
    let below = |run: &str, script: &str| {
        let words = ["coord", "run", "--run-id", run, "src/a.py", "--wait", "60", "--", "sh", "-c", script];
        stage.muse.start(stage.path(), &[] as &[&str], &words)
    };
    let first = below("worker/1", &format!("{WAIT}; rm started; [ ! -e second ]"));
    stage.child();
    let second = below("worker/2", "touch second");
    somebody_waits(&stage);
    stage.go();
    ends_with(&first.finish(), 0);
    ends_with(&second.finish(), 0);
    stage.is_left_clean();

    // At the same time, under what the run has already:
    for name in ["go", "second"] {
        fs::remove_file(stage.at(name)).unwrap();
    }
    let held = stage.coord(&["reserve", "src/a.py", "--run-id", "worker"]);
    let first = stage.start(&[], WAIT);
    stage.child();
    ends_with(&stage.start(&[], "touch second").finish(), 0);
    assert_eq!(stage.only(), held.id());
    stage.go();
    ends_with(&first.finish(), 0);
    assert_eq!(stage.only(), held.id());
    stage.is_deserted();
}

#[test]
fn a_reservation_that_its_own_run_released_meanwhile_is_lost() {
    let stage = Stage::new();
    let running = stage.start(&[], WAIT);
    stage.child();
    let release = ["release", &stage.only(), "--run-id", "worker", "--reason", "changed my mind"];
    assert!(stage.coord(&release).is_ok());
    let answer = running.finish();
    is_stopped(&answer, "run `worker` released it: changed my mind");
    assert!(!answer.stderr.contains("worker/1"), "{}", answer.brief());
    stage.is_left_clean();
}

// A real terminal

/// The words that start a script under `muse coord run`, for a shell.
fn typed(script: &str) -> String {
    format!("{PROGRAM} coord run --run-id worker src/a.py -- sh {script}; echo code=$?")
}

#[test]
fn an_interrupt_from_the_terminal_reaches_the_command_once() {
    let stage = Stage::new();
    fs::write(stage.at("script"), format!("trap 'echo INT >> got' INT; {WAIT}; exit 9")).unwrap();
    let terminal = Tmux::start(stage.path());
    terminal.line(&typed("script"));
    stage.child();
    terminal.key("C-c");
    until("it has arrived", || !stage.read("got").is_empty());
    stage.go();
    terminal.until_shown("code=9");
    assert_eq!(stage.read("got"), "INT\n");

    // By default it ends the command; the shell has its terminal again.
    for name in ["go", "started"] {
        fs::remove_file(stage.at(name)).unwrap();
    }
    fs::write(stage.at("script"), WAIT).unwrap();
    terminal.line(&format!("clear; {}", typed("script")));
    stage.child();
    terminal.key("C-c");
    terminal.until_shown("ready>");
    terminal.line("echo a'fter' $?");
    terminal.until_shown("after 130");
    drop(terminal);
    stage.is_left_clean();
}

/// A terminal, and a loop or a script in it that runs the stage's script under `muse coord run` twice.
struct Repeated {
    stage: Stage,
    terminal: Tmux,
}

impl Repeated {
    /// The script says that it runs, then does as it is told. `around` has `RUN` where the command stands.
    fn start(script: &str, around: &str) -> Repeated {
        let stage = Stage::new();
        fs::write(stage.at("script"), format!("echo runs >> runs; {script}")).unwrap();
        let run = format!("{PROGRAM} coord run --run-id worker src/a.py -- sh script");
        fs::write(stage.at("steps"), format!("{run}; {run} > /dev/null; echo went on")).unwrap();
        let terminal = Tmux::start(stage.path());
        terminal.line(&format!("clear; {}", around.replace("RUN", &run).replace("MUSE", PROGRAM)));
        stage.child();
        Repeated { stage, terminal }
    }

    /// What the shell has as the last exit code, and how often the script has run.
    fn ends(self, code: &str, runs: usize) {
        self.terminal.line("echo code=$?");
        self.terminal.until_shown(&format!("code={code}"));
        let screen = self.terminal.screen();
        assert_eq!(self.stage.read("runs").lines().count(), runs, "{screen}");
        assert_eq!(screen.contains("went on\n"), runs > 1, "{screen}");
        drop(self.terminal);
        self.stage.is_left_clean();
    }
}

/// Loops of an interactive shell and scripts. Where the output goes elsewhere, the command does not have the terminal,
/// and the key reaches `muse` itself.
const AROUND: [&str; 6] = [
    "for i in 1 2; do RUN; done; echo 'went on'",
    "for i in 1 2; do RUN > /dev/null; done; echo 'went on'",
    "bash steps",
    "sh steps",
    "bash -c 'RUN > /dev/null; sh script; echo went on'",
    "for i in 1 2; do MUSE coord run --run-id outer b.py -- RUN; done; echo 'went on'",
];

#[test]
fn an_interrupt_that_ends_the_command_stops_the_loop_or_script_around_it() {
    for around in AROUND {
        let repeated = Repeated::start(WAIT, around);
        repeated.terminal.key("C-c");
        repeated.terminal.until_shown("ready>");
        repeated.ends("130", 1);
    }
}

#[test]
fn an_interrupt_that_the_command_sees_to_itself_stops_nothing() {
    for (around, code) in [(AROUND[0], "0"), (AROUND[0], "3"), (AROUND[2], "0"), (AROUND[2], "3")] {
        let repeated = Repeated::start(&format!("trap 'rm started; exit {code}' INT; {WAIT}"), around);
        repeated.terminal.key("C-c");
        until("the second one runs", || repeated.stage.read("runs").lines().count() == 2);
        repeated.stage.child();
        repeated.stage.go();
        repeated.terminal.until_shown("went on");
        repeated.ends("0", 2);
    }
}

#[test]
fn an_interrupt_that_the_command_survived_does_not_hide_a_later_one_from_the_terminal() {
    // It says that it survived once that is too long ago to be why it ends.
    let script = format!("trap 'trap - INT; sleep 1.1; touch survived' INT; {WAIT}");
    let repeated = Repeated::start(&script, AROUND[0]);
    let status = fs::read_to_string(format!("/proc/{}/status", repeated.stage.child())).unwrap();
    let muse = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    signal(muse, Signal::INT);
    until("it has survived", || repeated.stage.at("survived").exists());
    repeated.terminal.key("C-c");
    repeated.terminal.until_shown("ready>");
    repeated.ends("130", 1);
}

#[test]
fn an_interrupt_from_the_terminal_that_ends_a_wait_stops_the_loop_or_script_around_it() {
    let run = "coord run --run-id worker --wait 600 a.py -- touch never";
    let run_json = "coord run --json --run-id worker --wait 600 a.py -- touch never";
    let reserve = "coord reserve --run-id worker --wait 600 a.py";
    let reserve_json = "coord reserve --json --run-id worker --wait 600 a.py";
    for wait in [run, run_json, reserve, reserve_json] {
        let wait = format!("{PROGRAM} {wait} >> told 2>&1");
        for around in [&format!("for i in 1 2; do {wait}; done; echo 'went on' > on"), "bash steps"] {
            let stage = Stage::new();
            assert!(stage.coord(&["reserve", "a.py", "--run-id", "other", "--ttl", "600"]).is_ok());
            fs::write(stage.at("steps"), format!("{wait}; echo 'went on' > on")).unwrap();
            let terminal = Tmux::start(stage.path());
            terminal.line(around);
            somebody_waits(&stage);
            terminal.key("C-c");
            terminal.until_shown("ready>");
            terminal.line("echo code=$?");
            terminal.until_shown("code=130");
            assert!(stage.read("told").contains("interrupted by SIGINT: nothing is held"), "{wait}");
            assert!(stage.coord(&["list"]).json["waiting"].as_array().unwrap().is_empty());
            assert!(!stage.at("on").exists() && !stage.at("never").exists(), "{}", terminal.screen());
            drop(terminal);
        }
    }
}

#[test]
fn a_quit_from_the_terminal_ends_a_script_and_leaves_no_core_of_muse() {
    // The command leaves none itself, nor does the shell of the steps. (Bash would ignore the key.)
    let script = format!("ulimit -c 0; {WAIT}");
    for around in ["(ulimit -c 0; exec sh steps)", "ulimit -S -c unlimited; RUN"] {
        let repeated = Repeated::start(&script, around);
        repeated.terminal.key("C-\\");
        repeated.terminal.until_shown("ready>");
        assert!(!repeated.terminal.screen().contains("core dumped"), "{}", repeated.terminal.screen());
        repeated.ends("131", 1);
    }
}

/// The words that make a command the first process of a PID namespace, if this system allows that, as it does for root.
fn first_process() -> Option<&'static str> {
    let known = ["unshare -pf --mount-proc", "unshare -Urpf --mount-proc"];
    known.into_iter().find(|words| {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("true").output().is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_key_that_ends_the_command_of_the_first_process_in_a_container_is_its_exit_code() {
    let Some(unshare) = first_process() else {
        // What decides has a test of its own beside it.
        eprintln!("not tested: `unshare -p` is not allowed here, or there is no such program");
        return;
    };
    for (key, code) in [("C-c", "130"), ("C-\\", "131")] {
        let script = format!("ulimit -c 0; {WAIT}");
        let repeated = Repeated::start(&script, &format!("{unshare} RUN; echo $? > code"));
        repeated.terminal.key(key);
        until("it is over", || !repeated.stage.read("code").is_empty());
        assert_eq!(repeated.stage.read("code").trim(), code);
        drop(repeated.terminal);
        repeated.stage.is_left_clean();
    }
}

#[test]
fn an_interrupt_reaches_a_command_in_a_pipeline_once() {
    let stage = Stage::new();
    fs::write(stage.at("script"), format!("trap 'echo INT >> got' INT; {WAIT}; echo over")).unwrap();
    let terminal = Tmux::start(stage.path());
    terminal.line(&format!(
        "{PROGRAM} coord run --run-id worker src/a.py -- sh script | (trap '' INT; cat); echo code=$?"
    ));
    stage.child();
    terminal.key("C-c");
    until("it has arrived", || !stage.read("got").is_empty());
    stage.go();
    terminal.until_shown("over");
    terminal.until_shown("code=0");
    assert_eq!(stage.read("got"), "INT\n");
    drop(terminal);
    stage.is_left_clean();
}

/// Says whether its group has the terminal, and reads from stdin and from the terminal.
const READS: &str = "read -r stat < /proc/$$/stat; set -- ${stat##*) }; [ $3 = $6 ] && echo in front; \
                     echo asks; read -r a; read -r b < /dev/tty; echo \"heard $a $b\"";

#[test]
fn a_command_reads_the_terminal() {
    let stage = Stage::new();
    let terminal = Tmux::start(stage.path());
    fs::write(stage.at("script"), READS).unwrap();
    terminal.line(&typed("script"));
    terminal.until_shown("asks");
    assert!(terminal.screen().contains("in front"), "{}", terminal.screen());
    terminal.line("one");
    terminal.line("two");
    terminal.until_shown("heard one two");
    terminal.until_shown("code=0");

    // In a pipeline it gets the terminal when it asks for it.
    fs::write(stage.at("script"), READS.replace("asks", "again")).unwrap();
    terminal.line(&format!("echo piped | {}", typed("script")));
    terminal.until_shown("again");
    terminal.line("three");
    terminal.until_shown("heard piped three");
    terminal.line("echo a'fter'");
    terminal.until_shown("after");
    drop(terminal);
    stage.is_left_clean();
}

#[test]
fn ctrl_z_and_fg_stop_and_continue_both() {
    let stage = Stage::new();
    fs::write(stage.at("script"), "echo $$ > started; echo asks; read -r a; echo \"heard $a\"; exit 9")
        .unwrap();
    let terminal = Tmux::start(stage.path());
    terminal.line(&format!("{PROGRAM} coord run --run-id worker src/a.py -- sh script"));
    terminal.until_shown("asks");
    let child = stage.child();
    for round in ["1", "2"] {
        terminal.key("C-z");
        terminal.until_shown("[1]+  Stopped");
        assert_eq!(process_state(child), Some('T'));
        terminal.line(&format!("clear; echo sh'ell' {round}"));
        terminal.until_shown(&format!("shell {round}"));
        // In the background it may run, but not read: it stops again, and the shell says so.
        if round == "2" {
            terminal.line("bg");
            until("it has stopped again", || process_state(child) == Some('T'));
        }
        terminal.line("clear; fg");
        until("it goes on", || process_state(child) != Some('T'));
    }
    terminal.line("words");
    terminal.until_shown("heard words");
    terminal.line("echo code=$?");
    terminal.until_shown("code=9");
    drop(terminal);
    stage.is_left_clean();
}

#[test]
fn what_continues_both_is_passed_on_once() {
    muse_testkit::strace::need_strace();
    let stage = Stage::new();
    let mut words = stage.words();
    fs::write(stage.at("script"), format!("{LISTEN}; exit 9")).unwrap();
    let terminal = Tmux::start(stage.path());
    let trace = "strace -o kills -e trace=kill -e signal=none";
    terminal.line(&format!("{trace} {PROGRAM} coord run --run-id worker src/a.py -- sh script"));
    let child = stage.child();
    terminal.key("C-z");
    terminal.until_shown("[1]+  Stopped");
    terminal.line("clear; fg");
    until("it goes on", || process_state(child) != Some('T'));
    writeln!(words, "go").unwrap();
    terminal.until_shown("ready>");
    terminal.line("echo code=$?");
    terminal.until_shown("code=9");
    let kills = stage.read("kills");
    assert_eq!(kills.matches("SIGCONT").count(), 1, "{kills}");
    drop(terminal);
    stage.is_left_clean();
}

#[test]
fn ctrl_z_stops_a_pipeline_and_the_command_in_it() {
    let stage = Stage::new();
    let mut words = stage.words();
    fs::write(stage.at("script"), format!("echo there; {LISTEN}; echo over")).unwrap();
    let terminal = Tmux::start(stage.path());
    terminal.line(&format!("{PROGRAM} coord run --run-id worker src/a.py -- sh script | cat"));
    // The rest of the pipeline is there too: until then it may be a shell still, which ignores the key.
    terminal.until_shown("there");
    let child = stage.child();
    terminal.key("C-z");
    terminal.until_shown("[1]+  Stopped");
    assert_eq!(process_state(child), Some('T'));
    terminal.line("clear; fg");
    until("it goes on", || process_state(child) != Some('T'));
    writeln!(words, "go").unwrap();
    terminal.until_shown("over");
    drop(terminal);
    stage.is_left_clean();
}

#[test]
fn a_command_that_was_stopped_past_the_ttl_goes_on_only_with_its_reservation() {
    let stage = Stage::new();
    let flags = "--ttl 2 --grace 1 --run-id worker src/a.py";
    let mut words = stage.words();
    fs::write(stage.at("script"), "echo $$ > started; while read -r word; do echo > tick; done < words")
        .unwrap();
    let terminal = Tmux::start(stage.path());
    terminal.line(&format!("{PROGRAM} coord run {flags} -- sh script; echo code=$?"));
    let child = stage.child();
    let id = stage.only();
    writeln!(words, "go").unwrap();
    // When it goes on, there is a word for it already.
    let mut sleep_past_the_ttl = || {
        until("it works", || stage.at("tick").exists());
        terminal.key("C-z");
        terminal.until_shown("[1]+  Stopped");
        assert_eq!(process_state(child), Some('T'));
        until("it has lapsed", || stage.state(&id) == "lapsed");
        fs::remove_file(stage.at("tick")).unwrap();
        writeln!(words, "go").unwrap();
    };
    // It is still to be had: the command goes on.
    sleep_past_the_ttl();
    terminal.line("clear; fg");
    until("it goes on", || stage.at("tick").exists());
    assert_eq!(stage.state(&id), "active");

    // Nobody can tell whether it is: the command does not run again.
    sleep_past_the_ttl();
    let record = File::open(stage.scratch.store().join(format!("reservations/{id}.json"))).unwrap();
    record.lock().unwrap();
    terminal.line("clear; fg; echo code=$?");
    until("the command has ended", || !is_alive(child));
    assert!(!stage.at("tick").exists(), "it ran without its reservation");
    drop(record);
    terminal.until_shown("code=8");
    drop(terminal);
    stage.is_left_clean();
}

#[test]
fn a_lost_reservation_ends_a_command_in_the_terminal_too() {
    let stage = Stage::new();
    // As an editor does: no echo, no lines, no signals from keys.
    fs::write(stage.at("script"), format!("stty raw -echo; trap '' TERM; {WAIT}")).unwrap();
    let terminal = Tmux::start(stage.path());
    terminal
        .line(&format!("{PROGRAM} coord run --grace 1 --run-id worker src/a.py -- sh script; echo code=$?"));
    stage.child();
    stage.force(&stage.only());
    terminal.until_shown("code=8");
    terminal.until_shown("error: the reservation was lost");
    terminal.line("stty -a | grep -o ' icanon'");
    terminal.until_shown(" icanon");

    // Also if it then ends as by a key.
    let force = "coord release $MUSE_RESERVATION_ID --run-id boss --force --reason freeze > /dev/null";
    fs::write(stage.at("script"), format!("{PROGRAM} {force}; kill -INT $$")).unwrap();
    terminal.line(&format!("clear; {}", typed("script")));
    terminal.until_shown("code=8");
    drop(terminal);
    stage.is_left_clean();
}

// Nobody sees the step

#[test]
fn the_step_before_the_command_is_in_no_help_and_no_completion() {
    let stage = Stage::new();
    for arguments in
        [&["--help"][..], &["coord", "--help"], &["coord", "run", "--help"], &["completions", "bash"]]
    {
        let answer = stage.muse.run(stage.path(), arguments);
        assert!(!String::from_utf8_lossy(&answer.stdout).contains("__exec"), "{arguments:?}");
    }
    // Started by anybody else than the process that it names, it does nothing.
    let answer = stage.muse.run(stage.path(), &["__exec", "1", "-", "-", "-", "--", "touch", "ran"]);
    assert_eq!((answer.exit, stage.at("ran").exists()), (Some(8), false));
}
