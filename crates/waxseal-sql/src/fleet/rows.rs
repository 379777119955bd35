//! The rows of a table as a store, in whichever database.

use std::sync::Arc;

use async_trait::async_trait;
use waxseal::envelope::{Header, Wraps};
use waxseal::fleet::{Change, Item, Page, Range, Replaced, Scanned};
use waxseal::{EncryptionContext, Error, ErrorKind, Result};

use super::fault;
use super::key::Key;
use super::shape::{FRONT, KeyRange, Row, Shape, Words, read_key, sql};
use super::table::Table;
use crate::link::{Cell, Link, Value};
use crate::store::{Connect, Store};

/// The most rows of one statement.
const ROWS: usize = 1_000;
/// Values are written together up to so many bytes: the database writes their bodies anew.
const BYTES: u64 = 32 << 20;
/// Bytes that take as long as a row, for the bound of a call.
const AS_A_ROW: u64 = 64 << 10;
/// How many statements of one call look for rows that have a value.
const ROUNDS: usize = 64;
/// How often a header is asked for more of it.
const ASKED: usize = 4;
/// As many rows as a range is given time for when it is divided.
const DIVIDED: usize = 25_000;

/// What each of the two databases does in its own way.
#[async_trait]
pub(super) trait Dialect: Connect {
    const WORDS: Words;

    /// Looks the table up.
    ///
    /// # Errors
    /// `Configuration` if it is not as described; `Denied` if the role may not use it.
    async fn find(link: &mut dyn Link, table: &Table) -> Result<Shape>;

    /// Replaces all that can be replaced, in one transaction.
    async fn replace(link: &mut dyn Link, shape: &Shape, swaps: &[Swap]) -> Result<Vec<Replaced>>;

    /// Keys that divide a range.
    async fn cuts(
        link: &mut dyn Link,
        shape: &Shape,
        range: &KeyRange,
        parts: usize,
    ) -> Result<Vec<Vec<Cell>>>;
}

/// A change, as a statement takes it.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) key: Key,
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite needs no such thing")
    )]
    pub(super) seen: String,
    pub(super) len: i64,
    /// All of the value that was read.
    pub(super) read: Vec<u8>,
    /// How much of it is replaced.
    pub(super) replaces: usize,
    pub(super) new: Vec<u8>,
    pub(super) kek_id: Option<String>,
}

impl Swap {
    fn new(shape: &Shape, change: &Change) -> Result<Self> {
        let item = change.item();
        Ok(Self {
            key: Key::parse(item.id(), &shape.kinds())?,
            seen: String::from_utf8_lossy(item.seen()).into_owned(),
            len: i64::try_from(item.len()).unwrap_or(i64::MAX),
            read: item.front().to_vec(),
            replaces: change.replaces(),
            new: change.front().to_vec(),
            kek_id: kek_id(change.wraps().wraps()),
        })
    }

    /// The length of the value afterwards.
    #[cfg(feature = "sqlite")]
    pub(super) fn new_len(&self) -> i64 {
        let [new, replaced] =
            [self.new.len(), self.replaces].map(|len| i64::try_from(len).unwrap_or(i64::MAX));
        self.len.saturating_sub(replaced).saturating_add(new)
    }

    /// The bytes that are replaced.
    #[cfg(feature = "postgres")]
    pub(super) fn old(&self) -> &[u8] {
        self.read.get(..self.replaces).unwrap_or(&self.read)
    }
}

/// No id has a line break in it. What its writer hid stays hidden.
fn kek_id(wraps: &Wraps) -> Option<String> {
    let Wraps::Attached(set) = wraps else { return None };
    let ids = set
        .wraps()
        .iter()
        .map(|wrap| wrap.as_wrap_ref().kek_id.to_owned());
    let ids: Vec<String> = ids.filter(|id| !id.is_empty()).collect();
    (!ids.is_empty()).then(|| ids.join("\n"))
}

#[derive(Debug)]
pub(super) struct Rows<C: Connect> {
    store: Store<C>,
    shape: Arc<Shape>,
}

