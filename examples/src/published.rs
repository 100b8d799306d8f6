//! Published shapes of production caches, to generate workloads from.
//!
//! The figures are those of the table `stat/2020Mar.md`, here as comma-separated values. Juncheng Yang, Yao Yue and Rashmi
//! Vinayak publish it under CC BY 4.0, at github.com/twitter/cache-trace. It comes with the traces of "A large scale analysis
//! of hundreds of in-memory cache clusters at Twitter" (OSDI 2020). A few rows are built in; a file with all of them is read by
//! [`clusters`].

use core::fmt;

/// The header of such a table.
pub const HEADER: &str = "cluster,category,key_bytes,value_bytes,mean_freq,one_hit_wonder_pct,compulsory_miss_pct,ttl_mix,op_mix,zipf_alpha";

/// Rows of the published table: mixed times to live (52, 4), mostly writes (12, 15, 31), mostly reads (29),
/// large values (50).
pub const BUILT_IN: &str = "\
cluster,category,key_bytes,value_bytes,mean_freq,one_hit_wonder_pct,compulsory_miss_pct,ttl_mix,op_mix,zipf_alpha
cluster4,2,67,2439,26.5,29.33,3.77,60s:0.39;300s:0.24;1h:0.13;600s:0.12;4h:0.09;1d:0.03,get:0.93;set:0.07,1.1004
cluster12,2,44,1030,1.3,81.43,79.45,300s:0.98;299s:0.02,set:0.80;get:0.20,0.3048
cluster15,3,18,102,1.0,99.57,99.22,30s:1.00,set:1.00,0.0242
cluster29,1,36,799,22.5,23.04,4.45,1h:0.67;2h:0.33,get:0.86;set:0.13,1.2323
cluster31,2,41,15,1.1,94.06,94.39,60s:1.00,set:0.94;get:0.06,0
cluster50,2,18,67485,22.1,7.86,4.52,900s:0.73;1200s:0.24;1199s:0.03,get:0.52;set:0.48,1.2816
cluster52,1,20,273,32.6,19.36,3.07,1d:0.65;14d:0.27;12h:0.07,get:0.91;add:0.04;gets:0.02;cas:0.02,1.2117
";

/// An operation of the published mix, as a key–value tier carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `get`, `gets`.
    Get,
    /// `set`, `cas`, `replace`, `append`, `prepend`, `incr`, `decr`: all of them store a value.
    Set,
    /// `add`: stores unless there is one.
    Add,
    /// `delete`.
    Delete,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The cluster's number.
    pub number: u32,
    /// Mean bytes of a key.
    pub key_bytes: u32,
    /// Mean bytes of a value.
    pub value_bytes: u32,
    /// Requests that touch a key never seen before, in thousandths.
    pub fresh_permille: u32,
    /// Times to live in seconds, with their weights in hundredths.
    pub ttl_mix: Vec<(u32, u32)>,
    /// Operations, with their weights in hundredths.
    pub op_mix: Vec<(Verb, u32)>,
    /// The exponent of Zipf's law; zero where the table gives none.
    pub alpha: f64,
}

/// Why a table of workloads can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The first line is not [`HEADER`].
    Header,
    /// A line cannot be read.
    Row {
        /// The line, counted from one.
        line: usize,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "line 1 of the table of workloads is not the header `{HEADER}`"),
            Self::Row { line } => write!(f, "line {line} of the table of workloads cannot be read"),
        }
    }
}

impl core::error::Error for TableError {}

/// Reads a table of clusters.
///
/// # Errors
///
/// [`TableError`] with the first line that cannot be read.
pub fn clusters(text: &str) -> Result<Vec<Cluster>, TableError> {
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some(HEADER) {
        return Err(TableError::Header);
    }
    lines.zip(2..).map(|(row, line)| cluster(row.trim_end()).ok_or(TableError::Row { line })).collect()
}

fn cluster(row: &str) -> Option<Cluster> {
    let fields: Vec<&str> = row.split(',').collect();
    let [name, _category, key, value, _freq, _one_hit, fresh, ttls, ops, alpha] = *fields.as_slice() else {
        return None;
    };
    let alpha = if alpha.is_empty() { 0.0 } else { alpha.parse().ok()? };
    Some(Cluster {
        number: name.strip_prefix("cluster")?.parse().ok()?,
        key_bytes: key.parse().ok()?,
        value_bytes: value.parse().ok()?,
        fresh_permille: scaled(fresh, 10.0)?.min(1000),
        ttl_mix: mix(ttls, seconds)?,
        op_mix: mix(ops, verb)?,
        alpha,
    })
}

/// Reads `name:share;name:share`, shares as hundredths.
fn mix<T>(text: &str, name: impl Fn(&str) -> Option<T>) -> Option<Vec<(T, u32)>> {
    let part = |part: &str| {
        let (before, share) = part.split_once(':')?;
        Some((name(before)?, scaled(share, 100.0)?))
    };
    text.split(';').map(part).collect()
}

/// Reads a decimal number times a factor, as the nearest whole number.
fn scaled(text: &str, factor: f64) -> Option<u32> {
    let number = text.parse::<f64>().ok()? * factor;
    let is_whole = (0.0..f64::from(u32::MAX)).contains(&number);
    is_whole.then_some(number.round() as u32)
}

fn seconds(text: &str) -> Option<u32> {
    for (unit, factor) in [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return scaled(number, factor);
        }
    }
    None
}

fn verb(text: &str) -> Option<Verb> {
    match text {
        "get" | "gets" => Some(Verb::Get),
        "set" | "cas" | "replace" | "append" | "prepend" | "incr" | "decr" => Some(Verb::Set),
        "add" => Some(Verb::Add),
        "delete" => Some(Verb::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_rows_are_read_whole() {
        let clusters = clusters(BUILT_IN).unwrap();
        let found: Vec<u32> = clusters.iter().map(|cluster| cluster.number).collect();
        assert_eq!(found, [4, 12, 15, 29, 31, 50, 52]);
        let expected = Cluster {
            number: 52,
            key_bytes: 20,
            value_bytes: 273,
            fresh_permille: 31,
            ttl_mix: vec![(86_400, 65), (1_209_600, 27), (43_200, 7)],
            op_mix: vec![(Verb::Get, 91), (Verb::Add, 4), (Verb::Get, 2), (Verb::Set, 2)],
            alpha: 1.2117,
        };
        assert_eq!(clusters.last(), Some(&expected));
    }

    #[test]
    fn units_and_missing_exponents_are_read() {
        let row = "cluster43,2,44,304,18.4,0,5.43,1.5h:0.50;92.6d:0.50,set:0.50;delete:0.50,";
        let cluster = cluster(row).unwrap();
        assert_eq!(cluster.ttl_mix, [(5400, 50), (8_000_640, 50)]);
        assert!(cluster.alpha == 0.0);
    }

    #[test]
    fn odd_row_is_an_error_with_its_line() {
        let row = |row: &str| clusters(&format!("{HEADER}\n{row}\n"));
        let whole = "cluster1,2,80,267,26574.9,0.01,0,240s:1.00,get:0.99,2.6774";
        assert!(row(whole).is_ok());
        for odd in
            ["", "cluster1,2", &whole.replace("240s", "240y"), &whole.replace("get", "fly"), &whole[1..]]
        {
            assert_eq!(row(odd), Err(TableError::Row { line: 2 }), "{odd}");
        }
        assert_eq!(clusters("nothing"), Err(TableError::Header));
    }
}
