//! Calls of etcd's JSON gateway: several endpoints, one after the other, until one answers or the time is up.
//!
//! **Every call may be carried out twice.** An answer that got lost says nothing of whether its request was carried out,
//! so whoever asks for a change asks in a way that bears being asked again: a transaction's conditions fail the second time,
//! a lease has an id that its caller chose. That is what makes it right to go to the next endpoint after any failure.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::names::Names;
use super::server::http_date;
use super::trouble::{BROKEN_OFF, Failed, failed, refusal};
use super::wire::{Login, LoginAnswer, StatusAnswer};
use crate::clock::{Stopwatch, Timestamp};
use crate::engine::{EngineError, RemoteFailure};

/// How long a connection may take, 2 s: above three times what the other side of the world takes.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How long one endpoint has for an answer, 5 s: above what etcd itself waits for a new leader at its defaults.
const CALL_MAX: Duration = Duration::from_secs(5);

/// How long the first endpoint has where there are others, and each of them after it, 1 s: one that hangs must not keep a
/// heartbeat from those that do not. What was asked before an election is over gets no answer, and is asked again a second
/// after it at the latest. A cluster that is slow has [`CALL_MAX`] once that much time has passed.
const FIRST_MAX: Duration = Duration::from_secs(1);

/// How long a call may take altogether, with all endpoints that are asked.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// How many connections to an endpoint are kept for the next calls: as many as `list` asks at the same time.
const CONNECTIONS_KEPT: usize = 16;

/// How long is waited before all endpoints are asked again, when none could do it just then.
const PAUSE: Duration = Duration::from_millis(50);

/// How often one endpoint is logged in to anew for one call: a member that lags behind may not know the first token yet.
const LOGINS_MAX: u32 = 2;

/// The largest answer that is none.
const REFUSAL_BYTES_MAX: u64 = 1 << 16;

/// The largest answer, 256 MiB: a hundred thousand reservations.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Where an etcd is, and how it is spoken to.
#[derive(Clone, Default)]
pub struct Endpoints {
    /// `http://HOST:PORT` or `https://HOST:PORT`, at least one. Those of one cluster.
    pub urls: Vec<String>,
    /// The certificates, as PEM, that those of the servers are signed by. Needed for `https`.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate and its key, as PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// User and password.
    pub login: Option<(String, String)>,
}

/// Without the password and the key.
impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("urls", &self.urls)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

/// Why [`Endpoints`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// There is none.
    #[error("no endpoint is named: give at least one, as in `endpoints = [\"http://127.0.0.1:2379\"]`")]
    None,
    /// One is no URL that is understood here.
    #[error("`{0}` is no endpoint: write `http://HOST:PORT` or `https://HOST:PORT`")]
    NoUrl(String),
    /// A server's certificate could not be told from another's.
    #[error("`{0}` needs `ca`, the file of the certificates that its own is signed by")]
    NoCa(String),
    /// A certificate or a key is not what it has to be.
    #[error("{0} holds no {1} in PEM form")]
    Pem(&'static str, &'static str),
    /// A client's certificate and its key are not a pair.
    #[error(
        "`cert` and `key` do not belong together, or are of a kind that is not understood ({0}): give the key of that certificate"
    )]
    NoPair(String),
}

