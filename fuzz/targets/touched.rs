//! What an edit touches: two texts, any bytes, parted by the first 0xFF. The name of their language may follow behind
//! another one; without it they are Python.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_symbols::Language;

#[path = "../../crates/symbols/tests/invariants/mod.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    let mut texts = bytes.splitn(3, |byte| *byte == 0xFF);
    if let (Some(old), Some(new)) = (texts.next(), texts.next()) {
        let named = texts.next().unwrap_or_default();
        let language = Language::ALL.iter().find(|language| language.name().as_bytes() == named);
        invariants::hold(old, new, language.copied().unwrap_or(Language::Python));
    }
});
