//! What the store holds, as it is stored: reservations, heartbeats, releases, supersessions.
//!
//! A reservation is never modified. Its id is the SHA-256 of its own content, so that a record which was
//! truncated, edited or put under another name is told from a whole one. Fields that this program does not
//! know are carried along and are part of that content; a higher schema version is refused, because a field
//! that changes the meaning of the others would go unseen.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{ReservationId, RunId, TicketNumber, Token};

/// The version of the records that this program writes, and the highest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// Fields of a record that this program does not know.
pub type Extra = Map<String, Value>;

/// How long a lease lasts: 1 to 31 536 000 seconds (one year).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TtlSeconds(u32);

/// A number of seconds outside 1 to [`TtlSeconds::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to {max} seconds", max = TtlSeconds::MAX)]
pub struct TtlError;

impl TtlSeconds {
    /// One year: the source document's ceiling, so that no single call pins a reservation open for good.
    pub const MAX: u32 = 31_536_000;
    /// One hour, the default of `--ttl` and `--extension`.
    pub const DEFAULT: TtlSeconds = TtlSeconds(3600);

    /// Checks the range.
    ///
    /// # Errors
    ///
    /// When `seconds` is outside 1 to [`TtlSeconds::MAX`]. Nothing is ever clamped.
    pub fn new(seconds: i64) -> Result<TtlSeconds, TtlError> {
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=TtlSeconds::MAX) => Ok(TtlSeconds(seconds)),
            _ => Err(TtlError),
        }
    }

    /// The number of seconds.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for TtlSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TtlSeconds, D::Error> {
        TtlSeconds::new(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What a reservation keeps out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Conflicts with other runs' exclusive and shared reservations.
    #[default]
    Exclusive,
    /// Conflicts with other runs' exclusive reservations only.
    Shared,
    /// Never denies and is never denied; it tells and is told.
    Advisory,
}

impl Mode {
    /// The word that records and answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Advisory => "advisory",
        }
    }

    /// Whether reservations of these modes by two unrelated runs cannot stand beside each other.
    pub const fn conflicts_with(self, other: Mode) -> bool {
        matches!(
            (self, other),
            (Mode::Exclusive, Mode::Exclusive | Mode::Shared) | (Mode::Shared, Mode::Exclusive)
        )
    }
}

/// What the holder is about to do. For people and forecasts; it decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the spec's words and say it all")]
pub enum Operation {
    Modify,
    Rename,
    Move,
    Extract,
    Delete,
    Inline,
    Split,
    Merge,
}

impl Operation {
    /// Every operation, in the order in which the spec lists them.
    pub const ALL: [Operation; 8] = [
        Operation::Modify,
        Operation::Rename,
        Operation::Move,
        Operation::Extract,
        Operation::Delete,
        Operation::Inline,
        Operation::Split,
        Operation::Merge,
    ];

    /// The word that records and answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Modify => "modify",
            Operation::Rename => "rename",
            Operation::Move => "move",
            Operation::Extract => "extract",
            Operation::Delete => "delete",
            Operation::Inline => "inline",
            Operation::Split => "split",
            Operation::Merge => "merge",
        }
    }
}

/// A lease on code addresses, as it was granted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The hash of all the other fields.
    pub reservation_id: ReservationId,
    /// Who holds it.
    pub run_id: RunId,
    /// The branch of the worktree that it was made in.
    pub branch: Option<String>,
    /// Canonical, sorted, at least one.
    pub addresses: Vec<Address>,
    /// What it keeps out.
    pub mode: Mode,
    /// What the holder is about to do.
    pub operation: Option<Operation>,
    /// The fencing token.
    pub token: Token,
    /// The lifetime that was asked for.
    pub ttl_seconds: TtlSeconds,
    /// When it was granted.
    pub created_at: Timestamp,
    /// When it lapses if no heartbeat extends it.
    pub expires_at: Timestamp,
    /// The ticket with which it was waited for, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketNumber>,
    /// Fields that this program does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A reservation that has no id yet: what the id is made of.
#[derive(Clone, Debug)]
pub struct Draft {
    /// See [`Reservation::run_id`].
    pub run_id: RunId,
    /// See [`Reservation::branch`].
    pub branch: Option<String>,
    /// See [`Reservation::addresses`].
    pub addresses: Vec<Address>,
    /// See [`Reservation::mode`].
    pub mode: Mode,
    /// See [`Reservation::operation`].
    pub operation: Option<Operation>,
    /// See [`Reservation::token`].
    pub token: Token,
    /// See [`Reservation::ttl_seconds`].
    pub ttl_seconds: TtlSeconds,
    /// See [`Reservation::created_at`].
    pub created_at: Timestamp,
}

