//! The results: one table, one JSON file, and pictures of latency over time for each store.

mod json;
mod markdown;
mod rows;
mod svg;

use std::fs;
use std::path::Path;

use crate::job::{Law, Step};
use crate::run::Measured;
use crate::stores::Fault;

/// Writes all results to a folder, and returns the table.
pub(crate) fn write(out: &Path, about: &str, measured: &[Measured]) -> Result<String, Fault> {
    fs::create_dir_all(out)?;
    let rows = rows::rows(measured);
    let table = markdown::table(about, &rows, measured);
    fs::write(out.join("peers.md"), &table)?;
    fs::write(out.join("peers.json"), json::document(about, &rows, measured)?)?;
    let is_overwrite = |step: &Step| matches!(step, Step::Overwrite { .. });
    let is_beside = |step: &Step| matches!(step, Step::Beside { law: Law::Uniform, bytes_per_s: None, .. });
    let pictures = [
        ("overwrites.svg", svg::picture(measured, "put", is_overwrite)),
        ("gets.svg", svg::picture(measured, "get", is_beside)),
    ];
    for (name, picture) in pictures {
        if let Some(picture) = picture {
            fs::write(out.join(name), picture)?;
        }
    }
    Ok(table)
}
