//! Which protections an engine keeps. Always all of them, except in the negative twins: tests that take one
//! out to prove that the tests of that protection can fail. Without the feature `twins` this is a value of
//! no size, and every question is answered `true` at compile time.

/// The protections of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Safeguards {
    #[cfg(feature = "twins")]
    without: Option<Safeguard>,
}

/// One protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safeguard {
    /// Grants and releases are made one at a time.
    StoreLock,
    /// A heartbeat and the supersession of its reservation exclude each other.
    RecordLock,
    /// A record appears under its name only when it is whole.
    Publishing,
    /// The content of a record is on the disk before its name is.
    FileSync,
    /// The name of a record is on the disk before it is reported.
    DirectorySync,
    /// A lapsed reservation that was granted over can never be revived.
    Supersession,
    /// A reservation is in the archive before it leaves the live store.
    ArchiveFirst,
    /// A line that was half written is cut off before the next one is appended.
    TornLine,
    /// Whoever comes later gives way to whoever waits.
    Queue,
}

impl Safeguards {
    /// Every protection: what every shipped engine has.
    #[cfg(not(feature = "twins"))]
    pub const ALL: Safeguards = Safeguards {};

    /// Every protection: what every shipped engine has.
    #[cfg(feature = "twins")]
    pub const ALL: Safeguards = Safeguards { without: None };

    /// All but one. For tests that expect to fail.
    #[cfg(feature = "twins")]
    pub const fn without(safeguard: Safeguard) -> Safeguards {
        Safeguards { without: Some(safeguard) }
    }

    #[cfg(not(feature = "twins"))]
    #[expect(clippy::unused_self, reason = "with the feature the answer depends on it")]
    pub(super) const fn keep(self, _: Safeguard) -> bool {
        true
    }

    #[cfg(feature = "twins")]
    pub(super) fn keep(self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }
}
