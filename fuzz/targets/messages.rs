//! Messages and records: whatever comes is read or refused, and what was read is written and read again as the same.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use prost::{Message, Name};
use secretscan_model::ledger::Head;
use secretscan_model::{Agent, CommitBatch, Finding, Repository, RepositoryScan, Schedule};
use secretscan_proto::{decode, pack_commit_ids, unpack_commit_ids, v1};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    message::<v1::NewRepositoryScan>(bytes);
    message::<v1::NewSchedule>(bytes);
    message::<v1::ChangeSchedule>(bytes);
    message::<v1::ScheduleRun>(bytes);
    message::<v1::CancelRepositoryScan>(bytes);
    message::<v1::Answer>(bytes);
    message::<v1::RepositoryScanReference>(bytes);
    message::<v1::NewCommitBatch>(bytes);
    message::<v1::CommitBatchReference>(bytes);
    message::<v1::RepositoryScanChanged>(bytes);
    message::<v1::CommitBatchChanged>(bytes);
    message::<v1::FindingRecorded>(bytes);
    if let Ok(segment) = v1::LedgerSegment::decode(bytes) {
        commit_ids(segment.commit_id_length, &segment.commit_ids);
    }
    commit_ids(20, bytes);
    commit_ids(32, bytes);
    record::<RepositoryScan>(bytes);
    record::<CommitBatch>(bytes);
    record::<Finding>(bytes);
    record::<Repository>(bytes);
    record::<Agent>(bytes);
    record::<Head>(bytes);
    record::<Schedule>(bytes);
});

fn message<M: Message + Default + DeserializeOwned + Serialize + Name + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    let wire = message.encode_to_vec();
    // Nothing but white space is refused, as nobody means it.
    if !wire.trim_ascii().is_empty() {
        assert_eq!(decode::<M>(&wire).expect("what was written can be read"), message, "{}", M::NAME);
    }
    // A number that no priority has can't be written as JSON.
    if let Ok(json) = serde_json::to_vec(&message) {
        assert_eq!(decode::<M>(&json).expect("what was written can be read"), message, "{}", M::NAME);
    }
}

fn commit_ids(length: u32, packed: &[u8]) {
    if let Ok(ids) = unpack_commit_ids(length, packed) {
        let again = pack_commit_ids(&ids);
        assert_eq!(again.1, packed);
        assert!(ids.is_empty() || again.0 == length);
    }
}

fn record<R: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<R>(bytes) else { return };
    let written = serde_json::to_vec(&record).expect("a record can be written");
    assert_eq!(serde_json::from_slice::<R>(&written).expect("what was written can be read"), record);
}
