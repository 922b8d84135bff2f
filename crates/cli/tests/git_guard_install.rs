//! Putting Git's hooks in and out: what was there runs, and comes back byte for byte; what belongs to other programs
//! or other repositories is left alone.

#![expect(clippy::disallowed_methods, reason = "tests start a shell")]
#![expect(clippy::expect_used, reason = "what a helper of a test does not expect fails the test")]

mod git_site;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use git_site::{GitSite, script, write};
use sha2::{Digest as _, Sha256};
use support::{Answer, Entry, names, set_mode, snapshot};

const HOOKS: [&str; 2] = ["pre-commit", "pre-push"];

/// All that lies in the folder of the hooks, without the folder itself.
fn hooks(site: &GitSite) -> BTreeMap<PathBuf, Entry> {
    let folder = site.at(".git/hooks");
    let mut all = snapshot(&folder);
    all.remove(&folder);
    all
}

fn guard(site: &GitSite, arguments: &[&str]) -> Answer {
    let all: Vec<&str> = ["coord", "guard"].iter().chain(arguments).copied().collect();
    site.muse(&all).run()
}

/// How the hooks are found: the state, and the notes.
fn status(site: &GitSite) -> (String, String) {
    let answer = site.muse(&["coord", "guard", "status", "--json"]).run();
    answer.is_success();
    let value = answer.value();
    let targets = value["targets"].as_array().expect("targets");
    let git = targets.iter().find(|target| target["target"] == "git").expect("git");
    (git["state"].as_str().expect("a state").to_owned(), git["notes"].to_string())
}

#[track_caller]
fn is_state(site: &GitSite, state: &str) {
    assert_eq!(status(site).0, state);
}

/// Nothing is written, exit 3, and all of these words are said.
#[track_caller]
fn is_left(site: &GitSite, flags: &[&str], words: &[&str]) {
    let before = snapshot(site.site.path());
    let all: Vec<&str> = ["install", "--git"].iter().chain(flags).copied().collect();
    let answer = guard(site, &all);
    assert_eq!(answer.code, 3, "{answer:?}");
    let said = format!("{}{}", answer.stdout, answer.stderr);
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    assert_eq!(snapshot(site.site.path()), before);
}

