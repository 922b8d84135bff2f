//! The program `muse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    muse_cli::run(muse_coord::Safeguards::ALL)
}
