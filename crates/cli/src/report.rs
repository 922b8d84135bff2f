//! What several commands return: plain values that serialise to the JSON of `spec/coordination.md`.

use muse_coord::{
    Address, Lease, Mode, Operation, Reservation, ReservationId, RunId, State, Timestamp, Token,
};
use serde::Serialize;

use crate::output::one_line;

/// A reservation in a list: as it was granted, and where it stands now.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) reservation_id: ReservationId,
    pub(crate) token: Token,
    pub(crate) run_id: RunId,
    pub(crate) branch: Option<String>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) mode: Mode,
    pub(crate) operation: Option<Operation>,
    pub(crate) ttl_seconds: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) state: &'static str,
    pub(crate) effective_expires_at: Timestamp,
    pub(crate) expires_in_seconds: u64,
    pub(crate) last_beat_at: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) age_seconds: u64,
}

impl Row {
    pub(crate) fn of(lease: &Lease, now: Timestamp) -> Row {
        let reservation: &Reservation = &lease.reservation;
        let state = lease.state(now);
        Row {
            reservation_id: reservation.reservation_id,
            token: reservation.token,
            run_id: reservation.run_id.clone(),
            branch: reservation.branch.clone(),
            addresses: reservation.addresses.clone(),
            mode: reservation.mode,
            operation: reservation.operation,
            ttl_seconds: reservation.ttl_seconds.get(),
            created_at: reservation.created_at,
            expires_at: reservation.expires_at,
            state: state.as_str(),
            effective_expires_at: lease.effective_expiry(),
            expires_in_seconds: match state {
                State::Active => lease.effective_expiry().seconds_left(now),
                State::Lapsed | State::Superseded | State::Released => 0,
            },
            last_beat_at: lease.heartbeat.as_ref().map(|heartbeat| heartbeat.last_beat_at),
            age_seconds: now.seconds_since(reservation.created_at),
        }
    }
}

/// A number of seconds for people, in its two largest units: `2h 5m`, `45s`.
pub(crate) fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let (position, (size, unit)) =
        UNITS.iter().enumerate().find(|(_, (size, _))| seconds >= *size).unwrap_or((3, &UNITS[3]));
    let large = format!("{}{unit}", seconds / size);
    match UNITS.get(position + 1) {
        Some((next, next_unit)) if seconds % size / next > 0 => {
            format!("{large} {}{next_unit}", seconds % size / next)
        }
        _ => large,
    }
}

/// The most addresses of one reservation in a table: the first of a thousand say as much as all of them.
const ADDRESSES_SHOWN_MAX: usize = 8;

/// The addresses of one reservation for a cell of a table, each on a line of its own; how many more there are on the
/// last.
pub(crate) fn address_cell(addresses: &[Address]) -> String {
    let shown = addresses.iter().take(ADDRESSES_SHOWN_MAX).map(|address| one_line(address.as_str()));
    let more = addresses.len().saturating_sub(ADDRESSES_SHOWN_MAX);
    let lines: Vec<String> = shown.chain((more > 0).then(|| format!("and {more} more"))).collect();
    lines.join("\n")
}

/// The words around an operation and a branch: ` (modify, on main)`; nothing if there is neither.
pub(crate) fn doing(operation: Option<Operation>, branch: Option<&str>) -> String {
    let parts: Vec<String> = operation
        .map(|operation| operation.as_str().to_owned())
        .into_iter()
        .chain(branch.map(|branch| format!("on {branch}")))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// A word as a shell takes it.
pub(crate) fn shell_word(text: &str) -> String {
    // The only text that cannot be quoted holds a NUL, which no argument can hold.
    shlex::try_quote(text).map_or_else(|_| "''".to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3600, "1h"),
            (3601, "1h"),
            (7500, "2h 5m"),
            (86_400, "1d"),
            (90_000, "1d 1h"),
            (31_536_000, "365d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_word("agent-42"), "agent-42");
        assert_eq!(shell_word("it's $HOME"), "\"it's \"'$HOME'");
    }
}
