//! The program `muse` with one protection taken out: the one that `MUSE_TWIN_WITHOUT` names.
//!
//! It exists to be caught. The tests of this package run what the tests of `muse` run and expect a failure, so
//! that a test which cannot fail is noticed. Never installed, never published.

use std::process::ExitCode;

use muse_coord::{Safeguard, Safeguards};

/// The environment variable that names the protection to take out.
const WITHOUT_VARIABLE: &str = "MUSE_TWIN_WITHOUT";

#[expect(clippy::disallowed_methods, reason = "the twin is told apart from muse by its environment alone")]
#[expect(clippy::print_stderr, reason = "a twin that is asked for nothing must say so and not act like muse")]
fn main() -> ExitCode {
    let without = std::env::var(WITHOUT_VARIABLE).unwrap_or_default();
    let safeguard = match without.as_str() {
        "StoreLock" => Safeguard::StoreLock,
        "RecordLock" => Safeguard::RecordLock,
        "Publishing" => Safeguard::Publishing,
        "FileSync" => Safeguard::FileSync,
        "DirectorySync" => Safeguard::DirectorySync,
        "Supersession" => Safeguard::Supersession,
        "ArchiveFirst" => Safeguard::ArchiveFirst,
        "TornLine" => Safeguard::TornLine,
        "Queue" => Safeguard::Queue,
        other => {
            eprintln!("{WITHOUT_VARIABLE} names no protection: `{other}`");
            return ExitCode::FAILURE;
        }
    };
    muse_cli::run(Safeguards::without(safeguard))
}
