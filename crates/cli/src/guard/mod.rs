//! Guards at the edges: what makes a reservation count for those who never ask.

use std::path::{Component, Path, PathBuf};

pub(crate) mod changes;
mod comparing;
mod gathered;
pub(crate) mod install;
pub(crate) mod unified;
pub(crate) mod unknown;

/// The path without `.` and `..`, and with the symbolic links above its last name resolved, where they lead anywhere:
/// the file has its address by the folder that it lies in.
fn physical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    let resolved =
        plain.parent().and_then(|parent| Some(parent.canonicalize().ok()?.join(plain.file_name()?)));
    resolved.unwrap_or(plain)
}
