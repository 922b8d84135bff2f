//! Payloads of the plugin of opencode: any bytes at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_guard::Harness;

mod payload;

fuzz_target!(|bytes: &[u8]| payload::read(Harness::Opencode, bytes));
