//! `waxseal doctor`: does each key wrap and unwrap, here and now, and for how much longer?

mod show;
mod witness;

#[cfg(feature = "ring")]
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use waxseal::backend::kek_uri::{Administered, KeyManagers, open_from_environment};
use waxseal::envelope::KekRef;
use waxseal::runtime::{Runtime, ThreadRuntime, with_timeout};
use waxseal::{
    EncryptionContext, Error, ErrorKind, KeyManager, key::KekDescription, key::KekState, key::Purpose,
    key::Request, value::Dek,
};

use self::witness::{Subject, Witness};
use crate::arguments::Doctor;
use crate::failure::{Failure, Result};
use crate::kek::Keks;
use crate::prompt::Person;
use crate::{binding, kek, report};

const DAY: u64 = 86_400;

/// What became of one key.
#[derive(Default)]
struct Finding {
    /// The URI, as it was given; it holds no secret.
    uri: String,
    kek: Option<KekRef>,
    wraps: Option<bool>,
    unwraps: Option<bool>,
    took: Option<Duration>,
    state: Option<State>,
    /// Why it does not work, or not for long.
    troubles: Vec<String>,
    /// Its older versions, the newest first.
    versions: Vec<Version>,
    /// The newest version, as the backend names it, and what is wrong with it.
    newest: Option<(KekRef, Option<String>)>,
    /// How many of the troubles the backend has not told.
    probed: usize,
}

#[cfg(feature = "ring")]
impl Finding {
    /// Keeps the state of this version alone, and of the others those that are not listed yet.
    fn only(&mut self, own: &KekRef, listed: &mut BTreeSet<String>) {
        let Some((newest, trouble)) = self.newest.take().filter(|_| !own.version().is_empty()) else {
            return;
        };
        let state = self.state.take();
        let mut all = std::mem::take(&mut self.versions);
        if let Some(state) = state {
            all.insert(
                0,
                Version {
                    kek: newest,
                    state,
                    trouble,
                },
            );
        }
        // What was said of versions is said again, of those that stay.
        self.troubles.truncate(self.probed);
        for version in all {
            if version.kek == *own {
                self.troubles.extend(version.trouble.clone());
                self.state = Some(version.state);
            } else if listed.insert(version.kek.to_string()) {
                if let Some(trouble) = &version.trouble {
                    self.troubles
                        .push(format!("{}: {trouble}", show::version(&version.kek)));
                }
                self.versions.push(version);
            }
        }
    }
}

/// What a backend says of an older version.
struct Version {
    kek: KekRef,
    state: State,
    trouble: Option<String>,
}

/// The state of a key or version, and how long it has left.
#[derive(Clone)]
enum State {
    Enabled {
        expires: Option<SystemTime>,
    },
    Expired,
    Disabled,
    PendingDestruction {
        at: Option<SystemTime>,
    },
    Destroyed,
    Unknown,
    /// These credentials may not ask, as those of applications often may not.
    MayNotAsk,
}

/// What is looked for, and how.
struct Examination<'a> {
    context: &'a EncryptionContext,
    /// For each call to a key manager.
    timeout: Option<Duration>,
    /// What ends within this time is told.
    within: Duration,
    ignores_older: bool,
    person: Person,
    witness: Witness,
}

/// Wraps and unwraps a canary under each key, asks for the state of all versions, and shows it.
pub(crate) fn run(options: &Doctor) -> Result<()> {
    let context = binding::context(&options.context)?;
    let keks = kek::parse(&options.kek, options.ring())?;
    let within: u64 = options
        .within
        .parse()
        .ok()
        .filter(|days| *days <= 36_500)
        .ok_or_else(|| Failure::usage("--within is a number of days, at most 36500"))?;
    let examination = Examination {
        context: &context,
        timeout: kek::timeout(options.timeout.as_ref())?,
        within: Duration::from_secs(within * DAY),
        ignores_older: options.ignore_older,
        person: Person { types_twice: false },
        witness: Witness::of(options)?,
    };
    match kek::sources(&keks, &[]) {
        Ok(sources) => crate::stream::check_once(&sources)?,
        // What is wrong with the environment stands in the table.
        Err(_) if matches!(keks, Keks::Environment) => {}
        Err(failure) => return Err(failure),
    }
    // Only a ring has branch keys.
    let (findings, branches): (Vec<Finding>, _) = match keks {
        Keks::Given(uris) => {
            let mut findings = Vec::new();
            for uri in &uris {
                let opened = pollster::block_on(uri.open(&examination.person));
                findings.extend(examination.examine(&Subject::of(&uri.to_string()), opened)?);
            }
            (findings, None)
        }
        Keks::Environment => {
            let opened = pollster::block_on(open_from_environment(&examination.person));
            (examination.examine(&Subject::environment(), opened)?, None)
        }
        #[cfg(feature = "ring")]
        Keks::Ring(path, _) => {
            let crate::ring::RingKeys { keys, branches } = crate::ring::each_key(&path)?;
            // A key of a ring may be one version of a KEK: each has a row, and the others of that KEK are listed once.
            let mut listed: BTreeSet<String> = keys.iter().map(|key| key.kek.to_string()).collect();
            let mut findings = Vec::new();
            for key in keys {
                let subject = Subject::of_ring(&key);
                let mut found = examination.examine(&subject, key.opened)?;
                for finding in &mut found {
                    finding.only(&key.kek, &mut listed);
                }
                findings.extend(found);
            }
            (findings, Some(branches))
        }
    };
    let troubled = |finding: &&Finding| !finding.troubles.is_empty();
    let bad = findings.iter().filter(troubled).count();
    report::print(&if report::is_json() {
        show::json(&findings, branches)
    } else {
        show::table(&findings, branches)
    })?;
    match bad {
        0 => Ok(()),
        bad => Err(Failure::doctor(format!(
            "{bad} of {} need{} attention",
            report::many(findings.len() as u64, "key"),
            if bad == 1 { "s" } else { "" },
        ))),
    }
}