/// A kind of hook that is there before, at this path.
type Old = (&'static str, fn(&Path));

/// Hooks of every kind that was thought of.
const OLDS: [Old; 11] = [
    ("none", |_| {}),
    ("a script", |path| script(path, "#!/bin/sh\necho old >> \"$HOME/ran\"\n")),
    ("one that is not executable", |path| write(path, "#!/bin/sh\necho old >> \"$HOME/ran\"\nexit 1\n")),
    ("one for its owner alone", |path| {
        script(path, "#!/bin/sh\necho old >> \"$HOME/ran\"\n");
        set_mode(path, 0o700);
    }),
    ("one without its first line", |path| script(path, "echo old >> \"$HOME/ran\"\n")),
    ("one with carriage returns", |path| script(path, "#!/bin/sh\r\nexit 0\r\n")),
    ("an empty one", |path| script(path, "")),
    ("a program", |path| {
        fs::copy("/bin/true", path).expect("copied");
    }),
    ("a link", |path| {
        script(&path.with_file_name("shared"), "#!/bin/sh\necho old >> \"$HOME/ran\"\n");
        symlink("shared", path).expect("a link");
    }),
    ("a link out of the folder", |path| symlink("/bin/true", path).expect("a link")),
    ("a link that leads nowhere", |path| symlink("nowhere", path).expect("a link")),
];

#[test]
fn what_was_there_runs_as_before_and_comes_back_byte_for_byte() {
    for (what, make) in OLDS {
        let site = GitSite::unguarded();
        for name in HOOKS {
            make(&site.hook(name));
        }
        let before = hooks(&site);
        let commit = |text: &str| {
            let ran = site.beside("home/ran");
            fs::remove_file(&ran).unwrap_or_default();
            site.write("notes.txt", text);
            let done = site.try_git("bob", &["commit", "-a", "-m", "Notes"]);
            (done.is_ok, fs::read_to_string(&ran).unwrap_or_default())
        };
        let unguarded = commit("two\n");

        site.install(&[]);
        is_state(&site, "installed");
        let installed = hooks(&site);
        assert_eq!(commit("three\n"), unguarded, "{what}");
        site.reserve("alice", "notes.txt");
        assert!(!commit("four\n").0, "{what}");
        site.git(&["checkout", "--quiet", "HEAD", "notes.txt"]);

        let answer = site.install(&[]);
        assert!(answer.stderr.contains("installed already"), "{what}: {answer:?}");
        assert_eq!(hooks(&site), installed, "{what}");
        for name in HOOKS {
            let mode = fs::metadata(site.hook(name)).expect("a hook").permissions().mode();
            assert_ne!(mode & 0o111, 0, "{what}");
        }

        site.uninstall();
        assert_eq!(hooks(&site), before, "{what}");
        is_state(&site, "absent");
        let answer = guard(&site, &["uninstall", "--git"]);
        answer.is_success();
        assert_eq!(hooks(&site), before, "{what}");
    }
}

#[test]
fn what_was_there_comes_first_and_its_exit_code_counts() {
    let site = GitSite::unguarded();
    let old = "#!/bin/sh\nsed -i 's/return 1/return 10/' src/billing.py && git add src/billing.py\nexit ${OLD:-0}\n";
    script(&site.hook("pre-commit"), old);
    site.install(&[]);
    site.reserve("alice", "src/billing.py::Invoice.total");
    site.write("notes.txt", "two\n");
    site.git(&["add", "notes.txt"]);
    let commit =
        |code: &str| site.command(&site.top, &["commit", "-m", "x"]).run_id("bob").env("OLD", code).done();
    // What it adds to the commit is checked.
    commit("0").is_stopped(&["`src/billing.py::Invoice.total` is held by run `alice`"]);
    // Nobody asks muse where it says no.
    let done = commit("7");
    assert!(!done.is_ok && !done.said.contains("alice"), "{}", done.said);
    // Without muse, it is all there is.
    let done = site.command(&site.top, &["commit", "-m", "x"]).env("OLD", "7").without_muse().done();
    assert!(!done.is_ok && !done.said.contains("muse"), "{}", done.said);
    site.try_git("alice", &["commit", "-m", "x"]).passes();
}

#[test]
fn a_folder_in_the_place_of_a_hook_is_left_and_told_of() {
    let site = GitSite::unguarded();
    fs::create_dir_all(site.hook("pre-push")).expect("a folder");
    let answer = guard(&site, &["install", "--git"]);
    let said = ".git/hooks/pre-push is left as it is: it is a folder";
    assert!(answer.code == 3 && answer.stderr.contains(said), "{answer:?}");
    assert!(site.hook("pre-push").is_dir() && site.hook("pre-commit").is_file());
}

#[test]
fn a_hook_that_was_changed_since_is_nobodys_to_rewrite() {
    let site = GitSite::unguarded();
    script(&site.hook("pre-commit"), "#!/bin/sh\nexit 0\n");
    site.install(&[]);
    let hook = site.hook("pre-commit");
    let text = fs::read_to_string(&hook).expect("a text");
    write(&hook, &format!("{text}echo mine\n"));
    let before = hooks(&site);
    is_state(&site, "broken");
    is_left(&site, &[], &[".git/hooks/pre-commit is left as it is", "it was changed since muse wrote it"]);
    let answer = guard(&site, &["uninstall", "--git"]);
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains("mv ") && answer.stderr.contains("pre-commit.before-muse"), "{answer:?}");
    // The other one is taken out, and this one is as it was.
    let after = hooks(&site);
    assert_eq!(after.get(&hook), before.get(&hook));
    assert!(
        !after.contains_key(&site.hook("pre-push"))
            && after.contains_key(&site.hook("pre-commit.before-muse"))
    );
}

#[test]
fn one_that_took_the_place_of_muses_is_left_alone() {
    let site = GitSite::unguarded();
    script(&site.hook("pre-commit"), "#!/bin/sh\necho first\n");
    site.install(&[]);
    script(&site.hook("pre-commit"), "#!/bin/sh\necho second\n");
    is_left(&site, &[], &["one from before muse is there already", "muse coord hook pre-commit || if "]);
    let (_, notes) = status(&site);
    assert!(notes.contains("has taken the place of muse's"), "{notes}");
    site.uninstall();
    let text = |name: &str| fs::read_to_string(site.hook(name)).expect("a text");
    assert_eq!(text("pre-commit"), "#!/bin/sh\necho second\n");
    assert_eq!(text("pre-commit.before-muse"), "#!/bin/sh\necho first\n");
    assert!(!site.hook("pre-push").exists());

    // Where it has gone, what was there before is taken up again.
    fs::remove_file(site.hook("pre-commit")).expect("removed");
    site.install(&[]);
    assert_eq!(text("pre-commit.before-muse"), "#!/bin/sh\necho first\n");
    site.uninstall();
    assert_eq!(text("pre-commit"), "#!/bin/sh\necho first\n");
    assert!(!site.hook("pre-commit.before-muse").exists());
}

