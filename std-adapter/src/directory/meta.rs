//! The metadata of a tier beside its log: how many files it has, whose they are, and the schema of its values.
//!
//! The core has its [bytes](TierMeta). A new one is made durable under another name and put in the place of the old one, so that a cut leaves one
//! of the two. Tiers that were made before there was such a file get it at their next open.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use coldpress_core::format::{TIER_META_CHECKSUM_BYTES, TIER_META_HEAD_BYTES, TierMeta};

use crate::config::{ColdTierConfig, SCHEMA_BYTES_MAX};
use crate::errors::OpenError;
use crate::file_error::{AtPath as _, FileError};
use crate::storage::{META_NAME, Mode, sync_dir};

pub(crate) const META_NEW_NAME: &str = "tier.meta.new";

const BYTES_MAX: usize = TIER_META_HEAD_BYTES + SCHEMA_BYTES_MAX + TIER_META_CHECKSUM_BYTES;

/// The stored facts about a tier; empty for a tier that was made before there was such a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) partitions: u16,
    pub(crate) schema: Option<Box<str>>,
    /// The store whose files they are, 0 where that is not known. A log that was emptied has forgotten its own.
    pub(crate) store_id: u64,
}

impl Meta {
    /// Reads what is known of the tier in a directory.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(META_NAME);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at("open", &path)?,
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).at("read", &path)?;
        Self::decode(&bytes).map(Some).ok_or(OpenError::Metadata(path))
    }

    /// Writes it, durable, in the place of what was there.
    pub(crate) fn write(&self, dir: &Path, mode: Mode) -> Result<(), FileError> {
        let new = dir.join(META_NEW_NAME);
        let mut file = mode.make_anew(&new)?;
        file.write_all(&self.encode()).at("write", &new)?;
        file.sync_all().at("sync", &new)?;
        std::fs::rename(&new, dir.join(META_NAME)).at("rename", &new)?;
        sync_dir(dir)
    }

    /// The schema that the tier has from here on: its own, or that of the configuration where it has none and holds nothing, or
    /// where that is to be adopted.
    pub(crate) fn settled(
        &self,
        config: &ColdTierConfig,
        is_empty: bool,
    ) -> Result<Option<Box<str>>, OpenError> {
        let configured = &config.settings.schema;
        let is_taken = config.settings.adopts_schema || is_empty && self.schema.is_none();
        if *configured != self.schema && !is_taken {
            let (stored, configured) = (self.schema.clone(), configured.clone());
            return Err(OpenError::Schema { stored, configured });
        }
        Ok(configured.clone())
    }

    fn encode(&self) -> Vec<u8> {
        let Self { partitions, store_id, .. } = *self;
        let schema = self.schema.as_deref().unwrap_or_default();
        let meta = TierMeta { partitions, store_id, schema };
        [&meta.head()[..], schema.as_bytes(), &meta.checksum()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let TierMeta { partitions, store_id, schema } = TierMeta::decode(bytes)?;
        let schema = (!schema.is_empty()).then(|| Box::from(schema));
        Some(Self { partitions, schema, store_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::format::Checksum;

    #[test]
    fn metadata_with_any_flipped_bit_or_cut_is_refused() {
        for schema in [None, Some("sessions v2".into()), Some("é".repeat(127).into_boxed_str())] {
            let meta = Meta { partitions: 3, schema, store_id: 0x0123_4567_89AB_CDEF };
            let bytes = meta.encode();
            assert!(bytes.len() <= BYTES_MAX);
            assert_eq!(Meta::decode(&bytes), Some(meta));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Meta::decode(&damaged), None, "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(Meta::decode(&bytes[..len]), None, "{len} bytes");
            }
            assert_eq!(Meta::decode(&[&bytes[..], b"x"].concat()), None);
        }
    }

    #[test]
    fn metadata_of_a_later_version_is_refused() {
        let mut bytes = Meta { partitions: 1, ..Meta::default() }.encode();
        bytes[3] = b'2';
        let body = bytes.len() - TIER_META_CHECKSUM_BYTES;
        let checksum = Checksum::of(&bytes[..body]).value().to_le_bytes();
        bytes[body..].copy_from_slice(&checksum);
        assert_eq!(Meta::decode(&bytes), None);
    }
}
