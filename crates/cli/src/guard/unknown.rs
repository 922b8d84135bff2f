//! Symbols that somebody names and that their file does not have: a slip of the pen, or something to be written yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use muse_coord::address::TOP_SYMBOL;
use muse_coord::{Address, Stopwatch};
use muse_guard::limits;
use muse_symbols::{Detail, Language, Limits, outline};

/// The most files that are looked into: each costs as much as parsing it.
const FILES_MAX: usize = 16;

/// The longest time that all of it takes: what is reserved is held meanwhile, and nobody has been told yet.
const TIME_MAX: Duration = Duration::from_millis(100);

/// The most symbols that are told of.
const TOLD_MAX: usize = 10;

/// The most names of a file that a name is compared with.
const COMPARED_MAX: usize = 5000;

/// How many near names are told.
const NEAREST_MAX: usize = 3;

/// How near a name has to be, from 0 to 1: below it lie names that have no more than a few letters in common.
const NEARNESS_MIN: f64 = 0.75;

/// A sentence for each symbol that its file does not have. `top` is what addresses are relative to.
///
/// Nothing is said where it cannot be known: of files that are not there, that are in no known language, that cannot be
/// read or are too large; and, in a file with faults, of a name that stands somewhere in it. Nothing is said either of
/// what would cost too much: beyond the first 16 files, the first ten sentences and a tenth of a second.
pub(crate) fn warnings(addresses: &[Address], top: &Path) -> Vec<String> {
    let mut files: BTreeMap<&str, Vec<(&Address, &str)>> = BTreeMap::new();
    for address in addresses {
        if let (Some(path), Some(symbol)) = (address.literal_path(), address.symbol())
            && symbol != TOP_SYMBOL
        {
            files.entry(path).or_default().push((address, symbol));
        }
    }
    let begun = Stopwatch::start();
    let mut warnings = Vec::new();
    for (path, named) in files.into_iter().take(FILES_MAX) {
        let time_left = TIME_MAX.saturating_sub(begun.elapsed());
        let Some(names) = Names::of(path, top, time_left) else { continue };
        let unknown = named.into_iter().filter(|(_, symbol)| !names.may_have(symbol));
        for (address, symbol) in unknown.take(TOLD_MAX - warnings.len()) {
            warnings.push(names.sentence(address, symbol));
        }
        if warnings.len() == TOLD_MAX {
            break;
        }
    }
    warnings
}

/// What the symbols of a file are called.
struct Names {
    names: BTreeSet<String>,
    /// The whole text, if a part of it could not be understood.
    not_understood: Option<String>,
}

impl Names {
    fn of(path: &str, top: &Path, time_max: Duration) -> Option<Names> {
        let language = Language::of_path(path)?;
        let absolute = top.join(path);
        if !absolute.symlink_metadata().ok()?.is_file() {
            return None;
        }
        let limits = Limits { time_max: Some(time_max), ..limits() };
        let mut text = Vec::new();
        let bytes_max = u64::try_from(limits.bytes_max).ok()?;
        // One more than may be, to be too large.
        File::open(absolute).ok()?.take(bytes_max.saturating_add(1)).read_to_end(&mut text).ok()?;
        let outline = outline(&text, language, Detail::Spans, &limits).ok()?;
        let not_understood = (!outline.is_clean()).then(|| String::from_utf8_lossy(&text).into_owned());
        Some(Names {
            names: outline.symbols.into_iter().map(|symbol| symbol.qualified).collect(),
            not_understood,
        })
    }

    fn may_have(&self, symbol: &str) -> bool {
        let is_in_it = |text: &String| text.contains(last(symbol));
        self.names.contains(symbol) || self.not_understood.as_ref().is_some_and(is_in_it)
    }

    fn sentence(&self, address: &Address, symbol: &str) -> String {
        let near = match &self.nearest(symbol)[..] {
            [] => String::new(),
            names => format!(", but {}", names.join(", ")),
        };
        format!("there is no `{address}` yet{near}: see `muse symbols`, if it was not meant to be new")
    }

