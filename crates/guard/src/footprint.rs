//! The addresses that a set of changed files touches.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use muse_coord::Address;
use muse_coord::address::{AddressError, TOP_SYMBOL};
use muse_symbols::{Language, Limits, Part, Touched, Why, touched};

use crate::edit::Unclear;

/// What reading one side of a changed file may cost: 1 MiB and 150 ms. A file beyond that is touched whole.
///
/// Grammars have texts that they need very long for; the time is what a person does not notice, and far below the
/// shortest time-out of a harness.
pub const fn limits() -> Limits {
    Limits { bytes_max: Limits::BYTES_MAX_DEFAULT, time_max: Some(Duration::from_millis(150)) }
}

/// What changed files touch, as addresses.
///
/// Symbols and whole files are touched exclusively. What stands outside every symbol is `path::@top`, and touched as
/// by a shared reservation: two who add an import each do not stop each other, and one who holds the file, or `@top`
/// itself, stops both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    exclusive: BTreeSet<Address>,
    shared: BTreeSet<Address>,
    whole: Vec<Whole>,
}

/// A file that is touched whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The file.
    pub address: Address,
    /// Why it cannot be told, or need not be, what in it is touched.
    pub why: Reason,
}

/// Why a file is touched whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its texts say no more.
    Text(Why),
    /// It is, or was, a symbolic link or a submodule.
    NoFile,
    /// It became executable, or is so no longer.
    Mode,
    /// A merge left a conflict in it.
    Conflicted,
    /// It is larger than this many bytes, and was not read.
    Large(u64),
    /// What is to be changed in it is not in it.
    NotApplied,
    /// What it becomes by the edit is not known.
    Edit(Unclear),
}

impl From<Why> for Reason {
    fn from(why: Why) -> Reason {
        Reason::Text(why)
    }
}

