//! What coding harnesses send to a hook, and what they take for an answer. Pure: bytes in, values out.
//!
//! One file a harness holds what it calls its events and its tools, and the words of its answers; `fields.rs` reads JSON
//! leniently (unknown fields are nothing, a known one of the wrong type is an error), `tools.rs` reads the arguments of a
//! tool that edits. What was read where is in `docs/hooks.md`.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use self::fields::Fields;
use crate::edit::Edit;
use crate::patch::PatchError;

mod claude_code;
mod codex;
mod copilot;
mod cursor;
mod fields;
mod gemini;
mod opencode;
mod tools;

/// A coding harness that asks a hook before it edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harness {
    /// Claude Code.
    ClaudeCode,
    /// Codex.
    Codex,
    /// Cursor.
    Cursor,
    /// Gemini CLI.
    Gemini,
    /// Copilot CLI.
    Copilot,
    /// opencode, by a plugin of ours.
    Opencode,
}

/// What has happened, or is about to, in a harness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who tells.
    pub sender: Sender,
    /// What it is.
    pub kind: EventKind,
    /// The session.
    pub session: Option<String>,
    /// The subagent of the session that it happens in, if it is one.
    pub agent: Option<String>,
    /// The folder that the session works in, as the harness spells it.
    pub cwd: Option<String>,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Files are about to be edited.
    Edits(Vec<Edit>),
    /// A session begins, or goes on.
    SessionStart,
    /// A session ends.
    SessionEnd,
    /// A subagent ends.
    AgentEnd,
    /// Anything else: no business of ours.
    Other,
}

/// Who sent a payload, which need not be whom the command is named after: Cursor and Copilot run the hooks that are
/// configured for Claude Code too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The harness.
    pub harness: Harness,
    /// Whether Copilot speaks in the words of Claude Code.
    pub is_compatible: bool,
}

/// What a hook has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it may go on.
    Pass,
    /// The edit must not be made; the reason is for the model.
    Deny(String),
    /// What the model should know at the start of its session.
    Context(String),
}

/// What a hook prints, and its exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Nothing, or one JSON object on one line.
    pub stdout: String,
    /// Nothing, or a sentence; never nothing beside the exit code 2.
    pub stderr: String,
    /// 0 or 2.
    pub exit: u8,
}

/// Why a payload could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is no JSON.
    #[error("the payload is no JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, and no object.
    #[error("the payload is no JSON object")]
    NotAnObject,
    /// A field that is needed is not there.
    #[error("the payload has no `{0}`")]
    Missing(&'static str),
    /// A field is of another type than it has to be.
    #[error("`{field}` in the payload is not {wanted}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it has to be, with its article.
        wanted: &'static str,
    },
    /// The patch could not be read.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

impl Harness {
    /// All of them.
    pub const ALL: [Harness; 6] = [
        Harness::ClaudeCode,
        Harness::Codex,
        Harness::Cursor,
        Harness::Gemini,
        Harness::Copilot,
        Harness::Opencode,
    ];

    /// Its name, as in `muse coord hook NAME` and before the session's id in a run id.
    pub const fn name(self) -> &'static str {
        match self {
            Harness::ClaudeCode => "claude-code",
            Harness::Codex => "codex",
            Harness::Cursor => "cursor",
            Harness::Gemini => "gemini",
            Harness::Copilot => "copilot",
            Harness::Opencode => "opencode",
        }
    }

    /// What a payload tells that was sent to the hook of this harness.
    ///
    /// # Errors
    ///
    /// When it is not what the harness that sent it sends.
    pub fn read(self, payload: &[u8]) -> Result<Event, PayloadError> {
        // Some shells put a byte order mark before what they pipe.
        let payload = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
        let value = fields::parse(payload)?;
        let Value::Object(object) = &value else { return Err(PayloadError::NotAnObject) };
        let fields = Fields(object);
        let sender = self.sender(object);
        let mut event = match sender.harness {
            Harness::ClaudeCode => claude_code::read(sender, fields),
            Harness::Codex => codex::read(sender, fields),
            Harness::Cursor => cursor::read(sender, fields),
            Harness::Gemini => gemini::read(sender, fields),
            Harness::Copilot => copilot::read(sender, fields),
            Harness::Opencode => opencode::read(sender, fields),
        }?;
        event.cwd = event.cwd.map(fields::without_scheme);
        if let EventKind::Edits(edits) = &mut event.kind {
            for edit in edits {
                edit.path = fields::without_scheme(std::mem::take(&mut edit.path));
            }
        }
        Ok(event)
    }

    /// Who sent the payload, judged by the fields that only its harness sends.
    fn sender(self, object: &Map<String, Value>) -> Sender {
        let has = |name: &str| object.contains_key(name);
        let of = |harness| Sender { harness, is_compatible: false };
        match self {
            Harness::ClaudeCode | Harness::Copilot => {}
            // Nobody else runs the hooks of these.
            Harness::Codex | Harness::Cursor | Harness::Gemini | Harness::Opencode => return of(self),
        }
        if has("cursor_version") || has("conversation_id") {
            return of(Harness::Cursor);
        }
        // Claude Code tells no time, and Copilot no permission mode.
        let is_of_copilot = has("sessionId") || has("timestamp");
        if self == Harness::ClaudeCode && (!is_of_copilot || has("permission_mode")) {
            return of(self);
        }
        Sender { harness: Harness::Copilot, is_compatible: has("hook_event_name") || has("hookEventName") }
    }

    /// The answer to a payload that could not be understood, where that denies: the reason is on standard error, with
    /// the exit code 2, which means the same to all of them.
    pub fn refusal(self, reason: &str) -> Reply {
        match self {
            // The plugin reads standard output.
            Harness::Opencode => opencode::reply(&Answer::Deny(reason.to_owned())),
            _ => Reply { stderr: non_empty(reason), exit: 2, ..Reply::default() },
        }
    }
}

