//! The directory: rows of grains, in as many slots as it has shards.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use gristmill_grains::{ActivationId, GrainId};
use redis::ScriptInvocation;

use super::{DIRECTORY, RedisCluster, text};
use crate::{Claim, Directory, DirectoryError, Incarnation, Location, hash};

fn row(location: &Location) -> String {
    let Location { owner, join, activation, epoch } = location;
    format!("{owner}|{join}|{activation}|{epoch}")
}

fn location(row: &str) -> Option<Location> {
    let mut parts = row.split('|');
    let (owner, join) = (parts.next()?.parse::<Incarnation>().ok()?, parts.next()?.parse().ok()?);
    let (activation, epoch) = (parts.next()?.parse::<ActivationId>().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(Location { owner, join, activation, epoch })
}

impl RedisCluster {
    fn directory_call(&self, what: &str, grain: &GrainId) -> ScriptInvocation<'static> {
        let shard = hash::of_grain(grain) % self.options.shards;
        let mut invocation = DIRECTORY.prepare_invoke();
        for key in ["grains", "epoch"] {
            invocation.key(format!("{{{}:{shard}}}:{key}", self.options.cluster));
        }
        invocation.arg(what).arg(grain.to_string());
        invocation
    }

    /// The row after the step; none if there is none.
    async fn directory_answer(&self, call: &ScriptInvocation<'_>) -> Result<Option<Location>, DirectoryError> {
        let answer = self.invoke(call).await.map_err(DirectoryError::Unavailable)?;
        let odd = || DirectoryError::Unavailable(format!("{}: a row that is not this version's", self.place));
        let row = text(answer).ok_or_else(odd)?;
        match row.is_empty() {
            true => Ok(None),
            false => location(&row).map(Some).ok_or_else(odd),
        }
    }
}

#[async_trait]
impl Directory for RedisCluster {
    fn shards(&self) -> u64 {
        self.options.shards
    }

    async fn lookup(&self, grain: &GrainId) -> Result<Option<Location>, DirectoryError> {
        self.directory_answer(&self.directory_call("lookup", grain)).await
    }

    async fn claim(&self, grain: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError> {
        let mut call = self.directory_call("claim", grain);
        let expect = claim.expect.as_ref().map(row).unwrap_or_default();
        call.arg(claim.owner.to_string()).arg(claim.join).arg(claim.activation.to_string());
        call.arg(expect).arg(claim.floor);
        match self.directory_answer(&call).await? {
            Some(row) if row.activation == claim.activation => Ok(Ok(row)),
            Some(row) => Ok(Err(row)),
            None => Err(DirectoryError::Unavailable(format!("{}: no row after a claim", self.place))),
        }
    }

    async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        let mut call = self.directory_call("raise", grain);
        call.arg(activation.to_string()).arg(floor);
        Ok(match self.directory_answer(&call).await? {
            Some(row) if row.activation == activation => Ok(row),
            other => Err(other),
        })
    }

    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError> {
        let mut call = self.directory_call("release", grain);
        call.arg(activation.to_string());
        self.directory_answer(&call).await.map(drop)
    }

    async fn reassert(&self, rows: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        let asserted = rows.iter().map(|(grain, location)| async move {
            let mut call = self.directory_call("reassert", grain);
            call.arg(row(location)).arg(location.epoch);
            Ok(self.directory_answer(&call).await?.unwrap_or(*location))
        });
        try_join_all(asserted).await
    }
}
