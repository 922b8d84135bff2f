//! What belongs where for each harness. The facts are in `docs/guard.md`, with where they were read.

use crate::guard::install::config::{Config, Ours, SERVER, command};
use crate::guard::install::json::{self, Insertion, Json, Refusal};
use crate::guard::install::mark;
use crate::guard::install::text::{OwnFile, Section};
use crate::guard::install::{Found, Options, Plan, Site, State, Target};

/// What our plugin for opencode is.
const PLUGIN: &str = include_str!("opencode.ts");
/// What our skill is.
const SKILL: &str = include_str!("../../../../../docs/skill/SKILL.md");
/// What our section of `AGENTS.md` is.
const AGENTS: &str = include_str!("../../../../../docs/skill/AGENTS.md");

/// How the line begins in each that has its hash.
const PLUGIN_MARK: &str = "// Written by `muse coord guard install --opencode`, as ";
const SKILL_MARK: &str = "<!-- Written by `muse coord guard install --skill`, as ";

/// Seconds that a harness gives a hook before an edit and at the start of a session. It needs milliseconds; what takes
/// longer is a disk that hangs.
const HOOK_SECONDS: u32 = 10;
/// Seconds at the end of a session: Codex allows no more.
const END_SECONDS: u32 = 3;

/// What is put into one place, and taken out of it.
pub(super) enum Place {
    Config(Config),
    OwnFile(OwnFile),
    Section(Section),
}

impl Place {
    fn install(&self, site: &Site) -> Plan {
        match self {
            Place::Config(config) => config.install(site),
            Place::OwnFile(file) => file.install(site),
            Place::Section(section) => section.install(site),
        }
    }

    fn uninstall(&self, site: &Site) -> Plan {
        match self {
            Place::Config(config) => config.uninstall(site),
            Place::OwnFile(file) => file.uninstall(site),
            Place::Section(section) => section.uninstall(site),
        }
    }

    fn look(&self, site: &Site) -> Found {
        match self {
            Place::Config(config) => config.look(site),
            Place::OwnFile(file) => file.look(site),
            Place::Section(section) => section.look(site),
        }
    }
}

/// Plans to put in a target.
pub(super) fn plan_install(target: Target, site: &Site, options: Options) -> Plan {
    let server = options.mcp.then(|| server(target)).flatten();
    let places = guards(target, options.strict).into_iter().chain(server);
    let mut plan = planned(places, site, Place::install);
    if target == Target::Codex && !plan.changes.is_empty() {
        plan.notes.push("Codex runs these hooks once you have trusted them: open `/hooks` in it".to_owned());
    }
    plan
}

/// Plans to take out a target, and its server.
pub(super) fn plan_uninstall(target: Target, site: &Site) -> Plan {
    let places: Vec<Place> = guards(target, false).into_iter().chain(server(target)).collect();
    planned(places.into_iter().rev(), site, Place::uninstall)
}

/// One plan after the other: some places are in one file.
fn planned(places: impl Iterator<Item = Place>, site: &Site, make: impl Fn(&Place, &Site) -> Plan) -> Plan {
    let mut site = site.clone();
    places.fold(Plan::default(), |plan, place| {
        let next = make(&place, &site);
        site.take(&next.changes);
        plan.and(next)
    })
}

/// Looks what there is of a target.
pub(super) fn look(target: Target, site: &Site) -> Found {
    let as_installed = |strict: bool| {
        let mut places = guards(target, strict).into_iter().map(|place| place.look(site));
        let first = places.next().unwrap_or(Found {
            state: State::Absent,
            strict: None,
            files: Vec::new(),
            notes: Vec::new(),
        });
        places.fold(first, Found::and)
    };
    let found = as_installed(false);
    let mut found = if found.strict == Some(true) { as_installed(true) } else { found };
    if target == Target::ClaudeCode
        && found.state != State::Absent
        && let Some(path) = turned_off_in(site)
    {
        found.state = State::Broken;
        found.notes.push(format!("{path}: `{HOOKS_OFF}` in it is true, so Claude Code runs no hooks"));
    }
    match server(target).map(|server| server.look(site)) {
        Some(server) if server.state != State::Absent => {
            // Of some, both are in one file.
            let joined = |mut first: Vec<String>, others: Vec<String>| {
                let others = others.into_iter().filter(|other| !first.contains(other)).collect::<Vec<_>>();
                first.extend(others);
                first
            };
            let (files, notes) = (joined(found.files, server.files), joined(found.notes, server.notes));
            Found { files, notes, ..found }
        }
        _ => found,
    }
}

/// What turns off the hooks of Claude Code.
const HOOKS_OFF: &str = "disableAllHooks";

