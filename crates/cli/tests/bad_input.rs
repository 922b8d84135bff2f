//! Wrong input: told with the right word and exit code, and nothing was read or written beyond the arguments.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;

mod support;

use support::{ABSENT, Muse, Site, names, not_utf8, object};

/// The calls that take a run id, without it.
fn calls_of_a_run(site: &Site) -> Vec<Muse> {
    vec![
        site.coord(&["reserve", "a.py"]),
        site.coord(&["heartbeat", ABSENT]),
        site.coord(&["heartbeat", "--all"]),
        site.coord(&["release", ABSENT]),
        site.coord(&["release", "--all"]),
    ]
}

#[test]
fn a_bad_run_id_is_refused_by_every_command() {
    for site in [Site::new(), Site::without_store()] {
        let before = site.snapshot();
        for (run, part) in [
            (OsString::from(""), "empty"),
            ("x".repeat(257).into(), "257"),
            ("é".repeat(257).into(), "257"),
            (not_utf8(), "UTF-8"),
        ] {
            for call in calls_of_a_run(&site) {
                let error = call.run_id(&run).json().is_failure(1, "bad_args", None);
                assert!(error.contains(part), "{error}");
            }
            for call in calls_of_a_run(&site) {
                call.run_id(&run).run().is_text_failure(1, &[part]);
            }
            let answer = site.coord(&["list"]).run_id(&run).json();
            answer.is_failure(1, "bad_args", None);
        }
        for call in calls_of_a_run(&site) {
            let error = call.json().is_failure(2, "usage", None);
            assert!(error.contains("MUSE_RUN_ID"), "{error}");
        }
        assert_eq!(site.snapshot(), before);
    }
}

#[test]
fn a_run_id_with_control_characters_is_taken_by_every_command() {
    let site = Site::new();
    let run = "\u{1b}]0;owned\u{7}\r\n\u{202e}\u{9b}1malice";
    let shown = "]0;owned1malice";
    let held = site.reserve(run, "a.py", &["--shared"]);
    for call in [
        site.coord(&["reserve", "a.py"]).run_id("bob"),
        site.coord(&["reserve", "a.py", "--advisory"]).run_id("bob"),
        site.coord(&["list"]),
        site.coord(&["list"]).run_id(run),
        site.coord(&["show", &held.id]),
        site.coord(&["heartbeat", &held.id]).run_id(run),
        site.coord(&["heartbeat", &held.id]).run_id("bob"),
        site.coord(&["release", &held.id]).run_id("bob"),
        site.coord(&["reserve", "a.py", "--shared"]).run_id(run),
    ] {
        let answer = call.run();
        let text = format!("{}{}", answer.stdout, answer.stderr);
        assert!(text.contains(shown), "{text:?}");
        let is_obeyed =
            |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
        assert!(!text.chars().any(is_obeyed), "{text:?}");
    }
    let value = site.coord(&["show", &held.id]).json().value();
    assert_eq!(value["reservation"]["run_id"], run);
    let denied = site.coord(&["reserve", "a.py"]).run_id("bob").json();
    assert_eq!(denied.value()["conflicts"][0]["holder"]["run_id"], run);
    assert_eq!(denied.stdout.matches('\n').count(), 1);
    assert!(!denied.stdout.trim_end().chars().any(|character| character < ' '));
}

