//! All figures, as JSON.

use serde::Serialize;

use super::rows::Row;
use crate::run::Measured;
use crate::stores::Fault;

#[derive(Serialize)]
struct Document<'a> {
    about: &'a str,
    rows: Vec<Line<'a>>,
    measurements: &'a [Measured],
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a Row,
    ahead: Option<f64>,
}

/// Makes the document: the rows of the table, and every outcome behind them.
pub(crate) fn document(about: &str, rows: &[Row], measured: &[Measured]) -> Result<String, Fault> {
    let rows = rows.iter().map(|row| Line { row, ahead: row.ahead() }).collect();
    Ok(serde_json::to_string(&Document { about, rows, measurements: measured })?)
}
