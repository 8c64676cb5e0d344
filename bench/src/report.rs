//! Figures for people, and as JSON.

use serde_json::{Map, Value, json};

/// The result of one scenario: the contenders' medians, Gristmill's first.
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) unit: &'static str,
    pub(crate) figures: Vec<Figure>,
    /// More to say: name and value.
    pub(crate) extra: Vec<(String, f64)>,
}

/// One contender's.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// CPU time a call, of all threads, where that says something.
    pub(crate) cpu_ns: Option<f64>,
}

pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn head(&self, lines: &[String]) {
        for line in lines {
            match self.json {
                true => eprintln!("{line}"),
                false => println!("{line}"),
            }
        }
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        if self.json { println!("{}", as_json(outcome)) } else { print_table(outcome) }
    }
}

fn as_json(outcome: &Outcome) -> Value {
    let mut line = Map::new();
    line.insert("scenario".to_owned(), json!(outcome.scenario));
    line.insert("unit".to_owned(), json!(outcome.unit));
    let (mut ratio, mut cpu) = (Map::new(), Map::new());
    let own = outcome.figures.first().map_or(0.0, |figure| figure.value);
    for (place, figure) in outcome.figures.iter().enumerate() {
        line.insert(figure.name.to_owned(), json!(round(figure.value)));
        if place > 0 {
            ratio.insert(figure.name.to_owned(), json!(round(own / figure.value)));
        }
        if let Some(ns) = figure.cpu_ns {
            cpu.insert(figure.name.to_owned(), json!(round(ns)));
        }
    }
    line.insert("ratio".to_owned(), Value::Object(ratio));
    if !cpu.is_empty() {
        line.insert("cpu_ns".to_owned(), Value::Object(cpu));
    }
    for (name, value) in &outcome.extra {
        line.insert(name.clone(), json!(round(*value)));
    }
    Value::Object(line)
}

fn print_table(outcome: &Outcome) {
    println!("\n{} ({})", outcome.scenario, outcome.unit);
    let own = outcome.figures.first().map_or(0.0, |figure| figure.value);
    for (place, figure) in outcome.figures.iter().enumerate() {
        let ratio = if place == 0 { String::new() } else { format!("{:>7.2}x", own / figure.value) };
        let cpu = figure.cpu_ns.map_or_else(String::new, |ns| format!("{ns:>9.0} ns CPU"));
        println!("  {:<16}{:>14}{ratio:>9}{cpu}", figure.name, grouped(figure.value));
    }
    for (name, value) in &outcome.extra {
        println!("  {name:<32}{}", grouped(*value));
    }
}

/// Three digits that say something.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

fn grouped(value: f64) -> String {
    if value < 1_000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
