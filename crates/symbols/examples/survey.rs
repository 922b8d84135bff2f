//! Reads every file of the folders that is of a known language, and prints figures for each: what is found in how long,
//! and how many files do not fit the grammar. With `--faults`, those files too.
//!
//! `cargo run --release -p muse-symbols --example survey -- [--faults] FOLDER...`

#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use muse_symbols::{Detail, Language, Limits, Outline, Unread, outline};

/// What was read in one language.
#[derive(Default)]
struct Figures {
    files: usize,
    bytes: usize,
    symbols: usize,
    references: usize,
    faulty: usize,
    too_large: usize,
    unread: usize,
    spans: Duration,
    full: Duration,
    slowest: Duration,
}

fn main() -> io::Result<()> {
    let (options, folders): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let wants_faults = options.iter().any(|option| option == "--faults");
    let mut out = io::stdout().lock();
    let mut figures: BTreeMap<Language, Figures> = BTreeMap::new();
    let mut folders: Vec<PathBuf> = folders.into_iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if let Some(language) = entry.file_name().to_str().and_then(Language::of_path)
                && kind.is_file()
            {
                let faults = figures.entry(language).or_default().read(&entry.path(), language)?;
                if wants_faults && faults > 0 {
                    writeln!(out, "{faults} {}", entry.path().display())?;
                }
            }
        }
    }
    for (language, figures) in &figures {
        figures.print(*language, &mut out)?;
    }
    Ok(())
}

impl Figures {
    /// How many faults the file has.
    fn read(&mut self, path: &Path, language: Language) -> io::Result<usize> {
        let source = fs::read(path)?;
        self.files += 1;
        let spans = match timed(&source, language, Detail::Spans) {
            (Ok(_), time) => time,
            (Err(Unread::TooLarge { .. }), _) => {
                self.too_large += 1;
                return Ok(0);
            }
            (Err(_), _) => {
                self.unread += 1;
                return Ok(0);
            }
        };
        let (Ok(outline), full) = timed(&source, language, Detail::Full) else { return Ok(0) };
        self.spans += spans;
        self.full += full;
        self.slowest = self.slowest.max(spans);
        self.bytes += source.len();
        self.symbols += outline.symbols.len();
        self.references += outline.references.len();
        self.faulty += usize::from(!outline.is_clean());
        Ok(outline.faults)
    }

    fn print(&self, language: Language, out: &mut impl io::Write) -> io::Result<()> {
        let Figures { files, bytes, symbols, references, faulty, too_large, unread, slowest, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let (megabytes, share) = (*bytes as f64 / 1e6, *faulty as f64 * 100.0 / *files as f64);
        writeln!(
            out,
            "{}: {files} files, {megabytes:.1} MB, {symbols} symbols, {references} references",
            language.name()
        )?;
        writeln!(
            out,
            "  symbols alone {:.1} MB/s (the slowest file {slowest:.0?}), all {:.1} MB/s",
            megabytes / self.spans.as_secs_f64(),
            megabytes / self.full.as_secs_f64(),
        )?;
        writeln!(
            out,
            "  with faults: {faulty} ({share:.2} %); not read: {too_large} too large, {unread} no text"
        )
    }
}

fn timed(source: &[u8], language: Language, detail: Detail) -> (Result<Outline, Unread>, Duration) {
    let begun = Instant::now();
    let outline = outline(source, language, detail, &Limits::default());
    (outline, begun.elapsed())
}
