//! A sink of tests.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Event, Sink};
use crate::value::error::{Error, ErrorKind, Result};

/// Keeps events, and fails when it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered(Arc<Mutex<(Vec<Arc<Event>>, bool)>>);

#[async_trait]
impl Sink for Remembered {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        if inner.1 {
            return Err(Error::new(ErrorKind::Io));
        }
        inner.0.extend_from_slice(events);
        Ok(())
    }
}

impl Remembered {
    pub(crate) fn fail(&self, fails: bool) {
        self.0.lock().unwrap().1 = fails;
    }

    /// The events since the last call.
    pub(crate) fn take(&self) -> Vec<Arc<Event>> {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }
}
