//! Certificates: missing, wrong, replaced under running connections; and the TLS policy.

use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::listener::certs::{CertError, Reloaded};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gpanel-proxy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pair(name: &str, until: i32) -> (String, String, CertificateDer<'static>) {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem(), certificate.der().clone())
}

fn with_files(certificate: &Path, key: &Path) -> Config {
    let mut config = config(1);
    config.proxy.dev_mode = false;
    config.proxy.cert_path = Some(certificate.to_owned());
    config.proxy.key_path = Some(key.to_owned());
    config
}

#[test]
fn without_files_the_error_says_what_to_do() {
    let mut config = config(1);
    config.proxy.dev_mode = false;
    let error = Store::open(&config).unwrap_err().to_string();
    for hint in ["cert_path", "--cert-path", "GPANEL_PROXY_CERT_PATH", "--dev-mode"] {
        assert!(error.contains(hint), "{error}");
    }
    config.proxy.cert_path = Some("/nowhere/cert.pem".into());
    assert!(Store::open(&config).unwrap_err().to_string().contains("key_path"));
    config.proxy.key_path = Some("/nowhere/key.pem".into());
    let error = Store::open(&config).unwrap_err().to_string();
    assert!(error.contains("/nowhere/cert.pem"), "{error}");
}

#[tokio::test]
async fn files_are_replaced_under_running_connections_and_bad_ones_are_not_taken() {
    let folder = Folder::new("certs");
    let (old_certificate, old_key, old) = pair("localhost", 2060);
    let certificate = folder.write("cert.pem", &old_certificate);
    let key = folder.write("key.pem", &old_key);
    let running = start(&with_files(&certificate, &key), Stub::echo());
    let connect = async |trusted: CertificateDer<'static>| {
        let stream = TcpStream::connect(running.addresses.tls).await.unwrap();
        let connector = TlsConnector::from(Arc::new(trusting(trusted, &[b"h2"])));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    };
    let mut before = connect(old.clone()).await.unwrap();
    assert_eq!(running.certs.reload().unwrap(), Reloaded::Unchanged);

    let (new_certificate, new_key, new) = pair("localhost", 2061);
    folder.write("cert.pem", &new_certificate);
    assert!(matches!(running.certs.reload(), Err(CertError::Pair(_))), "the key is still the old one");
    folder.write("cert.pem", &new_certificate[..new_certificate.len() / 2]);
    assert!(matches!(running.certs.reload(), Err(CertError::File { .. } | CertError::Empty(_))), "half a file");
    let (expired, expired_key, _) = pair("localhost", 2001);
    folder.write("cert.pem", &expired);
    folder.write("key.pem", &expired_key);
    assert!(matches!(running.certs.reload(), Err(CertError::Expired)));
    assert!(connect(old.clone()).await.is_ok(), "the old one goes on");

    let spki = running.certs.spki_sha256();
    folder.write("cert.pem", &new_certificate);
    folder.write("key.pem", &new_key);
    assert_eq!(running.certs.reload().unwrap(), Reloaded::Replaced);
    assert_ne!(running.certs.spki_sha256(), spki);
    assert!(connect(new).await.is_ok());
    assert!(connect(old).await.is_err());
    // The first connection still gets the server's SETTINGS.
    assert!(before.read_u8().await.is_ok());
}

#[tokio::test]
async fn cipher_suites_without_aes_128_still_serve_quic() {
    let mut config = config(1);
    config.tls.cipher_suites = vec!["TLS_AES_256_GCM_SHA384".into(), "TLS_CHACHA20_POLY1305_SHA256".into()];
    config.tls.allow_tls12 = false;
    let running = start(&config, Stub::echo());
    let (status, body) = http3::get(&running, "/").await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, &b"ok"[..]));

    config.tls.cipher_suites = vec!["TLS_NULL".into()];
    assert!(Store::open(&config).unwrap_err().to_string().contains("TLS_NULL"));
}
