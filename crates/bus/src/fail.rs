//! Points where a test makes a process crash. Without the feature `fail-points` there is nothing of them in the program.

/// Ends the process as a crash would, if `FAIL_POINTS` in the environment lists this point.
#[cfg(feature = "fail-points")]
#[expect(clippy::print_stderr, reason = "the test reads which point it was")]
pub fn point(name: std::fmt::Arguments<'_>) {
    use std::collections::HashSet;
    use std::sync::LazyLock;
    static POINTS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let points = std::env::var("FAIL_POINTS").unwrap_or_default();
        points.split(',').map(str::to_owned).collect()
    });
    let name = name.to_string();
    if POINTS.contains(&name) {
        eprintln!("fail point {name}");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn point(_name: std::fmt::Arguments<'_>) {}
