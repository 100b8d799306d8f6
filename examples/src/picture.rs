//! One page of HTML that shows a replay: segments and pool pages before and after, and the main figures.
//!
//! The page needs nothing beside itself: styles and drawings are inline, it follows the reader's light or dark setting, and
//! every cell has a text that describes it.

use core::fmt::Write;

use crate::figures::{Snapshot, bytes, count, micros};
use crate::latency::Percentiles;
use crate::plan::Plan;
use crate::replay::Replayed;
use crate::store::{PageView, SegmentView};

/// At most so many cells are drawn in a map; beyond, one cell stands for several neighbours.
const CELLS_MAX: usize = 640;
/// Cells of a row.
const COLUMNS: usize = 32;
/// From one cell to the next, in units of the drawing.
const PITCH: usize = 17;
/// The side of a cell.
const SIDE: usize = 14;

/// Makes the page.
#[must_use]
pub fn page(plan: &Plan, replayed: &Replayed) -> String {
    let mut html = String::with_capacity(1 << 18);
    let title = escaped(&plan.title);
    let _ = write!(html, "{HEAD}<title>Replay: {title}</title></head><body><main>");
    let _ = write!(html, "<header><p class=eyebrow>Coldpress replay</p><h1>{title}</h1>");
    let _ = write!(html, "<p class=facts>{}</p></header>", escaped(&facts(plan, replayed)));
    tiles(&mut html, replayed);
    segments(&mut html, replayed);
    pages(&mut html, replayed);
    latencies(&mut html, replayed);
    tasks(&mut html, replayed);
    html.push_str("</main></body></html>\n");
    html
}

const HEAD: &str = r#"<!doctype html><html lang=en><head><meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><style>
:root{--ground:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5b6878;--line:#dfe4ea;--live:#1f6feb;--stale:#f0883e;--free:#e6eaef;--good:#1a7f4b;--bad:#c93c37}
@media(prefers-color-scheme:dark){:root{--ground:#0e141b;--card:#161e27;--ink:#e6ebf1;--soft:#93a1b1;--line:#28323e;--live:#58a6ff;--stale:#f0883e;--free:#26313d;--good:#4cc38a;--bad:#ff7b72}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 56px}h1{font-size:26px;line-height:1.25;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}h2{font-size:19px;margin:0}h3{font-size:15px;margin:0 0 10px;font-weight:600}
.eyebrow{margin:0 0 6px;color:var(--soft);font-size:13px;letter-spacing:.08em;text-transform:uppercase}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(168px,1fr));gap:12px;margin:26px 0}.tile,section{background:var(--card);border:1px solid var(--line);border-radius:12px}
.tile{padding:14px 16px}.tile b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}.good b{color:var(--good)}.bad b{color:var(--bad)}
section{padding:20px 22px 22px;margin-top:16px}.bar{display:flex;flex-wrap:wrap;gap:6px 24px;align-items:baseline;justify-content:space-between;margin-bottom:4px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft)}.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.note{margin:0 0 16px;color:var(--soft);font-size:14px}.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:24px 32px}svg{display:block;width:100%;height:auto}
.live{fill:var(--live)}.stale{fill:var(--stale)}.free{fill:var(--free)}i.live{background:var(--live)}i.stale{background:var(--stale)}i.free{background:var(--free)}
.sum{font-size:13px;color:var(--soft);margin:10px 0 0;font-variant-numeric:tabular-nums}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}th,td{padding:7px 10px;text-align:right;border-top:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;padding-left:0}thead th{border-top:0;color:var(--soft);font-weight:500;font-size:13px}.scroll{overflow-x:auto}.facts{margin:8px 0 0;color:var(--soft)}.tasks th:nth-child(2),.tasks td:nth-child(2){text-align:left}
</style>"#;

/// Describes the run in one line.
fn facts(plan: &Plan, replayed: &Replayed) -> String {
    let figures = &replayed.figures;
    format!(
        "{}: {} puts of {} and {} gets by {} threads in {:.1} s, codec {}, capacity {} in segments of {}",
        plan.details,
        count(figures.puts),
        bytes(figures.bytes_put),
        count(figures.gets),
        plan.job.threads,
        replayed.driven_ms as f64 / 1000.0,
        plan.codec,
        bytes(figures.capacity_bytes),
        bytes(plan.segment_bytes.into())
    )
}

