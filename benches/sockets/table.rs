//! Results as a table, or as JSON.

use serde_json::{Value, json};

use statehouse::bench::Outcome;
use statehouse::bench::figures::{Figure, short};

/// What all columns found for one workload.
#[derive(Debug)]
pub(crate) struct Section {
    /// The workload, and how large it was.
    pub(crate) title: String,
    /// By column: its figures, or why there are none.
    pub(crate) columns: Vec<(&'static str, Outcome<Vec<Figure>>)>,
}

/// The column that the others are compared with, where it has a figure.
const SUBJECT: &str = "statehouse";

impl Section {
    /// The rows: what is measured, its unit, and the value in each column.
    fn rows(&self) -> Vec<(&'static str, &'static str, Vec<Option<f64>>)> {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for figure in self.columns.iter().filter_map(|(_, found)| found.as_ref().ok()).flatten() {
            if !names.contains(&(figure.what, figure.unit)) {
                names.push((figure.what, figure.unit));
            }
        }
        let value = |what: &str, found: &Outcome<Vec<Figure>>| {
            let figures = found.as_ref().ok()?;
            figures.iter().find(|figure| figure.what == what).map(|figure| figure.value)
        };
        let row = |(what, unit)| {
            let values = self.columns.iter().map(|(_, found)| value(what, found)).collect();
            (what, unit, values)
        };
        names.into_iter().map(row).collect()
    }

    fn subject(&self) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == SUBJECT)
    }

    /// The section as lines: a title, a row for each figure, and what failed.
    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        print!("  {:<34}", "");
        for (name, _) in &self.columns {
            print!("{name:>18}");
        }
        println!();
        for (what, unit, values) in self.rows() {
            let label = if unit.is_empty() { what.to_owned() } else { format!("{what}, {unit}") };
            print!("  {label:<34}");
            let subject = self.subject().and_then(|at| *values.get(at)?);
            for value in values {
                print!("{:>18}", cell(value, subject));
            }
            println!();
        }
        for (name, found) in &self.columns {
            if let Err(why) = found {
                println!("  {name}: FAILED: {why}");
            }
        }
    }

    /// The section as JSON.
    pub(crate) fn json(&self) -> Value {
        let columns = self.columns.iter().map(|(name, found)| match found {
            Ok(figures) => {
                let figures = figures.iter().map(|figure| {
                    json!({"what": figure.what, "unit": figure.unit, "value": figure.value})
                });
                json!({"name": name, "figures": figures.collect::<Vec<_>>()})
            }
            Err(why) => json!({"name": name, "failed": why}),
        });
        json!({"workload": self.title, "columns": columns.collect::<Vec<_>>()})
    }
}

/// A value, and how many times the subject's it is.
fn cell(value: Option<f64>, subject: Option<f64>) -> String {
    match (value, subject) {
        (None, _) => "-".to_owned(),
        (Some(value), Some(subject)) if subject > 0.0 => {
            format!("{} {:>7}", short(value), format!("x{}", short(value / subject)))
        }
        (Some(value), _) => short(value),
    }
}
