//! What an endpoint that did not do what it was asked says, what that means, and what can be done about it.

use std::fmt;
use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use ureq::Error;

use super::wire::Refusal;

/// Why one endpoint did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failed {
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

/// What a failed connection or a broken one means.
pub(super) fn failed(error: Error, has_identity: bool) -> Failed {
    if let Some(why) = of_tls(&error).map(|error| told_of_tls(error, has_identity)) {
        // Nothing is read of a request before the two have agreed.
        return Failed::Unreached(why);
    }
    let why = told(&error);
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::BadUri(_)
        | Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | Error::Tls(_) => Failed::Unreached(why),
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => Failed::Unreached(why),
            _ => Failed::Unclear(why),
        },
        _ => Failed::Unclear(why),
    }
}

/// What is told of a connection that somebody at the other end has closed.
pub(super) const BROKEN_OFF: &str = "it broke the connection off";

fn told(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "it did not answer in time".to_owned(),
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        Error::Io(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            BROKEN_OFF.to_owned()
        }
        error => error.to_string(),
    }
}

/// What TLS complains of, however deep it stands.
fn of_tls(error: &Error) -> Option<&rustls::Error> {
    fn inside(error: &io::Error) -> Option<&rustls::Error> {
        let inner = error.get_ref()?;
        inner.downcast_ref().or_else(|| inner.downcast_ref::<io::Error>().and_then(inside))
    }
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => inside(error),
        _ => None,
    }
}

fn told_of_tls(error: &rustls::Error, has_identity: bool) -> String {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "its certificate is not signed by any in `ca` (unknown issuer): name the file of those that it is signed \
              by, or the endpoint that was meant"
            .to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate, or one in `ca`, has expired: renew it; if this machine's clock is wrong, set that".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate, or one in `ca`, is not valid yet: if this machine's clock is wrong, set it".to_owned(),
        rustls::Error::InvalidCertificate(error @ (CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. })) => format!(
            "its certificate is not for the name in the endpoint ({error}): write the endpoint with a name of the \
             certificate, or have one made with this name"
        ),
        rustls::Error::InvalidCertificate(error) => {
            format!("its certificate is not taken ({error}): look at it, and at `ca`")
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate)
            if !has_identity =>
        {
            "it wants a certificate of the client: give `cert` and `key`".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => format!(
            "it does not take the certificate in `cert` ({alert:?}): look whether that has expired, is one for clients, and is \
             signed by those that etcd trusts (its --trusted-ca-file)"
        ),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS: write `http://`, or give etcd a certificate".to_owned()
        }
        error => format!("TLS does not come about: {error}"),
    }
}

/// The codes of gRPC that say more than that it failed.
mod code {
    pub(super) const CANCELLED: i64 = 1;
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const INVALID_ARGUMENT: i64 = 3;
    pub(super) const DEADLINE_EXCEEDED: i64 = 4;
    pub(super) const PERMISSION_DENIED: i64 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i64 = 8;
    pub(super) const UNAVAILABLE: i64 = 14;
    pub(super) const UNAUTHENTICATED: i64 = 16;
}

