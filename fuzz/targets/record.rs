//! Records, as the store's files hold them: any bytes at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use muse_coord::record::{Companion, Draft, RecordError, to_file_bytes};
use muse_coord::{Heartbeat, Release, Reservation, ReservationId, Supersession, Ticket, TicketNumber};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let id = claimed(bytes).unwrap_or(ReservationId::from_digest([0; 32]));
    if let Ok(reservation) = told(Reservation::from_bytes(id, bytes)) {
        assert_eq!(reservation.reservation_id, id);
        assert!(!reservation.addresses.is_empty());
        let written = to_file_bytes(&reservation).expect("it has a file form");
        assert_eq!(Reservation::from_bytes(id, &written).expect("what was written is read"), reservation);
    }
    // Chance finds no hash, so the fields are also given the id that they hash to.
    if let Ok(fields) = serde_json::from_slice::<Reservation>(bytes) {
        regranted(fields);
    }
    companion::<Heartbeat>(id, bytes);
    companion::<Release>(id, bytes);
    companion::<Supersession>(id, bytes);
    ticket(bytes);
});

fn ticket(bytes: &[u8]) {
    let fields: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let number = fields["ticket"].as_u64().and_then(TicketNumber::new);
    let number = number.or(TicketNumber::new(1)).expect("it is in range");
    let Ok(ticket) = told(Ticket::from_bytes(number, bytes)) else { return };
    assert!(ticket.ticket == number && !ticket.addresses.is_empty());
    let written = to_file_bytes(&ticket).expect("it has a file form");
    assert_eq!(Ticket::from_bytes(number, &written).expect("what was written is read"), ticket);
}

/// The reservation that the bytes say they belong to.
fn claimed(bytes: &[u8]) -> Option<ReservationId> {
    let fields: Value = serde_json::from_slice(bytes).ok()?;
    fields.get("reservation_id")?.as_str()?.parse().ok()
}

/// Makes sure that an error can be told.
fn told<T>(read: Result<T, RecordError>) -> Result<T, RecordError> {
    if let Err(error) = &read {
        assert!(!error.to_string().is_empty());
        let _: bool = error.is_truncation();
    }
    read
}

fn regranted(fields: Reservation) {
    let is_sorted = !fields.addresses.is_empty() && fields.addresses.is_sorted_by(|one, next| one < next);
    let draft = Draft {
        run_id: fields.run_id,
        branch: fields.branch,
        addresses: fields.addresses,
        mode: fields.mode,
        operation: fields.operation,
        token: fields.token,
        ttl_seconds: fields.ttl_seconds,
        created_at: fields.created_at,
    };
    let reservation = match draft.into_reservation_for(fields.ticket) {
        Ok(reservation) => reservation,
        Err(error) => {
            assert!(!is_sorted && matches!(error, RecordError::Addresses), "{error}");
            return;
        }
    };
    let id = reservation.reservation_id;
    assert!(reservation.expires_at >= reservation.created_at);
    let written = to_file_bytes(&reservation).expect("it has a file form");
    assert_eq!(Reservation::from_bytes(id, &written).expect("what was written is read"), reservation);
    // One digit of its token changed: never the same record.
    let text = String::from_utf8(written).expect("JSON is UTF-8");
    let token = format!("\"token\": {}", reservation.token);
    let edited = text.replace(&token, &format!("{token}1"));
    if edited != text {
        assert!(Reservation::from_bytes(id, edited.as_bytes()).is_err());
    }
}

fn companion<T: Companion + PartialEq + std::fmt::Debug>(id: ReservationId, bytes: &[u8]) {
    let Ok(record) = told(T::from_bytes(id, bytes)) else { return };
    assert_eq!(record.reservation_id(), id);
    let written = to_file_bytes(&record).expect("it has a file form");
    let read = T::from_bytes(id, &written).expect("what was written is read");
    assert_eq!(read, record);
    assert_eq!(to_file_bytes(&read).expect("it has a file form"), written);
    let other = ReservationId::from_digest([0xFF; 32]);
    assert!(id == other || T::from_bytes(other, bytes).is_err());
}
