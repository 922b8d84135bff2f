//! The arguments of tools that edit files. Harnesses spell the same few things in different ways.

use serde_json::Value;

use super::PayloadError;
use super::fields::{self, Fields};
use crate::edit::{Change, Edit, Replacement};
use crate::patch;

/// What a tool does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Writes it whole, or replaces texts in it: its arguments tell.
    Edit,
    /// Replaces texts in it.
    Replace,
    /// Applies a patch.
    Patch,
    /// Deletes it.
    Delete,
    /// Edits it in a way that its arguments do not tell.
    Unknown,
}

const PATH: [&str; 5] = ["file_path", "path", "filePath", "notebook_path", "target_file"];
const CONTENT: [&str; 4] = ["content", "contents", "file_text", "fileText"];
const OLD: [&str; 4] = ["old_string", "oldString", "old_str", "oldStr"];
const NEW: [&str; 4] = ["new_string", "newString", "new_str", "newStr"];
const ALL: [&str; 4] = ["replace_all", "replaceAll", "allow_multiple", "allowMultiple"];
const EDITS: [&str; 2] = ["edits", "replacements"];
const PATCH: [&str; 5] = ["command", "patchText", "patch", "input", "patch_text"];

/// How many replacements Gemini expected in its earlier versions.
const EXPECTED: &str = "expected_replacements";

/// The tool of that name.
pub(super) fn named(tools: &[(&str, Tool)], name: &str) -> Option<Tool> {
    tools.iter().find(|(its, _)| *its == name).map(|(_, tool)| *tool)
}

/// What the tool is about to do, by its arguments, which are an object, or the text of one, or the patch itself.
pub(super) fn edits(
    tool: Tool,
    arguments: Option<(&'static str, &Value)>,
) -> Result<Vec<Edit>, PayloadError> {
    let (field, value) = arguments.ok_or(PayloadError::Missing("tool_input"))?;
    let parsed;
    let object = match value {
        Value::Object(object) => object,
        Value::String(text) if tool == Tool::Patch && !text.trim_start().starts_with('{') => {
            return Ok(patch::parse(text)?);
        }
        // Older versions of Copilot send the text of an object.
        Value::String(text) => {
            parsed = fields::parse(text.as_bytes())?;
            parsed.as_object().ok_or(PayloadError::WrongType { field, wanted: "an object" })?
        }
        _ => return Err(PayloadError::WrongType { field, wanted: "an object" }),
    };
    let fields = Fields(object);
    match tool {
        Tool::Patch => Ok(patch::parse(fields.needed(&PATCH)?)?),
        // Copilot calls its patches edits where it speaks in the words of Claude Code.
        Tool::Edit | Tool::Replace if fields.value(&PATH).is_none() && fields.value(&PATCH).is_some() => {
            Ok(patch::parse(fields.needed(&PATCH)?)?)
        }
        Tool::Delete => Ok(vec![Edit { path: fields.needed(&PATH)?.to_owned(), change: Change::Delete }]),
        Tool::Unknown => Ok(vec![Edit { path: fields.needed(&PATH)?.to_owned(), change: Change::Unknown }]),
        Tool::Edit | Tool::Replace => edits_of(fields, tool == Tool::Edit),
    }
}

fn edits_of(fields: Fields<'_>, writes: bool) -> Result<Vec<Edit>, PayloadError> {
    if let Some(items) = fields.list(&EDITS)? {
        return several(fields, items);
    }
    let path = fields.needed(&PATH)?.to_owned();
    let change = match (replacement(fields)?, fields.text(&CONTENT)?) {
        (Some(replacement), _) => Change::Replace(vec![replacement]),
        (None, Some(text)) if writes => Change::Write(text.to_owned()),
        (None, _) => Change::Unknown,
    };
    Ok(vec![Edit { path, change }])
}

/// Replacements one after the other, in one file or in several.
fn several(fields: Fields<'_>, items: &[Value]) -> Result<Vec<Edit>, PayloadError> {
    let common = fields.text(&PATH)?;
    let mut edits: Vec<Edit> = Vec::new();
    for item in items {
        let wrong = PayloadError::WrongType { field: EDITS[0], wanted: "a list of objects" };
        let item = Fields(item.as_object().ok_or(wrong)?);
        let path = item
            .text(&PATH)?
            .or(common)
            .filter(|path| !path.is_empty())
            .ok_or(PayloadError::Missing(PATH[0]))?;
        match (replacement(item)?, edits.last_mut()) {
            (Some(next), Some(Edit { path: last, change: Change::Replace(all) })) if last == path => {
                all.push(next);
            }
            (Some(next), _) => {
                edits.push(Edit { path: path.to_owned(), change: Change::Replace(vec![next]) });
            }
            (None, _) => edits.push(Edit { path: path.to_owned(), change: Change::Unknown }),
        }
    }
    Ok(edits)
}

fn replacement(fields: Fields<'_>) -> Result<Option<Replacement>, PayloadError> {
    let Some(old) = fields.owned(&OLD)? else { return Ok(None) };
    // What is replaced by nothing is left out by some.
    let new = fields.owned(&NEW)?.unwrap_or_default();
    let expects_several = fields.0.get(EXPECTED).and_then(Value::as_u64).is_some_and(|count| count > 1);
    Ok(Some(Replacement { old, new, all: fields.flag(&ALL)? || expects_several }))
}
