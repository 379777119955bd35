//! The backends: one folder for each place where KEKs are kept, and one table of them all.
//!
//! A new backend is a folder and a line in the table. The line names the Cargo feature, which is the scheme of the URIs
//! too, and the [`Scheme`] in the folder's `uri.rs`, which says the form of a URI, its options, the variables that
//! are read, and how a URI is parsed and opened.

#[cfg(feature = "aws-kms")]
pub mod aws_kms;
#[cfg(feature = "azure-key-vault")]
pub mod azure_key_vault;
#[cfg(feature = "gcp-kms")]
pub mod gcp_kms;
pub mod kek_uri;
pub mod local;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub(crate) mod shared;
#[cfg(feature = "vault-transit")]
pub mod vault_transit;

use kek_uri::Scheme;

/// A line of the table.
struct Backend {
    /// The scheme of its URIs.
    name: &'static str,
    /// The feature it needs. What needs one keeps keys that no text could be.
    feature: Option<&'static str>,
    /// `None` if the feature is off.
    scheme: Option<&'static Scheme>,
}

macro_rules! backends {
    (always { $($always:path,)* } features { $($feature:literal => $scheme:path,)* }) => {
        const BACKENDS: &[Backend] = &[
            $(Backend { name: $always.name, feature: None, scheme: Some(&$always) },)*
            $(
                #[cfg(feature = $feature)]
                Backend { name: $feature, feature: Some($feature), scheme: Some(&$scheme) },
                #[cfg(not(feature = $feature))]
                Backend { name: $feature, feature: Some($feature), scheme: None },
            )*
        ];
    };
}

backends! {
    always {
        local::uri::ENV,
        local::uri::FILE,
        local::uri::PASSPHRASE_ENV,
        local::uri::PASSPHRASE_FILE,
        local::uri::PASSPHRASE_FD,
        local::uri::PASSPHRASE_COMMAND,
        local::uri::PASSPHRASE_PROMPT,
    }
    features {
        "aws-kms" => aws_kms::uri::SCHEME,
        "azure-key-vault" => azure_key_vault::uri::SCHEME,
        "gcp-kms" => gcp_kms::uri::SCHEME,
        "vault-transit" => vault_transit::uri::SCHEME,
        "pkcs11" => pkcs11::scheme::SCHEME,
    }
}
