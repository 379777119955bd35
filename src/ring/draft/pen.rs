//! Whoever may change a ring: decides, signs, and makes the change if nobody was faster.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use super::Draft;
use crate::ring::Scope;
use crate::ring::authority::Authority;
use crate::ring::clock::{Agreed, Asked, CHANGE};
use crate::ring::inventory::{Change, Inventory};
use crate::ring::view::{Mark, Trust, View};
use crate::ring::witness::Witnessed;
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// How often a change is decided anew because somebody else was faster.
const TRIES: usize = 64;
/// How often it is because it was not made in time.
const GIVEN_UP: usize = 3;

/// What a change is made with.
#[derive(Clone, Copy)]
pub(crate) struct Pen<'p> {
    pub(crate) trust: &'p Trust,
    pub(crate) inventory: &'p dyn Inventory,
    pub(crate) authority: &'p Authority,
    /// Who may follow the authority in this change.
    pub(crate) next: Option<&'p Authority>,
    pub(crate) actor: &'p str,
    /// By whose wall clock the inventory's time is checked.
    pub(crate) runtime: &'p dyn Runtime,
    /// Who is told of each change.
    pub(crate) witness: Option<&'p Witnessed>,
    /// How far they may be apart, if that is more than the settings say.
    pub(crate) tolerance: Duration,
}

enum Attempt<T> {
    Done(T),
    /// Somebody else was faster.
    Overtaken(Error),
    /// It was not made in time. Perhaps it will be.
    GivenUp(Error),
}

/// A change that was given up, and may have come.
struct Late<T> {
    mark: Mark,
    is_succession: bool,
    has_come: bool,
    decided: T,
}

impl Pen<'_> {
    /// Decides on a change of these scopes, and makes it. If somebody else changes the ring meanwhile, decides again. Nothing
    /// is written if `decide` puts nothing into the draft. Returns what `decide` returned.
    ///
    /// What evidence waits for begins at the time of a change, so a change must not come late. If it is not in the inventory within
    /// [`Settings::commit_time`], it is given up and decided anew, by a new time: the new one takes its revision, so the one before cannot come anymore.
    /// If it has come all the same, the settings note it, and evidence waits from then on.
    ///
    /// # Errors
    /// `ClocksDisagree`; `TimedOut` if one attempt takes longer than [`CHANGE`], or several were given up.
    pub(crate) async fn change<T: Send>(
        &self,
        scopes: &[Scope],
        mut decide: impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let mut last = None;
        let mut late = Vec::new();
        let mut given_up = 0;
        for _ in 0..TRIES {
            let attempt = self.attempt(scopes, &mut decide, &mut late);
            match with_timeout(self.runtime, Some(CHANGE), attempt).await? {
                Attempt::Done(decided) => return Ok(decided),
                Attempt::Overtaken(error) => last = Some(error),
                Attempt::GivenUp(error) => {
                    given_up += 1;
                    if given_up >= GIVEN_UP {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Conflict)))
    }

    async fn attempt<T: Send>(
        &self,
        scopes: &[Scope],
        decide: &mut (impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send),
        late: &mut Vec<Late<T>>,
    ) -> Result<Attempt<T>> {
        let view = self.trust.read(self.inventory, scopes).await?;
        let settings = view.settings();
        let limit = settings.commit_time();
        // From here on the time of the change is known, and it must not be made much later.
        let until = self.runtime.now() + limit;
        let asked = with_timeout(self.runtime, Some(limit), Asked::of(self.inventory, self.runtime)).await?;
        let agreed = asked.agreed(settings.clock_tolerance.at_most().max(self.tolerance))?;
        if late.iter().any(|late| late.mark.revision <= view.revision()) {
            return self.note_late(&view, agreed, until, late).await;
        }
        let mut draft = Draft::new(&view, self.authority, agreed, self.actor)?;
        draft.next = self.next;
        let decided = decide(&view, &mut draft)?;
        if draft.is_empty() {
            return Ok(Attempt::Done(decided));
        }
        let change = draft.finish()?;
        let given_up = match self.make(&view, &change, until).await {
            Ok(()) => return Ok(Attempt::Done(decided)),
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(Attempt::Overtaken(error)),
            Err(error) if error.kind() == ErrorKind::TimedOut => error,
            Err(error) => return Err(error),
        };
        late.push(Late {
            mark: Mark {
                revision: view.revision() + 1,
                head: Sha256::digest(&change.head.body).into(),
            },
            is_succession: change.succession.is_some(),
            has_come: false,
            decided,
        });
        Ok(Attempt::GivenUp(given_up))
    }

    /// Notes that a change that was given up has come, or may have. If it is the newest one, it is done.
    async fn note_late<T: Send>(
        &self,
        view: &View,
        agreed: Agreed,
        until: Monotonic,
        late: &mut Vec<Late<T>>,
    ) -> Result<Attempt<T>> {
        for late in late.iter_mut() {
            late.has_come |= late.mark == view.mark();
        }
        let come = late.iter().position(|late| late.has_come);
        // A new authority signs from here on. No key has stopped with that.
        let is_succession = come.is_some_and(|index| late.get(index).is_some_and(|late| late.is_succession));
        if !is_succession {
            let mut draft = Draft::new(view, self.authority, agreed, self.actor)?;
            draft.note_late_change()?;
            match self.make(view, &draft.finish()?, until).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => return Ok(Attempt::Overtaken(error)),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Attempt::GivenUp(error)),
                Err(error) => return Err(error),
            }
        }
        let come = come.map(|index| late.swap_remove(index));
        late.clear();
        Ok(match come {
            Some(come) => Attempt::Done(come.decided),
            None => Attempt::Overtaken(Error::new(ErrorKind::Conflict)),
        })
    }

    /// Makes a change. The witness is told before it, and lets nothing be changed that cannot be written down; and after it, whether it was made.
    async fn make(&self, view: &View, change: &Change, until: Monotonic) -> Result<()> {
        let Some(witnessed) = self.witness else {
            return self.commit(change, until).await;
        };
        let deed = witnessed.intends(view, change, self.actor).await?;
        let made = self.commit(change, until).instrument(deed.span.clone()).await;
        witnessed.ended(deed, &made);
        made
    }

    /// Makes a change, if there is time left for it.
    async fn commit(&self, change: &Change, until: Monotonic) -> Result<()> {
        let left = until.0.saturating_sub(self.runtime.now().0);
        let given_up = || {
            Error::new(ErrorKind::TimedOut).with_detail(
                "the inventory takes longer to make a change than a tenth of max_stale, or 2 seconds if that is less: look for what holds it up, \
                 or set max_stale higher",
            )
        };
        if left.is_zero() {
            return Err(given_up());
        }
        let made = with_timeout(self.runtime, Some(left), self.inventory.commit(change)).await;
        made.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => given_up().with_source(error),
            _ => error,
        })
    }
}
