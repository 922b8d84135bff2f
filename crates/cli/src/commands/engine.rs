//! `muse coord engine`: what keeps the reservations.

use muse_coord::{Endpoints, EngineError, Filter, RemoteFailure, Server};
use muse_repo::Repository;
use serde::Serialize;

use crate::args::EngineStatusArgs;
use crate::commands::damage_warnings;
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::{Answer, Report, Screen};
use crate::settings::Account;

/// From how many seconds on a difference of the clocks is worth a warning: more than what rounding and a slow network
/// make of none.
const CLOCK_DIFFERENCE_MAX: u64 = 5;

/// What keeps the reservations, and whether it works.
#[derive(Debug, Serialize)]
pub(crate) struct EngineReport {
    status: &'static str,
    /// `files` or `etcd`, or whatever else is configured.
    engine: String,
    /// The variable or file that says so; null where none does.
    chosen_by: Option<String>,
    /// Where the reservations are: a folder, or what the keys of etcd begin with.
    place: Option<String>,
    repository: Name,
    /// The variable or file that names the endpoints.
    endpoints_in: Option<String>,
    /// Of the endpoints that answered, if it is one.
    cluster_id: Option<String>,
    endpoints: Vec<EndpointRow>,
    /// How many are active.
    reservations: Option<usize>,
    /// What is missing or wrong in the settings.
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// What the repository is called.
#[derive(Debug, Serialize)]
struct Name {
    configured: Option<String>,
    /// The variable or file that says so.
    configured_in: Option<String>,
    /// What every clone of it derives alike.
    derived: Option<String>,
    /// The remote that it is derived from.
    remote: Option<String>,
    /// Why none is derived.
    not_derived: Option<String>,
}

/// An endpoint, and what it tells of itself.
#[derive(Debug, Serialize)]
struct EndpointRow {
    endpoint: String,
    reachable: bool,
    version: Option<String>,
    leader: Option<bool>,
    has_leader: Option<bool>,
    latency_ms: Option<f64>,
    database_bytes: Option<u64>,
    cluster_id: Option<String>,
    alarms: Vec<String>,
    /// To the second.
    clock_ahead_seconds: Option<i64>,
    error: Option<String>,
}

impl EndpointRow {
    fn of(endpoint: &str, told: &Result<Server, EngineError>) -> EndpointRow {
        let server = told.as_ref().ok();
        EndpointRow {
            endpoint: endpoint.to_owned(),
            reachable: server.is_some(),
            version: server.map(|server| server.version.clone()),
            leader: server.map(|server| server.is_leader),
            has_leader: server.map(|server| server.has_leader),
            latency_ms: server.map(|server| (server.latency.as_secs_f64() * 1_000_000.0).round() / 1000.0),
            database_bytes: server.map(|server| server.database_bytes),
            cluster_id: server.map(|server| hexadecimal(server.cluster_id)),
            alarms: server
                .map(|server| server.errors.iter().map(|error| error.trim().to_owned()).collect())
                .unwrap_or_default(),
            clock_ahead_seconds: server.and_then(|server| server.clock_ahead_seconds),
            error: told.as_ref().err().map(|error| why_of(endpoint, error)),
        }
    }

