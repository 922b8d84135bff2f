//! The argument tree. Doc comments are the help texts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use muse_coord::{Operation, Retention, TtlSeconds};

/// Keeps coding agents that change one codebase at the same time out of each other's way.
///
/// An agent reserves the code addresses it is about to change, learns at once who is in the way, keeps the
/// reservation alive with heartbeats, and releases it. State is plain JSON in `.muse/coordination/`.
#[derive(Debug, Parser)]
#[command(name = "muse", version, subcommand_required = true)]
#[command(after_help = "Start with `muse init`, then read `muse coord guide`. See it work: `muse demo`.")]
pub(crate) struct Cli {
    /// Print exactly one JSON object, whatever happens.
    #[arg(long, short = 'j', global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make the store, in the place where every worktree of this repository looks for it.
    Init(InitArgs),
    /// Reserve, heartbeat, release: the coordination of runs.
    #[command(subcommand)]
    Coord(Coord),
    /// Serve a coding agent over the Model Context Protocol, on standard input and output.
    Mcp(McpArgs),
    /// Print the symbols of source files, as addresses.
    Symbols(SymbolsArgs),
    /// Play the main job with real processes in a scratch repository, and check every step.
    Demo(DemoArgs),
    /// Print a completion script.
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder.
    Man(ManArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Coord {
    /// Reserve code addresses, all of them or none.
    Reserve(ReserveArgs),
    /// Ask whether anybody is in the way of a change. Nothing is changed.
    Check(CheckArgs),
    /// Ask whether a fencing token still stands for code addresses. Nothing is changed.
    Verify(VerifyArgs),
    /// Hold code addresses while a command runs.
    Run(RunArgs),
    /// Keep a reservation alive past its TTL.
    Heartbeat(HeartbeatArgs),
    /// Give reservations back.
    Release(ReleaseArgs),
    /// Show what is reserved, soonest expiry first, and who waits, in their order.
    List(ListArgs),
    /// Show everything that is known of one reservation.
    Show(ShowArgs),
    /// Show who held what, when, for how long, and how it ended; the newest last.
    Log(LogArgs),
    /// Show what is happening, live.
    Watch(WatchArgs),
    /// Move what is over into the archive.
    Gc(GcArgs),
    /// Check the store, file by file, and put it right.
    Fsck(FsckArgs),
    /// What keeps the reservations: files, or etcd.
    #[command(subcommand)]
    Engine(Engine),
    #[command(subcommand)]
    Hook(Hook),
    /// Have those checked who never ask: before an edit by a coding harness, before a commit by Git.
    #[command(subcommand)]
    Guard(Guard),
    /// Print how an agent uses this well.
    Guide(GuideArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Engine {
    /// Show which engine is configured and why, whether it works, and the name of this repository.
    Status(EngineStatusArgs),
    /// Move what is reserved from files to etcd, or back.
    Migrate(EngineMigrateArgs),
}

/// One of the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EngineName {
    /// Files in the store's folder.
    Files,
    /// An etcd.
    Etcd,
}

/// Move what is reserved from files to etcd, or back.
///
/// Live reservations keep their ids and tokens and the time that they have left, and tokens go on rising. Whoever still
/// uses the old place is refused from then on and told where to go. Where the etcd is has to stand in muse.toml or
/// .muse/config.toml; which engine is used is yours to say there, afterwards. What is over stays where it was. A move
/// that broke off is finished by the same command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muse coord engine migrate --to etcd\n  muse coord engine migrate --to files --json | jq .reservations"
)]
pub(crate) struct EngineMigrateArgs {
    /// Where to.
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub(crate) to: EngineName,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Guard {
    /// Put guards into harnesses and Git, and show the change.
    Install(GuardInstallArgs),
    /// Take guards out again.
    Uninstall(GuardUninstallArgs),
    /// Show which guards are installed.
    Status(GuardStatusArgs),
}

/// Make the store, in the place where every worktree of this repository looks for it.
///
/// Does nothing where it is there already. Inside Git the store ignores itself, and a mark in the Git folder
/// tells a store that was deleted from one that was never made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muse init\n  muse init --json | jq -r .store")]
pub(crate) struct InitArgs {}

/// Who runs the command.
#[derive(Debug, Args)]
pub(crate) struct Identity {
    /// The run's id, 1 to 256 characters [env: `MUSE_RUN_ID`]. `alice/sub-1` descends from `alice`, and is not
    /// stopped by what `alice` holds.
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<OsString>,
}

/// How addresses are asked for.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// If somebody is in the way, wait in the queue for so many seconds, 0 to 31536000: first come, first served. 0
    /// is not to wait.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) wait: Option<Seconds>,

