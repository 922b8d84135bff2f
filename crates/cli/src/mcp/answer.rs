//! A command's report as the answer of a tool: what a model must not overlook beside it, and no longer than a model
//! can read.

use rmcp::model::CallToolResult;
use serde_json::{Map, Value};

use super::connection::Lost;

/// How many elements of each list an answer has, unless `list` is asked for another number.
pub(super) const ELEMENTS_DEFAULT: usize = 20;

/// The most that `list` can be asked for.
pub(super) const ELEMENTS_MAX: usize = 100;

/// The longest answer: 16,000 tokens at 4 bytes. Where it is longer, the lists are made shorter still.
const BYTES_MAX: usize = 64 * 1024;

/// A report, and what it is told with.
#[derive(Debug)]
pub(super) struct Reply {
    /// The object that the command prints with `--json`.
    pub(super) report: Value,
    /// The exit code of the command.
    pub(super) exit_code: u8,
    /// The most elements of each list.
    pub(super) elements: usize,
}

/// What is told beside every report.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The run that it was for, if it could be told.
    pub(super) run: Option<String>,
    /// What the connection does not hold any more.
    pub(super) lost: Vec<Lost>,
    /// What could not be kept alive for now.
    pub(super) warnings: Vec<String>,
}

impl Reply {
    /// The answer. It counts as an error exactly where the command's exit code is not 0: who looks at nothing but that
    /// must not take a denial for a grant.
    pub(super) fn told_with(self, beside: Beside) -> CallToolResult {
        let Reply { mut report, exit_code, elements } = self;
        if let Value::Object(fields) = &mut report {
            if let Some(run) = beside.run {
                fields.entry("run_id").or_insert_with(|| run.into());
            }
            if !beside.lost.is_empty() {
                let lost = beside.lost.into_iter().map(Value::from);
                fields.insert("lost".to_owned(), lost.collect());
            }
            if let Some(Value::Array(warnings)) = fields.get_mut("warnings") {
                warnings.extend(beside.warnings.into_iter().map(Value::from));
            }
        }
        let report = bounded(&report, elements);
        if exit_code == crate::exit::OK {
            CallToolResult::structured(report)
        } else {
            CallToolResult::structured_error(report)
        }
    }
}

/// The report with at most `elements` in each list, and fewer if it would be too long. What is left out is counted in
/// `left_out`, by the names of the lists.
fn bounded(report: &Value, elements: usize) -> Value {
    let mut elements = elements;
    loop {
        let mut left_out = Map::new();
        let mut shorter = report.clone();
        shorten(&mut shorter, "", elements, &mut left_out);
        if let Value::Object(fields) = &mut shorter
            && !left_out.is_empty()
        {
            fields.insert("left_out".to_owned(), left_out.into());
        }
        if elements <= 1 || shorter.to_string().len() <= BYTES_MAX {
            return shorter;
        }
        elements /= 2;
    }
}

/// Leaves the first `elements` of each list. `name` is what leads to the value from the top.
fn shorten(value: &mut Value, name: &str, elements: usize, left_out: &mut Map<String, Value>) {
    match value {
        Value::Array(list) => {
            let more = list.len().saturating_sub(elements);
            list.truncate(elements);
            for element in list {
                shorten(element, name, elements, left_out);
            }
            if more > 0 {
                let before = left_out.get(name).and_then(Value::as_u64).unwrap_or(0);
                let more = u64::try_from(more).unwrap_or(u64::MAX);
                left_out.insert(name.to_owned(), before.saturating_add(more).into());
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                shorten(value, &name, elements, left_out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_short_is_left_as_it_is() {
        let report = json!({ "status": "ok", "rows": [1, 2, { "addresses": ["a"] }], "none": null });
        assert_eq!(bounded(&report, 3), report);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let row = json!({ "addresses": ["a", "b", "c", "d"] });
        let report = json!({ "count": 4, "rows": [row, row, row, row] });
        let two = json!({ "addresses": ["a", "b"] });
        let expected = json!({
            "count": 4, "rows": [two, two],
            "left_out": { "rows": 2, "rows.addresses": 4 },
        });
        assert_eq!(bounded(&report, 2), expected);
    }

    #[test]
    fn what_is_too_long_is_shortened_further() {
        let report = json!({ "rows": vec!["x".repeat(4096); 1000] });
        let shorter = bounded(&report, 100);
        assert!(shorter.to_string().len() <= BYTES_MAX);
        let shown = shorter["rows"].as_array().unwrap().len();
        assert!(shown > 1, "{shown}");
        assert_eq!(shorter["left_out"]["rows"], json!(1000 - shown));
    }
}