fn tiles(html: &mut String, replayed: &Replayed) {
    let figures = &replayed.figures;
    let mismatches = figures.mismatches + figures.reopen_mismatches;
    let verdict = if mismatches == 0 { "good" } else { "bad" };
    let tile = |html: &mut String, class: &str, value: &str, label: &str| {
        let _ = write!(html, "<div class=\"tile {class}\"><b>{value}</b><span>{label}</span></div>");
    };
    html.push_str("<div class=tiles>");
    tile(html, verdict, &count(mismatches), "mismatches, before and after reopening");
    tile(html, "", &count(figures.requests), "requests, every byte read was checked");
    tile(html, "", &format!("{:.2}", figures.write_amplification), "write amplification");
    tile(html, "", &bytes(figures.log_bytes_reclaimed), "reclaimed from the log");
    tile(html, "", &format!("{:.0} %", figures.live_share * 100.0), "of the capacity live before the purge");
    let recovery = format!("{} ms", count(figures.recovery_ms));
    let records = format!("to recover {} records", count(figures.recovered_records));
    tile(html, "", &recovery, &records);
    html.push_str("</div>");
}

fn segments(html: &mut String, replayed: &Replayed) {
    let (before, after) = (&replayed.before.segments, &replayed.after.segments);
    let each = before.len().max(after.len()).div_ceil(CELLS_MAX).max(1);
    let size = before.first().map_or(0, |segment| segment.capacity_bytes);
    let cell = if each == 1 {
        format!("Each cell is a segment of {}", bytes(size))
    } else {
        format!("Each cell is {each} neighbouring segments of {}", bytes(size))
    };
    section(html, "Segments of the log", &["live", "stale", "free"]);
    let _ = write!(
        html,
        "<p class=note>{cell}, filled from the bottom in proportion to its bytes.</p><div class=pair>"
    );
    let first = if replayed.purged > 0 { "After the requests and the purge" } else { "After the requests" };
    for (name, segments) in [(first, before), ("After CompactData", after)] {
        let cells: Vec<Cell> = segments.chunks(each).map(segment_cell).collect();
        let _ = write!(html, "<div><h3>{name}</h3>");
        map(html, &format!("Segments: {}", name), &cells);
        let total = |of: fn(&SegmentView) -> u64| segments.iter().map(of).sum::<u64>();
        let (live, stale) = (total(|segment| segment.live_bytes), total(|segment| segment.stale_bytes));
        let free = total(|segment| segment.capacity_bytes).saturating_sub(live + stale);
        let (live, stale, free) = (bytes(live), bytes(stale), bytes(free));
        let _ = write!(html, "<p class=sum>{live} live, {stale} stale, {free} free</p></div>");
    }
    html.push_str("</div></section>");
}

fn segment_cell(segments: &[SegmentView]) -> Cell {
    let total = |of: fn(&SegmentView) -> u64| segments.iter().map(of).sum::<u64>();
    let (live, stale) = (total(|segment| segment.live_bytes), total(|segment| segment.stale_bytes));
    let capacity = total(|segment| segment.capacity_bytes);
    let words = format!("{} live, {} stale of {}", bytes(live), bytes(stale), bytes(capacity));
    Cell { live: permille(live, capacity), stale: permille(stale, capacity), words }
}

fn pages(html: &mut String, replayed: &Replayed) {
    let most = replayed.before.pages.len().max(replayed.after.pages.len());
    let each = most.div_ceil(CELLS_MAX).max(1);
    section(html, "Pages of the pools", &["live", "free"]);
    let cell = if each == 1 { "a page".to_owned() } else { format!("{each} pages") };
    let _ = write!(
        html,
        "<p class=note>Each cell is {cell}, filled by its bytes in use and sorted by them; pages that were returned \
         are gone. The defragmentation returned {}.</p><div class=pair>",
        bytes(replayed.defragmented_bytes)
    );
    let moments = [("Before the defragmentation", &replayed.before), ("After it", &replayed.after)];
    for (name, Snapshot { pages, fragmentation_permille, .. }) in moments {
        let mut sorted = pages.clone();
        sorted.sort_by_key(|page| (page.slot_bytes, core::cmp::Reverse(page.used)));
        let cells: Vec<Cell> = sorted.chunks(each).map(page_cell).collect();
        let _ = write!(html, "<div><h3>{name}</h3>");
        map(html, &format!("Pool pages: {}", name), &cells);
        let fragmentation = f64::from(*fragmentation_permille) / 10.0;
        let pages = count(pages.len() as u64);
        let _ =
            write!(html, "<p class=sum>{pages} pages, {fragmentation:.1} % external fragmentation</p></div>");
    }
    html.push_str("</div></section>");
}

