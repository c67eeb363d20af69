//! For tests only: a real nats-server, generated repositories, a naive oracle, eventually().
