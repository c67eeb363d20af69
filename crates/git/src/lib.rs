//! Git for secretscan: mirrors, histories, batch packs, staged changes and ranges. Blocking.
