//! Putting values into a JSON text and taking them out again, with everything else in it byte for byte.
//!
//! The text is never printed anew: what is put in is one piece of text behind the `{` or `[` of what it belongs to, and
//! taking it out removes that piece. Comments, trailing commas, tabs, line ends and odd spacing therefore stay. A list or
//! an object that is made here begins with white space; one that was there and empty is filled without: so the text
//! alone tells which of them go too.

use jsonc_parser::ast::{Array, Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

/// A value to put into a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Bool(bool),
    Number(u32),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub(crate) fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// The same as a value that can be compared with what a text holds.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        match self {
            Json::Bool(bool) => (*bool).into(),
            Json::Number(number) => (*number).into(),
            Json::Text(text) => text.as_str().into(),
            Json::List(list) => list.iter().map(Json::to_value).collect(),
            Json::Object(members) => {
                members.iter().map(|(key, value)| ((*key).to_owned(), value.to_value())).collect()
            }
        }
    }

    fn write(&self, style: &Style, indent: &str, out: &mut String) {
        match self {
            Json::List(list) => {
                let items = list.iter().map(|item| (None, item));
                style.write('[', ']', items, indent, out);
            }
            Json::Object(members) => {
                let items = members.iter().map(|(key, value)| (Some(*key), value));
                style.write('{', '}', items, indent, out);
            }
            scalar => out.push_str(&scalar.to_value().to_string()),
        }
    }
}

/// How a text is laid out.
#[derive(Debug)]
struct Style {
    /// What ends a line; `None` where all of it stands on one.
    line_end: Option<&'static str>,
    /// One step of indentation.
    step: String,
}

impl Style {
    /// The layout of a text, as far as it has one.
    fn of(text: &str) -> Style {
        let line_end = match text.find('\n') {
            None => None,
            Some(at) if text[..at].ends_with('\r') => Some("\r\n"),
            Some(_) => Some("\n"),
        };
        let indented =
            text.lines().skip(1).find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
        let step =
            indented.map_or("  ", |line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]);
        Style { line_end, step: step.to_owned() }
    }

    fn write<'a>(
        &self,
        open: char,
        close: char,
        items: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
        indent: &str,
        out: &mut String,
    ) {
        let inner = format!("{indent}{}", self.step);
        out.push(open);
        for (position, (key, value)) in items.enumerate() {
            if position > 0 {
                out.push(',');
            }
            match self.line_end {
                Some(line_end) => out.extend([line_end, &inner]),
                None => out.push(' '),
            }
            if let Some(key) = key {
                out.push_str(&self.name(key));
            }
            value.write(self, &inner, out);
        }
        if let Some(line_end) = self.line_end {
            out.extend([line_end, indent]);
        }
        out.push(close);
    }

    /// The name of a member, up to its value.
    fn name(&self, key: &str) -> String {
        let key = serde_json::Value::from(key);
        if self.line_end.is_some() { format!("{key}: ") } else { format!("{key}:") }
    }
}

/// Where a value goes: into the object at `path` under `key`, or into the list at `path`, first in both.
#[derive(Clone, Debug)]
pub(crate) struct Insertion {
    /// The names of the members on the way from the top.
    pub(crate) path: Vec<&'static str>,
    /// The name of the member; `None` for an element of a list.
    pub(crate) key: Option<&'static str>,
    /// The value.
    pub(crate) value: Json,
}

/// Why a text is left as it is: the end of a sentence that begins with "it".
pub(crate) type Refusal = String;

/// Reads a text: the object that it is, without a byte order mark.
pub(crate) fn object(text: &str) -> Result<Object<'_>, Refusal> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options)
        .map_err(|error| format!("it is not JSON ({error})"))?;
    match parsed.value {
        Some(Value::Object(object)) => Ok(object),
        _ => Err("it is not an object".to_owned()),
    }
}

/// The text without a byte order mark, and where that ends.
pub(crate) fn without_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 })
}

/// The one member of this name. Readers differ in which of two they take.
pub(crate) fn member<'a, 'b>(
    object: &'b Object<'a>,
    key: &str,
) -> Result<Option<&'b ObjectProp<'a>>, Refusal> {
    let mut found = object.properties.iter().filter(|member| member.name.as_str() == key);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(format!("`{key}` is in it twice")),
        (found, None) => Ok(found),
    }
}

