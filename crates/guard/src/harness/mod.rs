//! What coding harnesses send to a hook, and what they take for an answer.

mod opencode;

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
}
