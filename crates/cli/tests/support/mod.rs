//! What the tests of the built program share: a scratch repository, one call of `muse`, and comparing whole
//! answers.
//!
//! JSON answers are compared as the text that was printed, so the order of the keys counts. Only what changes
//! from run to run is redacted first, and checked for its form on the way: see [`redact`].

#![allow(dead_code, unused_macros, reason = "each test file uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start processes and write files; what a helper does not expect fails the test"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use muse_coord::record::{Draft, to_file_bytes};
use muse_coord::{Clock as _, Mode, Operation, RunId, SystemClock, Timestamp, Token, TtlSeconds};

/// A well-formed id that no reservation has.
pub(crate) const ABSENT: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A time to live whose text stays `1h` for half a minute.
pub(crate) const HOUR: &str = "3630";

/// The folders of a store.
pub(crate) const ROOMS: [&str; 8] =
    ["reservations", "heartbeats", "releases", "superseded", "waiting", "intents", "archive", "tmp"];

/// A folder that is deleted at the end of the test.
pub(crate) struct Site {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

/// A reservation that was granted.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) token: u64,
}

impl Site {
    /// A folder with a store in it, outside Git.
    pub(crate) fn new() -> Site {
        let site = Site::without_store();
        site.muse(&["init"]).run().is_success();
        site
    }

    /// A folder with nothing in it, and nothing of muse above it.
    pub(crate) fn without_store() -> Site {
        // Blanks and letters that are not ASCII, in every path of every test.
        let folder = tempfile::Builder::new().prefix("müse test ").tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("its path");
        Site { _folder: folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("written");
        path
    }

    /// The folder that holds the reservations.
    pub(crate) fn store(&self) -> PathBuf {
        self.at(".muse/coordination")
    }

    /// The file of the reservation `id` in a folder of the store.
    pub(crate) fn record(&self, room: &str, id: &str) -> PathBuf {
        self.store().join(room).join(format!("{id}.json"))
    }

    /// One call of the program in the folder.
    pub(crate) fn muse(&self, arguments: &[&str]) -> Muse {
        Muse::in_folder(&self.path, arguments)
    }

    /// One call of `muse coord`.
    pub(crate) fn coord(&self, arguments: &[&str]) -> Muse {
        let all: Vec<&str> = std::iter::once("coord").chain(arguments.iter().copied()).collect();
        self.muse(&all)
    }

    /// Reserves for an hour; the flags follow.
    pub(crate) fn reserve(&self, run: &str, address: &str, flags: &[&str]) -> Held {
        self.coord(&["reserve", address, "--ttl", HOUR]).run_id(run).args(flags).granted()
    }

    /// A reservation with a heartbeat.
    pub(crate) fn reserve_and_beat(&self, run: &str, address: &str) -> Held {
        let held = self.reserve(run, address, &[]);
        self.coord(&["heartbeat", &held.id]).run_id(run).run().is_success();
        held
    }

    /// A reservation that lapsed so many seconds ago, put into the store as a past grant left it.
    pub(crate) fn lapsed(&self, run: &str, address: &str, seconds_ago: i64) -> Held {
        self.fabricate(run, address, Mode::Exclusive, -60 - seconds_ago, 60)
    }

    /// A reservation that was granted `created` seconds from now (in the past, if negative).
    pub(crate) fn fabricate(&self, run: &str, address: &str, mode: Mode, created: i64, ttl: i64) -> Held {
        let created_at = from_now(created);
        let draft = Draft {
            run_id: RunId::new(run).expect("a run id"),
            branch: None,
            addresses: vec![address.parse().expect("an address")],
            mode,
            operation: Some(Operation::Rename),
            token: Token::new(created_at.milliseconds_since_1970()).expect("a token"),
            ttl_seconds: TtlSeconds::new(ttl).expect("a range"),
            created_at,
        };
        let reservation = draft.into_reservation().expect("a record");
        let id = reservation.reservation_id.to_string();
        fs::write(self.record("reservations", &id), to_file_bytes(&reservation).expect("bytes"))
            .expect("written");
        Held { id, token: reservation.token.get() }
    }

    /// Everything below the folder: what it is, its bytes, its mode and its time of change.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Entry> {
        snapshot(&self.path)
    }
}

/// The moment so many seconds from now.
pub(crate) fn from_now(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(SystemClock.now().as_microseconds() + seconds * 1_000_000)
}

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: u32,
    changed: SystemTime,
    bytes: Option<Vec<u8>>,
    target: Option<PathBuf>,
}

