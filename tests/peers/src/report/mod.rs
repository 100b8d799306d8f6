//! The results: one table, one JSON file, and a picture of latency over time for each store.

mod json;
mod markdown;
mod rows;
mod svg;

use std::fs;
use std::path::Path;

use crate::run::Measured;
use crate::stores::Fault;

/// Writes all results to a folder, and returns the table.
pub(crate) fn write(out: &Path, about: &str, measured: &[Measured]) -> Result<String, Fault> {
    fs::create_dir_all(out)?;
    let rows = rows::rows(measured);
    let table = markdown::table(about, &rows, measured);
    fs::write(out.join("peers.md"), &table)?;
    fs::write(out.join("peers.json"), json::document(about, &rows, measured)?)?;
    if let Some(picture) = svg::picture(measured) {
        fs::write(out.join("overwrites.svg"), picture)?;
    }
    Ok(table)
}
