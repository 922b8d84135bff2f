//! The hook of a coding harness.

use muse_guard::Harness;

use crate::args::HarnessArgs;
use crate::context::Context;
use crate::exit;

/// Answers the payload on standard input, and returns the exit code.
pub(crate) fn run(_called_as: Harness, _args: &HarnessArgs, _context: &Context) -> u8 {
    exit::OK
}
