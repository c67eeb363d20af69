//! What every service shares: start-up, configuration, telemetry, health and shutdown. Knows no domain word.
