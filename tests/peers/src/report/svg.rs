//! The longest call of every moment, one strip a store; moments in which it compacts are marked.

use core::fmt::Write as _;

use crate::job::Step;
use crate::measure::{TICK, Tick};
use crate::run::Measured;

const WIDTH: f64 = 900.0;
const STRIP: f64 = 90.0;
const LEFT: f64 = 130.0;
const TOP: f64 = 40.0;
const GAP: f64 = 18.0;

/// The latencies at foot and top of a strip, as powers of ten of a nanosecond: a microsecond and ten seconds.
const POWERS: (f64, f64) = (3.0, 10.0);

/// Draws the first round of the steps for which `is_drawn` holds, whose calls have this name; `None` where there are none.
pub(crate) fn picture(measured: &[Measured], call: &str, is_drawn: impl Fn(&Step) -> bool) -> Option<String> {
    let first = measured.iter().filter(|one| one.round == 0 && is_drawn(&one.step));
    let strips: Vec<_> = first
        .filter_map(|one| {
            let ticks = &one.outcome.as_ref().ok()?.ticks;
            (!ticks.is_empty()).then_some((one.variant.name(), ticks.as_slice()))
        })
        .collect();
    let seconds = |ticks: &[Tick]| ticks.len() as f64 * TICK.as_secs_f64();
    let longest = strips.iter().map(|(_, ticks)| seconds(ticks)).max_by(f64::total_cmp)?;
    let height = TOP + strips.len() as f64 * (STRIP + GAP) + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">Longest {call} of each 20 ms, 1 µs to 10 s (logarithmic), over {longest:.1} s; shaded: \
         the store compacts; a grey name: it doesn’t say</text>\n",
        LEFT + WIDTH + 20.0
    );
    for (at, (name, ticks)) in strips.iter().enumerate() {
        let top = TOP + at as f64 * (STRIP + GAP);
        strip(&mut svg, name, ticks, top, WIDTH / longest);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Draws one store; `scale` are the points of a second.
fn strip(svg: &mut String, name: &str, ticks: &[Tick], top: f64, scale: f64) {
    let says = ticks.iter().any(|tick| tick.compacts.is_some());
    let step = TICK.as_secs_f64() * scale;
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{}\" fill=\"{}\">{name}</text>",
        top + STRIP / 2.0,
        if says { "black" } else { "grey" }
    );
    for (at, _) in ticks.iter().enumerate().filter(|(_, tick)| tick.compacts == Some(true)) {
        let x = LEFT + at as f64 * step;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.2}\" y=\"{top}\" width=\"{:.2}\" height=\"{STRIP}\" fill=\"#fde3b5\"/>",
            step + 0.05
        );
    }
    for power in 0..=((POWERS.1 - POWERS.0) as u32) {
        let y = top + STRIP - f64::from(power) / (POWERS.1 - POWERS.0) * STRIP;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>",
            LEFT + WIDTH
        );
    }
    let mut points = String::new();
    for (at, tick) in ticks.iter().enumerate().filter(|(_, tick)| tick.ops > 0) {
        let power = (tick.max_ns.max(1) as f64).log10().clamp(POWERS.0, POWERS.1);
        let y = top + STRIP - (power - POWERS.0) / (POWERS.1 - POWERS.0) * STRIP;
        let _ = write!(points, "{:.2},{y:.2} ", LEFT + at as f64 * step);
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2b6cb0\" stroke-width=\"0.8\"/>",
        points.trim_end()
    );
}