    /// The nearest first; of equally near ones, in order.
    fn nearest(&self, symbol: &str) -> Vec<String> {
        let mut near: Vec<(f64, &String)> = self
            .names
            .iter()
            .take(COMPARED_MAX)
            .map(|name| (nearness(symbol, name), name))
            .filter(|(nearness, _)| *nearness >= NEARNESS_MIN)
            .collect();
        near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        near.into_iter().take(NEAREST_MAX).map(|(_, name)| format!("`{name}`")).collect()
    }
}

/// From 0 to 1; 1 also where only what is around a symbol differs.
fn nearness(one: &str, other: &str) -> f64 {
    let lower = |text: &str| text.to_lowercase();
    let whole = strsim::jaro_winkler(&lower(one), &lower(other));
    let own = strsim::normalized_damerau_levenshtein(&lower(last(one)), &lower(last(other)));
    whole.max(own)
}

/// The symbol's own name.
fn last(symbol: &str) -> &str {
    symbol.rsplit('.').next().unwrap_or(symbol)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test writes files")]

    use std::fs;

    use super::*;

    const SHOP: &str = "class Invoice:\n    def total(self):\n        return 1\n    def tax(self): pass\n\ndef main(): pass\n";

    fn told(files: &[(&str, &str)], addresses: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("a.py", folder.path().join("link.py")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let addresses: Vec<Address> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        warnings(&addresses, folder.path())
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let files = [("a.py", SHOP)];
        let known =
            ["a.py", "a.py::@top", "a.py::Invoice", "a.py::Invoice.total", "a.py::main", "*.py", "./"];
        assert_eq!(told(&files, &known), [""; 0]);
        let near = |symbol: &str| {
            let told = told(&files, &[&format!("a.py::{symbol}")]);
            let [sentence] = &told[..] else { panic!("{told:?}") };
            let rest = sentence.strip_prefix(&format!("there is no `a.py::{symbol}` yet")).unwrap();
            let near = rest.strip_suffix(": see `muse symbols`, if it was not meant to be new").unwrap();
            near.strip_prefix(", but ").unwrap_or(near).to_owned()
        };
        assert_eq!(near("Invoice.totl"), "`Invoice.total`, `Invoice`, `Invoice.tax`");
        assert_eq!(near("total"), "`Invoice.total`");
        assert_eq!(near("invoice"), "`Invoice`, `Invoice.tax`, `Invoice.total`");
        assert_eq!(near("Main"), "`main`");
        assert_eq!(near("xyz"), "");
    }

    #[test]
    fn nothing_is_told_where_it_cannot_be_known() {
        let faulty = "def main(:\n    return 1\n\nclass Half\n    def begun(self):\n";
        let large = format!("{SHOP}#{}", "x".repeat(limits().bytes_max));
        let files = [("a.txt", SHOP), ("faulty.py", faulty), ("large.py", &large), ("binary.py", "\0")];
        let files = [&files[..], &[("a.py", SHOP)]].concat();
        let unknown =
            ["a.txt::x", "link.py::x", "faulty.py::Half.begun", "large.py::x", "binary.py::x", "none.py::x"];

        assert_eq!(told(&files, &unknown), [""; 0]);
        assert_eq!(told(&files, &["faulty.py::nowhere"]).len(), 1);
    }

    #[test]
    fn no_more_is_told_and_looked_into_than_it_may() {
        let many: Vec<String> = (0..20).map(|number| format!("a.py::f{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(told(&[("a.py", SHOP)], &many).len(), TOLD_MAX);
        let names: Vec<String> = (0..=FILES_MAX).map(|number| format!("{number:02}.py")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), SHOP)).collect();
        assert_eq!(told(&files, &[&format!("{}::x", names[FILES_MAX])]).len(), 1);
        let all: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(place, name)| format!("{name}::{}", if place < FILES_MAX { "main" } else { "x" }))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(told(&files, &all), [""; 0], "the last one is beyond");
    }
}
