//! Where hyper's own tasks run: on the thread that they belong to.

/// Spawns on the current thread's set of tasks.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
