//! The API server: is it there, is it new enough, does its clock agree with ours?

use http::Request;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::version::Info;

use super::super::cluster::{Cluster, plain};
use super::finding::Finding;

/// The oldest minor version of 1 that the chart installs on.
const OLDEST: u32 = 21;
/// From here on certificates and evidence begin to be refused.
const FAR_OFF: SignedDuration = SignedDuration::from_mins(5);
/// A clock that is set by network time is nearer.
const OFF: SignedDuration = SignedDuration::from_secs(30);

/// Answers also whether it was reached at all.
pub async fn examine(cluster: &Cluster) -> (Vec<Finding>, bool) {
    let version = match cluster.client.apiserver_version().await {
        Ok(version) => version,
        Err(error) => {
            let text = format!("{}: {}", cluster.server, plain(error));
            let advice = "see kubeconfig, network and credentials: kubectl cluster-info";
            return (vec![Finding::fail("cluster", text, advice)], false);
        }
    };
    let mut findings = vec![judge_version(&version, &cluster.server)];
    findings.push(clock(cluster).await);
    (findings, true)
}

fn judge_version(version: &Info, server: &str) -> Finding {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let text = format!("Kubernetes {} at {server}", version.git_version);
    match (number(&version.major), number(&version.minor)) {
        (Some(1), Some(minor)) if minor < OLDEST => {
            Finding::fail("cluster", text, format!("MarbleRun needs Kubernetes 1.{OLDEST} or newer"))
        }
        _ => Finding::ok("cluster", text),
    }
}

async fn clock(cluster: &Cluster) -> Finding {
    let Ok(request) = Request::get("/version").body(kube::client::Body::empty()) else {
        return Finding::unseen("clock", "no request could be made");
    };
    let before = Timestamp::now();
    let answer = match cluster.client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return Finding::unseen("clock", &plain(error).to_string()),
    };
    let after = Timestamp::now();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    match date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
        Some(date) => judge_clock(before, date.timestamp(), after),
        None => Finding::unseen("clock", "the API server does not tell the time"),
    }
}

/// The server answered between `before` and `after`, and cuts its time to whole seconds.
fn judge_clock(before: Timestamp, server: Timestamp, after: Timestamp) -> Finding {
    let ahead = server.duration_since(after);
    let behind = before.duration_since(server) - SignedDuration::from_secs(1);
    let off = ahead.max(behind).max(SignedDuration::ZERO);
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let text = format!("the API server's clock is {} s {direction} this machine's", off.as_secs());
    let advice = "set both by network time; certificates and evidence are refused where clocks differ";
    if off >= FAR_OFF {
        Finding::fail("clock", text, advice)
    } else if off >= OFF {
        Finding::warn("clock", text, advice)
    } else {
        Finding::ok("clock", "the API server's clock and this machine's agree")
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn an_old_cluster_is_refused_and_a_vendors_version_is_understood() {
        let level = |major: &str, minor: &str| {
            let info = Info { major: major.to_owned(), minor: minor.to_owned(), ..Info::default() };
            judge_version(&info, "s").level
        };
        assert_eq!(level("1", "20"), Level::Fail);
        assert_eq!(level("1", "21+"), Level::Ok);
        assert_eq!(level("1", "36"), Level::Ok);
        assert_eq!(level("", ""), Level::Ok);
    }

    #[test]
    fn a_slow_answer_is_no_wrong_clock_and_a_wrong_clock_is_known_both_ways() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let level = |before, server, after| judge_clock(at(before), at(server), at(after)).level;
        assert_eq!(level(0, 0, 0), Level::Ok);
        assert_eq!(level(0, 5, 50), Level::Ok);
        assert_eq!(level(0, 45, 0), Level::Warn);
        assert_eq!(level(45, 0, 45), Level::Warn);
        assert_eq!(level(0, 400, 0), Level::Fail);
        let behind = judge_clock(at(400), at(0), at(400));
        assert_eq!(behind.level, Level::Fail);
        assert!(behind.text.contains("399 s behind"), "{}", behind.text);
    }
}
