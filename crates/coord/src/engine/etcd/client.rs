//! Calls of etcd's JSON gateway: several endpoints, one after the other, until one answers or the time is up.
//!
//! **Every call may be carried out twice.** An answer that got lost says nothing of whether its request was carried out,
//! so whoever asks for a change asks in a way that bears being asked again: a transaction's conditions fail the second time,
//! a lease has an id that its caller chose. That is what makes it right to go to the next endpoint after any failure.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Error};

use super::names::Names;
use super::wire::{Login, LoginAnswer, Refusal, StatusAnswer};
use crate::clock::Stopwatch;
use crate::engine::{EngineError, RemoteFailure};

/// How long a connection may take, 2 s: above three times what the other side of the world takes.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How long one endpoint has for an answer, 5 s: above what etcd itself waits for a new leader at its defaults.
const CALL_MAX: Duration = Duration::from_secs(5);

/// How long a call may take altogether, with all endpoints that are asked.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// How many connections to an endpoint are kept for the next calls: as many as `list` asks at the same time.
const CONNECTIONS_KEPT: usize = 16;

/// How long is waited before all endpoints are asked again, when none could do it just then.
const PAUSE: Duration = Duration::from_millis(50);

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
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Why one endpoint did not do what it was asked.
#[derive(Debug)]
enum Failed {
    /// It was not reached: it has carried nothing out.
    Unreached(String),
    /// It may have carried it out, or may yet.
    Unclear(String),
    /// It could not do it now: there is no leader, or it is busy. Another one may.
    NotNow(String),
    /// The login is not valid any more, or never was.
    LoggedOut(String),
    /// It said no, and the others would too.
    Refused(String, Option<i64>),
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
            if !host.is_some_and(|host| is_host(host) && !host.contains(['/', '@', '?', '#', ' '])) {
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
        })
    }

    /// The endpoint that is asked first.
    pub(super) fn endpoint(&self) -> &str {
        let at = self.preferred.load(Ordering::Relaxed) % self.urls.len();
        self.urls.get(at).map_or("", String::as_str)
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.urls
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
        self.call_within(path, what, question, DEADLINE)
    }

    pub(super) fn call_within<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &'static str,
        what: Call,
        question: &Q,
        deadline: Duration,
    ) -> Result<A, EngineError> {
        let body = serde_json::to_vec(question).map_err(|error| {
            self.remote(RemoteFailure::Refused, what, format!("the request cannot be written: {error}"))
        })?;
        let time = Stopwatch::start();
        let mut is_unclear = false;
        let mut last = String::new();
        let mut logins = 0;
        loop {
            let first = self.preferred.load(Ordering::Relaxed);
            let mut is_worth_waiting = false;
            let mut next = 0;
            while next < self.urls.len() {
                let at = (first + next) % self.urls.len();
                let left = deadline.saturating_sub(time.elapsed());
                if left.is_zero() {
                    break;
                }
                let url = self.urls.get(at).map_or("", String::as_str);
                match self.ask(url, path, &body, left.min(CALL_MAX)) {
                    Ok(answer) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(Failed::Refused(why, grpc_code)) => {
                        let error = self.remote(RemoteFailure::Refused, what, format!("{url}: {why}"));
                        return Err(with_code(error, grpc_code));
                    }
                    Err(Failed::LoggedOut(why)) => {
                        if logins >= 2 || self.login.is_none() {
                            return Err(self.remote(RemoteFailure::Refused, what, format!("{url}: {why}")));
                        }
                        logins += 1;
                        self.forget_token();
                        // The same one again.
                        continue;
                    }
                    Err(Failed::Unreached(why)) => last = format!("{url}: {why}"),
                    Err(Failed::Unclear(why) | Failed::NotNow(why)) => {
                        last = format!("{url}: {why}");
                        is_unclear = true;
                        is_worth_waiting = true;
                    }
                }
                next += 1;
            }
            // Where nobody listens at all, nobody will in a moment.
            if !is_worth_waiting || time.elapsed() + PAUSE >= deadline {
                let is_change = matches!(what, Call::Change(_));
                let failure =
                    if is_unclear && is_change { RemoteFailure::Unknown } else { RemoteFailure::Unreachable };
                return Err(self.remote(failure, what, last));
            }
            pause();
        }
    }

    /// Opens an answer that does not end, at the endpoint that answered last.
    pub(super) fn open<Q: Serialize>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<impl std::io::Read + Send + use<Q>, EngineError> {
        let what = Call::Read("watch");
        let refused = |why: String| self.remote(RemoteFailure::Unreachable, what, why);
        let body = serde_json::to_vec(question).map_err(|error| refused(error.to_string()))?;
        let url = self.endpoint();
        let token = self.logged_in(url).map_err(|failed| refused(format!("{url}: {failed}")))?;
        let mut request = self.agent.post(format!("{url}{path}"));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        // It lasts as long as somebody reads it.
        let request = request.config().timeout_global(None).timeout_recv_response(Some(CALL_MAX)).build();
        let response = request.send(&body).map_err(|error| refused(format!("{url}: {error}")))?;
        if response.status() != 200 {
            return Err(refused(format!("{url}: HTTP status {}", response.status())));
        }
        Ok(response.into_body().into_reader())
    }

    /// What one endpoint tells of itself.
    pub(super) fn status(&self, url: &str) -> Result<super::Server, EngineError> {
        const WHAT: Call = Call::Read("ask for its state");
        let time = Stopwatch::start();
        let answer: Result<StatusAnswer, Failed> = self.ask(url, "/v3/maintenance/status", b"{}", CALL_MAX);
        let latency = time.elapsed();
        match answer {
            Ok(answer) => Ok(super::Server {
                endpoint: url.to_owned(),
                version: answer.version,
                cluster_id: answer.header.cluster_id.0,
                has_leader: answer.leader.0 != 0,
                database_bytes: u64::try_from(answer.db_size.0).unwrap_or(0),
                errors: answer.errors,
                latency,
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
        let token = self.logged_in(url)?;
        self.post(url, path, body, token.as_deref(), time_max)
    }

    fn post<A: DeserializeOwned>(
        &self,
        url: &str,
        path: &'static str,
        body: &[u8],
        token: Option<&str>,
        time_max: Duration,
    ) -> Result<A, Failed> {
        let mut request = self.agent.post(format!("{url}{path}"));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let request = request
            .config()
            .timeout_global(Some(time_max))
            .timeout_connect(Some(time_max.min(CONNECT_MAX)))
            .build();
        let mut response = request.send(body).map_err(failed)?;
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let answer = answer.map_err(|error| Failed::Unclear(told(&error)))?;
        if response.status() == 200 {
            return serde_json::from_slice(&answer).map_err(|error| {
                Failed::Refused(format!("the answer to {path} is not understood: {error}"), None)
            });
        }
        Err(refusal(response.status().as_u16(), &answer))
    }

    /// The token of a login, where one is needed.
    fn logged_in(&self, url: &str) -> Result<Option<String>, Failed> {
        let Some((name, password)) = &self.login else { return Ok(None) };
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(Some(token));
        }
        let body = serde_json::to_vec(&Login { name, password })
            .map_err(|error| Failed::Refused(error.to_string(), None))?;
        let answer: LoginAnswer = match self.post(url, "/v3/auth/authenticate", &body, None, CALL_MAX) {
            // Nothing depends on whether a login was carried out.
            Err(Failed::Unclear(why)) => Err(Failed::Unreached(why)),
            answer => answer,
        }?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.token.clone());
        Ok(Some(answer.token))
    }

    fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failed::Unreached(why)
        | Failed::Unclear(why)
        | Failed::NotNow(why)
        | Failed::LoggedOut(why)
        | Failed::Refused(why, _)) = self;
        f.write_str(why)
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

