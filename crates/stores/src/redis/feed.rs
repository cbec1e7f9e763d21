//! What happens to keys, as Redis tells it: server-assisted client side caching (`CLIENT TRACKING`, RESP3), broadcast by prefix.
//!
//! Redis queues what it has to tell before it answers whoever made the change, so an answer to a `PING` on the same connection proves that
//! everything acknowledged before the `PING` has been heard. In a cluster every master is listened to, and all must answer.

use std::{sync::Arc, time::Duration};

use hallpass_session::{ChangeFeed, Listener, SessionHandle};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::time::timeout;

use super::{Redis, link::Failure};
use crate::feed::{Ended, Pauses};

/// The session that a key belongs to, if it is one.
pub(crate) type HandleOf = Arc<dyn Fn(&str) -> Option<SessionHandle> + Send + Sync>;

/// Who is told what happens to keys.
pub(crate) trait Hears: Clone + Send + Sync + 'static {
    /// This key was changed or removed.
    fn changed(&self, key: &str);
    /// All keys may have been: the connection is new, or somebody removed all.
    fn everything(&self);
    /// To be called when what has been acknowledged until now has been told.
    fn proof(&self) -> Box<dyn FnOnce() + Send>;
    /// How often to ask whether that is so.
    fn pace(&self) -> Duration;
}

/// A cache's listener.
#[derive(Clone)]
struct Cache {
    listener: Listener<SessionHandle>,
    handle_of: HandleOf,
}

impl Hears for Cache {
    fn changed(&self, key: &str) {
        if let Some(handle) = (self.handle_of)(key) {
            self.listener.changed(&handle);
        }
    }

    fn everything(&self) {
        self.listener.everything();
    }

    fn proof(&self) -> Box<dyn FnOnce() + Send> {
        let (listener, asked) = (self.listener.clone(), self.listener.now());
        Box::new(move || listener.alive(asked))
    }

    fn pace(&self) -> Duration {
        self.listener.pace()
    }
}

impl Redis {
    /// Tells the changes of keys that begin with `prefix`.
    pub(crate) fn feed(&self, prefix: String, handle_of: HandleOf) -> ChangeFeed<SessionHandle> {
        let redis = self.clone();
        ChangeFeed::new(move |listener| async move {
            let (prefixes, cache) = ([prefix], Cache { listener, handle_of });
            let mut pauses = Pauses::default();
            loop {
                let ended = redis.listen(&prefixes, &cache).await;
                if let Some(never) = pauses.after(ended).await {
                    return never;
                }
            }
        })
    }

    /// Tells the changes of keys that begin with one of these prefixes, which must not overlap, until the connection breaks.
    pub(crate) async fn listen(&self, prefixes: &[String], listener: &impl Hears) -> Ended {
        let told = listener.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.link.timeout()))
            .set_response_timeout(Some(self.link.timeout()))
            .set_push_sender(move |push: PushInfo| {
                hear(&push, &told);
                Ok::<(), redis::aio::SendError>(())
            });
        let (mut servers, identity) = match self.link.listeners(&config).await {
            Ok(open) => open,
            Err(failure) => return refused(&failure),
        };
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in prefixes.iter().filter(|prefix| !prefix.is_empty()) {
            tracking.arg("PREFIX").arg(prefix);
        }
        if let Err(failure) = ask_all(&mut servers, &tracking, self.link.timeout()).await {
            return refused(&failure);
        }
        listener.everything();
        let (ping, pace) = (redis::cmd("PING"), listener.pace());
        loop {
            let proof = listener.proof();
            if let Err(failure) = ask_all(&mut servers, &ping, self.link.timeout()).await {
                return Ended::late(failure);
            }
            // Reads may have moved on to another server, after a failover, say.
            match self.link.identity().await {
                Ok(now) if now == identity => proof(),
                Ok(_) => return Ended::late("sessions are on other servers now"),
                Err(failure) => return Ended::late(failure),
            }
            tokio::time::sleep(pace).await;
        }
    }
}

async fn ask_all(
    servers: &mut [MultiplexedConnection],
    command: &Cmd,
    patience: Duration,
) -> Result<(), Failure> {
    for server in servers {
        let answer = timeout(patience, command.query_async::<Value>(server)).await;
        answer.map_err(|_| Failure::Timeout(patience))??;
    }
    Ok(())
}

fn hear(push: &PushInfo, listener: &impl Hears) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    match push.data.first() {
        Some(Value::Array(keys)) => {
            let keys = keys.iter().filter_map(|key| match key {
                Value::BulkString(key) => std::str::from_utf8(key).ok(),
                Value::SimpleString(key) => Some(key.as_str()),
                _ => None,
            });
            keys.for_each(|key| listener.changed(key));
        }
        // FLUSHALL
        _ => listener.everything(),
    }
}

/// A server that does not know the commands, or a user who may not give them, will not do so later.
fn refused(failure: &Failure) -> Ended {
    let never = |error: &RedisError| {
        let said = error.to_string().to_ascii_lowercase();
        let unable = ["unknown command", "unknown subcommand", "syntax error", "noproto"]
            .iter()
            .any(|text| said.contains(text));
        unable
            || error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
            || error.kind() == ErrorKind::RESP3NotSupported
    };
    match failure {
        Failure::Redis(error) if never(error) => Ended::Never(format!(
            "this Redis cannot tell what happens to keys ({error}); that takes Redis 6 or Valkey"
        )),
        _ => Ended::early(failure),
    }
}