    /// What you are about to do, for those who find you in their way.
    #[arg(long, value_name = "OPERATION", value_parser = PossibleValuesParser::new(Operation::ALL.map(Operation::as_str)))]
    pub(crate) op: Option<String>,

    /// Share with other shared reservations; keep out exclusive ones.
    #[arg(long)]
    pub(crate) shared: bool,
}

/// Reserve code addresses, all of them or none.
///
/// An address is a path from here, with a symbol if you change just that: `src/billing.py::Invoice.total`,
/// `src/api/`, `src/**/*.py`. Exit 0: they are yours until the TTL ends. Exit 6: somebody is in the way;
/// nothing was changed. The same call again extends the reservation that it made. With --wait, exit 7: it was not
/// your turn in time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord reserve src/billing.py::compute_total --run-id agent-42
  muse coord reserve src/api/ 'tests/**/test_api*.py' --run-id agent-42 --ttl 900 --op rename
  muse coord reserve src/billing.py --run-id agent-42 --json | jq -r '.reservation_id // .next'
  muse coord reserve src/billing.py --run-id agent-42 --wait 600
  muse coord reserve src/billing.py --run-id boss --take-over sha256:... --reason 'agent-42 crashed'")]
pub(crate) struct ReserveArgs {
    /// What you are about to change: 1 to 1,000 addresses of at most 4,096 bytes.
    #[arg(value_name = "ADDRESS", required = true)]
    pub(crate) addresses: Vec<OsString>,

    #[command(flatten)]
    pub(crate) identity: Identity,

    /// Seconds until the reservation lapses unless a heartbeat extends it, 1 to 31536000.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::default(), value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) ttl: Seconds,

    #[command(flatten)]
    pub(crate) terms: Terms,

    /// Keep nobody out and be kept out by nobody: tell and be told.
    #[arg(long, conflicts_with = "shared")]
    pub(crate) advisory: bool,

    /// Release this reservation of another run in the same step. For coordinators.
    #[arg(long, value_name = "RESERVATION_ID", requires = "reason", conflicts_with = "wait")]
    pub(crate) take_over: Option<OsString>,

    /// Why it is taken over, for its holder and for the record.
    #[arg(long, value_name = "TEXT", requires = "take_over")]
    pub(crate) reason: Option<OsString>,
}

/// Ask whether anybody is in the way of a change. Nothing is changed.
///
/// Of addresses, or of what a change touches: the symbols, or the file where they cannot be told. Exit 0: nothing is in the way. Exit 6: somebody holds it, or you held it and somebody else has had it since: then
/// look at the code again and reserve anew. Those who only wait for it do not count. Exit 3: it could not be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord check src/billing.py::compute_total --run-id agent-42
  muse coord check src/api/ tests/ --run-id agent-42 --require  # do I still hold all of it?
  muse coord check --staged --run-id agent-42  # may I commit this?
  muse coord check --diff main --run-id agent-42 --json | jq -r '.addresses[]'
  muse coord check --patch feature.patch --run-id agent-42
  muse coord check src/billing.py --run-id agent-42 --json | jq -r '.conflicts[].holder.run_id'")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) subject: Subject,

    #[command(flatten)]
    pub(crate) identity: Identity,

    /// Ask as for a shared reservation: only exclusive ones are in the way.
    #[arg(long, conflicts_with_all = ["staged", "diff", "worktree", "patch"])]
    pub(crate) shared: bool,

    /// Exit 6 also if this run does not hold all of it. What `alice` holds, `alice/sub-1` does not.
    #[arg(long)]
    pub(crate) require: bool,
}

