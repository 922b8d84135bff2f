//! The engine etcd, on a real etcd of one member on loopback, next to etcd itself in the same run: calls a second of many
//! clients next to raw puts of the same size through the same HTTP client, whole processes next to `etcdctl put`, what a
//! call takes beside many live reservations, and thousands that many processes keep alive.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muse_coord::record::{Heartbeat, to_file_bytes};
use muse_coord::{
    Address, Beat, Beaten, Clock as _, Endpoints, Engine as _, EtcdEngine, ReleaseRequest, Released, Request,
    ReservationId, Reserved, RunId, State, SystemClock, TtlSeconds,
};
use muse_testkit::etcd::Etcd;
use serde_json::json;

use crate::{Outcome, Programs, Rows, median, medians, milliseconds, ratio, run};

/// What is measured unless only some of it is asked for.
const PARTS: [&str; 4] = ["clients", "processes", "size", "alive"];

/// How many clients call at once.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// How long one turn of calls lasts, and how many turns puts and heartbeats take.
const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 3;
/// How many reservations all clients together make.
const RESERVED: usize = 256;

/// Processes of each program whose median is taken.
const ROUNDS: usize = 100;

/// How many live reservations a call is measured beside.
const LIVE: [usize; 3] = [0, 1000, 5000];

/// How many reservations are kept alive, by how many processes, how often, and for how long.
const KEPT: usize = 5000;
const KEEPERS: usize = 16;
const BEAT_EVERY: Duration = Duration::from_secs(20);
const KEPT_FOR: Duration = Duration::from_mins(2);
const KEPT_TTL: i64 = 60;

/// The argument by which this program becomes one that keeps its share alive.
pub(crate) const KEEPER: &str = "--etcd-keeper";

type Engine = EtcdEngine<SystemClock>;

/// Measures, and prints a table.
pub(crate) fn measure(parts: &[String]) -> Outcome<()> {
    if let Some(part) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("no part `{part}`: there are {}", PARTS.join(", ")).into());
    }
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let programs = Programs::beside_this_one()?;
    let etcd = Etcd::start(&[]);
    let mut rows = Rows::default();
    if is_wanted("clients") {
        for clients in CLIENTS {
            many_clients(etcd.url(), clients, &mut rows)?;
        }
    }
    if is_wanted("processes") {
        processes(&programs, &etcd, &mut rows)?;
    }
    if is_wanted("size") {
        sizes(etcd.url(), &mut rows)?;
    }
    if is_wanted("alive") {
        kept_alive(&programs, etcd.url(), &mut rows)?;
    }
    println!("{}", rows.table);
    Ok(())
}

fn engine(url: &str, repository: &str) -> Outcome<Engine> {
    let endpoints = Endpoints { urls: vec![url.to_owned()], ..Endpoints::default() };
    Ok(EtcdEngine::new(&endpoints, repository, SystemClock)?)
}

fn address(number: usize) -> Outcome<Address> {
    Ok(format!("src/module_{}/file_{number}.py::function", number % 100).parse()?)
}

fn reserve(engine: &Engine, run: &RunId, address: Address, ttl: TtlSeconds) -> Outcome<ReservationId> {
    match engine.grant(&Request::new(run.clone(), vec![address], ttl))? {
        Reserved::Granted(grant) => Ok(grant.lease.reservation.reservation_id),
        other => Err(format!("not granted: {other:?}").into()),
    }
}

fn beat(engine: &Engine, beat: &Beat) -> Outcome<()> {
    match engine.beat(beat)? {
        Beaten::Extended { lapsed_seconds: None, .. } => Ok(()),
        other => Err(format!("not extended: {other:?}").into()),
    }
}

fn release(engine: &Engine, run: &RunId, id: ReservationId) -> Outcome<()> {
    let request = ReleaseRequest { reservations: vec![id], run: run.clone(), reason: None, force: false };
    for (_, answer) in engine.release(&request)? {
        if answer? != Released::Released {
            return Err("not released".into());
        }
    }
    Ok(())
}

