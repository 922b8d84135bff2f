//! The whole API in one type: what the command line, hooks and servers call.

use crate::address::Address;
use crate::archive::{Archived, Collected, Retention};
use crate::audit::{AuditQuery, AuditTrail, audit};
use crate::check::{Check, CheckRequest, check};
use crate::decide::{Candidate, Request};
use crate::engine::{Beat, Beaten, Engine, EngineError, Listing, ReleaseRequest, Released, Reserved};
use crate::id::{ReservationId, RunId, Token};
use crate::lease::{Lease, State};
use crate::progress::Progress;
use crate::queue::Queue;
use crate::record::{Reservation, TtlSeconds};
use crate::verify::{Successor, Verification, later};

/// Which reservations a listing shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those that overlap this address.
    pub address: Option<Address>,
    /// Only those made on this branch.
    pub branch: Option<String>,
    /// Those that are not active too.
    pub all: bool,
}

impl Filter {
    fn shows(&self, lease: &Lease) -> bool {
        let reservation = &lease.reservation;
        self.fits(&reservation.run_id, reservation.branch.as_ref(), &reservation.addresses)
    }

    fn fits(&self, run: &RunId, branch: Option<&String>, addresses: &[Address]) -> bool {
        self.run.as_ref().is_none_or(|wanted| wanted == run)
            && self.branch.as_ref().is_none_or(|wanted| branch == Some(wanted))
            && self.address.as_ref().is_none_or(|wanted| addresses.iter().any(|its| its.overlaps(wanted)))
    }
}

/// Reserves, keeps alive and releases, on any engine.
#[derive(Debug)]
pub struct Coordinator<E> {
    engine: E,
}

impl<E: Engine> Coordinator<E> {
    /// A coordinator of what `engine` keeps.
    pub const fn new(engine: E) -> Coordinator<E> {
        Coordinator { engine }
    }