/// The latest keep-alive of a reservation; rewritten by every heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The reservation that it keeps alive.
    pub reservation_id: ReservationId,
    /// Who sent it; not always the holder.
    pub run_id: RunId,
    /// When it was written.
    pub last_beat_at: Timestamp,
    /// Until when it extends the reservation.
    pub extended_expires_at: Timestamp,
    /// Fields that this program does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The tombstone of a reservation that was given back or taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The reservation that was released.
    pub reservation_id: ReservationId,
    /// Who released it.
    pub run_id: RunId,
    /// When.
    pub released_at: Timestamp,
    /// Why, in the releaser's words.
    pub reason: Option<String>,
    /// Whether it was another run's reservation.
    pub forced: bool,
    /// Fields that this program does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The mark on a lapsed reservation that a conflicting one was granted after it; final.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supersession {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The reservation that lapsed.
    pub reservation_id: ReservationId,
    /// The reservation that was granted.
    pub superseded_by: ReservationId,
    /// Whose that one is.
    pub run_id: RunId,
    /// When.
    pub superseded_at: Timestamp,
    /// Fields that this program does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Release {
    /// The tombstone that `run` sets at `now`. `holder` is the run whose reservation it is, if that can be
    /// read: it is forced when that is not `run`.
    pub fn new(
        reservation_id: ReservationId,
        holder: Option<&RunId>,
        run: &RunId,
        reason: Option<String>,
        now: Timestamp,
    ) -> Release {
        Release {
            schema_version: SCHEMA_VERSION,
            reservation_id,
            run_id: run.clone(),
            released_at: now,
            reason,
            forced: holder != Some(run),
            extra: Extra::new(),
        }
    }
}

/// Why bytes are not the record that their name promises.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or not the fields of this kind of record.
    #[error("it is not a whole record of its kind ({0})")]
    Malformed(#[source] serde_json::Error),
    /// It names another reservation than its file name does.
    #[error("it belongs to reservation {found}: the file was renamed or copied")]
    OtherReservation {
        /// The id inside.
        found: ReservationId,
    },
    /// Its content does not hash to its id.
    #[error("its content does not match its id: it was edited after it was written")]
    Edited,
    /// It is another ticket than its file name says.
    #[error("it is ticket {found}: the file was renamed or copied")]
    OtherTicket {
        /// The number inside.
        found: TicketNumber,
    },
    /// The reservation claims no address, or its addresses are not sorted, each once.
    #[error("its addresses are not at least one, sorted, each once")]
    Addresses,
    /// A newer program wrote it.
    #[error(
        "it has schema version {found}, and this program knows versions up to {SCHEMA_VERSION}: upgrade muse"
    )]
    SchemaTooNew {
        /// The version inside.
        found: u64,
    },
}

impl RecordError {
    /// Whether the bytes end in the middle of a record: all that there is is a beginning, or nothing, or NUL.
    pub fn is_truncation(&self) -> bool {
        matches!(self, RecordError::Malformed(error) if error.is_eof())
    }
}

impl Draft {
    /// Gives the record its id.
    ///
    /// # Errors
    ///
    /// [`RecordError::Addresses`]: nobody could read such a record, and it would stop every grant.
    pub fn into_reservation(self) -> Result<Reservation, RecordError> {
        self.into_reservation_for(None)
    }

    /// As [`Draft::into_reservation`], for a request that waited with `ticket`, if it did.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn into_reservation_for(self, ticket: Option<TicketNumber>) -> Result<Reservation, RecordError> {
        check_addresses(&self.addresses)?;
        let mut reservation = Reservation {
            schema_version: SCHEMA_VERSION,
            reservation_id: ReservationId::from_digest([0; 32]),
            run_id: self.run_id,
            branch: self.branch,
            addresses: self.addresses,
            mode: self.mode,
            operation: self.operation,
            token: self.token,
            ttl_seconds: self.ttl_seconds,
            created_at: self.created_at,
            expires_at: self.created_at.plus_seconds(self.ttl_seconds.get()),
            ticket,
            extra: Extra::new(),
        };
        let Value::Object(mut fields) = serde_json::to_value(&reservation).map_err(RecordError::Malformed)?
        else {
            return Err(RecordError::Edited);
        };
        fields.remove("reservation_id");
        reservation.reservation_id = content_id(&fields)?;
        Ok(reservation)
    }
}

