//! One JSON file of a harness: what belongs into it, what of ours is in it, and the plan from one to the other.

use jsonc_parser::ast::{Object, Value};

use crate::guard::install::json::{self, Insertion, Json, Left, Refusal, member};
use crate::guard::install::text::{plan, to_take_out};
use crate::guard::install::{Found, Plan, Site, State, Target};

/// What tells our entries from others: the command in them. The harness's name follows.
pub(crate) const MARK: &str = "muse coord hook ";

/// What the command of a strict one has.
const STRICT: &str = " --strict";

/// A JSON file, and what belongs into it.
#[derive(Debug)]
pub(crate) struct Config {
    /// From the top of the working tree.
    pub(crate) path: &'static str,
    /// How many of the folders above it are the harness's own, and go with the file if they are empty.
    pub(crate) own_folders: usize,
    /// What is ours in it.
    pub(crate) ours: Ours,
    /// What belongs into it; each goes before those that are in it already.
    pub(crate) insertions: Vec<Insertion>,
}

/// Which values of a file are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// The hooks in the lists of the member `hooks` whose command has [`MARK`].
    Hooks,
    /// The server `muse` in the member of this name.
    Server(&'static str),
}

/// The name of our MCP server.
pub(crate) const SERVER: &str = "muse";

/// A value of ours, and the way to it.
struct Mine {
    way: Vec<usize>,
    /// The name of the list that it is in, or of the server.
    name: String,
    value: serde_json::Value,
}

impl Ours {
    /// All of them in a text.
    fn of(self, root: &Object) -> Result<Vec<Mine>, Refusal> {
        match self {
            Ours::Hooks => hooks(root),
            Ours::Server(servers) => server(root, servers),
        }
    }
}

fn position(root: &Object, name: &str) -> usize {
    root.properties.iter().position(|member| member.name.as_str() == name).unwrap_or_default()
}

fn hooks(root: &Object) -> Result<Vec<Mine>, Refusal> {
    let mut found = Vec::new();
    let Some(Value::Object(events)) = member(root, "hooks")?.map(|member| &member.value) else {
        return Ok(found);
    };
    let hooks_at = position(root, "hooks");
    for (event_at, event) in events.properties.iter().enumerate() {
        member(events, event.name.as_str())?;
        let Value::Array(list) = &event.value else { continue };
        for (entry_at, entry) in list.elements.iter().enumerate() {
            for below in ways_below(entry) {
                let mut way = vec![hooks_at, event_at, entry_at];
                way.extend(below);
                let name = event.name.as_str().to_owned();
                found.push(Mine { way, name, value: entry.clone().into() });
            }
        }
    }
    Ok(found)
}

/// The ways from an entry to what is ours in it: the entry itself, or of a group with others' hooks ours alone.
fn ways_below(entry: &Value) -> Vec<Vec<usize>> {
    let Value::Object(entry) = entry else { return Vec::new() };
    if is_ours(entry) {
        return vec![Vec::new()];
    }
    let Some(Value::Array(group)) = entry.get("hooks").map(|member| &member.value) else { return Vec::new() };
    let mine = |hook: &Value| matches!(hook, Value::Object(hook) if is_ours(hook));
    if !group.elements.is_empty() && group.elements.iter().all(mine) {
        return vec![Vec::new()];
    }
    let hooks_at = position(entry, "hooks");
    let elements = group.elements.iter().enumerate();
    elements.filter(|(_, hook)| mine(hook)).map(|(at, _)| vec![hooks_at, at]).collect()
}

fn is_ours(hook: &Object) -> bool {
    ["command", "bash"].iter().any(|key| {
        let text = hook.get(key).and_then(|member| member.value.as_string_lit());
        text.is_some_and(|text| text.value.contains(MARK))
    })
}

