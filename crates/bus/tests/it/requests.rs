//! A request and its batches.

use secretscan_bus::ledger::LedgerCache;
use secretscan_bus::topology::Queue;
use secretscan_model::ledger::CommitState;
use secretscan_model::{
    BatchEvent, BatchReport, BatchState, Claim, Listing, Priority, RequestId, ScanEvent, ScanState,
};
use secretscan_proto::{pack_commit_ids, v1};
use secretscan_testkit::TestServer;

use crate::{accepted, bus, commits, key, take};

#[tokio::test]
async fn a_request_goes_its_whole_way_and_leaves_nothing_over() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let id: RequestId = "r1".parse().unwrap();
    let repository = accepted(&bus, &id).await;
    // Repeated, as after a crash: nothing more happens.
    let again = bus.apply_scan(&id, &[ScanEvent::StartValidation]).await.unwrap();
    assert_eq!(again.state, ScanState::Queued);
    assert_eq!(bus.unfinished(Queue::QueuedScans(Priority::OnDemand)).await.unwrap(), 1);

    take(&bus, Queue::QueuedScans(Priority::OnDemand)).await;
    assert_eq!(bus.hold_fetch(&repository, &id).await.unwrap(), id);
    let other = "r2".parse().unwrap();
    assert_eq!(bus.hold_fetch(&repository, &other).await.unwrap(), id);
    bus.apply_scan(&id, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await.unwrap();
    take(&bus, Queue::ScheduledScans).await;
    let agent: secretscan_model::AgentId = "agent".parse().unwrap();
    let take_it = ScanEvent::Claim { agent: agent.clone(), max_attempts: 3 };
    bus.apply_scan(&id, &[take_it]).await.unwrap();
    let claim = Claim { agent: agent.clone(), attempt: 1 };

    let batch = key("b1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 2_000_000]).unwrap();
    bus.put_pack(&batch, file.path()).await.unwrap();
    let cut = ScanEvent::CutBatch { claim: claim.clone(), batch: batch.batch.clone() };
    bus.apply_scan(&id, &[cut]).await.unwrap();
    let ids = commits(0..100);
    let (commit_id_length, commit_ids) = pack_commit_ids(&ids);
    let announced = v1::NewCommitBatch {
        request_id: "r1".into(),
        batch_id: "b1".into(),
        repository_id: repository.to_string(),
        priority: v1::Priority::OnDemand.into(),
        pack_bytes: 2_000_000,
        commit_id_length,
        commit_ids,
    };
    bus.announce_batch(&announced).await.unwrap();
    let listing = Listing { commits: 100, unknown: 100, ..Listing::default() };
    bus.apply_scan(&id, &[ScanEvent::FinishListing { claim, listing }]).await.unwrap();
    take(&bus, Queue::ReportedScans).await;
    bus.apply_scan(&id, &[ScanEvent::Settle]).await.unwrap();
    assert_eq!(bus.hold_fetch(&repository, &other).await.unwrap(), other, "the fetch is released");

    take(&bus, Queue::NewBatches).await;
    bus.create_batch(&batch, &repository, Priority::OnDemand, 100, 2_000_000, None).await.unwrap();
    let admitted = bus.ledger(&repository).admit(&batch, &ids, &LedgerCache::default(), false).await.unwrap();
    let admit = BatchEvent::Admit { commits: admitted };
    bus.apply_batch(&batch, &[BatchEvent::StartValidation, admit]).await.unwrap();
    take(&bus, Queue::WaitingBatches(Priority::OnDemand)).await;
    bus.apply_batch(&batch, &[BatchEvent::StartScheduling, BatchEvent::Assign]).await.unwrap();
    take(&bus, Queue::ScheduledBatches).await;
    let take_it = BatchEvent::Claim { agent: agent.clone(), max_attempts: 3 };
    bus.apply_batch(&batch, &[take_it]).await.unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    assert!(bus.get_pack(&batch, copy.path()).await.unwrap());
    assert_eq!(std::fs::read(copy.path()).unwrap(), std::fs::read(file.path()).unwrap());
    let report = BatchReport { commits: 100, rule_set: "r1-test".into(), ..BatchReport::default() };
    let finish = BatchEvent::Finish { claim: Claim { agent, attempt: 1 }, report };
    let ended = bus.apply_batch(&batch, &[finish]).await.unwrap();
    assert!(matches!(ended.state, BatchState::Completed { .. }));
    take(&bus, Queue::ReportedBatches).await;
    bus.apply_batch(&batch, &[BatchEvent::Settle]).await.unwrap();

    let scan = bus.scan(&id).await.unwrap().unwrap();
    assert_eq!(scan.state, ScanState::Completed);
    assert_eq!(scan.totals().commits, 100);
    assert!(!bus.get_pack(&batch, copy.path()).await.unwrap(), "the pack is deleted");
    for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
        assert_eq!(bus.unfinished(queue).await.unwrap(), 0, "{queue:?}");
    }
    assert_eq!(bus.ledger(&repository).head().await.unwrap().count(CommitState::Scanned), 100);
}