impl Sender {
    /// The answer in the harness's own words.
    pub fn reply(self, answer: &Answer) -> Reply {
        match self.harness {
            Harness::ClaudeCode | Harness::Codex => claude_code::reply(answer),
            Harness::Cursor => cursor::reply(answer),
            Harness::Gemini => gemini::reply(answer),
            Harness::Copilot => copilot::reply(answer, self.is_compatible),
            Harness::Opencode => opencode::reply(answer),
        }
    }
}

impl Event {
    /// The id of the run that the event happens in, where no other is given: `<harness>:<session>`, and behind it `/`
    /// and the id of the subagent. `None` if the harness tells no session.
    ///
    /// What could be taken for a part of that form, or for a control character, is escaped (`%2f`), and an id that would
    /// be too long then ends with its hash, so that two sessions never have one run id.
    pub fn run(&self) -> Option<String> {
        let session = self.session.as_deref().filter(|session| !session.is_empty())?;
        let session = shortened(escaped(session), SESSION_CHARACTERS_MAX);
        Some(self.below(&format!("{}:{session}", self.sender.harness.name())))
    }

    /// The run id of whoever acts here, where `run` is that of the session.
    pub fn below(&self, run: &str) -> String {
        match self.agent.as_deref().filter(|agent| !agent.is_empty()) {
            Some(agent) => format!("{run}/{}", shortened(escaped(agent), AGENT_CHARACTERS_MAX)),
            None => run.to_owned(),
        }
    }
}

/// The most characters of a session's id, and of a subagent's, in a run id: with the name of a harness, a run id may have
/// them all. None was seen that comes near.
const SESSION_CHARACTERS_MAX: usize = 160;
const AGENT_CHARACTERS_MAX: usize = 80;

/// How many hexadecimal digits stand for the end of a longer one: 128 bits, so that nobody finds two alike.
const HASH_DIGITS: usize = 32;

/// An escaped id, or of a longer one its beginning, `~`, which no escaped id has, and the hash of all of it.
fn shortened(id: String, characters_max: usize) -> String {
    if id.len() <= characters_max {
        return id;
    }
    let digest = Sha256::digest(id.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).take(HASH_DIGITS);
    let hash: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    // What is escaped is ASCII.
    format!("{}~{hash}", id.get(..characters_max - HASH_DIGITS - 1).unwrap_or_default())
}

fn escaped(id: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(id.len());
    for character in id.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '@' | '+' | '=') {
            text.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string never fails.
                write!(text, "%{byte:02x}").unwrap_or_default();
            }
        }
    }
    text
}

/// A reason that is not empty: an empty one lets some harnesses go on.
fn non_empty(reason: &str) -> String {
    if reason.trim().is_empty() { "denied by the guard".to_owned() } else { reason.to_owned() }
}

/// A reply that is one JSON object.
fn object(value: &Value) -> Reply {
    Reply { stdout: value.to_string(), ..Reply::default() }
}

/// Context for the model, in the words that several harnesses share.
fn session_context(text: &str) -> Value {
    json!({"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}})
}
