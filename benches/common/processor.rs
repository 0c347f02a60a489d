//! Processor time, as the kernel counts it.

/// Processor seconds that this process has used until now, and those that it has waited for; described by
/// `proc_pid_stat(5)`.
pub(crate) fn seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
