//! Whether Redis keeps what it is given, through a crash and when its memory is full.

use std::collections::BTreeMap;

use hallpass_session::StoreError;

use super::{KIND, Redis, parsed};
use crate::durability::DurabilityWarning;

/// What a server says of itself: `INFO`, and the settings that it does not say there.
struct Server {
    info: BTreeMap<String, String>,
    appendfsync: Option<String>,
}

impl Redis {
    /// What is set so that a crash or a lack of memory can take back what was answered; of every server that holds keys.
    pub(crate) async fn durability(&self) -> Result<Vec<DurabilityWarning>, StoreError> {
        let doing = "read the settings of Redis";
        let failed = |failure| StoreError::new(doing, failure);
        let mut found = Vec::new();
        for holder in self.link.holders().await.map_err(failed)? {
            let mut info = redis::cmd("INFO");
            let text: String =
                parsed(doing, self.link.send_to(&holder, info.clone()).await.map_err(failed)?)?;
            info = redis::cmd("CONFIG");
            info.arg("GET").arg("appendfsync");
            // Hosted servers do not tell.
            let setting = self.link.send_to(&holder, info).await.ok();
            let setting = setting.and_then(|answer| parsed::<Vec<String>>(doing, answer).ok());
            let server =
                Server { info: fields(&text), appendfsync: setting.and_then(|pair| pair.into_iter().nth(1)) };
            found.extend(
                server.warnings().into_iter().filter(|warning| !found.contains(warning)).collect::<Vec<_>>(),
            );
        }
        Ok(found)
    }
}

/// The lines `name:value`.
fn fields(info: &str) -> BTreeMap<String, String> {
    let field =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    info.lines().filter_map(field).collect()
}

impl Server {
    fn is(&self, name: &str, value: &str) -> bool {
        self.info.get(name).is_some_and(|found| found == value)
    }

    fn warnings(&self) -> Vec<DurabilityWarning> {
        [self.appending(), self.syncing(), self.evicting()].into_iter().flatten().collect()
    }

    fn appending(&self) -> Option<DurabilityWarning> {
        self.is("aof_enabled", "0").then(|| {
            warning(
                "appendonly no".to_owned(),
                "a restart of Redis signs people out, or back in: it forgets what came after its last snapshot",
                "set appendonly yes",
            )
        })
    }

    fn syncing(&self) -> Option<DurabilityWarning> {
        let policy = self
            .appendfsync
            .as_deref()
            .filter(|policy| *policy != "always" && self.is("aof_enabled", "1"))?;
        Some(warning(
            format!("appendfsync {policy}"),
            "a crash of the machine can take back the last second or more, sign-outs included",
            "set appendfsync always where no sign-out may ever be taken back",
        ))
    }

    /// Without a limit there is nothing to evict; every policy but one removes sessions, which all have an expiry.
    fn evicting(&self) -> Option<DurabilityWarning> {
        let policy = self.info.get("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
        (!self.is("maxmemory", "0")).then(|| {
            warning(
                format!("maxmemory-policy {policy}"),
                "a full Redis evicts sessions, which signs people out",
                "set maxmemory-policy noeviction",
            )
        })
    }
}

fn warning(setting: String, consequence: &'static str, advice: &'static str) -> DurabilityWarning {
    DurabilityWarning { database: KIND, setting, consequence, advice }
}