/// Everything below a folder, the folder included.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        }
        let entry = Entry {
            mode: metadata.mode(),
            changed: metadata.modified().expect("a time"),
            bytes: metadata.is_file().then(|| fs::read(&path).expect("bytes")),
            target: metadata.is_symlink().then(|| fs::read_link(&path).expect("a target")),
        };
        found.insert(path, entry);
    }
    found
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Rewrites a file, by whatever else than the program.
pub(crate) fn edit(path: &Path, change: impl Fn(String) -> String) {
    let text = fs::read_to_string(path).expect("a text");
    fs::write(path, change(text)).expect("written");
}

/// Puts a link to a whole record in its place, which is beside the store then.
pub(crate) fn move_aside(path: &Path) {
    let aside = path.ancestors().nth(4).expect("a record lies deep").join("aside.json");
    fs::rename(path, &aside).expect("moved");
    symlink(&aside, path).expect("a link");
}

/// Puts a link that leads nowhere in the place of a file.
pub(crate) fn dangle(path: &Path) {
    fs::remove_file(path).expect("removed");
    symlink("nowhere", path).expect("a link");
}

/// Puts a FIFO in the place of a file.
pub(crate) fn make_fifo(path: &Path) {
    fs::remove_file(path).expect("removed");
    let output = tool("mkfifo", Path::new("/"), &[path.to_str().expect("UTF-8")]);
    assert!(output.status.success());
}

/// Whether the tests run as the superuser, for whom permissions count nothing.
pub(crate) fn is_superuser(site: &Site) -> bool {
    fs::metadata(site.path()).expect("metadata").uid() == 0
}

/// Opens a folder and what is above it below the temporary folder to everybody.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// One call of the program, with nothing of the environment of the tests but the search path.
pub(crate) struct Muse {
    pub(crate) command: Command,
}

impl Muse {
    pub(crate) fn in_folder(folder: &Path, arguments: &[&str]) -> Muse {
        Muse::of_program(Path::new(env!("CARGO_BIN_EXE_muse")), folder, arguments)
    }

