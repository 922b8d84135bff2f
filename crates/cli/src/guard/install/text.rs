//! Files that are ours as a whole, and sections of ours in a text.

use crate::guard::install::json::{Left, Refusal};
use crate::guard::install::mark::{self, Kind};
use crate::guard::install::{CHANGED, FileChange, Found, Paste, Plan, Site, State};

/// A file that is ours as a whole.
#[derive(Debug)]
pub(crate) struct OwnFile {
    /// From the top of the working tree.
    pub(crate) path: &'static str,
    /// How many of the folders above it go with it if they are empty.
    pub(crate) own_folders: usize,
    /// Its text, with its hash.
    pub(crate) text: String,
    /// How the line with its hash begins.
    pub(crate) mark: &'static str,
    /// What is in it if it is strict; `None` where that makes no difference.
    pub(crate) strict: Option<&'static str>,
}

/// What stands in every file that is ours as a whole, whatever version wrote it, and in nobody else's.
const GENERATED: &str = "muse coord guard install";

impl OwnFile {
    pub(crate) fn install(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, &self.text, |before| {
            match before.map_or(Kind::Ours, |text| self.kind(text)) {
                Kind::Foreign => Err("another file has this name".to_owned()),
                Kind::Changed => Err(CHANGED.to_owned()),
                Kind::Ours => Ok(Left::Text(self.text.clone())),
            }
        })
    }

    pub(crate) fn uninstall(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, "", |before| {
            let Some(text) = before else { return Ok(Left::Nothing) };
            match self.kind(text) {
                Kind::Foreign => Ok(Left::Text(text.to_owned())),
                Kind::Changed => Err(format!("{}, or remove it", to_take_out(CHANGED))),
                Kind::Ours => Ok(Left::Nothing),
            }
        })
    }

    pub(crate) fn look(&self, site: &Site) -> Found {
        let mut notes = Vec::new();
        let found = Found::in_file(self.path, site.text(self.path), |text| {
            let state = match self.kind(text) {
                Kind::Foreign => return Ok((State::Absent, None)),
                _ if text == self.text => State::Installed,
                Kind::Ours => State::Outdated,
                Kind::Changed => {
                    notes.push(format!("{} was changed since muse wrote it", self.path));
                    State::Outdated
                }
            };
            Ok((state, self.strict.map(|strict| text.contains(strict))))
        });
        Found { notes: [found.notes, notes].concat(), ..found }
    }

    /// What a text is to us. Git may have changed the ends of its lines.
    fn kind(&self, text: &str) -> Kind {
        match mark::kind(&text.replace("\r\n", "\n"), self.mark) {
            Kind::Foreign if text.contains(GENERATED) => Kind::Changed,
            kind => kind,
        }
    }
}

/// A section of ours in a text, between two marks.
#[derive(Debug)]
pub(crate) struct Section {
    /// From the top of the working tree.
    pub(crate) path: &'static str,
    /// How many of the folders above it go with it if they are empty.
    pub(crate) own_folders: usize,
    /// The line before it.
    pub(crate) begin: &'static str,
    /// The line behind it.
    pub(crate) end: &'static str,
    /// What is between them, without the end of its last line.
    pub(crate) text: &'static str,
    /// Whether the text without it and the text with it are as they have to be.
    pub(crate) check: fn(&str, &str) -> Result<(), Refusal>,
}

