//! What a guard could not check, in `.muse/hook.log`: whoever wonders later finds it there, for harnesses show standard
//! error to nobody. Of bounded size: one file and the one before it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use muse_guard::Harness;

use crate::context::Context;

/// The name of the log, in the folder `.muse`.
const LOG: &str = "hook.log";
/// The name of the log before it.
const OLD_LOG: &str = "hook.log.1";
/// When a log is put aside: some hundred lines.
const LOG_BYTES_MAX: u64 = 64 << 10;
/// The longest sentence, so that a line is written at once.
const SENTENCE_CHARACTERS_MAX: usize = 1000;

/// Adds a line to the log beside the store whose folder is `store`. That it cannot be written stops nobody.
#[expect(
    clippy::disallowed_methods,
    reason = "a log is no record: nobody reads it half done, and nothing depends on it"
)]
pub(super) fn add(store: &Path, called_as: Harness, sentence: &str, context: &Context) {
    let path = store.join(LOG);
    match path.symlink_metadata() {
        // A link, or what is no file, would lead the line somewhere else.
        Ok(metadata) if !metadata.is_file() => return,
        Ok(metadata) if metadata.len() >= LOG_BYTES_MAX => {
            fs::rename(&path, store.join(OLD_LOG)).unwrap_or_default();
        }
        _ => {}
    }
    let sentence: String = sentence.chars().take(SENTENCE_CHARACTERS_MAX).collect();
    let line = format!("{} {} {sentence}\n", context.now(), called_as.name());
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap_or_default();
}
