//! How many files the process may open: each connection is one.

/// What the process opens besides connections of clients: databases, providers, the log.
const OWN_FILES: u64 = 96;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affordable {
    /// For everything.
    pub(super) connections: usize,
    /// Beyond those, for health checks alone.
    pub(super) health: usize,
}

impl Affordable {
    /// Of `connections` and `health`, what `files` open files allow.
    fn of(files: u64, connections: usize, health: usize) -> Self {
        let spare = files.saturating_sub(OWN_FILES).max(files / 4);
        let spare = usize::try_from(spare).unwrap_or(usize::MAX).max(2);
        let health = health.min(spare / 4).max(1);
        Self { connections: connections.min(spare - health), health }
    }

    /// The same for this process. Raises its limit as far as it may, and says so if that is not enough.
    pub(super) fn here(connections: usize, health: usize) -> Self {
        let files = open_files(connections as u64 + health as u64 + OWN_FILES);
        let affordable = Self::of(files, connections, health);
        if affordable.connections < connections {
            tracing::warn!(
                event = "max_connections_lowered",
                files,
                max_connections = affordable.connections,
                "the process may open too few files for server.max_connections; raise LimitNOFILE or ulimit -n"
            );
        }
        affordable
    }
}

/// How many files the process may open, after asking for `wanted`.
#[cfg(unix)]
fn open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let most = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if now < most && setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).is_ok() {
        return most;
    }
    now
}

#[cfg(not(unix))]
fn open_files(_: u64) -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_have_places_however_few_files_there_are() {
        for (files, connections, health) in [
            (u64::MAX, 10_000, 64),
            (20_000, 10_000, 64),
            (1024, 864, 64),
            (256, 120, 40),
            (64, 12, 4),
            (1, 1, 1),
        ] {
            assert_eq!(Affordable::of(files, 10_000, 64), Affordable { connections, health }, "{files}");
        }
        assert_eq!(Affordable::of(1024, 50, 64), Affordable { connections: 50, health: 64 });
    }
}
