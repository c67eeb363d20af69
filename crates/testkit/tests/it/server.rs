use std::time::Duration;

use secretscan_testkit::{TestServer, eventually};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_killed_server_comes_back_under_the_same_url() {
    let mut server = TestServer::start().await.unwrap();
    let url = server.url();
    let address = url.strip_prefix("nats://").unwrap();
    TcpStream::connect(address).await.unwrap();
    server.kill().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    server.restart().await.unwrap();
    TcpStream::connect(address).await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);

    drop(server);
    let address = address.to_owned();
    let gone = async || TcpStream::connect(&address).await.err();
    eventually(Duration::from_secs(5), "the dropped server is gone", gone).await;
}