/// What every endpoint of a cluster is asked through.
pub(super) struct Client {
    agent: Agent,
    urls: Vec<String>,
    /// Which endpoint answered last.
    preferred: AtomicUsize,
    login: Option<(String, String)>,
    /// What etcd gave for the login; it expires.
    token: Mutex<Option<String>>,
    /// How long a call may take altogether, in milliseconds.
    call_max: AtomicU64,
    has_identity: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(endpoints: &Endpoints) -> Result<Client, EndpointsError> {
        let is_secure = |url: &str| url.starts_with("https://");
        if endpoints.urls.is_empty() {
            return Err(EndpointsError::None);
        }
        let mut urls = Vec::with_capacity(endpoints.urls.len());
        for url in &endpoints.urls {
            let url = url.trim_end_matches('/');
            let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let is_host = |host: &str| {
                host.rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            };
            let is_url = url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.port().is_some());
            if !is_url || !host.is_some_and(|host| is_host(host) && !host.contains(['/', '@', '?', '#', ' ']))
            {
                return Err(EndpointsError::NoUrl(url.to_owned()));
            }
            if is_secure(url) && endpoints.ca.is_none() {
                return Err(EndpointsError::NoCa(url.to_owned()));
            }
            urls.push(url.to_owned());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent("muse")
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(CALL_MAX))
            .max_idle_connections(CONNECTIONS_KEPT)
            .max_idle_connections_per_host(CONNECTIONS_KEPT)
            .no_delay(true);
        if urls.iter().any(|url| is_secure(url)) {
            config = config.tls_config(tls(endpoints)?);
        }
        Ok(Client {
            agent: Agent::with_parts(config.build(), DefaultConnector::default(), Names::default()),
            urls,
            preferred: AtomicUsize::new(0),
            login: endpoints.login.clone(),
            token: Mutex::default(),
            call_max: AtomicU64::new(milliseconds(DEADLINE)),
            has_identity: endpoints.identity.is_some(),
        })
    }

    /// From now on a call takes no longer than this: for whoever has seen that etcd does not answer.
    pub(super) fn limit_calls(&self, time_max: Duration) {
        self.call_max.fetch_min(milliseconds(time_max), Ordering::Relaxed);
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.urls
    }

    /// All endpoints, beginning with the one that answered last, and their places.
    fn in_order(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = self.preferred.load(Ordering::Relaxed) % self.urls.len();
        let (before, from) = self.urls.split_at(first);
        let places = (first..self.urls.len()).chain(0..first);
        places.zip(from.iter().chain(before).map(String::as_str))
    }

    /// Asks until an endpoint answers, for at most [`DEADLINE`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Remote`]. That it is not known whether a change was carried out is told only where `what` is one.
    pub(super) fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &'static str,
        what: Call,
        question: &Q,
    ) -> Result<A, EngineError> {
        let body = serde_json::to_vec(question).map_err(|error| {
            self.remote(RemoteFailure::Refused, what, format!("the request cannot be written: {error}"))
        })?;
        let deadline = Duration::from_millis(self.call_max.load(Ordering::Relaxed));
        let time = Stopwatch::start();
        let mut is_unclear = false;
        let mut whys = Whys::default();
        loop {
            let mut is_worth_waiting = false;
            for (at, url) in self.in_order() {
                let left = deadline.saturating_sub(time.elapsed());
                if left.is_zero() {
                    break;
                }
                let is_first = self.urls.len() > 1 && time.elapsed() < CALL_MAX;
                let time_max = left.min(if is_first { FIRST_MAX } else { CALL_MAX });
                match self.ask(url, path, &body, time_max) {
                    Ok(answer) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(Failed::Refused(why, code)) => {
                        let error = self.remote(refused(what, is_unclear), what, format!("{url}: {why}"));
                        return Err(with_code(error, code));
                    }
                    Err(Failed::LoggedOut(why)) => {
                        return Err(self.remote(refused(what, is_unclear), what, format!("{url}: {why}")));
                    }
                    Err(Failed::Unreached(why)) => whys.note(url, why),
                    Err(Failed::Unclear(why) | Failed::NotNow(why)) => {
                        whys.note(url, why);
                        is_unclear = true;
                        is_worth_waiting = true;
                    }
                }
            }
            // Where nobody listens at all, nobody will in a moment. With hardly any time left there is only a worse reason.
            if !is_worth_waiting || time.elapsed() + 2 * PAUSE >= deadline {
                let is_change = matches!(what, Call::Change(_));
                let failure =
                    if is_unclear && is_change { RemoteFailure::Unknown } else { RemoteFailure::Unreachable };
                return Err(self.remote(failure, what, whys.told()));
            }
            pause();
        }
    }

    /// Opens an answer that does not end, at the first endpoint that gives one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Remote`] when none does.
    pub(super) fn open<Q: Serialize>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<impl std::io::Read + Send + use<Q>, EngineError> {
        let what = Call::Read("watch");
        let body = serde_json::to_vec(question)
            .map_err(|error| self.remote(RemoteFailure::Refused, what, error.to_string()))?;
        let mut whys = Whys::default();
        for (_, url) in self.in_order() {
            let open = |token: Option<&str>| {
                // Of a member that has lost its leader nothing would come, and no word of that either.
                let request = self.request(url, path, token).header("Grpc-Metadata-Hasleader", "true");
                // It lasts as long as somebody reads it.
                let request =
                    request.config().timeout_global(None).timeout_recv_response(Some(FIRST_MAX)).build();
                let mut response = request.send(&body).map_err(|error| failed(error, self.has_identity))?;
                if response.status() == 200 {
                    return Ok(response.into_body().into_reader());
                }
                let answer = response.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
                Err(refusal(response.status().as_u16(), &answer.unwrap_or_default()))
            };
            match self.with_login(url, FIRST_MAX, open) {
                Ok(answer) => return Ok(answer),
                Err(error) => whys.note(url, error.to_string()),
            }
        }
        Err(self.remote(RemoteFailure::Unreachable, what, whys.told()))
    }

    /// What one endpoint tells of itself.
    pub(super) fn status(&self, url: &str) -> Result<super::Server, EngineError> {
        const WHAT: Call = Call::Read("ask for its state");
        let latency = Cell::new(Duration::ZERO);
        let answer: Result<(StatusAnswer, _), Failed> = self.with_login(url, CALL_MAX, |token| {
            let time = Stopwatch::start();
            let answer = self.post_dated(url, "/v3/maintenance/status", b"{}", token, CALL_MAX);
            latency.set(time.elapsed());
            answer
        });
        match answer {
            Ok((answer, date)) => Ok(super::Server {
                endpoint: url.to_owned(),
                version: answer.version,
                cluster_id: answer.header.cluster_id.0,
                has_leader: answer.leader.0 != 0,
                is_leader: answer.leader.0 != 0 && answer.leader == answer.header.member_id,
                database_bytes: u64::try_from(answer.db_size.0).unwrap_or(0),
                errors: answer.errors,
                latency: latency.get(),
                date,
                clock_ahead_seconds: None,
            }),
            Err(Failed::Refused(why, _) | Failed::LoggedOut(why)) => {
                Err(self.remote(RemoteFailure::Refused, WHAT, format!("{url}: {why}")))
            }
            Err(failed) => Err(self.remote(RemoteFailure::Unreachable, WHAT, format!("{url}: {failed}"))),
        }
    }

    fn remote(&self, failure: RemoteFailure, what: Call, why: String) -> EngineError {
        EngineError::Remote {
            failure,
            operation: what.name(),
            endpoints: self.urls.join(", "),
            why,
            grpc_code: None,
        }
    }

    fn ask<A: DeserializeOwned>(
        &self,
        url: &str,
        path: &'static str,
        body: &[u8],
        time_max: Duration,
    ) -> Result<A, Failed> {
        self.with_login(url, time_max, |token| self.post(url, path, body, token, time_max))
    }

    /// Does it with the token of a login, where one is needed; with a new one where etcd does not know it any more: it
    /// has expired, etcd was started again, or the user was changed.
    fn with_login<A>(
        &self,
        url: &str,
        time_max: Duration,
        ask: impl Fn(Option<&str>) -> Result<A, Failed>,
    ) -> Result<A, Failed> {
        let mut logins = 0;
        loop {
            let token = self.logged_in(url, time_max)?;
            match ask(token.as_deref()) {
                Err(Failed::LoggedOut(_)) if token.is_some() && logins < LOGINS_MAX => {
                    logins += 1;
                    self.forget_token(token.as_deref());
                }
                answer => return answer,
            }
        }
    }

    fn request(
        &self,
        url: &str,
        path: &'static str,
        token: Option<&str>,
    ) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        let request = self.agent.post(format!("{url}{path}"));
        match token {
            Some(token) => request.header("Authorization", token),
            None => request,
        }
    }

    fn post<A: DeserializeOwned>(
        &self,
        url: &str,
        path: &'static str,
        body: &[u8],
        token: Option<&str>,
        time_max: Duration,
    ) -> Result<A, Failed> {
        self.post_dated(url, path, body, token, time_max).map(|(answer, _)| answer)
    }

    /// The answer, and what the server's clock shows.
    fn post_dated<A: DeserializeOwned>(
        &self,
        url: &str,
        path: &'static str,
        body: &[u8],
        token: Option<&str>,
        time_max: Duration,
    ) -> Result<(A, Option<Timestamp>), Failed> {
        let request = self
            .request(url, path, token)
            .config()
            .timeout_global(Some(time_max))
            .timeout_connect(Some(time_max.min(CONNECT_MAX)))
            .build();
        let mut response = request.send(body).map_err(|error| failed(error, self.has_identity))?;
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let answer = answer.map_err(|error| match failed(error, self.has_identity) {
            // It was reached: it began to answer.
            Failed::Unreached(why) => Failed::Unclear(why),
            failed => failed,
        })?;
        // A stream that fails says so in an answer that went well.
        if response.status() == 200 && !answer.starts_with(b"{\"error\":") {
            let date = response.headers().get("date").and_then(|date| http_date(date.to_str().ok()?));
            return serde_json::from_slice(&answer).map(|answer| (answer, date)).map_err(|error| {
                Failed::Refused(format!("the answer to {path} is not understood: {error}"), None)
            });
        }
        Err(refusal(response.status().as_u16(), &answer))
    }

    /// The token of a login, where one is needed.
    fn logged_in(&self, url: &str, time_max: Duration) -> Result<Option<String>, Failed> {
        let Some((name, password)) = &self.login else { return Ok(None) };
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(Some(token));
        }
        let body = serde_json::to_vec(&Login { name, password })
            .map_err(|error| Failed::Refused(error.to_string(), None))?;
        let answer: LoginAnswer = match self.post(url, "/v3/auth/authenticate", &body, None, time_max) {
            // Nothing depends on whether a login was carried out.
            Err(Failed::Unclear(why)) => Err(Failed::Unreached(why)),
            Err(Failed::Refused(why, code)) => Err(Failed::Refused(
                format!(
                    "user `{name}` cannot log in: {why}: check `user`, and its password in `password_file` or MUSE_COORD_PASSWORD"
                ),
                code,
            )),
            answer => answer,
        }?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.token.clone());
        Ok(Some(answer.token))
    }

    /// Forgets the token, if it is this one still.
    fn forget_token(&self, used: Option<&str>) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.as_deref() == used {
            *token = None;
        }
    }

    /// Logs in again before the next call: a watch does not say that its login is not valid any more.
    pub(super) fn log_out(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What each endpoint said last.
#[derive(Debug, Default)]
struct Whys(Vec<(String, String)>);

impl Whys {
    fn note(&mut self, url: &str, mut why: String) {
        if why == BROKEN_OFF && url.starts_with("http://") {
            why.push_str(" (if it speaks TLS, write `https://`)");
        }
        self.0.retain(|(its, _)| its != url);
        self.0.push((url.to_owned(), why));
    }

    fn told(&self) -> String {
        let each: Vec<String> = self.0.iter().map(|(url, why)| format!("{url}: {why}")).collect();
        if each.is_empty() { "there was no time left to ask".to_owned() } else { each.join("; ") }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What it is that one endpoint says no: a change that another one was asked for before may be carried out all the same.
const fn refused(what: Call, is_unclear: bool) -> RemoteFailure {
    match what {
        Call::Change(_) if is_unclear => RemoteFailure::Unknown,
        _ => RemoteFailure::Refused,
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// It changes nothing: that no answer came is all that there is to tell.
    Read(&'static str),
    /// It may change something.
    Change(&'static str),
}

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Call::Read(name) | Call::Change(name) => name,
        }
    }
}

fn tls(endpoints: &Endpoints) -> Result<TlsConfig, EndpointsError> {
    let certificates =
        |pem: &[u8], name: &'static str| -> Result<Vec<Certificate<'static>>, EndpointsError> {
            let items = parse_pem(pem).filter_map(Result::ok);
            let found: Vec<_> = items
                .filter_map(|item| match item {
                    ureq::tls::PemItem::Certificate(certificate) => Some(certificate),
                    _ => None,
                })
                .collect();
            if found.is_empty() { Err(EndpointsError::Pem(name, "certificate")) } else { Ok(found) }
        };
    let roots = certificates(endpoints.ca.as_deref().unwrap_or_default(), "`ca`")?;
    let identity = match &endpoints.identity {
        Some((certificate, key)) => {
            let chain = certificates(certificate, "`cert`")?;
            let key = PrivateKey::from_pem(key).map_err(|_| EndpointsError::Pem("`key`", "private key"))?;
            are_pair(&chain, &key)?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        None => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Whether a certificate and a key belong together: what speaks TLS takes that for granted.
fn are_pair(chain: &[Certificate<'static>], key: &PrivateKey<'static>) -> Result<(), EndpointsError> {
    let no_pair = |error: String| EndpointsError::NoPair(error);
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.der().to_vec())
        .map_err(|error| no_pair(error.to_owned()))?;
    let chain = chain.iter().map(|its| its.der().to_vec().into()).collect();
    let provider = rustls::crypto::ring::default_provider();
    match rustls::sign::CertifiedKey::from_der(chain, der, &provider) {
        Ok(_) => Ok(()),
        Err(error) => Err(no_pair(error.to_string())),
    }
}

fn with_code(error: EngineError, code: Option<i64>) -> EngineError {
    match error {
        EngineError::Remote { failure, operation, endpoints, why, .. } => {
            EngineError::Remote { failure, operation, endpoints, why, grpc_code: code }
        }
        error => error,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it ends after a twentieth of a second, and the deadline is looked at"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}
