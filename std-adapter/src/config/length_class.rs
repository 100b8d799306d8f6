//! Classes of record lengths: eight to a doubling.

/// Classes to a doubling of the length.
const STEPS: u32 = 8;
/// Classes of all lengths of 32 bits; class 0 is for no record.
pub(crate) const CLASSES: usize = ((u32::BITS - STEPS.ilog2() + 1) * STEPS) as usize;

/// The class of a length: its highest bit and the three below it.
pub(crate) const fn class(bytes: u32) -> u32 {
    if bytes < STEPS {
        return bytes;
    }
    let octave = bytes.ilog2() - STEPS.ilog2();
    (octave + 1) * STEPS + (bytes >> octave) % STEPS
}

/// The longest length that is counted as one of so many bytes.
pub(crate) const fn counted_bytes(bytes: u32) -> u32 {
    longest_of(class(bytes))
}

/// The longest length of a class.
pub(crate) const fn longest_of(class: u32) -> u32 {
    if class < STEPS {
        return class;
    }
    let octave = class / STEPS - 1;
    ((STEPS + class % STEPS) << octave) + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_at_most_that_of_its_class() {
        let edges = (0..32).flat_map(|bit| {
            let power = 1u32 << bit;
            [power - 1, power, power + 1, power + power / 2, power + (power - 1)]
        });
        let mut before = (0, 0);
        let mut lengths: Vec<u32> = edges.chain(0..5000).chain([u32::MAX]).collect();
        lengths.sort_unstable();
        for bytes in lengths {
            let (class, longest) = (class(bytes), longest_of(class(bytes)));
            assert!((class as usize) < CLASSES && longest >= bytes, "{bytes}");
            assert!(longest - bytes <= bytes / STEPS, "{bytes}: {longest}");
            assert!(class >= before.0 && longest >= before.1, "{bytes}");
            before = (class, longest);
        }
    }
}
