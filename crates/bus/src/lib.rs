//! The only user of async-nats: topology, buckets, consumers, claims and the four beats.
