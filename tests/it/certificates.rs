//! Certificates: made in memory in development mode, required otherwise, reloaded when their files change.

use std::fs;
use std::time::Duration;

use harness::certificate::{replace, write_certificate};
use harness::client::Protocol;
use harness::{Origin, Proxy, eventually};

const TLS: [Protocol; 3] = [Protocol::H1Tls, Protocol::H2, Protocol::H3];

#[tokio::test]
async fn the_certificate_of_the_files_is_shown() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().certificate_files().backend("app", app.address()).start().await;
    let certificate = pem(&fs::read_to_string(proxy.folder().join("edge.crt")).unwrap());
    for protocol in TLS {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/").await.status, 200, "{protocol:?}");
        assert_eq!(client.certificate(), Some(certificate.clone()), "{protocol:?}");
    }
}

fn pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn new_files_are_taken_and_connections_go_on() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().certificate_files().backend("app", app.address()).start().await;
    let mut kept = Vec::new();
    for protocol in TLS {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/").await.status, 200, "{protocol:?}");
        kept.push(client);
    }
    let old = kept[0].certificate().unwrap();
    let new = write_certificate(proxy.folder());
    assert_ne!(old, new.der);
    for protocol in TLS {
        eventually(Duration::from_secs(15), &format!("{protocol:?} shows the new certificate"), || async {
            (proxy.client(protocol).await.certificate().as_ref() == Some(&new.der)).then_some(())
        })
        .await;
    }
    for mut client in kept {
        assert_eq!(client.get("/").await.status, 200, "{:?}: the running connection goes on", client.protocol());
    }
}

#[tokio::test]
async fn bad_files_are_refused_and_the_old_certificate_serves() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().certificate_files().backend("app", app.address()).start().await;
    let certificate = proxy.folder().join("edge.crt");
    let good = fs::read(&certificate).unwrap();
    let other = tempfile::tempdir().unwrap();
    let unmatched = fs::read(write_certificate(other.path()).certificate).unwrap();
    for (name, content) in
        [("garbage", b"nothing".to_vec()), ("half", good[..good.len() / 2].to_vec()), ("unmatched", unmatched)]
    {
        let refused = || async {
            let labels = [("kind", "certs"), ("result", "refused")];
            proxy.metrics().await.sum("gpanel_proxy_reloads_total", &labels)
        };
        let before = refused().await;
        replace(&certificate, &content);
        eventually(Duration::from_secs(15), &format!("{name}: refused"), || async {
            (refused().await > before).then_some(())
        })
        .await;
        for protocol in TLS {
            let mut client = proxy.client(protocol).await;
            assert_eq!(
                client.certificate(),
                Some(pem(std::str::from_utf8(&good).unwrap())),
                "{name} over {protocol:?}"
            );
            assert_eq!(client.get("/").await.status, 200, "{name} over {protocol:?}");
        }
        let ready = proxy.admin("/ready").await;
        assert!(ready.status == 200 && ready.text().contains("refused"), "{name}: {}", ready.text());
    }
}

#[tokio::test]
async fn development_certificates_are_for_localhost() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut shown = Vec::new();
    for protocol in TLS {
        let der = proxy.client(protocol).await.certificate().unwrap();
        assert!(harness::strict::find(&der, b"localhost").is_some(), "{protocol:?}");
        assert!(
            harness::strict::find(&der, &[0x87, 4, 127, 0, 0, 1]).is_some(),
            "{protocol:?}: 127.0.0.1 as an address"
        );
        let mut six = vec![0x87, 16];
        six.extend(std::net::Ipv6Addr::LOCALHOST.octets());
        assert!(harness::strict::find(&der, &six).is_some(), "{protocol:?}: ::1 as an address");
        shown.push(der);
    }
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "the listeners show different certificates");
}

#[tokio::test]
async fn tls_versions() {
    use tokio_rustls::TlsConnector;
    let app = Origin::start("app").await;
    for (config, tls12) in [
        ("", true),
        ("[security.network]\nmin_tls_version = \"1.2\"", true),
        ("[security.network]\nmin_tls_version = \"1.3\"", false),
    ] {
        let proxy = Proxy::builder().config(config).backend("app", app.address()).start().await;
        let (mut client, _) = harness::certificate::trusting_client(&[b"http/1.1"]);
        let only12 = rustls::ClientConfig::builder_with_provider(client.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(harness::certificate::witness())
            .with_no_client_auth();
        client = only12;
        let stream = tokio::net::TcpStream::connect(proxy.address(Protocol::H2)).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let worked = TlsConnector::from(std::sync::Arc::new(client)).connect(name, stream).await.is_ok();
        if !config.is_empty() {
            assert_eq!(worked, tls12, "{config}");
        }
    }
}
