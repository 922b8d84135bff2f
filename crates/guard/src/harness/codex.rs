//! Codex: as Claude Code, with patches for edits.

use super::fields::Fields;
use super::tools::Tool;
use super::{Event, PayloadError, Sender, claude_code};

const TOOLS: [(&str, Tool); 1] = [("apply_patch", Tool::Patch)];

pub(super) fn read(sender: Sender, fields: Fields<'_>) -> Result<Event, PayloadError> {
    claude_code::read_with(sender, fields, &TOOLS)
}
