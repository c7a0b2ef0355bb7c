//! One endpoint of a backend, and how busy it is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use weft_config::Endpoint;

/// One endpoint of a backend; its load is shared by every table and worker that knows it.
#[derive(Debug)]
pub struct Member {
    /// Where and who it is.
    pub endpoint: Endpoint,
    load: Arc<AtomicU32>,
}

impl Member {
    /// A member that nobody uses yet, or that goes on with the load of `previous`.
    pub fn new(endpoint: Endpoint, previous: Option<&Member>) -> Self {
        let load = previous.map_or_else(Arc::default, |member| Arc::clone(&member.load));
        Self { endpoint, load }
    }

    /// How many exchanges are under way.
    pub fn busy(&self) -> u32 {
        self.load.load(Relaxed)
    }

    /// Counts an exchange until the result is dropped.
    pub fn begin(&self) -> InFlight {
        self.load.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.load))
    }
}

/// An exchange that is under way; dropping it ends the count.
pub struct InFlight(Arc<AtomicU32>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InFlight({})", self.0.load(Relaxed))
    }
}
