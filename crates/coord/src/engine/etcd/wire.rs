//! What is sent to etcd's JSON gateway and comes back: bytes are base64 there, 64-bit integers are texts, and what is zero,
//! false or empty is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes: a key or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes(text.as_bytes().to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes).map_err(D::Error::custom)
    }
}

/// A 64-bit integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Int(pub(super) i64);

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Int, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Int;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer, or one in a text")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Int, E> {
                Ok(Int(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Int, E> {
                i64::try_from(number).map(Int).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Int, E> {
                text.parse().map(Int).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// What every answer begins with.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) cluster_id: Unsigned,
    pub(super) member_id: Unsigned,
    pub(super) revision: Int,
}

/// An unsigned 64-bit integer, which the ids of clusters and members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsigned(pub(super) u64);

impl<'de> Deserialize<'de> for Unsigned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unsigned, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Unsigned).map_err(D::Error::custom)
    }
}

/// A key with its value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) mod_revision: Int,
    pub(super) lease: Int,
}

/// Asks for a key, or for a range of them.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
pub(super) struct Range {
    pub(super) key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) range_end: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sort_order: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keys_only: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeAnswer {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

/// A condition of a transaction.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Compare {
    key: Bytes,
    target: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_revision: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mod_revision: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<Int>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
}

impl Compare {
    fn of(key: impl Into<Bytes>, target: &'static str, result: &'static str) -> Compare {
        Compare {
            key: key.into(),
            target,
            result,
            create_revision: None,
            mod_revision: None,
            lease: None,
            value: None,
        }
    }

    /// There is no such key.
    pub(super) fn absent(key: impl Into<Bytes>) -> Compare {
        Compare { create_revision: Some(Int(0)), ..Compare::of(key, "CREATE", "EQUAL") }
    }

    /// There is such a key.
    pub(super) fn present(key: impl Into<Bytes>) -> Compare {
        Compare { create_revision: Some(Int(0)), ..Compare::of(key, "CREATE", "GREATER") }
    }

    /// The key was changed last at this revision; 0 if there is none.
    pub(super) fn unchanged(key: impl Into<Bytes>, revision: Int) -> Compare {
        Compare { mod_revision: Some(revision), ..Compare::of(key, "MOD", "EQUAL") }
    }

    /// The key has this value.
    pub(super) fn value(key: impl Into<Bytes>, value: Vec<u8>) -> Compare {
        Compare { value: Some(Bytes(value)), ..Compare::of(key, "VALUE", "EQUAL") }
    }

    /// The key is bound to this lease.
    pub(super) fn bound(key: impl Into<Bytes>, lease: Int) -> Compare {
        Compare { lease: Some(lease), ..Compare::of(key, "LEASE", "EQUAL") }
    }
}

/// A step of a transaction.
#[expect(clippy::enum_variant_names, reason = "the names of the protocol")]
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    RequestRange(Range),
    RequestPut(Put),
    RequestDeleteRange(Delete),
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Put {
    key: Bytes,
    value: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<Int>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Delete {
    key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    range_end: Option<Bytes>,
}

impl Step {
    pub(super) fn put(key: impl Into<Bytes>, value: Vec<u8>) -> Step {
        Step::RequestPut(Put { key: key.into(), value: Bytes(value), lease: None })
    }

    pub(super) fn put_bound(key: impl Into<Bytes>, value: Vec<u8>, lease: Int) -> Step {
        Step::RequestPut(Put { key: key.into(), value: Bytes(value), lease: Some(lease) })
    }

    pub(super) fn delete(key: impl Into<Bytes>) -> Step {
        Step::RequestDeleteRange(Delete { key: key.into(), range_end: None })
    }

    /// All keys that begin with `prefix`.
    pub(super) fn delete_all(prefix: &str) -> Step {
        Step::RequestDeleteRange(Delete { key: prefix.into(), range_end: Some(end_of(prefix)) })
    }

    pub(super) fn get(key: impl Into<Bytes>) -> Step {
        Step::RequestRange(Range { key: key.into(), ..Range::default() })
    }

    /// All keys that begin with `prefix`.
    pub(super) fn get_all(prefix: &str) -> Step {
        Step::RequestRange(Range::all(prefix))
    }
}

impl Range {
    /// All keys that begin with `prefix`, in order.
    pub(super) fn all(prefix: &str) -> Range {
        Range { key: prefix.into(), range_end: Some(end_of(prefix)), ..Range::default() }
    }
}

/// The first key behind all that begin with `prefix`, which ends with `/`.
pub(super) fn end_of(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Bytes(end)
}

/// Steps that are taken together: `success` if all of `compare` holds, else `failure`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Transaction {
    pub(super) compare: Vec<Compare>,
    pub(super) success: Vec<Step>,
    pub(super) failure: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TransactionAnswer {
    pub(super) header: Header,
    pub(super) succeeded: bool,
    pub(super) responses: Vec<StepAnswer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StepAnswer {
    pub(super) response_range: RangeAnswer,
}

#[derive(Debug, Serialize)]
pub(super) struct LeaseGrant {
    #[serde(rename = "ID")]
    pub(super) id: Int,
    #[serde(rename = "TTL")]
    pub(super) ttl: Int,
}

#[derive(Debug, Serialize)]
pub(super) struct LeaseName {
    #[serde(rename = "ID")]
    pub(super) id: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeaseAnswer {
    #[serde(rename = "TTL")]
    pub(super) ttl: Int,
    #[serde(rename = "grantedTTL")]
    pub(super) granted_ttl: Int,
}

/// A keep-alive is a stream of one answer, each of which stands in `result`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Streamed<T> {
    pub(super) result: T,
}

#[derive(Debug, Serialize)]
pub(super) struct Login<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoginAnswer {
    pub(super) token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusAnswer {
    pub(super) header: Header,
    pub(super) version: String,
    pub(super) leader: Unsigned,
    #[serde(rename = "dbSize")]
    pub(super) db_size: Int,
    pub(super) errors: Vec<String>,
}

/// What an answer that is none says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) error: serde_json::Value,
    pub(super) message: String,
    pub(super) code: i64,
}

impl Refusal {
    /// What it says, and the code of gRPC; of a stream both stand one level deeper.
    pub(super) fn told(self) -> (String, i64) {
        let text = |name: &str| self.error.get(name).and_then(serde_json::Value::as_str);
        match (&self.error, self.message.is_empty()) {
            (serde_json::Value::Object(error), _) => {
                let code = error.get("grpc_code").or_else(|| error.get("code"));
                let code = code.and_then(serde_json::Value::as_i64).unwrap_or(self.code);
                (text("message").unwrap_or_default().to_owned(), code)
            }
            (serde_json::Value::String(error), true) => (error.clone(), self.code),
            _ => (self.message, self.code),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Watch<'a> {
    pub(super) create_request: WatchCreate<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchCreate<'a> {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) start_revision: Int,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) filters: &'a [&'static str],
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchAnswer {
    pub(super) header: Header,
    pub(super) canceled: bool,
    pub(super) compact_revision: Int,
    pub(super) events: Vec<serde::de::IgnoredAny>,
}
