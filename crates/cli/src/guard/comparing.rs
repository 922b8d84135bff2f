//! Comparing texts, on several threads where there are several to compare.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};

use super::gathered::Gathered;

/// The most threads: the time of a commit of fifty files is halved by the second one, and from the fourth on it is
/// reading the texts that takes it.
const THREADS_MAX: usize = 4;

/// As many pairs of texts as are compared before a thread would be begun.
const ALONE_MAX: usize = 3;

/// Texts that wait to be compared, for each thread: each is at most as large as the limits.
const WAITING_MAX: usize = 4;

/// What one file was in each commit that it is compared with, and what it is.
pub(super) struct Texts {
    pub(super) path: String,
    pub(super) olds: Vec<Vec<u8>>,
    pub(super) new: Vec<u8>,
}

impl Texts {
    fn compare(self, gathered: &mut Gathered) {
        let olds: Vec<Option<&[u8]>> = self.olds.iter().map(|text| Some(text.as_slice())).collect();
        gathered.texts(&self.path, &olds, &self.new);
    }
}

/// Compares what `read` hands over; `count` is about how much that is. What comes of it does not depend on the threads.
pub(super) fn compare<E>(
    count: usize,
    read: impl FnOnce(&mut dyn FnMut(Texts)) -> Result<(), E>,
) -> Result<Gathered, E> {
    let mut gathered = Gathered::default();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    if count <= ALONE_MAX || threads == 1 {
        read(&mut |texts| texts.compare(&mut gathered))?;
        return Ok(gathered);
    }
    let (sender, receiver) = sync_channel::<Texts>(threads * WAITING_MAX);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        // Where no thread can be had, this one does it all.
        let begun: Vec<ScopedJoinHandle<'_, Gathered>> = (0..threads)
            .map_while(|_| Builder::new().spawn_scoped(scope, || compare_received(&receiver)).ok())
            .collect();
        let read = read(&mut |texts| hand_over(texts, &sender, !begun.is_empty(), &mut gathered));
        drop(sender);
        for thread in begun {
            gathered.append(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        read
    })?;
    Ok(gathered)
}

fn hand_over(texts: Texts, sender: &SyncSender<Texts>, has_threads: bool, gathered: &mut Gathered) {
    if !has_threads {
        texts.compare(gathered);
    } else if let Err(refused) = sender.send(texts) {
        refused.0.compare(gathered);
    }
}

fn compare_received(receiver: &Mutex<Receiver<Texts>>) -> Gathered {
    let mut gathered = Gathered::default();
    // The lock is given back before the comparison begins.
    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    while let Some(texts) = next() {
        texts.compare(&mut gathered);
    }
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(number: usize) -> Texts {
        Texts {
            path: format!("{number:03}.py"),
            olds: vec![b"def f(): return 1\n".to_vec()],
            new: b"import a\ndef f(): return 2\n".to_vec(),
        }
    }

    fn told(count: usize) -> String {
        let read = |hand_over: &mut dyn FnMut(Texts)| {
            (0..100).rev().for_each(|number| hand_over(texts(number)));
            Ok::<(), ()>(())
        };
        format!("{:?}", compare(count, read).unwrap())
    }

    #[test]
    fn several_threads_say_what_one_says() {
        let alone = told(1);
        assert!(alone.contains("\"000.py::f\"") && alone.contains("\"099.py::@top\""), "{alone}");
        assert_eq!(told(100), alone);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let read = |hand_over: &mut dyn FnMut(Texts)| {
            (0..100).for_each(|number| hand_over(texts(number)));
            Err("unreadable")
        };
        assert_eq!(compare(100, read).unwrap_err(), "unreadable");
        assert_eq!(compare(1, read).unwrap_err(), "unreadable");
    }
}
