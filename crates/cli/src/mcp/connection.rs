//! One connection: the calls that are under way, what was reserved over it, and what keeps that alive.
//!
//! Whoever is granted something while the client goes, or while the request is cancelled, has it taken back: either the
//! end (or the cancellation) finds it here, or the call finds that it is too late. Nothing here is locked while the
//! store is.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use muse_coord::{Address, ReleaseRequest, ReservationId, RunId, Stopwatch, TtlSeconds};
use rmcp::model::RequestId;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::CommandError;
use crate::supervise::{Keeping, Loss, Standing};
use crate::wait::take_back;

/// A heartbeat comes with every third of the TTL, so that two may fail.
const BEATS_PER_TTL: u32 = 3;

/// One that failed is tried again four times as soon.
const RETRIES_PER_BEAT: u32 = 4;

/// For how long the end waits for the calls that are under way.
const LAST_CALLS_MAX: Duration = Duration::from_secs(2);

/// Why what is still held at the end is released.
const END_REASON: &str = "the MCP client that it was reserved for has gone";

/// The most characters of a client's name in a run id.
const NAME_CHARACTERS_MAX: usize = 40;

/// What this connection keeps alive.
#[derive(Clone, Debug)]
struct Kept {
    keeping: Arc<Keeping>,
    /// Made over this connection, and so to be released with it.
    is_made_here: bool,
    /// The request that made it, if no other one has asked for it since.
    made_by: Option<RequestId>,
    beaten: Stopwatch,
    /// How long after that the next heartbeat is due.
    pause: Duration,
    /// Why the last one failed.
    trouble: Option<String>,
}

/// What this connection kept alive, and was lost.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    reservation: ReservationId,
    addresses: Vec<Address>,
    how: String,
}

impl From<Lost> for Value {
    fn from(lost: Lost) -> Value {
        let id = lost.reservation;
        let error = format!(
            "reservation {id} is lost ({}): stop changing what it was for, look again at what has become of it, and \
             reserve anew",
            lost.how
        );
        json!({ "reservation_id": id, "addresses": lost.addresses, "error": error })
    }
}

#[derive(Debug, Default)]
struct State {
    is_over: bool,
    /// The calls that are under way, with what interrupts each.
    calls: HashMap<RequestId, Option<PipeWriter>>,
    kept: BTreeMap<ReservationId, Kept>,
    lost: Vec<Lost>,
}