    pub(crate) fn of_program(program: &Path, folder: &Path, arguments: &[&str]) -> Muse {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Muse { command }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Muse {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Muse {
        self.command.args(arguments);
        self
    }

    pub(crate) fn run_id(self, run: impl AsRef<OsStr>) -> Muse {
        self.arg("--run-id").arg(run)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Muse {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Muse {
        self.command.stdout(to);
        self
    }

    /// The same call with the arguments of `sh -c`: `redirect` stands behind them.
    pub(crate) fn through_shell(self, redirect: &str) -> Muse {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirect}"));
        shell.arg(self.command.get_program()).args(self.command.get_args());
        shell.current_dir(self.command.get_current_dir().expect("a folder")).env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        Muse { command: shell }
    }

    /// What stands in this file is its standard input.
    pub(crate) fn stdin_of(mut self, path: &Path) -> Muse {
        self.command.stdin(fs::File::open(path).expect("a file"));
        self
    }

    /// Runs the call.
    pub(crate) fn run(mut self) -> Answer {
        Answer::of(self.command.output().expect("muse runs"))
    }

    /// Runs the call with `--json`.
    pub(crate) fn json(self) -> Answer {
        self.arg("--json").run()
    }

    /// Runs a `reserve` that is granted.
    #[track_caller]
    pub(crate) fn granted(self) -> Held {
        let answer = self.json();
        assert_eq!(answer.code, 0, "{answer:?}");
        let value = answer.value();
        Held {
            id: value["reservation_id"].as_str().expect("an id").to_owned(),
            token: value["token"].as_u64().expect("a token"),
        }
    }
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn of(output: Output) -> Answer {
        Answer {
            code: output.status.code().expect("no signal ended muse"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn is_success(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A field of the JSON object that is a string.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        self.value()[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// The whole answer is this JSON object on one line: the envelope, then the fields.
    #[track_caller]
    pub(crate) fn is_json(&self, code: i32, warnings: &[&str], fields: &Json) {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "{{\"muse_version\":\"{version}\",\"schema\":1,\"exit_code\":{code},\"duration_ms\":0,\
             \"timestamp\":\"TIME\",\"warnings\":{},{}\n",
            warnings.to_json(),
            fields.0.strip_prefix('{').expect("an object")
        );
        assert_eq!(redact(&self.stdout), redact(&expected));
        assert_eq!(self.stderr, "", "with --json nothing goes to stderr");
        assert_eq!(self.code, code);
        assert!(self.value().is_object());
    }

    /// The whole answer is a failure of this kind. Returns its sentence.
    #[track_caller]
    pub(crate) fn is_failure(&self, code: i32, status: &str, id: Option<&str>) -> String {
        let error = self.field("error");
        let fields = match id {
            Some(id) => object! { "status": status, "reservation_id": id, "error": error },
            None => object! { "status": status, "error": error },
        };
        self.is_json(code, &[], &fields);
        assert!(!error.is_empty() && error.len() < 2000, "{error:?} is no sentence");
        error
    }

    /// A request that was denied, whatever else it says.
    #[track_caller]
    pub(crate) fn is_json_conflict(&self) {
        assert_eq!((self.code, &*self.field("status")), (6, "conflict"), "{self:?}");
    }

    /// The whole answer is this text.
    #[track_caller]
    pub(crate) fn is_text(&self, code: i32, stdout: &str, stderr: &str) {
        let got = (redact(&self.stdout), redact(&self.stderr), self.code);
        assert_eq!(got, (stdout.to_owned(), stderr.to_owned(), code));
    }

    /// The answer is text that failed: nothing on stdout, on stderr lines that begin with `error:`.
    #[track_caller]
    pub(crate) fn is_text_failure(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, &*self.stdout), (code, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(self.stderr.ends_with('\n'), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {:?}", self.stderr);
        }
    }
}

/// Replaces what changes from run to run: times by `TIME` and `SECOND`, `duration_ms` by 0, and rounds the
/// seconds that are left up to whole minutes. What has another form than it should is left, and seen.
pub(crate) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((placeholder, length)) = time(rest) {
            out.push_str(placeholder);
            rest = &rest[length..];
        } else if let Some(after) = rest.strip_prefix("\"duration_ms\":") {
            let (number, after) = number(after);
            assert!(number.parse::<f64>().is_ok_and(|number| number >= 0.0), "duration_ms is {number:?}");
            out.push_str("\"duration_ms\":0");
            rest = after;
        } else if let Some(begin) = ["\"expires_in_seconds\":", " reserve again in "]
            .into_iter()
            .find(|begin| rest.strip_prefix(begin).is_some_and(|after| !number(after).0.is_empty()))
        {
            let (number, after) = number(&rest[begin.len()..]);
            let seconds: u64 = number.parse().expect("whole seconds");
            out.push_str(begin);
            out.push_str(&(seconds.div_ceil(60) * 60).to_string());
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn number(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len()),
    )
}

/// A time at the start of the text: what it is replaced by, and its length.
fn time(text: &str) -> Option<(&'static str, usize)> {
    let fits = |pattern: &str| {
        text.len() >= pattern.len()
            && pattern.bytes().zip(text.bytes()).all(|(pattern, byte)| match pattern {
                b'0' => byte.is_ascii_digit(),
                _ => pattern == byte,
            })
    };
    let (long, short) = ("0000-00-00T00:00:00.000000+00:00", "0000-00-00T00:00:00Z");
    if fits(long) {
        Some(("TIME", long.len()))
    } else if fits(short) {
        Some(("SECOND", short.len()))
    } else {
        None
    }
}

/// JSON text whose keys stand in the order in which they were written down.
#[derive(Clone, Debug)]
pub(crate) struct Json(pub(crate) String);

/// What [`object!`] takes as a value.
pub(crate) trait ToJson {
    fn to_json(&self) -> String;
}

impl ToJson for Json {
    fn to_json(&self) -> String {
        self.0.clone()
    }
}

impl ToJson for str {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a string")
    }
}

impl ToJson for String {
    fn to_json(&self) -> String {
        self.as_str().to_json()
    }
}

impl ToJson for serde_json::Value {
    fn to_json(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($type:ty),*) => { $(impl ToJson for $type {
        fn to_json(&self) -> String {
            self.to_string()
        }
    })* };
}

numbers!(i32, u64, usize, bool);

impl<T: ToJson + ?Sized> ToJson for &T {
    fn to_json(&self) -> String {
        (**self).to_json()
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), ToJson::to_json)
    }
}

impl<T: ToJson> ToJson for [T] {
    fn to_json(&self) -> String {
        format!("[{}]", self.iter().map(ToJson::to_json).collect::<Vec<_>>().join(","))
    }
}

impl<T: ToJson, const N: usize> ToJson for [T; N] {
    fn to_json(&self) -> String {
        self[..].to_json()
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> String {
        self[..].to_json()
    }
}

/// No value at all.
pub(crate) const NULL: Option<&str> = None;

/// A JSON object with its keys in this order.
macro_rules! object {
    ($($key:literal: $value:expr),* $(,)?) => {
        crate::support::Json(format!(
            "{{{}}}",
            [$(format!("{:?}:{}", $key, crate::support::ToJson::to_json(&$value))),*].join(",")
        ))
    };
}
pub(crate) use object;

/// A program that is not part of the tests' subject, such as Git.
pub(crate) fn tool(program: &str, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().expect("the program runs")
}

/// Bytes that are not UTF-8.
pub(crate) fn not_utf8() -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(vec![b'a', 0xff, b'b'])
}
