//! `muse mcp`, with the official SDK's client in Rust and in Python, and line by line: issue 4, acceptance 7.

#![allow(clippy::print_stdout, reason = "the figures are what the report of a run quotes")]
#![expect(clippy::disallowed_methods, reason = "tests start processes, write and remove files")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a helper of a test does not expect fails the test"
)]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use muse_testkit::process::until;
use rmcp::model::ErrorCode;
use serde_json::{Value, json};

#[path = "mcp/client.rs"]
mod client;
mod support;

use client::{Client, Lines, OLD, initialize, new, tool_call, with_metadata};
use support::{ABSENT, Muse, Site};

const TOOLS: [&str; 5] = ["reserve", "heartbeat", "release", "list", "check"];

/// What the command line says of a reservation.
fn shown(site: &Site, id: &str) -> Value {
    site.coord(&["show", id]).json().value()
}

fn state(site: &Site, id: &str) -> String {
    shown(site, id)["reservation"]["state"].as_str().unwrap_or("missing").to_owned()
}

fn listed(site: &Site) -> Value {
    site.coord(&["list"]).json().value()
}

/// A server whose run is given.
fn as_run(site: &Site, run: &str) -> Client {
    Client::of(site.muse(&["mcp"]).env("MUSE_RUN_ID", run), OLD)
}

// What a session is.

#[test]
fn a_session_in_every_lifecycle() {
    let tools: Vec<_> = [OLD, new()]
        .map(|lifecycle| {
            let site = Site::new();
            let is_new = lifecycle == new();
            let client = Client::of(site.muse(&["mcp"]), lifecycle);
            let (name, version, instructions, revision) = client.server_says();
            assert_eq!((&*name, &*version), ("muse", env!("CARGO_PKG_VERSION")));
            assert_eq!(revision, if is_new { "2026-07-28" } else { "2025-11-25" });
            assert!(instructions.contains("before you change it"), "{instructions}");
            let tools = client.tools();
            assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), TOOLS);

            let held = client.reserve("src/a.py::f");
            let run = held.run();
            assert!(run.starts_with("mcp:a-test-1:"), "made of the client's name, as one name: {run}");
            assert_eq!(shown(&site, &held.id())["reservation"]["ttl_seconds"], 120);
            for (tool, arguments) in [
                ("heartbeat", json!({ "reservation_id": held.id() })),
                ("heartbeat", json!({ "all": true })),
                ("list", json!({})),
                ("check", json!({ "addresses": ["src/a.py::f"], "require": true })),
                ("release", json!({ "reservation_ids": [held.id()], "reason": "done" })),
            ] {
                assert_eq!(client.ok(tool, &arguments).run(), run, "told in every answer");
            }
            assert_eq!(shown(&site, &held.id())["release"]["reason"], "done");
            client.go();
            serde_json::to_value(tools).unwrap()
        })
        .into();
    assert_eq!(tools[0], tools[1]);
    let bytes = tools[0].to_string().len();
    println!("{} tools, {bytes} bytes, {} tokens of 1500", TOOLS.len(), bytes.div_ceil(4));
    assert!(bytes.div_ceil(4) <= 1500);
}

#[test]
fn the_first_lines_of_every_revision_are_answered() {
    let site = Site::new();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut lines = Lines::of(site.muse(&["mcp"]));
        let answer = lines.ask(&initialize(0, version));
        assert_eq!(answer["result"]["protocolVersion"], version);
        lines.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        let answer = lines.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
        assert_eq!(answer["result"]["tools"].as_array().unwrap().len(), TOOLS.len());
        assert!(answer["result"]["resultType"].is_null(), "what was not there yet is not sent");
        lines.close();
        assert_eq!(lines.end(), Ok(0));
    }
    // Without any handshake, and with a revision that nobody knows before it.
    let mut lines = Lines::of(site.muse(&["mcp"]));
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    let refused = lines.ask(&with_metadata(list.clone(), "2099-01-01"));
    assert!(refused["error"]["data"]["supported"].to_string().contains("2026-07-28"), "{refused}");
    assert_eq!(lines.ask(&list)["error"]["code"], -32602, "it has to say its revision");
    let discovered = lines.ask(&with_metadata(
        json!({ "jsonrpc": "2.0", "id": 2, "method": "server/discover", "params": {} }),
        "2026-07-28",
    ));
    assert!(discovered["result"]["supportedVersions"].to_string().contains("2025-11-25"), "{discovered}");
    let answer = lines.ask(&with_metadata(tool_call(3, "list", &json!({})), "2026-07-28"));
    assert_eq!(answer["result"]["structuredContent"]["count"], 0);
    assert_eq!(answer["result"]["resultType"], "complete");
    // It is one of the two: what is asked for by the old way now is refused, and nothing ends.
    assert!(lines.ask(&list)["error"].is_object());
    lines.close();
    assert_eq!(lines.end(), Ok(0));
}

