//! What a process has used, read from `/proc` (Linux): processor time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Length of a tick in `/proc/PID/stat`, in nanoseconds (`USER_HZ` is 100 on every platform that
/// Linux's C libraries support).
const TICK_NS: u64 = 10_000_000;

/// How far ticks and the scheduler's own count may differ by rounding alone, in nanoseconds.
const ROUNDING_NS: u64 = 2 * TICK_NS;

/// Processor time of a process and its descendants, since the meter was made.
#[derive(Debug)]
pub struct Meter {
    root: u32,
    /// What each thread had used when it was last seen, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    exact_ns: u64,
    ticks_ns: u64,
}

impl Meter {
    /// Starts to measure a process.
    pub fn new(root: u32) -> Self {
        let mut meter = Self { root, threads: BTreeMap::new(), exact_ns: 0, ticks_ns: 0 };
        meter.lap_ns();
        meter
    }

    /// Processor time since the last lap, in nanoseconds.
    ///
    /// The scheduler's count is exact, but a thread that ended takes its own along; the ticks
    /// keep it, in steps of 10 ms. So the ticks are taken only where they say clearly more.
    pub fn lap_ns(&mut self) -> u64 {
        let mut ticks_ns = 0;
        for process in family(self.root) {
            ticks_ns += process_ticks(process).unwrap_or(0) * TICK_NS;
            for (thread, ns) in threads(process) {
                self.threads.insert(thread, ns);
            }
        }
        let exact_ns = self.threads.values().sum();
        let exact = u64::saturating_sub(exact_ns, self.exact_ns);
        let ticks = u64::saturating_sub(ticks_ns, self.ticks_ns);
        (self.exact_ns, self.ticks_ns) = (exact_ns, ticks_ns);
        if ticks > exact + ROUNDING_NS { ticks } else { exact }
    }
}

/// Processor time of the calling thread, in nanoseconds; 0 where the system does not say.
pub fn own_thread_ns() -> u64 {
    // The count is brought up to date when a thread leaves its processor.
    std::thread::sleep(Duration::from_micros(1));
    schedstat("/proc/thread-self/schedstat".into()).unwrap_or(0)
}

/// Time that the threads of this process were on a processor, or waited for one, in nanoseconds;
/// 0 where the system does not say.
pub fn own_demand_ns() -> u64 {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let both = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let fields = text.split_whitespace().take(2);
        Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>())
    });
    both.sum()
}

/// Whether this system tells what a process has used.
pub fn is_told() -> bool {
    process_ticks(std::process::id()).is_some()
}

/// Memory in RAM of a process and its descendants, in bytes: now, and at most so far.
pub fn memory(root: u32) -> (u64, u64) {
    let mut sum = (0, 0);
    for process in family(root) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
            number.unwrap_or(0_u64) * 1_024
        };
        sum = (sum.0 + kib("VmRSS:"), sum.1 + kib("VmHWM:"));
    }
    sum
}

/// A process, its children, their children and so on.
fn family(root: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(process).and_then(|fields| fields.get(1)?.parse().ok()) {
            parents.push((process, parent));
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        next += 1;
    }
    family
}

/// The fields of `/proc/PID/stat` after the name, which may contain anything: state first.
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// User and system time, with that of children that ended, in ticks: fields 14 to 17 of proc(5).
fn process_ticks(process: u32) -> Option<u64> {
    let fields = stat(process)?;
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or(0));
    Some(ticks.sum())
}

fn threads(process: u32) -> Vec<(u32, u64)> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let ns = schedstat(entry.path().join("schedstat"));
        threads.extend(thread.zip(ns));
    }
    threads
}

/// Time on a processor in nanoseconds, the first field of a schedstat.
fn schedstat(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}
