use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::ring::inventory::{Change, Heartbeat, MemoryInventory, NodePath, Row, Snapshot};
use crate::ring::{RecordId, Scope, Time};
use crate::testing::InventoryLayer;

/// Two handles on one new inventory in memory.
fn memory() -> Subject {
    Subject::new(|| async {
        let inventory = MemoryInventory::new();
        Ok((inventory.clone(), inventory))
    })
}

#[test]
fn the_inventory_in_memory_does_its_duty() {
    let report = pollster::block_on(run(&memory())).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.passed().len(), CHECKS.len());
}

/// What an inventory does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    FollowsAnything,
    KeepsTheHeadOfWhatItRefuses,
    RefusesAsStore,
    SortsWhatIsPut,
    DeletesAfterwards,
    ClearsSettings,
    StoresText,
    ReadsLongerNames,
    ReadsInTwoMoments,
    ForgetsLimits,
    SortsAsPeopleDo,
    MistakesVersions,
    DueIsExclusive,
    ClockGoesBack,
    BelievesHeartbeats,
    HeartbeatsOfReaders,
    ForgetsWhoSigned,
    RestoresOverARing,
    StoresAnything,
    ProvisionsWhatItIsGiven,
    ProvisionsAtAnyRevision,
    ProvisionsBesideRecords,
    ProvisionsInTwoSteps,
    ForgetsWhatItProvisions,
    ProvisionsAnIntent,
    CountsProvisions,
    ListsFirstKeysAsRecords,
    ListsFirstKeysAfterAll,
    TakesNothing,
    TakesAsItLikes,
    RestoresNoFirstKeys,
    Panics,
    Hangs,
    Prints,
}

#[derive(Clone)]
struct Bad {
    inner: MemoryInventory,
    wrong: Wrong,
    kept: Arc<Mutex<(i64, Vec<Heartbeat>)>>,
}

impl fmt::Debug for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wrong {
            Wrong::Prints => f.write_str("Bad, by p4ssw0rd"),
            _ => f.write_str("Bad"),
        }
    }
}

