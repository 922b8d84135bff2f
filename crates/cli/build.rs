//! Links the program at a fixed address where it can be.
//!
//! Every call of `muse` is a new process, and the loader of one that can be anywhere writes each address in its tables
//! anew: with the tables of seven grammars that was a quarter of the time that `muse --version` takes. Stack, heap and
//! shared libraries stay where the kernel puts them.

use std::env;

#[expect(clippy::disallowed_methods, reason = "this is how Cargo speaks with a build script")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    // Elsewhere such programs are not loaded, or are linked in other ways.
    let is_plain = target("OS") == "linux" && target("ENV") == "gnu";
    if is_plain && ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
