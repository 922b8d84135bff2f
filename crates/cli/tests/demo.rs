//! `muse demo`, as it is: it tells the truth, notices a difference, and leaves nothing behind.

#![expect(clippy::disallowed_methods, reason = "tests start processes, and break what they look at")]
#![expect(clippy::expect_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How many processes the story has: 25 commands and the agent that is killed.
const STEPS: usize = 26;

/// A folder for the demo's temporary folder, itself in no repository.
struct Site {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::Builder::new().prefix("müse demo ").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        Site { _folder: folder, path }
    }

    /// The demo, with an environment that would spoil it if it came through to its processes.
    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muse"));
        command.arg("demo").args(arguments).current_dir(&self.path).env("TMPDIR", &self.path);
        command.env("MUSE_RUN_ID", "somebody").env("MUSE_REPO_ROOT", "/nonexistent");
        command.env("MUSE_COORD_ENGINE", "etcd");
        command
    }

    /// Starts the demo and reads it to the first line that has `part`. Also returns where its store is.
    fn demo_until(&self, part: &str) -> (Child, BufReader<std::process::ChildStdout>, PathBuf) {
        let mut child =
            self.demo(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut store = None;
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(lines.read_line(&mut line).expect("a line") > 0, "ended before `{part}`");
            if let Some((_, path)) = line.trim_end().split_once("made the store ") {
                store = Some(PathBuf::from(path));
            }
        }
        (child, lines, store.expect("a store"))
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.path).expect("it is there").next().is_none()
    }

    /// Waits until no process works in a folder below this one.
    fn wait_until_deserted(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while processes_below(&self.path) > 0 {
            assert!(Instant::now() < deadline, "a process was left");
            sleep(Duration::from_millis(10));
        }
    }
}

/// How many processes have their current directory below `path`, as far as the system tells.
fn processes_below(path: &Path) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let is_below = |process: &fs::DirEntry| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|place| place != path && place.starts_with(path))
    };
    processes.flatten().filter(is_below).count()
}

#[test]
fn it_tells_the_story_and_leaves_nothing() {
    let site = Site::new();
    let output = site.demo(&[]).output().expect("it runs");
    let story = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0), "{story}");

    let mut rest = story.as_str();
    for part in [
        "made the store ",
        "src/billing.py::Invoice.total` is held by run `",
        "💓 heartbeat sha256:",
        "feature$ muse coord list",
        "`src/**/*.py` is held as `src/billing.py::Invoice.total` by run `",
        "(modify, on main)",
        "(rename, on feature)",
        "  killed\n",
        "\"status\":\"conflict\"",
        "lapsed, and run `grace` was granted its addresses since",
        "  exit code 4\n",
        "--force --reason 'merge freeze'",
        "is already released: stop work",
        "  exit code 1\n",
        "\"count\":0",
    ] {
        let (_, after) =
            rest.split_once(part).unwrap_or_else(|| panic!("no `{part}` in its place:\n{story}"));
        rest = after;
    }
    assert_eq!(story.matches("  exit code ").count(), STEPS - 1);
    assert!(story.lines().last().is_some_and(|last| last.starts_with("26 processes, each")), "{story}");
    assert!(site.is_empty());
    assert_eq!(processes_below(&site.path), 0);
}

