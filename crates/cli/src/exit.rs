//! Exit codes of the whole program, from `spec/coordination.md`.

/// Done; for a query, nothing in the way.
pub(crate) const OK: u8 = 0;
/// Bad arguments; or a heartbeat on a released reservation.
pub(crate) const BAD_ARGUMENTS: u8 = 1;
/// Usage error, or not in a repository.
pub(crate) const USAGE: u8 = 2;
/// Internal or integrity error.
pub(crate) const INTERNAL: u8 = 3;
/// Not found.
pub(crate) const NOT_FOUND: u8 = 4;
/// The distributed engine could not be reached, or said no.
pub(crate) const REMOTE: u8 = 5;
/// Conflict: held by another run, or not the holder.
pub(crate) const CONFLICT: u8 = 6;
/// Reservation lost while a command was running under it.
pub(crate) const LOST: u8 = 8;
/// `run`: the command is there and cannot be executed. As `env` and the shells have it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// `run`: there is no such command. As `env` and the shells have it.
pub(crate) const COMMAND_NOT_FOUND: u8 = 127;
/// Gave up waiting.
pub(crate) const GAVE_UP: u8 = 7;
/// What the number of a signal is added to, where one ended the wait.
pub(crate) const SIGNALLED: u8 = 128;