#[async_trait]
impl InventoryLayer for Bad {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = self.inner.read(scopes, nodes).await?;
        match self.wrong {
            Wrong::ReadsLongerNames => {
                let all = self.inner.scopes_after(None, 1_000).await?;
                let is_asked = |found: &&Scope| {
                    scopes
                        .iter()
                        .any(|scope| found.as_str().starts_with(scope.as_str()))
                };
                let longer: Vec<_> = all.iter().filter(is_asked).cloned().collect();
                snapshot.rows = self.inner.read(&longer, &[]).await?.rows;
            }
            Wrong::ReadsInTwoMoments => {
                std::thread::sleep(Duration::from_micros(200));
                snapshot.rows = self.inner.read(scopes, &[]).await?.rows;
            }
            _ => {}
        }
        Ok(snapshot)
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        let now = self.inner.revision().await?;
        match self.wrong {
            Wrong::ProvisionsWhatItIsGiven => {
                let done = self.inner.provision(follows, row).await;
                done.map(|_| row.clone())
            }
            Wrong::ProvisionsAtAnyRevision => self.inner.provision(now, row).await,
            Wrong::ProvisionsBesideRecords => match self.inner.provision(follows, row).await {
                Err(error) if error.kind() == ErrorKind::Conflict && follows == now => Ok(row.clone()),
                done => done,
            },
            Wrong::ProvisionsInTwoSteps => {
                let scopes = [row.scope.clone()];
                let before = self.inner.read(&scopes, &[]).await?;
                std::thread::sleep(Duration::from_micros(300));
                let done = self.inner.provision(follows, row).await;
                match done {
                    Ok(_) if before.provisioned.is_empty() => Ok(row.clone()),
                    Err(_) if before.rows.is_empty() && before.revision == follows => Ok(row.clone()),
                    done => done,
                }
            }
            Wrong::ForgetsWhatItProvisions => {
                crate::ring::inventory::check_provisioned(row)?;
                Ok(row.clone())
            }
            Wrong::ProvisionsAnIntent if row.state != Some(crate::ring::State::Active) => Ok(row.clone()),
            Wrong::CountsProvisions => {
                let there = self.inner.provision(follows, row).await?;
                let head = super::sample::signed("head");
                self.inner.commit(&Change::new(now, head)).await?;
                Ok(there)
            }
            _ => self.inner.provision(follows, row).await,
        }
    }

    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let after = after.filter(|_| self.wrong != Wrong::ListsFirstKeysAfterAll);
        self.inner.scopes_provisioned(after, limit).await
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        let mut change = change.clone();
        match self.wrong {
            Wrong::TakesNothing => {
                for row in std::mem::take(&mut change.put) {
                    let scopes = [row.scope.clone()];
                    let there = self.inner.read(&scopes, &[]).await?.provisioned;
                    if there.is_empty() || !change.take.contains(&row.id) {
                        change.put.push(row);
                    }
                }
                change.take.clear();
            }
            Wrong::TakesAsItLikes => {
                for row in &change.put {
                    let scopes = [row.scope.clone()];
                    let there = self.inner.read(&scopes, &[]).await?.provisioned;
                    change.take.extend(there.iter().map(|row| row.id));
                }
            }
            Wrong::FollowsAnything => change.follows = self.inner.revision().await?,
            Wrong::SortsWhatIsPut => change
                .put
                .sort_by_key(|row| (row.state == Some(crate::ring::State::Active), row.id)),
            Wrong::DeletesAfterwards => {
                let deleted = change.delete.clone();
                change.put.retain(|row| !deleted.contains(&row.id));
            }
            Wrong::ClearsSettings => {
                let nothing = super::sample::signed("nothing");
                change.settings.get_or_insert(nothing);
            }
            Wrong::StoresText => {
                for row in &mut change.put {
                    row.signed.body = String::from_utf8_lossy(&row.signed.body)
                        .into_owned()
                        .into_bytes();
                    row.signed.body.truncate(crate::ring::inventory::MAX_BODY);
                }
            }
            Wrong::StoresAnything if change.check().is_err() => return Ok(()),
            Wrong::Hangs if change.follows == 10 => std::future::pending().await,
            _ => {}
        }
        let done = self.inner.commit(&change).await;
        match (&done, self.wrong) {
            (Err(error), Wrong::RefusesAsStore) if error.kind() == ErrorKind::Conflict => {
                Err(Error::new(ErrorKind::Store))
            }
            (Err(error), Wrong::KeepsTheHeadOfWhatItRefuses) if error.kind() == ErrorKind::Conflict => {
                change.put.clear();
                let _ = self.inner.commit(&change).await;
                done
            }
            _ => done,
        }
    }

    async fn restore(&self, whole: &Snapshot) -> Result<()> {
        if self.wrong == Wrong::RestoresNoFirstKeys {
            self.inner.restore(whole).await?;
            let mut given_up = Change::new(whole.revision, super::sample::signed("given up"));
            given_up.take = whole.provisioned.iter().map(|row| row.id).collect();
            return self.inner.commit(&given_up).await;
        }
        match self.inner.restore(whole).await {
            Err(_) if self.wrong == Wrong::RestoresOverARing && self.inner.revision().await? != 0 => Ok(()),
            done => done,
        }
    }

    async fn now(&self) -> Result<Time> {
        let now = self.inner.now().await?;
        if self.wrong != Wrong::ClockGoesBack {
            return Ok(now);
        }
        let mut kept = self.kept.lock().unwrap();
        kept.0 += 10_000_000;
        Time::from_microseconds(now.as_microseconds() - kept.0)
    }

    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        assert!(self.wrong != Wrong::Panics, "it panics");
        self.inner.scope_of(id).await
    }

    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        let mut found = self.inner.scopes_of_kek(provider, kek_id, limit).await?;
        if self.wrong == Wrong::MistakesVersions && found.len() > 1 {
            found.pop();
        }
        Ok(found)
    }

    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        let by = match self.wrong {
            Wrong::DueIsExclusive => Time::from_microseconds(by.as_microseconds() - 1)?,
            _ => by,
        };
        self.inner.scopes_due(by, limit).await
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let limit = match self.wrong {
            Wrong::ForgetsLimits => u32::MAX,
            _ => limit,
        };
        let mut found = self.inner.scopes_after(after, limit).await?;
        if self.wrong == Wrong::ListsFirstKeysAsRecords {
            found.extend(self.inner.scopes_provisioned(after, limit).await?);
            found.sort();
        }
        if self.wrong == Wrong::SortsAsPeopleDo {
            found.sort_by_key(|scope| scope.as_str().to_lowercase());
        }
        Ok(found)
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        self.kept.lock().unwrap().1.push(heartbeat.clone());
        self.inner.beat(heartbeat).await
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        let mut beats = self.inner.heartbeats(since).await?;
        match self.wrong {
            Wrong::BelievesHeartbeats => {
                for beat in &mut beats {
                    let written = self.kept.lock().unwrap().1.clone();
                    beat.at = written.iter().find_map(|written| written.at).or(beat.at);
                }
            }
            Wrong::HeartbeatsOfReaders => {
                let mut seen = std::collections::BTreeSet::new();
                beats.retain(|beat| seen.insert(beat.reader.clone()));
            }
            Wrong::ForgetsWhoSigned => {
                for beat in &mut beats {
                    beat.signed = None;
                }
            }
            _ => {}
        }
        Ok(beats)
    }
}