#[test]
fn one_of_another_version_is_brought_up_to_date() {
    let site = GitSite::new();
    let hook = site.hook("pre-commit");
    let text = fs::read_to_string(&hook).expect("a text");
    let mark = text.lines().find(|line| line.contains("guard install --git")).expect("a mark");
    let older = text.replace("PATH", "the PATH").replace(&format!("{mark}\n"), "");
    let digits = Sha256::digest(&older).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let (begin, _) = mark.rsplit_once(' ').expect("a hash");
    let older = older.replacen('\n', &format!("\n{begin} {}.\n", &digits[..16]), 1);
    assert_ne!(older, text);
    script(&hook, &older);
    is_state(&site, "outdated");
    site.install(&[]);
    assert_eq!(fs::read_to_string(&hook).expect("a text"), text);
    is_state(&site, "installed");
    script(&hook, &older);
    site.uninstall();
    assert!(!hook.exists());
}

#[test]
fn one_that_git_leaves_out_and_one_that_is_missing_are_told_of_and_put_right() {
    let site = GitSite::new();
    let hook = site.hook("pre-commit");
    set_mode(&hook, 0o640);
    let (state, notes) = status(&site);
    assert!(state == "broken" && notes.contains("not executable"), "{state} {notes}");
    site.install(&[]);
    assert_eq!(fs::metadata(&hook).expect("a hook").permissions().mode() & 0o777, 0o750);
    fs::remove_file(&hook).expect("removed");
    is_state(&site, "outdated");
    site.install(&["--strict"]);
    is_state(&site, "installed");
    assert!(
        fs::read_to_string(&hook).expect("a text").contains("muse coord hook pre-commit --strict \"$@\"")
    );
    let answer = guard(&site, &["status"]);
    assert!(answer.stdout.contains("installed, strict"), "{answer:?}");
}

#[test]
fn a_dry_run_and_a_folder_that_is_not_there_yet() {
    let site = GitSite::unguarded();
    fs::remove_dir_all(site.at(".git/hooks")).expect("removed");
    is_state(&site, "absent");
    let before = snapshot(site.site.path());
    let answer = site.install(&["--dry-run"]);
    assert!(
        answer.stdout.contains("would be installed") && answer.stdout.contains("+#!/bin/sh"),
        "{answer:?}"
    );
    assert_eq!(snapshot(site.site.path()), before);
    site.install(&[]);
    assert_eq!(names(&site.at(".git/hooks")), HOOKS);
    site.uninstall();
    assert_eq!(names(&site.at(".git/hooks")), [""; 0]);
}

#[test]
fn all_worktrees_share_the_hooks() {
    let site = GitSite::unguarded();
    let linked = site.beside("linked");
    site.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().expect("UTF-8")]);
    let guard = |word: &str| site.muse_in(&linked, &["coord", "guard", word, "--git"]).run();
    guard("install").is_success();
    is_state(&site, "installed");
    assert!(site.install(&[]).stderr.contains("installed already"));
    guard("uninstall").is_success();
    is_state(&site, "absent");
}

#[test]
fn where_git_runs_no_hooks_or_those_of_others_nothing_is_written() {
    let site = GitSite::unguarded();
    site.git(&["config", "core.hooksPath", "/dev/null"]);
    is_left(&site, &["--force"], &["Git runs no hooks", ".git/config"]);
    let shared = site.beside("shared");
    fs::create_dir(&shared).expect("a folder");
    site.git(&["config", "--unset", "core.hooksPath"]);
    site.git(&["config", "--global", "core.hooksPath", shared.to_str().expect("UTF-8")]);
    is_left(
        &site,
        &[],
        &["leads out of this repository", ".gitconfig", "--force", "muse coord hook pre-push \"$@\" || if "],
    );
    assert_eq!(names(&shared), [""; 0]);
    site.install(&["--force"]);
    assert_eq!(names(&shared), HOOKS);
    // Taken out also where Git has ceased to look, and of this repository alone.
    site.git(&["config", "--local", "core.hooksPath", ".git/hooks"]);
    site.install(&[]);
    site.git(&["config", "--unset", "core.hooksPath"]);
    site.uninstall();
    assert_eq!(names(&shared), [""; 0]);
    assert!(!site.hook("pre-commit").exists());
}

