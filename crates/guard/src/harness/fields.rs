//! Reading fields of JSON objects: any of several spellings, absent or null alike, and an error where the type is wrong.

use serde_json::{Map, Value};

use super::PayloadError;

/// Reads a JSON text.
///
/// Halves of surrogate pairs, which programs in JavaScript write where they cut a text in two, are no characters, and no
/// text here can hold them. They are taken for U+FFFD, which is also what such a program writes into a file for them.
pub(super) fn parse(text: &[u8]) -> Result<Value, PayloadError> {
    let read = |text: &[u8]| serde_json::from_slice(text);
    read(text)
        .or_else(|error| without_halves(text).map_or(Err(error), |text| read(&text)))
        .map_err(PayloadError::NotJson)
}

/// A JSON text with `\ufffd` for each half of a surrogate pair; `None` if there is none.
fn without_halves(text: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let is_second = |unit: Option<u16>| matches!(unit, Some(0xDC00..=0xDFFF));
    let mut mended = Vec::with_capacity(text.len());
    let mut is_mended = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let length = match unit(at) {
            Some(0xD800..=0xDBFF) if is_second(unit(at + 6)) => 12,
            Some(0xD800..=0xDFFF) => {
                mended.extend(b"\\ufffd");
                is_mended = true;
                at += 6;
                continue;
            }
            // What is escaped begins nothing.
            _ if byte == b'\\' => 2,
            _ => 1,
        };
        mended.extend(&text[at..text.len().min(at + length)]);
        at += length;
    }
    is_mended.then_some(mended)
}

/// A path, where a `file:` URI stands for one: of this machine, and with its percent signs decoded. Anything else is as
/// it is.
pub(super) fn without_scheme(path: String) -> String {
    path_of_uri(&path).unwrap_or(path)
}

fn path_of_uri(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file"))?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.as_bytes();
    while let [byte, behind @ ..] = left {
        let escaped = behind.get(..2).filter(|_| *byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*byte));
        left = if escaped.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8(bytes).ok().filter(|path| path.starts_with('/') && !path.contains('\0'))
}

/// The fields of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The first of the names that is there and not null.
    pub(super) fn value(self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|name| Some((*name, self.0.get(*name).filter(|value| !value.is_null())?)))
    }

    pub(super) fn text(self, names: &[&'static str]) -> Result<Option<&'a str>, PayloadError> {
        self.typed(names, "a text", Value::as_str)
    }

    pub(super) fn owned(self, names: &[&'static str]) -> Result<Option<String>, PayloadError> {
        Ok(self.text(names)?.map(str::to_owned))
    }

    /// A text that has to be there, and not to be empty.
    pub(super) fn needed(self, names: &[&'static str]) -> Result<&'a str, PayloadError> {
        let text = self.text(names)?.filter(|text| !text.is_empty());
        text.ok_or(PayloadError::Missing(names.first().copied().unwrap_or_default()))
    }

    pub(super) fn flag(self, names: &[&'static str]) -> Result<bool, PayloadError> {
        Ok(self.typed(names, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn list(self, names: &[&'static str]) -> Result<Option<&'a [Value]>, PayloadError> {
        self.typed(names, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    fn typed<T>(
        self,
        names: &[&'static str],
        wanted: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, PayloadError> {
        self.value(names)
            .map(|(field, value)| read(value).ok_or(PayloadError::WrongType { field, wanted }))
            .transpose()
    }
}