impl Section {
    pub(crate) fn install(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, &self.block("\n"), |before| {
            self.installed(before).map(Left::Text)
        })
    }

    /// A text with it; of its own where there is none.
    pub(super) fn installed(&self, before: Option<&str>) -> Result<String, Refusal> {
        let base = before.map_or(Ok(Left::Nothing), |text| self.uninstalled(text))?;
        let after = match before {
            Some(text) => match self.found(text)? {
                Some((from, until)) => {
                    format!("{}{}{}", &text[..from], self.block(line_end(text)), &text[until..])
                }
                None => self.appended(text),
            },
            None => format!("{}\n", self.block("\n")),
        };
        (self.check)(if let Left::Text(base) = &base { base } else { "" }, &after)?;
        // Nothing is written that could not be taken out again.
        if self.uninstalled(&after)? == base {
            Ok(after)
        } else {
            Err("what is put into it could not be taken out again byte for byte".to_owned())
        }
    }

    pub(crate) fn uninstall(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, "", |before| {
            before.map_or(Ok(Left::Nothing), |text| {
                self.uninstalled(text).map_err(|reason| to_take_out(&reason))
            })
        })
    }

    pub(crate) fn look(&self, site: &Site) -> Found {
        Found::in_file(self.path, site.text(self.path), |text| {
            let state = match self.found(text)? {
                None => State::Absent,
                Some((from, until)) if text[from..until] == self.block(line_end(text)) => State::Installed,
                Some(_) => State::Outdated,
            };
            Ok((state, None))
        })
    }

    /// All of it, without the end of its last line.
    fn block(&self, line_end: &str) -> String {
        format!("{}\n{}\n{}", self.begin, self.text, self.end).replace('\n', line_end)
    }

    /// A text with the section at its end, which ends its last line if the text did.
    fn appended(&self, text: &str) -> String {
        let line_end = line_end(text);
        let block = self.block(line_end);
        match text {
            "" => block,
            text if text.ends_with('\n') => format!("{text}{line_end}{block}{line_end}"),
            text => format!("{text}{line_end}{line_end}{block}"),
        }
    }

    /// Where it is in a text.
    fn found(&self, text: &str) -> Result<Option<(usize, usize)>, Refusal> {
        let mut begins = text.match_indices(self.begin);
        let mut ends = text.match_indices(self.end);
        match (begins.next(), begins.next(), ends.next(), ends.next()) {
            (None, _, None, _) => Ok(None),
            (Some((begin, _)), None, Some((end, mark)), None) if begin < end => {
                Ok(Some((begin, end + mark.len())))
            }
            _ => Err("the marks around our section are not one pair".to_owned()),
        }
    }

    /// A text without it.
    pub(super) fn uninstalled(&self, text: &str) -> Result<Left, Refusal> {
        let Some((from, until)) = self.found(text)? else { return Ok(Left::Text(text.to_owned())) };
        let line_end = line_end(text);
        let (before, after) = (&text[..from], &text[until..]);
        let strip = |text: &str| text.strip_suffix(line_end).unwrap_or(text).to_owned();
        Ok(match (before, after) {
            ("", "") => Left::Text(String::new()),
            ("", after) if after == line_end => Left::Nothing,
            (before, "") => Left::Text(strip(&strip(before))),
            (before, after) if after == line_end => Left::Text(strip(before)),
            // Somebody wrote behind it: of the blank lines around it one is left.
            (before, after) => Left::Text(format!("{before}{}", after.trim_start_matches(['\r', '\n']))),
        })
    }
}

/// What ends the lines of a text.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Why nothing was taken out of a file, and what to do.
pub(super) fn to_take_out(reason: &str) -> Refusal {
    format!("{reason}: take out of it what is muse's")
}

/// The plan to change one file.
pub(super) fn plan(
    site: &Site,
    path: &'static str,
    own_folders: usize,
    sample: &str,
    change: impl FnOnce(Option<&str>) -> Result<Left, Refusal>,
) -> Plan {
    let planned = site.text(path).and_then(|(file, before)| {
        let after = match change(before.as_deref())? {
            Left::Text(text) => Some(text),
            Left::Nothing => None,
        };
        Ok((file, before, after))
    });
    match planned {
        Ok((_, before, after)) if before == after => Plan::default(),
        Ok((file, before, after)) => Plan::of_change(FileChange {
            path: file,
            before: before.map(String::into_bytes),
            after: after.map(String::into_bytes),
            mode: FileChange::READ,
            own_folders,
            aside: None,
        }),
        Err(reason) => Plan::of_paste(Paste { path: path.to_owned(), reason, text: sample.to_owned() }),
    }
}
