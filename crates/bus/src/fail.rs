//! Points where a test makes a process crash, and the clock that it sets wrong. In a release build
//! without the feature `fail-points` there is nothing of them in the program.

/// Ends the process as a crash would, if `FAIL_POINTS` in the environment lists this point.
#[cfg(any(debug_assertions, feature = "fail-points"))]
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
        // In one write: other threads log meanwhile.
        let line = format!("fail point {name}\n");
        eprint!("{line}");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(any(debug_assertions, feature = "fail-points")))]
#[inline]
pub fn point(_name: std::fmt::Arguments<'_>) {}

/// By how many milliseconds the clock of this process is wrong: `CLOCK_OFFSET_S` in the environment.
#[cfg(any(debug_assertions, feature = "fail-points"))]
pub fn clock_offset_ms() -> i64 {
    use std::sync::LazyLock;
    static OFFSET: LazyLock<i64> = LazyLock::new(|| {
        std::env::var("CLOCK_OFFSET_S").ok().and_then(|text| text.parse::<i64>().ok()).unwrap_or_default()
    });
    *OFFSET * 1_000
}

/// Nothing.
#[cfg(not(any(debug_assertions, feature = "fail-points")))]
#[inline]
pub fn clock_offset_ms() -> i64 {
    0
}
