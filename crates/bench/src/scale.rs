//! How the time of whole processes depends on the size of the store: live reservations, archived ones, and many
//! processes at once.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::time::{Duration, Instant};

use muse_coord::record::Draft;
use muse_coord::{Archived, Clock as _, Lease, Mode, RunId, SystemClock, Token, TtlSeconds};
use tempfile::TempDir;

use crate::{Outcome, Programs, ROUNDS_SLOW, Rows, Site, medians, milliseconds, ratio, run};

/// The numbers of live reservations that are measured unless others are asked for.
const LIVE: [usize; 3] = [1000, 10_000, 100_000];
/// The numbers of archived ones.
const ARCHIVED: [u64; 2] = [0, 1_000_000];
/// Processes at once in the last part, and how often each reserves and releases.
const PROCESSES: usize = 64;
const TURNS: usize = 20;

/// Measures stores with as many live reservations as `arguments` name, and prints a table.
pub(crate) fn measure(arguments: &[String]) -> Outcome<()> {
    let sizes: Vec<usize> = if arguments.is_empty() {
        LIVE.to_vec()
    } else {
        arguments.iter().map(|size| size.parse()).collect::<Result<_, _>>()?
    };
    let programs = Programs::beside_this_one()?;
    let mut rows = Rows::default();
    let archive = make_archive(&programs)?;
    let mut with_fewest = None;
    for &live in &sizes {
        let site = Site::make(&programs, live)?;
        let run_reserve = ["coord", "reserve", "bench/first.py", "--run-id", "bench", "--json"];
        let first = run(&mut site.command(&programs.muse, &run_reserve))?;
        rows.add(
            &format!("{live} live: the first reserve, which builds the index"),
            &milliseconds(first),
            "",
            "",
        );
        for archived in ARCHIVED {
            if archived > 0 {
                let month = archive.path().join(MONTH);
                fs::hard_link(month, site.path().join(".muse/coordination/archive").join(MONTH))?;
            }
            let contents = format!("{live} live, {archived} archived");
            let took = one_size(&programs, &site, &contents, &mut rows, with_fewest)?;
            with_fewest.get_or_insert(took);
        }
        if Some(&live) == sizes.last() {
            many_at_once(&programs, &site, live, &mut rows)?;
        }
    }
    println!("{}", rows.table);
    Ok(())
}

/// The file of the archive that is made: long past, so that nothing is appended to it.
const MONTH: &str = "2024-01.jsonl";

/// An archive of its own, to be linked into stores.
fn make_archive(programs: &Programs) -> Outcome<TempDir> {
    let near = programs.bench.parent().ok_or("this program lies in no folder")?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(near)?;
    let mut file = BufWriter::new(File::create(folder.path().join(MONTH))?);
    let now = SystemClock.now();
    let mut before = None;
    for number in 0..ARCHIVED[1] {
        let draft = Draft {
            run_id: RunId::new(format!("agent-{}", number % 1000))?,
            branch: Some("main".to_owned()),
            addresses: vec![format!("src/module_{}/file_{number}.py::function", number % 100).parse()?],
            mode: Mode::Exclusive,
            operation: None,
            token: Token::new(number + 1).ok_or("no such token")?,
            ttl_seconds: TtlSeconds::new(60)?,
            created_at: muse_coord::Timestamp::from_microseconds(1_700_000_000_000_000),
        };
        let lease = Lease::fresh(draft.into_reservation()?);
        let line = Archived::of(lease, before, u32::try_from(number % 64)?, now).ok_or("it is over")?;
        before = Some(line.bounds());
        file.write_all(&line.to_line()?)?;
    }
    file.flush()?;
    Ok(folder)
}