impl<C: Dialect> Rows<C> {
    pub(super) async fn open(store: Store<C>, table: Table) -> Result<Self> {
        table.check()?;
        let shape = store
            .run(0, move |link, _| {
                Box::pin(async move { C::find(link, &table).await })
            })
            .await?;
        Ok(Self {
            store,
            shape: Arc::new(shape),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.shape.title
    }

    fn keys(&self, range: &Range) -> Result<KeyRange> {
        let kinds = self.shape.kinds();
        let key = |id: Option<&str>| id.map(|id| Key::parse(id, &kinds)).transpose();
        Ok(KeyRange {
            after: key(range.after())?,
            until: key(range.until())?,
        })
    }

    pub(super) async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let (mut range, limit) = (self.keys(range)?, limit.clamp(1, ROWS));
        loop {
            let shape = Arc::clone(&self.shape);
            let work = self.store.run(limit, move |link, _| {
                Box::pin(async move { page::<C>(link, &shape, range, limit).await })
            });
            let (page, rest) = work.await.map_err(fault::of_call)?;
            if page.is_last || !page.found.is_empty() {
                return Ok(page);
            }
            range = rest;
        }
    }

    pub(super) async fn front(&self, id: &str) -> Result<Option<Item>> {
        let key = Key::parse(id, &self.shape.kinds())?;
        let shape = Arc::clone(&self.shape);
        let row = self.store.run(1, move |link, _| {
            Box::pin(async move { one::<C>(link, &shape, &key, FRONT).await })
        });
        let row = row.await.map_err(fault::of_call)?;
        row.map(|row| item(&self.shape, row)).transpose()
    }

    pub(super) async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        let mut answers = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while let Some((some, others)) = rest
            .split_at_checked(together(rest))
            .filter(|(some, _)| !some.is_empty())
        {
            answers.extend(self.replace_some(some).await);
            rest = others;
        }
        answers
    }

    /// All in one transaction, or each in its own if one of them is refused.
    async fn replace_some(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        let swaps = changes.iter().map(|change| Swap::new(&self.shape, change));
        let error = match swaps.collect::<Result<Vec<_>>>() {
            Ok(swaps) => match self.replace_all(swaps).await {
                Ok(answers) => return answers.into_iter().map(Ok).collect(),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if changes.len() == 1 || !fault::is_of_rows(&error) {
            let error = fault::of_call(error);
            return changes.iter().map(|_| Err(fault::again(&error))).collect();
        }
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            answers.push(self.replace_one(change).await.map_err(fault::of_call));
        }
        answers
    }

    async fn replace_one(&self, change: &Change) -> Result<Replaced> {
        let answers = self.replace_all(vec![Swap::new(&self.shape, change)?]).await?;
        let none =
            || Error::new(ErrorKind::Store).with_detail("the database did not say what became of a row");
        answers.into_iter().next().ok_or_else(none)
    }

    async fn replace_all(&self, swaps: Vec<Swap>) -> Result<Vec<Replaced>> {
        if self.shape.is_read_only {
            return Err(Error::new(ErrorKind::Denied).with_detail(
                "the table was opened to be read alone; leave out `read_only` to replace values",
            ));
        }
        let bytes: u64 = swaps.iter().map(|swap| swap.len.unsigned_abs()).sum();
        let longer = swaps.len() + usize::try_from(bytes / AS_A_ROW).unwrap_or_default();
        let shape = Arc::clone(&self.shape);
        let work = self.store.run(longer, move |link, _| {
            Box::pin(async move { C::replace(link, &shape, &swaps).await })
        });
        work.await
    }

    pub(super) async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        if parts < 2 {
            return Ok(vec![range.clone()]);
        }
        let (keys, shape) = (self.keys(range)?, Arc::clone(&self.shape));
        let work = self.store.run(DIVIDED, move |link, _| {
            Box::pin(async move {
                let cuts = C::cuts(link, &shape, &keys, parts).await?;
                let key = |cells: Vec<Cell>| read_key(&shape, &mut cells.into_iter());
                cuts.into_iter().map(key).collect::<Result<Vec<_>>>()
            })
        });
        let cuts = work.await.map_err(fault::of_call)?;
        let kinds = self.shape.kinds();
        let (mut ranges, mut rest) = (Vec::new(), range.clone());
        for cut in cuts.iter().take(parts - 1) {
            let id = cut.id(&kinds);
            ranges.push(rest.clone().up_to(&id));
            rest = rest.from_after(id);
        }
        ranges.push(rest);
        Ok(ranges)
    }
}

/// How many of these are written in one transaction.
fn together(changes: &[Change]) -> usize {
    let mut bytes = 0_u64;
    let fits = |change: &&Change| {
        let is_first = bytes == 0;
        bytes = bytes.saturating_add(change.item().len().max(1));
        is_first || bytes <= BYTES
    };
    changes.iter().take(ROWS).take_while(fits).count()
}

