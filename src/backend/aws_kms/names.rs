//! How AWS names keys.

use crate::value::error::{Error, Result};

/// The longest key id, ARN or alias that AWS takes.
const LONGEST: usize = 2_048;

/// A key ARN, `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyArn<'a> {
    pub(super) partition: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) id: &'a str,
}

impl<'a> KeyArn<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (partition, region, account, resource) = arn_parts(text)?;
        let id = resource.strip_prefix("key/").filter(|id| is_key_id(id))?;
        Some(Self {
            partition,
            region,
            account,
            id,
        })
    }

    fn is_multi_region(&self) -> bool {
        self.id.starts_with("mrk-")
    }

    /// Whether two ARNs are of one key: the same, or a multi-region key in two of its regions.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self == other
            || (self.is_multi_region()
                && (self.partition, self.account, self.id) == (other.partition, other.account, other.id))
    }

    /// Whether a client of this region can use the key.
    pub(super) fn is_usable_in(&self, region: &str) -> bool {
        self.region == region || self.is_multi_region()
    }

    /// The key as it is named in a region.
    fn in_region(&self, region: &str) -> String {
        let Self {
            partition,
            account,
            id,
            ..
        } = self;
        format!("arn:{partition}:kms:{region}:{account}:key/{id}")
    }
}

/// A key as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// By its ARN, in the client's region.
    Arn(String),
    /// By its id.
    Id(String),
    /// By an alias or the ARN of one.
    Alias(String),
}

impl Name {
    pub(super) fn parse(text: &str, region: &str) -> Result<Self> {
        let bad = || {
            Error::configuration(
                "an AWS KMS key is a key id, a key ARN, alias/NAME or the ARN of an alias".to_owned(),
            )
        };
        let elsewhere = |found: &str| {
            Error::configuration(format!(
                "the key is in region {}, and the client in {region}",
                found.escape_debug()
            ))
        };
        if text.len() > LONGEST {
            return Err(bad());
        }
        if let Some(arn) = KeyArn::parse(text) {
            if !arn.is_usable_in(region) {
                return Err(elsewhere(arn.region));
            }
            return Ok(Self::Arn(arn.in_region(region)));
        }
        if let Some((_, found, _, resource)) = arn_parts(text) {
            return match resource.strip_prefix("alias/") {
                Some(alias) if !is_alias(alias) => Err(bad()),
                Some(_) if found != region => Err(elsewhere(found)),
                Some(_) => Ok(Self::Alias(text.to_owned())),
                None => Err(bad()),
            };
        }
        match text.strip_prefix("alias/") {
            Some(alias) if is_alias(alias) => Ok(Self::Alias(text.to_owned())),
            None if is_key_id(text) => Ok(Self::Id(text.to_owned())),
            _ => Err(bad()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        let (Self::Arn(text) | Self::Id(text) | Self::Alias(text)) = self;
        text
    }
}

/// Whether this can stand behind `alias/`.
pub(super) fn is_alias(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    !name.is_empty() && name.len() <= 250 && name.bytes().all(allowed)
}

fn is_key_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 256
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Partition, region, account and resource of an ARN of KMS.
fn arn_parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let mut parts = text.split(':');
    let mut next = || parts.next();
    let (arn, partition, service) = (next()?, next()?, next()?);
    let (region, account, resource) = (next()?, next()?, next()?);
    let good = arn == "arn" && partition.starts_with("aws") && service == "kms";
    (good && !region.is_empty() && !account.is_empty() && next().is_none())
        .then_some((partition, region, account, resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const MRK: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";

    #[test]
    fn every_name_that_aws_has_is_taken() {
        let parse = |text| Name::parse(text, "eu-west-1").unwrap();
        assert_eq!(parse(ARN), Name::Arn(ARN.into()));
        assert_eq!(parse("1234abcd-12ab"), Name::Id("1234abcd-12ab".into()));
        assert_eq!(parse("mrk-1234"), Name::Id("mrk-1234".into()));
        assert_eq!(parse("alias/a/b_c-d"), Name::Alias("alias/a/b_c-d".into()));
        let alias = "arn:aws-cn:kms:eu-west-1:111122223333:alias/a";
        assert_eq!(parse(alias), Name::Alias(alias.into()));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "alias/",
            "alias/a b",
            "key/1234",
            "https://example.com/",
            "arn:aws:s3:eu-west-1:1:key/a",
            "arn:aws:kms:eu-west-1:1:grant/a",
            "arn:aws:kms:eu-west-1:1:key/",
            "arn:aws:kms:eu-west-1:1:key/a:b",
            "arn:aws:kms::1:key/a",
            &"a".repeat(257),
        ] {
            let error = Name::parse(bad, "eu-west-1").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn only_a_multi_region_key_is_at_home_in_two_regions() {
        let error = Name::parse(ARN, "us-east-1").unwrap_err().to_string();
        assert!(
            error.contains("eu-west-1") && error.contains("us-east-1"),
            "{error}"
        );
        assert!(Name::parse("arn:aws:kms:eu-west-1:1:alias/a", "us-east-1").is_err());
        let there = MRK.replace("eu-west-1", "us-east-1");
        assert_eq!(Name::parse(MRK, "us-east-1").unwrap(), Name::Arn(there.clone()));

        let is_same = |one: &str, other: &str| {
            let (one, other) = (KeyArn::parse(one).unwrap(), KeyArn::parse(other).unwrap());
            one.is_same_key(&other)
        };
        assert!(is_same(MRK, &there));
        assert!(!is_same(ARN, &ARN.replace("eu-west-1", "us-east-1")));
        assert!(!is_same(MRK, &there.replace("111122223333", "1")));
        assert!(!is_same(MRK, &MRK.replace("aws", "aws-cn")));
    }
}
