//! `muse man`.

use std::fs;
use std::io;

use clap::CommandFactory;
use serde::Serialize;

use crate::args::{Cli, ManArgs};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};

#[derive(Debug, Serialize)]
pub(crate) struct ManReport {
    status: &'static str,
    folder: String,
}

impl Report for ManReport {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        screen.result(&format!("wrote the manual pages into {}", self.folder));
    }

    fn carried_out(&self) -> Option<&'static str> {
        Some("the manual pages were written")
    }
}

pub(crate) fn run(args: &ManArgs) -> Result<Answer<ManReport>, CommandError> {
    let folder = args.dir.to_string_lossy().into_owned();
    let failed = |error: io::Error| {
        let message = format!("cannot write the manual pages into {folder}: {error}; name another folder");
        CommandError::new(Kind::BadArgs, message)
    };
    fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    Ok(Answer::new(ManReport { status: "ok", folder }))
}
