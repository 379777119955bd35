//! What a request asks for, and links that ask for something else.

use std::collections::BTreeMap;

/// The most bytes of a query that are looked at.
const LONGEST: usize = 8 * 1024;

/// The parameters of a request, the last of each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let text = text.filter(|text| text.len() <= LONGEST).unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(
            pairs
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
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
