//! What strangers can take up, with limits that let a test be quick.

use std::net::SocketAddr;
use std::time::Duration;

use marblerun_injector::server::{Limits, Server, Stop};
use marblerun_injector::settings::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::certificate::{MountedSecret, Pair};
use crate::client::{Kept, connect, health, mutate, send, voting};

const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

struct Running {
    address: SocketAddr,
    pair: Pair,
    stop: oneshot::Sender<Stop>,
    server: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let pair = Pair::new("webhook");
    let secret = MountedSecret::new(&pair);
    let path = |name| secret.path(name).into_os_string();
    let arguments = ["marblerun-injector", "-listen=127.0.0.1:0", "-tlsCertFile"].map(Into::into);
    let arguments = arguments.into_iter().chain([path("tls.crt"), "-tlsKeyFile".into(), path("tls.key")]);
    let server = Server::bind(Settings::read(arguments, |_| None).unwrap(), limits).await.unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        // The files of the certificate are there as long as it serves.
        let _secret = secret;
        server.run(async { stopped.await.unwrap() }).await;
    });
    Running { address, pair, stop, server }
}

/// Waits until the server hangs up.
async fn hangs_up(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it does not hang up");
}

#[tokio::test]
async fn who_says_nothing_or_half_of_something_is_not_waited_for() {
    let limits = Limits { handshake: SHORT, header: SHORT, body: SHORT, ..Limits::default() };
    let running = start(limits).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    hangs_up(&mut silent).await;
    let mut half_header = connect(running.address, &[&running.pair], b"http/1.1").await.unwrap();
    half_header.write_all(b"POST /mutate HTTP/1.1\r\nHost:").await.unwrap();
    hangs_up(&mut half_header).await;
    let mut half_body = connect(running.address, &[&running.pair], b"http/1.1").await.unwrap();
    let head = b"POST /mutate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    half_body.write_all(head).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, half_body.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(send(running.address, &running.pair, health(running.address)).await.0.as_u16(), 200);
}

#[tokio::test]
async fn a_connection_grows_old_and_is_ended_with_the_next_one_served() {
    let running = start(Limits { age: SHORT, ..Limits::default() }).await;
    let mut kept = Kept::open(running.address, &running.pair).await;
    let (status, _) = kept.send(mutate(running.address, &voting())).await;
    assert_eq!(status.as_u16(), 200);
    timeout(PATIENCE, async {
        while kept.0.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is not ended");
    let mut next = Kept::open(running.address, &running.pair).await;
    assert_eq!(next.send(mutate(running.address, &voting())).await.0.as_u16(), 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_there_is_room() {
    let running = start(Limits { connections: 1, ..Limits::default() }).await;
    let first = Kept::open(running.address, &running.pair).await;
    let (address, pair) = (running.address, running.pair.clone());
    let second = tokio::spawn(async move { send(address, &pair, health(address)).await });
    tokio::time::sleep(SHORT).await;
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap().0.as_u16(), 200);
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_the_end() {
    let running = start(Limits::default()).await;
    let mut slow = connect(running.address, &[&running.pair], b"http/1.1").await.unwrap();
    let head = b"POST /mutate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    slow.write_all(head).await.unwrap();
    // Its head has been read once another one, begun later, is answered.
    assert_eq!(send(running.address, &running.pair, health(running.address)).await.0.as_u16(), 200);
    running.stop.send(Stop::AtOnce).unwrap();
    timeout(PATIENCE, async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it goes on listening");
    slow.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    let _ = timeout(PATIENCE, slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("empty admission request"), "{answer}");
    timeout(PATIENCE, running.server).await.expect("it does not end").unwrap();
}
