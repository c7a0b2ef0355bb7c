//! How much of a processor a test uses: others that run make no difference.

/// Nanoseconds of a processor that this thread has used.
///
/// # Panics
///
/// Where there is no `/proc`.
pub fn used() -> u64 {
    // The kernel counts at ticks, and when a thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    text.split(' ').next().and_then(|text| text.parse().ok()).expect("a number")
}
