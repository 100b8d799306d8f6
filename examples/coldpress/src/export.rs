//! The command `export`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::caches::facts;
use crate::entries::each;
use crate::failure::{Failure, Verdict};
use crate::line::EntryLine;
use crate::options::Export;
use crate::output::Output;

pub(crate) fn export(export: &Export, out: &mut Output) -> Result<Verdict, Failure> {
    let facts = facts(&export.place, out)?;
    let Some(path) = &export.to else {
        out.begin("exporting", true);
        let verdict = each(&facts, true, out, |out, entry| out.json(&EntryLine::of(entry)));
        out.end();
        return verdict;
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = BufWriter::new(made.map_err(|error| Failure::at("make", path, &error))?);
    out.begin("exporting", false);
    let verdict = each(&facts, true, out, |_, entry| {
        let line = serde_json::to_string(&EntryLine::of(entry))?;
        writeln!(file, "{line}").map_err(|error| Failure::at("write", path, &error))
    });
    out.end();
    finish(file, path)?;
    verdict
}

fn finish(file: BufWriter<File>, path: &Path) -> Result<(), Failure> {
    let file = file.into_inner().map_err(|error| Failure::at("write", path, error.error()))?;
    file.sync_all().map_err(|error| Failure::at("sync", path, &error))
}
