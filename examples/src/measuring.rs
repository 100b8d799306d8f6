//! The command lines of the programs that measure: `amplification`, `content` and `in-memory`.

use std::path::PathBuf;

use clap::Parser;

/// Measures the write amplification of the tier machine alone, on a medium in memory.
///
/// Prints bytes written ÷ bytes of fresh records, of the whole run and of its second half, for each workload and each way
/// to choose victims. There is no I/O: figures are counts, and repeat exactly. Without a trace it needs no input.
#[derive(Debug, Clone, Parser)]
#[command(name = "amplification", version)]
pub struct Amplification {
    /// A block I/O trace that is measured too: CSV in the form of CloudPhysics.
    ///
    /// The first line is `version,time,op,size,lbn`; every other line is a request, such as `1,42,2a,4096,17`: op is 2a for a
    /// write (others are skipped), size is in bytes, lbn is the key. The writes run five times at 1.1 times the live data;
    /// values are cut to a sixteenth to fit into memory.
    pub trace: Option<PathBuf>,
}

/// Measures the contents of the replay's values: how fast they are made and checked, and how far each codec compresses them.
///
/// Needs no input: values of 256 bytes to 64 KiB are made from a fixed seed. Ratios repeat exactly, speeds are this machine's.
#[derive(Debug, Clone, Parser)]
#[command(name = "content", version)]
pub struct Content {}

/// Runs a whole tier in memory, by an adapter of 250 lines: fills it, overwrites it, cuts the power, and finds every key again.
///
/// Needs no input. All figures are counts, and repeat exactly.
#[derive(Debug, Clone, Parser)]
#[command(name = "in-memory", version)]
pub struct InMemory {
    /// Keys, of values of 100 bytes; the tier holds 1 MiB.
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    pub keys: u32,
    /// How often each key is put.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rounds: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::image::Job;
    use crate::options::Options;

    fn help<P: CommandFactory>() -> String {
        P::command().render_long_help().to_string()
    }

    #[test]
    fn help_of_each_program_describes_that_program() {
        for (help, begins) in [
            (help::<Options>(), "Replays requests through a cold tier"),
            (help::<Job>(), "Builds, verifies, dumps and sums up images"),
            (help::<Amplification>(), "Measures the write amplification"),
            (help::<Content>(), "Measures the contents of the replay's values"),
        ] {
            assert!(help.starts_with(begins), "{help}");
        }
    }

    #[test]
    fn help_of_measuring_programs_names_their_input() {
        assert!(help::<Amplification>().contains(crate::trace::HEADER));
        assert!(help::<Content>().contains("Needs no input"));
    }

    #[test]
    fn row_in_the_help_of_amplification_is_a_write() {
        let text = format!("{}\n1,42,2a,4096,17\n", crate::trace::HEADER);
        let rows: Vec<_> =
            crate::trace::TraceReader::new(text.as_bytes()).unwrap().map(Result::unwrap).collect();
        let write = crate::trace::TraceRow { op: crate::trace::TraceOp::Write, size: 4096, lbn: 17 };
        assert!(help::<Amplification>().contains("1,42,2a,4096,17"));
        assert_eq!(rows, [write]);
    }

    #[test]
    fn unknown_arguments_of_measuring_programs_are_refused() {
        assert!(Content::try_parse_from(["content", "trace.csv"]).is_err());
        assert!(Amplification::try_parse_from(["amplification", "a.csv", "b.csv"]).is_err());
        assert!(Amplification::try_parse_from(["amplification", "--rounds"]).is_err());
    }
}
