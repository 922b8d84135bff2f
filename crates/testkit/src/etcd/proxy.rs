//! A network between a client and one server that can be cut: nothing goes through it then, and nobody is told.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Forwards what comes to a port of its own.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    wire: Arc<Wire>,
}

#[derive(Debug, Default)]
struct Wire {
    is_cut: Mutex<bool>,
    mended: Condvar,
    connections: Mutex<Vec<TcpStream>>,
}

impl Wire {
    fn wait(&self) {
        let is_cut = self.is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.mended.wait_while(is_cut, |is_cut| *is_cut));
    }

    fn set(&self, is_cut: bool) {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner) = is_cut;
        self.mended.notify_all();
    }

    /// Carries from one end to the other, until one of them is closed.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut bytes)?;
            self.wait();
            if read == 0 {
                return to.shutdown(Shutdown::Write);
            }
            to.write_all(&bytes[..read])?;
        }
    }

    fn connect(self: &Arc<Wire>, client: TcpStream, target: &str) -> io::Result<()> {
        let server = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)];
        for (from, to) in ends {
            let wire = Arc::clone(self);
            thread::spawn(move || wire.carry(from, to));
        }
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).extend([client, server]);
        Ok(())
    }
}

impl Proxy {
    /// One that leads to `target`, an endpoint.
    pub fn to(target: &str) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let wire = Arc::new(Wire::default());
        let target = target.trim_start_matches("http://").to_owned();
        let its = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                its.wait();
                // The client sees that nobody is there.
                its.connect(client, &target).unwrap_or_default();
            }
        });
        Proxy { url: format!("http://127.0.0.1:{port}"), wire }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on nothing goes through.
    pub fn cut(&self) {
        self.wire.set(true);
    }

    /// Everything goes through again, what has come meanwhile too.
    pub fn mend(&self) {
        self.wire.set(false);
    }

    /// Breaks off every connection that there is.
    pub fn break_off(&self) {
        for connection in self.wire.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            connection.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
        self.break_off();
    }
}
