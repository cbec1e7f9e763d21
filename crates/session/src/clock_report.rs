//! What an operator is told about clocks.

use crate::ClockStatus;

/// What an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    NotSynchronised,
    StoreJumped,
    Deviates,
}

impl Trouble {
    pub(crate) fn of(status: ClockStatus) -> Self {
        match status {
            ClockStatus { sweeps: true, .. } => Self::None,
            ClockStatus { is_synchronised: false, .. } => Self::NotSynchronised,
            ClockStatus { store_jump: 0, .. } => Self::Deviates,
            _ => Self::StoreJumped,
        }
    }

    pub(crate) fn log(self, status: ClockStatus) {
        let ClockStatus { deviation, store_jump, .. } = status;
        match (self, status.follows_store) {
            (Self::None, _) => tracing::info!(event = "clock_agrees", "expired sessions are removed again"),
            (Self::NotSynchronised, _) => tracing::warn!(
                event = "clock_not_synchronised",
                "the store's clock cannot be read; nothing expired is removed until it can"
            ),
            (Self::StoreJumped, _) => tracing::warn!(
                event = "store_clock_jumped",
                jump_ms = store_jump,
                "the store's clock jumped and this machine's does not confirm it; the time before the jump counts on, and nothing \
                 expired is removed; set the clock of the database's host, or restart to follow it"
            ),
            (Self::Deviates, true) => tracing::warn!(
                event = "clock_deviates",
                deviation_ms = deviation,
                "this machine's clock differs from the store's, whose time counts; this server removes nothing expired; run a time \
                 service such as chrony"
            ),
            (Self::Deviates, false) => tracing::warn!(
                event = "clock_jumped",
                deviation_ms = deviation,
                "this machine's clock jumped, or is behind the newest session; nothing expired is removed until it is right again, \
                 or has not jumped for 24 hours; run a time service such as chrony"
            ),
        }
    }
}
