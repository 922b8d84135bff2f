//! Reading fields of JSON objects: any of several spellings, absent or null alike, and an error where the type is wrong.

use serde_json::{Map, Value};

use super::PayloadError;

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
