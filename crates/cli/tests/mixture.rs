//! Everything at once: issue 3, acceptance 8.

#![allow(clippy::print_stdout, reason = "the figures are what the report of a run quotes")]
#![cfg(target_os = "linux")]

use std::time::Duration;

use muse_testkit::mixture::everything;
use muse_testkit::{Muse, assert_sound};

/// Longer, and another history: `MUSE_MIXTURE_SECONDS=60 MUSE_MIXTURE_SEED=7 cargo test -p muse-cli --test mixture
/// -- --nocapture`.
const SECONDS_VARIABLE: &str = "MUSE_MIXTURE_SECONDS";
const SEED_VARIABLE: &str = "MUSE_MIXTURE_SEED";

/// As long as it takes to see all that is asked for below.
const SECONDS: u64 = 15;

#[expect(clippy::disallowed_methods, reason = "whoever runs it by hand chooses")]
fn chosen(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn everything_at_once() {
    let duration = Duration::from_secs(chosen(SECONDS_VARIABLE, SECONDS));
    let seed = chosen(SEED_VARIABLE, 1);
    let report = everything(&Muse::new(env!("CARGO_BIN_EXE_muse")), duration, seed);
    println!("seed {seed}: {}", report.figures());
    for what in [
        "granted",
        "denied",
        "denied by a waiter",
        "extended",
        "released",
        "renewed",
        "revived",
        "superseded",
        "archived",
        "ran",
        "granted in turn",
        "wait_timeout",
        "killed",
        "stopped",
        "watched",
    ] {
        assert!(report.of(what) > 0, "the mixture is too dull: nothing was {what}");
    }
    assert_sound!(report.violations);
}
