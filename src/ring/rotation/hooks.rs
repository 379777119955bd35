//! Hooks: others are asked before a move, and told after it.

use std::fmt::Debug;
use std::future::Future;

use async_trait::async_trait;

use super::moves::Moved;
use super::{RingAdmin, refused};
use crate::ring::record::{KeyRecord, Move};
use crate::runtime::with_timeout;
use crate::value::error::{Error, ErrorKind, Result};

/// Is asked before keys move, and told afterwards. Each method has a default that agrees.
///
/// A hook that does not answer in time has refused: see [`RingAdmin::with_hook_deadline`].
#[async_trait]
pub trait Hook: Debug + Send + Sync {
    /// Is asked before a key becomes active, also by a reinstatement.
    ///
    /// # Errors
    /// Any error is a veto: nothing changes.
    async fn before_promote(&self, key: &KeyRecord, predecessor: Option<&KeyRecord>) -> Result<()> {
        let _ = (key, predecessor);
        Ok(())
    }

    /// Is asked before a key is retired.
    ///
    /// # Errors
    /// Any error is a veto: nothing changes.
    async fn before_retire(&self, key: &KeyRecord) -> Result<()> {
        let _ = key;
        Ok(())
    }

    /// Is told that a key was revoked, while its successor is made: to end sessions, and to let everybody authenticate again. The key is
    /// compromised already, and nothing waits for the hook. [`after_move`](Self::after_move) comes after it.
    ///
    /// # Errors
    /// An error is reported, and undoes nothing.
    async fn on_revoke(&self, key: &KeyRecord, made: &Move) -> Result<()> {
        let _ = (key, made);
        Ok(())
    }

    /// Is told of a move that was made.
    ///
    /// # Errors
    /// An error is reported, and undoes nothing.
    async fn after_move(&self, key: &KeyRecord, made: &Move) -> Result<()> {
        let _ = (key, made);
        Ok(())
    }
}

impl RingAdmin {
    pub(super) async fn ask_before_promote(
        &self,
        key: &KeyRecord,
        predecessor: Option<&KeyRecord>,
    ) -> Result<()> {
        for hook in &self.hooks {
            self.ask("promotion", hook.before_promote(key, predecessor))
                .await?;
        }
        Ok(())
    }

    pub(super) async fn ask_before_retire(&self, key: &KeyRecord) -> Result<()> {
        for hook in &self.hooks {
            self.ask("retirement", hook.before_retire(key)).await?;
        }
        Ok(())
    }

    async fn ask(&self, what: &str, hook: impl Future<Output = Result<()>>) -> Result<()> {
        let answer = with_timeout(&*self.runtime, Some(self.hook_deadline), hook).await;
        answer.map_err(|error| {
            let why = match error.kind() {
                ErrorKind::TimedOut => format!("it did not answer within {:?}", self.hook_deadline),
                _ => error.to_string(),
            };
            refused(format!("a hook refuses the {what}: {why}")).with_source(error)
        })
    }

    /// Tells every hook that a key was revoked, then of the move, and returns what went wrong.
    pub(super) async fn tell_of_revocation(&self, key: &KeyRecord) -> Vec<Error> {
        let mut warnings = Vec::new();
        if let Some(made) = key.history.last() {
            for hook in &self.hooks {
                warnings.extend(self.told(hook.on_revoke(key, made)).await);
            }
        }
        warnings.extend(self.tell(key).await);
        warnings
    }

    /// Tells every hook of a move, and returns what went wrong.
    pub(super) async fn tell(&self, key: &KeyRecord) -> Vec<Error> {
        let mut warnings = Vec::new();
        if let Some(made) = key.history.last() {
            for hook in &self.hooks {
                warnings.extend(self.told(hook.after_move(key, made)).await);
            }
        }
        warnings
    }

    /// What went wrong, in the time that a hook has.
    async fn told(&self, hook: impl Future<Output = Result<()>>) -> Option<Error> {
        let told = with_timeout(&*self.runtime, Some(self.hook_deadline), hook).await;
        told.err()
    }

    /// What a move that was made returns, when every hook was told.
    pub(super) async fn done(&self, key: &KeyRecord) -> Moved {
        let from = key.history.last().and_then(|made| made.from);
        let mut done = Moved::new(key.id, from.unwrap_or(key.state), key.state);
        done.warnings = self.tell(key).await;
        done
    }
}
