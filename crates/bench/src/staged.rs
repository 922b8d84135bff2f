//! Asking about what is staged, as a hook of Git's does, and reserving in a file that there is.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::{Outcome, Programs, ROUNDS_SLOW, Rows, Site, medians, milliseconds, run};

/// Files that are staged.
const FILES: usize = 50;
/// About as long as the middle one of Python's own library.
const LINES: usize = 200;
/// Of the file in which a symbol is reserved.
const LINES_MANY: usize = 1000;

/// Python of so many lines; `value` stands in one method of it.
fn text(lines: usize, value: usize) -> Outcome<String> {
    let mut text = String::from("import os\nimport sys\n\n");
    let (mut class, mut count) = (0, 3);
    while count < lines {
        writeln!(text, "class Part{class}:")?;
        count += 1;
        for method in 0..8 {
            let value = if class == 0 && method == 3 { value } else { 7 };
            writeln!(
                text,
                "    def method_{method}(self, value, other=None):\n        \"\"\"What it does.\"\"\"\n        \
                 total = self.sum(value, key=lambda each: each + {method})\n        if total > {value}:\n            \
                 return [item for item in other if item.name == \"total\"]\n        return {{\"a\": total}}\n"
            )?;
            count += 7;
        }
        class += 1;
    }
    Ok(text)
}

pub(crate) fn measure(programs: &Programs, site: &Site, rows: &mut Rows) -> Outcome<()> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@example.com"]);
        run(command.args(arguments).current_dir(site.path()))
    };
    git(&["init", "--quiet"])?;
    fs::create_dir(site.path().join("staged"))?;
    fs::write(site.path().join("many_lines.py"), text(LINES_MANY, 0)?)?;
    for value in [1, 2] {
        for file in 0..FILES {
            fs::write(site.path().join(format!("staged/file_{file}.py")), text(LINES, value)?)?;
        }
        git(&["add", "staged"])?;
        if value == 1 {
            git(&["commit", "--quiet", "-m", "before"])?;
        }
    }
    let muse = |arguments: &[&str]| run(&mut site.command(&programs.muse, arguments));
    let check =
        |arguments: &[&str]| muse(&[&["coord", "check", "--run-id", "bench", "--json"], arguments].concat());
    let reserve = |address: &str| {
        let took = muse(&["coord", "reserve", address, "--run-id", "bench", "--json"])?;
        muse(&["coord", "release", "--all", "--run-id", "bench", "--json"])?;
        Ok(took)
    };
    let taken = medians(
        ROUNDS_SLOW,
        &mut [
            &mut |_| check(&["--staged"]),
            &mut |_| check(&["staged/file_0.py"]),
            &mut |_| reserve("many_lines.py"),
            &mut |_| reserve("many_lines.py::Part3.method_1"),
        ],
    )?;
    let [staged, typed, file, symbol] = taken[..] else { return Err("four were measured".into()) };
    let more = |time: std::time::Duration, than: std::time::Duration, what: &str| {
        format!("{what} + {}", milliseconds(time.saturating_sub(than)))
    };
    rows.add(
        &format!("check --staged, {FILES} files of {LINES} lines, 1,000 live"),
        &milliseconds(staged),
        &more(staged, typed, "check of an address"),
        "60 ms",
    );
    rows.add(
        &format!("reserve of a symbol in {LINES_MANY} lines, 1,000 live"),
        &milliseconds(symbol),
        &more(symbol, file, "of the file"),
        "",
    );
    Ok(())
}