#[test]
fn a_malformed_id_is_refused_by_every_command() {
    for site in [Site::new(), Site::without_store()] {
        let before = site.snapshot();
        let upper = ABSENT.to_uppercase();
        let upper_digits = format!("sha256:{}", ABSENT[7..].to_uppercase());
        let with_newline = format!("{ABSENT}\n");
        let up = format!("sha256:../{}", &ABSENT[10..]);
        for id in [
            "",
            "x",
            "sha256:",
            &ABSENT[..70],
            &ABSENT[7..],
            &upper,
            &upper_digits,
            &with_newline,
            &up,
            "../../etc/passwd",
            "sha256:\u{1b}[31m",
        ] {
            for call in [
                site.coord(&["heartbeat", id]).run_id("alice"),
                site.coord(&["release", id]).run_id("alice"),
                site.coord(&["release", ABSENT, id, "--force"]).run_id("alice"),
                site.coord(&["show", id]),
                site.coord(&["reserve", "a.py", "--take-over", id, "--reason", "x"]).run_id("alice"),
            ] {
                let error = call.json().is_failure(1, "bad_id", None);
                assert!(error.contains("64 lower-case hexadecimal digits"), "{error}");
            }
        }
        site.coord(&["show"]).arg(not_utf8()).json().is_failure(1, "bad_id", None);
        assert_eq!(site.snapshot(), before);
    }
}

/// Addresses that no tree has a place for.
const BAD_ADDRESSES: [&str; 33] = [
    "",
    "..",
    "../x.py",
    "../",
    "a/../../x.py",
    "a/b/../../../x",
    "./../x",
    "/",
    "/etc/passwd",
    "//etc",
    ".muse",
    ".muse/",
    ".muse/coordination/token",
    "./.muse/x",
    "a/../.muse/x",
    ".git",
    ".git/config",
    ".git/../.git/HEAD",
    "::f",
    "a.py::",
    "a.py::.f",
    "a.py::f.",
    "a.py::f..g",
    "a.py::f g",
    "a.py::f\n",
    "a.py::f:g",
    "*.py::f",
    "src/**::f",
    "a\u{1b}[31m.py",
    "[a",
    "{a,b",
    "a\\",
    "../*.py",
];

#[test]
fn a_bad_address_is_refused_and_nothing_is_written() {
    let site = Site::new();
    fs::create_dir(site.at(".git")).unwrap();
    let before = site.snapshot();
    let mut taken = Vec::new();
    for address in BAD_ADDRESSES {
        let answer = site.coord(&["reserve", "good.py", address]).run_id("alice").json();
        if answer.code == 0 {
            taken.push(address);
            continue;
        }
        let error = answer.is_failure(1, "bad_address", None);
        assert!(error.len() < 1000, "{error}");
        let answer = site.coord(&["reserve", address]).run_id("alice").run();
        answer.is_text_failure(1, &[]);
        assert_eq!(answer.stderr.lines().count(), 1, "{address:?}: {answer:?}");
        assert!(!answer.stderr.trim_end().chars().any(char::is_control), "{answer:?}");
        let answer = site.coord(&["list", "--address", address]).json();
        answer.is_failure(1, "bad_address", None);
    }
    assert_eq!(taken, Vec::<&str>::new());
    let answer = site.coord(&["reserve"]).arg(not_utf8()).run_id("alice").json();
    assert!(answer.is_failure(1, "bad_address", None).contains("UTF-8"));
    assert_eq!(site.snapshot(), before);
}

#[test]
fn a_path_with_control_characters_is_taken_and_made_harmless() {
    let site = Site::new();
    let address = "a\nb\t\u{7f}\u{9b}\u{202e}.py";
    let answer = site.coord(&["reserve", address]).run_id("alice").json();
    assert_eq!(answer.value()["addresses"], serde_json::json!([address]), "{answer:?}");
    assert_eq!(answer.stdout.matches('\n').count(), 1);
    for call in [
        site.coord(&["reserve", address]).run_id("alice"),
        site.coord(&["reserve", address]).run_id("bob"),
        site.coord(&["list"]),
        site.coord(&["show", &answer.field("reservation_id")]),
    ] {
        let answer = call.run();
        let text = format!("{}{}", answer.stdout, answer.stderr);
        assert!(text.contains("ab.py"), "{text:?}");
        let is_obeyed =
            |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
        assert!(!text.chars().any(is_obeyed), "{text:?}");
    }
}