/// The settings of Claude Code in this working tree that turn its hooks off, the more telling file first.
fn turned_off_in(site: &Site) -> Option<&'static str> {
    let says = |path: &'static str| {
        let (_, text) = site.text(path).ok()?;
        let text = text?;
        let (_, text) = json::without_mark(&text);
        json::object(text).ok()?.get_boolean(HOOKS_OFF).map(|said| (path, said.value))
    };
    let said = [".claude/settings.local.json", ".claude/settings.json"].into_iter().find_map(says);
    said.filter(|(_, is_off)| *is_off).map(|(path, _)| path)
}

/// What guards a target.
pub(super) fn guards(target: Target, strict: bool) -> Vec<Place> {
    match target {
        Target::Opencode => vec![Place::OwnFile(OwnFile {
            path: ".opencode/plugins/muse.ts",
            own_folders: 2,
            text: mark::signed(
                &PLUGIN.replace("const STRICT = false", &format!("const STRICT = {strict}")),
                PLUGIN_MARK,
            ),
            mark: PLUGIN_MARK,
            strict: Some("const STRICT = true"),
        })],
        // Claude Code reads the first alone; the others read the second.
        Target::Skill => [".claude/skills/muse-coord/SKILL.md", ".agents/skills/muse-coord/SKILL.md"]
            .into_iter()
            .map(|path| {
                let text = mark::signed(SKILL, SKILL_MARK);
                Place::OwnFile(OwnFile { path, own_folders: 3, text, mark: SKILL_MARK, strict: None })
            })
            .collect(),
        Target::AgentsMd => vec![Place::Section(Section {
            path: "AGENTS.md",
            own_folders: 0,
            begin: "<!-- muse coord: begin -->",
            end: "<!-- muse coord: end -->",
            text: AGENTS.trim_end(),
            check: |_, _| Ok(()),
        })],
        _ => HOOKS.iter().filter(|hooks| hooks.target == target).map(|hooks| hooks.place(strict)).collect(),
    }
}

/// The hooks of a harness that keeps them in a JSON file.
struct Hooks {
    target: Target,
    path: &'static str,
    form: Form,
    before_edit: &'static str,
    /// Which tools edit.
    matcher: &'static str,
    session_start: &'static str,
    /// `None` where the harness has no such event.
    subagent_end: Option<&'static str>,
    session_end: &'static str,
}

/// How a harness writes a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// In a group with a matcher.
    Grouped,
    /// So too, with a name, and its time in milliseconds.
    GeminiGrouped,
    /// By itself, in a file that says the version of its format.
    Cursor,
    /// So too, with the command under `bash`.
    Copilot,
}

const HOOKS: [Hooks; 5] = [
    Hooks {
        target: Target::ClaudeCode,
        path: ".claude/settings.json",
        form: Form::Grouped,
        before_edit: "PreToolUse",
        matcher: "Edit|MultiEdit|Write|NotebookEdit",
        session_start: "SessionStart",
        subagent_end: Some("SubagentStop"),
        session_end: "SessionEnd",
    },
    Hooks {
        target: Target::Codex,
        path: ".codex/hooks.json",
        form: Form::Grouped,
        before_edit: "PreToolUse",
        matcher: "^apply_patch$",
        session_start: "SessionStart",
        subagent_end: Some("SubagentStop"),
        session_end: "SessionEnd",
    },
    Hooks {
        target: Target::Cursor,
        path: ".cursor/hooks.json",
        form: Form::Cursor,
        before_edit: "preToolUse",
        matcher: "Write|StrReplace|Edit|MultiEdit|ApplyPatch|Delete|EditNotebook|NotebookEdit",
        session_start: "sessionStart",
        subagent_end: Some("subagentStop"),
        session_end: "sessionEnd",
    },
    Hooks {
        target: Target::Gemini,
        path: ".gemini/settings.json",
        form: Form::GeminiGrouped,
        before_edit: "BeforeTool",
        matcher: "write_file|replace",
        session_start: "SessionStart",
        subagent_end: None,
        session_end: "SessionEnd",
    },
    // Every file of this folder is read, so ours stands alone.
    Hooks {
        target: Target::Copilot,
        path: ".github/hooks/muse.json",
        form: Form::Copilot,
        before_edit: "preToolUse",
        matcher: "create|edit|str_replace_editor|apply_patch",
        session_start: "sessionStart",
        subagent_end: Some("subagentStop"),
        session_end: "sessionEnd",
    },
];

