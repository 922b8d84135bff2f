//! Measures muse against the floor of the machine, in one run, and prints a table.
//!
//! Whole processes: each figure is the median over many calls, and the programs that are compared take turns,
//! so that what else the machine does hits them alike. The floor is a program that does the least that any
//! such program must (see `bin/floor.rs`). The stores are made in the folder of this program, and `muse` is the
//! one beside it. Nothing here asserts anything.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts processes, writes files, reads the clock and prints"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use comfy_table::{Cell, CellAlignment, Table, presets};
use muse_coord::record::{Draft, to_file_bytes};
use muse_coord::{
    Beat, Beaten, Clock, Engine, FileEngine, Mode, ReservationId, RunId, SystemClock, Token, TtlSeconds,
};
use nix::sys::resource::{UsageWho, getrusage};
use tempfile::TempDir;

mod etcd;
mod hook;
mod scale;
mod staged;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Calls of each program whose median is taken.
const ROUNDS: usize = 300;
/// Fewer for those that take longer.
const ROUNDS_SLOW: usize = 60;
/// How long the in-process heartbeats of one row run.
const SUSTAINED: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, command)) if mode == "--peak" => print_peak(command),
        Some((mode, sizes)) if mode == "scale" => scale::measure(sizes),
        Some((mode, [])) if mode == "hook" => measure_hooks(),
        Some((mode, parts)) if mode == "etcd" => etcd::measure(parts),
        Some((mode, share)) if mode == etcd::KEEPER => etcd::keep_alive(share),
        Some(_) => Err("usage: muse-bench [hook | scale [LIVE...] | etcd [PART...]]".into()),
        None => measure(),
    }
}

/// The programs under measurement.
struct Programs {
    muse: PathBuf,
    floor: PathBuf,
    bench: PathBuf,
}

impl Programs {
    fn beside_this_one() -> Outcome<Programs> {
        let bench = std::env::current_exe()?;
        let folder = bench.parent().ok_or("this program lies in no folder")?;
        let programs =
            Programs { muse: folder.join("muse"), floor: folder.join("floor"), bench: bench.clone() };
        for program in [&programs.muse, &programs.floor] {
            if !program.exists() {
                return Err(format!("{} is missing: run scripts/bench", program.display()).into());
            }
        }
        Ok(programs)
    }
}

/// A repository with a store that holds so many live reservations, each on a file of its own.
struct Site {
    folder: TempDir,
    first: ReservationId,
}

impl Site {
    fn make(programs: &Programs, reservations: usize) -> Outcome<Site> {
        let near = programs.bench.parent().ok_or("this program lies in no folder")?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(near)?;
        // So that the store is here and not at the top of the Git repository around the target folder.
        fs::create_dir(folder.path().join(".muse"))?;
        run(Command::new(&programs.muse).args(["init", "--json"]).current_dir(&folder))?;
        let store = folder.path().join(".muse/coordination");
        let now = SystemClock.now();
        let mut first = None;
        for number in 0..reservations {
            let draft = Draft {
                run_id: RunId::new(format!("agent-{number}"))?,
                branch: Some("main".to_owned()),
                addresses: vec![format!("src/module_{}/file_{number}.py::function", number % 100).parse()?],
                mode: Mode::Exclusive,
                operation: None,
                token: Token::new(u64::try_from(number)? + 1).ok_or("no such token")?,
                ttl_seconds: TtlSeconds::new(86_400)?,
                created_at: now,
            };
            let reservation = draft.into_reservation()?;
            let id = reservation.reservation_id;
            fs::write(store.join(format!("reservations/{id}.json")), to_file_bytes(&reservation)?)?;
            first.get_or_insert(id);
        }
        Ok(Site { folder, first: first.ok_or("a site needs a reservation")? })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("MUSE_RUN_ID")
            .env_remove("MUSE_REPO_ROOT");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn run(command: &mut Command) -> Outcome<Duration> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    let took = start.elapsed();
    // 6 is a denial: an answer.
    if status.success() || status.code() == Some(6) {
        Ok(took)
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Runs the commands in turns and returns the median of each.
fn medians(
    rounds: usize,
    commands: &mut [&mut dyn FnMut(usize) -> Outcome<Duration>],
) -> Outcome<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); commands.len()];
    for round in 0..rounds {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            times.push(command(round)?);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn measure() -> Outcome<()> {
    let programs = Programs::beside_this_one()?;
    let mut rows = Rows::default();

    let small = Site::make(&programs, 10)?;
    let large = Site::make(&programs, 100_000)?;
    heartbeats(&programs, &small, &large, &mut rows)?;
    drop(large);
    let thousand = Site::make(&programs, 1000)?;
    reserves(&programs, &small, &thousand, &mut rows)?;
    lists(&programs, &small, &thousand, &mut rows)?;
    staged::measure(&programs, &thousand, &mut rows)?;
    hook::measure(&programs, &thousand, &mut rows)?;
    memory(&programs, &thousand, &mut rows)?;
    system_calls(&programs, &small, &mut rows)?;
    sustained(&small, &mut rows)?;
    println!("{}", rows.table);
    Ok(())
}

/// The rows of hooks alone.
fn measure_hooks() -> Outcome<()> {
    let programs = Programs::beside_this_one()?;
    let mut rows = Rows::default();
    hook::measure(&programs, &Site::make(&programs, 1000)?, &mut rows)?;
    println!("{}", rows.table);
    Ok(())
}

/// The table that is printed.
struct Rows {
    table: Table,
}

impl Default for Rows {
    fn default() -> Rows {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "measured", "compared with", "limit"]);
        Rows { table }
    }
}

