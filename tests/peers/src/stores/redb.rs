//! redb: its defaults, with the cache that every store gets.
//!
//! Every write is a transaction. A buffered one commits with `Durability::None`; a synced one with `Immediate`, and clients that wait
//! share one transaction, as its page advises to batch writes. Nothing between the two survives the end of a process, so there is no
//! flushed row.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::group::GroupCommit;
use super::{Fault, Opened, Promise, Setup, Store};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("peers");

/// A key with its new value, or none to remove it.
type Change = (Vec<u8>, Option<Vec<u8>>);

struct Redb {
    database: Database,
    commits: Option<GroupCommit<Change>>,
}

pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Opened, Fault> {
    let cache_bytes = usize::try_from(setup.cache_bytes)?;
    let database = Database::builder().set_cache_size(cache_bytes).create(dir.join("peers.redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    let is_synced = setup.promise == Promise::Synced;
    let settings = format!(
        "redb 4.6: cache {} MiB, one transaction a write, {}; all else as by default",
        setup.cache_bytes >> 20,
        if is_synced {
            "Durability::Immediate, clients that wait share a transaction"
        } else {
            "Durability::None"
        },
    );
    let commits = is_synced.then(GroupCommit::new);
    Ok(Opened { store: Box::new(Redb { database, commits }), settings })
}

impl Redb {
    fn change<'a>(
        &self,
        durability: Durability,
        changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(table.insert(key, value)?),
                    None => drop(table.remove(key)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(commits) = &self.commits else {
            return self.change(Durability::None, [(key, value)]);
        };
        commits.commit((key.to_vec(), value.map(<[u8]>::to_vec)), |changes| {
            let changes = changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
            self.change(Durability::Immediate, changes)
        })
    }
}

impl Store for Redb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.write(key, Some(value))
    }

    fn get(&self, key: &[u8], _scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(TABLE)?;
        let value = table.get(key)?;
        if let Some(value) = &value {
            see(value.value());
        }
        Ok(value.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.write(key, None)
    }

    fn flush(&self) -> Result<(), Fault> {
        self.change(Durability::Immediate, [])
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        self.flush()?;
        Ok(self.database.close()?)
    }
}