fn page_cell(pages: &[PageView]) -> Cell {
    let used: u64 = pages.iter().map(|page| u64::from(page.used)).sum();
    let slots: u64 = pages.iter().map(|page| u64::from(page.slots)).sum();
    let slot = pages.first().map_or(0, |page| page.slot_bytes);
    let words = format!("{} of {} in use", bytes(used * u64::from(slot)), bytes(slots * u64::from(slot)));
    Cell { live: permille(used, slots), stale: 0, words }
}

fn section(html: &mut String, name: &str, legend: &[&str]) {
    let _ = write!(html, "<section><div class=bar><h2>{name}</h2><div class=legend>");
    for word in legend {
        let _ = write!(html, "<span><i class={word}></i>{word}</span>");
    }
    html.push_str("</div></div>");
}

/// A cell of a map: its shares of each kind, in thousandths, and a text that describes it.
struct Cell {
    live: u64,
    stale: u64,
    words: String,
}

fn permille(part: u64, whole: u64) -> u64 {
    (part.saturating_mul(1000)).checked_div(whole).unwrap_or(0).min(1000)
}

/// Draws cells row by row. One path a colour keeps the page small; the titles hang on cells of their own.
fn map(html: &mut String, title: &str, cells: &[Cell]) {
    if cells.is_empty() {
        html.push_str("<p class=note>None.</p>");
        return;
    }
    let rows = cells.len().div_ceil(COLUMNS);
    let (width, height) = (COLUMNS * PITCH - (PITCH - SIDE), rows * PITCH - (PITCH - SIDE));
    let _ = write!(html, "<svg viewBox=\"0 0 {width} {height}\" role=img aria-label=\"{}\">", escaped(title));
    for (at, cell) in cells.iter().enumerate() {
        let (x, y) = (at % COLUMNS * PITCH, at / COLUMNS * PITCH);
        let side = SIDE as f64;
        let stale_top = cell.live + cell.stale.min(1000 - cell.live);
        let (live, both) = (cell.live as f64 / 1000.0 * side, stale_top as f64 / 1000.0 * side);
        let _ = write!(
            html,
            "<g transform=\"translate({x} {y})\"><title>{}</title><path class=free d=\"M0 0h{SIDE}v{SIDE}h-{SIDE}z\"/>",
            escaped(&cell.words)
        );
        for (class, from, to) in [("live", 0.0, live), ("stale", live, both)] {
            if to - from >= 0.05 {
                let (top, tall) = (side - to, to - from);
                let _ = write!(html, "<path class={class} d=\"M0 {top:.1}h{SIDE}v{tall:.1}h-{SIDE}z\"/>");
            }
        }
        html.push_str("</g>");
    }
    html.push_str("</svg>");
}

