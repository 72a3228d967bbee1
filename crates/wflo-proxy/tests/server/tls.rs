//! A certificate that is renewed while the gateway serves.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use wflo_core::error::Coded as _;
use wflo_proxy::Config;

use crate::world::{Setup, World, file, over1};

async fn shown(world: &World) -> CertificateDer<'static> {
    let stream = world.secured(b"http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn new_connections_get_the_certificate_that_is_there_when_it_is_read_anew() {
    let world = World::with(Setup { tls: true, ..Setup::default() }).await;
    let [first, renewed] =
        ["cert.pem", "renewed.pem"].map(|name| CertificateDer::from_pem_file(file(name)).unwrap());
    let put = |from: &str, to: &str| {
        std::fs::copy(file(from), world.dir.path().join(to)).unwrap();
    };
    let renew = || world.server.renew_certificate();
    assert!(!renew().unwrap(), "it is the same");
    let before = world.secured(b"http/1.1").await;
    put("renewed.pem", "cert.pem");
    // Half of a renewal changes nothing.
    let refused = renew().unwrap_err();
    assert_eq!(refused.code().0, 4071);
    assert!(refused.to_string().contains("is not the private key of"), "{refused}");
    assert_eq!(shown(&world).await, first);
    // And keeps nobody from other settings.
    let config = Config { routes: world.routes.clone(), ..Config::default() };
    world.server.reload(config).await.unwrap();
    assert_eq!(shown(&world).await, first);
    put("renewed-key.pem", "key.pem");
    assert!(renew().unwrap());
    assert_eq!(shown(&world).await, renewed);
    // Connections from before go on.
    assert_eq!(over1(before).await, http::StatusCode::OK);
    put("cert.pem", "key.pem");
    let refused = renew().unwrap_err();
    assert!(refused.to_string().contains("holds no private key"), "{refused}");
    assert_eq!(shown(&world).await, renewed);
}
