//! The hook of a harness, whole processes: an edit in a file of 1,000 lines, beside 1,000 live reservations.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Outcome, Programs, Rows, Site, milliseconds, run};

const ROUNDS: usize = 200;

/// Methods in the file, of five lines each, in classes of twenty.
const METHODS: usize = 197;

const FILE: &str = "edited.py";

pub(crate) fn measure(programs: &Programs, site: &Site, rows: &mut Rows) -> Outcome<()> {
    let text = text()?;
    fs::write(site.path().join(FILE), &text)?;
    let lines = text.lines().count();
    let (mut granted, mut renewed, mut denied) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (one, two) = (format!("one-{round}"), format!("two-{round}"));
        let edit = |new: &str| edit(site, round * 7 % METHODS, new);
        granted.push(run(&mut hook(programs, site, &one, edit("return 1"))?)?);
        renewed.push(run(&mut hook(programs, site, &one, edit("return 2"))?)?);
        denied.push(run(&mut hook(programs, site, &two, edit("return 3"))?)?);
        // Outside the measurement, so that the store stays as large as it was.
        run(&mut hook(programs, site, &one, json!({"hook_event_name": "SessionEnd"}))?)?;
    }
    for (what, times) in [("granted", granted), ("renewed", renewed), ("denied", denied)] {
        let (median, high) = median_and_high(times);
        rows.add(
            &format!("hook: an edit {what}, {lines} lines, 1,000 live"),
            &milliseconds(median),
            &format!("95 of 100: {}", milliseconds(high)),
            "12 ms, 25 ms",
        );
    }
    Ok(())
}

/// The median, and what 95 of 100 stay below.
fn median_and_high(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied().unwrap_or_default();
    (at(50), at(95))
}

fn text() -> Result<String, std::fmt::Error> {
    let mut text = String::from("import os\n");
    for method in 0..METHODS {
        if method % 20 == 0 {
            write!(text, "\nclass C{}:\n", method / 20)?;
        }
        write!(
            text,
            "    def method_{method}(self, first, second=None):\n        total = {method}\n        \
             for item in first:\n            total += item * (second or 1)\n        return total + {method}\n"
        )?;
    }
    Ok(text)
}

/// An edit of one method, as Claude Code describes it.
fn edit(site: &Site, method: usize, new: &str) -> Value {
    json!({
        "hook_event_name": "PreToolUse",
        "tool_name": "Edit",
        "tool_input": {
            "file_path": site.path().join(FILE),
            "old_string": format!("        return total + {method}\n"),
            "new_string": format!("        {new}\n"),
        },
    })
}

fn hook(programs: &Programs, site: &Site, session: &str, mut payload: Value) -> Outcome<Command> {
    payload["session_id"] = session.into();
    payload["cwd"] = site.path().to_string_lossy().into();
    let path = site.path().join("payload.json");
    fs::write(&path, payload.to_string())?;
    let mut command = site.command(&programs.muse, &["coord", "hook", "claude-code"]);
    command.stdin(File::open(path)?);
    Ok(command)
}