/// What an answer says that is none.
pub(super) fn refusal(status: u16, answer: &[u8]) -> Failed {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(answer) else {
        if answer.windows(5).any(|its| its == b"HTTPS") {
            return Failed::Refused("it speaks TLS: write `https://`, and give `ca`".to_owned(), None);
        }
        return Failed::Unclear(format!("HTTP status {status}"));
    };
    let (why, code) = refusal.told();
    let why = if why.is_empty() { format!("HTTP status {status}") } else { why };
    match code {
        // Older releases tell an expired token by a code that says nothing.
        code::UNAUTHENTICATED => Failed::LoggedOut(why),
        code::UNKNOWN | code::INVALID_ARGUMENT
            if why.contains("invalid auth token") || why.contains("revision of auth store is old") =>
        {
            Failed::LoggedOut(why)
        }
        code::INVALID_ARGUMENT if why.contains("user name is empty") => {
            Failed::Refused(format!("{why}: it wants a login: give `user` and its password"), Some(code))
        }
        code::PERMISSION_DENIED => Failed::Refused(
            format!("{why}: the user needs the right to read and write all keys that begin with `/muse/`"),
            Some(code),
        ),
        // What it takes of a request at all, and what it writes of one.
        code::INVALID_ARGUMENT | code::RESOURCE_EXHAUSTED
            if why.contains("request is too large") || why.contains("message larger than max") =>
        {
            Failed::Refused(
                format!("{why}: name fewer addresses at once, or raise etcd's --max-request-bytes"),
                Some(code::INVALID_ARGUMENT),
            )
        }
        code::RESOURCE_EXHAUSTED if why.contains("space exceeded") => Failed::Refused(
            format!(
                "{why}: etcd is full, and takes nothing new until its administrator compacts it (`etcdctl compact`), defragments each member (`etcdctl defrag`), perhaps raises --quota-backend-bytes, and then runs `etcdctl alarm disarm`"
            ),
            Some(code),
        ),
        // The first is what a member says that is being stopped.
        code::CANCELLED | code::UNAVAILABLE | code::DEADLINE_EXCEEDED => Failed::NotNow(why),
        _ if why.contains("leader changed") || why.contains("timed out") => Failed::NotNow(why),
        code => Failed::Refused(why, Some(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, answer: &str) -> Failed {
        refusal(status, answer.as_bytes())
    }

    #[test]
    fn what_another_member_may_do_is_no_refusal() {
        for (status, answer) in [
            (
                408,
                r#"{"error":"grpc: the client connection is closing","message":"grpc: the client connection is closing","code":1}"#,
            ),
            (503, r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#),
            (503, r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}"#),
            (200, r#"{"error":{"code":14,"message":"etcdserver: request timed out"}}"#),
            (
                504,
                r#"{"error":"etcdserver: leader changed","message":"etcdserver: leader changed","code":2}"#,
            ),
        ] {
            assert!(matches!(told(status, answer), Failed::NotNow(_)), "{answer}");
        }
        assert!(matches!(told(502, "<html>"), Failed::Unclear(why) if why == "HTTP status 502"));
    }

    #[test]
    fn a_login_that_is_not_valid_any_more_is_told_by_every_release() {
        for answer in [
            r#"{"error":"etcdserver: invalid auth token","message":"etcdserver: invalid auth token","code":16}"#,
            r#"{"error":"etcdserver: invalid auth token","message":"etcdserver: invalid auth token","code":2}"#,
            r#"{"error":{"grpc_code":16,"message":"etcdserver: invalid auth token"}}"#,
            r#"{"error":"etcdserver: revision of auth store is old","message":"etcdserver: revision of auth store is old","code":3}"#,
        ] {
            assert!(matches!(told(401, answer), Failed::LoggedOut(_)), "{answer}");
        }
    }

    #[test]
    fn what_is_wrong_with_tls_is_told_with_what_to_do() {
        use rustls::Error as Tls;
        let required = Tls::AlertReceived(AlertDescription::CertificateRequired);
        for (error, has_identity, part) in [
            (Tls::InvalidCertificate(CertificateError::UnknownIssuer), false, "unknown issuer"),
            (Tls::InvalidCertificate(CertificateError::Expired), false, "renew it"),
            (Tls::InvalidCertificate(CertificateError::NotValidYet), false, "set it"),
            (
                Tls::InvalidCertificate(CertificateError::NotValidForName),
                false,
                "write the endpoint with a name",
            ),
            (Tls::InvalidMessage(InvalidMessage::InvalidContentType), false, "write `http://`"),
            (required.clone(), false, "give `cert` and `key`"),
            (required, true, "does not take the certificate in `cert`"),
        ] {
            // As ureq hands it on.
            let error = Error::Io(io::Error::new(ErrorKind::InvalidData, error));
            let told = failed(error, has_identity);
            assert!(matches!(&told, Failed::Unreached(why) if why.contains(part)), "{told:?}");
        }
    }
}
