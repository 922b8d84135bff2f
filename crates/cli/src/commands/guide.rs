//! `muse coord guide`.

use serde::Serialize;

use crate::args::GuideArgs;
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen};

/// What an agent reads to use this well.
const GUIDE: &str = include_str!("../../../../docs/agent-guide.md");

#[derive(Debug, Serialize)]
pub(crate) struct GuideReport {
    status: &'static str,
    text: &'static str,
}

impl Report for GuideReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        screen.page(self.text);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every command can fail")]
pub(crate) fn run(_: &GuideArgs) -> Result<Answer<GuideReport>, CommandError> {
    Ok(Answer::new(GuideReport { status: "ok", text: GUIDE }))
}