fn latencies(html: &mut String, replayed: &Replayed) {
    let figures = &replayed.figures;
    let [puts, gets] = replayed.calls;
    html.push_str(
        "<section><div class=bar><h2>Latency</h2></div><div class=scroll><table><thead><tr><th scope=col>Call</th>\
         <th scope=col>p50</th><th scope=col>p99</th><th scope=col>p99.9</th><th scope=col>calls</th></tr></thead><tbody>",
    );
    for (name, calls, Percentiles { p50, p99, p999 }) in [
        ("put, idle", puts.0, figures.put_us.idle),
        ("put, while compacting", puts.1, figures.put_us.compacting),
        ("get, idle", gets.0, figures.get_us.idle),
        ("get, while compacting", gets.1, figures.get_us.compacting),
    ] {
        let _ = write!(html, "<tr><td>{name}</td>");
        for cell in [micros(p50), micros(p99), micros(p999), count(calls)] {
            let _ = write!(html, "<td>{cell}</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div></section>");
}

fn tasks(html: &mut String, replayed: &Replayed) {
    html.push_str(
        "<section><div class=bar><h2>Tasks</h2></div><div class=scroll><table class=tasks><thead><tr>\
         <th scope=col>Task</th><th scope=col>Outcome</th><th scope=col>Time</th></tr></thead><tbody>",
    );
    for report in &replayed.tasks {
        let (outcome, ms) = (escaped(&report.outcome), count(report.ms));
        let _ = write!(html, "<tr><td>{}</td><td>{outcome}</td><td>{ms} ms</td></tr>", report.name);
    }
    html.push_str("</tbody></table></div></section>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_drawn_in_proportion_and_described_in_words() {
        let view = |live_bytes, stale_bytes| SegmentView { live_bytes, stale_bytes, capacity_bytes: 1000 };
        let cell = segment_cell(&[view(250, 500), view(750, 0)]);
        assert_eq!((cell.live, cell.stale), (500, 250));
        let mut svg = String::new();
        map(&mut svg, "a <map>", &[cell]);
        assert!(svg.contains("a &lt;map&gt;"));
        assert!(svg.contains("1000 B live") || svg.contains("0.98 KiB live"), "{svg}");
        assert!(svg.contains("M0 7.0h14v7.0h-14z"), "{svg}");
        assert!(svg.contains("M0 3.5h14v3.5h-14z"), "{svg}");
    }

    #[test]
    fn counts_that_are_off_never_draw_outside_a_cell() {
        let odd = SegmentView { live_bytes: 5000, stale_bytes: u64::MAX / 2, capacity_bytes: 1000 };
        let cell = segment_cell(&[odd]);
        let mut svg = String::new();
        map(&mut svg, "odd", &[cell]);
        assert!(!svg.contains("M0 -"), "{svg}");
    }

    /// A replay on a sound store, with segments and pages made up.
    fn made_up() -> (Plan, Replayed) {
        use clap::Parser;
        let line = "replay --workload zipf:0.99 --codec raw --rounds 1 --memory";
        let options = crate::options::Options::try_parse_from(line.split(' ')).unwrap();
        let plan = crate::plan::plan(&options).unwrap();
        let memory = crate::memory::Memory::new(plan.capacity_bytes);
        let mut replayed = crate::replay::replay(&plan, &memory, &mut crate::replay::Unwatched).unwrap();
        let mut rng = crate::rng::Rng::new(1, 1);
        let mut snapshot = |segments: u64, stale: u64, pages: u64, used: u64| Snapshot {
            segments: (0..segments)
                .map(|at| {
                    let stale_bytes = rng.below(stale << 20);
                    let live_bytes = (1 << 20) - stale_bytes;
                    let is_free = at % 9 == 0 || at * 4 / segments == 3 && stale < 2;
                    let part = u64::from(!is_free);
                    let capacity_bytes = 1 << 20;
                    SegmentView {
                        live_bytes: live_bytes * part,
                        stale_bytes: stale_bytes * part,
                        capacity_bytes,
                    }
                })
                .collect(),
            pages: (0..pages)
                .map(|at| PageView {
                    slot_bytes: 256 << (at % 3),
                    used: (used + rng.below(65 - used)) as u32,
                    slots: 64,
                })
                .collect(),
            fragmentation_permille: 470 - used as u32 * 7,
        };
        replayed.before = snapshot(270, 1, 150, 4);
        replayed.after = snapshot(270, 1, 90, 56);
        (plan, replayed)
    }

    #[test]
    fn page_made_closes_every_tag_and_needs_no_other_file() {
        let (plan, replayed) = made_up();
        let html = page(&plan, &replayed);
        for tag in ["html", "main", "section", "svg", "g", "div", "table", "p", "h2", "h3", "title", "style"]
        {
            let opened =
                html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(!html.contains("NaN") && !html.contains("http") && !html.contains("<script"));
        assert_eq!(html.matches("<svg").count(), 4);
    }
}
