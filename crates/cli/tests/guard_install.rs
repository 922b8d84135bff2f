//! `muse coord guard install`, `uninstall` and `status` on the built program: what is written and taken out again, and
//! that what is written runs.

#![expect(clippy::disallowed_methods, reason = "tests write files and start processes")]
#![expect(clippy::unwrap_used, reason = "what a helper of a test does not expect fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod support;

use muse_testkit::git::git;
use support::{ABSENT, Answer, Muse, Site, names};

/// Every flag that names a target of files.
const TARGETS: [&str; 8] =
    ["--claude-code", "--codex", "--cursor", "--gemini", "--copilot", "--opencode", "--skill", "--agents-md"];

/// The files that each of the harnesses with JSON keeps its hooks in.
const HOOK_FILES: [(&str, &str); 5] = [
    ("--claude-code", ".claude/settings.json"),
    ("--codex", ".codex/hooks.json"),
    ("--cursor", ".cursor/hooks.json"),
    ("--gemini", ".gemini/settings.json"),
    ("--copilot", ".github/hooks/muse.json"),
];

fn guard(site: &Site, arguments: &[&str]) -> Muse {
    // With a program of that name to be found.
    site.coord(&[&["guard"], arguments].concat()).env("PATH", with_muse(site))
}

/// A search path with `muse` on it.
fn with_muse(site: &Site) -> String {
    let folder = site.at(".muse/bin");
    if !folder.exists() {
        fs::create_dir_all(&folder).unwrap();
        symlink(env!("CARGO_BIN_EXE_muse"), folder.join("muse")).unwrap();
    }
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// A search path with this program as `muse`, which is a shell script.
fn with_script(site: &Site, script: &str) -> String {
    let folder = site.folder(".muse/fake");
    fs::write(folder.join("muse"), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(folder.join("muse"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// Every file outside the store: its bytes and its mode; folders too.
fn files(site: &Site) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let mut found = BTreeMap::new();
    let mut open = vec![site.path().to_owned()];
    while let Some(folder) = open.pop() {
        for name in names(&folder).iter().filter(|name| *name != ".muse") {
            let path = folder.join(name);
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                open.push(path.clone());
            }
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path, (bytes, metadata.permissions().mode()));
        }
    }
    found
}

/// Each target's status, as its report has it.
fn statuses(answer: &Answer) -> Vec<(String, String)> {
    let value = answer.value();
    let targets = value["targets"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    targets.map(|target| (text(&target["target"]), text(&target["status"]))).collect()
}

fn all_are(answer: &Answer, status: &str) {
    assert_eq!(answer.code, 0, "{answer:?}");
    for (target, its) in statuses(answer) {
        assert_eq!(its, status, "{target}");
    }
}

fn odd_files(site: &Site) {
    site.file(
        ".claude/settings.json",
        "\u{feff}{ // mine\r\n\t\"permissions\": { \"allow\": [\"Bash\",], },\r\n}",
    );
    site.file(".codex/hooks.json", "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[]}]}}");
    site.file(".codex/config.toml", "model = \"x\" # mine\n[mcp_servers.x]\ncommand = 'x'");
    site.file(".cursor/hooks.json", "{\n  \"version\": 1,\n  \"hooks\": { }\n}\n\n");
    site.file(".cursor/mcp.json", "{}");
    site.file(".gemini/settings.json", "/* all */ {\"mcpServers\": {\"x\": {}}, // y\n \"hooks\": {}}");
    site.file(".github/hooks/other.json", "{\"version\": 1, \"hooks\": {}}");
    site.file(".mcp.json", "");
    site.file("opencode.json", "{\"mcp\":{\n}}");
    site.file("AGENTS.md", "# Agents\r\n\r\nBe kind.");
    fs::set_permissions(site.at(".claude/settings.json"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn install_install_uninstall_leaves_every_file_as_it_was() {
    for odd in [false, true] {
        for flags in [&[][..], &["--strict"], &["--mcp"], &["--strict", "--mcp"]] {
            let site = Site::new();
            if odd {
                odd_files(&site);
            }
            let before = files(&site);
            let install = [&["install"], &TARGETS[..], flags].concat();
            all_are(&guard(&site, &install).json(), "installed");
            let installed = files(&site);
            assert_ne!(before, installed);
            for (path, (_, mode)) in &before {
                assert_eq!(installed[path].1, *mode, "{}", path.display());
            }
            all_are(&guard(&site, &install).json(), "unchanged");
            assert_eq!(files(&site), installed);
            all_are(&guard(&site, &[&["uninstall"], &TARGETS[..]].concat()).json(), "uninstalled");
            assert_eq!(files(&site), before, "{flags:?}");
            all_are(&guard(&site, &["uninstall", "--all"]).json(), "unchanged");
        }
    }
}

#[test]
fn each_target_comes_and_goes_by_itself() {
    let site = Site::new();
    odd_files(&site);
    let before = files(&site);
    for (position, target) in TARGETS.iter().enumerate() {
        all_are(&guard(&site, &["install", target]).json(), "installed");
        let other = TARGETS[(position + 1) % TARGETS.len()];
        all_are(&guard(&site, &["install", other]).json(), "installed");
        // Not in the order in which they came.
        all_are(&guard(&site, &["uninstall", target]).json(), "uninstalled");
        all_are(&guard(&site, &["uninstall", other]).json(), "uninstalled");
        assert_eq!(files(&site), before, "{target}");
    }
}

#[test]
fn a_dry_run_shows_the_change_and_makes_none() {
    let site = Site::new();
    site.file(".claude/settings.json", "{\n\t\"a\": 1\n}\n");
    let before = files(&site);
    let answer = guard(&site, &["install", "--claude-code", "--agents-md", "--dry-run"]).run();
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer:?}");
    assert!(
        answer.stdout.starts_with("claude-code: would be installed\n--- a/.claude/settings.json\n+++ b/")
    );
    assert!(answer.stdout.contains("@@ -1,3 +1,"), "{answer:?}");
    assert!(answer.stdout.contains("\n+\t\"hooks\": {\n"), "tabs stay: {answer:?}");
    assert!(answer.stdout.contains("\n--- /dev/null\n+++ b/AGENTS.md\n"), "{answer:?}");
    assert!(!answer.stdout.contains("\n-\t"), "nothing of the file is taken away: {answer:?}");
    let answer = guard(&site, &["install", "--claude-code", "--dry-run"]).json();
    let value = answer.value();
    assert_eq!((&value["dry_run"], &value["status"]), (&true.into(), &"ok".into()));
    assert_eq!(value["targets"][0]["files"][0]["change"], "changed");
    assert_eq!(files(&site), before);
    guard(&site, &["install", "--claude-code"]).run().is_success();
    let installed = files(&site);
    let answer = guard(&site, &["uninstall", "--all", "--dry-run"]).run();
    assert!(answer.stdout.contains("claude-code: would be uninstalled\n"), "{answer:?}");
    assert_eq!(files(&site), installed);
}

#[test]
fn the_shown_change_is_the_change() {
    let site = Site::new();
    odd_files(&site);
    let twin = Site::without_store();
    odd_files(&twin);
    let answer = guard(&site, &[&["install", "--mcp"], &TARGETS[..]].concat()).json();
    for target in answer.value()["targets"].as_array().unwrap() {
        for file in target["files"].as_array().unwrap() {
            let patch = file["diff"].as_str().unwrap();
            let mut child = Command::new("git")
                .args(["apply", "--whitespace=nowarn", "-"])
                .current_dir(twin.path())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), patch.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{patch}");
        }
    }
    let bytes = |site: &Site| -> BTreeMap<PathBuf, Vec<u8>> {
        let below = |path: &Path| path.strip_prefix(site.path()).unwrap().to_owned();
        files(site).iter().map(|(path, (bytes, _))| (below(path), bytes.clone())).collect()
    };
    assert_eq!(bytes(&site), bytes(&twin));
}

#[test]
fn status_says_what_is_there() {
    let site = Site::new();
    let states = || {
        let value = guard(&site, &["status"]).json().value();
        let targets = value["targets"].as_array().unwrap().clone();
        let state = |target: &serde_json::Value| {
            let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
            (text("target"), (text("state"), target["strict"].clone()))
        };
        targets.iter().map(state).collect::<BTreeMap<_, _>>()
    };
    let null = serde_json::Value::Null;
    assert!(states().values().all(|(state, strict)| state == "absent" && *strict == null), "{:?}", states());
    guard(&site, &["install", "--claude-code", "--opencode", "--skill", "--mcp"]).run().is_success();
    guard(&site, &["install", "--codex", "--strict"]).run().is_success();
    site.file(".cursor/hooks.json", "muse coord hook ");
    site.file(
        ".gemini/settings.json",
        "{\"hooks\": {\"BeforeTool\": [{\"hooks\": [{\"command\": \"muse coord hook gemini\"}]}]}}",
    );
    fs::remove_dir_all(site.at(".agents")).unwrap();
    let now = states();
    let is = |target: &str| (now[target].0.as_str(), now[target].1.clone());
    assert_eq!(is("claude-code"), ("installed", false.into()));
    assert_eq!(is("opencode"), ("installed", false.into()));
    assert_eq!(is("codex"), ("installed", true.into()));
    assert_eq!(is("cursor"), ("broken", null.clone()));
    assert_eq!(is("gemini"), ("outdated", false.into()));
    assert_eq!(is("copilot"), ("absent", null.clone()));
    assert_eq!(is("skill"), ("outdated", null), "one of its two files is missing");
    let answer = guard(&site, &["status"]).run();
    assert!(answer.stdout.contains("codex        installed, strict "), "{answer:?}");
    // What is out of date is brought up to date.
    guard(&site, &["install", "--gemini", "--skill"]).run().is_success();
    assert_eq!((&*states()["gemini"].0, &*states()["skill"].0), ("installed", "installed"));
    guard(&site, &["install", "--claude-code", "--strict"]).run().is_success();
    assert_eq!(states()["claude-code"].1, true);
    // Hooks and the server are in one file, which is named once.
    guard(&site, &["install", "--gemini", "--mcp"]).run().is_success();
    let answer = guard(&site, &["status"]).run();
    assert!(answer.stdout.contains(" .gemini/settings.json\n"), "{answer:?}");
    assert_eq!(answer.stdout.matches(".gemini/settings.json").count(), 1, "{answer:?}");
}

#[test]
fn status_says_what_keeps_hooks_from_running() {
    let site = Site::new();
    let status = |position: usize| {
        let value = guard(&site, &["status"]).json().value();
        let target = &value["targets"][position];
        (target["state"].as_str().unwrap().to_owned(), target["notes"].to_string())
    };
    // No JSON, with nothing of ours in it: the harness reads none of it.
    for (position, (target, file)) in HOOK_FILES.into_iter().enumerate() {
        for empty in ["", " \n"] {
            site.file(file, empty);
            assert_eq!(status(position), ("absent".to_owned(), "[]".to_owned()), "{target}");
        }
        for broken in ["{\"permissions\": {", "[]", "no JSON"] {
            site.file(file, broken);
            let (state, notes) = status(position);
            assert!(state == "broken" && notes.contains(&format!("{file}: it is not ")), "{state} {notes}");
            // Also where hooks and the server are in one file.
            assert_eq!(notes.matches(file).count(), 1, "{notes}");
        }
        site.file(file, "{}");
        assert_eq!(status(position).0, "absent");
    }
    site.file(".mcp.json", "{");
    assert!(status(0).1.contains(".mcp.json: it is not JSON"));
    site.file(".mcp.json", "{}");
    // Claude Code runs no hooks where its settings say so; those of the person count for more.
    let (shared, own) = (".claude/settings.json", ".claude/settings.local.json");
    let off = |is_off: bool| format!("\u{feff}{{ // all of them\n  \"disableAllHooks\": {is_off}\n}}\n");
    site.file(shared, &off(true));
    assert_eq!(status(0).0, "absent");
    guard(&site, &["install", "--claude-code"]).run().is_success();
    for (text, says) in [(String::new(), Some(shared)), (off(false), None), (off(true), Some(own))] {
        site.file(own, &text);
        let (state, notes) = status(0);
        assert_eq!(state, if says.is_some() { "broken" } else { "installed" });
        assert!(says.is_none_or(|path| notes.contains(&format!("{path}: `disableAllHooks`"))), "{notes}");
    }
}

#[test]
fn what_cannot_be_changed_safely_is_left_and_the_rest_is_done() {
    let site = Site::new();
    let elsewhere = Site::without_store();
    site.file(".claude/settings.json", "{\"hooks\": []}");
    symlink(elsewhere.at("hooks.json"), site.at("dangling.json")).unwrap();
    fs::create_dir(site.at(".codex")).unwrap();
    symlink("../dangling.json", site.at(".codex/hooks.json")).unwrap();
    fs::create_dir(elsewhere.at("cursor")).unwrap();
    symlink(elsewhere.at("cursor"), site.at(".cursor")).unwrap();
    site.file(".github", "no folder");
    site.file(".opencode/plugins/muse.ts", "export const Mine = 1\n");
    fs::create_dir_all(site.at(".claude/skills/muse-coord/SKILL.md")).unwrap();
    fs::write(site.at("AGENTS.md"), b"\xff\n").unwrap();
    let before = files(&site);
    let answer = guard(&site, &[&["install"], &TARGETS[..]].concat()).json();
    assert_eq!((answer.code, &*answer.field("status")), (3, "to_paste"), "{answer:?}");
    let done = statuses(&answer);
    assert_eq!(done.iter().filter(|(_, status)| status == "installed").count(), 1, "{done:?}");
    let reason = |target: usize| {
        let paste = &answer.value()["targets"][target]["to_paste"][0];
        assert!(!paste["text"].as_str().unwrap().is_empty(), "{paste}");
        paste["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(0), "`hooks` in it is not an object");
    assert!(reason(1).contains("leads nowhere"), "{}", reason(1));
    assert!(reason(2).contains("leads out of the working tree"), "{}", reason(2));
    assert!(reason(4).contains("cannot read"), "{}", reason(4));
    assert_eq!(reason(5), "another file has this name");
    assert_eq!(reason(6), "it is no file, or too large for one");
    assert_eq!(reason(7), "it is not UTF-8");
    let text = guard(&site, &["install", "--claude-code"]).run();
    assert!(
        text.stderr.starts_with("error: claude-code: .claude/settings.json is left as it is: `hooks`"),
        "{text:?}"
    );
    assert!(text.stdout.contains("\"command\": \"command -v muse"), "what to paste: {text:?}");
    guard(&site, &["uninstall", "--gemini", "--skill"]).run();
    let mut after = files(&site);
    for gone in [".agents", ".agents/skills", ".agents/skills/muse-coord"] {
        after.remove(&site.at(gone));
    }
    assert_eq!(after, before);
    assert_eq!(names(elsewhere.path()), ["cursor"]);
}

#[test]
fn a_file_of_ours_that_was_changed_since_is_left_and_told_of() {
    const OURS: [(&str, &str); 3] = [
        ("--opencode", ".opencode/plugins/muse.ts"),
        ("--skill", ".claude/skills/muse-coord/SKILL.md"),
        ("--skill", ".agents/skills/muse-coord/SKILL.md"),
    ];
    let append = |text: &str| format!("{text}mine\n");
    let replace = |text: &str| text.replace("muse coord heartbeat", "true").replace("8000", "9000");
    let unmark = |text: &str| text.replace(", as ", ", in ");
    let kinds: [&dyn Fn(&str) -> String; 3] = [&append, &replace, &unmark];
    for (target, path) in OURS {
        for change in kinds {
            let site = Site::new();
            guard(&site, &["install", target]).run().is_success();
            let text = fs::read_to_string(site.at(path)).unwrap();
            let changed = change(&text);
            assert_ne!(changed, text);
            site.file(path, &changed);
            for words in
                [&["install", target, "--strict"][..], &["uninstall", target], &["uninstall", "--all"]]
            {
                let answer = guard(&site, words).json();
                assert_eq!((answer.code, &*answer.field("status")), (3, "to_paste"), "{answer:?}");
                let said = answer.value().to_string();
                let (path, reason) =
                    (format!("\"path\":\"{path}\""), "\"reason\":\"it was changed since muse");
                assert!(said.contains(&path) && said.contains(reason), "{said}");
            }
            assert_eq!(fs::read_to_string(site.at(path)).unwrap(), changed);
            assert_eq!(
                files(&site).values().filter(|(bytes, _)| !bytes.is_empty()).count(),
                1,
                "its twin goes"
            );
            let status = guard(&site, &["status"]).run();
            assert!(status.stdout.contains(&format!("{path} was changed since")), "{status:?}");
        }
        // One of another version, and one whose line ends Git has changed, are ours as they are.
        let site = Site::new();
        guard(&site, &["install", target]).run().is_success();
        let before = files(&site);
        let text = fs::read_to_string(site.at(path)).unwrap();
        site.file(path, &text.replace('\n', "\r\n"));
        all_are(&guard(&site, &["install", target]).json(), "installed");
        assert_eq!(files(&site), before);
        site.file(path, &text.replace('\n', "\r\n"));
        all_are(&guard(&site, &["uninstall", target]).json(), "uninstalled");
        assert!(files(&site).is_empty());
    }
}

/// What belongs there is nothing to tell somebody who wants to be rid of it.
#[test]
fn what_cannot_be_taken_out_is_not_told_to_be_put_in() {
    let site = Site::new();
    for (target, file, text) in [
        ("--gemini", ".gemini/settings.json", "{\"command\": \"muse coord hook gemini\""),
        ("--agents-md", "AGENTS.md", "<!-- muse coord: begin -->\n"),
        ("--codex", ".codex", "no folder"),
    ] {
        site.file(file, text);
        let answer = guard(&site, &["uninstall", target]).run();
        assert_eq!((answer.code, &*answer.stdout), (3, ""), "{answer:?}");
        assert!(answer.stderr.contains(file), "{answer:?}");
        assert!(!answer.stderr.contains("put this into"), "{answer:?}");
        let can_be_read = target != "--codex";
        assert_eq!(answer.stderr.contains(": take out of it what is muse's\n"), can_be_read, "{answer:?}");
    }
}

#[test]
fn a_link_inside_the_working_tree_is_written_through() {
    let site = Site::new();
    site.file("config/claude.json", "{}\n");
    fs::create_dir(site.at(".claude")).unwrap();
    symlink("../config/claude.json", site.at(".claude/settings.json")).unwrap();
    let before = files(&site);
    let answer = guard(&site, &["install", "--claude-code"]).json();
    assert_eq!(answer.value()["targets"][0]["files"][0]["path"], "config/claude.json");
    assert!(site.at(".claude/settings.json").is_symlink());
    assert!(
        fs::read_to_string(site.at("config/claude.json")).unwrap().contains("muse coord hook claude-code")
    );
    guard(&site, &["uninstall", "--claude-code"]).run().is_success();
    assert_eq!(files(&site), before);
}

#[test]
fn many_at_once_end_as_one_after_the_other() {
    let once = Site::new();
    guard(&once, &[&["install", "--mcp"], &TARGETS[..]].concat()).run().is_success();
    let site = Site::new();
    // Two of them share `.mcp.json`, and one has two reasons to change one file.
    let calls: Vec<_> = (0..3)
        .flat_map(|_| TARGETS)
        .map(|target| {
            let mut call = guard(&site, &["install", "--mcp", target, "--json"]);
            call.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for call in calls {
        let answer = Answer::of(call.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    let is_installed = guard(&site, &[&["install", "--mcp"], &TARGETS[..]].concat()).json();
    all_are(&is_installed, "unchanged");
    assert_eq!(files(&once).len(), files(&site).len());
    guard(&site, &["uninstall", "--all"]).run().is_success();
    assert_eq!(files(&site).len(), 0, "no temporary file is left either: {:?}", files(&site).keys());
}

#[test]
fn all_is_what_is_in_use_here() {
    let site = Site::new();
    fs::create_dir(site.at(".cursor")).unwrap();
    site.file("GEMINI.md", "");
    let answer = guard(&site, &["install", "--all", "--skill"]).json();
    let done = statuses(&answer);
    let targets: Vec<&str> = done.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(targets, ["cursor", "gemini", "skill"]);
    let warning = answer.value()["warnings"][0].as_str().unwrap().to_owned();
    assert_eq!(
        warning,
        "not in use here, and left out: --claude-code, --codex, --copilot, --opencode, --git, --agents-md"
    );
}

#[test]
fn without_a_store_or_the_program_it_warns_and_outside_a_repository_it_fails() {
    let site = Site::without_store();
    let outside = site.coord(&["guard", "install", "--claude-code"]).json();
    outside.is_failure(2, "not_a_repository", None);
    site.coord(&["guard", "status"]).json().is_failure(2, "not_a_repository", None);
    fs::create_dir(site.at(".git")).unwrap();
    let answer = site.coord(&["guard", "install", "--claude-code"]).env("PATH", "/nowhere").json();
    assert_eq!(answer.code, 0, "{answer:?}");
    let warnings = answer.value()["warnings"].as_array().unwrap().len();
    assert_eq!(warnings, 2, "{answer:?}");
    for nothing in ["install", "uninstall"] {
        site.coord(&["guard", nothing]).json().is_failure(2, "usage", None);
    }
    let folder = site.folder("deep/er");
    Muse::in_folder(&folder, &["coord", "guard", "uninstall", "--claude-code"]).run().is_success();
    assert!(!site.at(".claude").exists());
}

/// The commands of the hooks in a file, by event.
fn commands(site: &Site, file: &str) -> Vec<(String, String)> {
    let value: serde_json::Value = serde_json::from_slice(&fs::read(site.at(file)).unwrap()).unwrap();
    let mut found = Vec::new();
    for (event, entries) in value["hooks"].as_object().unwrap() {
        for entry in entries.as_array().unwrap() {
            let hook = entry.get("hooks").map_or(entry, |hooks| &hooks[0]);
            let command = hook.get("command").or(hook.get("bash")).unwrap();
            found.push((event.clone(), command.as_str().unwrap().to_owned()));
        }
    }
    found
}

fn run_in_shell(site: &Site, shell: &str, command: &str, path: &str) -> Answer {
    let output = Command::new(shell)
        .args(["-c", command])
        .current_dir(site.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Answer::of(output)
}

#[test]
fn the_commands_run_and_a_missing_program_lets_through() {
    for strict in [false, true] {
        let site = Site::new();
        let flags = if strict { &["--strict"][..] } else { &[] };
        let path = with_script(&site, "echo \"$@\"; exit 7");
        for (target, file) in HOOK_FILES {
            guard(&site, &[&["install", target], flags].concat()).run().is_success();
            let commands = commands(&site, file);
            assert_eq!(commands.len(), if target == "--gemini" { 3 } else { 4 });
            for (event, command) in commands {
                let answer = run_in_shell(&site, "/bin/sh", &command, &path);
                let strict_flag = if strict { " --strict" } else { "" };
                let words = format!("coord hook {}{strict_flag}\n", &target[2..]);
                let is_edit = event.to_lowercase().contains("tool");
                // Some harnesses deny at any exit code but 0, and keep a subagent from its end at 2.
                let code = if strict && is_edit { 7 } else { 0 };
                assert_eq!((answer.code, answer.stdout), (code, words), "{event}");
                let answer = run_in_shell(&site, "/bin/sh", &command, "/nowhere");
                let code = if strict && is_edit { 2 } else { 0 };
                assert_eq!((answer.code, &*answer.stdout), (code, ""), "{event}");
                assert_eq!(answer.stderr.is_empty(), code == 0, "{answer:?}");
            }
        }
    }
}

/// Calls the plugin of opencode, as one of its two versions does, with what `muse` prints; tells what was thrown.
fn call_plugin(site: &Site, version: u8, path: &str) -> String {
    fs::copy(site.at(".opencode/plugins/muse.ts"), site.at("plugin.mjs")).unwrap();
    let script = r#"
import plugin from "./plugin.mjs"
const cwd = process.cwd()
let hook, end
if (process.argv[2] === "1") {
  const get = async ({ path }) => ({ data: { id: path.id, directory: cwd, parentID: "ses_0" } })
  const hooks = await plugin.server({ directory: cwd, client: { session: { get } } })
  hook = (tool, args) => hooks["tool.execute.before"]({ tool, sessionID: "ses_1", callID: "c" }, { args })
  end = hooks.dispose
  const info = { id: "ses_1", parentID: "ses_0", directory: cwd }
  await hooks.event({ event: { type: "session.created", properties: { info } } })
} else {
  let before
  const get = async ({ sessionID }) => ({ id: sessionID, parentID: "ses_0", location: { directory: cwd } })
  end = await plugin.setup({ session: { get }, tool: { hook: async (name, run) => { before = run } } })
  hook = (tool, input) => before({ tool, input, sessionID: "ses_1" })
}
const told = []
for (const [tool, args] of [["read", { path: "a" }], ["edit", { path: "a.py", oldString: "a", newString: "b" }]]) {
  await hook(tool, args).then(() => told.push(tool + " passes"), (error) => told.push(`${tool}: ${error.message}`))
}
await end()
console.log(told.join(", "))
"#;
    fs::write(site.at("call.mjs"), script).unwrap();
    let node = ["/usr/bin/node", "/usr/local/bin/node"].into_iter().find(|path| Path::new(path).exists());
    let output = Command::new(node.unwrap_or("node"))
        .args(["call.mjs", &version.to_string()])
        .current_dir(site.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let answer = Answer::of(output);
    assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer:?}");
    answer.stdout.trim_end().to_owned()
}

#[test]
fn the_plugin_asks_denies_and_never_breaks() {
    let site = Site::new();
    guard(&site, &["install", "--opencode"]).run().is_success();
    for version in [1, 2] {
        fs::remove_file(site.at("asked")).unwrap_or_default();
        let deny = with_script(
            &site,
            "{ echo \"$@\"; cat; echo; } >>asked; echo '{\"decision\": \"deny\", \"reason\": \"held by alice\"}'",
        );
        assert_eq!(call_plugin(&site, version, &deny), "read passes, edit: held by alice");
        let asked = fs::read_to_string(site.at("asked")).unwrap();
        let payloads: Vec<serde_json::Value> = asked
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(asked.starts_with("coord hook opencode\n"), "{asked}");
        let events: Vec<&str> = payloads.iter().map(|payload| payload["event"].as_str().unwrap()).collect();
        let expected = ["session.start", "tool.execute.before", "session.end"];
        assert_eq!(events, expected[usize::from(version - 1)..]);
        for payload in &payloads {
            assert_eq!(payload["sessionID"], "ses_1");
            assert_eq!(payload["parentID"], "ses_0");
            assert_eq!(payload["cwd"], site.path().to_str().unwrap());
        }
        let edit = payloads.iter().find(|payload| payload["event"] == "tool.execute.before").unwrap();
        assert_eq!((&edit["tool"], &edit["args"]["filePath"]), (&"edit".into(), &"a.py".into()));
        let passes = "read passes, edit passes";
        for silent in
            ["exit 0", "cat >/dev/null; echo '{}'", "echo no JSON", "echo null", "exit 3", "kill -9 $$"]
        {
            assert_eq!(call_plugin(&site, version, &with_script(&site, silent)), passes, "{silent}");
        }
        assert_eq!(call_plugin(&site, version, "/nowhere"), passes);
    }
    guard(&site, &["install", "--opencode", "--strict"]).run().is_success();
    for version in [1, 2] {
        let strict = with_script(&site, "test \"$4\" = --strict || exit 1; cat >/dev/null");
        assert_eq!(call_plugin(&site, version, &strict), "read passes, edit passes");
        let told = call_plugin(&site, version, "/nowhere");
        assert!(told.starts_with("read passes, edit: muse could not be asked"), "{told}");
    }
}

/// Every line of a document that calls `muse`, as a shell would take it, up to a pipe.
fn calls(document: &str) -> Vec<Vec<String>> {
    let line = |line: &str| {
        let at = line.strip_prefix("    ")?.find("muse coord ")? + 4;
        let (before, call) = line.split_at(at);
        if before.contains('#') || before.contains('|') {
            return None;
        }
        let call = call.trim_end_matches(')').replace("\"$id\"", ABSENT).replace("sha256:...", ABSENT);
        let mut words = shlex::split(call.split(" || ").next()?).unwrap();
        let end = words.iter().position(|word| word == "|" || word.starts_with('#')).unwrap_or(words.len());
        words.truncate(end);
        Some(words)
    };
    document.lines().filter_map(line).collect()
}

#[test]
fn every_call_of_the_guide_the_skill_and_the_section_is_understood() {
    let site = Site::new();
    git(site.path(), &["init", "--quiet"]);
    guard(&site, &["install", "--skill", "--agents-md"]).run().is_success();
    let read = |name: &str| fs::read_to_string(site.at(name)).unwrap();
    let documents =
        [site.coord(&["guide"]).run().stdout, read(".agents/skills/muse-coord/SKILL.md"), read("AGENTS.md")];
    for (document, at_least) in documents.iter().zip([15, 8, 4]) {
        let calls = calls(document);
        assert!(calls.len() >= at_least, "{calls:?}");
        for words in calls {
            let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let nowhere = Site::without_store();
            let is_endless = words.contains(&"watch");
            let place = if is_endless { &nowhere } else { &site };
            let answer = place.muse(&words).env("MUSE_RUN_ID", "agent-42").run();
            // What is not held, or what the command of `run` says, is no matter of the call.
            let is_run =
                words.contains(&"run") && (answer.code == 127 || !answer.stderr.starts_with("error: "));
            let is_understood = [0, 4, 6].contains(&answer.code) || is_endless && answer.code == 2 || is_run;
            assert!(is_understood, "{words:?}: {answer:?}");
            assert!(!answer.stderr.contains("Usage:"), "{words:?}: {answer:?}");
        }
    }
}

#[test]
fn the_skill_is_within_its_limits() {
    let skill = include_str!("../../../docs/skill/SKILL.md");
    let (head, body) = skill.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(field("name: "), "muse-coord", "the name of its folder");
    let description = field("description: ");
    assert!((1..=1024).contains(&description.chars().count()));
    // Plain scalars: nothing in them that YAML would take for something else.
    assert!(!description.contains(": ") && !description.contains(" #"));
    assert!(body.lines().count() < 500);
}
