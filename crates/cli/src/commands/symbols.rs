//! `muse symbols`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use muse_coord::Address;
use muse_guard::limits;
use muse_repo::{Changes, FindError, STORE_FOLDER};
use muse_symbols::{Detail, Language, Outline, Reference, ReferenceKind, Span, Symbol, Unread, outline};
use serde::Serialize;

use crate::args::SymbolsArgs;
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};

/// The most files of one call: their symbols are in memory until they are printed.
const FILES_MAX: usize = 20_000;

/// The symbols of files.
#[derive(Debug, Serialize)]
pub(crate) struct SymbolsReport {
    status: &'static str,
    files: Vec<FileSymbols>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// The symbols of one file.
#[derive(Debug, Serialize)]
struct FileSymbols {
    path: String,
    address: Address,
    language: &'static str,
    /// How many places do not fit the language.
    faults: usize,
    symbols: Vec<SymbolRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    references: Option<Vec<ReferenceRow>>,
}

/// Where something stands: bytes from 0, the last one excluded; lines from 1, the last one included.
#[derive(Debug, Serialize)]
struct Extent {
    lines: (usize, usize),
    bytes: (usize, usize),
}

#[derive(Debug, Serialize)]
struct SymbolRow {
    address: Address,
    name: String,
    qualified: String,
    kind: String,
    #[serde(flatten)]
    whole: Extent,
    /// With the comments that belong to it.
    extent: Extent,
    body: Option<Extent>,
    hashes: Option<Hashes>,
}

/// SHA-256, in hexadecimal digits.
#[derive(Debug, Serialize)]
struct Hashes {
    content: String,
    signature: String,
    body: String,
}

#[derive(Debug, Serialize)]
struct ReferenceRow {
    name: String,
    qualifier: Option<String>,
    kind: &'static str,
    #[serde(flatten)]
    extent: Extent,
    /// The symbol around it.
    from: Option<Address>,
}

impl Report for SymbolsReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        for file in &self.files {
            for SymbolRow { address, kind, whole, .. } in &file.symbols {
                screen.result(&format!("{address}  {kind}  {}", lines(whole)));
            }
            for ReferenceRow { name, qualifier, kind, extent, from } in file.references.iter().flatten() {
                let from = from.as_ref().unwrap_or(&file.address);
                let name = qualifier.as_ref().map_or(name.clone(), |qualifier| format!("{qualifier} {name}"));
                screen.result(&format!("{from}  {kind}s {name}  {}", lines(extent)));
            }
        }
        if let Some(error) = &self.error {
            screen.error(error);
        }
    }
}

fn lines(extent: &Extent) -> String {
    let (first, last) = extent.lines;
    format!("{first}-{last}")
}

pub(crate) fn run(args: &SymbolsArgs, context: &Context) -> Result<Answer<SymbolsReport>, CommandError> {
    let top = top(context)?;
    let mut reading = Reading {
        top: &top,
        with_references: args.references,
        detail: detail(args, context),
        ..Reading::new(&top)
    };
    let current = context.current_directory()?;
    for path in &args.paths {
        reading.add(path, &current)?;
    }
    reading.found.sort();
    reading.found.dedup();
    let found = std::mem::take(&mut reading.found);
    for path in &found {
        reading.read(path);
    }
    let Reading { files, warnings, error, .. } = reading;
    let (status, exit_code) = if error.is_some() { Kind::Internal.word_and_code() } else { ("ok", exit::OK) };
    Ok(Answer { report: SymbolsReport { status, files, error, exit_code }, warnings })
}

/// Text has no hashes in it.
fn detail(args: &SymbolsArgs, context: &Context) -> Detail {
    if context.json || args.references { Detail::Full } else { Detail::Spans }
}

/// What addresses are relative to: as everywhere, or, where there is no store, Git's top.
fn top(context: &Context) -> Result<PathBuf, CommandError> {
    let not_found = match context.find_repository()? {
        Ok(repository) => return Ok(repository.top().to_owned()),
        Err(error @ (FindError::NotARepository { .. } | FindError::StoreGone { .. })) => error,
        Err(error) => return Err(error.into()),
    };
    let changes = Changes::open(&context.current_directory()?, &context.git_environment());
    let top = changes.ok().and_then(|changes| changes.top().map(Path::to_owned));
    top.ok_or_else(|| not_found.into())
}