/// Measures one store and returns the time of a reserve. `with_fewest` is that of the first one measured.
fn one_size(
    programs: &Programs,
    site: &Site,
    contents: &str,
    rows: &mut Rows,
    with_fewest: Option<Duration>,
) -> Outcome<Duration> {
    let muse = |arguments: &[&str]| run(&mut site.command(&programs.muse, arguments));
    let first = site.first.to_string();
    let held = "src/module_0/file_0.py";
    let taken = medians(
        ROUNDS_SLOW * 2,
        &mut [
            &mut |_| run(&mut site.command(&programs.floor, &["floor-target"])),
            &mut |_| run(&mut site.command(&programs.floor, &["sync", "floor-token", "floor-record"])),
            &mut |round| {
                let address = format!("bench/file_{round}.py::function");
                muse(&["coord", "reserve", &address, "--run-id", contents, "--json"])
            },
            &mut |_| muse(&["coord", "reserve", held, "--run-id", "bench", "--json"]),
            &mut |_| muse(&["coord", "list", "--address", held, "--json"]),
            &mut |_| muse(&["coord", "heartbeat", &first, "--run-id", "agent-0", "--json"]),
            &mut |_| muse(&["coord", "show", &first, "--json"]),
        ],
    )?;
    let [process, floor, reserve, denied, list, heartbeat, show] = taken[..] else {
        return Err("seven were measured".into());
    };
    // What was reserved is given back, so that the next measurement is granted the same.
    muse(&["coord", "release", "--all", "--run-id", contents, "--json"])?;
    let log = medians(ROUNDS_SLOW / 10, &mut [&mut |_| muse(&["coord", "log", "--limit", "20", "--json"])])?;
    let mut add = |what: &str, time: Duration, compared: &str, limit: &str| {
        rows.add(&format!("{contents}: {what}"), &milliseconds(time), compared, limit);
    };
    add("floor process: one file, no fsync", process, "", "");
    add("floor process: two files, each with fsync of file and folder", floor, "", "");
    let with_fewest = with_fewest.map(|fewest| format!(", {:.2} × with the fewest", ratio(reserve, fewest)));
    let compared =
        format!("{:.2} × floor with fsync{}", ratio(reserve, floor), with_fewest.unwrap_or_default());
    add("reserve", reserve, &compared, "3 × floor, 1.5 × with the fewest");
    let of_process = |time| format!("{:.2} × floor process", ratio(time, process));
    add("reserve denied", denied, &of_process(denied), "4 ms");
    add("list --address", list, &of_process(list), "4 ms");
    add("heartbeat", heartbeat, &of_process(heartbeat), "2 × floor process");
    add("show", show, &of_process(show), "");
    add("log --limit 20", log[0], "", "200 ms with 1,000,000 archived");
    Ok(reserve)
}

/// Many processes at once, each on an address of its own.
fn many_at_once(programs: &Programs, site: &Site, live: usize, rows: &mut Rows) -> Outcome<()> {
    let start = Instant::now();
    let work = |worker: usize| -> Result<Vec<Duration>, String> {
        let mut times = Vec::with_capacity(2 * TURNS);
        for turn in 0..TURNS {
            let (address, run_id) = (format!("many/{worker}/{turn}.py"), format!("worker-{worker}"));
            let reserve = ["coord", "reserve", &address, "--run-id", &run_id, "--json"];
            let begun = Instant::now();
            let output = site.command(&programs.muse, &reserve).stdout(std::process::Stdio::piped()).output();
            times.push(begun.elapsed());
            let output = output.map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let id = text.split('"').find(|word| word.starts_with("sha256:")).ok_or("no id")?.to_owned();
            let release = ["coord", "release", &id, "--run-id", &run_id, "--json"];
            let begun = Instant::now();
            run(&mut site.command(&programs.muse, &release)).map_err(|error| error.to_string())?;
            times.push(begun.elapsed());
        }
        Ok(times)
    };
    let mut times = std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..PROCESSES).map(|worker| scope.spawn(move || work(worker))).collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.join().map_err(|_| "a worker panicked".to_owned())??);
        }
        Ok::<_, String>(times)
    })?;
    times.sort();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let at = |hundredths: usize| milliseconds(times[(times.len() - 1) * hundredths / 100]);
    let what = format!("{live} live: {PROCESSES} processes at once, reserve and release");
    rows.add(&what, &format!("{rate:.0}/s"), &format!("p50 {}, p99 {}, no error", at(50), at(99)), "");
    Ok(())
}
