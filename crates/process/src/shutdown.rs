//! The orderly end of a process.
//!
//! One side asks for it (a signal, an admin request, a test), everyone else
//! waits for it. What is to be done before the end is not known here.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Asks for the end; every clone may.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

/// Learns of the end.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// A pair of which the second learns what the first asks for.
pub fn channel() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    /// Asks for the end, once and for all.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Another task that learns of the end.
    pub fn watch(&self) -> Stopping {
        Stopping(self.0.subscribe())
    }

    /// Asks for the end when the process gets SIGTERM or SIGINT; returns then.
    pub async fn on_signals(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut watch = self.watch();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = watch.stopped() => {}
        }
        self.stop();
        Ok(())
    }
}

impl Stopping {
    /// Whether the end was asked for.
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end is asked for, or until all that could ask for it are gone.
    pub async fn stopped(&mut self) {
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_learns_of_the_end_however_late_they_ask() {
        let (stop, mut early) = channel();
        assert!(!early.is_stopping());
        stop.stop();
        early.stopped().await;
        let mut late = stop.watch();
        late.stopped().await;
        assert!(late.is_stopping());
    }

    #[tokio::test]
    async fn nobody_left_to_ask_counts_as_the_end() {
        let (stop, mut stopping) = channel();
        drop(stop);
        stopping.stopped().await;
    }
}
