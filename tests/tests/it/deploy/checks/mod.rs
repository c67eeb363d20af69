//! What the schemas of Kubernetes can't say about manifests. Each check gives what is wrong, in words; `defects` shows that they
//! see it.

mod custom;
mod network;
mod pods;
mod references;
mod rights;
mod values;

pub(super) use references::OF_KUBERNETES;

use super::manifests::Manifests;

/// What was found, one line each.
#[derive(Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    /// Notes a problem of an object unless it is as it should be.
    fn unless(&mut self, is_right: bool, object: &str, problem: impl AsRef<str>) {
        if !is_right {
            self.0.push(format!("{object}: {}", problem.as_ref()));
        }
    }
}

/// Everything that is wrong.
pub(super) fn problems(manifests: &Manifests) -> Vec<String> {
    let mut problems = Problems::default();
    pods::check(manifests, &mut problems);
    references::check(manifests, &mut problems);
    network::check(manifests, &mut problems);
    values::check(manifests, &mut problems);
    custom::check(manifests, &mut problems);
    rights::check(manifests, &mut problems);
    problems.0
}
