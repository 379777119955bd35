//! `ring provisioner-key`.

use serde_json::json;

use super::census_key::make_private;
use super::done;
use crate::arguments::ProvisionerKey;
use crate::failure::Result;

/// Makes the key of a provisioner. Needs no ring: what it signs counts once the settings of one list it.
pub(crate) fn make(options: &ProvisionerKey) -> Result<()> {
    let path = &options.file;
    let public = make_private(path)?;
    done(
        "ring provisioner-key",
        json!({ "output": path.display().to_string(), "provisioner": public }),
        || {
            format!(
                "the provisioner is {public}\nlist it where the authority is: waxseal ring set --provision on-first-use --provisioner {public}\n\
                 name the file in the ring.toml of whoever makes keys on first use: provisioner-key = \"{}\"\n",
                path.display()
            )
        },
    )
}
