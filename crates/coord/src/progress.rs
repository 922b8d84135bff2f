//! How far something is that can take longer than a moment, for whoever shows it.

use std::fmt;

/// Is told how far a long operation is. Whoever implements it decides whether anybody sees it.
pub trait Progress: fmt::Debug + Send + Sync {
    /// A part of the operation begins, and the one before it is over. `total` is how many steps it has, where that
    /// is known; `what` says in two or three words what is done.
    fn begin(&self, total: Option<u64>, what: &'static str);

    /// So many more steps of the part are done.
    fn advance(&self, steps: u64);

    /// Nothing takes long any more.
    fn end(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Option<u64>, _: &'static str) {}

    fn advance(&self, _: u64) {}

    fn end(&self) {}
}
