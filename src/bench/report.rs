//! What a run of the bench found: as a table for people, as JSON for programs.

use serde::Serialize;

use super::figures::{Figure, short};
use super::{Outcome, words};

/// The form of the JSON; it rises when something is renamed or goes.
const FORMAT: u32 = 1;

/// All that one run found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    format: u32,
    version: &'static str,
    /// The server that was measured; nothing: one that was started for it.
    against: Option<String>,
    durability: Option<&'static str>,
    system: &'static str,
    /// Whether the server's processor time and memory can be known.
    costs: bool,
    /// Processors that this program may use.
    processors: usize,
    /// Whether everything was done and nothing was lost.
    pub passed: bool,
    /// By workload.
    pub sections: Vec<Section>,
}

/// One workload.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Its name.
    pub workload: &'static str,
    /// What is done, with sizes.
    pub title: String,
    /// By dialect, or by what else is compared.
    pub columns: Vec<Column>,
}

/// A workload in one dialect.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// The dialect.
    pub name: String,
    /// What was found.
    pub figures: Vec<Entry>,
    /// What makes figures worth less than they look.
    pub warnings: Vec<String>,
    /// Why there are none, or what was lost.
    pub failed: Option<String>,
}

/// A figure beside that of the relay.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Entry {
    /// What it measures.
    pub what: &'static str,
    /// Its unit; empty for a number of things.
    pub unit: &'static str,
    /// At the server.
    pub value: f64,
    /// At the relay, where it does such a thing.
    pub relay: Option<f64>,
    /// The first as a multiple of the second.
    pub ratio: Option<f64>,
}

/// Puts figures beside those of the relay that measure the same.
pub fn beside(figures: &[Figure], relay: &[Figure]) -> Vec<Entry> {
    let entry = |figure: &Figure| {
        let same = relay.iter().find(|other| other.what == figure.what);
        let relay = same.map(|other| other.value);
        let ratio = relay.filter(|floor| *floor > 0.0).map(|floor| figure.value / floor);
        Entry { what: figure.what, unit: figure.unit, value: figure.value, relay, ratio }
    };
    figures.iter().map(entry).collect()
}

impl Report {
    /// A report without sections; `costs`: the server's processor time and memory can be known.
    pub fn new(against: Option<String>, durability: Option<&'static str>, costs: bool) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION"),
            against,
            durability,
            system: std::env::consts::OS,
            costs,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            passed: true,
            sections: Vec::new(),
        }
    }

    /// What stands above the sections.
    pub fn head(&self) -> String {
        let Self { version, system, processors, .. } = self;
        let server = match (&self.against, self.durability) {
            (Some(server), _) => format!("the server at {server}"),
            (None, Some(durability)) => format!("a server of its own, {durability}"),
            (None, None) => "a server of its own".to_owned(),
        };
        let ratio = "xN: so many times what a relay spends that only copies (see --help)";
        let costs = match (&self.against, self.costs) {
            (_, true) => "",
            (Some(_), false) => "\nits CPU and memory: not known; with --pid, if it runs here",
            (None, false) => "\nCPU and memory: not available on this system",
        };
        let first = format!("statehouse {version}, {server}; {system}, {processors} processors");
        format!("{first}\n{ratio}{costs}")
    }

    /// Adds a section; one with a failure fails the report.
    pub fn add(&mut self, section: Section) {
        self.passed &= section.columns.iter().all(|column| column.failed.is_none());
        self.sections.push(section);
    }

    /// The report as JSON on several lines.
    pub fn json(&self) -> Outcome<String> {
        serde_json::to_string_pretty(self).map_err(words)
    }
}

/// The width of what stands before the columns, and of each of them.
const LABEL: usize = 34;
const CELL: usize = 19;

impl Section {
    /// The section as lines: a title, a row for each figure, what failed, and warnings.
    pub fn table(&self) -> String {
        let mut lines = vec![String::new(), self.title.clone()];
        let names = self.columns.iter().map(|column| format!("{:>CELL$}", column.name));
        lines.push(format!("  {:<LABEL$}{}", "", names.collect::<String>()));
        let mut done: Vec<&str> = Vec::new();
        for entry in self.columns.iter().flat_map(|column| &column.figures) {
            if done.contains(&entry.what) {
                continue;
            }
            done.push(entry.what);
            let cells = self.columns.iter().map(|column| {
                let found = column.figures.iter().find(|other| other.what == entry.what);
                format!("{:>CELL$}", found.map_or_else(|| "-".to_owned(), cell))
            });
            let (what, unit) = (entry.what, entry.unit);
            let label = if unit.is_empty() { what.to_owned() } else { format!("{what}, {unit}") };
            lines.push(format!("  {label:<LABEL$}{}", cells.collect::<String>()));
        }
        for column in &self.columns {
            let failed = column.failed.iter().map(|why| format!("FAILED: {why}"));
            let warnings = column.warnings.iter().map(|why| format!("note: {why}"));
            lines.extend(failed.chain(warnings).map(|why| format!("  {}: {why}", column.name)));
        }
        lines.join("\n")
    }
}

/// A value, and how many times the relay's it is.
fn cell(entry: &Entry) -> String {
    let ratio = entry.ratio.map_or_else(String::new, |ratio| format!("x{}", short(ratio)));
    format!("{} {ratio:>8}", short(entry.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::figure;

    fn section(failed: Option<String>) -> Section {
        let server = [figure("CPU per edit", "us", 120.0), figure("edits lost", "", 0.0)];
        let relay = [figure("CPU per edit", "us", 40.0), figure("something else", "", 1.0)];
        let figures = beside(&server, &relay);
        let column = Column { name: "json".to_owned(), figures, warnings: Vec::new(), failed };
        let title = "one: a title".to_owned();
        Section { workload: "one", title, columns: vec![column] }
    }

    #[test]
    fn a_figure_stands_beside_the_same_of_the_relay() {
        let section = section(None);
        let entries = &section.columns[0].figures;
        assert_eq!((entries[0].relay, entries[0].ratio), (Some(40.0), Some(3.0)));
        assert_eq!((entries[1].relay, entries[1].ratio), (None, None));
        let table = section.table();
        assert!(table.contains("CPU per edit, us") && table.contains("120    x3.00"), "{table}");
    }

    #[test]
    fn one_failure_fails_the_report() {
        let mut report = Report::new(None, Some("strict"), true);
        report.add(section(None));
        assert!(report.passed);
        report.add(section(Some("3 edits are lost".to_owned())));
        assert!(!report.passed && report.sections[1].table().contains("FAILED: 3 edits are lost"));
        report.add(section(None));
        assert!(!report.passed);
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["sections"][0]["columns"][0]["figures"][0]["ratio"], 3.0);
        assert_eq!(json["passed"], false);
        assert!(!report.head().contains("CPU"), "{}", report.head());
        let elsewhere = Report::new(Some("ws://there".to_owned()), None, false).head();
        assert!(elsewhere.contains("ws://there") && elsewhere.contains("--pid"), "{elsewhere}");
    }
}
