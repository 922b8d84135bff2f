//! How the time of whole processes depends on the size of the store.

use std::time::Duration;

use crate::{Outcome, Programs, ROUNDS_SLOW, Rows, Site, medians, milliseconds, ratio, run};

/// The sizes that are measured unless others are asked for.
const LIVE: [usize; 3] = [1000, 10_000, 100_000];

/// Measures stores of the sizes that `arguments` name, and prints a table.
pub(crate) fn measure(arguments: &[String]) -> Outcome<()> {
    let sizes: Vec<usize> = if arguments.is_empty() {
        LIVE.to_vec()
    } else {
        arguments.iter().map(|size| size.parse()).collect::<Result<_, _>>()?
    };
    let programs = Programs::beside_this_one()?;
    let mut rows = Rows::default();
    let mut first = None;
    for live in sizes {
        let site = Site::make(&programs, live)?;
        let took = one_size(&programs, &site, live, &mut rows, first)?;
        first.get_or_insert(took);
    }
    println!("{}", rows.table);
    Ok(())
}

/// Measures one store and returns the time of a reserve. `smallest` is that of the first one measured.
fn one_size(
    programs: &Programs,
    site: &Site,
    live: usize,
    rows: &mut Rows,
    smallest: Option<Duration>,
) -> Outcome<Duration> {
    let muse = |arguments: &[&str]| run(&mut site.command(&programs.muse, arguments));
    let first = site.first.to_string();
    let build = muse(&["coord", "reserve", "bench/first.py", "--run-id", "bench", "--json"])?;
    let taken = medians(
        ROUNDS_SLOW * 2,
        &mut [
            &mut |_| run(&mut site.command(&programs.floor, &["floor-target"])),
            &mut |_| run(&mut site.command(&programs.floor, &["sync", "floor-token", "floor-record"])),
            &mut |round| {
                let address = format!("bench/file_{round}.py::function");
                muse(&["coord", "reserve", &address, "--run-id", "bench", "--json"])
            },
            &mut |_| muse(&["coord", "reserve", "src/module_0/file_0.py", "--run-id", "bench", "--json"]),
            &mut |_| muse(&["coord", "list", "--address", "src/module_0/file_0.py", "--json"]),
            &mut |_| muse(&["coord", "heartbeat", &first, "--run-id", "agent-0", "--json"]),
        ],
    )?;
    let [process, floor, reserve, denied, list, heartbeat] = taken[..] else {
        return Err("six were measured".into());
    };
    let mut add = |what: &str, time: Duration, compared: &str, limit: &str| {
        rows.add(&format!("{live} live: {what}"), &milliseconds(time), compared, limit);
    };
    add("floor process: one file, no fsync", process, "", "");
    add("floor process: two files, each with fsync of file and folder", floor, "", "");
    add("first reserve, which builds the index", build, "", "");
    let with_fewest = smallest.map(|smallest| format!(", {:.2} × with the fewest", ratio(reserve, smallest)));
    let compared =
        format!("{:.2} × floor with fsync{}", ratio(reserve, floor), with_fewest.unwrap_or_default());
    add("reserve", reserve, &compared, "3 × floor, 1.5 × with the fewest");
    add("reserve denied", denied, &format!("{:.2} × floor process", ratio(denied, process)), "4 ms");
    add("list --address", list, &format!("{:.2} × floor process", ratio(list, process)), "4 ms");
    add(
        "heartbeat",
        heartbeat,
        &format!("{:.2} × floor process", ratio(heartbeat, process)),
        "2 × floor process",
    );
    Ok(reserve)
}
