//! What an edit touches: any bytes as two texts and the name of a language or a file, parted by 0xFF. Of a name that tells
//! no language, the length chooses among all that there are; without the third part it is Python. Within the limits of the
//! guards, which a text that grammars need long for has to keep as well: the driver's time-out is far above them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_guard::limits;
use muse_symbols::Language;

#[path = "../../crates/symbols/tests/invariants/mod.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0xFF);
    if let (Some(old), Some(new)) = (parts.next(), parts.next()) {
        invariants::hold_within(old, new, parts.next().map_or(Language::Python, language), &limits());
    }
});

fn language(name: &[u8]) -> Language {
    let is_named = |language: &&Language| language.name().as_bytes() == name;
    let named = Language::ALL.iter().find(is_named).copied();
    let told = named.or_else(|| std::str::from_utf8(name).ok().and_then(Language::of_path));
    told.unwrap_or(Language::ALL[name.len() % Language::ALL.len()])
}
