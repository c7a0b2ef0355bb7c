//! What a process says about itself, on standard error.
//!
//! Knows no one's log lines: only where they go, in which form, and how the
//! level is changed while the process runs.

mod lines;

use std::sync::Arc;

use tracing_subscriber::{
    Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text for people, without colours.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log is not as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The text names no level.
    #[error("`{0}` is not a log level such as `info` or `warn,weft_proxy=debug`")]
    Level(String),
    /// The process has a log already.
    #[error("starting the log twice in one process")]
    Twice,
    /// The system gives no thread.
    #[error("starting the thread that writes the log")]
    Thread(#[source] std::io::Error),
}

/// Changes the level of a running log.
#[derive(Clone)]
pub struct Levels {
    change: Arc<dyn Fn(Targets) + Send + Sync>,
}

/// Starts the log with the levels of `directives` (`warning` and `warn` are the same).
pub fn init(directives: &str, form: Form) -> Result<Levels, LogError> {
    let (filter, reload) = reload::Layer::new(filter(directives)?);
    let output = lines::Lines::to(std::io::stderr()).map_err(LogError::Thread)?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(output);
    let registry = Registry::default().with(filter);
    let started = match form {
        Form::Text => registry.with(lines).try_init(),
        Form::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(|_| LogError::Twice)?;
    Ok(Levels {
        change: Arc::new(move |filter| {
            // It fails only after the process's subscriber is gone.
            let _ = reload.reload(filter);
        }),
    })
}

impl Levels {
    /// Levels that go nowhere, for a process without a log.
    pub fn detached() -> Self {
        Self { change: Arc::new(|_| {}) }
    }

    /// Changes the levels from now on.
    pub fn set(&self, directives: &str) -> Result<(), LogError> {
        (self.change)(filter(directives)?);
        Ok(())
    }
}

fn filter(directives: &str) -> Result<Targets, LogError> {
    let spelled = directives.replace("warning", "warn").replace("critical", "error");
    spelled.parse().map_err(|_| LogError::Level(directives.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_before_they_change_anything() {
        assert!(filter("warning").is_ok());
        assert!(filter("info,weft_proxy=trace").is_ok());
        let error = filter("info,weft_proxy=loud").unwrap_err();
        assert!(error.to_string().contains("weft_proxy=loud"), "{error}");
    }
}
