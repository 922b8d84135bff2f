//! Giving up on the parser where it does not give up by itself.
//!
//! It asks for the time between its steps, and a step can be long: where a text ends in the middle of what can be read in
//! several ways at each depth, its last one takes the square of the depth. For `a<a<a<...` that is a second for four
//! kilobytes in C#, and ten thousand times as long for a hundred times as many.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use crate::outline::{Limits, Unread};

/// Up to this many bytes no text is known to keep the parser for longer than a quarter of a second. A thread costs about as
/// much as parsing half a kilobyte.
const UNWATCHED_MAX: usize = 2 * 1024;

/// What a thread may use by itself, as the main one may.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// For how long work on one text or two, of that many bytes, may be silent before it is given up on; `None` where it need
/// not be watched.
pub(crate) fn of(limits: &Limits, bytes: usize) -> Option<Duration> {
    // What is larger is not read.
    let is_watched = bytes > UNWATCHED_MAX && bytes <= limits.bytes_max.saturating_mul(2);
    // It looks at the time itself: twice as long is when it did not.
    limits.time_max.filter(|_| is_watched).map(|time_max| time_max.saturating_mul(2))
}

/// What `work` on so many `bytes` comes to, unless it does not ask whether it is late for `silence_max`. It goes on then, on
/// a thread that nobody waits for: it ends when the parser is done with its step, or with the process.
///
/// Work that does ask is waited for: on a busy machine it may be off its processor for long, and that is not its time.
pub(crate) fn within<T: Send + 'static>(
    limits: &Limits,
    silence_max: Duration,
    bytes: usize,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T, Unread> + Send + 'static,
) -> Result<T, Unread> {
    let (done, result) = sync_channel(1);
    let (asked, limits) = (Arc::new(AtomicUsize::new(0)), *limits);
    let asking = Arc::clone(&asked);
    let work = move || {
        enlarge_heap(bytes);
        let mut is_late = limits.lateness();
        let told = work(&mut || {
            asking.fetch_add(1, Ordering::Relaxed);
            is_late()
        });
        // Nobody hears of it where it was given up on.
        drop(done.send(told));
    };
    let Ok(worker) = Builder::new().stack_size(STACK_BYTES).spawn(work) else {
        return Err(Unread::TooSlow);
    };
    let mut heard = 0;
    loop {
        match result.recv_timeout(silence_max) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => {
                let now = asked.load(Ordering::Relaxed);
                if now == heard {
                    return Err(Unread::TooSlow);
                }
                heard = now;
            }
            // It said nothing, so it has panicked.
            Err(RecvTimeoutError::Disconnected) => {
                return match worker.join() {
                    Ok(()) => Err(Unread::TooSlow),
                    Err(panic) => resume_unwind(panic),
                };
            }
        }
    }
}

/// How much memory a byte of a text comes to in its tree, and more.
const HEAP_BYTES_PER_BYTE: usize = 96;

/// The largest heap that is made at once. More than a third of it allocators ask the system for anyway.
const HEAP_BYTES_MAX: usize = 16 << 20;

/// Has the allocator get the memory for a text of so many bytes at once. That of the C library otherwise asks the system for
/// each further page of a thread's heap by itself: three hundred times for a text of a thousand lines.
///
/// It goes by what is given back: a block that is so large is the system's own at first, and once it has come back, the
/// next one comes from the heap, which keeps it. Nothing of it is touched, so it costs two calls and no memory.
fn enlarge_heap(bytes: usize) {
    let size = bytes.saturating_mul(HEAP_BYTES_PER_BYTE).min(HEAP_BYTES_MAX);
    for size in [size + size / 2, size] {
        drop(black_box(Vec::<u8>::with_capacity(size)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_done_in_time_is_told_and_what_is_not_is_given_up_on() {
        let long = Duration::from_mins(1);
        assert_eq!(within(&Limits::default(), long, 0, |_| Ok(1)), Ok(1));
        assert_eq!(
            within(&Limits::default(), long, 0, |_| Err::<(), _>(Unread::Binary)),
            Err(Unread::Binary)
        );
        let (release, wait) = channel::<()>();
        let silence_max = Duration::from_millis(1);
        let told =
            within(&Limits::default(), silence_max, 0, move |_| wait.recv().map_err(|_| Unread::Binary));
        assert_eq!(told, Err(Unread::TooSlow));
        drop(release);
    }

    /// As on a busy machine: it is slow, and goes on.
    #[test]
    fn what_asks_for_the_time_is_waited_for() {
        let silence_max = Duration::from_millis(20);
        let (_sender, receiver) = channel::<()>();
        let told = within(&Limits::default(), silence_max, 0, move |is_late| {
            for _ in 0..20 {
                assert!(!is_late());
                // Nobody sends anything.
                assert!(receiver.recv_timeout(silence_max / 4).is_err());
            }
            Ok(1)
        });
        assert_eq!(told, Ok(1));
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_is_the_callers() {
        let long = Duration::from_mins(1);
        let told = within(&Limits::default(), long, 0, |_| -> Result<(), Unread> { panic!("as it was") });
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
