//! Tests of muse with real processes: races, kills at every system call, stopped processes, failing disks and
//! power loss.
//!
//! Every check returns the [`Violations`] that it saw instead of asserting. So the tests of `muse` assert that
//! there are none, and those of its negative twins, which are `muse` with one protection taken out, run the
//! very same code and assert that there are some.
//!
//! Nothing here asserts a duration. Every wait polls what it waits for, and has a deadline that only a hang
//! can reach. Every process that is started is ended by its own id, whatever happens.

#![allow(
    clippy::disallowed_methods,
    reason = "this drives processes and files from outside, which is what those lints keep out of the product"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness that cannot go on fails its test; only findings about muse are returned"
)]

pub mod etcd;
pub mod git;
pub mod history;
pub mod process;
pub mod races;
pub mod scratch;
pub mod tmux;
pub mod waiting;

#[cfg(target_os = "linux")]
pub mod archive;
#[cfg(target_os = "linux")]
pub mod faults;
#[cfg(target_os = "linux")]
pub mod kills;
#[cfg(target_os = "linux")]
pub mod mixture;
#[cfg(target_os = "linux")]
pub mod operations;
#[cfg(target_os = "linux")]
pub mod pauses;
#[cfg(target_os = "linux")]
pub mod power_loss;
#[cfg(target_os = "linux")]
pub mod strace;

pub use process::{Answer, Muse};
pub use scratch::Scratch;

/// What a check saw that must not be: one sentence each, with what it takes to find it again.
pub type Violations = Vec<String>;

/// Addresses most of which overlap some of the others, from different places: for random sequences.
pub const ADDRESSES: [&str; 11] = [
    "a.py",
    "a.py::f",
    "a.py::f.g",
    "a.py::h",
    "src/",
    "src/a.py",
    "src/a.py::f",
    "src/b.rs",
    "src/**/*.py",
    "*.py",
    "{lib,src}/?.rs",
];

/// The first violations as text, for a message.
pub fn show(violations: &Violations) -> String {
    const SHOWN_MAX: usize = 12;
    let mut text = format!("{} violations", violations.len());
    for violation in violations.iter().take(SHOWN_MAX) {
        text.push_str("\n  - ");
        text.push_str(violation);
    }
    text
}

/// Asserts that there is no violation.
#[macro_export]
macro_rules! assert_sound {
    ($violations:expr) => {
        let violations: $crate::Violations = $violations;
        assert!(violations.is_empty(), "{}", $crate::show(&violations));
    };
}

/// Asserts that a check noticed what was taken out of a twin, in the way that the text says.
#[macro_export]
macro_rules! assert_caught {
    ($violations:expr, $saying:expr) => {
        let violations: $crate::Violations = $violations;
        println!("{}", $crate::show(&violations));
        assert!(
            violations.iter().any(|violation| violation.contains($saying)),
            "nothing that says {:?} among {}",
            $saying,
            $crate::show(&violations)
        );
    };
}
