//! `muse completions`.

use clap::CommandFactory;
use serde::Serialize;

use crate::args::{Cli, CompletionsArgs};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct CompletionsReport {
    status: &'static str,
    shell: String,
    script: String,
}

impl Report for CompletionsReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        screen.script(&self.script);
    }
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Answer<CompletionsReport>, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "muse", &mut script);
    let script = String::from_utf8(script).map_err(|error| {
        CommandError::new(Kind::Internal, format!("the script is not valid UTF-8: {error}"))
    })?;
    Ok(Answer::new(CompletionsReport { status: "ok", shell: args.shell.to_string(), script }))
}