/// What is asked about: one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Subject {
    /// What you are about to change, or have changed: 1 to 1,000 addresses of at most 4,096 bytes.
    #[arg(value_name = "ADDRESS")]
    pub(crate) addresses: Vec<OsString>,

    /// What is staged: what `git commit` would commit. Of a merge, what differs from all that is merged.
    #[arg(long)]
    pub(crate) staged: bool,

    /// What is on the disk otherwise than in this commit, as `git diff REV` has it: of tracked files.
    #[arg(long, value_name = "REV")]
    pub(crate) diff: Option<OsString>,

    /// What is on the disk otherwise than in HEAD, and untracked files that are not ignored.
    #[arg(long)]
    pub(crate) worktree: bool,

    /// What a patch would change: a unified diff as `git diff` or `diff -u` prints it; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) patch: Option<PathBuf>,
}

impl Subject {
    pub(crate) const fn of_addresses(addresses: Vec<OsString>) -> Subject {
        Subject { addresses, staged: false, diff: None, worktree: false, patch: None }
    }
}

/// Ask whether a fencing token still stands for code addresses. Nothing is changed.
///
/// For a deploy script or a CI job that was handed the token: it needs no run id. Exit 0: its reservation is active,
/// covers all of the addresses, and nobody was granted any of them later. Exit 6: stop; it was released or superseded
/// (`stale`), it lapsed (`lapsed`), it is not for all of them (`not_covered`), or somebody was granted one later
/// (`conflict`). Exit 4: no reservation has this token. Exit 3 or 5: it could not be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord verify --token 1795381293941 src/billing.py
  muse coord verify --token 1795381293941 db/ deploy/prod --json | jq -r .status")]
pub(crate) struct VerifyArgs {
    /// What the reservation has to cover: 1 to 1,000 addresses of at most 4,096 bytes.
    #[arg(value_name = "ADDRESS", required = true)]
    pub(crate) addresses: Vec<OsString>,

    /// The token, as `reserve` printed it.
    #[arg(long, value_name = "N", required = true, value_parser = count, allow_negative_numbers = true)]
    pub(crate) token: Count,
}

/// Hold code addresses while a command runs.
///
/// Reserves, starts the command, sends heartbeats, and releases when the command ends, however it ends. Its
/// streams and its exit code are its own (128 + n for signal n); it finds `MUSE_RUN_ID`, `MUSE_RESERVATION_ID`
/// and `MUSE_TOKEN` in its environment. Exit 6: somebody is in the way, and it was not started; 7: for as long as
/// --wait says. Exit 8: the reservation was lost, and the command was stopped: by SIGTERM, then by SIGKILL.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord run --run-id agent-42 src/billing.py -- sed -i s/net/gross/ src/billing.py
  muse coord run --run-id agent-42 --op modify src/api/ tests/ -- sh -c 'make generate && make test'
  muse coord run --run-id agent-42 --wait 600 src/billing.py -- make fmt
  muse coord run --run-id agent-42 --ttl 300 --grace 30 db/ -- sh -c 'echo \"token $MUSE_TOKEN\"'")]
pub(crate) struct RunArgs {
    /// What the command changes: 1 to 1,000 addresses of at most 4,096 bytes.
    #[arg(value_name = "ADDRESS", required = true)]
    pub(crate) addresses: Vec<OsString>,

    #[command(flatten)]
    pub(crate) identity: Identity,

    /// Seconds until the reservation lapses if this process dies, 1 to 31536000. Heartbeats come every third [default:
    /// 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) ttl: Option<Seconds>,

    /// Seconds between SIGTERM and SIGKILL for a command whose reservation is lost; less than the TTL [default: 10].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) grace: Option<Seconds>,

    #[command(flatten)]
    pub(crate) terms: Terms,

    /// The command and its arguments.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Keep a reservation alive past its TTL.
///
/// Send one every half of the extension. Exit 0: extended. Exit 1: it was released by somebody: stop work.
/// Exit 4: it lapsed, and somebody else has it or it never was: stop, reserve again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord heartbeat sha256:... --run-id agent-42
  muse coord heartbeat sha256:... --run-id agent-42 --extension 7200
  muse coord heartbeat --all --run-id agent-42 --json | jq -r .status")]
pub(crate) struct HeartbeatArgs {
    /// The reservation, as `reserve` printed it.
    #[arg(value_name = "RESERVATION_ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) reservation_id: Option<OsString>,

    /// Everything that the run holds.
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) identity: Identity,

    /// Seconds from now to the new expiry, 1 to 31536000.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::default(), value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) extension: Seconds,
}