/// A key and a value of the size that a heartbeat's have.
fn of_a_heartbeat() -> Outcome<(String, Vec<u8>)> {
    let now = SystemClock.now();
    let id = ReservationId::from_digest([0xAB; 32]);
    let heartbeat = Heartbeat {
        schema_version: muse_coord::record::SCHEMA_VERSION,
        reservation_id: id,
        run_id: RunId::new("client-1")?,
        last_beat_at: now,
        extended_expires_at: now.plus_seconds(3600),
        extra: muse_coord::record::Extra::new(),
    };
    Ok((format!("/muse/bench/coordination/heartbeats/{id}"), to_file_bytes(&heartbeat)?))
}

/// One call of etcd's JSON gateway, made again and again.
struct Caller {
    agent: ureq::Agent,
    url: String,
    body: Vec<u8>,
}

impl Caller {
    fn new(url: &str, path: &str, body: &serde_json::Value) -> Outcome<Caller> {
        let agent = ureq::Agent::config_builder().proxy(None).no_delay(true).build().new_agent();
        Ok(Caller { agent, url: format!("{url}{path}"), body: serde_json::to_vec(body)? })
    }

    fn call(&self) -> Outcome<Vec<u8>> {
        Ok(self.agent.post(&self.url).send(&self.body)?.body_mut().read_to_vec()?)
    }
}

/// What a client asks etcd for by itself: a put of a heartbeat's size, and the two calls that a heartbeat cannot do without,
/// a keep-alive and a transaction that puts as much if a key is bound to that lease still.
struct Raw {
    put: Caller,
    keep_alive: Caller,
    transaction: Caller,
}