#[test]
fn what_is_no_request_ends_nothing() {
    let site = Site::new();
    let mut lines = Lines::of(site.muse(&["mcp"]));
    for line in [
        "",
        "not JSON",
        "{\"jsonrpc\":\"2.0\"",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":9}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"method\":\"$/unknown\"}",
    ] {
        lines.write_text(line);
    }
    lines.write_text(&"x".repeat(17 << 20));
    assert_eq!(lines.ask(&initialize(0, "2025-11-25"))["id"], 0);
    assert_eq!(lines.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "nope" }))["error"]["code"], -32601);
    lines.write_text("[]");
    assert_eq!(lines.read()["error"]["code"], -32600);
    assert_eq!(lines.ask(&tool_call(2, "list", &json!({})))["result"]["isError"], false);
    lines.close();
    assert_eq!(lines.end(), Ok(0));
    // A client that comes and goes.
    let mut nobody = Lines::of(site.muse(&["mcp"]));
    nobody.close();
    assert_eq!(nobody.end(), Ok(0));
}

// The tools.

/// A report without what differs from call to call.
fn lasting(mut report: Value) -> Value {
    for field in ["duration_ms", "timestamp", "run_id"] {
        report.as_object_mut().unwrap().remove(field);
    }
    report
}

#[test]
fn what_is_told_is_what_the_command_line_says() {
    let site = Site::new();
    site.reserve("bob", "src/b.py", &[]);
    let alice = as_run(&site, "alice");
    alice.reserve("src/a.py");
    let same = |tool: &str, arguments: Value, words: &[&str]| {
        let told = alice.call(tool, &arguments);
        let said = site.muse(words).env("MUSE_RUN_ID", "alice").json();
        // Seconds that are left go down between the two.
        let [told, said] =
            [told.report, said.value()].map(|report| support::redact(&lasting(report).to_string()));
        assert_eq!(told, said);
    };
    same("list", json!({}), &["coord", "list"]);
    same("list", json!({ "run_id": "bob", "all": true }), &["coord", "list", "--run-id", "bob", "--all"]);
    same("list", json!({ "address": "src/" }), &["coord", "list", "--address", "src/"]);
    same("check", json!({ "addresses": ["src/b.py::f"] }), &["coord", "check", "src/b.py::f"]);
    same(
        "check",
        json!({ "addresses": ["src/c.py"], "shared": true, "require": true }),
        &["coord", "check", "src/c.py", "--shared", "--require"],
    );
    same("reserve", json!({ "addresses": ["src/b.py"] }), &["coord", "reserve", "src/b.py"]);
    let advisory = json!({ "addresses": ["src/b.py"], "advisory": true, "op": "move" });
    assert_eq!(alice.ok("reserve", &advisory).report["notices"][0]["holder"]["run_id"], "bob");
    let words = ["coord", "reserve", "src/b.py", "--advisory", "--op", "move", "--ttl", "120"];
    same("reserve", advisory, &words);
    same("release", json!({ "reservation_ids": [ABSENT] }), &["coord", "release", ABSENT]);
    same("heartbeat", json!({ "reservation_id": ABSENT }), &["coord", "heartbeat", ABSENT]);
}