    fn text(&self, screen: &mut Screen) {
        let Some(version) = &self.version else {
            let error = self.error.as_deref().unwrap_or("it does not answer");
            screen.result(&format!("endpoint     {}: {error}", self.endpoint));
            return;
        };
        let role = match (self.leader, self.has_leader) {
            (Some(true), _) => "leader",
            (_, Some(true)) => "follower",
            _ => "without a leader",
        };
        let clock = match self.clock_ahead_seconds {
            None => String::new(),
            Some(0) => ", clock equal to the second".to_owned(),
            Some(ahead) => {
                let direction = if ahead > 0 { "ahead of" } else { "behind" };
                format!(", this machine's clock {} s {direction} its own", ahead.unsigned_abs())
            }
        };
        screen.result(&format!(
            "endpoint     {}: {version}, {role}, {:.1} ms, {} KiB{clock}",
            self.endpoint,
            self.latency_ms.unwrap_or_default(),
            self.database_bytes.unwrap_or_default().div_ceil(1024),
        ));
    }
}

/// As `etcdctl` writes it.
fn hexadecimal(id: u64) -> String {
    format!("{id:x}")
}

/// Why one endpoint does not answer, without what every such error says.
fn why(error: &EngineError) -> String {
    match error {
        EngineError::Remote { why, .. } => why.clone(),
        error => error.to_string(),
    }
}

/// As [`why`], without the endpoint in front, where it stands already.
fn why_of(endpoint: &str, error: &EngineError) -> String {
    let why = why(error);
    let rest = why.strip_prefix(endpoint).and_then(|why| why.strip_prefix(": "));
    rest.map(str::to_owned).unwrap_or(why)
}

impl Report for EngineReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        let chosen = self.chosen_by.as_ref().map_or_else(
            || "the default: neither MUSE_COORD_ENGINE nor a file says another".to_owned(),
            |source| format!("by {source}"),
        );
        screen.result(&format!("engine       {} ({chosen})", self.engine));
        if let Some(place) = &self.place {
            screen.result(&format!("place        {place}"));
        }
        let name = &self.repository;
        match (&name.configured, &name.configured_in) {
            (Some(name), Some(source)) => screen.result(&format!("repository   {name} (by {source})")),
            _ => screen.result("repository   no name is configured"),
        }
        match (&name.derived, &name.remote, &name.not_derived) {
            (Some(derived), Some(remote), _) => {
                screen.result(&format!("derived      {derived} (from the first commits and {remote})"));
            }
            (_, _, Some(why)) => screen.result(&format!("derived      no name: {why}")),
            _ => {}
        }
        if let Some(source) = &self.endpoints_in {
            screen.result(&format!("endpoints    by {source}"));
        }
        for endpoint in &self.endpoints {
            endpoint.text(screen);
        }
        if let Some(cluster) = &self.cluster_id {
            screen.result(&format!("cluster      {cluster}"));
        }
        if let Some(count) = self.reservations {
            screen.result(&format!("active       {count}"));
        }
        for problem in &self.problems {
            screen.error(problem);
        }
        // The first problem is the error.
        if let Some(error) = self.error.as_ref().filter(|error| !self.problems.contains(error)) {
            screen.error(error);
        }
        if self.repository.configured.is_none()
            && !self.problems.is_empty()
            && let Some(derived) = &self.repository.derived
        {
            screen.hint(&format!("add this to [coordination] in muse.toml: repository = \"{derived}\""));
        }
    }
}

pub(crate) fn status(_: &EngineStatusArgs, context: &Context) -> Result<Answer<EngineReport>, CommandError> {
    let repository = context.repository()?;
    let account = context.account(&repository);
    let name = named(&repository, &account);
    let Account { engine, chosen_by, endpoints_in, access, mut problems, repository: _ } = account;
    let mut warnings = Vec::new();
    if engine == "files" && chosen_by.as_deref() == Some("MUSE_COORD_ENGINE") {
        // No file is looked at then.
        warnings.append(&mut problems);
    }
    let servers = match &access {
        Some(access) => context.servers(access).unwrap_or_else(|error| {
            problems.push(error.to_string());
            Vec::new()
        }),
        None => Vec::new(),
    };
    let up: Vec<&Server> = servers.iter().filter_map(|(_, told)| told.as_ref().ok()).collect();
    let failures = servers.iter().filter_map(|(_, told)| told.as_ref().err());
    let mut failure = if let Some(problem) = problems.first() {
        Some(CommandError::new(Kind::BadConfig, problem.clone()))
    } else if engine != "files" && up.is_empty() {
        // Whoever answers, and be it to say no, says more than silence.
        failures.max_by_key(|error| is_refusal(error)).map(unreached)
    } else if engine != "files" && !up.iter().any(|server| server.has_leader) {
        let message = "etcd has no leader, so it can neither grant nor tell anything: take all for held, and look at its \
                       other members";
        Some(CommandError::new(Kind::Unreachable, message))
    } else {
        None
    };
    let (mut place, mut reservations) = (None, None);
    if problems.is_empty() {
        let coordinator = context.coordinator(&repository, Purpose::Tend)?;
        place = Some(coordinator.engine().place().to_string_lossy().into_owned());
        if failure.is_none() {
            match coordinator.list(&Filter::default()) {
                Ok(listing) => {
                    reservations = Some(listing.leases.len());
                    let mut damaged = listing.damaged.into_iter();
                    failure = damaged.next().map(CommandError::from);
                    warnings.extend(damage_warnings(damaged.collect()));
                }
                Err(error) => failure = Some(error.into()),
            }
        }
    }
    warnings.extend(access.iter().filter_map(plain_password));
    warnings.extend(servers.iter().flat_map(|(endpoint, told)| faults(endpoint, told, up.is_empty())));
    let mut clusters: Vec<u64> = up.iter().map(|server| server.cluster_id).collect();
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.len() > 1 {
        warnings.push(
            "the endpoints are of different clusters, which do not see each other's reservations: name those of one"
                .to_owned(),
        );
    }
    let cluster_id = match clusters[..] {
        [one] => Some(hexadecimal(one)),
        _ => None,
    };
    let (status, exit_code) = failure.as_ref().map_or(("ok", exit::OK), |error| error.kind.word_and_code());
    let report = EngineReport {
        status,
        engine,
        chosen_by,
        place,
        repository: name,
        endpoints_in,
        cluster_id,
        endpoints: servers.iter().map(|(endpoint, told)| EndpointRow::of(endpoint, told)).collect(),
        reservations,
        problems,
        error: failure.map(|error| error.message),
        exit_code,
    };
    Ok(Answer { report, warnings })
}