impl Hooks {
    fn place(&self, strict: bool) -> Place {
        let edit = (self.before_edit, self.entry(Some(self.matcher), HOOK_SECONDS, strict));
        let others = [
            Some((self.session_start, HOOK_SECONDS)),
            self.subagent_end.map(|event| (event, HOOK_SECONDS)),
            Some((self.session_end, END_SECONDS)),
        ];
        let others =
            others.into_iter().flatten().map(|(event, seconds)| (event, self.entry(None, seconds, strict)));
        let mut insertions: Vec<Insertion> = std::iter::once(edit)
            .chain(others)
            .map(|(event, value)| Insertion { path: vec!["hooks", event], key: None, value })
            .collect();
        // Each goes before those that are there, so the last one is put in first.
        insertions.reverse();
        if matches!(self.form, Form::Cursor | Form::Copilot) {
            insertions.push(Insertion { path: Vec::new(), key: Some("version"), value: Json::Number(1) });
        }
        let own_folders = self.path.matches('/').count();
        Place::Config(Config { path: self.path, own_folders, ours: Ours::Hooks, insertions })
    }

    /// One hook; that before an edit has a matcher.
    fn entry(&self, matcher: Option<&str>, seconds: u32, strict: bool) -> Json {
        let command = command(self.target, strict, matcher.is_some());
        let kind = ("type", Json::text("command"));
        let matcher = matcher.map(|matcher| ("matcher", Json::text(matcher)));
        let members = match self.form {
            Form::Cursor => {
                let timeout = ("timeout", Json::Number(seconds));
                [("command", command)].into_iter().chain(matcher).chain([timeout]).collect()
            }
            Form::Copilot => {
                let rest = [("bash", command), ("timeoutSec", Json::Number(seconds))];
                [kind].into_iter().chain(matcher).chain(rest).collect()
            }
            Form::Grouped | Form::GeminiGrouped => {
                let mut hook = vec![kind, ("command", command)];
                if self.form == Form::GeminiGrouped {
                    hook.insert(0, ("name", Json::text("muse coord")));
                    hook.push(("timeout", Json::Number(seconds * 1000)));
                } else {
                    hook.push(("timeout", Json::Number(seconds)));
                }
                let hooks = ("hooks", Json::List(vec![Json::Object(hook)]));
                matcher.into_iter().chain([hooks]).collect()
            }
        };
        Json::Object(members)
    }
}

/// What tells a harness of the MCP server.
pub(super) fn server(target: Target) -> Option<Place> {
    let command_and_args =
        || Json::Object(vec![("command", Json::text("muse")), ("args", Json::List(vec![Json::text("mcp")]))]);
    let (path, own_folders, servers, value) = match target {
        Target::ClaudeCode | Target::Copilot => (".mcp.json", 0, "mcpServers", command_and_args()),
        Target::Cursor => (".cursor/mcp.json", 1, "mcpServers", command_and_args()),
        Target::Gemini => (".gemini/settings.json", 1, "mcpServers", command_and_args()),
        Target::Opencode => {
            let words = Json::List(vec![Json::text("muse"), Json::text("mcp")]);
            let value = Json::Object(vec![
                ("type", Json::text("local")),
                ("command", words),
                ("enabled", Json::Bool(true)),
            ]);
            ("opencode.json", 0, "mcp", value)
        }
        Target::Codex => {
            return Some(Place::Section(Section {
                path: ".codex/config.toml",
                own_folders: 1,
                begin: "# muse coord: begin",
                end: "# muse coord: end",
                text: "[mcp_servers.muse]\ncommand = \"muse\"\nargs = [\"mcp\"]",
                check: check_codex_server,
            }));
        }
        Target::Git | Target::Skill | Target::AgentsMd => return None,
    };
    let insertions = vec![Insertion { path: vec![servers], key: Some(SERVER), value }];
    Some(Place::Config(Config { path, own_folders, ours: Ours::Server(servers), insertions }))
}

/// Checks that Codex's configuration says the same as before, and one server more.
fn check_codex_server(before: &str, after: &str) -> Result<(), Refusal> {
    let read = |text: &str| {
        text.parse::<toml::Table>().map_err(|error| format!("it is not TOML ({})", error.message()))
    };
    let mut expected = read(before)?;
    let servers = expected.entry("mcp_servers").or_insert_with(|| toml::Table::new().into());
    let servers = servers.as_table_mut().ok_or("`mcp_servers` in it is not a table")?;
    let server = toml::Table::from_iter([
        ("command".to_owned(), "muse".into()),
        ("args".to_owned(), vec![toml::Value::from("mcp")].into()),
    ]);
    if servers.insert(SERVER.to_owned(), server.into()).is_some() {
        return Err(format!("`{SERVER}` is in it already"));
    }
    if read(after)? == expected { Ok(()) } else { Err("a table cannot be added at its end".to_owned()) }
}
