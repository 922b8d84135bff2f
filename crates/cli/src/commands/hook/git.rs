//! Git's hooks `pre-commit` and `pre-push`: whether what is staged, or pushed, is in somebody's hands.
//!
//! Exit 1 stops Git, 0 lets it go on. What stops it is an answer: another run's reservation, or one that this run lost.
//! A check that could not be made, and a commit of which nobody says whose it is, are let through with a warning,
//! unless the hook is strict. So is what a run below this one holds: the environment of a session is that of its
//! subagents too, so it cannot be told which of them commits.

use std::io::{self, IsTerminal as _, Read as _};

use muse_coord::{CheckRequest, Conflict, Missing, Notice, RunId, Stale, Verdict};
use muse_repo::{FindError, Repository};
use serde::Serialize;

use crate::args::GitHookArgs;
use crate::commands::check::{is_not_held, next, request, was_lost};
use crate::commands::reserve::not_stopped;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::guard::changes::{self, Source};
use crate::output::{Answer, Report, Screen, print};
use crate::wait::{SHOWN_MAX, describe, more};

/// The most that is read of what Git says is pushed, in bytes: some three hundred thousand references.
const PUSHED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Who asks where nobody says whose commit it is: no run, so that all who hold something are others.
const NOBODY: &str = "nobody, for there is no MUSE_RUN_ID";

/// The hook that Git runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GitHook {
    PreCommit,
    PrePush,
}

impl GitHook {
    const fn name(self) -> &'static str {
        match self {
            GitHook::PreCommit => "pre-commit",
            GitHook::PrePush => "pre-push",
        }
    }

    /// What it stops.
    const fn what(self) -> &'static str {
        match self {
            GitHook::PreCommit => "commit",
            GitHook::PrePush => "push",
        }
    }
}

/// What the hook found. The words of `status` are those of `check`.
#[derive(Debug, Serialize)]
struct HookReport {
    status: &'static str,
    hook: &'static str,
    stopped: bool,
    /// `null` where it is not known.
    run_id: Option<RunId>,
    conflicts: Vec<Conflict>,
    stale: Vec<Stale>,
    missing: Vec<Missing>,
    notices: Vec<Notice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    what: &'static str,
}

impl HookReport {
    /// Nothing is in the way.
    const fn clear(hook: GitHook) -> HookReport {
        HookReport {
            status: "ok",
            hook: hook.name(),
            stopped: false,
            run_id: None,
            conflicts: Vec::new(),
            stale: Vec::new(),
            missing: Vec::new(),
            notices: Vec::new(),
            next: None,
            error: None,
            what: hook.what(),
        }
    }

    /// It could not be told whether anybody is.
    fn unchecked(hook: GitHook, error: CommandError, strict: bool) -> HookReport {
        let (status, _) = error.kind.word_and_code();
        HookReport { status, stopped: strict, error: Some(error.message), ..HookReport::clear(hook) }
    }
}

impl Report for HookReport {
    fn exit_code(&self) -> u8 {
        u8::from(self.stopped)
    }

    fn text(&self, screen: &mut Screen) {
        let HookReport { conflicts, stale, missing, notices, .. } = self;
        let say = |screen: &mut Screen, line: &str| {
            if self.stopped { screen.error(line) } else { screen.warning(line) }
        };
        if let Some(error) = &self.error {
            let outcome = if self.stopped { "is stopped" } else { "goes on" };
            say(screen, &format!("this {} {outcome}: {error}", self.what));
        }
        for conflict in conflicts.iter().take(SHOWN_MAX) {
            say(screen, &describe(conflict));
        }
        more(screen, conflicts.len(), "conflicts");
        for stale in stale.iter().take(SHOWN_MAX) {
            say(screen, &was_lost(stale));
        }
        more(screen, stale.len(), "that were lost");
        if let Some(run) = &self.run_id {
            for missing in missing.iter().take(SHOWN_MAX) {
                say(screen, &is_not_held(run, missing));
            }
            more(screen, missing.len(), "that are not held");
        }
        for notice in notices.iter().take(SHOWN_MAX) {
            screen.warning(&not_stopped(notice));
        }
        more(screen, notices.len(), "notices");
        if let Some(next) = &self.next {
            screen.hint(next);
        }
        if self.stopped {
            let what = self.what;
            screen.hint(&format!(
                "to {what} all the same: `git {what} --no-verify`, or `MUSE_GUARD=off git {what}`"
            ));
        }
    }
}

/// Answers Git.
pub(super) fn run(hook: GitHook, args: &GitHookArgs, context: &Context) -> u8 {
    let answer = look(hook, args, context)
        .unwrap_or_else(|error| Answer::new(HookReport::unchecked(hook, error, args.strict)));
    let code = answer.report.exit_code();
    // The code is the answer, whether it can be explained or not.
    print(Ok(answer), context);
    code
}

