//! The plot: a panel for each of two lengths, a line for each library, a bar to seal and one to open.

use std::fmt::Write;

use crate::case::Measured;
use crate::table::duration;

/// The lengths that are drawn, and their titles.
const PANELS: [(usize, &str); 2] = [(100, "100 B"), (1 << 20, "1 MiB")];

const WIDTH: f64 = 900.0;
const LABELS: f64 = 290.0;
const VALUES: f64 = 74.0;
const LINE: f64 = 34.0;
const BAR: f64 = 12.0;
const TITLE: f64 = 44.0;

/// Colors of the light theme, and of the dark one. The background is the page's.
const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } \
    .value { font-size: 11px } .grid { stroke: #d1d9e0 } .seal { fill: #0969da } .open { fill: #1a7f37 } \
    .ours { font-weight: 600 } rect.other { opacity: .62 } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #3d444d } \
    .seal { fill: #58a6ff } .open { fill: #3fb950 } }";

pub fn render(values: &[(usize, Vec<Measured>)], machine: &str) -> String {
    let mut body = String::new();
    let mut top = 30.0;
    for (len, title) in PANELS {
        let (_, cases) = values
            .iter()
            .find(|(known, _)| *known == len)
            .expect("a measured length");
        top = panel(&mut body, top, title, cases);
    }
    let height = top + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Time to seal and to open 100 bytes and 1 MiB, by library\">\n<style>{STYLE}</style>\n\
         <rect class=\"seal\" x=\"{LABELS}\" y=\"8\" width=\"{BAR}\" height=\"{BAR}\"/><text x=\"{}\" y=\"19\">seal</text>\n\
         <rect class=\"open\" x=\"{}\" y=\"8\" width=\"{BAR}\" height=\"{BAR}\"/><text x=\"{}\" y=\"19\">open</text>\n\
         <text x=\"{}\" y=\"19\">CPU time, logarithmic; shorter is faster. {machine}</text>\n{body}</svg>\n",
        LABELS + 18.0,
        LABELS + 70.0,
        LABELS + 88.0,
        LABELS + 150.0,
    )
}

/// Draws one panel from `top` downwards and returns where it ends.
fn panel(body: &mut String, top: f64, title: &str, cases: &[Measured]) -> f64 {
    let mut cases = cases.to_vec();
    cases.sort_by(|a, b| (a.seal + a.open).total_cmp(&(b.seal + b.open)));
    let logs = |case: &Measured| [case.seal.log10(), case.open.log10()];
    let least = cases.iter().flat_map(logs).fold(f64::INFINITY, f64::min).floor();
    let most = cases
        .iter()
        .flat_map(logs)
        .fold(f64::NEG_INFINITY, f64::max)
        .ceil();
    let x = |nanos: f64| LABELS + (nanos.log10() - least) / (most - least) * (WIDTH - LABELS - VALUES);
    let (first, end) = (top + TITLE, top + TITLE + LINE * cases.len() as f64);

    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"0\" y=\"{}\">{title}</text>",
        top + 26.0
    );
    for power in least as i32..=most as i32 {
        let nanos = 10f64.powi(power);
        let x = x(nanos);
        let label = duration(nanos).replace(".00", "").replace(".0", "");
        let _ = writeln!(
            body,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{end}\"/>\
             <text class=\"value\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            first - 6.0,
            first - 10.0,
        );
    }
    for (row, case) in cases.iter().enumerate() {
        let y = first + LINE * row as f64;
        let who = if case.name.starts_with("waxseal") {
            "ours"
        } else {
            "other"
        };
        let _ = writeln!(
            body,
            "<text class=\"{who}\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LABELS - 10.0,
            y + BAR + 5.0,
            case.name,
        );
        for (index, (class, nanos)) in [("seal", case.seal), ("open", case.open)].into_iter().enumerate() {
            let y = y + 1.0 + (BAR + 1.0) * index as f64;
            let width = x(nanos) - LABELS;
            let _ = writeln!(
                body,
                "<rect class=\"{class} {who}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>\
                 <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x(nanos) + 5.0,
                y + BAR - 2.0,
                duration(nanos),
            );
        }
    }
    end + 18.0
}
