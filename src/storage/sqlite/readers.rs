//! The connections that read.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::Connection;

use super::fault::Fault;
use super::schema;
use crate::storage::StorageError;

/// Connections that read at the same time; who comes when all are busy waits.
const READERS: usize = 4;

/// A few connections, each used by one reader at a time.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Readers {
    /// Opens the connections.
    pub(super) fn open(database: &Path) -> Result<Self, Fault> {
        let idle: Result<Vec<_>, _> = (0..READERS).map(|_| schema::open_reader(database)).collect();
        Ok(Self { idle: Mutex::new(idle?), returned: Condvar::new() })
    }

    /// Reads; all that `job` sees is the state after one and the same commit.
    pub(super) fn read<T>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StorageError> {
        let mut lease = self.lease();
        let Some(connection) = &mut lease.connection else {
            return Err(StorageError::Failed("no connection to read with".to_owned()));
        };
        Ok(view(connection, job)?)
    }

    /// Waits for a connection. The list is whole whenever its lock is free, poisoned or not.
    fn lease(&self) -> Lease<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = self
            .returned
            .wait_while(idle, |idle| idle.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        Lease { readers: self, connection: idle.pop() }
    }
}

/// Runs a job in one reading transaction, which ends without having changed anything.
fn view<T>(
    connection: &mut Connection,
    job: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let view = connection.transaction()?;
    let result = job(&view)?;
    view.finish()?;
    Ok(result)
}

/// A connection that goes back when the reader is done, also by a panic: otherwise the next reader
/// would wait for ever.
struct Lease<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.connection.take());
        drop(idle);
        self.readers.returned.notify_one();
    }
}
