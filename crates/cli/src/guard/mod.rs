//! What guards do with files: reading what has changed, for `muse_guard` to tell what it touches.

pub(crate) mod changes;
mod comparing;
mod gathered;
pub(crate) mod unified;
