//! What a version before had on the server.

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;

/// Makes a consumer of agents as it was when its pulls had no order, and fewer of them could wait.
pub async fn make_without_order(stream: &Stream, name: &str) {
    let found = stream.consumer_info(name).await.unwrap().config;
    stream.delete_consumer(name).await.unwrap();
    let older = pull::Config {
        durable_name: found.durable_name,
        filter_subject: found.filter_subject,
        ack_wait: found.ack_wait,
        max_deliver: found.max_deliver,
        max_ack_pending: found.max_ack_pending,
        ..Default::default()
    };
    stream.create_consumer(older).await.unwrap();
}