impl Raw {
    fn new(url: &str, client: usize) -> Outcome<Raw> {
        let (key, value) = of_a_heartbeat()?;
        let key = format!("{}{client:05}", &key[..key.len() - 5]);
        let lease = (1_000_000 + client).to_string();
        let (life, moved) = (format!("{key}/life"), format!("{key}/moved"));
        let [key, life, moved] = [key, life, moved].map(|key| STANDARD.encode(key));
        let put = json!({"key": key, "value": STANDARD.encode(value)});
        Caller::new(url, "/v3/lease/grant", &json!({"ID": lease, "TTL": 3600}))?.call()?;
        Caller::new(url, "/v3/kv/put", &json!({"key": life, "value": "", "lease": lease}))?.call()?;
        let transaction = json!({
            "compare": [
                {"key": life, "target": "LEASE", "result": "EQUAL", "lease": lease},
                {"key": moved, "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
                {"key": key, "target": "MOD", "result": "GREATER", "mod_revision": "0"},
            ],
            "success": [{"request_put": put}],
        });
        let raw = Raw {
            put: Caller::new(url, "/v3/kv/put", &put)?,
            keep_alive: Caller::new(url, "/v3/lease/keepalive", &json!({"ID": lease}))?,
            transaction: Caller::new(url, "/v3/kv/txn", &transaction)?,
        };
        raw.put.call()?;
        let answer: serde_json::Value = serde_json::from_slice(&raw.transaction.call()?)?;
        if answer["succeeded"] != true {
            return Err(format!("the transaction was not carried out: {answer}").into());
        }
        Ok(raw)
    }
}

/// Has every client do its work at once, and returns how long that took.
fn together<T: Sync>(clients: &[T], work: impl Fn(&T) -> Outcome<()> + Sync) -> Outcome<Duration> {
    let has_failed = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        for client in clients {
            let (work, has_failed) = (&work, &has_failed);
            scope.spawn(move || {
                if let Err(error) = work(client) {
                    println!("{error}");
                    has_failed.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    if has_failed.into_inner() { Err("a call failed".into()) } else { Ok(start.elapsed()) }
}

/// Has every client call for one turn, and returns how many calls that were and how long it took.
fn turn<T: Sync>(clients: &[T], call: impl Fn(&T) -> Outcome<()> + Sync) -> Outcome<(u64, Duration)> {
    let calls = AtomicU64::new(0);
    let start = Instant::now();
    let took = together(clients, |client| {
        while start.elapsed() < TURN {
            call(client)?;
            calls.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok((calls.into_inner(), took))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(calls: u64, took: Duration) -> f64 {
    calls as f64 / took.as_secs_f64()
}

/// One client: an engine of its own, and what it has reserved.
struct Client {
    engine: Engine,
    raw: Raw,
    run: RunId,
    addresses: Vec<Address>,
    reserved: std::sync::Mutex<Vec<ReservationId>>,
}

impl Client {
    fn first(&self) -> Outcome<ReservationId> {
        let reserved = self.reserved.lock().map_err(|_| "a client panicked")?;
        reserved.first().copied().ok_or_else(|| "nothing is reserved".into())
    }
}

fn many_clients(url: &str, clients: usize, rows: &mut Rows) -> Outcome<()> {
    let repository = Etcd::repository();
    let hour = TtlSeconds::new(3600)?;
    let each = RESERVED / clients;
    let all = (0..clients)
        .map(|number| {
            let addresses = (0..each).map(|of_it| address(number * each + of_it)).collect::<Outcome<_>>()?;
            Ok(Client {
                engine: engine(url, &repository)?,
                raw: Raw::new(url, clients * 100 + number)?,
                run: RunId::new(format!("client-{number}"))?,
                addresses,
                reserved: std::sync::Mutex::default(),
            })
        })
        .collect::<Outcome<Vec<Client>>>()?;

    let reserving = together(&all, |client| {
        for address in &client.addresses {
            let id = reserve(&client.engine, &client.run, address.clone(), hour)?;
            client.reserved.lock().map_err(|_| "a client panicked")?.push(id);
        }
        Ok(())
    })?;
    let mut turns = [(0, Duration::ZERO); 4];
    // The first turn opens the connections.
    for number in 0..=TURNS {
        let taken = [
            turn(&all, |client| client.raw.put.call().map(drop))?,
            turn(&all, |client| client.raw.keep_alive.call().map(drop))?,
            turn(&all, |client| client.raw.transaction.call().map(drop))?,
            turn(&all, |client| {
                let its = Beat { reservation: client.first()?, run: client.run.clone(), extension: hour };
                beat(&client.engine, &its)
            })?,
        ];
        if number > 0 {
            for (all, one) in turns.iter_mut().zip(taken) {
                *all = (all.0 + one.0, all.1 + one.1);
            }
        }
    }
    let releasing = together(&all, |client| {
        let reserved = client.reserved.lock().map_err(|_| "a client panicked")?.clone();
        reserved.into_iter().try_for_each(|id| release(&client.engine, &client.run, id))
    })?;

    let calls = u64::try_from(each * clients)?;
    let [put, keep_alive, transaction, beaten] = turns.map(|(calls, took)| rate(calls, took));
    // One after the other.
    let floor = 1.0 / (1.0 / keep_alive + 1.0 / transaction);
    let mut add = |what: &str, rate: f64, compared: &str, limit: &str| {
        rows.add(
            &format!("etcd, {clients} clients: {what} a second"),
            &format!("{rate:.0}"),
            compared,
            limit,
        );
    };
    let of_put = |rate: f64| format!("{:.2} × raw puts", rate / put);
    add("raw puts", put, "", "");
    add("raw keep-alives and transactions", floor, &of_put(floor), "");
    let compared = format!("{}, {:.2} × raw keep-alives and transactions", of_put(beaten), beaten / floor);
    add("heartbeats", beaten, &compared, "0.5 × raw puts");
    for (what, took) in [("reserves", reserving), ("releases", releasing)] {
        let rate = rate(calls, took);
        add(what, rate, &of_put(rate), "");
    }
    Ok(())
}

/// Whole processes: a heartbeat, and a put of the same size by etcd's own program.
fn processes(programs: &Programs, etcd: &Etcd, rows: &mut Rows) -> Outcome<()> {
    let repository = Etcd::repository();
    let engine = engine(etcd.url(), &repository)?;
    let holder = RunId::new("client-1")?;
    let id = reserve(&engine, &holder, address(1)?, TtlSeconds::new(3600)?)?.to_string();
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join(".muse"))?;
    let muse = |run_id: &str, arguments: &[&str]| -> Outcome<Duration> {
        let mut command = Command::new(&programs.muse);
        command.args(arguments).args(["--run-id", run_id, "--json"]).current_dir(&folder);
        command.env_remove("MUSE_RUN_ID").env_remove("MUSE_REPO_ROOT");
        command.env("MUSE_COORD_ENGINE", "etcd").env("MUSE_COORD_ENDPOINTS", etcd.url());
        command.env("MUSE_COORD_REPOSITORY", &repository);
        run(command.stdin(Stdio::null()).stderr(Stdio::null()))
    };
    let (key, value) = of_a_heartbeat()?;
    let value = String::from_utf8(value)?;
    let mut put = |_| {
        let mut command = Command::new("etcdctl");
        command.args(["--endpoints", etcd.url(), "put", &key, &value]).env("ETCDCTL_API", "3");
        run(command.stdin(Stdio::null()).stderr(Stdio::null()))
    };
    let mut beat = |_| muse(holder.as_str(), &["coord", "heartbeat", &id]);
    let mut reserve = |round| {
        let took = muse("bench", &["coord", "reserve", &format!("bench/file_{round}.py")])?;
        muse("bench", &["coord", "release", "--all"])?;
        Ok(took)
    };
    let taken = medians(ROUNDS, &mut [&mut put, &mut beat, &mut reserve])?;
    let [put, beaten, granted] = taken[..] else { return Err("three were measured".into()) };
    rows.add("etcdctl put, a process", &milliseconds(put), "", "");
    let compared = format!("{:.2} × etcdctl put", ratio(beaten, put));
    rows.add("heartbeat on etcd, a process", &milliseconds(beaten), &compared, "1.5 × etcdctl put");
    let compared = format!("{:.2} × etcdctl put", ratio(granted, put));
    rows.add("reserve on etcd, a process", &milliseconds(granted), &compared, "");
    Ok(())
}

/// Calls beside many live reservations, of an engine that has not called before.
fn sizes(url: &str, rows: &mut Rows) -> Outcome<()> {
    let repository = Etcd::repository();
    let others = RunId::new("others")?;
    let own = RunId::new("own")?;
    let hour = TtlSeconds::new(3600)?;
    let mut made = 0;
    let maker = engine(url, &repository)?;
    for live in LIVE {
        while made < live {
            reserve(&maker, &others, address(made)?, hour)?;
            made += 1;
        }
        let (mut granted, mut denied, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..15 {
            let fresh = engine(url, &repository)?;
            let start = Instant::now();
            let id = reserve(&fresh, &own, format!("bench/file_{number}.py").parse()?, hour)?;
            granted.push(start.elapsed());
            release(&fresh, &own, id)?;
            if live > 0 {
                let fresh = engine(url, &repository)?;
                let start = Instant::now();
                fresh.grant(&Request::new(own.clone(), vec![address(number)?], hour))?;
                denied.push(start.elapsed());
            }
            if number < 3 {
                let fresh = engine(url, &repository)?;
                let start = Instant::now();
                let count = fresh.live()?.leases.len();
                listed.push(start.elapsed());
                if count != live {
                    return Err(format!("{count} are live, of {live}").into());
                }
            }
        }
        for (what, times) in [("reserve", granted), ("reserve denied", denied), ("list", listed)] {
            if !times.is_empty() {
                rows.add(&format!("etcd, {live} live: {what}"), &milliseconds(median(times)), "", "");
            }
        }
    }
    Ok(())
}

/// Many processes keep many reservations alive; all of them have to be there at the end.
fn kept_alive(programs: &Programs, url: &str, rows: &mut Rows) -> Outcome<()> {
    let repository = Etcd::repository();
    let start = Instant::now();
    let mut keepers = Vec::new();
    for number in 0..KEEPERS {
        let share = KEPT / KEEPERS + usize::from(number < KEPT % KEEPERS);
        let mut command = Command::new(&programs.bench);
        command.args([KEEPER, url, &repository, &number.to_string(), &share.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("a process without an output")?);
        keepers.push((child, output));
    }
    // Each tells when it has reserved its share, and goes on until its input ends.
    for (_, output) in &mut keepers {
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim() != "reserved" {
            return Err(format!("a process could not reserve its share: {line}").into());
        }
    }
    let reserving = start.elapsed();
    thread::sleep(KEPT_FOR);
    let listing = engine(url, &repository)?.live()?;
    let now = SystemClock.now();
    let active = listing.leases.iter().filter(|lease| lease.state(now) == State::Active).count();
    let (mut beats, mut lost, mut slowest) = (0, 0, 0);
    for (child, _) in &mut keepers {
        drop(child.stdin.take());
    }
    for (child, output) in &mut keepers {
        let told = told(child, output)?;
        beats += told[0];
        lost += told[1];
        slowest = slowest.max(told[2]);
    }
    let what = format!("etcd: {KEPT} reservations of {KEPT_TTL} s, kept alive by {KEEPERS} processes");
    let compared = format!("{beats} heartbeats, {lost} not taken, the latest {slowest} ms after its time");
    rows.add(&what, &format!("{active} active"), &compared, &format!("{KEPT} active"));
    let seconds = format!("{:.1} s", reserving.as_secs_f64());
    rows.add(&format!("etcd: reserving {KEPT}, by {KEEPERS} processes at once"), &seconds, "", "");
    Ok(())
}

/// The three numbers that a keeper tells at its end.
fn told(child: &mut Child, output: &mut BufReader<std::process::ChildStdout>) -> Outcome<[u64; 3]> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    if !child.wait()?.success() {
        return Err("a keeper failed".into());
    }
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| format!("a keeper told `{line}`").into())
}

/// Reserves a share and sends a heartbeat of each every [`BEAT_EVERY`] until the standard input ends. Prints `reserved`,
/// and at the end how many heartbeats it sent, how many were not taken, and how late the latest was, in milliseconds.
pub(crate) fn keep_alive(share: &[String]) -> Outcome<()> {
    let [url, repository, number, share] = share else { return Err("not called by muse-bench".into()) };
    let (number, share): (usize, usize) = (number.parse()?, share.parse()?);
    let engine = engine(url, repository)?;
    let run = RunId::new(format!("keeper-{number}"))?;
    let ttl = TtlSeconds::new(KEPT_TTL)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut line = String::new();
            drop(std::io::stdin().read_line(&mut line));
            is_over.store(true, Ordering::Relaxed);
        });
        let mut kept: std::collections::VecDeque<(Instant, ReservationId)> =
            std::collections::VecDeque::new();
        let (mut made, mut beats, mut lost, mut slowest) = (0, 0_u64, 0_u64, Duration::ZERO);
        while !is_over.load(Ordering::Relaxed) {
            if let Some((due, _)) = kept.front()
                && *due <= Instant::now()
                && let Some((due, reservation)) = kept.pop_front()
            {
                kept.push_back((Instant::now() + BEAT_EVERY, reservation));
                let its = Beat { reservation, run: run.clone(), extension: ttl };
                if beat(&engine, &its).is_err() {
                    lost += 1;
                }
                beats += 1;
                slowest = slowest.max(due.elapsed());
            } else if made < share {
                let id = reserve(&engine, &run, address(made * KEEPERS + number)?, ttl)?;
                kept.push_back((Instant::now() + BEAT_EVERY, id));
                made += 1;
                if made == share {
                    println!("reserved");
                }
            } else {
                thread::sleep(Duration::from_millis(10));
            }
        }
        println!("{beats} {lost} {}", slowest.as_millis());
        Ok(())
    })
}