/// The files that are found, and what is read of them.
struct Reading<'a> {
    top: &'a Path,
    with_references: bool,
    detail: Detail,
    found: Vec<PathBuf>,
    files: Vec<FileSymbols>,
    warnings: Vec<String>,
    /// The first thing that could not be read; the others are warnings.
    error: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(top: &'a Path) -> Reading<'a> {
        Reading {
            top,
            with_references: false,
            detail: Detail::Full,
            found: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            error: None,
        }
    }

    /// Finds what is meant by `path` as it was typed at `current`.
    fn add(&mut self, path: &Path, current: &Path) -> Result<(), CommandError> {
        let shown = path.display();
        let absolute = current.join(path).canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                CommandError::new(Kind::NotFound, format!("there is no `{shown}`: name a file or a folder"))
            }
            _ => CommandError::new(
                Kind::Internal,
                format!("{shown} cannot be looked at ({error}): make it readable"),
            ),
        })?;
        let below = absolute.strip_prefix(self.top).map_err(|_| {
            let message = format!("`{shown}` is not below {}: run this where it is", self.top.display());
            CommandError::new(Kind::BadAddress, message)
        })?;
        let name = below.to_string_lossy();
        if !name.is_empty() {
            Address::of_file(&name)
                .map_err(|error| CommandError::new(Kind::BadAddress, error.to_string()))?;
        }
        if absolute.is_dir() {
            return self.walk(&absolute);
        }
        if Language::of_path(&name).is_none() {
            self.warnings.push(format!("`{name}`: {}", not_known()));
        }
        // A pipe would be waited for, and a device may have no end.
        if !absolute.is_file() {
            self.warnings.push(format!("`{name}` is left out: it is no file"));
            return Ok(());
        }
        self.found(below.to_owned())
    }

    fn found(&mut self, below: PathBuf) -> Result<(), CommandError> {
        if self.found.len() == FILES_MAX {
            let message = format!("there are more than {FILES_MAX} source files: name folders further down");
            return Err(CommandError::new(Kind::BadArgs, message));
        }
        self.found.push(below);
        Ok(())
    }

    /// Finds the source files below a folder, but those that Git ignores and those of other working trees.
    fn walk(&mut self, folder: &Path) -> Result<(), CommandError> {
        let mut walk = WalkBuilder::new(folder);
        walk.hidden(false).ignore(false).require_git(false).filter_entry(|entry| {
            let is_private = entry.file_name() == ".git" || entry.file_name() == STORE_FOLDER;
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_other_tree = entry.depth() > 0 && is_folder && entry.path().join(".git").exists();
            !is_private && !is_other_tree
        });
        for entry in walk.build() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.failed(format!("a folder cannot be read ({error}): make it readable"));
                    continue;
                }
            };
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            let is_known = || entry.path().to_str().is_some_and(|path| Language::of_path(path).is_some());
            if is_file
                && is_known()
                && let Ok(below) = entry.path().strip_prefix(self.top)
            {
                self.found(below.to_owned())?;
            }
        }
        Ok(())
    }

    fn failed(&mut self, sentence: String) {
        if self.error.is_none() {
            self.error = Some(sentence);
        } else {
            self.warnings.push(sentence);
        }
    }

    /// Reads the symbols of a file.
    fn read(&mut self, below: &Path) {
        let Some(path) = below.to_str() else {
            let name = below.display();
            self.warnings.push(format!("`{name}` is left out: it is not valid UTF-8, and addresses are"));
            return;
        };
        let (Some(language), Ok(address)) = (Language::of_path(path), Address::of_file(path)) else { return };
        let limits = limits();
        let text = match read_text(&self.top.join(path), limits.bytes_max) {
            Ok(text) => text,
            Err(error) => return self.failed(format!("`{path}` cannot be read ({error}): make it readable")),
        };
        match text.map_or(Err(None), |text| outline(&text, language, self.detail, &limits).map_err(Some)) {
            Ok(outline) => {
                if !outline.is_clean() {
                    self.warnings.push(faulty(path, &outline));
                }
                self.files.push(self.told(path, address, outline));
            }
            Err(why) => self.warnings.push(format!("`{path}` is left out: {}", why_not(why))),
        }
    }

    fn told(&self, path: &str, address: Address, outline: Outline) -> FileSymbols {
        let Outline { language, symbols, references, faults } = outline;
        // A name that makes an address too long stands for the file.
        let symbols: Vec<SymbolRow> = symbols
            .into_iter()
            .map(|symbol| {
                let address = address.with_symbol(&symbol.qualified).unwrap_or_else(|_| address.clone());
                SymbolRow::of(symbol, address)
            })
            .collect();
        let references = self.with_references.then(|| {
            let from = |place: usize| symbols.get(place).map(|symbol| symbol.address.clone());
            references.into_iter().map(|reference| ReferenceRow::of(reference, from)).collect()
        });
        FileSymbols { path: path.to_owned(), address, language: language.name(), faults, symbols, references }
    }
}