/// Give reservations back.
///
/// Those that are released already are no error. Another run's is refused with exit 6, unless --force: its
/// holder's next heartbeat then says to stop.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord release sha256:... --run-id agent-42
  muse coord release --all --run-id agent-42
  muse coord release sha256:... --run-id boss --force --reason 'agent-42 crashed'")]
pub(crate) struct ReleaseArgs {
    /// The reservations, at most 1,000.
    #[arg(value_name = "RESERVATION_ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) reservation_ids: Vec<OsString>,

    /// Everything that the run has not released yet.
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) identity: Identity,

    /// Why, for the record; at most 4,096 bytes.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<OsString>,

    /// Take it from another run. For coordinators; say why with --reason.
    #[arg(long, conflicts_with = "all")]
    pub(crate) force: bool,
}

/// Show what is reserved, soonest expiry first, and who waits, in their order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord list
  muse coord list --address src/billing.py  # who is in the way of this?
  muse coord list --run-id agent-42 --json | jq -r '.reservations[].reservation_id'")]
pub(crate) struct ListArgs {
    /// Only those of this run.
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<OsString>,

    /// Only those that overlap this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<OsString>,

    /// Only those that were made on this branch.
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<OsString>,

    /// Those that lapsed, were superseded or released too.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Show everything that is known of one reservation.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muse coord show sha256:...\n  muse coord show sha256:... --json | jq .release"
)]
pub(crate) struct ShowArgs {
    /// The reservation.
    #[arg(value_name = "RESERVATION_ID")]
    pub(crate) reservation_id: OsString,
}

/// Show who held what, when, for how long, and how it ended; the newest last.
///
/// From live and archived records. A TIME is how long ago (`90s`, `2h`, `1h30m`, `3d`) or a point in time with its
/// offset (`2026-11-22T18:30:00Z`). Exit 3: something could not be read; the rest is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord log
  muse coord log --address src/billing.py --since 2h  # who was at this?
  muse coord log --run-id agent-42 --since 2026-11-22T08:00:00Z --until 1h
  muse coord log --limit 1000 --json | jq -r '.entries[] | select(.forced) | .reason'")]
pub(crate) struct LogArgs {
    /// Only those of this run.
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<OsString>,

    /// Only those that overlap this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<OsString>,

    /// Only those that were held at this time or later.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<OsString>,

    /// Only those that were held at this time or earlier.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) until: Option<OsString>,

    /// Not more than so many of them, the newest: 1 to 100000.
    #[arg(long, value_name = "N", default_value_t = Count(100), value_parser = count, allow_negative_numbers = true)]
    pub(crate) limit: Count,
}

/// Show what is happening, live.
///
/// In a terminal a full screen: who holds what and for how much longer, who waits for it, what happened last; `?` shows
/// the keys, `q` ends it. Elsewhere one line for each event as it occurs, with --json one JSON object a line: granted,
/// heartbeat, released, lapsed, revived, waiting, `gave_up`, archived. Never repeats or skips a granted or released one.
/// Ends when its reader does, by a signal, or because the store was moved to another engine (exit 5).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord watch
  muse coord watch --address src/billing.py
  muse coord watch --since 1h | cat  # the last hour first
  muse coord watch --json | jq -c 'select(.event == \"released\") | .addresses'")]
pub(crate) struct WatchArgs {
    /// Only what this run holds or waits for.
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<OsString>,

    /// Only what overlaps this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<OsString>,

    /// First tell what is recorded since this time: how long ago (`90s`, `2h`, `1h30m`, `3d`) or a point in time with
    /// its offset (`2026-11-22T18:30:00Z`).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) since: Option<OsString>,
}

/// Move what is over into the archive.
///
/// Takes all that was released, was superseded or lapsed so long ago, in steps; others are served in between. Nothing
/// is lost: `show` and `log` tell what is archived. Exit 3: something could not be read; the rest is moved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord gc
  muse coord gc --older-than 86400 --dry-run
  muse coord gc --json | jq .archived")]
pub(crate) struct GcArgs {
    /// Seconds since it ended, 0 to 31536000.
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds(Retention::OLDER_THAN_DEFAULT.into()), value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) older_than: Seconds,

    /// Only say how many there are.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Check the store, file by file, and put it right.