/// A file that holds nothing but this.
pub(crate) fn new_text(insertions: &[Insertion], final_line_end: bool) -> Result<String, Refusal> {
    // Made like one that begins with white space, so that all of it is known to be ours.
    let mut text = String::new();
    let style = Style { line_end: Some("\n"), step: "  ".to_owned() };
    for insertion in insertions {
        if text.is_empty() {
            let (key, value) = nested(&insertion.path, insertion);
            style.write('{', '}', std::iter::once((key, &value)), "", &mut text);
        } else {
            text = insert(&text, insertion)?;
        }
    }
    if final_line_end {
        text.push('\n');
    }
    Ok(text)
}

/// The member or element that is missing: the value, inside of what is missing around it.
fn nested(missing: &[&'static str], insertion: &Insertion) -> (Option<&'static str>, Json) {
    let mut item = (insertion.key, insertion.value.clone());
    for &name in missing.iter().rev() {
        let container = match item.0 {
            Some(key) => Json::Object(vec![(key, item.1)]),
            None => Json::List(vec![item.1]),
        };
        item = (Some(name), container);
    }
    item
}

/// Puts a value into a text that has no byte order mark.
pub(crate) fn insert(text: &str, insertion: &Insertion) -> Result<String, Refusal> {
    let root = object(text)?;
    let style = Style::of(text);
    let mut container = &root;
    for (depth, &name) in insertion.path.iter().enumerate() {
        let Some(found) = member(container, name)? else {
            let (key, value) = nested(&insertion.path[depth..], insertion);
            return Ok(put(text, &Inside::of_object(container), &style, key, &value));
        };
        match (&found.value, insertion.path.len() - depth, insertion.key) {
            (Value::Array(list), 1, None) => {
                return Ok(put(text, &Inside::of_list(list), &style, None, &insertion.value));
            }
            (Value::Object(object), 2.., _) | (Value::Object(object), 1, Some(_)) => container = object,
            (_, 1, None) => return Err(format!("`{name}` in it is not a list")),
            _ => return Err(format!("`{name}` in it is not an object")),
        }
    }
    if let Some(key) = insertion.key
        && member(container, key)?.is_some()
    {
        return Err(format!("`{key}` is in it already"));
    }
    Ok(put(text, &Inside::of_object(container), &style, insertion.key, &insertion.value))
}

/// What is between two brackets.
struct Inside {
    /// Behind the opening one.
    start: usize,
    /// At the closing one.
    end: usize,
    /// Where each member or element is.
    items: Vec<(usize, usize)>,
}

impl Inside {
    fn of_object(object: &Object) -> Inside {
        let items = object.properties.iter().map(|member| (member.start(), member.end())).collect();
        Inside { start: object.start() + 1, end: object.end() - 1, items }
    }

    fn of_list(list: &Array) -> Inside {
        let items = list.elements.iter().map(|element| (element.start(), element.end())).collect();
        Inside { start: list.start() + 1, end: list.end() - 1, items }
    }
}

/// Puts a member or an element before the others.
fn put(text: &str, inside: &Inside, style: &Style, key: Option<&str>, value: &Json) -> String {
    let own = |indent: &str| {
        let mut out = key.map(|key| style.name(key)).unwrap_or_default();
        value.write(style, indent, &mut out);
        out
    };
    let line = text[..inside.start].rsplit('\n').next().unwrap_or_default();
    let outer = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
    let Some(&(first, _)) = inside.items.first() else {
        let piece = own(outer);
        return spliced(text, inside.start..inside.start, &piece);
    };
    let before_first = &text[inside.start..first];
    if let (Some(line_end), Some(at)) = (style.line_end, end_of_line(text, inside.start, first)) {
        let indent = before_first.rsplit('\n').next().unwrap_or_default();
        let indent = if indent.trim_matches([' ', '\t']).is_empty() { indent } else { outer };
        spliced(text, at..at, &format!("{line_end}{indent}{},", own(indent)))
    } else {
        let gap = if before_first.ends_with([' ', '\t', '\n']) { " " } else { "" };
        spliced(text, first..first, &format!("{},{gap}", own(outer)))
    }
}

/// Where the first line behind an opening bracket ends: behind the comments on it. `None` if something else is on it.
fn end_of_line(text: &str, start: usize, first: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = text[at..first].trim_start_matches([' ', '\t']);
        if rest.starts_with(['\n', '\r']) {
            return Some(at);
        }
        let length = comment(rest)?;
        at = first - rest.len() + length;
    }
}

/// The length of the comment that a text begins with, without the end of its line.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        let end = text.find('\n').unwrap_or(text.len());
        return Some(text[..end].trim_end_matches('\r').len());
    }
    text.strip_prefix("/*").and_then(|rest| rest.find("*/")).map(|end| end + 4)
}

/// Where the next thing is that is neither white space nor a comment.
fn next(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        match comment(rest) {
            Some(length) => at += length,
            None => return at,
        }
    }
}