#[test]
fn what_is_wrong_is_found_by_the_check_that_names_it() {
    for (wrong, check) in [
        (Wrong::FollowsAnything, "a_change_follows_one_revision"),
        (Wrong::FollowsAnything, "one_of_two_changes_wins"),
        (
            Wrong::KeepsTheHeadOfWhatItRefuses,
            "a_second_active_key_is_refused",
        ),
        (Wrong::RefusesAsStore, "a_change_follows_one_revision"),
        (Wrong::SortsWhatIsPut, "rows_are_written_in_order"),
        (Wrong::DeletesAfterwards, "a_change_replaces_and_deletes"),
        (Wrong::ClearsSettings, "a_change_replaces_and_deletes"),
        (Wrong::StoresText, "what_is_committed_is_read_byte_for_byte"),
        (Wrong::ReadsLongerNames, "only_what_is_asked_for_is_read"),
        (Wrong::ReadsInTwoMoments, "a_snapshot_is_of_one_moment"),
        (Wrong::ForgetsLimits, "scopes_are_listed_in_order"),
        (Wrong::SortsAsPeopleDo, "scopes_are_listed_in_order"),
        (Wrong::MistakesVersions, "scopes_are_found_by_kek"),
        (Wrong::DueIsExclusive, "what_is_due_is_found"),
        (Wrong::ClockGoesBack, "the_clock_is_one_for_all"),
        (Wrong::BelievesHeartbeats, "heartbeats_are_kept_for_each_process"),
        (Wrong::HeartbeatsOfReaders, "heartbeats_are_kept_for_each_process"),
        (Wrong::ForgetsWhoSigned, "heartbeats_are_kept_for_each_process"),
        (Wrong::RestoresOverARing, "a_whole_ring_is_restored"),
        (Wrong::StoresAnything, "what_no_inventory_stores_is_refused"),
        (Wrong::ProvisionsWhatItIsGiven, "a_scope_gets_one_first_key"),
        (Wrong::ProvisionsWhatItIsGiven, "one_of_two_first_keys_wins"),
        (Wrong::ProvisionsAtAnyRevision, "a_scope_gets_one_first_key"),
        (Wrong::ProvisionsBesideRecords, "a_scope_gets_one_first_key"),
        (Wrong::ProvisionsInTwoSteps, "one_of_two_first_keys_wins"),
        (
            Wrong::ProvisionsInTwoSteps,
            "a_first_key_and_a_record_exclude_each_other",
        ),
        (
            Wrong::ForgetsWhatItProvisions,
            "a_first_key_is_kept_byte_for_byte",
        ),
        (Wrong::ProvisionsAnIntent, "a_first_key_is_kept_byte_for_byte"),
        (Wrong::CountsProvisions, "a_first_key_is_kept_byte_for_byte"),
        (
            Wrong::ListsFirstKeysAsRecords,
            "a_first_key_is_kept_byte_for_byte",
        ),
        (
            Wrong::ListsFirstKeysAfterAll,
            "scopes_with_first_keys_are_listed_in_order",
        ),
        (Wrong::TakesNothing, "a_change_takes_first_keys"),
        (Wrong::TakesAsItLikes, "a_change_takes_first_keys"),
        (Wrong::RestoresNoFirstKeys, "first_keys_are_restored"),
        (Wrong::Panics, "a_scope_is_found_by_id"),
        (Wrong::Hangs, "one_of_two_changes_wins"),
        (Wrong::Prints, "nothing_printed_shows_secrets"),
    ] {
        let bound = match wrong {
            Wrong::Hangs => Duration::from_secs(5),
            _ => Duration::from_secs(120),
        };
        let subject = Subject::new(move || async move {
            let bad = Bad {
                inner: MemoryInventory::new(),
                wrong,
                kept: Arc::default(),
            };
            Ok((bad.clone(), bad))
        });
        let subject = subject.within(bound).with_canary("p4ssw0rd");
        let Err(failed) = pollster::block_on(run(&subject)) else {
            panic!("{wrong:?} was not found");
        };
        assert!(failed.checks().contains(&check), "{wrong:?}: {failed}");
        // One that panics or hangs does not take the others along.
        assert!(failed.report().passed().contains(&"an_empty_inventory_is_empty") || wrong == Wrong::Panics);
        assert!(
            failed.report().passed().contains(&"what_is_due_is_found") || wrong == Wrong::DueIsExclusive,
            "{wrong:?}: {failed}"
        );
    }
}