fn look(hook: GitHook, args: &GitHookArgs, context: &Context) -> Result<Answer<HookReport>, CommandError> {
    let clear = || Ok(Answer::new(HookReport::clear(hook)));
    if context.is_unguarded() {
        return clear();
    }
    let repository = match Repository::find(&context.current_directory()?, context.root()) {
        Ok(repository) => repository,
        // Nobody asked that it be guarded.
        Err(FindError::NotARepository { .. }) if context.root().is_none() => return clear(),
        Err(error) => return Err(error.into()),
    };
    let run = context.run_id_of_environment()?;
    let mut warnings = Vec::new();
    let footprint = match hook {
        GitHook::PreCommit => changes::footprint(Source::Staged, context, &repository, &mut warnings)?,
        GitHook::PrePush => {
            let lines = pushed()?;
            let told = context.told_by_pre_commit().filter(|_| lines.is_empty());
            let source = match &told {
                Some((remote, local)) => Source::Pushed { remote: remote.as_deref(), local },
                None => Source::Outgoing(&lines),
            };
            changes::footprint(source, context, &repository, &mut warnings)?
        }
    };
    if footprint.is_empty() {
        return Ok(Answer { report: HookReport::clear(hook), warnings });
    }
    let asks = match &run {
        Some(run) => run.clone(),
        None => RunId::new(NOBODY).map_err(|error| {
            CommandError::new(Kind::Internal, format!("no check without a run id: {error}"))
        })?,
    };
    let require = args.require && run.is_some();
    let request = CheckRequest { require, ..request(asks, &footprint) };
    let check = context.coordinator(&repository, Purpose::Ask)?.check(&request)?;
    let verdict = check.verdict();
    let next = next(&request, &check);
    let is_own = |conflict: &Conflict| {
        let holder = conflict.holder().map(|holder| &holder.run_id);
        run.as_ref().is_some_and(|run| holder.is_some_and(|holder| holder.descends_from(run)))
    };
    let are_own = check.stale.is_empty() && !check.conflicts.is_empty() && check.conflicts.iter().all(is_own);
    let (stopped, error, next) = match (&run, verdict) {
        (Some(_), Verdict::Clear) => (false, None, None),
        (None, Verdict::Clear) if !args.require => (false, None, None),
        (None, _) => {
            let error = "there is no MUSE_RUN_ID, so nobody knows whose it is".to_owned();
            let next =
                "set MUSE_RUN_ID to the run whose work this is: what it holds itself is not in its way";
            (args.strict, Some(error), Some(next.to_owned()))
        }
        (Some(run), Verdict::Conflict) if are_own => {
            let error =
                format!("a run below `{run}`, whose environment may be the same, holds what it changes");
            let next = "if it is done, have it release; if it is what commits, set MUSE_RUN_ID to its own id"
                .to_owned();
            (args.strict, Some(error), Some(next))
        }
        (Some(_), Verdict::Conflict) if check.conflicts.is_empty() => {
            (true, Some("it changes what its run has lost to another one".to_owned()), next)
        }
        (Some(_), Verdict::Conflict) => (true, Some("it changes what another run holds".to_owned()), next),
        (Some(run), Verdict::NotHeld) => {
            (true, Some(format!("it changes what run `{run}` does not hold")), next)
        }
    };
    let status = match verdict {
        Verdict::Clear if args.require && run.is_none() => "not_held",
        Verdict::Clear => "ok",
        Verdict::Conflict => "conflict",
        Verdict::NotHeld => "not_held",
    };
    let report = HookReport {
        status,
        stopped,
        run_id: run,
        conflicts: check.conflicts,
        stale: check.stale,
        missing: check.missing,
        notices: check.notices,
        next,
        error,
        ..HookReport::clear(hook)
    };
    Ok(Answer { report, warnings })
}

/// What Git says on standard input.
fn pushed() -> Result<Vec<u8>, CommandError> {
    let failed =
        |why: String| CommandError::new(Kind::Internal, format!("what is pushed cannot be told: {why}"));
    let stdin = io::stdin();
    let mut lines = Vec::new();
    // Run by hand: nobody says anything.
    if stdin.is_terminal() {
        return Ok(lines);
    }
    stdin
        .lock()
        .take(PUSHED_BYTES_MAX + 1)
        .read_to_end(&mut lines)
        .map_err(|error| failed(error.to_string()))?;
    if lines.len() as u64 > PUSHED_BYTES_MAX {
        return Err(failed(format!("Git names more than {PUSHED_BYTES_MAX} bytes of references")));
    }
    Ok(lines)
}
