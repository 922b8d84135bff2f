//! `muse coord guard install`, `uninstall` and `status`.

use std::path::Path;

use serde::Serialize;

use crate::args::{GuardInstallArgs, GuardStatusArgs, GuardTargets, GuardUninstallArgs};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::guard::install::apply::{ApplyError, apply};
use crate::guard::install::{self, FileChange, Options, Paste, Plan, Site, State, Target};
use crate::output::{Answer, Report, Screen};

/// What was put in, or taken out.
#[derive(Debug, Serialize)]
pub(crate) struct GuardReport {
    status: &'static str,
    dry_run: bool,
    targets: Vec<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    is_install: bool,
}

/// What was done with one target.
#[derive(Debug, Serialize)]
struct Done {
    target: Target,
    /// `installed`, `uninstalled`, `unchanged` or `to_paste`.
    status: &'static str,
    files: Vec<ChangedFile>,
    to_paste: Vec<Paste>,
    notes: Vec<String>,
}

/// One file that was changed.
#[derive(Debug, Serialize)]
struct ChangedFile {
    /// From the top of the working tree where it is inside it.
    path: String,
    /// `made`, `changed` or `removed`.
    change: &'static str,
    /// A unified diff.
    diff: String,
}

impl ChangedFile {
    fn of(change: &FileChange, site: &Site) -> ChangedFile {
        let path = site.shown(&change.path);
        let word = match (&change.before, &change.after) {
            (None, _) => "made",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        };
        let diff = unified(&path, change.before.as_deref(), change.after.as_deref());
        ChangedFile { path, change: word, diff }
    }
}

/// The change of a file as a unified diff.
fn unified(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    let name = |side: &str, bytes: Option<&[u8]>| match bytes {
        Some(_) => format!("{side}/{path}"),
        None => "/dev/null".to_owned(),
    };
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let hunks = diffy::create_patch(&text(before), &text(after)).to_string();
    // The names that it gives are its own.
    let hunks = hunks.find("@@ ").map_or("", |at| &hunks[at..]);
    format!("--- {}\n+++ {}\n{hunks}", name("a", before), name("b", after))
}

impl Report for GuardReport {
    fn exit_code(&self) -> u8 {
        if self.error.is_some() { exit::INTERNAL } else { exit::OK }
    }

