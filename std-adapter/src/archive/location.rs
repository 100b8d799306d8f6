//! The object store and the prefix that a URL names.

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, parse_url_opts};
use url::Url;

use super::error::ArchiveError;
use crate::storage::{Mode, make_dirs};

/// The names of variables that configure stores begin so.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Objects hold values, so a new directory is for its owner alone. The access to files follows from this.
const MODE: u32 = 0o600;

/// The place of an archive: an object store, and a prefix in it.
///
/// ```
/// use coldpress_std::archive::{self, ArchiveLocation};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let location = ArchiveLocation::from_url("memory:///backups/sessions")?;
/// assert!(archive::list(&location.store, &location.prefix).await?.backups.is_empty());
/// # Ok::<(), archive::ArchiveError>(()) }).unwrap();
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ArchiveLocation {
    /// The store.
    pub store: Box<dyn ObjectStore>,
    /// The prefix of the names of all objects.
    pub prefix: Path,
}

impl ArchiveLocation {
    /// Opens the place that a URL names. The variables of the environment that begin with `AWS_`, `AZURE_` or `GOOGLE_` configure
    /// the store of a cloud, as the crate [`object_store`] reads them.
    ///
    /// | URL | place |
    /// |---|---|
    /// | `s3://BUCKET/PREFIX` | S3, with the feature `aws`. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION` say who asks; `AWS_ENDPOINT` names another server that speaks its protocol, and `AWS_ALLOW_HTTP=true` permits one without TLS |
    /// | `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` | other clouds, where the program has these features of `object_store` |
    /// | `file:///DIR` | a local directory, made where it is not there. Objects are synced |
    /// | `memory:///PREFIX` | the memory of this process, for tests |
    ///
    /// # Errors
    /// [`ArchiveError::Url`] where the text is no URL; [`ArchiveError::Store`] where its store is not built in or misses
    /// options; [`ArchiveError::File`] where the directory can't be made.
    ///
    /// # Bounds
    /// Asks no network. It may block to make a directory.
    pub fn from_url(url: &str) -> Result<Self, ArchiveError> {
        let of_stores = |name: &str| VARIABLES.iter().any(|start| name.starts_with(start));
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_url_with(url, variables.filter(|(name, _)| of_stores(name)))
    }

    /// As [`from_url`](Self::from_url), with options in place of the environment: `("aws_region", "eu-central-1")`.
    ///
    /// # Errors
    /// As [`from_url`](Self::from_url).
    pub fn from_url_with(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ArchiveError> {
        let no_url = || ArchiveError::Url { url: url.to_owned() };
        let parsed = Url::parse(url).map_err(|_| no_url())?;
        if parsed.scheme() != "file" {
            let (store, prefix) = parse_url_opts(&parsed, options)?;
            return Ok(Self { store, prefix });
        }
        // Its own store, since that of `parse_url_opts` syncs nothing.
        ObjectStoreScheme::parse(&parsed).map_err(|error| ArchiveError::Store(error.into()))?;
        let dir = make_dirs(&parsed.to_file_path().map_err(|()| no_url())?, Mode::new(MODE))?;
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { store: Box::new(store), prefix: Path::default() })
    }
}
