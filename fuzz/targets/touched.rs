//! What an edit touches: two texts of Python, any bytes, parted by the first 0xFF.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_symbols::Language;

#[path = "../../crates/symbols/tests/invariants/mod.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    let mut texts = bytes.splitn(2, |byte| *byte == 0xFF);
    if let (Some(old), Some(new)) = (texts.next(), texts.next()) {
        invariants::hold(old, new, Language::Python);
    }
});