/// A client, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Connection {
    context: Context,
    /// Leaves what is held at the end to lapse.
    keep: bool,
    made_run: OnceLock<String>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Connection {
    pub(crate) fn new(context: Context, keep: bool) -> Connection {
        let (made_run, state, changed) = Default::default();
        Connection { context, keep, made_run, state, changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call of a client of this name finds in its environment.
    pub(super) fn context_of_call(&self, client: &str) -> Context {
        self.context.of_call(self.made_run.get_or_init(|| made_run(client)))
    }

    /// Takes note of a call.
    ///
    /// # Errors
    ///
    /// When there can be no pipe.
    pub(super) fn begin(self: &Arc<Self>, id: RequestId) -> io::Result<Call> {
        let (interrupt, interrupter) = io::pipe()?;
        let mut state = self.state();
        let interrupter = (!state.is_over).then_some(interrupter);
        state.calls.insert(id.clone(), interrupter);
        Ok(Call { connection: Arc::clone(self), id, interrupt })
    }

    /// Ends the wait of a call that the client does not want any more, and takes back what it was granted.
    pub(super) fn cancel(&self, id: &RequestId) {
        let mut state = self.state();
        if let Some(interrupter) = state.calls.get_mut(id) {
            interrupter.take();
        }
        let unwanted = state.kept.iter().find(|(_, kept)| kept.made_by.as_ref() == Some(id));
        let unwanted = unwanted.map(|(reservation, _)| *reservation);
        let unwanted = unwanted.and_then(|reservation| state.kept.remove(&reservation));
        drop(state);
        if let Some(Kept { keeping, .. }) = unwanted {
            // If it cannot be released, it lapses.
            drop(take_back(&keeping.coordinator, keeping.reservation, &keeping.run));
        }
    }

    /// What is to be told with the next answer.
    pub(super) fn news(&self) -> (Vec<Lost>, Vec<String>) {
        let mut state = self.state();
        let troubles = state.kept.values().filter_map(|kept| {
            let (id, why) = (kept.keeping.reservation, kept.trouble.as_ref()?);
            Some(format!("reservation {id} cannot be kept alive for now, and will lapse: {why}"))
        });
        let troubles = troubles.collect();
        (std::mem::take(&mut state.lost), troubles)
    }

    /// With what TTL a reservation is kept alive.
    pub(super) fn ttl_of(&self, reservation: ReservationId) -> Option<TtlSeconds> {
        self.state().kept.get(&reservation).map(|kept| kept.keeping.ttl)
    }

    /// Keeps alive what the run holds; what it does already, with the new TTL.
    pub(super) fn adopt(&self, keeping: Keeping) {
        let mut state = self.state();
        state.insert(keeping, None);
        drop(state);
        self.changed.notify_all();
    }

    /// Does not keep these alive any more.
    pub(super) fn forget(&self, reservations: impl IntoIterator<Item = ReservationId>) {
        let mut state = self.state();
        for reservation in reservations {
            state.kept.remove(&reservation);
        }
    }

    /// Sends the heartbeats until the connection is over. Runs on a thread of its own: calls that wait for the store
    /// must not hold it up.
    pub(crate) fn keep_alive(&self) {
        let mut state = self.state();
        while !state.is_over {
            let next = state.kept.values().map(Kept::due_in).min();
            state = match next {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let due: Vec<Kept> =
                        state.kept.values().filter(|kept| kept.due_in().is_zero()).cloned().collect();
                    drop(state);
                    for kept in due {
                        self.note(&kept, beat(&kept));
                    }
                    self.state()
                }
                Some(next) => {
                    let waited = self.changed.wait_timeout(state, next);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes note of what came of a heartbeat for `kept`.
    fn note(&self, kept: &Kept, beaten: Result<Beaten, CommandError>) {
        let reservation = kept.keeping.reservation;
        let mut state = self.state();
        // It may have been released, or reserved anew, meanwhile.
        let same = |now: &&mut Kept| Arc::ptr_eq(&now.keeping, &kept.keeping);
        let Some(now) = state.kept.get_mut(&reservation).filter(same) else { return };
        now.beaten = Stopwatch::start();
        now.pause = pause(now.keeping.ttl);
        match beaten {
            Ok(Beaten::Held) => now.trouble = None,
            Ok(Beaten::GivenBack) => {
                state.kept.remove(&reservation);
            }
            Ok(Beaten::Lost(lost)) => {
                state.kept.remove(&reservation);
                state.lost.push(lost);
            }
            Err(error) => {
                now.pause /= RETRIES_PER_BEAT;
                now.trouble = Some(error.message);
            }
        }
    }

    /// Ends the waits. Whatever is granted from now on is taken back.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_over = true;
        for interrupter in state.calls.values_mut() {
            interrupter.take();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Ends the waits, and releases what was reserved here unless it is to be left.
    ///
    /// # Errors
    ///
    /// The first that could not be released: it lapses.
    pub(crate) fn end(&self) -> Result<(), CommandError> {
        self.close();
        let is_busy = |state: &mut State| !state.calls.is_empty();
        let waited = self.changed.wait_timeout_while(self.state(), LAST_CALLS_MAX, is_busy);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let kept = std::mem::take(&mut state.kept);
        drop(state);
        if self.keep {
            return Ok(());
        }
        let mut stores: BTreeMap<(PathBuf, RunId), Vec<Arc<Keeping>>> = BTreeMap::new();
        for Kept { keeping, .. } in kept.into_values().filter(|kept| kept.is_made_here) {
            let store = keeping.coordinator.engine().place();
            stores.entry((store, keeping.run.clone())).or_default().push(keeping);
        }
        let mut failures = Vec::new();
        for ((_, run), all) in stores {
            let Some(first) = all.first() else { continue };
            let request = ReleaseRequest {
                reservations: all.iter().map(|keeping| keeping.reservation).collect(),
                run,
                reason: Some(END_REASON.to_owned()),
                force: false,
            };
            match first.coordinator.release(&request) {
                Ok(answers) => failures.extend(answers.into_iter().filter_map(|(_, answer)| answer.err())),
                Err(error) => failures.push(error),
            }
        }
        failures.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl State {
    /// Keeps a reservation alive that the request `made_by` has made, or that was there before.
    fn insert(&mut self, keeping: Keeping, made_by: Option<RequestId>) {
        let reservation = keeping.reservation;
        let was_made_here = self.kept.get(&reservation).is_some_and(|kept| kept.is_made_here);
        let kept = Kept {
            is_made_here: was_made_here || made_by.is_some(),
            made_by,
            beaten: Stopwatch::start(),
            pause: pause(keeping.ttl),
            keeping: Arc::new(keeping),
            trouble: None,
        };
        self.kept.insert(reservation, kept);
    }
}

impl Kept {
    fn due_in(&self) -> Duration {
        self.pause.saturating_sub(self.beaten.elapsed())
    }
}

/// How long after a heartbeat the next one is due.
fn pause(ttl: TtlSeconds) -> Duration {
    Duration::from_secs(ttl.get().into()) / BEATS_PER_TTL
}

/// What came of a heartbeat.
#[derive(Debug)]
enum Beaten {
    Held,
    /// The run itself released it, by another way than this connection.
    GivenBack,
    Lost(Lost),
}

fn beat(kept: &Kept) -> Result<Beaten, CommandError> {
    let Keeping { coordinator, reservation, run, .. } = &*kept.keeping;
    let (standing, _) = kept.keeping.beat()?;
    let Standing::Lost(loss) = standing else { return Ok(Beaten::Held) };
    if matches!(&loss, Loss::Released { by: Some(by), .. } if by == run) {
        return Ok(Beaten::GivenBack);
    }
    let lease = coordinator.show(*reservation).ok().flatten();
    let addresses = lease.map(|lease| lease.reservation.addresses).unwrap_or_default();
    Ok(Beaten::Lost(Lost { reservation: *reservation, addresses, how: loss.describe() }))
}

/// A call that is under way. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Call {
    connection: Arc<Connection>,
    id: RequestId,
    interrupt: PipeReader,
}

impl Call {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Can be read once the client has gone or does not want an answer any more.
    pub(super) fn interrupt(&self) -> BorrowedFd<'_> {
        self.interrupt.as_fd()
    }

    /// Whether the client is there and waits for an answer.
    pub(super) fn is_wanted(&self) -> bool {
        self.connection.state().calls.get(&self.id).is_some_and(Option::is_some)
    }

    /// Keeps alive what was granted to this call. `false` if nobody can be told of it: then what is new is taken back.
    pub(super) fn keep(&self, keeping: Keeping, is_new: bool) -> bool {
        let mut state = self.connection.state();
        let is_wanted = state.calls.get(&self.id).is_some_and(Option::is_some);
        if is_wanted {
            state.insert(keeping, is_new.then(|| self.id.clone()));
            drop(state);
            self.connection.changed.notify_all();
        } else {
            drop(state);
            if is_new {
                // If it cannot be released, it lapses.
                drop(take_back(&keeping.coordinator, keeping.reservation, &keeping.run));
            }
        }
        is_wanted
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.connection.state().calls.remove(&self.id);
        self.connection.changed.notify_all();
    }
}

/// A run id for a client of this name, and no other connection's.
fn made_run(client: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let plain = client.chars().map(|character| if is_plain(character) { character } else { '-' });
    let name: String = plain.take(NAME_CHARACTERS_MAX).collect();
    let name = if name.is_empty() { "client" } else { &name };
    // The standard library seeds it from the system's random numbers.
    let random = RandomState::new().build_hasher().finish();
    let mut run = format!("mcp:{name}:");
    // Writing to a text does not fail.
    write!(run, "{:012x}", random >> 16).unwrap_or_default();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_run_descends_from_none_and_is_no_others() {
        let run = made_run("Some Client/2 \u{1b}[31m");
        assert!(run.starts_with("mcp:Some-Client-2---31m:"), "{run}");
        assert_ne!(run, made_run("Some Client/2 \u{1b}[31m"));
        assert!(made_run("").starts_with("mcp:client:"));
        assert!(RunId::new(made_run(&"é".repeat(1000))).is_ok());
        assert_eq!(made_run("a").len(), "mcp:a:".len() + 12);
    }

    #[test]
    fn heartbeats_come_with_every_third_of_the_ttl() {
        assert_eq!(pause(TtlSeconds::new(120).unwrap()), Duration::from_secs(40));
        assert_eq!(pause(TtlSeconds::new(1).unwrap()), Duration::from_secs(1) / 3);
    }
}
