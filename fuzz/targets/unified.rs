//! A unified diff, any bytes, and a text that it is applied to, parted by the first 0xFF.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_guard::unified::{Target, parse};

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0xFF);
    let (patch, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(files) = parse(patch) else { return };
    for file in files {
        if let Target::Changed { names, change } = file.target {
            assert!(matches!(names.len(), 1 | 2), "{names:?}");
            if let Some(new) = change.apply(text) {
                assert!(new.len() <= text.len() + patch.len(), "it adds what is in the patch");
            }
        }
    }
});
