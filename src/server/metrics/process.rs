//! What the process takes of its machine, under the names that every program has for it.
//!
//! It is read from /proc (proc(5)) when somebody asks; where there is none, nothing is told.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Clock ticks in a second: what Linux calls `USER_HZ`, which is 100 wherever Rust runs on it.
const TICKS: f64 = 100.0;

/// The process that asks.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut tell = |name: &str, help: &str, unit: Option<&Unit>, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, unit, metric.metric_type())?;
            metric.encode(encoder)
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(Times { cpu, start }) = times(&stat) {
            let (help, spent) = ("Processor time spent", ConstCounter::new(cpu / TICKS));
            tell("process_cpu", help, Some(&Unit::Seconds), &spent)?;
            let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
            if let Some(boot) = number_after(&machine, "btime") {
                let (help, start) = ("When it started, Unix time", boot + start / TICKS);
                tell("process_start_time", help, Some(&Unit::Seconds), &ConstGauge::new(start))?;
            }
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kilobytes) = number_after(&status, "VmRSS:") {
            let (help, resident) = ("Memory it has", ConstGauge::new(kilobytes * 1024.0));
            tell("process_resident_memory", help, Some(&Unit::Bytes), &resident)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(files.count()).unwrap_or(i64::MAX);
            tell("process_open_fds", "Files it has open", None, &ConstGauge::new(open))?;
        }
        Ok(())
    }
}

/// What `/proc/self/stat` says, in clock ticks.
#[derive(Debug, PartialEq)]
struct Times {
    /// Processor time, in the program and for it in the kernel.
    cpu: f64,
    /// When it started, after the machine did.
    start: f64,
}

fn times(stat: &str) -> Option<Times> {
    // The name of the program comes second, in brackets, and may hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5) counts from 1, and the first of these is the third.
    let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<f64>().ok();
    Some(Times { cpu: number(14)? + number(15)?, start: number(22)? })
}

/// The number in the line that begins with this word.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_no_times() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 900 1 2";
        assert_eq!(times(stat), Some(Times { cpu: 200.0, start: 900.0 }));
        assert_eq!(times("7 (a) S 1"), None);
        assert_eq!(times(""), None);
    }

    #[test]
    fn a_number_is_found_by_the_word_before_it() {
        let status = "Name:\tx\nVmRSS:\t   12 kB\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(12.0));
        assert_eq!(number_after(status, "VmHWM:"), None);
    }
}