impl Reservation {
    /// Reads the record that is stored under `id` and verifies that it is that one, whole and unedited.
    ///
    /// # Errors
    ///
    /// Every [`RecordError`].
    pub fn from_bytes(id: ReservationId, bytes: &[u8]) -> Result<Reservation, RecordError> {
        let fields = parse_fields(bytes)?;
        let found = claimed_id(&fields)?;
        if found == id {
            Reservation::from_fields(fields)
        } else {
            Err(RecordError::OtherReservation { found })
        }
    }

    /// Verifies that the fields are a whole and unedited record.
    pub(crate) fn from_fields(mut fields: Map<String, Value>) -> Result<Reservation, RecordError> {
        check_schema_version(fields.get("schema_version").and_then(Value::as_u64))?;
        let id = claimed_id(&fields)?;
        fields.remove("reservation_id");
        if content_id(&fields)? != id {
            return Err(RecordError::Edited);
        }
        fields.insert("reservation_id".to_owned(), Value::String(id.to_string()));
        let reservation: Reservation =
            serde_json::from_value(Value::Object(fields)).map_err(RecordError::Malformed)?;
        check_addresses(&reservation.addresses)?;
        Ok(reservation)
    }
}

/// The id that a record says it has.
fn claimed_id(fields: &Map<String, Value>) -> Result<ReservationId, RecordError> {
    let claimed = fields.get("reservation_id").unwrap_or(&Value::Null);
    ReservationId::deserialize(claimed).map_err(RecordError::Malformed)
}

/// Checks that addresses are at least one, sorted, each once.
pub(crate) fn check_addresses(addresses: &[Address]) -> Result<(), RecordError> {
    let is_sorted = addresses.is_sorted_by(|one, next| one < next);
    if addresses.is_empty() || !is_sorted { Err(RecordError::Addresses) } else { Ok(()) }
}

/// A record that lies beside a reservation and is named after it.
pub trait Companion: Serialize + DeserializeOwned {
    /// The reservation that it belongs to.
    fn reservation_id(&self) -> ReservationId;

    /// Reads the record that is stored under `id`.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`], [`RecordError::OtherReservation`], [`RecordError::SchemaTooNew`].
    fn from_bytes(id: ReservationId, bytes: &[u8]) -> Result<Self, RecordError> {
        let fields = parse_fields(bytes)?;
        let record: Self = serde_json::from_value(Value::Object(fields)).map_err(RecordError::Malformed)?;
        let found = record.reservation_id();
        if found == id { Ok(record) } else { Err(RecordError::OtherReservation { found }) }
    }
}

impl Companion for Heartbeat {
    fn reservation_id(&self) -> ReservationId {
        self.reservation_id
    }
}

impl Companion for Release {
    fn reservation_id(&self) -> ReservationId {
        self.reservation_id
    }
}

impl Companion for Supersession {
    fn reservation_id(&self) -> ReservationId {
        self.reservation_id
    }
}

/// The bytes of a record as a file holds them: pretty-printed JSON with a final newline.
///
/// # Errors
///
/// None that a caller can cause: every record has a JSON form.
pub fn to_file_bytes(record: &impl Serialize) -> Result<Vec<u8>, RecordError> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(RecordError::Malformed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The fields of a record of a schema version that this program knows.
pub(crate) fn parse_fields(bytes: &[u8]) -> Result<Map<String, Value>, RecordError> {
    // A power loss may leave a file of its full length with nothing in it.
    let bytes = if bytes.iter().all(|byte| *byte == 0) { &[] } else { bytes };
    let UniqueFields(fields) = serde_json::from_slice(bytes).map_err(RecordError::Malformed)?;
    check_schema_version(fields.get("schema_version").and_then(Value::as_u64))?;
    Ok(fields)
}

/// Refuses a schema version that this program does not know, and what is none.
pub(crate) fn check_schema_version(found: Option<u64>) -> Result<u32, RecordError> {
    match found {
        Some(found) if found > u64::from(SCHEMA_VERSION) => Err(RecordError::SchemaTooNew { found }),
        Some(1..) => Ok(SCHEMA_VERSION),
        _ => Err(RecordError::Malformed(serde_json::Error::custom(
            "it has no `schema_version`, a number from 1",
        ))),
    }
}

/// The fields of an object, each of which stands once. RFC 8785 has no canonical form of others (RFC 7493,
/// section 2.3), and of two values under one name another reader could take the other.
pub(crate) struct UniqueFields(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueFields, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = UniqueFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UniqueFields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("the field `{name}` stands twice")));
                    }
                    fields.insert(name, value);
                }
                Ok(UniqueFields(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// SHA-256 over the RFC 8785 canonical JSON of `fields`.
fn content_id(fields: &Map<String, Value>) -> Result<ReservationId, RecordError> {
    let canonical = if is_plain_object(fields) {
        serde_json::to_vec(fields)
    } else {
        serde_json_canonicalizer::to_vec(fields)
    };
    Ok(ReservationId::from_digest(Sha256::digest(canonical.map_err(RecordError::Malformed)?).into()))
}

/// Whether compact JSON with sorted keys is canonical JSON already, as for every record that this program
/// writes: RFC 8785 differs in how fractions and integers beyond 2^53 are spelled, and in the order of keys
/// that are not ASCII. Reading a thousand records takes half the time for it.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() <= Token::MAX),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(fields) => is_plain_object(fields),
    }
}

