//! Guards at the edges: what makes a reservation count for those who never ask.

pub(crate) mod changes;
pub(crate) mod install;