#[test]
fn a_bad_address_makes_no_store() {
    let site = Site::without_store();
    site.folder(".muse");
    for address in ["../x", ".muse/x", "/etc/passwd", "a.py::"] {
        site.coord(&["reserve", address]).run_id("alice").json().is_failure(1, "bad_address", None);
    }
    site.coord(&["reserve", "a.py", "--ttl", "0"]).run_id("alice").json().is_failure(1, "bad_args", None);
    for reader in [
        site.coord(&["list"]),
        site.coord(&["list", "--all"]),
        site.coord(&["release", "--all"]).run_id("alice"),
    ] {
        reader.json().is_success();
    }
    assert!(names(&site.at(".muse")).is_empty());
    // The first grant makes it.
    site.reserve("alice", "a.py", &[]);
    assert_eq!(names(&site.at(".muse")), ["coordination"]);
}

#[test]
fn a_symbolic_link_out_of_the_tree_is_a_bad_address() {
    let site = Site::new();
    let outside = Site::without_store();
    outside.file("secret.py", "");
    symlink(outside.path(), site.at("out")).unwrap();
    symlink("../../..", site.at("up")).unwrap();
    symlink("loop", site.at("loop")).unwrap();
    symlink(".muse/coordination", site.at("store")).unwrap();
    site.folder("real/deep");
    site.file("real/deep/a.py", "");
    symlink("real/deep", site.at("alias")).unwrap();
    symlink(site.at("real"), site.at("absolute")).unwrap();
    let before = site.snapshot();
    for address in ["out/secret.py", "out/", "up/x", "loop/x", "store/token", "out/*.py"] {
        site.coord(&["reserve", address]).run_id("alice").json().is_failure(1, "bad_address", None);
    }
    assert_eq!(site.snapshot(), before);
    // Inside the tree it is resolved: one file, one spelling.
    let held = site.reserve("alice", "real/deep/a.py", &[]);
    for address in ["alias/a.py", "absolute/deep/a.py", "./alias/../deep/a.py", "alias/"] {
        let answer = site.coord(&["reserve", address]).run_id("bob").json();
        answer.is_json_conflict();
        assert_eq!(answer.value()["conflicts"][0]["holder"]["reservation_id"], held.id, "{address}");
    }
}

