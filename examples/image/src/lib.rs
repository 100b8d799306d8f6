//! The commands of the program `image`, and maps of sequential-storage 8: read from the content of a flash, and carried over to an
//! image.
//!
//! The store itself reads the map, and repairs a copy of it in memory where a power cut interrupted it. So an image that was torn
//! has the values which firmware would find after its next start. The types of the store fix page and word of a flash when the program
//! is built; the table in `readers` has one reader for each shape. The `survey` finds most mistakes about the shape. The store can't
//! see them, since it skips all that it can't read.

mod import;
mod keys;
mod options;
mod pages;
mod readers;
mod survey;

pub use import::{ImportError, Imported, import, imported};
pub use keys::KeyType;
pub use options::{ImageCommand, ImageJob, ImportSequential};
pub use pages::BeyondFlash;
pub use readers::{MapError, MapShape, StoredMap, Values, read_map};
pub use survey::Survey;
