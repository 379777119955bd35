//! Where objects are, as a URL says it.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use waxseal::{Error, ErrorKind, Result};

/// Opens `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`. Returns the store and the prefix.
pub(crate) fn open(url: &str) -> Result<(Arc<dyn ObjectStore>, &str)> {
    let wrong = || {
        Error::new(ErrorKind::InvalidArgument)
            .with_detail("objects are named s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() || rest.contains(['@', '?', '#', ':']) {
        return Err(wrong());
    }
    let store = match scheme {
        "s3" => s3(name),
        "gs" => gcs(name),
        "az" => azure(name),
        _ => Err(wrong()),
    }?;
    Ok((store, prefix.trim_end_matches('/')))
}

/// What the names of objects begin with.
pub(crate) fn prefix(prefix: &str) -> Result<Path> {
    Path::parse(prefix).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument)
            .with_detail("the prefix of objects has no empty part and no `.` or `..` in it")
            .with_source(error)
    })
}

#[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp")))]
fn off(feature: &str) -> Result<Arc<dyn ObjectStore>> {
    Err(Error::new(ErrorKind::Configuration).with_detail(format!(
        "this service was not compiled in; add the feature `{feature}` of waxseal-object-store"
    )))
}

#[cfg(feature = "aws")]
fn s3(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    let builder = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket);
    Ok(Arc::new(builder.build().map_err(misconfigured)?))
}

#[cfg(not(feature = "aws"))]
fn s3(_: &str) -> Result<Arc<dyn ObjectStore>> {
    off("aws")
}

#[cfg(feature = "gcp")]
fn gcs(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    Ok(Arc::new(builder.build().map_err(misconfigured)?))
}

#[cfg(not(feature = "gcp"))]
fn gcs(_: &str) -> Result<Arc<dyn ObjectStore>> {
    off("gcp")
}

#[cfg(feature = "azure")]
fn azure(container: &str) -> Result<Arc<dyn ObjectStore>> {
    let builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_container_name(container);
    Ok(Arc::new(builder.build().map_err(misconfigured)?))
}

#[cfg(not(feature = "azure"))]
fn azure(_: &str) -> Result<Arc<dyn ObjectStore>> {
    off("azure")
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn misconfigured(error: object_store::Error) -> Error {
    Error::new(ErrorKind::Configuration)
        .with_detail("a variable of the object store is missing or wrong")
        .with_source(error)
}
