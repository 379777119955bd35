//! Where jobs are, in a database that all of their processes share.

mod steps;

use std::time::Duration;

use waxseal::fleet::{Claim, Claimed, Counts, Fault, Held, Plan, Range, Step};
use waxseal::{Error, ErrorKind, Result};

use super::table::argument;
use crate::schema;
use crate::store::{Connect, Store};

/// The greatest length of the name of a job, in bytes.
const MAX_JOB: usize = 255;

/// Whether workers go on with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// They do.
    Running,
    /// They wait until it is resumed.
    Paused,
    /// They end. It can be resumed, and goes on where it was.
    Canceled,
}

impl JobState {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Canceled]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A job by its name, in whichever database.
#[derive(Debug)]
struct Job<C: Connect>(Store<C>);

fn check_name(job: &str) -> Result<()> {
    if job.is_empty() || job.len() > MAX_JOB || job.chars().any(char::is_control) {
        return Err(argument(format!(
            "the name of a job has 1 to {MAX_JOB} bytes, without control characters"
        )));
    }
    Ok(())
}

impl<C: Connect> Job<C> {
    async fn prepared(store: Store<C>, creates: bool) -> Result<Self> {
        let prepare = store.run(0, move |link, _| {
            Box::pin(async move {
                match creates {
                    true => schema::migrate(link).await,
                    false => match link.schema_version().await? {
                        Some(_) => schema::check(link).await,
                        None => Err(Error::new(ErrorKind::Configuration)
                            .with_detail("the database has no tables for jobs; `create` makes them")),
                    },
                }
            })
        });
        prepare.await?;
        Ok(Self(store))
    }

    async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()> {
        let plan = plan.clone();
        let begin = self.0.run(parts.len(), move |link, job| {
            Box::pin(async move { steps::begin(link, job, &plan, &parts).await })
        });
        begin.await
    }

    async fn claim(&self, worker: &str, lease: Duration) -> Result<Claimed> {
        let worker = worker.to_owned();
        let claim = self.0.run(0, move |link, job| {
            Box::pin(async move { steps::claim(link, job, &worker, lease).await })
        });
        claim.await
    }

    async fn advance(&self, claim: &Claim, step: Step) -> Result<Held> {
        let claim = claim.clone();
        let advance = self.0.run(step.faults.len(), move |link, job| {
            Box::pin(async move { steps::advance(link, job, &claim, &step).await })
        });
        advance.await
    }

    async fn renew(&self, claim: &Claim) -> Result<Held> {
        let claim = claim.clone();
        let renew = self.0.run(0, move |link, job| {
            Box::pin(async move { steps::renew(link, job, &claim).await })
        });
        renew.await
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        let claim = claim.clone();
        let release = self.0.run(0, move |link, job| {
            Box::pin(async move { steps::release(link, job, &claim).await })
        });
        release.await
    }

    async fn sum(&self) -> Result<(Counts, Vec<Fault>, bool)> {
        self.0.run(0, |link, job| Box::pin(steps::sum(link, job))).await
    }

    async fn state(&self) -> Result<Option<JobState>> {
        self.0.run(0, |link, job| Box::pin(steps::state(link, job))).await
    }

    async fn set_state(&self, state: JobState) -> Result<()> {
        self.0
            .run(0, move |link, job| Box::pin(steps::set_state(link, job, state)))
            .await
    }
}

/// The calls of a ledger, and those of whoever watches over a job, by the field 0.
macro_rules! ledger {
    ($type:ty) => {
        impl $type {
            /// Returns whether workers go on with the job. `None` if it has not begun.
            ///
            /// # Errors
            /// As [`Inventory`](waxseal::ring::Inventory) says.
            pub async fn state(&self) -> Result<Option<JobState>> {
                self.0.state().await
            }

            /// Lets all workers wait, in all processes, each after the batch that it is at. They go on when the job is resumed.
            ///
            /// # Errors
            /// `Configuration` if it has not begun; else as [`Inventory`](waxseal::ring::Inventory) says.
            pub async fn pause(&self) -> Result<()> {
                self.0.set_state(JobState::Paused).await
            }

            /// Ends all workers, in all processes, each after the batch that it is at. Their reports are not whole.
            ///
            /// # Errors
            /// `Configuration` if it has not begun; else as [`Inventory`](waxseal::ring::Inventory) says.
            pub async fn cancel(&self) -> Result<()> {
                self.0.set_state(JobState::Canceled).await
            }

            /// Lets workers go on with a job that was paused or canceled.
            ///
            /// # Errors
            /// `Configuration` if it has not begun; else as [`Inventory`](waxseal::ring::Inventory) says.
            pub async fn resume(&self) -> Result<()> {
                self.0.set_state(JobState::Running).await
            }
        }

        #[async_trait]
        impl Ledger for $type {
            async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()> {
                self.0.begin(plan, parts).await
            }

            async fn claim(&self, worker: &str, lease: Duration) -> Result<Claimed> {
                self.0.claim(worker, lease).await
            }

            async fn advance(&self, claim: &Claim, step: Step) -> Result<Held> {
                self.0.advance(claim, step).await
            }

            async fn renew(&self, claim: &Claim) -> Result<Held> {
                self.0.renew(claim).await
            }

            async fn release(&self, claim: &Claim) -> Result<()> {
                self.0.release(claim).await
            }

            async fn sum(&self) -> Result<(Counts, Vec<Fault>, bool)> {
                self.0.sum().await
            }
        }
    };
}

