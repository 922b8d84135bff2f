//! What lies in an archive, read without muse, and whether anything is lost or there twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::operations::Ready;
use crate::scratch::names;
use crate::{Scratch, Violations};

/// The whole lines of archive files, of bytes that may end in the middle of one.
pub fn lines_of(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect()
}

/// The id of the reservation in a line.
pub fn id_of(line: &Value) -> &str {
    line["reservation"]["reservation_id"].as_str().unwrap_or_default()
}

/// The lines of an archive, the oldest first.
pub fn lines(scratch: &Scratch) -> Vec<Value> {
    let folder = scratch.store().join("archive");
    names(&folder)
        .iter()
        .flat_map(|name| lines_of(&fs::read(folder.join(name)).expect("an archive file can be read")))
        .collect()
}

/// What must not be after a collection, whatever happened to it: a reservation that is in neither place, or in the
/// archive twice or not as it was; a released or superseded one that is back without what says so.
pub fn lost_or_doubled(ready: &Ready, scratch: &Scratch) -> Violations {
    let mut wrong = Violations::new();
    let (before, after) = (ready.scratch.records(), scratch.records());
    let archived_before = lines(&ready.scratch);
    let archived = lines(scratch);
    let count = |id: &str| archived.iter().filter(|line| id_of(line) == id).count();
    for line in archived.iter().filter(|line| id_of(line).is_empty()) {
        wrong.push(format!("a line of the archive is not whole: {line}"));
    }
    let id_in = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let records = before.keys().filter(|path| path.starts_with("reservations"));
    let ids: BTreeSet<String> = records
        .map(|path| id_in(path))
        .chain(archived_before.iter().map(|line| id_of(line).to_owned()))
        .collect();
    for id in ids {
        let name = |folder: &str| Path::new(folder).join(format!("{id}.json"));
        let record = name("reservations");
        let is_live = after.contains_key(&record);
        match count(&id) {
            0 if !is_live => wrong.push(format!("{id} is lost")),
            0 | 1 => {}
            count => wrong.push(format!("{id} is in the archive {count} times")),
        }
        for mark in [name("releases"), name("superseded")] {
            if is_live && before.contains_key(&mark) && !after.contains_key(&mark) {
                wrong.push(format!("{id} is back without {}", mark.display()));
            }
        }
        let Some(line) = archived.iter().find(|line| id_of(line) == id) else { continue };
        for (field, folder) in [
            ("reservation", "reservations"),
            ("heartbeat", "heartbeats"),
            ("superseded", "superseded"),
            ("release", "releases"),
        ] {
            let was: Option<Value> =
                before.get(&name(folder)).map(|bytes| serde_json::from_slice(bytes).unwrap_or_default());
            if before.contains_key(&record) && line[field] != was.unwrap_or_default() {
                wrong.push(format!("{id} is archived without its {field}"));
            }
        }
    }
    wrong
}

/// What is left in the live store of reservations that are archived.
pub fn left_behind(ready: &Ready, scratch: &Scratch) -> Violations {
    let is_moved = |path: &Path| {
        path.file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|id| ready.moved.iter().any(|moved| moved == id))
    };
    scratch
        .records()
        .keys()
        .filter(|path| is_moved(path))
        .map(|path| format!("{} was left behind", path.display()))
        .collect()
}
