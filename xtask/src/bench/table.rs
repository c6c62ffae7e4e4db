//! The table, the line of progress, and the file with everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Results;
use super::cell::{Cell, Measured, Workload};
use super::options::Options;

/// Beside whom the ratios of the last column are.
const REFERENCE: &str = "envoy";
/// How our own variants' names begin.
const OURS: &str = "ours";

/// All that is to be shown.
pub struct Report<'a> {
    pub results: &'a Results,
    /// Resident memory in MB before the first request.
    pub idle: &'a BTreeMap<String, f64>,
    pub options: &'a Options,
}

/// Medians of one proxy in one cell.
struct Medians {
    throughput: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    peak: f64,
}

impl Medians {
    fn of(cell: Cell, rounds: &[Measured]) -> Self {
        let over = |value: &dyn Fn(&Measured) -> f64| median(rounds.iter().map(value).collect());
        Self {
            throughput: over(&|round| round.throughput(cell)),
            p50: over(&|round| round.seen.p50_ms),
            p99: over(&|round| round.seen.p99_ms),
            cpu: over(&|round| round.cpu_each(cell)),
            peak: over(&|round| round.peak_mb),
        }
    }
}

/// The middle value; of an even number of values the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

/// Progress: what one proxy did in one cell.
pub fn one_line(cell: Cell, rounds: &[Measured]) -> String {
    let medians = Medians::of(cell, rounds);
    let (rate, each) = units(cell);
    format!("{:>8.0} {rate}  {:>8.1} {each}  p99 {:.2} ms", medians.throughput, medians.cpu, medians.p99)
}

fn units(cell: Cell) -> (&'static str, &'static str) {
    if cell.workload == Workload::Large { ("MiB/s", "CPU µs/MiB") } else { ("req/s", "CPU µs/req") }
}

impl Report<'_> {
    /// One table; every figure with its ratio to the best peer's in parentheses.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| load | proxy | req/s (MiB/s) | p50 ms | p99 ms | CPU µs per request (MiB) | CPU, Envoy = 1 | peak MB | idle MB |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for (cell, proxies) in self.results {
            let mut medians: Vec<_> =
                proxies.iter().map(|(name, rounds)| (name.as_str(), Medians::of(*cell, rounds))).collect();
            // Ours first, by the length of the chain; then the peers, the cheapest first.
            medians.sort_by(|(a, left), (b, right)| match (a.starts_with(OURS), b.starts_with(OURS)) {
                (true, true) => a.cmp(b),
                (false, false) => left.cpu.total_cmp(&right.cpu),
                (a_is_ours, b_is_ours) => b_is_ours.cmp(&a_is_ours),
            });
            let best = Best::among(&medians);
            let reference = medians.iter().find(|(name, _)| *name == REFERENCE).map(|(_, medians)| medians.cpu);
            for (name, of) in &medians {
                let against = reference.map_or_else(|| "-".to_owned(), |cpu| ratio(of.cpu, cpu));
                let idle = self.idle.get(*name).map_or_else(|| "-".to_owned(), |idle| format!("{idle:.0}"));
                // Writing into a String cannot fail.
                let _ = writeln!(
                    text,
                    "| {cell} | {name} | {} | {} | {} | {} | {against} | {} | {idle} |",
                    figure(of.throughput, best.throughput, 0),
                    figure(of.p50, best.p50, 2),
                    figure(of.p99, best.p99, 2),
                    figure(of.cpu, best.cpu, 1),
                    figure(of.peak, best.peak, 0),
                );
            }
        }
        text.push_str("\nIn parentheses: relative to the best peer's figure in the same row's load.\n");
        text
    }

    /// Every measurement.
    pub fn json(&self) -> Value {
        let cells = self.results.iter().map(|(cell, proxies)| {
            let rounds: Map<_, _> = proxies
                .iter()
                .map(|(name, rounds)| (name.clone(), rounds.iter().map(Measured::to_json).collect()))
                .collect();
            json!({"protocol": cell.protocol.name(), "load": cell.workload.title(), "proxies": rounds})
        });
        json!({
            "profile": self.options.profile(),
            "rounds": self.options.rounds(),
            "idle_mb": self.idle,
            "cells": cells.collect::<Vec<_>>(),
        })
    }
}

/// The best figures of the peers, each column on its own.
struct Best {
    throughput: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    peak: f64,
}

impl Best {
    fn among(medians: &[(&str, Medians)]) -> Self {
        let peers = || medians.iter().filter(|(name, _)| !name.starts_with(OURS)).map(|(_, medians)| medians);
        let least = |value: fn(&Medians) -> f64| peers().map(value).fold(f64::NAN, f64::min);
        Self {
            throughput: peers().map(|medians| medians.throughput).fold(f64::NAN, f64::max),
            p50: least(|medians| medians.p50),
            p99: least(|medians| medians.p99),
            cpu: least(|medians| medians.cpu),
            peak: least(|medians| medians.peak),
        }
    }
}

/// A figure, and in parentheses its ratio to the best peer's.
fn figure(value: f64, best: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$} ({})", ratio(value, best)) } else { "-".to_owned() }
}

fn ratio(value: f64, to: f64) -> String {
    let ratio = value / to;
    if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{median, ratio};

    #[test]
    fn medians_and_ratios() {
        assert_eq!(ratio(median(vec![3.0, 1.0, 2.0]), 2.0), "1.00");
        assert_eq!(ratio(median(vec![4.0, 1.0, f64::NAN, 3.0, 2.0]), 2.5), "1.00");
        assert!(median(vec![]).is_nan());
        assert_eq!(ratio(1.0, 4.0), "0.25");
        assert_eq!(ratio(1.0, f64::NAN), "-");
    }
}
