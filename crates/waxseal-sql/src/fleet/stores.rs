//! The stores of the two databases.

/// Implements [`Store`](waxseal::fleet::Store) by the field 0.
macro_rules! store {
    ($type:ty) => {
        #[async_trait::async_trait]
        impl waxseal::fleet::Store for $type {
            fn name(&self) -> &str {
                self.0.name()
            }

            async fn scan(
                &self,
                range: &waxseal::fleet::Range,
                limit: usize,
            ) -> waxseal::Result<waxseal::fleet::Page> {
                self.0.scan(range, limit).await
            }

            async fn front(&self, id: &str) -> waxseal::Result<Option<waxseal::fleet::Item>> {
                self.0.front(id).await
            }

            async fn replace(
                &self,
                changes: &[waxseal::fleet::Change],
            ) -> Vec<waxseal::Result<waxseal::fleet::Replaced>> {
                self.0.replace(changes).await
            }

            async fn split(
                &self,
                range: &waxseal::fleet::Range,
                parts: usize,
            ) -> waxseal::Result<Vec<waxseal::fleet::Range>> {
                self.0.split(range, parts).await
            }
        }
    };
}

#[cfg(feature = "postgres")]
pub use postgres::PostgresRows;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteRows;

#[cfg(feature = "postgres")]
mod postgres {
    use waxseal::Result;

    use crate::fleet::rows::Rows;
    use crate::fleet::table::Table;
    use crate::postgres::{PostgresConfig, Server};

    /// The rows of a table in PostgreSQL. See the [module](crate::fleet).
    ///
    /// *Splitting* a table of up to 100,000 rows counts them; of a larger one, about 500 of its pages are looked at.
    #[derive(Debug)]
    pub struct PostgresRows(Rows<Server>);

    impl PostgresRows {
        /// Opens a table. The name of a ring in the configuration does not matter.
        ///
        /// # Errors
        /// `InvalidArgument` if no table is like this; `Configuration` if there is no such table or column, a column has a type that it cannot have, or no
        /// unique index has these columns; `Denied` if the role lacks a right, and says which; else as [`Inventory`](waxseal::ring::Inventory) says.
        pub async fn open(config: PostgresConfig, table: Table) -> Result<Self> {
            let store = Server::open(config, String::new(), |_| Box::pin(async { Ok(()) })).await?;
            Ok(Self(Rows::open(store, table).await?))
        }
    }

    store!(PostgresRows);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use waxseal::Result;

    use crate::fleet::rows::Rows;
    use crate::fleet::table::Table;
    use crate::sqlite::{File, SqliteConfig};

    /// The rows of a table in a SQLite file. See the [module](crate::fleet).
    ///
    /// *Splitting* walks through all keys once.
    #[derive(Debug)]
    pub struct SqliteRows(Rows<File>);

    impl SqliteRows {
        /// Opens a table.
        ///
        /// # Errors
        /// `InvalidArgument` if no table is like this; `Configuration` if there is no such file, table or column, a column has a type that it cannot have, no unique
        /// index has these columns, or others may write the file; `Denied` if it cannot be written; else as [`Inventory`](waxseal::ring::Inventory) says.
        pub async fn open(config: impl Into<SqliteConfig>, table: Table) -> Result<Self> {
            let store = File::open(config.into(), String::new(), |_| Box::pin(async { Ok(()) })).await?;
            Ok(Self(Rows::open(store, table).await?))
        }
    }

    store!(SqliteRows);
}
