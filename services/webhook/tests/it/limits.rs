//! What a client may cost.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, DEADLINE, Delivery, answer};
use crate::fixture::{Fixture, secrets};
use crate::payloads::{self, NONE, id};

fn push(number: u64) -> Delivery {
    let payload = payloads::github("refs/heads/main", NONE, &id(number));
    Delivery::github(&secrets().0, &number.to_string(), &payload)
}

/// Sends a request byte by byte for as long as it is let, and gives the answer; status 0 when there is none.
async fn dribble(mut stream: TcpStream, bytes: Vec<u8>) -> Answer {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let (mut reading, mut writing) = stream.split();
    let write = async {
        for byte in bytes {
            pace.tick().await;
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = answer(&mut reading) => answered,
        () = write => unreachable!("it waits for ever"),
    }
}

#[tokio::test]
async fn slow_clients_hold_their_connections_for_no_longer_than_they_may() {
    let webhook = Fixture::start_with(|config| {
        config.webhook.header_timeout_s = 1.try_into().unwrap();
        config.webhook.body_timeout_s = 1.try_into().unwrap();
        config.webhook.max_connections = 3.try_into().unwrap();
    })
    .await;
    let connect = async || TcpStream::connect(webhook.address).await.unwrap();
    let head = push(1).bytes();
    let end = head.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (slow_head, mut slow_body, mut silent) = (connect().await, connect().await, connect().await);
    slow_body.write_all(&head[..end]).await.unwrap();
    let body = head[end..].to_vec();
    // All slots are taken: an honest delivery waits until they are free, and comes through.
    let (head, body, silent, honest) = tokio::join!(
        dribble(slow_head, head),
        dribble(slow_body, body),
        async { silent.read(&mut [0]).await },
        async { webhook.send(&push(2)).await },
    );
    assert_eq!(head.status, 0, "closed: {}", head.head);
    assert_eq!(body.status, 408, "{}", body.body);
    assert!(body.head.contains("connection: close"), "{}", body.head);
    assert!(matches!(silent, Ok(0) | Err(_)), "closed");
    assert_eq!(honest.status, 202);
    assert_eq!(webhook.count().await, 1);
    webhook.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_and_one_that_goes_on_for_ever_are_let_go() {
    let webhook = Fixture::start_with(|config| {
        config.webhook.header_timeout_s = 1.try_into().unwrap();
        config.webhook.body_timeout_s = 1.try_into().unwrap();
        config.webhook.store_timeout_s = 1.try_into().unwrap();
        config.webhook.connection_age_s = 1.try_into().unwrap();
        config.webhook.max_connections = 1.try_into().unwrap();
    })
    .await;
    let stream = TcpStream::connect(webhook.address).await.unwrap();
    let (_reading, mut writing) = stream.into_split();
    let flood = b"POST /hooks/github HTTP/1.1\r\nHost: w\r\nContent-Length: 0\r\n\r\n".repeat(1_000);
    let flooding = tokio::spawn(async move { while writing.write_all(&flood).await.is_ok() {} });
    assert_eq!(webhook.status(&push(1)).await, 202, "its turn comes");
    tokio::time::timeout(DEADLINE, flooding).await.expect("it is let go").unwrap();
    webhook.stop().await;
}

#[tokio::test]
async fn a_body_is_bounded_and_so_are_heads_and_connections_of_an_address() {
    let webhook = Fixture::start_with(|config| {
        config.webhook.max_body_bytes = 4_096.try_into().unwrap();
        config.webhook.max_connections_per_address = 2;
    })
    .await;
    let mut large = push(1);
    large.body.resize(4_097, b' ');
    let answer_to_large = webhook.send(&large).await;
    assert_eq!(answer_to_large.status, 413);
    assert!(answer_to_large.body.contains("4096"), "{}", answer_to_large.body);

    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "POST /hooks/github HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n";
    let signature = format!("X-Hub-Signature-256: sha256={}\r\n\r\n", "0".repeat(64));
    let mut stream = TcpStream::connect(webhook.address).await.unwrap();
    stream.write_all(format!("{head}{signature}{chunk}{chunk}").as_bytes()).await.unwrap();
    assert_eq!(answer(stream).await.status, 413, "without a length, too");

    let long = push(1).with("X-Long", &"x".repeat(64 * 1024));
    assert_eq!(webhook.status(&long).await, 431);
    let mut many = push(1);
    many.headers.extend((0..100).map(|number| (format!("X-{number}"), "x".to_owned())));
    assert_eq!(webhook.status(&many).await, 431);

    let connect = async || TcpStream::connect(webhook.address).await.unwrap();
    let (_one, _two, mut three) = (connect().await, connect().await, connect().await);
    assert!(matches!(three.read(&mut [0]).await, Ok(0) | Err(_)), "the third is closed");
    webhook.stop().await;
}