///
/// Reads every record, the archive and the index, beside those who work. Exit 3: something is wrong, and it says what
/// that means for whom. --repair moves what cannot be read to `quarantine/`, loses nothing, and makes again what can
/// be derived: exit 0 if all is right then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord fsck
  muse coord fsck --repair
  muse coord fsck --json | jq -r '.findings[] | \"\\(.kind) \\(.path)\"'")]
pub(crate) struct FsckArgs {
    /// Put right what can be put right without losing anything.
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Show which engine is configured and why, whether it works, and the name of this repository.
///
/// Of etcd, each endpoint: its release, whether it is the leader, how long it took, how large it is, what it complains
/// of. Beside the configured name of the repository stands one that every clone of it derives alike, to copy into
/// `muse.toml`. Exit 0: it works. Exit 1: something is missing or wrong in the settings. Exit 3 or 5: it does not work.
/// All that is known is shown in any case.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord engine status
  muse coord engine status --json | jq -r .repository.derived
  muse coord engine status --json | jq -r '.warnings[]'")]
pub(crate) struct EngineStatusArgs {}

/// Answer a hook that guards edits. `muse coord guard install` writes what calls it.
///
/// The payload is read from standard input. What an edit is about to change is reserved for the session's run for 15
/// minutes, or the edit is denied in the harness's own words: who has it, for how long, what to do instead. The run is
/// `MUSE_RUN_ID`, else `<harness>:<session>`, and a subagent's is that, `/` and its id. The end of a session releases
/// what it held. Where it cannot be told whether somebody is in the way, a sentence on stderr and in `.muse/hook.log`
/// says so, and the edit passes. Exit 0 in every case, 2 at most with --strict. `MUSE_GUARD=off` lets everything pass.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  muse coord hook claude-code < payload.json
  muse coord hook gemini < payload.json | jq -r .reason
  muse coord hook pre-commit")]
#[command(defer = true)]
pub(crate) enum Hook {
    /// Answer a hook of Claude Code.
    ClaudeCode(HarnessArgs),
    /// Answer a hook of Codex.
    Codex(HarnessArgs),
    /// Answer a hook of Cursor.
    Cursor(HarnessArgs),
    /// Answer a hook of Gemini CLI.
    Gemini(HarnessArgs),
    /// Answer a hook of Copilot CLI.
    Copilot(HarnessArgs),
    /// Answer the plugin of opencode.
    Opencode(HarnessArgs),
    /// Git's hook before a commit: stop it if what is staged is in another run's hands.
    PreCommit(GitHookArgs),
    /// Git's hook before a push: stop it if what it brings is in another run's hands.
    PrePush(PrePushArgs),
}

/// Git's hook before a commit: stop it if what is staged is in another run's hands.
///
/// The run that commits is `MUSE_RUN_ID`; where that is not set, and where the check cannot be made, the commit goes on
/// with a warning. Exit 1 stops it, 0 lets it go on. `muse coord guard install --git` has Git call this.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord hook pre-commit  # in .git/hooks/pre-commit, or run by a manager of hooks
  muse coord hook pre-commit --strict --require")]
pub(crate) struct GitHookArgs {
    /// Stop what cannot be checked, and what nobody knows whose it is.
    #[arg(long)]
    pub(crate) strict: bool,

    /// Stop what the run does not hold, too.
    #[arg(long)]
    pub(crate) require: bool,
}

/// Git's hook before a push: stop it if what it brings is in another run's hands.
///
/// Reads what Git says is pushed on standard input. Otherwise as `pre-commit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord hook pre-push \"$@\"  # in .git/hooks/pre-push, or run by a manager of hooks")]
pub(crate) struct PrePushArgs {
    #[command(flatten)]
    pub(crate) common: GitHookArgs,

    /// What Git gives besides, the remote and its URL: it makes no difference.
    #[arg(value_name = "REMOTE", num_args = 0..)]
    pub(crate) remote: Vec<OsString>,
}

// How a hook of a harness is answered. No help text: that is with each harness.
#[derive(Debug, Args)]
pub(crate) struct HarnessArgs {
    /// Deny an edit where it cannot be told whether somebody is in its way.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What guards are put into, or taken out of.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct GuardTargets {
    /// Claude Code: `.claude/settings.json`.
    #[arg(long)]
    pub(crate) claude_code: bool,

