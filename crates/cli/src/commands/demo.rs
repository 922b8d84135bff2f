//! `muse demo`: the main job on real input.

use serde::Serialize;

use crate::args::DemoArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct DemoReport {
    status: &'static str,
}

impl Report for DemoReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, _: &mut Screen) {}
}

pub(crate) fn run(_: &DemoArgs, context: &Context) -> Result<Answer<DemoReport>, CommandError> {
    let _program = context.program()?;
    let _folder = context.temporary_folder();
    Ok(Answer::new(DemoReport { status: "ok" }))
}