#[test]
fn errors_name_the_argument_and_end_nothing() {
    let site = Site::new();
    let client = Client::connect(site.path());
    let id = client.reserve("a.py").id();
    let cases = [
        ("reserve", json!({}), "bad_args", "`addresses`"),
        ("reserve", json!({ "addresses": [] }), "bad_args", "`addresses`"),
        ("reserve", json!({ "addresses": "a.py" }), "bad_args", "`addresses`"),
        ("reserve", json!({ "addresses": ["../out"] }), "bad_address", "`addresses`"),
        ("reserve", json!({ "addresses": vec!["b.py"; 1001] }), "bad_args", "too many addresses"),
        ("reserve", json!({ "addresses": ["b.py"], "ttl": 60 }), "bad_args", "`ttl`"),
        ("reserve", json!({ "addresses": ["b.py"], "ttl_s": 0 }), "bad_args", "`ttl_s`"),
        ("reserve", json!({ "addresses": ["b.py"], "ttl_s": "60" }), "bad_args", "`ttl_s`"),
        ("reserve", json!({ "addresses": ["b.py"], "ttl_s": 1e30 }), "bad_args", "`ttl_s`"),
        ("reserve", json!({ "addresses": ["b.py"], "wait_s": -1 }), "bad_args", "`wait_s`"),
        ("reserve", json!({ "addresses": ["b.py"], "wait_s": 601 }), "bad_args", "`wait_s`"),
        ("reserve", json!({ "addresses": ["b.py"], "op": "paint" }), "bad_args", "`op`"),
        (
            "reserve",
            json!({ "addresses": ["b.py"], "shared": true, "advisory": true }),
            "bad_args",
            "`shared`",
        ),
        ("reserve", json!({ "addresses": ["b.py"], "run_id": "" }), "bad_args", "run id"),
        ("heartbeat", json!({}), "bad_args", "`reservation_id`"),
        ("heartbeat", json!({ "reservation_id": id, "all": true }), "bad_args", "`all`"),
        ("heartbeat", json!({ "reservation_id": "sha256:1" }), "bad_id", "`reservation_id`"),
        ("heartbeat", json!({ "reservation_id": ABSENT }), "not_found", ABSENT),
        ("release", json!({}), "bad_args", "`reservation_ids`"),
        ("release", json!({ "reservation_ids": [id, "x"] }), "bad_id", "`reservation_ids`"),
        ("release", json!({ "all": "yes" }), "bad_args", "`all`"),
        ("release", json!({ "all": true, "reason": " " }), "bad_args", "reason"),
        ("list", json!({ "limit": 0 }), "bad_args", "`limit`"),
        ("list", json!({ "limit": 101 }), "bad_args", "`limit`"),
        ("list", json!({ "address": "a.py::" }), "bad_address", "`address`"),
        ("check", json!({ "addresses": ["a.py"], "required": true }), "bad_args", "`required`"),
    ];
    for (tool, arguments, status, part) in cases {
        let told = client.call(tool, &arguments);
        assert_eq!(told.status(), status, "{tool} {arguments}: {}", told.report);
        assert!(told.error().contains(part), "{tool} {arguments}: {}", told.error());
    }
    let unknown = client.try_call("steal", &json!({})).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::INVALID_PARAMS);
    assert!(unknown.message.contains("`steal`"), "{unknown}");
    // What is null is not given, and nothing of all this was done.
    client.ok("check", &json!({ "addresses": ["a.py"], "shared": null, "require": true, "run_id": null }));
    assert_eq!(listed(&site)["count"], 1);
}

#[test]
fn without_a_store_it_says_what_to_do_and_goes_on() {
    let site = Site::without_store();
    let client = Client::connect(site.path());
    for (tool, arguments) in [
        ("reserve", json!({ "addresses": ["a.py"] })),
        ("heartbeat", json!({ "all": true })),
        ("release", json!({ "all": true })),
        ("list", json!({})),
        ("check", json!({ "addresses": ["a.py"] })),
    ] {
        let told = client.call(tool, &arguments);
        assert_eq!(told.status(), "not_a_repository", "{tool}");
        assert!(told.error().contains("muse init"), "{}", told.error());
    }
    site.muse(&["init"]).run().is_success();
    let id = client.reserve("a.py").id();
    assert_eq!(state(&site, &id), "active");
    // A run id that cannot be is told likewise, once a client asks.
    let nobody = as_run(&site, &"x".repeat(257));
    assert!(nobody.call("reserve", &json!({ "addresses": ["b.py"] })).error().contains("run id"));
    assert_eq!(nobody.ok("list", &json!({})).report["count"], 1);
}