    /// Codex: `.codex/hooks.json`.
    #[arg(long)]
    pub(crate) codex: bool,

    /// Cursor: `.cursor/hooks.json`.
    #[arg(long)]
    pub(crate) cursor: bool,

    /// Gemini CLI: `.gemini/settings.json`.
    #[arg(long)]
    pub(crate) gemini: bool,

    /// Copilot CLI: `.github/hooks/muse.json`.
    #[arg(long)]
    pub(crate) copilot: bool,

    /// opencode: `.opencode/plugins/muse.ts`.
    #[arg(long)]
    pub(crate) opencode: bool,

    /// Git: the hooks `pre-commit` and `pre-push`.
    #[arg(long)]
    pub(crate) git: bool,

    /// A skill that tells agents how to use this: `.claude/skills/muse-coord/`, `.agents/skills/muse-coord/`.
    #[arg(long)]
    pub(crate) skill: bool,

    /// A section of `AGENTS.md` that tells agents of this.
    #[arg(long)]
    pub(crate) agents_md: bool,

    /// Those that are in use here.
    #[arg(long, conflicts_with_all = ["claude_code", "codex", "cursor", "gemini", "copilot", "opencode", "git"])]
    pub(crate) all: bool,
}

/// Put guards into harnesses and Git, and show the change.
///
/// Before an edit, the harness then asks `muse coord hook`, which reserves what the edit touches for the session, or
/// denies the edit and says who is in the way. All else in the files stays as it is, byte for byte; a file that cannot
/// be changed safely is left, and what to paste into it is printed (exit 3). A second call changes nothing.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(
    override_usage = "muse coord guard install [OPTIONS] <--TARGET>...",
    after_help = "\
Examples:
  muse coord guard install --claude-code --dry-run
  muse coord guard install --claude-code --git --skill
  muse coord guard install --all --strict
  muse coord guard install --all --json | jq -r '.targets[] | \"\\(.target) \\(.status)\"'"
)]
pub(crate) struct GuardInstallArgs {
    #[command(flatten)]
    pub(crate) targets: GuardTargets,

    /// Block what cannot be checked, instead of letting it through with a warning.
    #[arg(long)]
    pub(crate) strict: bool,

    /// Tell the harnesses of the MCP server `muse mcp` too.
    #[arg(long)]
    pub(crate) mcp: bool,

    /// Have Git's hooks stop what this run does not hold, too.
    #[arg(long, requires = "git")]
    pub(crate) require: bool,

    /// Write Git's hooks also into a folder that other repositories may use (`core.hooksPath` of the user's).
    #[arg(long, requires = "git")]
    pub(crate) force: bool,

    /// Only show the change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Take guards out again.
///
/// What was put in goes, and nothing else: files are then as they were before, byte for byte, and those that were made
/// are removed. --all is everything of ours, wherever it is.
#[derive(Debug, Args)]
#[command(
    override_usage = "muse coord guard uninstall [OPTIONS] <--TARGET>...",
    after_help = "\
Examples:
  muse coord guard uninstall --claude-code
  muse coord guard uninstall --all --dry-run
  muse coord guard uninstall --all --json | jq -r '.targets[].files[].path'"
)]
pub(crate) struct GuardUninstallArgs {
    #[command(flatten)]
    pub(crate) targets: GuardTargets,

    /// Only show the change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Show which guards are installed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse coord guard status
  muse coord guard status --json | jq -r '.targets[] | select(.state != \"installed\") | .target'")]
pub(crate) struct GuardStatusArgs {}

/// Print the symbols of source files, as addresses.
///
/// One a line, with its kind and lines, in the order of the text; what lies outside all of them is `PATH::@top`. Of a
/// folder, all files below it that are in a known language and that Git does not ignore. Needs a Git repository, or a
/// store, and nothing else. Exit 3: something could not be read; the rest is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse symbols src/billing.py
  muse symbols src/ tests/ | grep method
  muse symbols src/ --json | jq -r '.files[].symbols[].address'
  muse symbols src/ --references --json | jq -r '.files[].references[] | select(.name == \"total\")'")]
pub(crate) struct SymbolsArgs {
    /// Files and folders, up to 20,000 files in all. A file of more than 1 MiB is left out.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,

