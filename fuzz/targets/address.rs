//! Addresses, as records hold them and as people type them.
//!
//! Input: lines of text. The first two are typed, the third is the current directory, the others are what
//! stands in the working tree: `file`, `directory/`, or `link -> target`.

#![no_main]

use std::collections::BTreeMap;
use std::io;

use libfuzzer_sys::fuzz_target;
use muse_coord::Address;
use muse_coord::address::{AddressKind, Entry, NoTree, Place, Tree};

const TOP: &str = "/work/tree";

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let typed = [lines.next().unwrap_or_default(), lines.next().unwrap_or_default()];
    let current = lines.next().unwrap_or_default();
    let tree = Entries::new(lines);

    let mut addresses = Vec::new();
    for typed in typed {
        addresses.extend(stored(typed));
        // Only directories of the tree are current ones.
        let place = Place::new(TOP, tree.directory(current));
        addresses.extend(resolved(typed, &place, &tree));
    }
    for one in &addresses {
        for other in &addresses {
            assert_eq!(one.overlaps(other), other.overlaps(one), "{one} and {other}");
            assert_eq!(one == other, one.as_str() == other.as_str());
        }
    }
});

/// Reads a text as records hold it.
fn stored(text: &str) -> Option<Address> {
    match text.parse::<Address>() {
        Ok(address) => {
            assert_eq!(address.as_str(), text, "only canonical spellings are taken");
            check(&address);
            Some(address)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let muse_coord::AddressError::NotCanonical { canonical, .. } = error {
                let address: Address = canonical.parse().expect("what is proposed as canonical is taken");
                check(&address);
            }
            None
        }
    }
}

/// Resolves what was typed in the tree.
fn resolved(typed: &str, place: &Place, tree: &Entries) -> Option<Address> {
    match Address::resolve(typed, place, tree) {
        Ok(resolved) => {
            let address = resolved.address;
            assert!(resolved.warnings.iter().all(|warning| !warning.is_empty()));
            check(&address);
            // What exists as it is written is that file, so only plain names keep their meaning for sure.
            if tree.is_plain {
                let again = Address::resolve(address.as_str(), &Place::top(TOP), tree)
                    .expect("what was resolved can be resolved again");
                assert_eq!(again.address, address, "typed as {typed:?}");
            }
            Some(address)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// What holds for every address.
fn check(address: &Address) {
    let text = address.as_str();
    assert!(text.len() <= Address::BYTES_MAX);
    assert_eq!(&text.parse::<Address>().expect("canonical text is taken"), address);
    let again = Address::resolve(text, &Place::top("/"), &NoTree).expect("canonical text is resolved");
    assert_eq!(&again.address, address, "canonical is a fixed point");
    let json = serde_json::to_string(address).expect("it has a JSON form");
    assert_eq!(&serde_json::from_str::<Address>(&json).expect("its JSON is taken"), address);

    let Some(path) = address.literal_path() else {
        assert_eq!(address.kind(), AddressKind::Glob);
        assert_eq!(address.symbol(), None);
        return;
    };
    assert!(address.overlaps(address), "{address} does not overlap itself");
    let rebuilt = match address.kind() {
        AddressKind::File => {
            let file = Address::of_file(path).expect("its path is a file's");
            assert!(file.overlaps(address), "a file holds its symbols");
            match address.symbol() {
                Some(symbol) => file.with_symbol(symbol).expect("its symbol is a symbol"),
                None => file,
            }
        }
        AddressKind::Directory => {
            assert_eq!(address.symbol(), None);
            Address::of_directory(if path.is_empty() { "." } else { path })
                .expect("its path is a directory's")
        }
        AddressKind::Glob => unreachable!("a glob has no literal path"),
    };
    assert_eq!(&rebuilt, address);
    let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
    let parent = Address::of_directory(parent).expect("its folder is a directory");
    assert!(parent.overlaps(address), "{parent} does not hold {address}");
}

/// A working tree in memory.
struct Entries {
    entries: BTreeMap<String, Entry>,
    /// Whether no name holds a character that means something in an address.
    is_plain: bool,
}

impl Entries {
    fn new<'a>(lines: impl Iterator<Item = &'a str>) -> Entries {
        let mut tree = Entries { entries: BTreeMap::new(), is_plain: true };
        // No file system takes NUL, in names or in the targets of links.
        for line in lines.filter(|line| !line.contains('\0')) {
            let (path, last) = match line.split_once(" -> ") {
                Some((path, target)) => (path, Entry::Symlink(target.to_owned())),
                None => match line.strip_suffix('/') {
                    Some(path) => (path, Entry::Directory),
                    None => (line, Entry::File),
                },
            };
            if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
                continue;
            }
            tree.is_plain &= !path.contains(['\\', '*', '?', '[', ']', '{', '}', ':']) && path.is_ascii();
            tree.insert(path, last);
        }
        tree
    }

    /// Puts an entry in the tree, with the directories above it, unless something else stands there.
    fn insert(&mut self, path: &str, last: Entry) {
        for (end, _) in path.match_indices('/') {
            let above = self.entries.entry(path[..end].to_owned()).or_insert(Entry::Directory);
            if *above != Entry::Directory {
                return;
            }
        }
        self.entries.entry(path.to_owned()).or_insert(last);
    }

    /// The names that lead to `path`, if it is a directory of the tree, else to the top.
    fn directory(&self, path: &str) -> Vec<String> {
        match self.entries.get(path) {
            Some(Entry::Directory) => path.split('/').map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}

impl Tree for Entries {
    fn entry(&self, segments: &[String]) -> io::Result<Option<Entry>> {
        assert!(!segments.is_empty(), "the top is never asked for");
        let path = segments.join("/");
        for (end, _) in path.match_indices('/') {
            let above = self.entries.get(&path[..end]);
            assert!(!matches!(above, Some(Entry::Symlink(_))), "a symlink was not followed");
        }
        Ok(self.entries.get(&path).cloned())
    }
}
