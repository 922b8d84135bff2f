//! `muse coord check`.

use std::ffi::OsString;

use muse_coord::{Address, Check, CheckRequest, Conflict, Missing, Notice, RunId, Stale, Verdict};
use muse_guard::Footprint;
use serde::Serialize;

use crate::args::{CheckArgs, Subject};
use crate::commands::reserve::{check_count, not_stopped};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::guard::changes::{self, Source};
use crate::guard::{unified, unknown};
use crate::output::{Answer, Report, Screen};
use crate::wait::{SHOWN_MAX, describe, flag_value, in_the_way, more, or_end_the_holder};

/// What stands in the way of what is asked about.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    status: &'static str,
    run_id: RunId,
    /// All that is asked about.
    addresses: Vec<Address>,
    /// Those of them that are asked about as for a shared reservation.
    shared: Vec<Address>,
    conflicts: Vec<Conflict>,
    stale: Vec<Stale>,
    missing: Vec<Missing>,
    notices: Vec<Notice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    is_held: bool,
    /// Whether the addresses are those that somebody typed.
    #[serde(skip)]
    is_typed: bool,
}

impl CheckReport {
    /// What `check` found for `request`.
    pub(super) fn of(request: CheckRequest, check: Check) -> CheckReport {
        let status = match check.verdict() {
            Verdict::Clear => "ok",
            Verdict::Conflict => "conflict",
            Verdict::NotHeld => "not_held",
        };
        let next = next(&request, &check);
        let error = error(&request.run, &check);
        let Check { conflicts, stale, missing, notices } = check;
        CheckReport {
            status,
            addresses: request.addresses(),
            run_id: request.run,
            shared: request.shared,
            conflicts,
            stale,
            missing,
            notices,
            next,
            error,
            is_held: request.require,
            is_typed: true,
        }
    }
}

impl Report for CheckReport {
    fn exit_code(&self) -> u8 {
        if self.error.is_some() { exit::CONFLICT } else { exit::OK }
    }

    fn text(&self, screen: &mut Screen) {
        if self.error.is_none() {
            let what = if self.is_held { "held" } else { "clear" };
            screen.result(&format!("{what} run={}", self.run_id));
            let shown_max = if self.is_typed { usize::MAX } else { SHOWN_MAX };
            for address in self.addresses.iter().take(shown_max) {
                screen.result(&format!("  {address}"));
            }
            if !self.is_typed {
                more(screen, self.addresses.len(), "addresses");
            }
        }
        for conflict in self.conflicts.iter().take(SHOWN_MAX) {
            screen.error(&describe(conflict));
        }
        more(screen, self.conflicts.len(), "conflicts");
        for stale in self.stale.iter().take(SHOWN_MAX) {
            screen.error(&was_lost(stale));
        }
        more(screen, self.stale.len(), "that were lost");
        for missing in self.missing.iter().take(SHOWN_MAX) {
            screen.error(&is_not_held(&self.run_id, missing));
        }
        more(screen, self.missing.len(), "that are not held");
        for notice in self.notices.iter().take(SHOWN_MAX) {
            screen.warning(&not_stopped(notice));
        }
        more(screen, self.notices.len(), "notices");
        if let Some(next) = &self.next {
            screen.hint(next);
        }
    }
}

/// What is wrong, in one sentence.
fn error(run: &RunId, check: &Check) -> Option<String> {
    let others = |count: usize, what: &str| match count {
        0 | 1 => String::new(),
        count => format!("; {} more {what}", count - 1),
    };
    match (check.conflicts.first(), check.stale.first(), check.missing.first()) {
        (Some(first), ..) => Some(in_the_way(first, check.conflicts.len())),
        (None, Some(first), _) => {
            Some(format!("{}{}", was_lost(first), others(check.stale.len(), "lost likewise")))
        }
        (None, None, Some(first)) => {
            Some(format!("{}{}", is_not_held(run, first), others(check.missing.len(), "not held")))
        }
        (None, None, None) => None,
    }
}

