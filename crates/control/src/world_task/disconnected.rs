//! Revisions that pods lack whose proxies' streams have ended.
//!
//! A stream that ends says nothing about its proxy: it may go on with what it has.
//! So the pod stays behind until a proxy of it comes back, or the pod is at its end.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{Key, kubernetes::Pod};

use super::Revision;

/// Pods without a stream that lack revisions.
#[derive(Debug, Default)]
pub(super) struct Absent(BTreeMap<Key, Lacking>);

#[derive(Debug)]
struct Lacking {
    uid: String,
    revisions: BTreeSet<Revision>,
}

impl Absent {
    /// A stream of `pod` has ended without `revisions`; those that the pod lacked
    /// already.
    pub(super) fn left(
        &mut self,
        pod: Key,
        uid: String,
        revisions: BTreeSet<Revision>,
    ) -> Vec<Revision> {
        if revisions.is_empty() {
            return Vec::new();
        }
        let fresh = || Lacking { uid, revisions: BTreeSet::new() };
        let lacking = self.0.entry(pod).or_insert_with(fresh);
        revisions.into_iter().filter(|one| !lacking.revisions.insert(*one)).collect()
    }

    /// A proxy of `pod` is back, or none will be; the revisions it lacked.
    pub(super) fn settle(&mut self, pod: &Key) -> BTreeSet<Revision> {
        self.0.remove(pod).map(|lacking| lacking.revisions).unwrap_or_default()
    }

    /// What `pod` lacked, when it is not there any more as `found`.
    pub(super) fn settle_gone(&mut self, pod: &Key, found: Option<&Pod>) -> BTreeSet<Revision> {
        let stays = |lacking: &Lacking| {
            let same = |found: &&Pod| found.metadata.uid.as_ref() == Some(&lacking.uid);
            found.filter(same).is_some_and(|found| !is_ending(found))
        };
        match self.0.get(pod) {
            Some(lacking) if !stays(lacking) => self.settle(pod),
            _ => BTreeSet::new(),
        }
    }

    /// The pods for whose revisions `lacks` holds.
    pub(super) fn lacking(&self, lacks: impl Fn(&BTreeSet<Revision>) -> bool) -> Vec<&Key> {
        self.0.iter().filter(|(_, one)| lacks(&one.revisions)).map(|(pod, _)| pod).collect()
    }
}

/// Whether a pod's processes have ended or are about to: a proxy of it whose stream
/// ends will not serve again.
pub(super) fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}