    /// Print the names that are called or used, too, and where.
    #[arg(long)]
    pub(crate) references: bool,
}

/// Print how an agent uses this well.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muse coord guide")]
pub(crate) struct GuideArgs {}

/// Serve a coding agent over the Model Context Protocol, on standard input and output.
///
/// The agent's harness starts it, one for each agent, in the folder that the agent works in. Its tools are `reserve`,
/// `heartbeat`, `release`, `list` and `check`. What is reserved through it is kept alive as long as the client stays
/// connected, and released when it goes. The run is `MUSE_RUN_ID`, else one that is made for the connection.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  muse mcp
  muse mcp --keep  # what is still reserved at the end lapses by itself")]
pub(crate) struct McpArgs {
    /// Leave what is still reserved to lapse when the client goes.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Play the main job with real processes in a scratch repository, and check every step.
///
/// Takes about six seconds and leaves nothing behind. Exit 3: an answer differs from the contract.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muse demo
  muse demo --engine etcd  # two clones, as on two machines; starts an etcd of its own
  muse demo --json | jq -r '.steps[].title'")]
pub(crate) struct DemoArgs {
    /// Where the reservations of the story are.
    #[arg(long, value_enum, default_value = "files", value_name = "ENGINE")]
    pub(crate) engine: EngineName,
    /// Where the etcd of the demo is, for the agent that gets killed.
    #[arg(long, hide = true)]
    pub(crate) etcd: Option<String>,
    /// Play the agent that gets killed. The demo starts itself with this.
    #[arg(long, hide = true)]
    pub(crate) as_agent: bool,
}

/// Print a completion script.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muse completions bash > ~/.local/share/bash-completion/completions/muse"
)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muse man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder; it is made if it is not there.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// A number of seconds as it was typed: an integer, not yet checked for its range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) i64);

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds(TtlSeconds::DEFAULT.get().into())
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn seconds(text: &str) -> Result<Seconds, String> {
    let number = whole_number(text).ok_or("not a whole number of seconds, such as 3600")?;
    Ok(Seconds(number))
}

/// A number of things as it was typed, not yet checked for its range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) i64);

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn count(text: &str) -> Result<Count, String> {
    let number = whole_number(text).ok_or("not a whole number, such as 100")?;
    Ok(Count(number))
}

/// Takes ASCII digits with an optional minus, however many: more than fit are out of every range anyway.
fn whole_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let end = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    /// `defer`: a call makes no more of the tree than it needs, so that its memory is one system call for the heap, not two.
    #[test]
    fn a_command_has_no_arguments_before_it_is_called() {
        let coord = Coord::augment_subcommands(clap::Command::new("coord"));
        let count = |command: &clap::Command| command.get_arguments().count();
        assert!(coord.get_subcommands().all(|command| count(command) == 0));
        assert!(Cli::command().get_subcommands().all(|command| count(command) == 0));
    }

    /// So its line in the help above it stands beside it.
    #[test]
    fn a_command_says_the_same_in_its_own_help_and_above_it() {
        let abouts = |command: &clap::Command| -> Vec<(String, Option<String>)> {
            let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
            let commands = command.get_subcommands().filter(|sub| sub.get_name() != "help");
            commands.map(|sub| (sub.get_name().to_owned(), about(sub))).collect()
        };
        let parent = || clap::Command::new("parent");
        for mut command in [
            Cli::command(),
            Coord::augment_subcommands(parent()),
            Engine::augment_subcommands(parent()),
            Guard::augment_subcommands(parent()),
            Hook::augment_subcommands(parent()),
        ] {
            let above = abouts(&command);
            command.build();
            assert_eq!(above, abouts(&command));
            assert!(above.iter().all(|(_, about)| about.is_some()), "{above:?}");
        }
    }

    #[test]
    fn seconds_are_ascii_digits_only() {
        for wrong in ["", "-", " 60", "60 ", "+60", "1_000", "1e3", "٦٠", "0x10", "1.0", "--5"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
        for (text, value) in [("60", 60), ("-5", -5), ("007", 7), (&"9".repeat(400), i64::MAX)] {
            assert_eq!(seconds(text).unwrap().0, value);
        }
        assert_eq!(seconds(&format!("-{}", "9".repeat(400))).unwrap().0, i64::MIN);
    }
}