/// Items from the beginning of a range on, and where it goes on. Rows without a value are passed over; there may be nothing but these.
async fn page<C: Dialect>(
    link: &mut dyn Link,
    shape: &Shape,
    mut range: KeyRange,
    limit: usize,
) -> Result<(Page, KeyRange)> {
    let mut page = Page::default();
    let mut want = limit;
    for _ in 0..ROUNDS {
        let (within, values) = shape.within(&C::WORDS, &range);
        let statement = sql(format!(
            "select {} from {} as t where {within} order by {} limit {want}",
            shape.columns(&C::WORDS, FRONT),
            shape.table,
            shape.order(),
        ));
        let read = link.cells(statement, &values).await?;
        page.is_last = read.len() < want;
        for cells in read {
            let row = Row::read(shape, cells)?;
            if page.found.len() == limit {
                page.is_last = false;
                break;
            }
            range.after = Some(row.key.clone());
            if row.class != "null"
                && let Some(row) = whole::<C>(link, shape, row).await?
            {
                page.found.push(scanned(shape, row));
            }
        }
        if page.is_last || page.found.len() * 2 > limit {
            break;
        }
        // Where few rows have a value, more of them are read at once.
        want = (want * 2).min(ROWS);
    }
    Ok((page, range))
}

/// A row whose header is in its front, if there is one. `None` if it has gone meanwhile.
async fn whole<C: Dialect>(link: &mut dyn Link, shape: &Shape, row: Row) -> Result<Option<Row>> {
    match missing(&row) {
        Some(want) => one::<C>(link, shape, &row.key, want).await,
        None => Ok(Some(row)),
    }
}

/// How much of the value is needed, if more than was read.
fn missing(row: &Row) -> Option<usize> {
    let read = row.front.len();
    let want = Header::missing(&row.front).ok().flatten()?;
    (want > read && (read as u64) < row.len).then_some(want)
}

/// Reads one row, as much of it as its header takes.
async fn one<C: Dialect>(
    link: &mut dyn Link,
    shape: &Shape,
    key: &Key,
    mut want: usize,
) -> Result<Option<Row>> {
    let mut asked = 0;
    loop {
        let statement = sql(format!(
            "select {} from {} as t where {} and t.{} is not null",
            shape.columns(&C::WORDS, want),
            shape.table,
            shape.is_row(&C::WORDS, 1),
            shape.envelope,
        ));
        let values: Vec<Value<'_>> = key.0.iter().map(super::key::KeyPart::value).collect();
        let Some(cells) = link.cells(statement, &values).await?.pop() else {
            return Ok(None);
        };
        let row = Row::read(shape, cells)?;
        asked += 1;
        match missing(&row) {
            Some(more) if asked < ASKED => want = more,
            _ => return Ok(Some(row)),
        }
    }
}

fn scanned(shape: &Shape, row: Row) -> Scanned {
    let id = row.key.id(&shape.kinds());
    match item(shape, row) {
        Ok(item) => Scanned::read(item),
        Err(error) => Scanned::faulty(id, error),
    }
}

/// # Errors
/// `Store` for what is wrong with this row.
fn item(shape: &Shape, row: Row) -> Result<Item> {
    let refused = |detail: String| Err(Error::new(ErrorKind::Store).with_detail(detail));
    if row.class != "blob" {
        return refused(format!(
            "the column {} holds no bytes, but {}",
            shape.envelope, row.class
        ));
    }
    let id = row.key.id(&shape.kinds());
    let item = Item::new(id, row.front, row.len)?.with_seen(row.seen);
    if shape.context.is_empty() {
        return Ok(item);
    }
    let texts: Vec<Option<String>> = row.sources.into_iter().map(text).collect();
    let value = |column: &str| {
        let at = shape.sources.iter().position(|source| source == column);
        let text = at.and_then(|at| texts.get(at)).and_then(Option::as_deref);
        text.ok_or_else(|| {
            Error::new(ErrorKind::Store).with_detail(format!(
                "the column {column:?} of the context holds no text, integer or the like in this row, but NULL, a fraction or bytes"
            ))
        })
    };
    let pairs = shape
        .context
        .iter()
        .map(|(key, template)| Ok((key, template.fill(value)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(item.with_context(EncryptionContext::new(pairs)?))
}

fn text(cell: Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text),
        Cell::Int(int) => Some(int.to_string()),
        _ => None,
    }
}