impl Examination<'_> {
    /// Looks at a key; of the environment, also at each one that only opens.
    ///
    /// # Errors
    /// If there is an audit log, and it does not keep what was done.
    fn examine(&self, subject: &Subject, opened: waxseal::Result<KeyManagers>) -> Result<Vec<Finding>> {
        let mut finding = Finding {
            uri: subject.name.clone(),
            ..Finding::default()
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                finding.wraps = Some(false);
                finding.troubles.push(why(&error));
                return Ok(vec![finding]);
            }
        };
        let answers = self.probe(&*opened.active, subject, &mut finding)?;
        match &opened.administered {
            Some(administered) if answers => self.ask(administered, &mut finding),
            // Nobody is asked twice who does not answer.
            Some(_) => finding.state = Some(State::Unknown),
            None => {}
        }
        let mut findings = vec![finding];
        if subject.is_environment {
            for manager in &opened.also_open {
                let mut finding = Finding {
                    uri: "also open".into(),
                    ..Finding::default()
                };
                self.probe(&**manager, subject, &mut finding)?;
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    /// Wraps a canary, and unwraps it. Returns whether the key manager answers at all.
    fn probe(&self, manager: &dyn KeyManager, subject: &Subject, finding: &mut Finding) -> Result<bool> {
        let mut request = Request::new(self.context).with_purpose(Purpose::Probe);
        if let Some(timeout) = self.timeout {
            request = request.with_deadline(ThreadRuntime.now() + timeout);
        }
        let start = Instant::now();
        let mut trouble = None;
        let request = self.witness.acting(request);
        let work = async {
            let done = wrap_and_unwrap(manager, &request, finding).await;
            trouble = done.as_ref().err().map(|error| (error.kind(), why(error)));
            done
        };
        let probed = self.witness.probe(&request, subject, work);
        let Some((kind, why)) = trouble else {
            // Nothing was wrong with the key.
            probed?;
            finding.took = Some(start.elapsed());
            return Ok(true);
        };
        if let Err(error) = probed
            && error.kind() == ErrorKind::Audit
        {
            return Err(error.into());
        }
        finding.troubles.push(why);
        let has_wrapped = finding.wraps == Some(true);
        finding.took = has_wrapped.then(|| start.elapsed());
        Ok(has_wrapped || !matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut))
    }

    /// Asks the backend about a key and its older versions.
    fn ask(&self, administered: &Administered, finding: &mut Finding) {
        let Administered { kek, admin, .. } = administered;
        let asked = async { Ok(admin.describe_versions(kek).await) };
        let described = match pollster::block_on(with_timeout(&ThreadRuntime, self.timeout, asked)) {
            Ok(Ok(described)) => described,
            Err(_) => {
                finding.state = Some(State::Unknown);
                finding
                    .troubles
                    .push("its state cannot be told: no answer within --timeout".into());
                return;
            }
            Ok(Err(error)) => {
                finding.state = Some(match error.kind() {
                    // Applications are often not allowed to ask, which is no trouble.
                    ErrorKind::Denied => State::MayNotAsk,
                    ErrorKind::KeyDestroyed => State::Destroyed,
                    _ => State::Unknown,
                });
                if error.kind() != ErrorKind::Denied {
                    finding
                        .troubles
                        .push(format!("its state cannot be told: {}", why(&error)));
                }
                return;
            }
        };
        let now = ThreadRuntime.wall_clock();
        finding.probed = finding.troubles.len();
        let mut versions = described.into_iter();
        if let Some(active) = versions.next() {
            let state = state(&active, now);
            let trouble = self.trouble(&state, now, false);
            finding.troubles.extend(trouble.clone());
            finding.state = Some(state);
            finding.newest = Some((active.kek.clone(), trouble));
            finding.kek.get_or_insert(active.kek);
        }
        for version in versions {
            let state = state(&version, now);
            let trouble = self.trouble(&state, now, true).filter(|_| !self.ignores_older);
            if let Some(trouble) = &trouble {
                let version = show::version(&version.kek);
                finding.troubles.push(format!("{version}: {trouble}"));
            }
            finding.versions.push(Version {
                kek: version.kek,
                state,
                trouble,
            });
        }
    }

    /// What is wrong with a state, for data that may be under it.
    fn trouble(&self, state: &State, now: SystemTime, is_older: bool) -> Option<String> {
        let soon = now + self.within;
        Some(match state {
            State::Enabled { expires: Some(at) } if *at <= soon => {
                format!(
                    "it expires in {}, and data under it then does not open",
                    left(*at, now)
                )
            }
            State::Expired => "it has expired, and data under it may not open".into(),
            State::Disabled => "it is disabled, and data under it does not open".into(),
            State::PendingDestruction { at } => match at {
                Some(at) => format!(
                    "it is destroyed in {}, and what is still wrapped under it is lost then",
                    left(*at, now)
                ),
                None => "it is about to be destroyed, and what is still wrapped under it is lost then".into(),
            },
            // An older version that is gone was let go on purpose, and nobody can bring it back.
            State::Destroyed if !is_older => "it is destroyed".into(),
            State::Unknown => "its state is not one that is known".into(),
            State::Enabled { .. } | State::Destroyed | State::MayNotAsk => return None,
        })
    }
}