#[cfg(feature = "postgres")]
pub use postgres::PostgresLedger;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::Duration;

    use async_trait::async_trait;
    use waxseal::Result;
    use waxseal::fleet::{Claim, Claimed, Counts, Fault, Held, Ledger, Plan, Range, Step};

    use super::{Job, JobState, check_name};
    use crate::postgres::{PostgresConfig, Server};

    /// A job by its name in PostgreSQL, which any number of processes on any machines work at. From version 11 on.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use secrecy::SecretString;
    /// # use waxseal::{Sealer, fleet::RewrapJob};
    /// # use waxseal_sql::fleet::Table;
    /// # use waxseal_sql::{PostgresConfig, PostgresLedger, PostgresRows};
    /// # async fn example(sealer: Sealer, url: SecretString) -> waxseal::Result<()> {
    /// // The same in each process.
    /// let config = PostgresConfig::new(&url, "production")?;
    /// let rows = PostgresRows::open(config.clone(), Table::new("users", "email").context("tenant", "{tenant_id}")).await?;
    /// let ledger = PostgresLedger::create(config, "move users to kek-2").await?;
    /// let job = RewrapJob::new(sealer, Arc::new(rows)).ledger(Arc::new(ledger));
    /// println!("{:?}", job.run().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// *Parts* are claimed with `for update skip locked`, each for a lease by the clock of the server. A worker whose lease is over, and whose part another one
    /// has taken, notes nothing more. What was counted is kept for each part.
    ///
    /// *Faults*: the first 10,000 are named, all are counted.
    #[derive(Debug)]
    pub struct PostgresLedger(Job<Server>);

    impl PostgresLedger {
        /// Opens the job of this name, which need not have begun. The tables must exist. The name of a ring in the configuration does not matter.
        ///
        /// # Errors
        /// `InvalidArgument` if the name is empty, has more than 255 bytes or has control characters; `Configuration` if the database has no tables of this version;
        /// else as [`Inventory`](waxseal::ring::Inventory) says.
        pub async fn open(config: PostgresConfig, job: &str) -> Result<Self> {
            Self::connect(config, job, false).await
        }

        /// The same, and makes the tables if they do not exist. Tables of an older version are upgraded.
        ///
        /// # Errors
        /// `Denied` if the role may not make tables; else those of [`open`](Self::open).
        pub async fn create(config: PostgresConfig, job: &str) -> Result<Self> {
            Self::connect(config, job, true).await
        }

        async fn connect(config: PostgresConfig, job: &str, creates: bool) -> Result<Self> {
            check_name(job)?;
            let store = Server::open(config, job.to_owned(), |_| Box::pin(async { Ok(()) })).await?;
            Ok(Self(Job::prepared(store, creates).await?))
        }
    }

    ledger!(PostgresLedger);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::time::Duration;

    use async_trait::async_trait;
    use waxseal::Result;
    use waxseal::fleet::{Claim, Claimed, Counts, Fault, Held, Ledger, Plan, Range, Step};

    use super::{Job, JobState, check_name};
    use crate::sqlite::{File, SqliteConfig, create_file};

    /// A job by its name in a SQLite file, which any number of processes of one machine work at. It may be the file in which the rows are.
    ///
    /// *Parts* are claimed for a lease by the clock of the machine. A worker whose lease is over, and whose part another one has taken, notes nothing more.
    ///
    /// *Faults*: the first 10,000 are named, all are counted.
    #[derive(Debug)]
    pub struct SqliteLedger(Job<File>);

    impl SqliteLedger {
        /// Opens the job of this name, which need not have begun. The file and its tables must exist.
        ///
        /// # Errors
        /// `InvalidArgument` if the name is empty, has more than 255 bytes or has control characters; `Configuration` if there is no such file, it has no tables of
        /// this version, or others may write it; else as [`Inventory`](waxseal::ring::Inventory) says.
        pub async fn open(config: impl Into<SqliteConfig>, job: &str) -> Result<Self> {
            Self::connect(config.into(), job, false).await
        }

        /// The same, and makes the file and the tables if they do not exist. Tables of an older version are upgraded.
        ///
        /// # Errors
        /// Those of [`open`](Self::open).
        pub async fn create(config: impl Into<SqliteConfig>, job: &str) -> Result<Self> {
            let config = config.into();
            check_name(job)?;
            create_file(config.path())?;
            Self::connect(config, job, true).await
        }

        async fn connect(config: SqliteConfig, job: &str, creates: bool) -> Result<Self> {
            check_name(job)?;
            let store = File::open(config, job.to_owned(), |_| Box::pin(async { Ok(()) })).await?;
            Ok(Self(Job::prepared(store, creates).await?))
        }
    }

    ledger!(SqliteLedger);
}
