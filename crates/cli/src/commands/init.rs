//! `muse init`.

use std::path::Path;

use muse_coord::{EngineError, Prepared};
use serde::Serialize;

use crate::args::InitArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::settings::EngineSettings;

#[derive(Debug, Serialize)]
pub(crate) struct Initialised {
    status: &'static str,
    /// Whether this call made the store.
    created: bool,
    /// The folder that addresses are relative to here.
    top: String,
    /// The folder that holds the reservations.
    store: String,
}

impl Report for Initialised {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        let done = if self.created { "made the store" } else { "the store is there already:" };
        screen.result(&format!("{done} {}", self.store));
        if self.created {
            screen.hint("reserve what you are about to change: muse coord reserve PATH::SYMBOL --run-id ID");
        }
    }

    fn carried_out(&self) -> Option<&'static str> {
        self.created.then_some("the store was made")
    }
}

pub(crate) fn run(_: &InitArgs, context: &Context) -> Result<Answer<Initialised>, CommandError> {
    let initialised = muse_repo::init(&context.current_directory()?, context.root())?;
    let repository = &initialised.repository;
    let Prepared { created, restored } = match context.files(repository).prepare() {
        // Nothing is to be made where the reservations were moved to the engine that is chosen.
        Err(EngineError::Moved { .. })
            if matches!(context.settings(repository)?, EngineSettings::Etcd { .. }) =>
        {
            Prepared::default()
        }
        prepared => prepared?,
    };
    initialised.leave_mark()?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut answer = Answer::new(Initialised {
        status: "ok",
        created,
        top: text(repository.top()),
        store: text(&repository.coordination()),
    });
    for folder in restored {
        answer.warnings.push(format!(
            "{} was missing and is made again: what had been in it is lost, so tell those who work here to \
             reserve again",
            folder.display()
        ));
    }
    if initialised.replaced_lost_store {
        answer.warnings.push(
            "there had been a store here, and it was deleted: the reservations in it are lost, \
             so tell those who work here to reserve again"
                .to_owned(),
        );
    }
    Ok(answer)
}
