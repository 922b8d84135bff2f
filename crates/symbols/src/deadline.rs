//! Giving up on the parser where it does not give up by itself.
//!
//! It asks for the time between its steps, and a step can be long: where a text ends in the middle of what can be read in
//! several ways at each depth, its last one takes the square of the depth. For `a<a<a<...` that is a second for four
//! kilobytes in C#, and ten thousand times as long for a hundred times as many.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use crate::outline::{Limits, Unread};

/// Up to this many bytes no text is known to keep the parser for longer than a quarter of a second. A thread costs about as
/// much as parsing half a kilobyte.
const UNWATCHED_MAX: usize = 2 * 1024;

/// What a thread may use by itself, as the main one may.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// The time after which work on one text or two, of that many bytes, is given up on; `None` where it need not be watched.
pub(crate) fn of(limits: &Limits, bytes: usize) -> Option<Duration> {
    // What is larger is not read.
    let is_watched = bytes > UNWATCHED_MAX && bytes <= limits.bytes_max.saturating_mul(2);
    // It looks at the time itself: twice as long is when it did not.
    limits.time_max.filter(|_| is_watched).map(|time_max| time_max.saturating_mul(2))
}

/// What `work` comes to, unless that takes longer than `time_max`. It goes on then, on a thread that nobody waits for:
/// it ends when the parser is done with its step, or with the process.
pub(crate) fn within<T: Send + 'static>(
    time_max: Duration,
    work: impl FnOnce() -> Result<T, Unread> + Send + 'static,
) -> Result<T, Unread> {
    let (done, result) = sync_channel(1);
    // Nobody hears of it where it was given up on.
    let work = move || drop(done.send(work()));
    let Ok(worker) = Builder::new().stack_size(STACK_BYTES).spawn(work) else {
        return Err(Unread::TooSlow);
    };
    match result.recv_timeout(time_max) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Unread::TooSlow),
        // It said nothing, so it has panicked.
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Ok(()) => Err(Unread::TooSlow),
            Err(panic) => resume_unwind(panic),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_done_in_time_is_told_and_what_is_not_is_given_up_on() {
        let long = Duration::from_mins(1);
        assert_eq!(within(long, || Ok(1)), Ok(1));
        assert_eq!(within(long, || Err::<(), _>(Unread::Binary)), Err(Unread::Binary));
        let (release, wait) = channel::<()>();
        let told = within(Duration::from_millis(1), move || wait.recv().map_err(|_| Unread::Binary));
        assert_eq!(told, Err(Unread::TooSlow));
        drop(release);
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_is_the_callers() {
        let told = within(Duration::from_mins(1), || -> Result<(), Unread> { panic!("as it was") });
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn only_what_has_a_limit_and_is_large_is_watched() {
        let limits = Limits { time_max: Some(Duration::from_secs(1)), ..Limits::default() };
        assert_eq!(of(&limits, UNWATCHED_MAX), None);
        assert_eq!(of(&limits, UNWATCHED_MAX + 1), Some(Duration::from_secs(2)));
        assert_eq!(of(&Limits { time_max: None, ..limits }, UNWATCHED_MAX + 1), None);
        assert_eq!(of(&Limits { bytes_max: UNWATCHED_MAX / 2, ..limits }, UNWATCHED_MAX + 1), None);
    }
}
