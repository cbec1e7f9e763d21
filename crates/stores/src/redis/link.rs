//! The way to Redis: one connection for all requests, made anew when it breaks.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion,
    RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    sentinel::{Sentinel, SentinelNodeConnectionInfo},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{KIND, url::Target};
use crate::ConnectError;

/// Clones share the connection.
#[derive(Clone)]
pub(super) struct Link {
    inner: Arc<Inner>,
    timeout: Duration,
}

enum Inner {
    Server { dial: Dial, open: Mutex<Open> },
    Cluster { client: ClusterClient, open: Mutex<Option<ClusterConnection>>, node: Box<ConnectionInfo> },
}

/// Where the server is found.
enum Dial {
    Address(Client),
    /// Whoever Sentinel says is the master now.
    Sentinel {
        sentinel: Mutex<Sentinel>,
        master: String,
        node: SentinelNodeConnectionInfo,
    },
}

/// The connection in use. The number tells it from those before it.
#[derive(Default)]
struct Open {
    connection: Option<MultiplexedConnection>,
    number: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    #[error("a part of the work broke down")]
    Task,
}

impl Failure {
    /// The connection was dead before the command left, or died under it.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Redis(error) if !error.is_timeout() && (error.is_connection_dropped() || error.is_io_error()))
    }

    pub(super) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }

    /// There is no code for it but the sentence.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Redis(error) if error.to_string().contains("unknown command"))
    }

    /// Another connection may do better: this one is dead, hangs, or leads to a server that is no master any more.
    fn is_reason_to_redial(&self) -> bool {
        match self {
            Self::Redis(error) => {
                use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
                let demoted =
                    [ReadOnly, MasterDown, BusyLoading].map(ErrorKind::Server).contains(&error.kind());
                demoted || error.is_unrecoverable_error() || error.is_timeout() || self.is_lost()
            }
            Self::Timeout(_) => true,
            Self::Task => false,
        }
    }
}

impl Dial {
    async fn client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Address(client) => Ok(client.clone()),
            Self::Sentinel { sentinel, master, node } => {
                sentinel.lock().await.async_master_for(master, Some(node)).await
            }
        }
    }
}

