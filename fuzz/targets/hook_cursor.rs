//! Payloads of Cursor: any bytes at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_guard::Harness;

mod payload;

fuzz_target!(|bytes: &[u8]| payload::read(Harness::Cursor, bytes));