    /// The engine.
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// See [`Engine::grant`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reserve(&self, request: &Request) -> Result<Reserved, EngineError> {
        self.engine.grant(request)
    }

    /// Whether `request.run` may change what it asks about: see [`check`]. Locks nothing and writes nothing.
    ///
    /// Whoever is in the middle of extending a lapsed reservation counts once that is done.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when anything that could matter cannot be read: nobody is told in doubt that the way is clear.
    pub fn check(&self, request: &CheckRequest) -> Result<Check, EngineError> {
        // Before anything is read: who is active then is not taken for lapsed.
        let now = self.engine.now();
        let candidates: Vec<Candidate> = whole(self.engine.overlapping(&request.addresses())?)?
            .into_iter()
            .map(|lease| Candidate { lease, being_extended: false })
            .collect();
        // After those that stand: what is superseded meanwhile is in one of the two.
        let mut lost = whole(self.engine.superseded(&request.run)?)?;
        lost.retain(|lease| request.overlaps(lease));
        let since = match lost.iter().map(|lease| lease.reservation.token).min() {
            Some(first) => whole(self.engine.newest(1, &|lease| lease.reservation.token <= first)?)?,
            None => Vec::new(),
        };
        Ok(check(request, &candidates, &lost, &since, now))
    }

    /// What is known of `token` for `addresses`, which are sorted; `None` if no reservation has it. Locks nothing and
    /// writes nothing.
    ///
    /// Whoever is in the middle of extending a lapsed reservation counts once that is done.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when anything that could matter cannot be read: no token is called good in doubt.
    pub fn verify(&self, token: Token, addresses: &[Address]) -> Result<Option<Verification>, EngineError> {
        // Before anything is read: who is active then is not taken for lapsed.
        let begun = self.engine.now();
        let standing = whole(self.engine.overlapping(addresses)?)?;
        let is_it = |lease: &&Lease| lease.reservation.token == token;
        // Its own state by a later look at the clock: it is not called good if it lapsed meanwhile.
        let found = standing.iter().find(is_it).cloned();
        let found = match found {
            Some(lease) => Some(Verification::of_live(lease, addresses, self.engine.now())),
            None => self.find_by_token(token, addresses)?,
        };
        let Some(mut found) = found else { return Ok(None) };
        found.later = later(&found.lease, addresses, &standing, begun);
        if let Some(mark) = found.lease.supersession.content() {
            let its = match self.engine.find(mark.superseded_by)? {
                Some(lease) => Some(lease.reservation.token),
                None => self.engine.find_archived(mark.superseded_by)?.map(|line| line.reservation.token),
            };
            found.successor = Some(Successor {
                reservation_id: mark.superseded_by,
                run_id: mark.run_id.clone(),
                token: its,
                superseded_at: mark.superseded_at,
            });
        }
        Ok(Some(found))
    }

    /// The reservation of a token, wherever it is. The live store first: what is moved in between is in the archive by then.
    fn find_by_token(
        &self,
        token: Token,
        addresses: &[Address],
    ) -> Result<Option<Verification>, EngineError> {
        let mut listing = self.engine.newest(1, &|lease| lease.reservation.token <= token)?;
        if let Some(at) = listing.leases.iter().position(|lease| lease.reservation.token == token) {
            let lease = listing.leases.swap_remove(at);
            return Ok(Some(Verification::of_live(lease, addresses, self.engine.now())));
        }
        let mut unreadable = listing.damaged.into_iter().next();
        for line in self.engine.archived()? {
            match line {
                Ok(line) if line.reservation.token == token => {
                    return Ok(Some(Verification::of_archived(line, addresses)));
                }
                Ok(line) if line.before.is_none_or(|before| before.token < token) => break,
                Ok(_) => {}
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        // It may be the one that was asked for.
        unreadable.map_or(Ok(None), Err)
    }

    /// See [`Engine::beat`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn heartbeat(&self, beat: &Beat) -> Result<Beaten, EngineError> {
        self.engine.beat(beat)
    }

    /// Beats for every unarchived reservation of `run` that it did not release itself, sorted by token. What
    /// could not be read of the store is told beside: it may be the run's or not.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all.
    pub fn heartbeat_all(&self, run: &RunId, extension: TtlSeconds) -> Result<BeatenAll, EngineError> {
        let (ids, damaged) =
            self.of_run(run, |lease| lease.release.content().is_none_or(|release| release.run_id != *run))?;
        let beat = |reservation: ReservationId| {
            let beat = Beat { reservation, run: run.clone(), extension };
            (reservation, self.engine.beat(&beat))
        };
        Ok(BeatenAll { beaten: ids.into_iter().map(beat).collect(), damaged })
    }

    /// See [`Engine::release`].
    ///
    /// # Errors
    ///
    /// As there.
    #[expect(clippy::type_complexity, reason = "as the engine answers")]
    pub fn release(
        &self,
        request: &ReleaseRequest,
    ) -> Result<Vec<(ReservationId, Result<Released, EngineError>)>, EngineError> {
        self.engine.release(request)
    }

    /// The reservations that `run` could release: all that are not released, sorted by token. What could not
    /// be read is told beside.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all.
    pub fn releasable(&self, run: &RunId) -> Result<(Vec<ReservationId>, Vec<EngineError>), EngineError> {
        self.of_run(run, |lease| !lease.release.is_present())
    }

    /// The unarchived reservations of `run` that are `wanted`, sorted by token, with those of which it cannot be
    /// told; and what could not be read.
    fn of_run(
        &self,
        run: &RunId,
        wanted: impl Fn(&Lease) -> bool,
    ) -> Result<(Vec<ReservationId>, Vec<EngineError>), EngineError> {
        let Listing { leases, damaged, unsure } = self.engine.history()?;
        let leases = leases.into_iter().filter(wanted).map(|lease| lease.reservation);
        let mut its: Vec<Reservation> =
            leases.chain(unsure).filter(|reservation| reservation.run_id == *run).collect();
        its.sort_by_key(|reservation| reservation.token);
        Ok((its.iter().map(|reservation| reservation.reservation_id).collect(), damaged))
    }

    /// The reservations that `filter` shows, soonest effective expiry first, then by token.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all.
    pub fn list(&self, filter: &Filter) -> Result<Listing, EngineError> {
        let mut listing = match &filter.address {
            _ if filter.all => self.engine.history()?,
            Some(address) => self.engine.overlapping(std::slice::from_ref(address))?,
            None => self.engine.live()?,
        };
        let now = self.engine.now();
        listing
            .leases
            .retain(|lease| (filter.all || lease.state(now) == State::Active) && filter.shows(lease));
        listing.leases.sort_by_key(|lease| (lease.effective_expiry(), lease.reservation.token));
        Ok(listing)
    }

    /// The tickets of those who wait that `filter` shows, in their order.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the store cannot be read at all.
    pub fn queue(&self, filter: &Filter) -> Result<Queue, EngineError> {
        let mut queue = self.engine.tickets()?;
        queue.tickets.retain(|ticket| filter.fits(&ticket.run_id, ticket.branch.as_ref(), &ticket.addresses));
        Ok(queue)
    }

    /// See [`Engine::find`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn show(&self, id: ReservationId) -> Result<Option<Lease>, EngineError> {
        self.engine.find(id)
    }

    /// See [`Engine::find_archived`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn show_archived(&self, id: ReservationId) -> Result<Option<Archived>, EngineError> {
        self.engine.find_archived(id)
    }

    /// See [`Engine::collect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn collect(&self, retention: &Retention, progress: &dyn Progress) -> Result<Collected, EngineError> {
        self.engine.collect(retention, progress)
    }

    /// Who held what, and how it ended: see [`audit`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn log(&self, query: &AuditQuery, progress: &dyn Progress) -> Result<AuditTrail, EngineError> {
        audit(&self.engine, query, progress)
    }
}

/// What was read, if all of it could be.
fn whole(listing: Listing) -> Result<Vec<Lease>, EngineError> {
    match listing.damaged.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(listing.leases),
    }
}

/// What became of a heartbeat for everything that a run holds.
#[derive(Debug)]
pub struct BeatenAll {
    /// One answer for each reservation, sorted by token.
    pub beaten: Vec<(ReservationId, Result<Beaten, EngineError>)>,
    /// What of the store could not be read.
    pub damaged: Vec<EngineError>,
}
