//! What reaches a terminal and what reaches a pipe: colour only on a real terminal that wants it, and no crash
//! and no noise when the reader goes away.

#![expect(clippy::disallowed_methods, reason = "tests start a terminal")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::io::Read as _;
use std::process::{Command, Stdio};

use muse_coord::Mode;

mod support;

use support::{ABSENT, Answer, Muse, Site};

/// The calls that print a label: an error, a warning, a hint, help, a usage error.
const LABELLED: [&[&str]; 5] = [
    &["coord", "show", ABSENT],
    &["init"],
    &["coord", "heartbeat", "ID", "--run-id", "bob"],
    &["coord", "reserve", "a.py", "--run-id", "bob"],
    &["coord", "list", "--what"],
];

fn has_controls(text: &str) -> bool {
    text.chars().any(|character| character.is_control() && character != '\n')
}

#[test]
fn no_colour_into_a_pipe() {
    for environment in [
        &[][..],
        &[("TERM", "xterm-256color")],
        &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")],
        &[("TERM", "dumb")],
        &[("NO_COLOR", "1"), ("TERM", "xterm")],
        &[("CLICOLOR", "1"), ("TERM", "xterm")],
        &[("CLICOLOR_FORCE", "1"), ("TERM", "xterm")],
    ] {
        let site = Site::new();
        let held = site.reserve("alice", "a.py", &[]);
        for arguments in LABELLED.iter().chain(&[&["coord", "reserve", "--help"][..], &["--help"]]) {
            let arguments: Vec<&str> =
                arguments.iter().map(|&word| if word == "ID" { &held.id } else { word }).collect();
            let mut call = site.muse(&arguments);
            for (name, value) in environment {
                call = call.env(name, value);
            }
            let answer = call.run();
            assert!(!has_controls(&answer.stdout) && !has_controls(&answer.stderr), "{answer:?}");
        }
    }
}

/// What the program writes to a real terminal: both streams of it.
fn on_a_terminal(site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let words: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_muse"))
        .chain(arguments.iter().copied())
        .map(|word| format!("'{word}'"))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"])
        .current_dir(site.path())
        .stdin(Stdio::null())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    script.envs(environment.iter().copied());
    let output = script.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The escape sequences of colours; a terminal's line ends are no matter of the program.
fn is_coloured(text: &str) -> bool {
    text.contains("\u{1b}[")
}

#[test]
fn colour_on_a_terminal_that_takes_it() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let terminal = [("TERM", "xterm-256color")];
    let (code, text) = on_a_terminal(&site, &["coord", "show", ABSENT], &terminal);
    assert_eq!(code, 4, "{text:?}");
    assert!(text.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m reservation "), "{text:?}");
    let (code, text) = on_a_terminal(&site, &["coord", "heartbeat", &held.id, "--run-id", "bob"], &terminal);
    assert_eq!(code, 0, "{text:?}");
    assert!(text.contains("\u{1b}[33mwarning:\u{1b}[0m this reservation is held by run"), "{text:?}");
    let (code, text) = on_a_terminal(&site, &["coord", "reserve", "a.py", "--run-id", "bob"], &terminal);
    assert_eq!(code, 6, "{text:?}");
    assert!(text.contains("\u{1b}[36mhint:\u{1b}[0m work elsewhere"), "{text:?}");
    let (code, text) = on_a_terminal(&site, &["coord", "list", "--what"], &terminal);
    assert_eq!(code, 2, "{text:?}");
    assert!(text.contains("\u{1b}[31merror:\u{1b}[0m unexpected argument"), "{text:?}");
    // The label alone is coloured, and JSON never is.
    let (_, text) = on_a_terminal(&site, &["coord", "list"], &terminal);
    assert!(!is_coloured(&text), "{text:?}");
    let (_, text) = on_a_terminal(&site, &["coord", "show", ABSENT, "--json"], &terminal);
    assert!(!is_coloured(&text), "{text:?}");
}

#[test]
fn no_colour_on_a_terminal_that_does_not_want_it() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    for environment in [
        &[("TERM", "dumb")][..],
        &[("TERM", "dumb"), ("CI", "1"), ("CLICOLOR", "1")],
        &[("TERM", "xterm-256color"), ("NO_COLOR", "1")],
        &[("TERM", "dumb"), ("NO_COLOR", "1")],
    ] {
        for arguments in LABELLED.iter().chain(&[&["coord", "reserve", "--help"][..], &["--help"]]) {
            let arguments: Vec<&str> =
                arguments.iter().map(|&word| if word == "ID" { &held.id } else { word }).collect();
            let (_, text) = on_a_terminal(&site, &arguments, environment);
            assert!(!text.is_empty() && !is_coloured(&text), "{environment:?} {arguments:?}: {text:?}");
        }
    }
}

