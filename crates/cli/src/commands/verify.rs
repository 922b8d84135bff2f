//! `muse coord verify`.

use muse_coord::verify::Successor;
use muse_coord::{
    Address, Mode, Overlap, ReservationId, RunId, Standing, State, Timestamp, Token, Verification,
};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::commands::check::not_checked;
use crate::commands::reserve::check_count;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::report::{doing, duration};
use crate::wait::{SHOWN_MAX, more};

/// What is known of a token.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyReport {
    status: &'static str,
    reservation_id: ReservationId,
    run_id: RunId,
    token: Token,
    mode: Mode,
    /// Of one in the archive, how it ended.
    state: &'static str,
    archived: bool,
    /// What is asked about.
    addresses: Vec<Address>,
    /// What the reservation is for.
    held_addresses: Vec<Address>,
    expires_at: Timestamp,
    expires_in_seconds: u64,
    not_covered: Vec<Address>,
    released: Option<Ended>,
    superseded: Option<Successor>,
    /// Who was granted something of it later, and holds it now.
    conflicts: Vec<Overlap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Who released a reservation.
#[derive(Debug, Serialize)]
struct Ended {
    run_id: RunId,
    released_at: Timestamp,
    forced: bool,
    reason: Option<String>,
}

impl Report for VerifyReport {
    fn exit_code(&self) -> u8 {
        if self.error.is_some() { exit::CONFLICT } else { exit::OK }
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(error) = &self.error {
            screen.error(error);
        } else {
            let left = duration(self.expires_in_seconds);
            screen.result(&format!("good token={} run={} for {left}", self.token, self.run_id));
            for address in &self.addresses {
                screen.result(&format!("  {address}"));
            }
        }
        for overlap in self.conflicts.iter().take(SHOWN_MAX) {
            screen.status(&format!("`{}`: {}", overlap.address, held_by(overlap)));
        }
        more(screen, self.conflicts.len(), "that others hold");
    }
}

/// Who holds it now, in the half of a sentence.
fn held_by(overlap: &Overlap) -> String {
    let holder = &overlap.holder;
    let doing = doing(holder.operation, holder.branch.as_deref());
    let held = if overlap.held_address == overlap.address {
        String::new()
    } else {
        format!(" as `{}`", overlap.held_address)
    };
    format!("run `{}`{doing} holds it{held} with the newer token {}", holder.run_id, holder.token)
}

/// What is wrong, and what to do, in one sentence.
fn error(found: &Verification, released: Option<&Ended>) -> Option<String> {
    let token = found.lease.reservation.token;
    let run = &found.lease.reservation.run_id;
    let newer = || match found.later.first() {
        Some(first) => format!(", and {}", held_by(first)),
        None => String::new(),
    };
    let why = match found.standing() {
        Standing::Good => return None,
        Standing::Stale => match (found.state, released, &found.successor) {
            (State::Released, Some(by), _) if by.run_id == *run => {
                format!("its reservation was released at {:#}{}", by.released_at, newer())
            }
            (State::Released, Some(by), _) => {
                let why = by.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let at = by.released_at;
                format!("its reservation was taken away by run `{}` at {at:#}{why}{}", by.run_id, newer())
            }
            (State::Released, None, _) => format!("its reservation was released{}", newer()),
            (State::Superseded, _, Some(by)) => {
                let with = by.token.map(|token| format!(" with the newer token {token}")).unwrap_or_default();
                let at = by.superseded_at;
                format!("its reservation lapsed, and run `{}` was granted it at {at:#}{with}", by.run_id)
            }
            (State::Superseded, _, None) => "its reservation lapsed, and somebody was granted it".to_owned(),
            (State::Lapsed | State::Active, ..) => {
                let at = found.lease.effective_expiry();
                format!("its reservation lapsed at {at:#}, and is in the archive{}", newer())
            }
        },
        Standing::Lapsed => {
            format!("its reservation lapsed at {:#}{}", found.lease.effective_expiry(), newer())
        }
        Standing::NotCovered => {
            let others = match found.not_covered.len() {
                0 | 1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let first = found.not_covered.first().map_or("", Address::as_str);
            return Some(format!(
                "token {token} is not for all of it: its reservation, of run `{run}`, does not cover `{first}`{others}; \
                 do not go on: reserve what you change, all of it, and use that token"
            ));
        }
        Standing::Overtaken => match found.later.first() {
            Some(first) => format!("of `{}`, {}", first.address, held_by(first)),
            None => "somebody was granted some of it later".to_owned(),
        },
    };
    Some(format!(
        "token {token} of run `{run}` is no longer good: {why}; do not go on: look at what has become of the code, and \
         reserve it anew"
    ))
}

pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Answer<VerifyReport>, CommandError> {
    answer(args, context).map_err(not_checked)
}

fn answer(args: &VerifyArgs, context: &Context) -> Result<Answer<VerifyReport>, CommandError> {
    let token = u64::try_from(args.token.0).ok().and_then(Token::new).ok_or_else(|| {
        let max = Token::MAX;
        CommandError::new(Kind::BadArgs, format!("--token must be from 1 to {max}: copy it from `reserve`"))
    })?;
    check_count(&args.addresses)?;
    let repository = context.repository()?;
    let mut warnings = Vec::new();
    let mut addresses = context.addresses(&args.addresses, &repository, &mut warnings)?;
    addresses.sort();
    addresses.dedup();
    let found = context.coordinator(&repository, Purpose::Ask)?.verify(token, &addresses)?.ok_or_else(|| {
        CommandError::new(
            Kind::NotFound,
            format!(
                "no reservation has the token {token}: do not go on; look for it with `muse coord log`, in the \
                 repository and on the engine that it was granted by"
            ),
        )
    })?;
    if found.standing() == Standing::Good && found.lease.reservation.mode == Mode::Advisory {
        warnings.push("the reservation is advisory: it keeps nobody out".to_owned());
    }
    Ok(Answer { report: report(found, addresses, context.now()), warnings })
}

fn report(found: Verification, addresses: Vec<Address>, now: Timestamp) -> VerifyReport {
    let released = found.lease.release.content().map(|release| Ended {
        run_id: release.run_id.clone(),
        released_at: release.released_at,
        forced: release.forced,
        reason: release.reason.clone(),
    });
    let status = match found.standing() {
        Standing::Good => "ok",
        Standing::Stale => "stale",
        Standing::Lapsed => "lapsed",
        Standing::NotCovered => "not_covered",
        Standing::Overtaken => "conflict",
    };
    let error = error(&found, released.as_ref());
    let expires_at = found.lease.effective_expiry();
    let Verification { lease, state, is_archived, not_covered, later, successor } = found;
    VerifyReport {
        status,
        reservation_id: lease.reservation.reservation_id,
        run_id: lease.reservation.run_id,
        token: lease.reservation.token,
        mode: lease.reservation.mode,
        state: state.as_str(),
        archived: is_archived,
        addresses,
        held_addresses: lease.reservation.addresses,
        expires_at,
        expires_in_seconds: if state == State::Active { expires_at.seconds_left(now) } else { 0 },
        not_covered,
        released,
        superseded: successor,
        conflicts: later,
        error,
    }
}
