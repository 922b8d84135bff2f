//! Why a command could not do what it was asked, and the one match from kind to word and exit code.

use muse_coord::record::RecordError;
use muse_coord::{EngineError, IdError, RemoteFailure, ReservationId};
use muse_repo::{ChangesError, FindError, GitError, InitError};

use crate::exit;

/// A failure: what kind, a sentence that ends with what to do, and the reservation that it is about.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) reservation: Option<ReservationId>,
}

/// The kinds of failure. Being denied is none: it is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BadArgs,
    BadId,
    BadAddress,
    Usage,
    NotARepository,
    NotFound,
    StoreGone,
    StoreDamaged,
    StoreUnwritable,
    StoreBusy,
    UnsupportedFileSystem,
    SchemaTooNew,
    ConfigUnreadable,
    ConfigUnwritable,
    /// Of the engine.
    BadConfig,
    Unreachable,
    Refused,
    Unknown,
    Moved,
    Lost,
    CommandNotExecutable,
    CommandNotFound,
    Internal,
}

impl Kind {
    /// The word in `status`, and the exit code.
    pub(crate) const fn word_and_code(self) -> (&'static str, u8) {
        match self {
            Kind::BadArgs => ("bad_args", exit::BAD_ARGUMENTS),
            Kind::BadId => ("bad_id", exit::BAD_ARGUMENTS),
            Kind::BadAddress => ("bad_address", exit::BAD_ARGUMENTS),
            Kind::Usage => ("usage", exit::USAGE),
            Kind::NotARepository => ("not_a_repository", exit::USAGE),
            Kind::NotFound => ("not_found", exit::NOT_FOUND),
            Kind::StoreGone => ("store_gone", exit::INTERNAL),
            Kind::StoreDamaged => ("store_damaged", exit::INTERNAL),
            Kind::StoreUnwritable => ("store_unwritable", exit::INTERNAL),
            Kind::StoreBusy => ("store_busy", exit::INTERNAL),
            Kind::UnsupportedFileSystem => ("unsupported_file_system", exit::INTERNAL),
            Kind::SchemaTooNew => ("schema_too_new", exit::INTERNAL),
            Kind::ConfigUnreadable => ("config_unreadable", exit::INTERNAL),
            Kind::ConfigUnwritable => ("config_unwritable", exit::INTERNAL),
            Kind::BadConfig => ("bad_config", exit::BAD_ARGUMENTS),
            Kind::Unreachable => ("unreachable", exit::REMOTE),
            Kind::Refused => ("refused", exit::REMOTE),
            Kind::Unknown => ("unknown", exit::REMOTE),
            Kind::Moved => ("moved", exit::REMOTE),
            Kind::Lost => ("lost", exit::LOST),
            Kind::CommandNotExecutable => ("command_not_executable", exit::NOT_EXECUTABLE),
            Kind::CommandNotFound => ("command_not_found", exit::COMMAND_NOT_FOUND),
            Kind::Internal => ("internal", exit::INTERNAL),
        }
    }
}

/// The way out of damage.
const FSCK: &str = ": `muse coord fsck` says what is wrong, and with --repair puts it right";

/// What a store that is gone means.
const GONE: &str = ": every reservation made there is lost; stop, tell those who work here, and run `muse init` to make \
                    a new one";