/// Whether the fields stand in canonical order, and their values are plain. A map of `serde_json` is sorted
/// unless some crate of the program asks for the order of insertion.
fn is_plain_object(fields: &Map<String, Value>) -> bool {
    fields.keys().is_sorted() && fields.iter().all(|(name, value)| name.is_ascii() && is_plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            run_id: RunId::new("agent-42").unwrap(),
            branch: Some("main".into()),
            addresses: vec!["src/billing.py::compute_total".parse().unwrap()],
            mode: Mode::Exclusive,
            operation: Some(Operation::Modify),
            token: Token::new(1_800_000_000_000).unwrap(),
            ttl_seconds: TtlSeconds::DEFAULT,
            created_at: Timestamp::from_microseconds(1_800_000_000_000_000),
        }
    }

    fn with_field(bytes: &[u8], name: &str, value: Value) -> Vec<u8> {
        let mut fields: Map<String, Value> = serde_json::from_slice(bytes).unwrap();
        fields.insert(name.into(), value);
        serde_json::to_vec(&fields).unwrap()
    }

    /// RFC 8785 for these fields: keys sorted, no white space.
    #[test]
    fn the_id_is_the_hash_of_the_canonical_record() {
        let reservation = draft().into_reservation().unwrap();
        let canonical = concat!(
            r#"{"addresses":["src/billing.py::compute_total"],"branch":"main","#,
            r#""created_at":"2027-01-15T08:00:00.000000+00:00","expires_at":"2027-01-15T09:00:00.000000+00:00","#,
            r#""mode":"exclusive","operation":"modify","run_id":"agent-42","schema_version":1,"#,
            r#""token":1800000000000,"ttl_seconds":3600}"#
        );
        let digest: [u8; 32] = Sha256::digest(canonical).into();
        assert_eq!(reservation.reservation_id, ReservationId::from_digest(digest));
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let reservation = draft().into_reservation().unwrap();
        let bytes = to_file_bytes(&reservation).unwrap();
        assert!(bytes.ends_with(b"}\n"));
        assert_eq!(Reservation::from_bytes(reservation.reservation_id, &bytes).unwrap(), reservation);
    }

    #[test]
    fn every_change_of_a_record_is_seen() {
        let reservation = draft().into_reservation().unwrap();
        let id = reservation.reservation_id;
        let bytes = to_file_bytes(&reservation).unwrap();
        let edited = with_field(&bytes, "ttl_seconds", 7200.into());
        assert!(matches!(Reservation::from_bytes(id, &edited), Err(RecordError::Edited)));
        let foreign = with_field(&bytes, "colour", "red".into());
        assert!(matches!(Reservation::from_bytes(id, &foreign), Err(RecordError::Edited)));
        let other = ReservationId::from_digest([7; 32]);
        assert!(matches!(Reservation::from_bytes(other, &bytes), Err(RecordError::OtherReservation { .. })));
        assert!(Reservation::from_bytes(id, &[0; 300]).unwrap_err().is_truncation());
        for length in 0..bytes.len() - 2 {
            let error = Reservation::from_bytes(id, &bytes[..length]).unwrap_err();
            assert!(error.is_truncation(), "{length}: {error}");
        }
        let newer = with_field(&bytes, "schema_version", 2.into());
        assert!(matches!(Reservation::from_bytes(id, &newer), Err(RecordError::SchemaTooNew { found: 2 })));
        // Of two values under one name, the last would match the id.
        let twice = String::from_utf8(bytes.clone()).unwrap().replacen('{', r#"{"run_id":"mallory","#, 1);
        let error = Reservation::from_bytes(id, twice.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("`run_id` stands twice"), "{error}");
        for junk in [&b"[]"[..], b"null", b"{}", b"\xff", b"{\"schema_version\":0}"] {
            assert!(Reservation::from_bytes(id, junk).is_err());
        }
    }

    #[test]
    fn unknown_fields_are_carried_and_are_part_of_the_id() {
        let Value::Object(mut fields) = serde_json::to_value(draft().into_reservation().unwrap()).unwrap()
        else {
            unreachable!()
        };
        fields.remove("reservation_id");
        fields.insert("note".into(), "from another program".into());
        let id = content_id(&fields).unwrap();
        fields.insert("reservation_id".into(), id.to_string().into());
        let read = Reservation::from_bytes(id, &serde_json::to_vec(&fields).unwrap()).unwrap();
        assert_eq!(read.extra.get("note"), Some(&Value::from("from another program")));
        let again = to_file_bytes(&read).unwrap();
        assert_eq!(Reservation::from_bytes(id, &again).unwrap(), read);
    }

    #[test]
    fn the_ticket_is_part_of_the_id_and_left_out_where_there_was_none() {
        let plain = draft().into_reservation().unwrap();
        let waited = draft().into_reservation_for(TicketNumber::new(1_799_999_999_999)).unwrap();
        assert_ne!(plain.reservation_id, waited.reservation_id);
        let bytes = to_file_bytes(&waited).unwrap();
        assert_eq!(Reservation::from_bytes(waited.reservation_id, &bytes).unwrap(), waited);
        assert!(!String::from_utf8(to_file_bytes(&plain).unwrap()).unwrap().contains("ticket"));
        let Value::Object(mut fields) = serde_json::to_value(&waited).unwrap() else { unreachable!() };
        fields.remove("reservation_id");
        assert!(is_plain_object(&fields), "the quick way to the id is taken for it too");
        let edited = with_field(&bytes, "ticket", 1.into());
        assert!(matches!(Reservation::from_bytes(waited.reservation_id, &edited), Err(RecordError::Edited)));
    }

    #[test]
    fn what_is_taken_for_canonical_is_canonical() {
        let mut plain = 0;
        for text in [
            r#"{"b":1,"a":[null,true,false,0,-1,9007199254740991,-9007199254740991],"aa":{},"B":{"z":1,"y":2}}"#,
            r#"{"s":"\u0000\u0007\b\t\n\f\r\"\\\/\u001f\u007f\u0080\u2028\ud83d\ude00é"}"#,
            r#"{"":"","a b":" ","~":1,"\u0001":2}"#,
            r#"{"n":9007199254740993}"#,
            r#"{"n":1e21}"#,
            r#"{"n":1.0}"#,
            r#"{"n":-0.0}"#,
            r#"{"\ud83d\ude00":1,"\uffee":2}"#,
            r#"{"a":{"é":1}}"#,
        ] {
            let fields: Map<String, Value> = serde_json::from_str(text).unwrap();
            let canonical = serde_json_canonicalizer::to_vec(&fields).unwrap();
            let digest: [u8; 32] = Sha256::digest(&canonical).into();
            assert_eq!(content_id(&fields).unwrap(), ReservationId::from_digest(digest), "{text}");
            plain += usize::from(is_plain(&Value::Object(fields)));
        }
        assert_eq!(plain, 3);
    }

    #[test]
    fn modes_conflict_as_the_spec_says() {
        use Mode::{Advisory, Exclusive, Shared};
        for (one, other, conflict) in [
            (Exclusive, Exclusive, true),
            (Exclusive, Shared, true),
            (Shared, Shared, false),
            (Advisory, Exclusive, false),
            (Advisory, Shared, false),
            (Advisory, Advisory, false),
        ] {
            assert_eq!(one.conflicts_with(other), conflict);
            assert_eq!(other.conflicts_with(one), conflict);
        }
    }

    #[test]
    fn ttls_are_never_clamped() {
        for wrong in [0, -1, 31_536_001, i64::MAX, i64::MIN] {
            assert_eq!(TtlSeconds::new(wrong), Err(TtlError));
        }
        assert_eq!(TtlSeconds::new(31_536_000).map(TtlSeconds::get), Ok(31_536_000));
        assert_eq!(TtlSeconds::new(1).map(TtlSeconds::get), Ok(1));
    }

    #[test]
    fn words_are_those_that_records_use() {
        for operation in Operation::ALL {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
        }
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Advisory] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
    }
}