/// A program that manages hooks, by a file of its own, and what it is told.
#[test]
fn where_another_program_manages_the_hooks_it_is_told_what_to_run() {
    let husky = [
        "husky runs the hooks here",
        "then muse coord hook pre-commit || if ",
        "then muse coord hook pre-push \"$@\" || if ",
    ];
    let lefthook = [
        "lefthook runs the hooks here",
        "then muse coord hook pre-commit || if ",
        "then muse coord hook pre-push || if ",
        "use_stdin: true",
    ];
    let pre_commit = [
        "the pre-commit framework runs the hooks here",
        "then muse coord hook pre-commit \"$@\" || if ",
        "then muse coord hook pre-push \"$@\" || if ",
        "default_install_hook_types: [pre-commit, pre-push]",
    ];
    let cases: [(&str, &str, &[&str]); 8] = [
        (".husky/pre-commit", "npm test\n", &husky),
        ("lefthook.yml", "{}\n", &lefthook),
        (".config/lefthook.toml", "\n", &lefthook),
        (".git/hooks/pre-commit", "#!/bin/sh\ncall_lefthook run \"pre-commit\" \"$@\"\n", &lefthook),
        (".pre-commit-config.yaml", "repos: []\n", &pre_commit),
        (
            ".git/hooks/pre-push",
            "#!/usr/bin/env bash\n# File generated by pre-commit: https://pre-commit.com\n",
            &pre_commit,
        ),
        (".overcommit.yml", "\n", &["overcommit runs the hooks here", "muse coord hook pre-push"]),
        (
            ".git/hooks/pre-commit",
            "#!/usr/bin/env ruby\n# Entrypoint for Overcommit hook integration: overcommit\n",
            &["overcommit runs"],
        ),
    ];
    for (path, text, words) in cases {
        let site = GitSite::unguarded();
        script(&site.at(path), text);
        is_left(&site, &[], words);
        let (state, notes) = status(&site);
        assert!(state == "absent" && notes.contains("runs the hooks here"), "{path}: {state} {notes}");
        guard(&site, &["uninstall", "--git"]).is_success();
    }
    let site = GitSite::unguarded();
    fs::create_dir_all(site.at(".husky/_")).expect("a folder");
    site.git(&["config", "core.hooksPath", ".husky/_"]);
    is_left(
        &site,
        &["--strict", "--require"],
        &["muse coord hook pre-commit --strict --require || exit 1; else "],
    );
}

#[test]
fn a_program_that_runs_muse_already_needs_nothing() {
    let site = GitSite::unguarded();
    let cases: [&[(&str, &str)]; 4] = [
        &[
            (".husky/pre-commit", "muse coord hook pre-commit\n"),
            (".husky/pre-push", "muse coord hook pre-push --strict \"$@\"\n"),
        ],
        &[("lefthook.yml", "# run: muse coord hook pre-commit, run: muse coord hook pre-push\n")],
        &[(
            ".pre-commit-config.yaml",
            "entry: muse coord hook pre-commit, entry: muse coord hook pre-push\n",
        )],
        &[(".pre-commit-config.yaml", "- id: muse-pre-commit\n- id: muse-pre-push\n")],
    ];
    for files in cases {
        for (path, text) in files {
            site.write(path, text);
        }
        let answer = site.install(&[]);
        assert!(answer.stderr.contains("installed already"), "{answer:?}");
        let (state, notes) = status(&site);
        assert!(state == "installed" && notes.contains("run by "), "{state} {notes}");
        let answer = guard(&site, &["uninstall", "--git"]);
        assert!(answer.code == 3 && answer.stderr.contains("take `muse` out of it"), "{answer:?}");
        site.git(&["clean", "--quiet", "-dx", "--force", "--exclude=.muse"]);
    }
}

/// The commands in what is told to a program that manages hooks, as a shell takes them.
fn told(site: &GitSite, flags: &[&str]) -> Vec<Vec<String>> {
    let all: Vec<&str> = ["install", "--git"].iter().chain(flags).copied().collect();
    let lines = guard(site, &all).stdout;
    let command = |line: &str| {
        let command = line.trim_start().trim_start_matches("# ");
        let at = command.find("sh -c '").or_else(|| command.find("if command -v muse"))?;
        let command = &command[at..];
        Some(if command.starts_with("sh ") {
            shlex::split(command).expect("words")
        } else {
            ["sh", "-e", "-c", command, "hook"].map(str::to_owned).into()
        })
    };
    lines.lines().filter_map(command).collect()
}

