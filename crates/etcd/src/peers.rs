//! Where the other Coordinators are: each puts its address under its boot id, for as long as it lives.

use std::time::Duration;

use tonic::Status;

use crate::connection::{Connection, READING, WRITING};
use crate::keys::Keys;
use crate::requests::{all, found, put_while, unconditional};
use crate::wire::lease_client::LeaseClient;
use crate::wire::{LeaseGrantRequest, LeaseKeepAliveRequest};

/// How long an address stays after its Coordinator was heard of last. For discovery only: nothing relies on it.
const LIFE: i64 = 30;
const RENEWING: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn addresses(connection: &Connection, keys: &Keys) -> Result<Vec<String>, Status> {
    let answer = connection.send(unconditional(vec![all(keys.peers())]), READING).await?;
    let values = found(answer).into_iter().flatten();
    let mut addresses: Vec<String> =
        values.filter_map(|value| String::from_utf8(value.value).ok()).filter(|text| is_address(text)).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Says where this process is, again and again.
pub(crate) async fn announce(connection: &Connection, keys: &Keys, address: &str) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match once(connection, keys, address, &mut pause).await {
            Ok(()) => {}
            Err(status) => {
                connection.turn();
                tracing::debug!(%status, "this Coordinator's address is not known to etcd");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RENEWING);
    }
}

async fn once(connection: &Connection, keys: &Keys, address: &str, pause: &mut Duration) -> Result<(), Status> {
    let lease = grant(connection).await?;
    let announcement = put_while(keys.peer(connection.config().boot), address.as_bytes().to_vec(), lease);
    connection.send(unconditional(vec![announcement]), WRITING).await?;
    *pause = SHORTEST_PAUSE;
    loop {
        tokio::time::sleep(RENEWING).await;
        if !renew(connection, lease).await? {
            return Ok(());
        }
    }
}

async fn grant(connection: &Connection) -> Result<i64, Status> {
    let request = LeaseGrantRequest { ttl: LIFE, id: 0 };
    let mut client = client(connection)?;
    let granted = within(client.lease_grant(request)).await?;
    if granted.error.is_empty() { Ok(granted.id) } else { Err(Status::unknown(granted.error)) }
}

/// False if the lease is over.
async fn renew(connection: &Connection, lease: i64) -> Result<bool, Status> {
    let mut client = client(connection)?;
    let requests = tokio_stream::iter([LeaseKeepAliveRequest { id: lease }]);
    let mut answers = within(client.lease_keep_alive(requests)).await?;
    let answer = tokio::time::timeout(READING, answers.message()).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("no answer"))??;
    Ok(answer.is_some_and(|answer| answer.ttl > 0))
}

/// Takes the address back, if etcd hears of it; else its lease ends.
pub(crate) async fn withdraw(connection: &Connection, keys: &Keys) -> Result<(), Status> {
    let key = keys.peer(connection.config().boot);
    connection.send(unconditional(vec![crate::requests::delete(key)]), READING).await.map(drop)
}

fn client(connection: &Connection) -> Result<LeaseClient<tonic::transport::Channel>, Status> {
    let channel = connection.channel().map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(LeaseClient::new(channel))
}

async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(READING, call).await;
    answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))).map(tonic::Response::into_inner)
}

/// What anyone with access may have put there is asked for a connection, so it is `host:port` and short.
fn is_address(text: &str) -> bool {
    let fits = |host: &str, port: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']');
        !host.is_empty() && host.chars().all(inside) && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    text.len() < 300 && text.rsplit_once(':').is_some_and(|(host, port)| fits(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_taken_for_addresses() {
        for good in ["10.0.0.1:5433", "[fd00::1]:5433", "a-b.example.com:1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ":1", "a:0", "a:65536", "a", "a b:1", "a/b:1", "a\n:1", &format!("{}:1", "a".repeat(300))] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
