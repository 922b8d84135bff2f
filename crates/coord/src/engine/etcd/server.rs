//! What one endpoint tells of itself, and what its release is known for.

use std::time::Duration;

use crate::clock::Timestamp;

/// What etcd tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its endpoint.
    pub endpoint: String,
    /// Its release, as in `3.5.28`.
    pub version: String,
    /// The cluster that it is a member of.
    pub cluster_id: u64,
    /// Whether the cluster has a leader that it knows.
    pub has_leader: bool,
    /// Whether it is the leader.
    pub is_leader: bool,
    /// How large its database is, in bytes.
    pub database_bytes: u64,
    /// What it complains of: alarms.
    pub errors: Vec<String>,
    /// How long the answer took, without the login.
    pub latency: Duration,
    /// What its clock showed when it answered, in whole seconds; `None` where it did not say.
    pub date: Option<Timestamp>,
    /// By how many seconds this machine's clock is ahead of it, less than one and the latency off; negative where it is
    /// behind.
    pub clock_ahead_seconds: Option<i64>,
}

impl Server {
    /// Whether its release is known for leases that end too early or too late. Not so of one that is not understood.
    pub fn has_faulty_leases(&self) -> bool {
        release(&self.version).is_some_and(is_faulty)
    }

    /// As told at `now`, when the answer was there.
    pub(super) fn told_at(self, now: Timestamp) -> Server {
        let half = i64::try_from(self.latency.as_micros() / 2).unwrap_or(0);
        let ahead = |date: Timestamp| {
            let microseconds = now.as_microseconds() - half - date.as_microseconds();
            microseconds.div_euclid(1_000_000)
        };
        Server { clock_ahead_seconds: self.date.map(ahead), ..self }
    }
}

/// The numbers of a release: `3.5.28`, `v3.6.0-rc.1`, `3.4.23+git`.
fn release(version: &str) -> Option<[u32; 3]> {
    let numbers = version.trim().trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let release = [numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?];
    numbers.next().is_none().then_some(release)
}

/// All before 3.5.28, and 3.6.0 to 3.6.8.
fn is_faulty(release: [u32; 3]) -> bool {
    release < [3, 5, 28] || ([3, 6, 0]..[3, 6, 9]).contains(&release)
}

/// The time in a header `Date`.
pub(super) fn http_date(header: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header.trim()).ok()?;
    Some(Timestamp::from_microseconds(parsed.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_those_with_faults_known() {
        for (version, numbers) in [
            ("3.5.28", Some([3, 5, 28])),
            ("v3.4.23", Some([3, 4, 23])),
            ("3.6.0-rc.1", Some([3, 6, 0])),
            ("3.5.0+git", Some([3, 5, 0])),
            ("3.7", Some([3, 7, 0])),
            ("3", None),
            ("", None),
            ("3.x.1", None),
            ("3.5.28.1", None),
            ("3.5.-1", None),
            ("99999999999.0.0", None),
        ] {
            assert_eq!(release(version), numbers, "{version}");
        }
        for faulty in
            ["2.3.8", "3.4.0", "3.4.23", "3.4.99", "3.5.0", "3.5.27", "3.6.0-rc.1", "3.6.0", "3.6.8"]
        {
            assert!(release(faulty).is_some_and(is_faulty), "{faulty}");
        }
        for good in ["3.5.28", "3.5.100", "3.6.9", "3.6.10", "3.7.0", "4.0.0"] {
            assert!(!release(good).is_some_and(is_faulty), "{good}");
        }
    }

    #[test]
    fn the_clocks_are_compared_to_the_second() {
        let date = http_date("Sun, 29 Nov 2026 09:07:30 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-11-29T09:07:30.000000+00:00");
        assert_eq!(http_date("yesterday"), None);
        let server = Server {
            endpoint: String::new(),
            version: String::new(),
            cluster_id: 0,
            has_leader: true,
            is_leader: true,
            database_bytes: 0,
            errors: Vec::new(),
            latency: Duration::from_millis(200),
            date: Some(date),
            clock_ahead_seconds: None,
        };
        let told = |microseconds: i64| {
            let now = Timestamp::from_microseconds(date.as_microseconds() + microseconds);
            server.clone().told_at(now).clock_ahead_seconds
        };
        // Whatever part of the second it left out.
        assert_eq!((told(100_000), told(1_099_999)), (Some(0), Some(0)));
        assert_eq!((told(5_500_000), told(-3_000_000)), (Some(5), Some(-4)));
        assert_eq!(Server { date: None, ..server.clone() }.told_at(date).clock_ahead_seconds, None);
    }
}