#[test]
fn what_is_told_lets_through_where_muse_is_missing_or_fails() {
    let managers = [
        ".husky/pre-commit",
        "lefthook.yml",
        ".pre-commit-config.yaml",
        ".overcommit.yml",
        ".git/hooks/pre-push",
    ];
    for path in managers {
        for strict in [false, true] {
            let site = GitSite::unguarded();
            write(&site.at(path), "{}\n");
            if path.ends_with("pre-push") {
                // A folder of hooks that others use as well.
                site.git(&[
                    "config",
                    "--global",
                    "core.hooksPath",
                    site.beside("shared").to_str().expect("UTF-8"),
                ]);
            }
            let commands = told(&site, if strict { &["--strict"] } else { &[] });
            assert_eq!(commands.len(), 2, "{path}: {commands:?}");
            let programs = site.beside("programs");
            for (command, (hook, what)) in
                commands.iter().zip([("pre-commit", "commit"), ("pre-push", "push")])
            {
                let run = |exit: Option<u8>| {
                    fs::remove_file(programs.join("muse")).unwrap_or_default();
                    if let Some(exit) = exit {
                        script(
                            &programs.join("muse"),
                            &format!("#!/bin/sh\necho called \"$@\"\nexit {exit}\n"),
                        );
                    }
                    let output = Command::new(&command[0])
                        .args(&command[1..])
                        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
                        .output()
                        .expect("a shell");
                    Answer::of(output)
                };
                for (exit, code) in [(0, 0), (1, 1), (2, u8::from(strict)), (137, u8::from(strict))] {
                    let answer = run(Some(exit));
                    assert_eq!(answer.code, i32::from(code), "{path} {exit}: {answer:?}");
                    let flag = if strict { " --strict" } else { "" };
                    assert_eq!(answer.stdout, format!("called coord hook {hook}{flag}\n"));
                    assert_eq!(
                        answer.stderr.contains("warning: muse failed"),
                        exit > 1 && !strict,
                        "{answer:?}"
                    );
                }
                let answer = run(None);
                assert_eq!(answer.code, i32::from(strict), "{path}: {answer:?}");
                let then = if strict { "stopped: pass by with --no-verify" } else { "not checked" };
                let warning = format!("warning: muse is not on PATH, so this {what} is {then}\n");
                assert_eq!((&*answer.stdout, &*answer.stderr), ("", &*warning));
            }
        }
    }
}

#[test]
fn what_the_pre_commit_framework_finds_here_is_what_is_proposed_to_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.pre-commit-hooks.yaml");
    let shipped = fs::read_to_string(file).expect("a text");
    let site = GitSite::unguarded();
    site.write(".pre-commit-config.yaml", "repos: []\n");
    let proposed = guard(&site, &["install", "--git"]).stdout;
    for line in shipped.lines().filter(|line| !line.starts_with('#') && !line.contains("description:")) {
        let line = line.trim_start_matches(['-', ' ']);
        assert!(proposed.contains(line), "no {line:?} in {proposed}");
    }
    for key in [
        "id:",
        "name:",
        "entry:",
        "language: system",
        "pass_filenames: false",
        "always_run: true",
        "stages: [",
    ] {
        assert_eq!(shipped.matches(key).count(), 2, "{key}");
    }
}

#[test]
fn a_bare_repository_without_a_store_is_told_from_none() {
    let site = GitSite::unguarded();
    let bare = site.beside("bare");
    site.git(&["init", "--quiet", "--bare", bare.to_str().expect("UTF-8")]);
    for words in [&["status"][..], &["install", "--git"], &["uninstall", "--git"]] {
        let answer = site.muse_in(&bare, &[&["coord", "guard"], words].concat()).run();
        answer.is_text_failure(2, &["there is no ", "bare/.muse; run `muse init` to make it"]);
        let answer = site.muse_in(&site.beside("home"), &[&["coord", "guard"], words].concat()).run();
        answer.is_text_failure(2, &["neither it nor a folder above it holds .muse or .git"]);
    }
    site.muse_in(&bare, &["init"]).run().is_success();
    site.muse_in(&bare, &["coord", "guard", "install", "--git"]).run().is_success();
    assert!(bare.join("hooks/pre-push").is_file());
}