impl Link {
    pub(super) fn new(target: Target, timeout: Duration) -> Result<Self, ConnectError> {
        let refused =
            |error: RedisError| ConnectError::Unreachable { kind: KIND, source: error.to_string().into() };
        let server = |dial| Inner::Server { dial, open: Mutex::default() };
        let inner = match target {
            Target::Server(info) => server(Dial::Address(Client::open(info).map_err(refused)?)),
            Target::Sentinel { nodes, master, node } => {
                let sentinel = Mutex::new(Sentinel::build(nodes).map_err(refused)?);
                server(Dial::Sentinel { sentinel, master, node })
            }
            Target::Cluster(nodes) => {
                let node = nodes.first().cloned().map(Box::new);
                let node =
                    node.ok_or_else(|| refused((ErrorKind::InvalidClientConfig, "no node is named").into()))?;
                let client =
                    ClusterClient::builder(nodes).connection_timeout(timeout).response_timeout(timeout);
                let client = client.overall_response_timeout(Some(timeout)).build().map_err(refused)?;
                Inner::Cluster { client, open: Mutex::default(), node }
            }
        };
        Ok(Self { inner: Arc::new(inner), timeout })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connections of their own to all servers that hold keys, speaking RESP3; and which servers these are.
    pub(super) async fn listeners(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<(Vec<MultiplexedConnection>, String), Failure> {
        let identity = self.identity().await?;
        let mut connections = Vec::new();
        for info in self.holder_infos().await? {
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(info.set_redis_settings(settings))?;
            connections.push(client.get_multiplexed_async_connection_with_config(config).await?);
        }
        Ok((connections, identity))
    }

    async fn holder_infos(&self) -> Result<Vec<ConnectionInfo>, Failure> {
        match &*self.inner {
            Inner::Server { dial, .. } => Ok(vec![dial.client().await?.get_connection_info().clone()]),
            Inner::Cluster { node, .. } => {
                let holders = self.holders().await?;
                let addresses = holders.into_iter().filter_map(|holder| holder.0);
                Ok(addresses
                    .map(|(host, port)| (**node).clone().set_addr(at(node.addr(), host, port)))
                    .collect())
            }
        }
    }

    /// Which servers the commands reach now.
    pub(super) async fn identity(&self) -> Result<String, Failure> {
        if self.is_cluster() {
            let mut holders: Vec<_> = self.holders().await?.into_iter().map(|holder| holder.0).collect();
            holders.sort();
            return Ok(format!("{holders:?}"));
        }
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let answer = self.send(vec![info]).await?.pop().unwrap_or(Value::Nil);
        let text: String = redis::from_redis_value(answer).map_err(RedisError::from)?;
        Ok(text.lines().find(|line| line.starts_with("run_id:")).unwrap_or_default().to_owned())
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(*self.inner, Inner::Cluster { .. })
    }

    /// Sends commands and waits for their answers, in this order; in one round trip if it is one server. The first error ends it.
    pub(super) async fn send(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let late = |_| Failure::Timeout(self.timeout);
        match &*self.inner {
            Inner::Server { dial, open } => {
                let (mut connection, number) =
                    timeout_at(deadline, self.connection(dial, open)).await.map_err(late)??;
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                let answers = timeout_at(deadline, pipeline.query_async(&mut connection)).await.map_err(late);
                let answers = answers.and_then(|answers| answers.map_err(Failure::from));
                if answers.as_ref().is_err_and(Failure::is_reason_to_redial) {
                    let mut open = open.lock().await;
                    if open.number == number {
                        open.connection = None;
                    }
                }
                answers
            }
            Inner::Cluster { client, open, .. } => {
                let mut cluster = timeout_at(deadline, cluster(client, open)).await.map_err(late)??;
                let mut answers = Vec::with_capacity(commands.len());
                for command in &commands {
                    answers
                        .push(timeout_at(deadline, command.query_async(&mut cluster)).await.map_err(late)??);
                }
                Ok(answers)
            }
        }
    }

    /// The same for commands that have nothing to do with each other: in a cluster they go out side by side.
    pub(super) async fn send_any(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failure> {
        if !self.is_cluster() {
            return self.send(commands).await;
        }
        let mut answers = vec![Value::Nil; commands.len()];
        let mut sent = JoinSet::new();
        for (place, command) in commands.into_iter().enumerate() {
            let link = self.clone();
            sent.spawn(async move { (place, link.send(vec![command]).await) });
        }
        while let Some(done) = sent.join_next().await {
            let (place, answer) = done.map_err(|_| Failure::Task)?;
            answers[place] = answer?.pop().unwrap_or(Value::Nil);
        }
        Ok(answers)
    }

    /// Who holds keys: in a cluster every master, else the one server.
    pub(super) async fn holders(&self) -> Result<Vec<Holder>, Failure> {
        if !self.is_cluster() {
            return Ok(vec![Holder(None)]);
        }
        let mut nodes = redis::cmd("CLUSTER");
        nodes.arg("NODES");
        let answer = self.send(vec![nodes]).await?.pop().unwrap_or(Value::Nil);
        let text: String = redis::from_redis_value(answer).map_err(RedisError::from)?;
        Ok(text.lines().filter_map(master).map(|address| Holder(Some(address))).collect())
    }

    /// Asks one holder.
    pub(super) async fn send_to(&self, holder: &Holder, command: Cmd) -> Result<Value, Failure> {
        let (Inner::Cluster { client, open, .. }, Some((host, port))) = (&*self.inner, &holder.0) else {
            return Ok(self.send(vec![command]).await?.pop().unwrap_or(Value::Nil));
        };
        let deadline = Instant::now() + self.timeout;
        let late = |_| Failure::Timeout(self.timeout);
        let mut cluster = timeout_at(deadline, cluster(client, open)).await.map_err(late)??;
        let place = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
        let answer = cluster.route_command(command, RoutingInfo::SingleNode(place));
        Ok(timeout_at(deadline, answer).await.map_err(late)??)
    }

    /// The open connection, or a new one. Those who come while it is dialled wait for it.
    async fn connection(
        &self,
        dial: &Dial,
        open: &Mutex<Open>,
    ) -> Result<(MultiplexedConnection, u64), Failure> {
        let mut open = open.lock().await;
        if let Some(connection) = &open.connection {
            return Ok((connection.clone(), open.number));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let client = dial.client().await?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        open.number += 1;
        open.connection = Some(connection.clone());
        Ok((connection, open.number))
    }
}

/// An address like this one, elsewhere.
fn at(like: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match like.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// One server that holds keys.
pub(super) struct Holder(Option<(String, u16)>);

/// The cluster's connection; it mends itself.
async fn cluster(
    client: &ClusterClient,
    open: &Mutex<Option<ClusterConnection>>,
) -> Result<ClusterConnection, Failure> {
    let mut open = open.lock().await;
    if let Some(connection) = &*open {
        return Ok(connection.clone());
    }
    let connection = client.get_async_connection().await?;
    *open = Some(connection.clone());
    Ok(connection)
}

/// The address in a line of `CLUSTER NODES`, if it is a master's: `<id> <host>:<port>@<bus> myself,master …`.
fn master(line: &str) -> Option<(String, u16)> {
    let mut words = line.split(' ').skip(1);
    let (address, flags) = (words.next()?, words.next()?);
    let (host, port) = address.split('@').next()?.rsplit_once(':')?;
    let is_master = flags.split(',').any(|flag| flag == "master") && !flags.contains("fail");
    is_master.then(|| port.parse().ok().map(|port| (host.to_owned(), port)))?
}
