//! Secret detection rules and engine: bytes in, matches out.
