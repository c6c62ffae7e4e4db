//! Certificates made at run time, and a TLS client that takes any of them but remembers which it saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// A certificate and its key as PEM files.
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// The certificate in DER, to compare with what a client saw.
    pub der: Vec<u8>,
}

/// Makes a self-signed certificate for localhost and writes it to `folder`, over what may be there.
pub fn write_certificate(folder: &Path) -> CertificateFiles {
    let names = vec!["localhost".to_owned(), "edge.test".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = folder.join("edge.crt");
    let key = folder.join("edge.key");
    replace(&key, made.signing_key.serialize_pem().as_bytes());
    replace(&certificate, made.cert.pem().as_bytes());
    CertificateFiles { certificate, key, der: made.cert.der().to_vec() }
}

/// Puts a file in place at once, as a careful editor does.
pub fn replace(path: &Path, content: &[u8]) {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, content).unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// Accepts every certificate and keeps the last one.
#[derive(Debug)]
pub struct Witness {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Vec<u8>>>,
}

impl Witness {
    /// The certificate of the last handshake, in DER.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

/// A verifier that has seen nobody yet.
pub fn witness() -> Arc<Witness> {
    Arc::new(Witness { provider: Arc::new(aws_lc_rs::default_provider()), seen: Mutex::default() })
}

/// A client configuration that trusts everybody, with those application protocols.
pub fn trusting_client(alpn: &[&[u8]]) -> (ClientConfig, Arc<Witness>) {
    let witness = witness();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&witness.provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (config, witness)
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap() = Some(end_entity.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