/// What a failed connection or a broken one means.
fn failed(error: Error) -> Failed {
    let why = told(&error);
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::BadUri(_)
        | Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | Error::Tls(_)
        | Error::Rustls(_) => Failed::Unreached(why),
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable
            | std::io::ErrorKind::AddrNotAvailable
            // TLS: a certificate that is not taken.
            | std::io::ErrorKind::InvalidData => Failed::Unreached(why),
            _ => Failed::Unclear(why),
        },
        _ => Failed::Unclear(why),
    }
}

/// The error, with what it is caused by where it does not say that itself.
fn told(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "it did not answer in time".to_owned(),
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nobody listens there".to_owned()
        }
        error => error.to_string(),
    }
}

/// The codes of gRPC that say more than that it failed.
mod code {
    pub(super) const DEADLINE_EXCEEDED: i64 = 4;
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const INVALID_ARGUMENT: i64 = 3;
    pub(super) const UNAVAILABLE: i64 = 14;
    pub(super) const UNAUTHENTICATED: i64 = 16;
}

/// What an answer says that is none.
fn refusal(status: u16, answer: &[u8]) -> Failed {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(answer) else {
        return Failed::Unclear(format!("HTTP status {status}"));
    };
    let why = match refusal.error.as_str() {
        Some(error) if refusal.message.is_empty() => error.to_owned(),
        _ => refusal.message,
    };
    let why = if why.is_empty() { format!("HTTP status {status}") } else { why };
    match refusal.code {
        // Older releases tell an expired token by a code that says nothing.
        code::UNAUTHENTICATED => Failed::LoggedOut(why),
        code::UNKNOWN | code::INVALID_ARGUMENT if why.contains("invalid auth token") => {
            Failed::LoggedOut(why)
        }
        code::UNAVAILABLE | code::DEADLINE_EXCEEDED => Failed::NotNow(why),
        _ if why.contains("leader changed") || why.contains("timed out") => Failed::NotNow(why),
        code => Failed::Refused(why, Some(code)),
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
