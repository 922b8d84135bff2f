//! `gc`: finds what is over for long enough, and moves it into the archive step by step.

use super::archive::{find_whole, move_batch};
use super::index::{Access, Index, marked};
use super::layout::{Store, Watched};
use super::lock::{StoreLock, let_others_in};
use super::{read_each, sweep};
use crate::archive::{BATCH_MAX, Collected, Retention};
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineError;
use crate::id::{ReservationId, Token};
use crate::progress::Progress;

/// How many records are read between two reports to the progress.
const RECORDS_PER_REPORT: usize = 1024;

/// Moves what `retention` lets go of. The records are read without a lock, and each again when it is moved. They are
/// moved in the order of their tokens: that is what lets readers of the archive stop early.
pub(super) fn collect(
    store: &Store,
    retention: &Retention,
    clock: &impl Clock,
    progress: &dyn Progress,
) -> Result<Collected, EngineError> {
    let mut collected = Collected::default();
    let mut over = over(store, retention, clock.now(), progress, &mut collected)?;
    over.truncate(retention.at_most.unwrap_or(usize::MAX));
    if retention.dry_run {
        for (_, _, ended_at) in over {
            collected.count(ended_at);
        }
    } else {
        progress.begin(Some(over.len() as u64), "archiving");
        // The next ones stand at the end.
        let mut waiting: Vec<ReservationId> = over.iter().rev().map(|(_, id, _)| *id).collect();
        let mut is_first = true;
        while is_first || !waiting.is_empty() {
            if !is_first {
                let_others_in();
            }
            let batch = waiting.split_off(waiting.len().saturating_sub(BATCH_MAX));
            match step(store, &batch, retention, clock, is_first, &mut collected) {
                Ok(too_many) => {
                    progress.advance((batch.len() - too_many.len()) as u64);
                    waiting.extend(too_many.into_iter().rev());
                }
                Err(error) => {
                    collected.stopped_by = Some(error);
                    break;
                }
            }
            is_first = false;
        }
    }
    collected.damaged.sort_by_key(ToString::to_string);
    collected.damaged.dedup_by_key(|error| error.to_string());
    Ok(collected)
}

/// One step under the store's lock, which is free again when this returns. Returns what did not fit into it.
fn step(
    store: &Store,
    ids: &[ReservationId],
    retention: &Retention,
    clock: &impl Clock,
    is_first: bool,
    collected: &mut Collected,
) -> Result<Vec<ReservationId>, EngineError> {
    let lock = StoreLock::acquire(&store.root)?;
    if is_first {
        sweep(store, clock.now())?;
    }
    let index = Index::as_it_is(store, Access::Write);
    let now = clock.now();
    let moved = marked(index.as_ref(), &Watched::ALL, || move_batch(store, &lock, ids, retention, now))?;
    if let Some(index) = index {
        index.forget(&moved.reservations);
    }
    for ended_at in moved.ended {
        collected.count(ended_at);
    }
    collected.skipped += moved.skipped;
    collected.bytes += moved.bytes;
    collected.damaged.extend(moved.damaged);
    Ok(moved.too_many)
}

/// What is over for long enough at `now`, sorted by token.
fn over(
    store: &Store,
    retention: &Retention,
    now: Timestamp,
    progress: &dyn Progress,
    collected: &mut Collected,
) -> Result<Vec<(Token, ReservationId, Timestamp)>, EngineError> {
    let (names, misplaced) = store.reservations.names()?;
    collected.damaged.extend(misplaced);
    progress.begin(Some(names.len() as u64), "reading");
    let mut over = Vec::new();
    let read = |id: ReservationId| -> Result<Option<(Token, ReservationId, Timestamp)>, EngineError> {
        let lease = find_whole(store, id)?;
        Ok(lease.and_then(|lease| Some((lease.reservation.token, id, retention.ended_at(&lease, now)?))))
    };
    for ids in names.chunks(RECORDS_PER_REPORT) {
        for found in read_each(ids, read) {
            match found {
                Ok(found) => over.extend(found),
                Err(error) => collected.damaged.push(error),
            }
        }
        progress.advance(ids.len() as u64);
    }
    over.sort_unstable_by_key(|(token, ..)| *token);
    Ok(over)
}
