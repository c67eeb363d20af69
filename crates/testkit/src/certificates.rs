//! TLS certificates of one test.

use std::path::PathBuf;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority of the test's own, and a certificate for a server and for a client on the loopback address: `ca.pem`,
/// `server.pem`, `server.key`, `client.pem`, `client.key`.
#[derive(Debug)]
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("making a directory for certificates")?;
        let write = |name: String, text: String| std::fs::write(dir.path().join(name), text);
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::new(vec![])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.pem".into(), authority.self_signed(&authority_key)?.pem())?;
        let issuer = Issuer::from_params(&authority, &authority_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            write(format!("{name}.pem"), params.signed_by(&key, &issuer)?.pem())?;
            write(format!("{name}.key"), key.serialize_pem())?;
        }
        Ok(Self { dir })
    }

    /// The path of one of the files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