#[test]
fn what_was_typed_or_stored_cannot_drive_a_terminal() {
    let site = Site::new();
    let run = "evil\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m";
    site.reserve(run, "a.py", &[]);
    let terminal = [("TERM", "xterm-256color"), ("NO_COLOR", "1")];
    for arguments in [
        &["coord", "list"][..],
        &["coord", "reserve", "a.py", "--run-id", "bob"],
        &["coord", "reserve", "a.py", "--run-id", run],
        &["coord", "list", run],
        &["coord", "list", "--ttl\u{1b}[31m=\u{7}"],
        &["coord", "heartbeat", ABSENT, "--run-id", "x", "--extension", run],
        &["coord", "show", run],
        &[run],
    ] {
        let (_, text) = on_a_terminal(&site, arguments, &terminal);
        let text = text.replace("\r\n", "\n");
        assert!(!text.is_empty() && !has_controls(&text), "{arguments:?}: {text:?}");
    }
}

/// Reads one byte of what the call prints, closes the pipe, and waits.
fn read_one_byte(mut call: Muse) -> Answer {
    let mut child = call.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut byte).unwrap();
    drop(stdout);
    Answer::of(child.wait_with_output().unwrap())
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let site = Site::new();
    // More than a pipe holds.
    let many = 600;
    for number in 0..many {
        let address = format!("src/folder/with/a/long/name/{number:04}.py");
        site.fabricate(&"r".repeat(200), &address, Mode::Shared, -number, 100_000);
    }
    let whole = site.coord(&["list"]).run();
    assert_eq!(whole.stdout.lines().count(), 601);
    assert!(whole.stdout.len() > 150_000);
    for call in [
        site.coord(&["list"]),
        site.coord(&["list", "--json"]),
        site.coord(&["list", "--all"]),
        site.coord(&["reserve", "src/", "--run-id", "bob", "--json"]),
    ] {
        let code = if call.command.get_args().any(|argument| argument == "reserve") { 6 } else { 0 };
        let answer = read_one_byte(call);
        assert_eq!((answer.code, &*answer.stderr), (code, ""));
    }
    // As a shell has it.
    let shell = format!("{{ '{}' coord list; echo $? >code; }} | head -c1", env!("CARGO_BIN_EXE_muse"));
    let answer = Answer::of(support::tool("sh", site.path(), &["-c", &shell]));
    assert_eq!((&*answer.stdout, &*answer.stderr), (" ", ""));
    assert_eq!(std::fs::read_to_string(site.at("code")).unwrap(), "0\n");
    for arguments in [&["completions", "bash"][..], &["coord", "guide"], &["--help"]] {
        let answer = read_one_byte(site.muse(arguments));
        assert_eq!((answer.code, &*answer.stderr), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_told_by_every_command() {
    let site = Site::new();
    let held = site.reserve("alice", "a.py", &[]);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (arguments, part) in [
        (&["coord", "reserve", "b.py", "--run-id", "alice"][..], "the reservation was made"),
        (&["coord", "release", &held.id, "--run-id", "alice"], "the release was carried out"),
        (&["coord", "list"], "nothing was changed"),
        (&["coord", "show", &held.id], "nothing was changed"),
        (&["coord", "guide"], "nothing was changed"),
    ] {
        for json in [false, true] {
            let mut call = site.muse(arguments);
            if json {
                call = call.arg("-j");
            }
            let answer = call.stdout(full()).run();
            let is_repeat = json && arguments[1] == "release";
            answer.is_text_failure(3, &[if is_repeat { "nothing was changed" } else { part }]);
        }
    }
    assert_eq!(site.coord(&["list"]).json().value()["count"], 1, "what was carried out is there");
}