/// What to do about an engine's error, where its message does not say it yet.
const fn advice(error: &EngineError) -> &'static str {
    match error {
        EngineError::Incomplete { .. }
        | EngineError::Damaged { source: RecordError::SchemaTooNew { .. }, .. }
        | EngineError::DamagedLine { source: RecordError::SchemaTooNew { .. }, .. } => "",
        EngineError::Damaged { .. }
        | EngineError::DamagedLine { .. }
        | EngineError::Misplaced { .. }
        | EngineError::TokensExhausted { .. } => FSCK,
        EngineError::Gone { .. } => GONE,
        EngineError::Unreadable { .. } => ": check its permissions and the disk, then try again",
        EngineError::Unwritable { .. } => ": check its permissions and the space left, then try again",
        EngineError::Busy { .. } => ": try again; if that process is stopped, continue or end it",
        EngineError::UnsupportedFileSystem { .. } => {
            ": keep the repository on a local disk, or use the distributed engine (MUSE_COORD_ENGINE=etcd)"
        }
        EngineError::Remote { failure: RemoteFailure::Unreachable, .. } => {
            ": could not check, so take it for held; look at the network and at etcd, then try again"
        }
        EngineError::Remote { failure: RemoteFailure::Refused, .. } => {
            ": look at what it says, then try again"
        }
        EngineError::Remote { failure: RemoteFailure::Unknown, .. } => {
            ": `muse coord list --run-id ID` tells what is there; asking again for the same is harmless"
        }
        EngineError::TooManyLapsed { .. } => {
            ": reserve less at once, or release some of them with `muse coord release ID --force --reason TEXT`"
        }
        EngineError::Moved { .. } => {
            ": have `engine` under [coordination] say so, as it does for those who moved it: in muse.toml, or for all \
             branches in .muse/config.toml"
        }
    }
}

impl CommandError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> CommandError {
        CommandError { kind, message: message.into(), reservation: None }
    }

    /// The same failure, told of this reservation.
    pub(crate) fn about(mut self, reservation: ReservationId) -> CommandError {
        self.reservation = Some(reservation);
        self
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> CommandError {
        let kind = match &error {
            EngineError::Damaged { source: RecordError::SchemaTooNew { .. }, .. }
            | EngineError::DamagedLine { source: RecordError::SchemaTooNew { .. }, .. } => Kind::SchemaTooNew,
            EngineError::Damaged { .. }
            | EngineError::DamagedLine { .. }
            | EngineError::Misplaced { .. }
            | EngineError::Incomplete { .. }
            | EngineError::Unreadable { .. }
            | EngineError::TokensExhausted { .. } => Kind::StoreDamaged,
            EngineError::Unwritable { .. } => Kind::StoreUnwritable,
            EngineError::Gone { .. } => Kind::StoreGone,
            EngineError::Busy { .. } => Kind::StoreBusy,
            EngineError::UnsupportedFileSystem { .. } => Kind::UnsupportedFileSystem,
            EngineError::Remote { failure: RemoteFailure::Unreachable, .. } => Kind::Unreachable,
            EngineError::Remote { failure: RemoteFailure::Refused, .. }
            | EngineError::TooManyLapsed { .. } => Kind::Refused,
            EngineError::Remote { failure: RemoteFailure::Unknown, .. } => Kind::Unknown,
            EngineError::Moved { .. } => Kind::Moved,
        };
        CommandError::new(kind, format!("{error}{}", advice(&error)))
    }
}

impl From<IdError> for CommandError {
    fn from(error: IdError) -> CommandError {
        CommandError::new(Kind::BadId, error.to_string())
    }
}

impl From<FindError> for CommandError {
    fn from(error: FindError) -> CommandError {
        let kind = match &error {
            FindError::NotARepository { .. } => Kind::NotARepository,
            FindError::StoreGone { .. } => Kind::StoreGone,
            FindError::NotAFolder { .. }
            | FindError::Git(GitError::Damaged { .. } | GitError::DeadLink { .. })
            | FindError::Mark(_)
            | FindError::Io { .. } => Kind::StoreDamaged,
            _ => Kind::Internal,
        };
        CommandError::new(kind, error.to_string())
    }
}

impl From<ChangesError> for CommandError {
    fn from(error: ChangesError) -> CommandError {
        let kind = match &error {
            ChangesError::NotGit { .. } | ChangesError::NoWorkingTree { .. } => Kind::NotARepository,
            ChangesError::Revision { .. } | ChangesError::PushLine { .. } => Kind::BadArgs,
            ChangesError::Git(_) | ChangesError::Unreadable { .. } => Kind::StoreDamaged,
            // A format that is not known.
            _ => Kind::Internal,
        };
        CommandError::new(kind, error.to_string())
    }
}

impl From<InitError> for CommandError {
    fn from(error: InitError) -> CommandError {
        match error {
            InitError::Find(error) => error.into(),
            InitError::Io { .. } => CommandError::new(Kind::StoreUnwritable, error.to_string()),
            _ => CommandError::new(Kind::Internal, error.to_string()),
        }
    }
}