#[test]
fn a_path_below_the_current_directory_is_brought_to_the_top() {
    let site = Site::new();
    let deep = site.folder("src/deep er");
    let from_deep = |arguments: &[&str]| Muse::in_folder(&deep, arguments).json();
    for (typed, canonical) in [
        ("a.py::f", "src/deep er/a.py::f"),
        ("../b.py", "src/b.py"),
        ("./../../c.py", "c.py"),
        ("*.py", "src/deep er/*.py"),
        (".", "src/deep er/"),
        ("..", "src/"),
        ("café.py", "src/deep er/café.py"),
        ("cafe\u{301}.rs", "src/deep er/café.rs"),
    ] {
        let answer = from_deep(&["coord", "reserve", typed, "--run-id", "alice"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(answer.value()["addresses"], serde_json::json!([canonical]), "{typed}");
    }
    let absolute = deep.join("x.py");
    let answer = from_deep(&["coord", "reserve", absolute.to_str().unwrap(), "--run-id", "alice"]);
    assert_eq!(answer.value()["addresses"], serde_json::json!(["src/deep er/x.py"]));
    from_deep(&["coord", "reserve", "../../../x", "--run-id", "alice"]).is_failure(1, "bad_address", None);
}

#[test]
fn spellings_that_may_not_mean_what_was_meant_are_warned_about() {
    let site = Site::new();
    let answer = site.coord(&["reserve", "app/[id]/page.tsx"]).run_id("alice").json();
    assert_eq!(answer.code, 0);
    let warnings = answer.value()["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
    assert!(warnings[0].as_str().unwrap().contains("pattern"), "{warnings}");
    // What exists as it is written is that file.
    site.file("lib/[id]/page.tsx", "");
    let answer = site.coord(&["reserve", "lib/[id]/page.tsx"]).run_id("alice").json();
    assert_eq!(answer.value()["warnings"], serde_json::json!([]));
    let quoted = answer.value()["addresses"][0].as_str().unwrap().to_owned();
    assert!(quoted.contains('\\'), "its canonical spelling quotes: {quoted}");
    let answer = site.coord(&["list", "--address", &quoted]).json();
    assert_eq!(answer.value()["count"], 1);
}

#[test]
fn a_current_directory_that_is_gone_is_told() {
    let site = Site::new();
    let gone = site.folder("gone");
    // A shell changes into the folder, removes it, and starts muse.
    let script = format!(
        "cd gone && rmdir '{}' && exec '{}' coord list --json",
        gone.display(),
        env!("CARGO_BIN_EXE_muse")
    );
    let answer = support::Answer::of(support::tool("sh", site.path(), &["-c", &script]));
    let error = answer.is_failure(2, "not_a_repository", None);
    assert!(error.contains("current directory"), "{error}");
}

#[test]
fn a_very_long_argument_is_no_crash() {
    let site = Site::new();
    let long = "x".repeat(100_000);
    for call in [
        site.coord(&["reserve", &long]).run_id("alice"),
        site.coord(&["show", &long]),
        site.coord(&["heartbeat", &long]).run_id("alice"),
        site.coord(&["list"]).run_id(&long),
        site.coord(&["list", "--address", &long]),
    ] {
        let answer = call.json();
        assert_eq!(answer.code, 1, "{}", &answer.stderr[..answer.stderr.len().min(500)]);
        assert!(answer.stdout.len() < 2000, "the argument is not repeated: {} bytes", answer.stdout.len());
    }
    let deep = format!("{}a", "a/".repeat(2000));
    assert_eq!(site.coord(&["reserve", &deep]).run_id("alice").json().code, 0);
    let stars = "**/*a*b*c*d*e*f*g*/".repeat(30);
    let answer = site.coord(&["reserve", &format!("{stars}x")]).run_id("alice").json();
    assert!(matches!(answer.code, 0 | 1), "{answer:?}");
}

#[test]
fn arguments_that_are_not_utf8_are_told() {
    let site = Site::new();
    let odd = || OsString::from_vec(vec![b'-', b'-', 0xff]);
    let answer = site.coord(&["list"]).arg(odd()).json();
    answer.is_failure(2, "usage", None);
    let answer = site.coord(&["reserve", "a.py", "--op"]).arg(not_utf8()).run_id("alice").json();
    answer.is_failure(2, "usage", None);
    let answer = site.coord(&["reserve", "a.py", "--ttl"]).arg(not_utf8()).run_id("alice").json();
    answer.is_failure(2, "usage", None);
    let answer = site
        .coord(&["reserve", "a.py", "--take-over", ABSENT, "--reason"])
        .arg(not_utf8())
        .run_id("alice")
        .json();
    assert!(answer.is_failure(1, "bad_args", None).contains("--reason"));
    let answer = site.coord(&["list", "--branch"]).arg(not_utf8()).json();
    answer.is_json(0, &[], &object! { "status": "ok", "count": 0, "reservations": Vec::<&str>::new(), "waiting": Vec::<&str>::new() });
}

#[test]
fn a_folder_whose_name_is_not_utf8_is_told() {
    let site = Site::new();
    let odd = site.path().join(not_utf8());
    fs::create_dir(&odd).unwrap();
    let answer = Muse::in_folder(&odd, &["coord", "reserve", "a.py", "--run-id", "alice"]).json();
    let error = answer.is_failure(1, "bad_address", None);
    assert!(error.contains("UTF-8"), "{error}");
    // Where no address is typed, it does not matter.
    Muse::in_folder(&odd, &["coord", "list"]).json().is_success();
}
