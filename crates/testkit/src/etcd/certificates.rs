//! Certificates for tests of TLS.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Somebody whose signature is trusted, or not.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let mut its = CertificateParams::default();
        its.distinguished_name.push(DnType::CommonName, name);
        its.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        its.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(its, key).expect("a certificate"))
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for servers at 127.0.0.1 and for clients, until the end of a year.
    pub fn certify(&self, name: &str, until: i32) -> Pair {
        let mut its = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        its.distinguished_name.push(DnType::CommonName, name);
        its.not_before = date_time_ymd(2000, 1, 1);
        its.not_after = date_time_ymd(until, 12, 31);
        // etcd asks itself as a client with the certificate that it has as a server.
        its.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = its.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
