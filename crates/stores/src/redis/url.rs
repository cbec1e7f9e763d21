//! Redis URLs, also for several servers.

use redis::{ConnectionInfo, IntoConnectionInfo, TlsMode, sentinel::SentinelNodeConnectionInfo};

use super::KIND;
use crate::ConnectError;

const EXAMPLE: &str = "redis://user:password@host:6379/0, redis-sentinel://host,host/0?master=NAME or redis-cluster://host,host";

/// Where a URL leads.
pub(super) enum Target {
    Server(ConnectionInfo),
    Sentinel { nodes: Vec<ConnectionInfo>, master: String, node: SentinelNodeConnectionInfo },
    Cluster(Vec<ConnectionInfo>),
}

pub(super) fn parse(url: &str) -> Result<Target, ConnectError> {
    read(url).map_err(|reason| ConnectError::Url { kind: KIND, reason, example: EXAMPLE })
}

fn read(url: &str) -> Result<Target, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
    let plain = match scheme.split('-').next().unwrap_or(scheme) {
        "redis" | "valkey" => "redis",
        "rediss" | "valkeys" => "rediss",
        _ => return Err("its scheme is none of Redis's".to_owned()),
    };
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let kind = scheme.split_once('-').map(|(_, kind)| kind);
    check_parameters(query, kind)?;
    let of = |user: &str, host: &str| info(&format!("{plain}://{user}{host}/{database}"));
    match kind {
        None => {
            let query = if query.is_empty() { String::new() } else { format!("?{query}") };
            info(&format!("{plain}://{user}{hosts}/{database}{query}")).map(Target::Server)
        }
        Some("cluster") => {
            hosts.split(',').map(|host| of(&user, host)).collect::<Result<_, _>>().map(Target::Cluster)
        }
        Some("sentinel") => {
            let master = query.strip_prefix("master=").filter(|name| !name.is_empty());
            let master = master.ok_or("it does not say which master: ?master=NAME")?.to_owned();
            // The sentinels' own port, and without the servers' password.
            let sentinel = |host: &str| {
                let port = if host.contains(':') { "" } else { ":26379" };
                info(&format!("{plain}://{host}{port}/"))
            };
            let nodes = hosts.split(',').map(sentinel).collect::<Result<_, _>>()?;
            let server = of(&user, "unknown")?;
            let node = SentinelNodeConnectionInfo::default()
                .set_redis_connection_info(server.redis_settings().clone());
            let node = if plain == "rediss" { node.set_tls_mode(TlsMode::Secure) } else { node };
            Ok(Target::Sentinel { nodes, master, node })
        }
        Some(_) => Err("its scheme is none of Redis's".to_owned()),
    }
}

/// The driver skips what it does not know, so a misspelt option would do nothing.
fn check_parameters(query: &str, kind: Option<&str>) -> Result<(), String> {
    let known = match kind {
        None => "protocol",
        Some("sentinel") => "master",
        Some(_) => "",
    };
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut names = query.split('&').filter(|pair| !pair.is_empty()).map(name);
    match names.find(|name| name != known) {
        None => Ok(()),
        Some(name) => Err(format!("it has no parameter {name:?} here")),
    }
}

/// The driver's own parser; what it says could repeat the password.
fn info(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|_| "host, port or database number make no sense".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_sentinels_and_clusters_are_told_apart() {
        let addresses = |nodes: &[ConnectionInfo]| {
            nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(" ")
        };
        for (url, expected) in [
            ("redis://u:p%40w@h:1/2", "h:1"),
            ("rediss://h", "h:6379"),
            ("redis://h/?protocol=resp3", "h:6379"),
            ("valkey://h:7", "h:7"),
            ("redis-cluster://u:pw@a:1,b", "a:1 b:6379"),
            ("redis-sentinel://u:pw@a,b:5/3?master=m", "a:26379 b:5"),
        ] {
            let nodes = match read(url).unwrap() {
                Target::Server(node) => addresses(&[node]),
                Target::Sentinel { nodes, .. } | Target::Cluster(nodes) => addresses(&nodes),
            };
            assert_eq!(nodes, expected, "{url}");
        }
        for url in [
            "redis:h",
            "mongodb://h",
            "redis-ring://h",
            "redis-sentinel://h",
            "redis://h:x/",
            "redis-cluster://a,b:x",
            "redis://h/?protcol=resp3",
            "redis://h/?timeout=5",
            "redis-cluster://a,b?master=m",
            "redis-sentinel://a?master=m&quorum=2",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
