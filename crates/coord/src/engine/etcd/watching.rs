//! etcd's own stream of changes, read by a thread that writes a byte into a pipe for those who wait with other descriptors.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::keys::Keys;
use super::wire::{Int, Streamed, Watch, WatchAnswer, WatchCreate, end_of};
use crate::engine::changes::{Changes, Interest, Polling, Woken, pause, wait_for};

/// How long is waited before a stream that broke off is opened again.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells of changes since `revision`.
pub(super) fn watch(client: Arc<Client>, keys: &Keys, revision: Int, interest: Interest) -> Box<dyn Changes> {
    let Ok((reader, writer)) = UnixStream::pair() else { return Box::new(Polling) };
    // Whoever waits drains it, and whoever tells need not wait for that: a byte that does not fit tells nothing new.
    if reader.set_nonblocking(true).is_err() || writer.set_nonblocking(true).is_err() {
        return Box::new(Polling);
    }
    let prefix = keys.all().to_owned();
    let stream = Stream { client, prefix, interest, next: Int(revision.0 + 1), writer };
    match thread::Builder::new().name("etcd watch".to_owned()).spawn(move || stream.follow()) {
        Ok(_) => Box::new(Watched { reader }),
        Err(_) => Box::new(Polling),
    }
}

/// The end that is waited at. Once it is closed the thread ends with its next word.
#[derive(Debug)]
struct Watched {
    reader: UnixStream,
}

impl Changes for Watched {
    fn wait(&mut self, timeout: Duration, interrupt: Option<BorrowedFd<'_>>) -> Woken {
        let woken = wait_for(Some(self.reader.as_fd()), timeout, interrupt);
        if woken == Woken::Changed {
            let mut told = [0; 64];
            // Many changes at once are one.
            while matches!(self.reader.read(&mut told), Ok(read) if read > 0) {}
        }
        woken
    }
}

struct Stream {
    client: Arc<Client>,
    prefix: String,
    interest: Interest,
    /// The first revision that was not told of.
    next: Int,
    writer: UnixStream,
}

impl Stream {
    fn follow(mut self) {
        loop {
            self.read();
            // It broke off, or what it was to begin with is compacted away: whoever waits looks for itself.
            if !self.tell() {
                return;
            }
            pause(PAUSE, None);
        }
    }

    /// Reads the stream to its end.
    fn read(&mut self) {
        // What frees something is a key that goes: a reservation's life, its place among those that stand, a ticket.
        let filters: &[&'static str] = match self.interest {
            Interest::Freed => &["NOPUT"],
            Interest::Everything => &[],
        };
        let question = Watch {
            create_request: WatchCreate {
                key: self.prefix.as_str().into(),
                range_end: end_of(&self.prefix),
                start_revision: self.next,
                filters,
            },
        };
        let Ok(answer) = self.client.open("/v3/watch", &question) else { return };
        for line in BufReader::new(answer).lines() {
            let Ok(line) = line else { return };
            let Ok(Streamed { result }) = serde_json::from_str::<Streamed<WatchAnswer>>(&line) else {
                return;
            };
            if result.compact_revision > Int(0) {
                self.next = result.compact_revision;
                return;
            }
            if result.canceled {
                // It may be for a login that is not valid any more, which some releases do not say.
                self.client.log_out();
                return;
            }
            self.next = Int(result.header.revision.0 + 1).max(self.next);
            if !result.events.is_empty() && !self.tell() {
                return;
            }
        }
    }

    /// Wakes whoever waits; `false` if nobody does any more.
    fn tell(&mut self) -> bool {
        match self.writer.write_all(&[1]) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}
