//! A ring that is looked at again and again.

use std::sync::Mutex;

use super::*;

/// Writes down the scopes that are read.
#[derive(Debug)]
struct Counted {
    inner: MemoryInventory,
    read: Mutex<Vec<Scope>>,
    /// A scope that it does not list.
    hidden: Option<Scope>,
}

#[async_trait]
impl InventoryLayer for Counted {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.read.lock().unwrap().extend_from_slice(scopes);
        self.inner.read(scopes, nodes).await
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let mut scopes = self.inner.scopes_after(after, limit).await?;
        scopes.retain(|scope| Some(scope) != self.hidden.as_ref());
        Ok(scopes)
    }
}

struct Watched {
    ring: Ring,
    inventory: Arc<Counted>,
    reader: Reader,
    survey: Survey<(RecordId, State, bool)>,
}

impl Watched {
    fn new(ring: Ring, hidden: Option<&str>) -> Self {
        let inventory = Arc::new(Counted {
            inner: ring.inventory.clone(),
            read: Mutex::default(),
            hidden: hidden.map(scope),
        });
        Self {
            reader: Reader::new(ring.trust(), inventory.clone()),
            ring,
            inventory,
            survey: Survey::new(),
        }
    }

    /// Which scopes a refresh has read.
    fn refresh(&mut self) -> Result<Vec<Scope>> {
        self.inventory.read.lock().unwrap().clear();
        block_on(self.survey.refresh(&self.reader, |key, is_provisioned| {
            (key.id, key.state, is_provisioned)
        }))?;
        Ok(std::mem::take(&mut self.inventory.read.lock().unwrap()))
    }

    fn kept(&self) -> Vec<(String, State, bool)> {
        let keys = self.survey.keys();
        keys.map(|(scope, (_, state, first))| (scope.to_string(), *state, *first))
            .collect()
    }

    fn findings(&self) -> Vec<String> {
        self.survey
            .findings()
            .map(|(scope, _)| scope.to_string())
            .collect()
    }
}

fn filled() -> (Ring, Vec<KeyRecord>) {
    let ring = Ring::new();
    let keys: Vec<_> = (0..3)
        .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    (ring, keys)
}

fn active(scope: &str) -> (String, State, bool) {
    (scope.to_owned(), State::Active, false)
}

#[test]
fn only_what_was_changed_is_read_again() {
    let (ring, mut keys) = filled();
    let mut watched = Watched::new(ring, None);
    assert!(watched.survey.mark().is_none());
    assert_eq!(watched.refresh().unwrap().len(), 3);
    assert_eq!(watched.kept(), ["t/0", "t/1", "t/2"].map(active));
    assert_eq!(watched.refresh().unwrap(), []);
    go(&mut keys[1], State::Deprecated);
    let new = key(&scope("t/3"), "3");
    watched.ring.put(&[&keys[1], &new]);
    assert_eq!(watched.refresh().unwrap(), [scope("t/1"), scope("t/3")]);
    let mut expected = ["t/0", "t/1", "t/2", "t/3"].map(active);
    expected[1].1 = State::Deprecated;
    assert_eq!(watched.kept(), expected);
    assert_eq!(watched.survey.mark().unwrap().revision, 3);
    assert_eq!((watched.survey.scopes(), watched.survey.unlisted()), (4, 0));
}

#[test]
fn a_scope_that_does_not_verify_hinders_no_other_until_it_does_again() {
    let (ring, keys) = filled();
    let mut watched = Watched::new(ring, None);
    watched.refresh().unwrap();
    let good = watched.ring.whole();
    let mut bad = good.clone();
    bad.rows.retain(|row| row.id != keys[2].id);
    watched.ring.inventory.replace(&bad);
    // The tree is the same, and what was read before stays verified.
    watched.refresh().unwrap();
    assert_eq!(watched.kept().len(), 3);
    let mut new = Watched::new(watched.ring, None);
    new.refresh().unwrap();
    assert_eq!(new.kept(), ["t/0", "t/1"].map(active));
    assert_eq!(new.findings().len() as u64 + new.survey.unlisted(), 1);
    new.ring.inventory.replace(&good);
    new.refresh().unwrap();
    assert_eq!(new.kept(), ["t/0", "t/1", "t/2"].map(active));
    assert_eq!(new.findings(), Vec::<String>::new());
    let mut altered = good.clone();
    let row = altered.rows.iter_mut().find(|row| row.id == keys[0].id);
    row.unwrap().revision += 1;
    new.ring.inventory.replace(&altered);
    let mut new = Watched::new(new.ring, None);
    new.refresh().unwrap();
    assert_eq!(new.findings(), ["t/0"]);
    assert_eq!(new.kept(), ["t/1", "t/2"].map(active));
    new.ring.inventory.replace(&good);
    new.refresh().unwrap();
    assert_eq!(new.kept(), ["t/0", "t/1", "t/2"].map(active));
}

#[test]
fn what_no_list_names_is_counted() {
    let (ring, _) = filled();
    let mut watched = Watched::new(ring, Some("t/1"));
    watched.refresh().unwrap();
    assert_eq!(watched.kept(), ["t/0", "t/2"].map(active));
    assert_eq!(watched.survey.unlisted(), 1);
}

#[test]
fn a_head_that_does_not_verify_changes_nothing() {
    let (ring, _) = filled();
    let mut watched = Watched::new(ring, None);
    watched.refresh().unwrap();
    let mut bad = watched.ring.whole();
    bad.revision += 1;
    watched.ring.inventory.replace(&bad);
    assert_eq!(watched.refresh().unwrap_err().kind(), ErrorKind::InventoryInvalid);
    assert_eq!(watched.kept().len(), 3);
    assert_eq!(watched.survey.mark().unwrap().revision, 2);
}