fn server(root: &Object, servers: &str) -> Result<Vec<Mine>, Refusal> {
    let Some(Value::Object(members)) = member(root, servers)?.map(|member| &member.value) else {
        return Ok(Vec::new());
    };
    let Some(found) = member(members, SERVER)? else { return Ok(Vec::new()) };
    let value: serde_json::Value = found.value.clone().into();
    let command = &value["command"];
    let words: Vec<&serde_json::Value> = match command {
        serde_json::Value::Array(words) => words.iter().collect(),
        word => std::iter::once(word).chain(value["args"].as_array().into_iter().flatten()).collect(),
    };
    if !words.iter().map(|word| word.as_str()).eq([Some("muse"), Some("mcp")]) {
        return Ok(Vec::new());
    }
    let way = vec![position(root, servers), position(members, SERVER)];
    Ok(vec![Mine { way, name: SERVER.to_owned(), value }])
}

impl Config {
    /// Plans to put in what belongs into the file.
    pub(crate) fn install(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, &self.sample(), |before| {
            before.map_or_else(|| self.new_text(true), |text| self.installed(text)).map(Left::Text)
        })
    }

    /// Plans to take out what is ours.
    pub(crate) fn uninstall(&self, site: &Site) -> Plan {
        plan(site, self.path, self.own_folders, "", |before| match before {
            None => Ok(Left::Nothing),
            Some(text) if !self.has_mark(text) => Ok(Left::Text(text.to_owned())),
            Some(text) => self.uninstalled(text).map_err(|reason| to_take_out(&reason)),
        })
    }

    /// Looks what is ours in the file.
    pub(crate) fn look(&self, site: &Site) -> Found {
        Found::in_file(self.path, site.text(self.path), |text| {
            // An empty file is as good as none.
            let mine = if text.trim().is_empty() { Vec::new() } else { self.mine(text)? };
            let state = match &*mine {
                [] => State::Absent,
                mine if self.is_as_wanted(mine) => State::Installed,
                _ => State::Outdated,
            };
            let is_strict = mine.iter().any(|mine| mine.value.to_string().contains(STRICT));
            Ok((state, (self.ours == Ours::Hooks && !mine.is_empty()).then_some(is_strict)))
        })
    }

    /// Whether a text can have something of ours, also if it cannot be read.
    fn has_mark(&self, text: &str) -> bool {
        match self.ours {
            Ours::Hooks => text.contains(MARK),
            Ours::Server(_) => text.contains("\"muse\""),
        }
    }

    fn mine(&self, text: &str) -> Result<Vec<Mine>, Refusal> {
        let (_, text) = json::without_mark(text);
        self.ours.of(&json::object(text)?)
    }

    /// Whether what was found is exactly what belongs there, wherever in its list it is.
    fn is_as_wanted(&self, mine: &[Mine]) -> bool {
        let name = |insertion: &Insertion| insertion.key.or(insertion.path.last().copied());
        let wanted = self.insertions.iter().filter(|insertion| !insertion.path.is_empty());
        let mut wanted: Vec<(String, String)> = wanted
            .map(|insertion| {
                (name(insertion).unwrap_or_default().to_owned(), insertion.value.to_value().to_string())
            })
            .collect();
        let mut found: Vec<(String, String)> =
            mine.iter().map(|mine| (mine.name.clone(), mine.value.to_string())).collect();
        wanted.sort();
        found.sort();
        wanted == found
    }

    /// A file that holds nothing else.
    pub(super) fn new_text(&self, final_line_end: bool) -> Result<String, Refusal> {
        json::new_text(&self.insertions, final_line_end)
    }

    /// What a person puts in by hand.
    fn sample(&self) -> String {
        self.new_text(true).unwrap_or_default()
    }

    /// A text with what belongs into it.
    pub(super) fn installed(&self, whole: &str) -> Result<String, Refusal> {
        if !whole.is_empty() && self.is_as_wanted(&self.mine(whole)?) {
            return Ok(whole.to_owned());
        }
        let base = if whole.is_empty() { Left::Text(String::new()) } else { self.uninstalled(whole)? };
        let after = match &base {
            Left::Nothing => self.new_text(true)?,
            Left::Text(text) if text.is_empty() => self.new_text(false)?,
            Left::Text(text) => {
                let (mark, text) = json::without_mark(text);
                let root = json::object(text)?;
                let has_version = member(&root, "version")?.is_some();
                // One that is put in alone could not be told from one that was there.
                if self.needs_version() && !has_version && member(&root, "hooks")?.is_some() {
                    return Err("it has `hooks` and no `version`, which it needs".to_owned());
                }
                let mut text = text.to_owned();
                for insertion in
                    self.insertions.iter().filter(|insertion| !insertion.path.is_empty() || !has_version)
                {
                    text = json::insert(&text, insertion)?;
                }
                format!("{mark}{text}")
            }
        };
        // Nothing is written that could not be taken out again.
        if self.uninstalled(&after)? == base {
            Ok(after)
        } else {
            Err("what is put into it could not be taken out again byte for byte".to_owned())
        }
    }

    /// A text without what is ours.
    pub(super) fn uninstalled(&self, whole: &str) -> Result<Left, Refusal> {
        let (mark, text) = json::without_mark(whole);
        let left = self.taken_out(text)?;
        // The version that was written with the hooks goes with them.
        let left = match &left {
            Left::Text(after) if self.version_is_ours(text, after)? => match json::take_out(text, &[0])? {
                Left::Text(text) => self.taken_out(&text)?,
                Left::Nothing => Left::Nothing,
            },
            _ => left,
        };
        Ok(match left {
            Left::Text(text) => Left::Text(format!("{mark}{text}")),
            Left::Nothing => Left::Nothing,
        })
    }

    fn taken_out(&self, text: &str) -> Result<Left, Refusal> {
        let mut text = text.to_owned();
        while let Some(mine) = self.ours.of(&json::object(&text)?)?.first() {
            match json::take_out(&text, &mine.way)? {
                Left::Text(left) if left.is_empty() => return Ok(Left::Text(left)),
                Left::Text(left) => text = left,
                Left::Nothing => return Ok(Left::Nothing),
            }
        }
        Ok(Left::Text(text))
    }

    /// Whether the file says the version of its format.
    fn needs_version(&self) -> bool {
        self.insertions.iter().any(|insertion| insertion.path.is_empty())
    }

    /// Whether `version` was put in with the hooks: it stands before them, first of all, and they have gone as a whole.
    fn version_is_ours(&self, before: &str, after: &str) -> Result<bool, Refusal> {
        if !self.needs_version() || after.is_empty() {
            return Ok(false);
        }
        let (before, after) = (json::object(before)?, json::object(after)?);
        let names: Vec<&str> = before.properties.iter().take(2).map(|member| member.name.as_str()).collect();
        let is_one = before.get_number("version").is_some_and(|number| number.value == "1");
        Ok(names == ["version", "hooks"] && is_one && after.get("hooks").is_none())
    }
}

/// The command of a hook.
///
/// Where `muse` is not installed it lets everything through without a word, for the files are shared and some harnesses
/// deny at any failure; a strict one blocks before an edit, by the exit code 2, which means just that to each harness.
/// For the same reason only a strict one before an edit has the exit code of what it calls: a `muse` that was killed, that
/// knows no hooks yet, or that is another program, denies nothing and keeps no subagent from its end.
pub(crate) fn command(harness: Target, strict: bool, before_edit: bool) -> Json {
    let name = harness.word();
    let strict_flag = if strict { STRICT } else { "" };
    let missing = if strict && before_edit {
        "{ echo 'muse is not installed: this repository asks for it before an edit' >&2; exit 2; }"
    } else {
        "exit 0"
    };
    let failed = if strict && before_edit { "" } else { " || exit 0" };
    Json::text(format!("command -v muse >/dev/null 2>&1 || {missing}; {MARK}{name}{strict_flag}{failed}"))
}
