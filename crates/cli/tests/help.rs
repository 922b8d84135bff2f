//! The help texts, as snapshots in `snapshots/`, and their examples.
//!
//! `UPDATE=1 cargo test -p muse-cli --test help` writes the snapshots anew; read the difference.

#![expect(clippy::disallowed_methods, reason = "tests write files and read the environment")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::fs;
use std::path::Path;

mod support;

use muse_testkit::etcd::Etcd;
use muse_testkit::git::git;
use support::{ABSENT, Site, names, object};

/// Every command, and the file of its snapshot.
const COMMANDS: [(&[&str], &str); 31] = [
    (&[], "muse"),
    (&["init"], "muse-init"),
    (&["coord"], "muse-coord"),
    (&["coord", "reserve"], "muse-coord-reserve"),
    (&["coord", "check"], "muse-coord-check"),
    (&["coord", "verify"], "muse-coord-verify"),
    (&["coord", "run"], "muse-coord-run"),
    (&["coord", "heartbeat"], "muse-coord-heartbeat"),
    (&["coord", "release"], "muse-coord-release"),
    (&["coord", "list"], "muse-coord-list"),
    (&["coord", "show"], "muse-coord-show"),
    (&["coord", "log"], "muse-coord-log"),
    (&["coord", "watch"], "muse-coord-watch"),
    (&["coord", "gc"], "muse-coord-gc"),
    (&["coord", "fsck"], "muse-coord-fsck"),
    (&["coord", "engine"], "muse-coord-engine"),
    (&["coord", "engine", "status"], "muse-coord-engine-status"),
    (&["coord", "engine", "migrate"], "muse-coord-engine-migrate"),
    (&["coord", "guard"], "muse-coord-guard"),
    (&["coord", "guard", "install"], "muse-coord-guard-install"),
    (&["coord", "guard", "uninstall"], "muse-coord-guard-uninstall"),
    (&["coord", "guard", "status"], "muse-coord-guard-status"),
    (&["coord", "hook"], "muse-coord-hook"),
    (&["coord", "hook", "pre-commit"], "muse-coord-hook-pre-commit"),
    (&["coord", "hook", "pre-push"], "muse-coord-hook-pre-push"),
    (&["coord", "guide"], "muse-coord-guide"),
    (&["mcp"], "muse-mcp"),
    (&["symbols"], "muse-symbols"),
    (&["demo"], "muse-demo"),
    (&["completions"], "muse-completions"),
    (&["man"], "muse-man"),
];

fn help(site: &Site, command: &[&str]) -> String {
    let answer = site.muse(command).arg("--help").env("COLUMNS", "100").run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{command:?}");
    answer.stdout
}

#[test]
fn every_help_is_as_its_snapshot() {
    let site = Site::without_store();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let mut expected: Vec<String> = COMMANDS.iter().map(|(_, name)| format!("{name}.txt")).collect();
    expected.sort();
    let updates = std::env::var_os("UPDATE").is_some();
    if updates {
        fs::create_dir_all(&folder).unwrap();
    }
    for (command, name) in COMMANDS {
        let path = folder.join(format!("{name}.txt"));
        let now = help(&site, command);
        if updates {
            fs::write(&path, &now).unwrap();
        }
        let snapshot = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(now, snapshot, "{name}: if this is meant, run with UPDATE=1 and read the difference");
    }
    assert_eq!(names(&folder), expected, "no snapshot of a command that is gone");
}

#[test]
fn no_command_is_forgotten() {
    let site = Site::without_store();
    let listed = |command: &[&str]| -> Vec<String> {
        let page = help(&site, command);
        let Some((_, commands)) = page.split_once("Commands:\n") else { return Vec::new() };
        let lines = commands.lines().take_while(|line| !line.is_empty());
        // What begins with a blank is more of a description.
        let name = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
        lines.filter_map(name).filter(|name| !name.is_empty()).collect()
    };
    let mut found = vec![String::new()];
    let mut open: Vec<Vec<String>> = listed(&[]).into_iter().map(|name| vec![name]).collect();
    while let Some(command) = open.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        if words.last() == Some(&"help") {
            continue;
        }
        // Those of the harnesses are told together.
        if words.starts_with(&["coord", "hook"])
            && !words.last().is_some_and(|word| word.starts_with("pre-"))
            && words.len() > 2
        {
            continue;
        }
        open.extend(listed(&words).into_iter().map(|name| [command.clone(), vec![name]].concat()));
        found.push(command.join(" "));
    }
    found.sort();
    let mut known: Vec<String> = COMMANDS.iter().map(|(command, _)| command.join(" ")).collect();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn help_as_json_is_one_object_wherever_the_wish_stands() {
    let site = Site::without_store();
    let is_page = |arguments: &[&str], usage: &str| {
        let answer = site.muse(arguments).run();
        assert_eq!((answer.code, &*answer.field("status"), &*answer.stderr), (0, "ok", ""), "{arguments:?}");
        assert!(answer.field("text").contains(usage), "{arguments:?}: {answer:?}");
    };
    is_page(&["help", "--json"], "Usage: muse [OPTIONS]");
    is_page(&["-j", "help"], "Usage: muse [OPTIONS]");
    is_page(&["help", "-j", "coord", "list"], "Usage: muse coord list");
    is_page(&["coord", "help", "--json"], "Usage: muse coord [OPTIONS]");
    is_page(&["coord", "--json", "help", "gc"], "Usage: muse coord gc");
    is_page(&["coord", "help", "gc", "-j"], "Usage: muse coord gc");
    for wrong in [&["help", "nope"][..], &["coord", "help", "nope"], &["help", "coord", "nope"]] {
        let error = site.muse(wrong).json().is_failure(2, "usage", None);
        assert_eq!(error, "unrecognized subcommand 'nope': see --help");
    }
    // A folder called `help` is an address.
    let error =
        site.coord(&["reserve", "help", "--run-id", "a"]).json().is_failure(2, "not_a_repository", None);
    assert!(error.contains("muse init"), "{error}");
}

