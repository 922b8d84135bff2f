//! Patches and the files that they are applied to: a text, a NUL, and the bytes of a file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_guard::Change;
use muse_guard::edit::After;
use muse_guard::patch::{Chunk, parse};

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let file = bytes.get(end + 1..).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let edits = match parse(text) {
        Ok(edits) => edits,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!edits.is_empty());
    for edit in &edits {
        assert!(!edit.path.is_empty() && edit.path.trim() == edit.path);
        let after = edit.change.apply(Some(file));
        match &edit.change {
            Change::Patch(chunks) => check(file, chunks, &after),
            Change::Write(text) => assert_eq!(after, After::Bytes(text.clone().into_bytes())),
            Change::Delete => assert_eq!(after, After::Gone),
            Change::Unknown => assert!(matches!(after, After::Unclear(_))),
            Change::Replace(_) => unreachable!("a patch replaces lines, not texts"),
        }
    }
    // Nothing behind the end counts.
    if text.lines().any(|line| line.trim() == "*** End Patch") {
        assert_eq!(parse(&format!("{text}\nmore")).expect("as before"), edits);
    }
});

/// All lines that chunks put in are there afterwards, and there are as many lines as the chunks make.
fn check(file: &[u8], chunks: &[Chunk], after: &After) {
    let After::Bytes(made) = after else { return };
    let text = std::str::from_utf8(made).expect("of texts a text is made");
    let old = std::str::from_utf8(file).expect("it was read").lines().count();
    let (goes, comes): (usize, usize) =
        chunks.iter().fold((0, 0), |(goes, comes), chunk| (goes + chunk.old.len(), comes + chunk.new.len()));
    assert!(text.is_empty() || text.ends_with('\n'));
    // A chunk may end with an empty line that is none of the file's.
    let slack = chunks.len() + 1;
    assert!((old + comes + slack).checked_sub(goes).is_some_and(|most| text.lines().count() <= most));
    for line in chunks.iter().flat_map(|chunk| chunk.new.iter()).filter(|line| !line.is_empty()) {
        assert!(text.split('\n').any(|its| its == line || its.strip_suffix('\r') == Some(line)));
    }
}