fn faulty(path: &str, outline: &Outline) -> String {
    let places = match outline.faults {
        1 => "1 place".to_owned(),
        faults => format!("{faults} places"),
    };
    format!("`{path}`: {places} in it do not fit {}, and symbols may be missing", outline.language.name())
}

fn not_known() -> String {
    let mut names: Vec<&str> = Language::ALL.iter().map(|language| language.name()).collect();
    names.sort_unstable();
    format!("its language is not known by its name; known are {}", names.join(", "))
}

/// Why there is no outline; `None` where the text was not even read.
fn why_not(why: Option<Unread>) -> String {
    match why {
        None => format!("it has more than {} bytes", limits().bytes_max),
        Some(unread) => unread.to_string(),
    }
}

/// The text of a file; `None` if it has more than `bytes_max` bytes.
fn read_text(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok((text.len() <= bytes_max).then_some(text))
}

impl Extent {
    fn of(span: &Span) -> Extent {
        Extent { lines: (*span.lines.start(), *span.lines.end()), bytes: (span.bytes.start, span.bytes.end) }
    }
}

impl SymbolRow {
    fn of(symbol: Symbol, address: Address) -> SymbolRow {
        SymbolRow {
            address,
            kind: word(&format!("{:?}", symbol.kind)),
            whole: Extent::of(&symbol.whole),
            extent: Extent::of(&symbol.extent),
            body: symbol.body.as_ref().map(Extent::of),
            hashes: symbol.hashes.map(|hashes| Hashes {
                content: hexadecimal(&hashes.content),
                signature: hexadecimal(&hashes.signature),
                body: hexadecimal(&hashes.body),
            }),
            name: symbol.name,
            qualified: symbol.qualified,
        }
    }
}

impl ReferenceRow {
    fn of(reference: Reference, symbol: impl Fn(usize) -> Option<Address>) -> ReferenceRow {
        ReferenceRow {
            kind: match reference.kind {
                ReferenceKind::Call => "call",
                _ => "use",
            },
            extent: Extent::of(&reference.span),
            from: reference.from.and_then(symbol),
            name: reference.name,
            qualifier: reference.qualifier,
        }
    }
}

/// `TypeAlias` as `type_alias`: the languages' words are the names of the kinds, so that a new one needs no place here.
fn word(name: &str) -> String {
    let mut word = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_words() {
        assert_eq!((&*word("Class"), &*word("TypeAlias")), ("class", "type_alias"));
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn no_more_files_are_taken_than_may_be() {
        let mut reading =
            Reading { found: vec![PathBuf::new(); FILES_MAX - 1], ..Reading::new(Path::new("/")) };
        reading.found(PathBuf::from("a.py")).unwrap();
        let error = reading.found(PathBuf::from("b.py")).unwrap_err();
        assert_eq!(error.kind, Kind::BadArgs);
    }
}