#[test]
fn the_help_says_the_same_in_every_way_of_asking() {
    let site = Site::without_store();
    for (command, _) in COMMANDS.iter().filter(|(command, _)| !command.is_empty()) {
        let by_flag = help(&site, command);
        let by_command = site.muse(&["help"]).args(command).env("COLUMNS", "100").run();
        assert_eq!((by_command.code, &by_command.stdout), (0, &by_flag));
        let fields = object! { "status": "ok", "text": &*by_flag };
        site.muse(&["help"]).args(command).env("COLUMNS", "100").json().is_json(0, &[], &fields);
        let short = site.muse(command).arg("-h").run();
        assert_eq!(short.code, 0);
        assert!(short.stdout.lines().next() == by_flag.lines().next().map(|line| line.trim_end_matches('.')));
    }
    for (command, _) in COMMANDS {
        let page = help(&site, command);
        for line in page.lines() {
            assert!(line.chars().count() <= 100, "{command:?}: {line}");
            assert!(!line.contains('\t'));
        }
    }
}

/// The words of an example, up to a pipe or a redirection, as a shell takes them; `None` for a line of prose.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("  muse ")?;
    let mut words = shlex::split(line).unwrap();
    let end = words.iter().position(|word| matches!(&**word, "|" | ">" | "<")).unwrap_or(words.len());
    words.truncate(end);
    for word in &mut words {
        if word == "sha256:..." {
            ABSENT.clone_into(word);
        }
    }
    Some(words)
}

/// Where there is what the examples name.
fn shop() -> Site {
    let site = Site::without_store();
    git(site.path(), &["init", "--quiet"]);
    site.muse(&["init"]).run().is_success();
    site.file("src/billing.py", "def compute_total(): pass\n");
    site.file("tests/test_billing.py", "def test_total(): pass\n");
    site.file("feature.patch", "--- a/new.py\n+++ b/new.py\n@@ -0,0 +1 @@\n+x = 1\n");
    git(site.path(), &["add", "--all"]);
    git(site.path(), &["commit", "--quiet", "-m", "a shop"]);
    site
}

#[test]
fn every_example_can_be_run() {
    let site = shop();
    // Where to move to. The examples move back again.
    let (url, name) = (Etcd::shared().url(), Etcd::repository());
    let text = format!("[coordination]\nendpoints = [\"{url}\"]\nrepository = \"{name}\"\n");
    site.file(".muse/config.toml", &text);
    for (command, _) in COMMANDS.iter().filter(|(command, _)| !command.is_empty()) {
        let page = help(&site, command);
        if [&["coord"][..], &["coord", "engine"], &["coord", "guard"]].contains(command) {
            continue; // It only leads to others.
        }
        let (_, examples) =
            page.split_once("Examples:\n").unwrap_or_else(|| unreachable!("no examples: {page}"));
        let mut count = 0;
        for line in examples.lines() {
            let words = words(line).unwrap_or_else(|| unreachable!("not an example: {line:?}"));
            count += 1;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(words.starts_with(command), "an example of another command: {line}");
            if words == ["demo"] || words.starts_with(&["demo"]) {
                continue; // It has a test of its own.
            }
            if words.starts_with(&["coord", "watch"]) {
                // It does not end: where there is nothing to watch, it says whether it understood.
                let nowhere = Site::without_store();
                let call = nowhere.muse(&words);
                let answer = if words.contains(&"--json") { call.run() } else { call.json() };
                answer.is_failure(2, "not_a_repository", None);
                continue;
            }
            // In a folder of its own: a manual page is written where it says.
            let answer = site.muse(&words).env("HOME", site.path()).run();
            if words.starts_with(&["coord", "run"]) {
                // The exit code is its command's, which finds no such file here.
                assert!(!answer.stderr.starts_with("error: "), "{line}: {answer:?}");
                continue;
            }
            assert_ne!(answer.code, 2, "{line}: {answer:?}");
            assert_ne!(answer.code, 1, "{line}: {answer:?}");
            assert_ne!(answer.code, 3, "{line}: {answer:?}");
        }
        assert!(count > 0, "{command:?}");
    }
}