#[test]
fn it_says_all_of_it_in_one_json_object() {
    let site = Site::new();
    let output = site.demo(&["--json"]).output().expect("it runs");
    assert!(output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.lines().count(), 1);
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{answer:#}");
    let keys: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    let expected =
        ["duration_ms", "exit_code", "muse_version", "schema", "status", "steps", "timestamp", "warnings"];
    assert_eq!(keys, expected);
    assert_eq!((&answer["status"], &answer["exit_code"]), (&Value::from("ok"), &Value::from(0)));

    let steps = answer["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), STEPS);
    let of_code = |code: Value| steps.iter().filter(|step| step["exit_code"] == code).count();
    assert_eq!(of_code(Value::Null), 1);
    assert_eq!([0, 1, 4, 6].map(|code| of_code(code.into())), [15, 1, 2, 7]);
    let text = |step: &Value, key: &str| step[key].as_str().expect("text").to_owned();
    let race: Vec<&Value> =
        steps.iter().filter(|step| text(step, "title").starts_with("Four agents")).collect();
    assert_eq!(race.len(), 4);
    assert_eq!(race.iter().filter(|step| step["exit_code"] == 0).count(), 1);
    for step in steps {
        assert!(text(step, "command").starts_with("muse ") && !text(step, "title").is_empty());
        assert!(["main", "feature"].contains(&&*text(step, "folder")));
        assert_ne!(text(step, "output").is_empty(), step["exit_code"].is_i64());
    }
    assert!(site.is_empty());
}

#[test]
fn a_difference_ends_it_with_exit_3_and_names_the_step() {
    let site = Site::new();
    let (child, lines, store) = site.demo_until("extended until");
    // What nobody can read could be in the way: the next reserve of the story is not answered as told.
    fs::write(store.join("reservations/garbage"), "").expect("it is written");
    let rest = lines.lines().map(|line| line.expect("a line") + "\n").collect::<String>();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{rest}");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(error.starts_with("error: step ") && error.contains("exit code 3, not "), "{error}");
    assert!(error.contains("garbage") && !rest.contains("26 processes"), "{error}");
    assert!(site.is_empty());
    site.wait_until_deserted();
}

#[test]
fn a_demo_that_is_killed_leaves_no_process() {
    let site = Site::new();
    let (mut child, lines, _) = site.demo_until("(+3s)");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    drop(lines);
    site.wait_until_deserted();
}

#[test]
fn a_closed_pipe_is_silent() {
    let site = Site::new();
    let mut child = site.demo(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert!(site.is_empty());
}

#[test]
fn without_a_temporary_folder_it_says_what_to_do() {
    let site = Site::new();
    let output = site.demo(&["--json"]).env("TMPDIR", site.path.join("missing")).output().expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(answer["status"], "internal");
    assert!(answer["error"].as_str().is_some_and(|error| error.ends_with("set TMPDIR")), "{answer}");
}

#[test]
fn git_takes_the_scratch_repository() {
    let site = Site::new();
    let files =
        [("src/billing.py", "a = 1\n"), ("src.txt", ""), ("src/api/v1/a long name.py", "x"), ("src-b", "")];
    let scratch = muse_repo::scratch(&site.path, &files).expect("a repository");
    let git = |top: &Path, arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(top)
            .args(arguments)
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && error.is_empty(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (top, branch) in [(&scratch.main, "main"), (&scratch.linked, "feature")] {
        assert_eq!(git(top, &["status", "--porcelain"]), "");
        assert_eq!(git(top, &["branch", "--show-current"]).trim(), branch);
        let list = git(top, &["worktree", "list", "--porcelain", "-z"]).replace('\0', "\n");
        for (path, name) in [(&scratch.main, "main"), (&scratch.linked, "feature")] {
            assert!(list.contains(&format!("worktree {}\n", path.display())), "{list}");
            assert!(list.contains(&format!("branch refs/heads/{name}\n")), "{list}");
        }
        assert!(!list.contains("prunable"), "{list}");
        assert_eq!(git(top, &["ls-files"]).lines().count(), files.len());
        git(top, &["fsck", "--strict"]);
    }

    // What `muse init` adds does not show.
    let initialised =
        Command::new(env!("CARGO_BIN_EXE_muse")).arg("init").current_dir(&scratch.linked).output();
    assert!(initialised.expect("it runs").status.success());
    assert!(scratch.main.join(".muse/coordination/token").is_file());
    assert_eq!(git(&scratch.main, &["status", "--porcelain"]), "");
}

/// Two clones, as on two machines, and an etcd of the demo's own, which ends with it.
#[test]
fn it_plays_over_two_machines() {
    let site = Site::new();
    let output = site.demo(&["--engine", "etcd", "--json"]).output().expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((output.status.code(), answer["status"].as_str()), (Some(0), Some("ok")), "{answer}");
    let steps = answer["steps"].as_array().expect("steps");
    // Another `init`, and a look at the engine.
    assert_eq!(steps.len(), STEPS + 2);
    let folders = |step: &&Value| step["folder"] == "feature" && step["command"] == "muse init";
    assert_eq!(steps.iter().filter(folders).count(), 1);
    assert!(steps.iter().any(|step| {
        step["command"] == "muse coord engine status"
            && step["output"].as_str().is_some_and(|output| output.contains("etcd:/muse/demo/"))
    }));
    assert!(site.is_empty());
    site.wait_until_deserted();
}

#[test]
fn without_an_etcd_it_says_what_to_install() {
    let site = Site::new();
    let output =
        site.demo(&["--engine", "etcd", "--json"]).env("PATH", "/nonexistent").output().expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((output.status.code(), answer["status"].as_str()), (Some(2), Some("usage")), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("etcd-server")));
    assert!(site.is_empty());
}