impl Rows {
    fn add(&mut self, what: &str, measured: &str, compared: &str, limit: &str) {
        let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
        self.table.add_row([Cell::new(what), right(measured), Cell::new(compared), Cell::new(limit)]);
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn ratio(time: Duration, floor: Duration) -> f64 {
    time.as_secs_f64() / floor.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn heartbeats(programs: &Programs, small: &Site, large: &Site, rows: &mut Rows) -> Outcome<()> {
    let beat = |site: &Site| -> Outcome<Duration> {
        let id = site.first.to_string();
        run(&mut site.command(&programs.muse, &["coord", "heartbeat", &id, "--run-id", "agent-0", "--json"]))
    };
    let floor = |site: &Site| run(&mut site.command(&programs.floor, &["floor-target"]));
    let taken = medians(ROUNDS, &mut [&mut |_| floor(small), &mut |_| beat(small), &mut |_| beat(large)])?;
    let [floor, with_10, with_100_000] = taken[..] else { return Err("three were measured".into()) };
    rows.add("floor process: 300 bytes, rename", &milliseconds(floor), "", "");
    rows.add(
        "heartbeat, 10 reservations",
        &milliseconds(with_10),
        &format!("{:.2} × floor", ratio(with_10, floor)),
        "2.0 × floor",
    );
    rows.add(
        "heartbeat, 100,000 reservations",
        &milliseconds(with_100_000),
        &format!("{:.2} × with 10", ratio(with_100_000, with_10)),
        "1.2 × with 10",
    );
    Ok(())
}

fn reserves(programs: &Programs, small: &Site, thousand: &Site, rows: &mut Rows) -> Outcome<()> {
    // A reserve rewrites the token and publishes a record, each synced with its folder.
    let floor = |site: &Site| -> Outcome<Duration> {
        run(&mut site.command(&programs.floor, &["sync", "floor-token", "floor-record"]))
    };
    let reserve = |site: &Site, round: usize| -> Outcome<Duration> {
        let address = format!("bench/file_{round}.py::function");
        let took =
            run(&mut site
                .command(&programs.muse, &["coord", "reserve", &address, "--run-id", "bench", "--json"]))?;
        // Given back at once, outside the measurement, so that the store stays as large as it was.
        run(&mut site.command(&programs.muse, &["coord", "release", "--all", "--run-id", "bench", "--json"]))?;
        Ok(took)
    };
    let denied = |site: &Site| {
        let address = "src/module_0/file_0.py";
        run(&mut site.command(&programs.muse, &["coord", "reserve", address, "--run-id", "bench", "--json"]))
    };
    let taken = medians(
        ROUNDS_SLOW,
        &mut [
            &mut |_| floor(thousand),
            &mut |round| reserve(small, round),
            &mut |round| reserve(thousand, round),
            &mut |_| denied(thousand),
        ],
    )?;
    let [floor, with_10, with_1000, denied] = taken[..] else { return Err("four were measured".into()) };
    rows.add("floor process: two files, each with fsync of file and folder", &milliseconds(floor), "", "");
    rows.add(
        "reserve, 10 live",
        &milliseconds(with_10),
        &format!("{:.2} × floor", ratio(with_10, floor)),
        "",
    );
    rows.add(
        "reserve, 1,000 live",
        &milliseconds(with_1000),
        &format!("floor + {}", milliseconds(with_1000.saturating_sub(floor))),
        "floor + 15 ms",
    );
    rows.add("reserve denied, 1,000 live", &milliseconds(denied), "", "");
    Ok(())
}

fn lists(programs: &Programs, small: &Site, thousand: &Site, rows: &mut Rows) -> Outcome<()> {
    let list = |site: &Site| run(&mut site.command(&programs.muse, &["coord", "list", "--json"]));
    let floor = |site: &Site| run(&mut site.command(&programs.floor, &["floor-target"]));
    let taken =
        medians(ROUNDS_SLOW, &mut [&mut |_| floor(small), &mut |_| list(small), &mut |_| list(thousand)])?;
    let [floor, of_10, of_1000] = taken[..] else { return Err("three were measured".into()) };
    rows.add("list of 10", &milliseconds(of_10), &format!("{:.2} × floor process", ratio(of_10, floor)), "");
    rows.add("list of 1,000", &milliseconds(of_1000), "", "30 ms");
    Ok(())
}

/// Runs a command and prints its peak memory in KiB: of all that this process ever waited for, so it is a
/// process of its own.
fn print_peak(command: &[String]) -> Outcome<()> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    run(Command::new(program).args(arguments).stderr(Stdio::null()))?;
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(())
}

fn memory(programs: &Programs, site: &Site, rows: &mut Rows) -> Outcome<()> {
    let id = site.first.to_string();
    let muse = programs.muse.to_string_lossy();
    for (what, limit, arguments) in [
        ("heartbeat: peak memory", "8 MiB", vec!["coord", "heartbeat", &id, "--run-id", "agent-0", "--json"]),
        ("list of 1,000: peak memory", "", vec!["coord", "list", "--json"]),
    ] {
        let mut peaks = Vec::new();
        for _ in 0..5 {
            let mut command = site.command(&programs.bench, &["--peak", &muse]);
            let output = command.args(&arguments).stdout(Stdio::piped()).output()?;
            peaks.push(String::from_utf8(output.stdout)?.trim().parse::<u64>()?);
        }
        peaks.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        rows.add(what, &format!("{:.1} MiB", peaks[2] as f64 / 1024.0), "", limit);
    }
    Ok(())
}

/// Counts the system calls of one heartbeat after the loader is done: it ends with unmapping its cache.
fn system_calls(programs: &Programs, site: &Site, rows: &mut Rows) -> Outcome<()> {
    const WHAT: &str = "heartbeat: system calls after the loader";
    let trace = site.path().join("trace");
    let id = site.first.to_string();
    let trace_name = trace.to_string_lossy();
    let muse = programs.muse.to_string_lossy();
    let arguments =
        ["-f", "-o", &trace_name, &muse, "coord", "heartbeat", &id, "--run-id", "agent-0", "--json"];
    if run(&mut site.command(Path::new("strace"), &arguments)).is_err() {
        rows.add(WHAT, "strace is missing", "", "60");
        return Ok(());
    }
    let text = fs::read_to_string(&trace)?;
    let calls: Vec<&str> = text.lines().filter(|line| !line.contains(" +++ ")).collect();
    let loader = calls.iter().position(|call| call.contains("munmap(")).map_or(0, |last| last + 1);
    rows.add(WHAT, &(calls.len() - loader).to_string(), &format!("{} in all", calls.len()), "60");
    Ok(())
}

/// Heartbeats a second of one process, each thread on a reservation of its own.
fn sustained(site: &Site, rows: &mut Rows) -> Outcome<()> {
    let engine = Arc::new(FileEngine::new(site.path().join(".muse/coordination"), SystemClock));
    let ids: Vec<ReservationId> =
        engine.live()?.leases.iter().map(|lease| lease.reservation.reservation_id).collect();
    for threads in [1_usize, 2, 8] {
        let count = AtomicU64::new(0);
        let failed = AtomicU64::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for &reservation in ids.iter().take(threads) {
                let (engine, count, failed) = (&engine, &count, &failed);
                scope.spawn(move || {
                    let (Ok(run), Ok(extension)) = (RunId::new("bench"), TtlSeconds::new(3600)) else {
                        return;
                    };
                    let beat = Beat { reservation, run, extension };
                    while start.elapsed() < SUSTAINED {
                        let is_extended = matches!(engine.beat(&beat), Ok(Beaten::Extended { .. }));
                        let counter = if is_extended { count } else { failed };
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        if failed.into_inner() > 0 {
            return Err("a heartbeat failed".into());
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = count.into_inner() as f64 / start.elapsed().as_secs_f64();
        rows.add(
            &format!("heartbeats a second in one process, {threads} threads"),
            &format!("{rate:.0}"),
            "",
            "",
        );
    }
    Ok(())
}