impl From<Unclear> for Reason {
    fn from(unclear: Unclear) -> Reason {
        Reason::Edit(unclear)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Text(why) => why.fmt(f),
            Reason::NoFile => f.write_str("it is no file, or was none"),
            Reason::Mode => f.write_str("its executable bit is changed"),
            Reason::Conflicted => f.write_str("a merge left a conflict in it"),
            Reason::Large(bytes_max) => write!(f, "it has more than {bytes_max} bytes"),
            Reason::NotApplied => f.write_str("the patch does not apply to it"),
            Reason::Edit(unclear) => unclear.fmt(f),
        }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` counts as a whole: {}", self.address, self.why)
    }
}

impl Footprint {
    /// Adds a file that was `old` and becomes `new`; `None` where there is no file. `path` is relative to the top that
    /// addresses are relative to. Equal bytes add nothing.
    ///
    /// # Errors
    ///
    /// No address can be made of `path`: it lies in `.git` or `.muse`, or is too long. Nothing was added then.
    pub fn add(
        &mut self,
        path: &str,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<(), AddressError> {
        self.add_merged(path, &[old], new, limits)
    }

    /// Adds a file that was each of `olds` in one of the commits that are merged, and becomes `new`. It is touched
    /// where it differs from all of them: what one of them has already, the merge does not change.
    ///
    /// # Errors
    ///
    /// As those of [`Footprint::add`].
    pub fn add_merged(
        &mut self,
        path: &str,
        olds: &[Option<&[u8]>],
        new: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<(), AddressError> {
        let file = Address::of_file(path)?;
        let language = Language::of_path(path);
        let each = olds.iter().map(|old| touched(*old, new, language, limits));
        match each.reduce(touched_by_both) {
            Some(Touched::Whole(why)) => self.add_address(file, why.into()),
            Some(Touched::Parts(parts)) => {
                for part in parts {
                    self.add_part(&file, &part);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Adds a file as a whole.
    ///
    /// # Errors
    ///
    /// As those of [`Footprint::add`].
    pub fn add_whole(&mut self, path: &str, why: impl Into<Reason>) -> Result<(), AddressError> {
        self.add_address(Address::of_file(path)?, why.into());
        Ok(())
    }

    fn add_address(&mut self, file: Address, why: Reason) {
        if self.exclusive.insert(file.clone()) {
            self.whole.push(Whole { address: file, why });
        }
    }

    fn add_part(&mut self, file: &Address, part: &Part) {
        match part {
            Part::Top => self.shared.extend(file.with_symbol(TOP_SYMBOL)),
            // A name that makes the address too long stands for the file.
            Part::Symbol(name) => {
                self.exclusive.insert(file.with_symbol(name).unwrap_or_else(|_| file.clone()));
            }
        }
    }

    /// Adds all that `other` touches.
    pub fn append(&mut self, other: Footprint) {
        let Footprint { exclusive, shared, whole } = other;
        // Before its addresses are: what is here already has its reason.
        let new = whole.into_iter().filter(|whole| !self.exclusive.contains(&whole.address));
        self.whole.extend(new);
        self.whole.sort_by(|one, other| one.address.cmp(&other.address));
        self.exclusive.extend(exclusive);
        self.shared.extend(shared);
    }

    /// Whether nothing is touched.
    pub fn is_empty(&self) -> bool {
        self.exclusive.is_empty() && self.shared.is_empty()
    }

    /// What is touched alone, in order.
    pub fn exclusive(&self) -> impl ExactSizeIterator<Item = &Address> {
        self.exclusive.iter()
    }

    /// What is touched beside others, in order.
    pub fn shared(&self) -> impl ExactSizeIterator<Item = &Address> {
        self.shared.iter()
    }

    /// Which files are touched whole, and why: in the order in which they were added, or, after
    /// [`Footprint::append`], in that of their addresses.
    pub fn whole(&self) -> &[Whole] {
        &self.whole
    }
}

/// What two comparisons both say is touched.
fn touched_by_both(one: Touched, other: Touched) -> Touched {
    match (one, other) {
        (Touched::Parts(one), Touched::Parts(other)) => {
            Touched::Parts(one.intersection(&other).cloned().collect())
        }
        (Touched::Whole(_), parts @ Touched::Parts(_)) => parts,
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, old: Option<&str>, new: Option<&str>) -> (Vec<String>, Vec<String>) {
        let mut footprint = Footprint::default();
        footprint.add(path, old.map(str::as_bytes), new.map(str::as_bytes), &limits()).unwrap();
        let texts = |addresses: &BTreeSet<Address>| addresses.iter().map(Address::to_string).collect();
        (texts(&footprint.exclusive), texts(&footprint.shared))
    }

    #[test]
    fn a_symbol_is_touched_alone_and_what_is_outside_beside_others() {
        let old = "import a\n\nclass C:\n    def f(self):\n        return 1\n";
        let new = "import a\nimport b\n\nclass C:\n    def f(self):\n        return 2\n";
        let (exclusive, shared) = told("src/m.py", Some(old), Some(new));
        assert_eq!(exclusive, ["src/m.py::C.f"]);
        assert_eq!(shared, ["src/m.py::@top"]);
    }

    #[test]
    fn what_is_new_gone_or_of_no_language_is_touched_whole() {
        for (path, old, new) in [
            ("a.py", None, Some("x = 1\n")),
            ("a.py", Some("x = 1\n"), None),
            ("notes.txt", Some("one\n"), Some("two\n")),
            ("a.py", Some("x = 1\n"), Some("x = \0\n")),
        ] {
            assert_eq!(told(path, old, new), (vec![path.to_owned()], vec![]), "{path} {old:?} {new:?}");
        }
    }

    #[test]
    fn equal_bytes_touch_nothing() {
        assert_eq!(told("notes.txt", Some("same\n"), Some("same\n")), (vec![], vec![]));
    }

    #[test]
    fn of_a_merge_is_touched_what_differs_from_all_that_is_merged() {
        let base = "import a\n\ndef f():\n    return 1\n\ndef g():\n    return 1\n";
        let ours = base.replacen("return 1", "return 2", 1);
        let theirs =
            format!("import b\n{}", base.replace("def g():\n    return 1", "def g():\n    return 3"));
        let merged = theirs.replacen("return 1", "return 2", 1);
        let told = |olds: &[Option<&str>], new: &str| {
            let olds: Vec<Option<&[u8]>> = olds.iter().map(|old| old.map(str::as_bytes)).collect();
            let mut footprint = Footprint::default();
            footprint.add_merged("m.py", &olds, Some(new.as_bytes()), &limits()).unwrap();
            footprint.exclusive.iter().chain(&footprint.shared).map(Address::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[Some(&ours)], &merged), ["m.py::g", "m.py::@top"]);
        assert_eq!(told(&[Some(&ours), Some(&theirs)], &merged), [""; 0]);
        // What is written beside both.
        let settled = format!("{}\ndef h():\n    return 4\n", merged.replace("return 2", "return 5"));
        assert_eq!(told(&[Some(&ours), Some(&theirs)], &settled), ["m.py::f", "m.py::h"]);
        // New on one side: it is told what is done to it. New on both: nothing can be.
        assert_eq!(told(&[None, Some(&theirs)], &settled), ["m.py::f", "m.py::h"]);
        assert_eq!(told(&[Some(&theirs), None], &settled), ["m.py::f", "m.py::h"]);
        assert_eq!(told(&[None, None], &settled), ["m.py"]);
    }

    #[test]
    fn a_path_is_quoted_as_addresses_are() {
        let (exclusive, _) = told("src/[id] ü.py", Some("def f(): return 1\n"), Some("def f(): return 2\n"));
        assert_eq!(exclusive, ["src/\\[id\\] ü.py::f"]);
    }

    #[test]
    fn two_footprints_are_one_whatever_their_order() {
        let one = |path: &str, old: &str, new: &str| {
            let mut footprint = Footprint::default();
            footprint.add(path, Some(old.as_bytes()), Some(new.as_bytes()), &limits()).unwrap();
            footprint
        };
        let parts = [
            one("b.txt", "1", "2"),
            one("a.txt", "1", "2"),
            one("b.txt", "2", "3"),
            one("a.py", "def f(): return 1\n", "import a\ndef f(): return 2\n"),
        ];
        let joined = |order: [usize; 4]| {
            let mut all = Footprint::default();
            for part in order {
                all.append(parts[part].clone());
            }
            all
        };
        let all = joined([0, 1, 2, 3]);
        let whole: Vec<&str> = all.whole().iter().map(|whole| whole.address.as_str()).collect();
        assert_eq!(whole, ["a.txt", "b.txt"]);
        assert_eq!((all.exclusive().len(), all.shared().len()), (3, 1));
        assert_eq!(all, joined([3, 2, 1, 0]));
    }

    #[test]
    fn a_private_path_adds_nothing() {
        let mut footprint = Footprint::default();
        assert!(footprint.add(".muse/x.py", None, Some(b"x = 1\n"), &limits()).is_err());
        assert!(footprint.is_empty());
    }

    #[test]
    fn a_name_too_long_for_an_address_stands_for_the_file() {
        let path = format!("{}/a.py", vec!["d".repeat(200); 20].join("/"));
        let name = "f".repeat(900);
        let text = |value: u8| format!("def {name}():\n    return {value}\n");
        let (exclusive, _) = told(&path, Some(&text(1)), Some(&text(2)));
        assert_eq!(exclusive, [path]);
    }
}
