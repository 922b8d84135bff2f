//! Where endpoints are: asked for once in a while. ureq asks before every call, also of a connection that is open already,
//! and has a new thread do it, which takes longer than the call itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::clock::Stopwatch;

/// How long what was told of a name is gone by.
const KNOWN_MAX: Duration = Duration::from_secs(10);

/// Remembers where endpoints are.
#[derive(Debug, Default)]
pub(super) struct Names {
    asked: DefaultResolver,
    known: Mutex<HashMap<Authority, (Stopwatch, Vec<SocketAddr>)>>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let Some(name) = uri.authority() else { return self.asked.resolve(uri, config, timeout) };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, places)) = known().get(name)
            && since.elapsed() < KNOWN_MAX
        {
            let mut answer = self.empty();
            for place in places {
                answer.push(*place);
            }
            return Ok(answer);
        }
        let answer = self.asked.resolve(uri, config, timeout)?;
        known().insert(name.clone(), (Stopwatch::start(), answer.iter().copied().collect()));
        Ok(answer)
    }
}
