//! What was measured, and what it should be.

use serde_json::{Value, json};

/// One measurement.
#[derive(Debug)]
pub(crate) struct Figure {
    name: &'static str,
    what: &'static str,
    rows: Vec<Row>,
    commands: Vec<String>,
    notes: Vec<String>,
}

/// One value of it.
#[derive(Debug)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

/// What a value should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", rounded(most)),
            Self::AtLeast(least) => format!("≥ {}", rounded(least)),
        }
    }
}

impl Figure {
    /// Nothing is measured yet.
    pub(crate) fn new(name: &'static str, what: &'static str) -> Self {
        eprintln!("{name}: {what}");
        Self { name, what, rows: Vec::new(), commands: Vec::new(), notes: Vec::new() }
    }

    /// A value that explains others.
    pub(crate) fn value(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { name: name.into(), value, unit, goal: None });
    }

    /// A value that has a goal.
    pub(crate) fn goal(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        goal: Goal,
    ) {
        self.rows.push(Row { name: name.into(), value, unit, goal: Some(goal) });
    }

    /// What was run, for whoever wants to see it again.
    pub(crate) fn command(&mut self, command: String) {
        eprintln!("{}: $ {command}", self.name);
        self.commands.push(command);
    }

    /// What has to be known to read the values.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints it. `broken` if the measurement did not come to its end.
    pub(crate) fn print(&self, as_json: bool, broken: bool) {
        if as_json {
            println!("{}", self.json(broken));
            return;
        }
        println!("\n{}: {}", self.name, self.what);
        let wide = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        for Row { name, value, unit, goal } in &self.rows {
            let space = " ".repeat(wide - name.chars().count());
            let value = rounded(*value);
            let goal = goal.map_or_else(String::new, |goal| {
                let verdict = if goal.is_reached(value) { "reached" } else { "NOT REACHED" };
                format!("  goal {}: {verdict}", goal.text())
            });
            println!("  {name}{space}  {value:>12} {unit:<8}{goal}");
        }
        for note in &self.notes {
            println!("  {note}");
        }
        for command in &self.commands {
            println!("  $ {command}");
        }
        if broken {
            println!("  NOT MEASURED to its end: see above");
        }
    }

    fn json(&self, broken: bool) -> Value {
        let rows = self.rows.iter().map(|Row { name, value, unit, goal }| {
            json!({
                "name": name,
                "value": rounded(*value),
                "unit": unit,
                "goal": goal.map(Goal::text),
                "reached": goal.map(|goal| goal.is_reached(rounded(*value))),
            })
        });
        json!({
            "figure": self.name,
            "what": self.what,
            "values": rows.collect::<Vec<_>>(),
            "notes": self.notes,
            "commands": self.commands,
            "complete": !broken,
        })
    }
}

/// To a thousandth; large values to a whole: more digits are noise.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 { value.round() } else { (value * 1e3).round() / 1e3 }
}