/// What the run lost, and to whom, in one sentence.
pub(super) fn was_lost(stale: &Stale) -> String {
    let held = if stale.address == stale.held_address {
        String::new()
    } else {
        format!(" as `{}`", stale.held_address)
    };
    let since = match &stale.superseded_by {
        Some(successor) => {
            format!("run `{}` was granted it at {:#}", successor.run_id, successor.superseded_at)
        }
        None => "somebody was granted it since".to_owned(),
    };
    format!("`{}` was yours{held} until your reservation lapsed, and {since}", stale.address)
}

pub(super) fn is_not_held(run: &RunId, missing: &Missing) -> String {
    format!("`{}` is not held by run `{run}` ({})", missing.address, missing.mode.as_str())
}

/// What the run can do, in one sentence.
pub(super) fn next(request: &CheckRequest, check: &Check) -> Option<String> {
    let flag = if request.exclusive.is_empty() { " --shared" } else { "" };
    let reserve = |flags: &str| {
        format!("muse coord reserve ADDRESS...{flag}{flags} --run-id{}", flag_value(&request.run))
    };
    match check.verdict() {
        Verdict::Clear => None,
        Verdict::Conflict if check.conflicts.is_empty() => Some(format!(
            "reserve it anew, look again at what has become of the code, and change it then: {}",
            reserve("")
        )),
        Verdict::Conflict => {
            let wait = format!("work elsewhere, or wait for your turn: {}", reserve(" --wait SECONDS"));
            Some(or_end_the_holder(wait, &check.conflicts, &request.run))
        }
        Verdict::NotHeld => Some(format!("reserve it before you change it: {}", reserve(""))),
    }
}

pub(crate) fn run(args: &CheckArgs, context: &Context) -> Result<Answer<CheckReport>, CommandError> {
    answer(args, context).map_err(not_checked)
}

fn answer(args: &CheckArgs, context: &Context) -> Result<Answer<CheckReport>, CommandError> {
    let run = context.run_id(args.identity.run_id.as_ref())?;
    let Subject { addresses, staged, diff, worktree, patch } = &args.subject;
    check_count(addresses)?;
    let repository = context.repository()?;
    let mut warnings = Vec::new();
    let source = match (diff, staged, worktree) {
        (Some(revision), ..) => Some(Source::Since(revision_name(revision)?)),
        (_, true, _) => Some(Source::Staged),
        (_, _, true) => Some(Source::Worktree),
        (None, false, false) => None,
    };
    let footprint = match (source, patch) {
        (Some(source), _) => Some(changes::footprint(source, context, &repository, &mut warnings)?),
        (_, Some(file)) => Some(unified::footprint(file, context, &repository, &mut warnings)?),
        (None, None) => None,
    };
    let is_typed = footprint.is_none();
    let request = if let Some(footprint) = footprint {
        request(run, &footprint)
    } else {
        let addresses = context.addresses(addresses, &repository, &mut warnings)?;
        let (exclusive, shared) = if args.shared { (Vec::new(), addresses) } else { (addresses, Vec::new()) };
        CheckRequest::new(run, exclusive, shared)
    };
    let request = CheckRequest { require: args.require, ..request };
    let check = context.coordinator(&repository, Purpose::Ask)?.check(&request)?;
    if is_typed {
        warnings.extend(unknown::warnings(&request.addresses(), repository.top()));
    }
    let report = CheckReport { is_typed, ..CheckReport::of(request, check) };
    Ok(Answer { report, warnings })
}

/// The question whether `run` may change all that is touched.
pub(crate) fn request(run: RunId, footprint: &Footprint) -> CheckRequest {
    CheckRequest::new(run, footprint.exclusive().cloned().collect(), footprint.shared().cloned().collect())
}

fn revision_name(typed: &OsString) -> Result<&str, CommandError> {
    typed.to_str().ok_or_else(|| {
        let message = "the revision is not valid UTF-8: give the commit's id".to_owned();
        CommandError::new(Kind::BadArgs, message)
    })
}

/// A failure that leaves open whether the way is clear, which says so.
pub(super) fn not_checked(error: CommandError) -> CommandError {
    let (_, code) = error.kind.word_and_code();
    if code != exit::INTERNAL {
        return error;
    }
    CommandError { message: format!("this could not be checked: {}", error.message), ..error }
}