    fn text(&self, screen: &mut Screen) {
        for Done { target, status, files, to_paste, notes } in &self.targets {
            let word = target.word();
            let would = if self.dry_run { "would be " } else { "" };
            match *status {
                "unchanged" if self.is_install => screen.status(&format!("{word}: installed already")),
                "unchanged" => screen.status(&format!("{word}: not installed")),
                "to_paste" => {}
                status => screen.result(&format!("{word}: {would}{status}")),
            }
            for file in files {
                screen.source(&file.diff);
            }
            for paste in to_paste {
                screen.error(&format!("{word}: {} is left as it is: {}", paste.path, paste.reason));
                if !paste.text.is_empty() {
                    screen.hint(&format!("put this into {} by hand:", paste.path));
                    screen.source(&paste.text);
                }
            }
            for note in notes {
                screen.hint(note);
            }
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        let is_changed = !self.dry_run && self.targets.iter().any(|done| !done.files.is_empty());
        is_changed.then_some(if self.is_install {
            "the guards were installed"
        } else {
            "the guards were uninstalled"
        })
    }
}

/// How often a plan is made anew because somebody else changed a file in between.
const PLANS_MAX: usize = 10;

pub(crate) fn install(
    args: &GuardInstallArgs,
    context: &Context,
) -> Result<Answer<GuardReport>, CommandError> {
    let top = context.top()?;
    let options = Options { strict: args.strict, mcp: args.mcp, require: args.require, force: args.force };
    let (targets, left_out) = chosen(&args.targets, |target| target.is_in_use(&top));
    let mut answer = carry_out(&targets, &top, args.dry_run, true, |target, site| {
        install::plan_install(target, site, options)
    })?;
    if !left_out.is_empty() {
        let flags: Vec<String> = left_out.iter().map(|target| format!("--{}", target.word())).collect();
        answer.warnings.push(format!("not in use here, and left out: {}", flags.join(", ")));
    }
    if !context.finds_program("muse") {
        answer.warnings.push(
            "`muse` is not on PATH here: until it is, the guards let everything through, or block it with --strict"
                .to_owned(),
        );
    }
    if let Err(error) = context.repository() {
        answer
            .warnings
            .push(format!("until there is a store, the guards let everything through: {}", error.message));
    }
    Ok(answer)
}

pub(crate) fn uninstall(
    args: &GuardUninstallArgs,
    context: &Context,
) -> Result<Answer<GuardReport>, CommandError> {
    let top = context.top()?;
    let (targets, _) = chosen(&args.targets, |_| true);
    carry_out(&targets, &top, args.dry_run, false, install::plan_uninstall)
}

/// The targets that are asked for, and those that `--all` leaves out.
fn chosen(args: &GuardTargets, mut is_in_use: impl FnMut(Target) -> bool) -> (Vec<Target>, Vec<Target>) {
    let is_named = |target| match target {
        Target::ClaudeCode => args.claude_code,
        Target::Codex => args.codex,
        Target::Cursor => args.cursor,
        Target::Gemini => args.gemini,
        Target::Copilot => args.copilot,
        Target::Opencode => args.opencode,
        Target::Git => args.git,
        Target::Skill => args.skill,
        Target::AgentsMd => args.agents_md,
    };
    let (named, others): (Vec<Target>, Vec<Target>) =
        Target::ALL.into_iter().partition(|&target| is_named(target));
    if !args.all {
        return (named, Vec::new());
    }
    let (in_use, left_out): (Vec<Target>, Vec<Target>) =
        others.into_iter().partition(|&target| is_in_use(target));
    let mut all: Vec<Target> = named.into_iter().chain(in_use).collect();
    all.sort();
    (all, left_out)
}

/// Plans all targets, then writes what was planned, unless it is only asked for, and makes the report.
fn carry_out(
    targets: &[Target],
    top: &Path,
    dry_run: bool,
    is_install: bool,
    plan: impl Fn(Target, &Site) -> Result<Plan, CommandError>,
) -> Result<Answer<GuardReport>, CommandError> {
    let mut attempt = 1;
    let (site, plans) = loop {
        let mut site = Site::new(top);
        let mut plans = Vec::with_capacity(targets.len());
        for &target in targets {
            let plan = plan(target, &site)?;
            site.take(&plan.changes);
            plans.push((target, plan));
        }
        match if dry_run { Ok(()) } else { apply(site.changes()) } {
            Ok(()) => break (site, plans),
            Err(error) if error.is_overtaken() && attempt < PLANS_MAX => attempt += 1,
            Err(error) => return Err(failure(error)),
        }
    };
    let done = |(target, plan): (Target, Plan)| {
        let status = match (plan.to_paste.is_empty(), plan.changes.is_empty(), is_install) {
            (false, ..) => "to_paste",
            (_, true, _) => "unchanged",
            (_, _, true) => "installed",
            (_, _, false) => "uninstalled",
        };
        let files = plan.changes.iter().map(|change| ChangedFile::of(change, &site)).collect();
        Done { target, status, files, to_paste: plan.to_paste, notes: plan.notes }
    };
    let targets: Vec<Done> = plans.into_iter().map(done).collect();
    let left: Vec<&str> =
        targets.iter().flat_map(|done| &done.to_paste).map(|paste| paste.path.as_str()).collect();
    let error = (!left.is_empty()).then(|| {
        format!("{} cannot be changed safely: change it by hand, as `to_paste` says", left.join(", "))
    });
    let status = if error.is_some() { "to_paste" } else { "ok" };
    Ok(Answer::new(GuardReport { status, dry_run, targets, error, is_install }))
}

fn failure(error: ApplyError) -> CommandError {
    let message = match error {
        ApplyError::Nothing(fault) => {
            format!("{fault}; nothing was changed: check its permissions and the space left, then try again")
        }
        ApplyError::Partly { done, fault } => {
            format!(
                "{fault}; {done} files before it were changed: put that right, then run the same command again"
            )
        }
    };
    CommandError::new(Kind::ConfigUnwritable, message)
}

/// Which guards there are.
#[derive(Debug, Serialize)]
pub(crate) struct GuardStatusReport {
    status: &'static str,
    top: String,
    targets: Vec<TargetStatus>,
}

#[derive(Debug, Serialize)]
struct TargetStatus {
    target: Target,
    state: State,
    strict: Option<bool>,
    files: Vec<String>,
    notes: Vec<String>,
}

impl Report for GuardStatusReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        for TargetStatus { target, state, strict, files, notes } in &self.targets {
            let state = match state {
                State::Absent => "not installed",
                State::Installed => "installed",
                State::Outdated => "out of date",
                State::Broken => "broken",
            };
            let strict = if *strict == Some(true) { ", strict" } else { "" };
            let word = target.word();
            screen.result(&format!("{word:<12} {:<14} {}", format!("{state}{strict}"), files.join(", ")));
            for note in notes {
                screen.result(&format!("{:12} {note}", ""));
            }
        }
    }
}

pub(crate) fn status(
    _: &GuardStatusArgs,
    context: &Context,
) -> Result<Answer<GuardStatusReport>, CommandError> {
    let top = context.top()?;
    let site = Site::new(&top);
    let mut targets = Vec::with_capacity(Target::ALL.len());
    for target in Target::ALL {
        let found = install::look(target, &site)?;
        targets.push(TargetStatus {
            target,
            state: found.state,
            strict: found.strict,
            files: found.files,
            notes: found.notes,
        });
    }
    Ok(Answer::new(GuardStatusReport { status: "ok", top: top.to_string_lossy().into_owned(), targets }))
}
