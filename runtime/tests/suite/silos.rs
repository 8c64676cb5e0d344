//! Silos of one process on real connections, with their rows and their directory in memory.

use std::sync::Arc;

use gristmill::cluster::{ClusterOptions, MemoryDirectory, MemoryMembership, Secret};
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::{SiloBuilder, StartError};

use crate::cluster::LedgerGrain;
use crate::support::{ms, soon};

pub(crate) struct Silos {
    pub(crate) rows: MemoryMembership,
    pub(crate) directory: MemoryDirectory,
    storage: Arc<MemoryStorage>,
    pub(crate) secret: Option<Secret>,
}

impl Silos {
    pub(crate) fn new() -> Self {
        Self {
            rows: MemoryMembership::default(),
            directory: MemoryDirectory::default(),
            storage: Arc::new(MemoryStorage::new()),
            secret: None,
        }
    }

    /// A silo that listens at a port of its own, and its address.
    pub(crate) async fn start(&self) -> (Silo, String) {
        let listen = free_address();
        let options = ClusterOptions { listen: listen.clone(), ..self.options() };
        (self.start_with(options).await.unwrap(), listen)
    }

    pub(crate) fn options(&self) -> ClusterOptions {
        ClusterOptions { secret: self.secret.clone(), exit_when_dead: false, ..ClusterOptions::default() }
    }

    pub(crate) async fn start_with(&self, options: ClusterOptions) -> Result<Silo, StartError> {
        soon(self.described(options).start()).await
    }

    pub(crate) fn described(&self, options: ClusterOptions) -> SiloBuilder {
        Silo::builder()
            .shared_storage("default", self.storage.clone())
            .shared_cluster(Arc::new(self.rows.clone()), Arc::new(self.directory.clone()), options)
            .grain::<LedgerGrain>()
    }
}

/// Bound and let go again: free, and not given to anybody else at once.
pub(crate) fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Looks again until it is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            tokio::time::sleep(ms(10)).await;
        }
    })
    .await;
}

pub(crate) async fn stop(silo: &Silo) {
    assert_eq!(soon(silo.stop()).await.dropped, 0);
}
