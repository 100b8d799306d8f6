//! The object store and the prefix that a URL names.

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreScheme, parse_url_opts};
use url::Url;

use super::error::ArchiveError;
use crate::storage::{Mode, make_dirs};

/// The names of variables that configure stores begin so.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Programs in Azure get by this variable the address that gives them their identity. `object_store` reads it, too.
const IDENTITY_VARIABLE: &str = "IDENTITY_ENDPOINT";
/// `parse_url_opts` gives errors this name where a store is not built, and no others.
const NOT_BUILT: &str = "parse_url";
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
    /// the store of a cloud, as the crate [`object_store`] reads them. So does `IDENTITY_ENDPOINT`, for Azure.
    ///
    /// | URL | place |
    /// |---|---|
    /// | `s3://BUCKET/PREFIX` | S3, with the feature `aws`. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION` say who asks; `AWS_ENDPOINT` names another server that speaks its protocol, and `AWS_ALLOW_HTTP=true` permits one without TLS |
    /// | `gs://BUCKET/PREFIX` | Google Cloud Storage, with the feature `gcp`. `GOOGLE_APPLICATION_CREDENTIALS` or `GOOGLE_SERVICE_ACCOUNT` names a file that says who asks; a machine in that cloud needs neither |
    /// | `az://CONTAINER/PREFIX` | Azure Blob Storage, with the feature `azure`. `AZURE_STORAGE_ACCOUNT_NAME` names the account. `AZURE_STORAGE_ACCOUNT_KEY`, or `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` and `AZURE_TENANT_ID`, say who asks; a machine with a managed identity needs none of the four |
    /// | `file:///DIR` | a local directory, made where it is not there. Objects are synced |
    /// | `memory:///PREFIX` | the memory of this process, for tests |
    ///
    /// Each request to a cloud ends after 30 s, and after 5 s without a connection. One that fails is repeated up to 10 times within
    /// 180 s. `AWS_TIMEOUT`, `AZURE_TIMEOUT` and `GOOGLE_TIMEOUT` set another time, such as `10s`.
    ///
    /// Backups were tested against a server that speaks the protocol of S3. The two other clouds were tested by the requests alone that go to
    /// them: no server of theirs was at hand.
    ///
    /// # Errors
    /// [`ArchiveError::Url`] where the text is no URL; [`ArchiveError::NotBuilt`] where the feature for its store is off;
    /// [`ArchiveError::Store`] where there is no such kind of store, or an option is wrong or missing;
    /// [`ArchiveError::File`] where the directory can't be made.
    ///
    /// # Bounds
    /// Asks no network. It may block to make a directory.
    pub fn from_url(url: &str) -> Result<Self, ArchiveError> {
        let of_stores =
            |name: &str| name == IDENTITY_VARIABLE || VARIABLES.iter().any(|start| name.starts_with(start));
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
            return match parse_url_opts(&parsed, options) {
                Ok((store, prefix)) => Ok(Self { store, prefix }),
                Err(error) => Err(not_built(&parsed, &error).unwrap_or_else(|| error.into())),
            };
        }
        // Its own store, since that of `parse_url_opts` syncs nothing.
        ObjectStoreScheme::parse(&parsed).map_err(|error| ArchiveError::Store(error.into()))?;
        let dir = make_dirs(&parsed.to_file_path().map_err(|()| no_url())?, Mode::new(MODE))?;
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { store: Box::new(store), prefix: Path::default() })
    }
}

/// The error that names our feature, where the store of a URL is not built.
fn not_built(url: &Url, error: &Error) -> Option<ArchiveError> {
    if !matches!(error, Error::Generic { store: NOT_BUILT, .. }) {
        return None;
    }
    let feature = match ObjectStoreScheme::parse(url).ok()?.0 {
        ObjectStoreScheme::AmazonS3 => "aws",
        ObjectStoreScheme::GoogleCloudStorage => "gcp",
        ObjectStoreScheme::MicrosoftAzure => "azure",
        // No feature of ours adds it.
        _ => return None,
    };
    Some(ArchiveError::NotBuilt { feature })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_that_is_not_built_is_named_by_its_feature() {
        let named = |url: &str, store| {
            let error = Error::Generic { store, source: "off".into() };
            match not_built(&Url::parse(url).unwrap(), &error) {
                Some(ArchiveError::NotBuilt { feature }) => Some(feature),
                _ => None,
            }
        };
        for (url, feature) in [("s3://b/p", "aws"), ("gs://b/p", "gcp"), ("az://c/p", "azure")] {
            assert_eq!(named(url, NOT_BUILT), Some(feature));
            assert_eq!(named(url, "S3"), None, "the store is built, and refuses something else");
        }
        assert_eq!(named("https://example.com/p", NOT_BUILT), None);
        // Nothing builds the store of HTTP, so this shows the error that `object_store` gives then.
        let refused = parse_url_opts(&Url::parse("https://example.com/p").unwrap(), [("", "")]).unwrap_err();
        assert!(matches!(refused, Error::Generic { store: NOT_BUILT, .. }), "{refused:?}");
    }
}
