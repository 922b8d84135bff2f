//! `muse coord fsck`.

use muse_coord::{Checked, Counts, Finding, Repair};
use serde::Serialize;

use crate::args::FsckArgs;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct FsckReport {
    status: &'static str,
    /// Whether something was wrong and all of it was put right.
    repaired: bool,
    findings: Vec<Finding>,
    /// What is normal: no reason to fail.
    notices: Vec<Finding>,
    checked: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

impl Report for FsckReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        for finding in &self.findings {
            screen.result(&format!("{}: {}: {}", finding.path, finding.kind.as_str(), finding.detail));
            if let Some(action) = &finding.action {
                screen
                    .result(&format!("  {} {action}", if finding.repaired { "repaired:" } else { "to do:" }));
            }
        }
        for notice in &self.notices {
            let action = notice.action.as_ref().map(|action| format!(" ({action})")).unwrap_or_default();
            screen.status(&format!("{}: {}: {}{action}", notice.path, notice.kind.as_str(), notice.detail));
        }
        if let Some(error) = &self.error {
            screen.error(error);
        }
        let Counts { records, companions, archived, tickets, index_entries } = self.checked;
        screen.status(&format!(
            "checked: reservations {records}, records beside them {companions}, lines of the archive {archived}, \
             tickets {tickets}, entries of the index {index_entries}"
        ));
        if self.findings.is_empty() {
            screen.result("nothing is wrong");
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        let mut all = self.findings.iter().chain(&self.notices);
        all.any(|finding| finding.repaired).then_some("the repair was carried out")
    }
}

pub(crate) fn run(args: &FsckArgs, context: &Context) -> Result<Answer<FsckReport>, CommandError> {
    let repository = context.repository()?;
    let repair = if args.repair { Repair::Yes } else { Repair::No };
    let engine = context.engine(&repository, Purpose::Tend)?;
    let progress = context.progress();
    let checked = engine.check(repair, &*progress)?;
    drop(progress);

    let Checked { findings, notices, counts } = checked;
    let left = findings.iter().filter(|finding| !finding.repaired).count();
    let repaired = left == 0 && !findings.is_empty();
    let (status, exit_code) = if left == 0 { ("ok", exit::OK) } else { Kind::StoreDamaged.word_and_code() };
    let what = if left == 1 { "1 thing is wrong".to_owned() } else { format!("{left} things are wrong") };
    let error = (left > 0).then(|| {
        let next = if args.repair {
            "do what each of them says, then check again"
        } else {
            "put it right with `muse coord fsck --repair`, which loses nothing"
        };
        format!("{what} with {}: {next}", engine.place().display())
    });
    let report = FsckReport { status, repaired, findings, notices, checked: counts, error, exit_code };
    Ok(Answer::new(report))
}
