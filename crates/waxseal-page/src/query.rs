//! What a request asks for, and links that ask for something else.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The most bytes of a query.
const LONGEST: usize = 8 * 1024;

/// The parameters of a request, the last of each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// `None` if it is longer than any form of this page makes it: what was asked for in vain must not look like an answer.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        let text = text.unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes());
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        (text.len() <= LONGEST).then(|| Self(pairs.map(owned).collect()))
    }

    /// What was asked for by this name. Nothing is the same as an empty text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// A link to `path` that asks for the same, but for these. An empty value asks for nothing.
    pub(crate) fn link(&self, path: &str, changed: &[(&str, &str)]) -> String {
        let mut all = self.clone();
        for (name, value) in changed {
            all.0.remove(*name);
            if !value.is_empty() {
                all.0.insert((*name).to_owned(), (*value).to_owned());
            }
        }
        let query: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&all.0)
            .finish();
        match query.as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// A link that asks for these alone.
    pub(crate) fn link_to(path: &str, asked: &[(&str, &str)]) -> String {
        Self::default().link(path, asked)
    }
}