/// Wraps a canary, unwraps it and compares. Returns the KEK that did it.
async fn wrap_and_unwrap(
    manager: &dyn KeyManager,
    request: &Request<'_>,
    finding: &mut Finding,
) -> waxseal::Result<KekRef> {
    finding.wraps = Some(false);
    let dek = Dek::generate()?;
    let wrapped = manager.wrap(&dek, request).await?;
    finding.wraps = Some(true);
    finding.unwraps = Some(false);
    finding.kek = Some(wrapped.kek().clone());
    let unwrapped = manager.unwrap(wrapped.as_wrap_ref(), request).await?;
    if !unwrapped.dek.ct_eq(&dek) {
        return Err(Error::new(ErrorKind::InvalidAnswer).with_detail("it gave another data key"));
    }
    finding.unwraps = Some(true);
    Ok(wrapped.kek().clone())
}

fn state(described: &KekDescription, now: SystemTime) -> State {
    match described.state {
        KekState::Enabled if described.expires_at.is_some_and(|at| at <= now) => State::Expired,
        KekState::Enabled => State::Enabled {
            expires: described.expires_at,
        },
        KekState::Disabled => State::Disabled,
        KekState::Destroyed => State::Destroyed,
        KekState::PendingDestruction => State::PendingDestruction {
            at: described.destroyed_at,
        },
        _ => State::Unknown,
    }
}

/// How long it is until then.
fn left(at: SystemTime, now: SystemTime) -> String {
    let left = at.duration_since(now).unwrap_or_default().as_secs();
    match left / DAY {
        0 => report::many(left / 3_600, "hour"),
        days => report::many(days, "day"),
    }
}

/// What an error says, on one line and without the names that the table has already.
fn why(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use waxseal::envelope::WrapAlgorithm;

    use super::*;

    fn described(state: KekState, ends_in_days: Option<u64>) -> KekDescription {
        let kek = KekRef::new("azure-key-vault", "k", "1").unwrap();
        let mut described = KekDescription::new(kek, state, WrapAlgorithm::RSA_OAEP_256);
        let at = ends_in_days.map(|days| SystemTime::UNIX_EPOCH + Duration::from_secs((1_000 + days) * DAY));
        match state {
            KekState::PendingDestruction => described.destroyed_at = at,
            _ => described.expires_at = at,
        }
        described
    }

    /// What may take data away is trouble, and what is over or far away is none.
    #[test]
    fn every_state_that_data_may_be_lost_under_is_trouble() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * DAY);
        let context = EncryptionContext::empty();
        let examination = Examination {
            context: &context,
            timeout: None,
            within: Duration::from_secs(30 * DAY),
            ignores_older: false,
            person: Person { types_twice: false },
            witness: Witness::default(),
        };
        for (kek_state, days, is_older, says) in [
            (KekState::Enabled, None, false, None),
            (KekState::Enabled, Some(31), true, None),
            (KekState::Enabled, Some(30), true, Some("expires in 30 days")),
            (KekState::Enabled, Some(0), false, Some("has expired")),
            (KekState::Disabled, None, false, Some("disabled")),
            (KekState::Disabled, None, true, Some("disabled")),
            (
                KekState::PendingDestruction,
                Some(400),
                true,
                Some("destroyed in 400 days"),
            ),
            (KekState::PendingDestruction, None, true, Some("about to be")),
            (KekState::Destroyed, None, false, Some("destroyed")),
            (KekState::Destroyed, None, true, None),
        ] {
            let state = state(&described(kek_state, days), now);
            let trouble = examination.trouble(&state, now, is_older);
            match says {
                None => assert_eq!(trouble, None, "{kek_state:?} {days:?}"),
                Some(says) => {
                    let trouble = trouble.unwrap();
                    assert!(trouble.contains(says), "{kek_state:?} {days:?}: {trouble}");
                }
            }
        }
    }
}