fn spliced(text: &str, range: std::ops::Range<usize>, piece: &str) -> String {
    format!("{}{piece}{}", &text[..range.start], &text[range.end..])
}

/// What is left of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// This text.
    Text(String),
    /// Nothing: the file was made here.
    Nothing,
}

/// Takes out a value, and what was made here around it.
///
/// `way` leads to it from the top: the position of a member or an element at each step.
pub(crate) fn take_out(text: &str, way: &[usize]) -> Result<Left, Refusal> {
    let root = Value::Object(object(text)?);
    let mut insides = Vec::with_capacity(way.len());
    let mut value = &root;
    for &position in way {
        let (inside, below) = match value {
            Value::Object(object) => {
                (Inside::of_object(object), object.properties.get(position).map(|member| &member.value))
            }
            Value::Array(list) => (Inside::of_list(list), list.elements.get(position)),
            _ => return Err("it has another form than it had".to_owned()),
        };
        insides.push(inside);
        value = below.ok_or("it has another form than it had")?;
    }
    let made = insides.iter().rev().take_while(|inside| is_only_ours(text, inside)).count();
    let left = match (insides.len() - made).checked_sub(1) {
        Some(kept) => without(text, &insides[kept], way[kept]),
        None => match (&text[..root.start()], &text[root.end()..]) {
            ("", "\n") => return Ok(Left::Nothing),
            ("", "") => return Ok(Left::Text(String::new())),
            _ => without(text, &insides[0], way[0]),
        },
    };
    // A comment that ends with its line must not swallow what stood behind ours.
    let expected = value_without(root.clone().into(), &root, &way[..way.len() - made.min(way.len() - 1)]);
    if serde_json::Value::from(Value::Object(object(&left)?)) == expected {
        Ok(Left::Text(left))
    } else {
        Err("what is ours in it cannot be told from the rest".to_owned())
    }
}

/// The same in values.
fn value_without(mut whole: serde_json::Value, root: &Value, way: &[usize]) -> serde_json::Value {
    let (mut value, mut node) = (&mut whole, root);
    for (depth, &position) in way.iter().enumerate() {
        let is_last = depth + 1 == way.len();
        let below = match (value, node) {
            (serde_json::Value::Object(members), Value::Object(object)) => {
                let Some(member) = object.properties.get(position) else { break };
                if is_last {
                    members.remove(member.name.as_str());
                    break;
                }
                (members.get_mut(member.name.as_str()), Some(&member.value))
            }
            (serde_json::Value::Array(elements), Value::Array(list)) => {
                if is_last {
                    elements.remove(position);
                    break;
                }
                (elements.get_mut(position), list.elements.get(position))
            }
            _ => break,
        };
        let (Some(below_value), Some(below_node)) = below else { break };
        (value, node) = (below_value, below_node);
    }
    whole
}

/// Whether what is between these brackets is one value, and was made here with them.
fn is_only_ours(text: &str, inside: &Inside) -> bool {
    let [(start, end)] = inside.items[..] else { return false };
    let (before, after) = (&text[inside.start..start], &text[end..inside.end]);
    !before.is_empty()
        && before.trim().is_empty()
        && after.trim_matches([' ', '\t', '\r', '\n', ',']).is_empty()
}

/// The text without one member or element.
fn without(text: &str, inside: &Inside, position: usize) -> String {
    let Some(&(start, end)) = inside.items.get(position) else { return text.to_owned() };
    let before = &text[inside.start..start];
    let unindented = before.trim_end_matches([' ', '\t']);
    let line_end = unindented.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let comma = Some(next(text, end)).filter(|&at| text[at..inside.end].starts_with(','));
    let after = &text[comma.map_or(end, |comma| comma + 1)..inside.end];
    let until = inside.end - after.len();
    let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
    let is_last = position + 1 == inside.items.len();
    let ends_its_line = after[blank..].starts_with(['\n', '\r']) || after[blank..].starts_with("//");
    let rest = match line_end.filter(|_| ends_its_line) {
        Some(line) => spliced(text, inside.start + line.len()..until, ""),
        None if is_last && position > 0 => spliced(text, inside.start + unindented.len()..until, ""),
        None if is_last => spliced(text, start..until, ""),
        None => spliced(text, start..until + blank, ""),
    };
    // The comma before the last one, which has none behind it.
    match position.checked_sub(1).and_then(|previous| inside.items.get(previous)) {
        Some(&(_, previous)) if is_last && comma.is_none() => {
            let at = next(text, previous);
            spliced(&rest, at..at + 1, "")
        }
        _ => rest,
    }
}
