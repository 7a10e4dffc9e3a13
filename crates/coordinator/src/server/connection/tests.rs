use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const LIMITS: Limits = Limits {
    handshake: Duration::from_secs(1),
    header: Duration::from_secs(5),
    body_stall: Duration::from_secs(1),
    body_total: Duration::from_secs(1),
    idle: Duration::from_secs(20),
    shutdown: Duration::from_secs(3),
    answer_stall: Duration::from_secs(30),
    connections: 1,
    body_memory: 1,
    answer_memory: 1,
};

/// Serves a pipe with answers that take `work`.
fn start(protocol: Protocol, work: Duration) -> (DuplexStream, watch::Sender<bool>, JoinHandle<()>) {
    start_with(protocol, work, Bytes::from_static(b"answer"))
}

fn start_with(protocol: Protocol, work: Duration, said: Bytes) -> (DuplexStream, watch::Sender<bool>, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (stopping, stop) = watch::channel(false);
    let serving = tokio::spawn(async move {
        let service = move |_request: Request<Incoming>| {
            let said = said.clone();
            async move {
                sleep(work).await;
                Response::new(Full::new(said))
            }
        };
        serve(far, protocol, &LIMITS, stop, service).await;
    });
    (near, stopping, serving)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn answer(stream: &mut DuplexStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("answer") && stream.read(&mut byte).await.unwrap() > 0 {
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_many_requests() {
    let (mut client, _stopping, serving) = start(Protocol::Http1, Duration::ZERO);
    for _ in 0..3 {
        client.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 OK"));
    }
    drop(client);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_header_that_trickles_in_is_cut_off() {
    let (mut client, _stopping, serving) = start(Protocol::Http1, Duration::ZERO);
    let started = Instant::now();
    // Bytes move all the time, so only the limit for the header can end this.
    while client.write_all(b"G").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    serving.await.unwrap();
    assert!(started.elapsed() <= LIMITS.header + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (client, _stopping, serving) = start(protocol, Duration::ZERO);
        let started = Instant::now();
        serving.await.unwrap();
        assert!(started.elapsed() <= LIMITS.idle + LIMITS.shutdown + Duration::from_secs(1), "{protocol:?}");
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_and_does_not_read_is_not_waited_for() {
    let large = Bytes::from(vec![b'x'; 1024 * 1024]);
    let (mut client, _stopping, serving) = start_with(Protocol::Http1, Duration::ZERO, large.clone());
    let started = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    // More of it keeps something moving.
    while client.write_all(b"G").await.is_ok() && !serving.is_finished() {
        sleep(Duration::from_secs(1)).await;
    }
    serving.await.unwrap();
    assert!(started.elapsed() <= LIMITS.answer_stall + Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(large.is_unique(), "what was not sent is freed");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_not_idleness() {
    let (mut client, _stopping, _serving) = start(Protocol::Http1, LIMITS.idle * 3);
    client.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut client).await.ends_with("answer"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_answer_in_progress_finish() {
    let (mut client, stopping, serving) = start(Protocol::Http1, Duration::from_secs(2));
    client.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    stopping.send(true).unwrap();
    let text = answer(&mut client).await;
    assert!(text.ends_with("answer") && text.to_lowercase().contains("connection: close"), "{text}");
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let (mut client, stopping, serving) = start(Protocol::Http1, Duration::from_secs(1000));
    client.write_all(REQUEST).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    stopping.send(true).unwrap();
    serving.await.unwrap();
    assert!(started.elapsed() <= LIMITS.shutdown + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_those_who_ask_nothing() {
    let half_a_header: &[u8] = b"GET / HT";
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (protocol, sent) in [
        (Protocol::Http1, &b""[..]),
        (Protocol::Http1, half_a_header),
        (Protocol::Http2, &b""[..]),
        (Protocol::Http2, preface),
    ] {
        let (mut client, stopping, serving) = start(protocol, Duration::ZERO);
        client.write_all(sent).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        stopping.send(true).unwrap();
        serving.await.unwrap();
        assert!(started.elapsed() <= FAREWELL * 2, "{protocol:?} {sent:?}: {:?}", started.elapsed());
    }
}
