//! The certificate that the listeners show: read from files, or made in memory in development mode, and replaced
//! in place when the files change. Connections that are up keep what they have.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::tls::{self, Tls, TlsError};
use super::validity::{self, Validity};
use crate::config::model::Config;

/// Names of the certificate of development mode.
const DEV_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const DAY: Duration = Duration::from_hours(24);

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Neither files nor development mode.
    #[error(
        "no TLS {what}: set {key} in [proxy], {flag} or {variable}, or use --dev-mode for a self-signed certificate \
         in memory"
    )]
    NotConfigured {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The key of the configuration file.
        key: &'static str,
        /// The flag.
        flag: &'static str,
        /// The environment variable.
        variable: &'static str,
    },
    /// A file can't be read, or holds something else.
    #[error("cannot read the TLS {what} from {}: {source} ({key} in [proxy]; --dev-mode needs no files)", path.display())]
    File {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The key of the configuration file.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file of certificates has none in it.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The key does not belong to the certificate, or is of a kind that is not known.
    #[error("certificate and private key do not go together: {0}")]
    Pair(#[source] rustls::Error),
    /// The certificate is no X.509 certificate that makes sense.
    #[error("the certificate cannot be understood")]
    Malformed,
    /// The new certificate's time is over, so the old one stays.
    #[error("the new certificate has expired")]
    Expired,
    /// The self-signed certificate can't be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The TLS policy makes no sense.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What `reload` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// New connections get the new certificate.
    Replaced,
    /// The files hold what they held.
    Unchanged,
}

enum Source {
    DevMode,
    Files { certificate: PathBuf, key: PathBuf },
}

struct Loaded {
    certified: Arc<CertifiedKey>,
    validity: Validity,
    spki_sha256: [u8; 32],
}

/// Hands the current certificate to every handshake.
struct Resolver(ArcSwap<Loaded>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

/// The certificate, and the TLS settings that show it. Shared by all workers, and with it their sessions: a client
/// resumes at any of them.
pub struct Store {
    source: Source,
    resolver: Arc<Resolver>,
    tls: Tls,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Reads or makes the certificate. Blocks on files.
    ///
    /// # Errors
    /// There is none that can be used, or the TLS policy makes no sense.
    pub fn open(config: &Config) -> Result<Self, CertError> {
        let source = source(config)?;
        let loaded = load(&source)?;
        if loaded.validity.not_after < SystemTime::now() {
            tracing::warn!("the TLS certificate has expired: clients will refuse it");
        } else if loaded.validity.not_before > SystemTime::now() {
            tracing::warn!("the TLS certificate is not valid yet: clients will refuse it");
        }
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(loaded)));
        let shown: Arc<dyn ResolvesServerCert> = Arc::<Resolver>::clone(&resolver);
        let tls = tls::build(&config.tls, config.quic.early_data, config.quic.enabled, &shown)?;
        Ok(Self { source, resolver, tls })
    }

    /// Reads the files again. Blocks; not for a worker's thread.
    ///
    /// # Errors
    /// The files hold nothing usable: the certificate stays as it was.
    pub fn reload(&self) -> Result<Reloaded, CertError> {
        let Source::Files { .. } = self.source else { return Ok(Reloaded::Unchanged) };
        let loaded = load(&self.source)?;
        if loaded.validity.not_after < SystemTime::now() {
            return Err(CertError::Expired);
        }
        if self.resolver.0.load().certified.cert == loaded.certified.cert {
            return Ok(Reloaded::Unchanged);
        }
        self.resolver.0.store(Arc::new(loaded));
        Ok(Reloaded::Replaced)
    }

    /// The files to watch; none in development mode.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        match &self.source {
            Source::DevMode => Vec::new(),
            Source::Files { certificate, key } => vec![certificate, key],
        }
    }

    /// When the certificate stops being valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.resolver.0.load().validity.not_after
    }

    /// SHA-256 of the certificate's public key (`SubjectPublicKeyInfo`): what browsers can be told to accept.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.resolver.0.load().spki_sha256
    }

    /// The certificate itself, in DER.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.resolver.0.load().certified.cert.first().cloned()
    }

    /// TLS settings of the listeners.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }
}

fn source(config: &Config) -> Result<Source, CertError> {
    match (&config.proxy.cert_path, &config.proxy.key_path) {
        (Some(certificate), Some(key)) => Ok(Source::Files { certificate: certificate.clone(), key: key.clone() }),
        (None, None) if config.proxy.dev_mode => Ok(Source::DevMode),
        (None, _) => Err(CertError::NotConfigured {
            what: "certificate",
            key: "cert_path",
            flag: "--cert-path",
            variable: "GPANEL_PROXY_CERT_PATH",
        }),
        (Some(_), None) => Err(CertError::NotConfigured {
            what: "private key",
            key: "key_path",
            flag: "--key-path",
            variable: "GPANEL_PROXY_KEY_PATH",
        }),
    }
}

fn load(source: &Source) -> Result<Loaded, CertError> {
    let (chain, key) = match source {
        Source::DevMode => self_signed()?,
        Source::Files { certificate, key } => read(certificate, key)?,
    };
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(CertError::Pair)?;
    let spki = key.public_key().ok_or(CertError::Malformed)?;
    let spki_sha256 = Sha256::digest(spki.as_ref()).into();
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(CertError::Pair)?;
    let validity = certified.cert.first().and_then(|leaf| validity::of(leaf)).ok_or(CertError::Malformed)?;
    Ok(Loaded { certified: Arc::new(certified), validity, spki_sha256 })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(certificate: &Path, key: &Path) -> Result<Pair, CertError> {
    let unreadable =
        |source| CertError::File { what: "certificate", key: "cert_path", path: certificate.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(CertError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| CertError::File {
        what: "private key",
        key: "key_path",
        path: key.to_owned(),
        source,
    })?;
    Ok((chain, key))
}

/// ECDSA P-256, valid from yesterday for a year: some clients refuse what lasts longer than 398 days.
fn self_signed() -> Result<Pair, CertError> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(DEV_NAMES.map(str::to_owned))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "gpanel-proxy development");
    let now = SystemTime::now();
    let (year, month, day) = validity::civil(now - DAY);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = validity::civil(now + 365 * DAY);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    Ok((vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}