fn named(repository: &Repository, account: &Account) -> Name {
    let (configured, configured_in) = account.repository.clone().unzip();
    let (derived, remote, not_derived) = match repository.identity() {
        Ok(identity) => (Some(identity.name().to_owned()), Some(identity.remote().to_owned()), None),
        Err(error) => (None, None, Some(error.to_string())),
    };
    Name { configured, configured_in, derived, remote, not_derived }
}

const fn is_refusal(error: &EngineError) -> bool {
    matches!(error, EngineError::Remote { failure: RemoteFailure::Refused, .. })
}

/// The failure of an endpoint, where no other one does better.
fn unreached(error: &EngineError) -> CommandError {
    let kind = if is_refusal(error) { Kind::Refused } else { Kind::Unreachable };
    let message = match kind {
        Kind::Refused => {
            format!("etcd refuses to tell its state ({}): look at the login and its rights", why(error))
        }
        _ => format!(
            "no endpoint of etcd answers ({}): could not check, so take everything for held; look at the network and at \
             etcd",
            why(error)
        ),
    };
    CommandError::new(kind, message)
}

/// What is to be said of one endpoint.
fn faults(endpoint: &str, told: &Result<Server, EngineError>, none_is_up: bool) -> Vec<String> {
    let server = match told {
        Ok(server) => server,
        Err(_) if none_is_up => return Vec::new(),
        Err(error) => {
            return vec![format!("{endpoint} does not tell its state: {}", why_of(endpoint, error))];
        }
    };
    let mut faults = Vec::new();
    if server.has_faulty_leases() {
        faults.push(format!(
            "{endpoint} runs etcd {}, which is known for faults in its leases: use 3.5.28 or later, or 3.6.9 or later",
            server.version
        ));
    }
    if !server.has_leader {
        faults.push(format!("{endpoint} knows of no leader: it can neither grant nor tell anything"));
    }
    for alarm in &server.errors {
        let next = if alarm.contains("NOSPACE") {
            ": nothing can be reserved until space is made (`etcdctl compact`, `defrag`, `alarm disarm`)"
        } else {
            ""
        };
        faults.push(format!("{endpoint} complains: {}{next}", alarm.trim()));
    }
    if let Some(ahead) = server.clock_ahead_seconds
        && ahead.unsigned_abs() > CLOCK_DIFFERENCE_MAX
    {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        faults.push(format!(
            "this machine's clock is {} s {direction} that of {endpoint}: when reservations lapse does not depend on it, \
             but times in records do",
            ahead.unsigned_abs()
        ));
    }
    faults
}

/// A warning of a password that others on the network can read.
fn plain_password(access: &Endpoints) -> Option<String> {
    access.login.as_ref()?;
    let url = access.urls.iter().find(|url| is_plain_and_far(url))?;
    Some(format!("the password goes to {url} unencrypted: use https, with `ca`"))
}

fn is_plain_and_far(url: &str) -> bool {
    let Some(host) = url.strip_prefix("http://") else { return false };
    let host = host.trim_end_matches('/').rsplit_once(':').map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse::<std::net::IpAddr>().map_or_else(
        |_| host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
        |ip| ip.is_loopback(),
    );
    !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_safe_on_this_machine_and_by_https() {
        for safe in [
            "https://10.0.0.7:2379",
            "http://127.0.0.1:2379",
            "http://127.9.9.9:1/",
            "http://[::1]:2379",
            "http://localhost:2379",
            "http://Etcd.LOCALHOST:2379",
        ] {
            assert!(!is_plain_and_far(safe), "{safe}");
        }
        for far in [
            "http://10.0.0.7:2379",
            "http://etcd:2379",
            "http://localhost.example.com:1",
            "http://[fe80::1]:1",
        ] {
            assert!(is_plain_and_far(far), "{far}");
        }
    }
}
