//! What is touched, gathered file by file, with what has to be said of it.

use muse_coord::AddressError;
use muse_guard::{Footprint, Reason, limits};
use muse_repo::Repository;
use muse_symbols::Why;

/// Paths are relative to the top that addresses are relative to.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    footprint: Footprint,
    /// Below another top.
    outside: Vec<String>,
    /// Of what no address can be made.
    not_addressed: Vec<String>,
}

impl Gathered {
    /// The most bytes of a text that are looked into.
    pub(super) fn bytes_max() -> u64 {
        u64::try_from(limits().bytes_max).unwrap_or(u64::MAX)
    }

    /// A file that is touched where `new` differs from all of `olds`.
    pub(super) fn texts(&mut self, path: &str, olds: &[Option<&[u8]>], new: &[u8]) {
        let added = self.footprint.add_merged(path, olds, Some(new), &limits());
        self.note(path, &added);
    }

    /// A file that is touched whole.
    pub(super) fn whole(&mut self, path: &str, why: impl Into<Reason>) {
        let added = self.footprint.add_whole(path, why);
        self.note(path, &added);
    }

    /// All that is gathered there too.
    pub(super) fn append(&mut self, mut other: Gathered) {
        self.footprint.append(other.footprint);
        self.outside.append(&mut other.outside);
        self.not_addressed.append(&mut other.not_addressed);
    }

    /// A path that is not below the top.
    pub(super) fn outside(&mut self, path: &str) {
        self.outside.push(path.to_owned());
    }

    /// A path that no address can say.
    pub(super) fn not_addressed(&mut self, path: &str) {
        self.not_addressed.push(path.to_owned());
    }

    fn note(&mut self, path: &str, added: &Result<(), AddressError>) {
        match added {
            // What is in `.git` or `.muse` is never reserved.
            Ok(()) | Err(AddressError::Private { .. }) => {}
            Err(_) => self.not_addressed(path),
        }
    }

    /// What is touched. What has to be said of it is added to `warnings`.
    pub(super) fn finish(self, repository: &Repository, warnings: &mut Vec<String>) -> Footprint {
        let Gathered { footprint, mut outside, mut not_addressed } = self;
        outside.sort();
        not_addressed.sort();
        let top = repository.top().display();
        warnings.extend(several(&outside).map(|paths| format!("{paths}: left out, not being below {top}")));
        warnings.extend(several(&not_addressed).map(|paths| {
            format!("{paths}: left out, there being no address for it; nobody can have reserved it by name")
        }));
        warnings.extend(unexpected(&footprint));
        footprint
    }
}

/// The first of the paths, and how many more there are; `None` of none.
fn several(paths: &[String]) -> Option<String> {
    let first = paths.first()?;
    Some(match paths.len() {
        1 => format!("`{first}`"),
        count => format!("`{first}` and {} more", count - 1),
    })
}

/// A warning of files that count as a whole though their symbols could be expected to be told apart.
fn unexpected(footprint: &Footprint) -> Option<String> {
    let mut unexpected = footprint.whole().iter().filter(|whole| match whole.why {
        Reason::Text(why) => matches!(why, Why::Unread(_)),
        Reason::NoFile | Reason::Mode => false,
        _ => true,
    });
    let first = unexpected.next()?;
    Some(match unexpected.count() {
        0 => first.to_string(),
        more => format!("{first}; so do {more} more, for reasons of the kind"),
    })
}
