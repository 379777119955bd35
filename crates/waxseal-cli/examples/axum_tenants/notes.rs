//! The table of notes, and the job that re-wraps it.

use sqlx::{PgPool, Row};
use waxseal::ring::RecordId;
use waxseal::sealer::RewrapCounts;
use waxseal::{Envelope, Sealer};

use super::app::context_of;

/// How many rows the job reads at once.
const PAGE: i64 = 100;

/// Sealed notes. Clones are the same table.
#[derive(Clone)]
pub(crate) struct Notes(PgPool);

/// One row.
struct Note {
    tenant: String,
    id: String,
    sealed: Vec<u8>,
}

impl Notes {
    pub(crate) async fn create(pool: PgPool) -> sqlx::Result<Self> {
        let table =
            "create table notes (tenant text, id text, sealed bytea not null, primary key (tenant, id))";
        sqlx::query(table).execute(&pool).await?;
        Ok(Self(pool))
    }

    pub(crate) async fn put(&self, tenant: &str, id: &str, sealed: &[u8]) -> sqlx::Result<()> {
        let sql = "insert into notes values ($1, $2, $3) on conflict (tenant, id) do update set sealed = excluded.sealed";
        let query = sqlx::query(sql).bind(tenant).bind(id).bind(sealed);
        query.execute(&self.0).await.map(drop)
    }

    pub(crate) async fn get(&self, tenant: &str, id: &str) -> sqlx::Result<Option<Vec<u8>>> {
        let sql = "select sealed from notes where tenant = $1 and id = $2";
        let row = sqlx::query(sql)
            .bind(tenant)
            .bind(id)
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// The rows after this one.
    async fn after(&self, tenant: &str, id: &str) -> sqlx::Result<Vec<Note>> {
        let sql =
            "select tenant, id, sealed from notes where (tenant, id) > ($1, $2) order by tenant, id limit $3";
        let query = sqlx::query(sql).bind(tenant).bind(id).bind(PAGE);
        let rows = query.fetch_all(&self.0).await?;
        let note = |row: &sqlx::postgres::PgRow| {
            Ok(Note {
                tenant: row.try_get(0)?,
                id: row.try_get(1)?,
                sealed: row.try_get(2)?,
            })
        };
        rows.iter().map(note).collect()
    }

    /// Whether a note of this tenant, of the first [`PAGE`], is wrapped under this key.
    pub(crate) async fn is_used(
        &self,
        tenant: &str,
        key: RecordId,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let id = key.to_string();
        for note in self.after(tenant, "").await? {
            if note.tenant != tenant {
                break;
            }
            let envelope = Envelope::parse(&note.sealed)?;
            let wraps = envelope.header().wrap_section()?;
            if wraps.stanzas().any(|stanza| stanza.kek_id == id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts other bytes in the place of what was read, unless somebody has written the note meanwhile.
    async fn replace(&self, note: &Note, sealed: &[u8]) -> sqlx::Result<()> {
        let sql = "update notes set sealed = $4 where tenant = $1 and id = $2 and sealed = $3";
        let query = sqlx::query(sql).bind(&note.tenant).bind(&note.id);
        query
            .bind(&note.sealed)
            .bind(sealed)
            .execute(&self.0)
            .await
            .map(drop)
    }

    /// Puts each note under the key that is active now. What is there already costs no call, so the job can be ended and begun again. No
    /// payload is opened or changed, and the application goes on meanwhile.
    ///
    /// The tenant comes from the row, since the job acts for all of them: a note that somebody moved to another tenant fails here.
    pub(crate) async fn rewrap(
        &self,
        sealer: &Sealer,
    ) -> Result<RewrapCounts, Box<dyn std::error::Error + Send + Sync>> {
        let mut rewrapper = sealer.rewrapper();
        let (mut tenant, mut id) = (String::new(), String::new());
        loop {
            let page = self.after(&tenant, &id).await?;
            let Some(last) = page.last() else { break };
            (tenant, id) = (last.tenant.clone(), last.id.clone());
            for note in &page {
                // One that fails is counted, and keeps nobody from the others.
                if let Ok(Some(new)) = rewrapper.rewrap(&note.sealed, &context_of(&note.tenant)?).await {
                    self.replace(note, &new.splice(&note.sealed)?).await?;
                }
            }
        }
        Ok(rewrapper.counts())
    }
}
