//! Everything at once: issue 3, acceptance 8.

#![allow(clippy::print_stdout, reason = "the figures are what the report of a run quotes")]
#![cfg(target_os = "linux")]

use std::time::Duration;

use muse_testkit::mixture::{MixtureReport, everything};
use muse_testkit::{Muse, assert_sound};

/// Names another history: `MUSE_MIXTURE_SEED=7 cargo test -p muse-cli --test mixture -- --ignored --nocapture`.
const SEED_VARIABLE: &str = "MUSE_MIXTURE_SEED";

fn run(duration: Duration, seed: u64) -> MixtureReport {
    let report = everything(&Muse::new(env!("CARGO_BIN_EXE_muse")), duration, seed);
    println!("seed {seed}: {}", report.figures());
    report
}

#[test]
fn a_quarter_of_a_minute_of_everything_at_once() {
    let report = run(Duration::from_secs(15), 1);
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

#[test]
#[ignore = "takes a minute; run by hand with seeds of your own"]
#[expect(clippy::disallowed_methods, reason = "whoever runs it by hand chooses the seed")]
fn a_minute_of_everything_at_once() {
    let seed = std::env::var(SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    assert_sound!(run(Duration::from_mins(1), seed).violations);
}