#[test]
fn a_long_list_is_shortened_and_says_so() {
    let site = Site::new();
    for number in 0..1000 {
        site.fabricate("crowd", &format!("src/{number}.py"), muse_coord::Mode::Exclusive, -number, 3600);
    }
    let client = Client::connect(site.path());
    let few = client.ok("list", &json!({}));
    assert_eq!(
        (few.report["count"].as_u64(), few.report["reservations"].as_array().unwrap().len()),
        (Some(1000), 20)
    );
    assert_eq!(few.report["left_out"], json!({ "reservations": 980 }));
    let more = client.ok("list", &json!({ "limit": 100 }));
    assert_eq!(more.report["left_out"], json!({ "reservations": 900 }));
    let told = [
        few,
        more,
        client.call("reserve", &json!({ "addresses": ["src/"] })),
        client.call("check", &json!({ "addresses": ["src/"] })),
        client.ok("reserve", &json!({ "addresses": ["src/"], "advisory": true })),
        client.call("heartbeat", &json!({ "all": true, "run_id": "crowd" })),
        client.call("release", &json!({ "all": true, "run_id": "crowd" })),
    ];
    for told in told {
        assert!(told.report["left_out"].is_object(), "{}", told.report);
        let bytes = told.report.to_string().len();
        println!("{bytes} bytes");
        assert!(bytes <= 64 * 1024);
    }
    // All of them, for all that.
    assert_eq!(listed(&site)["count"], 1);
}

// Who it is.

#[test]
fn the_run_is_given_or_made() {
    let site = Site::new();
    let alice = as_run(&site, "alice");
    let held = alice.reserve("a.py");
    assert_eq!(
        (held.run(), shown(&site, &held.id())["reservation"]["run_id"].as_str()),
        ("alice".into(), Some("alice"))
    );
    // Two connections that nobody named are two runs.
    let [one, two] = [Client::connect(site.path()), Client::connect(site.path())];
    one.reserve("b.py");
    let denied = two.call("reserve", &json!({ "addresses": ["b.py", "c.py"] }));
    assert_eq!(
        (denied.status(), &denied.report["conflicts"][0]["holder"]["run_id"]),
        ("conflict", &one.reserve("b.py").run().into())
    );
    assert_ne!(denied.run(), one.reserve("b.py").run());
    // A subagent that shares the connection, or whoever was given an id by a hook.
    let sub = one.ok("reserve", &json!({ "addresses": ["a.py"], "run_id": "alice/sub-1" }));
    assert_eq!(sub.run(), "alice/sub-1");
    one.go();
    assert_eq!(state(&site, &sub.id()), "released", "it was made over that connection");
    assert_eq!(state(&site, &held.id()), "active");
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "init.defaultBranch=main",
        "-c",
        "user.name=A. Tester",
        "-c",
        "user.email=a@example.com",
    ]);
    let output = command.args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn worktrees_share_the_store_and_each_has_its_branch() {
    let site = Site::without_store();
    let main = site.folder("main");
    git(&main, &["init", "--quiet"]);
    git(&main, &["commit", "--quiet", "--allow-empty", "-m", "Begin"]);
    Muse::in_folder(&main, &["init"]).run().is_success();
    let linked = site.at("linked tree");
    git(&main, &["worktree", "add", "--quiet", "-b", "feature", linked.to_str().unwrap()]);
    fs::create_dir(linked.join("src")).unwrap();
    let below = Client::connect(&linked.join("src"));
    let held = below.reserve("a.py::f");
    assert_eq!(
        (&held.report["branch"], &held.report["addresses"]),
        (&json!("feature"), &json!(["src/a.py::f"]))
    );
    let elsewhere = Client::connect(&main);
    let denied = elsewhere.call("reserve", &json!({ "addresses": ["src/a.py"] }));
    assert_eq!(denied.report["conflicts"][0]["holder"]["branch"], "feature");
    // Where the tree is gone, what was made in it is still kept alive, and released.
    let short = below.ok("reserve", &json!({ "addresses": ["b.py"], "ttl_s": 1 }));
    git(&main, &["worktree", "remove", "--force", linked.to_str().unwrap()]);
    let show = |id: &str| Muse::in_folder(&main, &["coord", "show", id]).json().value();
    until("it has lived longer than its TTL", || {
        show(&short.id())["heartbeat"]["last_beat_at"].as_str() > short.report["expires_at"].as_str()
    });
    below.go();
    assert_eq!(show(&short.id())["reservation"]["state"], "released");
}
