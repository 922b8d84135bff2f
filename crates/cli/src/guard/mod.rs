//! Guards at the edges: what makes a reservation count for those who never ask.

pub(crate) mod changes;
mod gathered;
pub(crate) mod install;
pub(crate) mod unified;
