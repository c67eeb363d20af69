//! Writing to standard output.

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::Context;

/// Runs `write` on buffered standard output. A reader that went away, such as `head`, is no error: it has what it
/// wanted.
///
/// # Errors
/// Whatever else goes wrong with standard output.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // Dropping the writer would only try again.
            drop(out.into_parts());
            Ok(())
        }
        result => result.context("cannot write to standard output"),
    }
}
