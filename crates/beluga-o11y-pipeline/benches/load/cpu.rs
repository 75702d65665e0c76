//! The processor time of this process.

use std::{fs, ops::Sub, time::Duration};

/// The time that all threads of this process have used so far, in a program's own code and in the system's.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// In steps of 10 ms. Only Linux tells.
    pub(crate) fn now() -> Result<Self, String> {
        const STAT: &str = "/proc/self/stat";
        let stat = fs::read_to_string(STAT).map_err(|error| format!("{STAT}: {error}"))?;
        // The name before it may hold anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
        let mut ticks = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .map_while(|field| field.parse().ok());
        let mut next = || {
            ticks
                .next()
                .map(|ticks: u64| Duration::from_millis(10 * ticks))
        };
        match (next(), next()) {
            (Some(user), Some(system)) => Ok(Self { user, system }),
            _ => Err(format!("{STAT} is not understood")),
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}
