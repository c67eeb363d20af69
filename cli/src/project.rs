//! Files that a repository brings for us.

use std::path::{Path, PathBuf};

/// The root of the working tree that a place belongs to.
pub fn root(place: &Path) -> Option<&Path> {
    place.ancestors().find(|folder| folder.join(".git").exists())
}

/// Those of these names that stand at the root of the working tree that a place belongs to, or in the place itself
/// when it is in none.
pub fn files(place: &Path, names: &[&str]) -> Vec<PathBuf> {
    let Ok(place) = place.canonicalize() else { return Vec::new() };
    let root = root(&place).unwrap_or(&place);
    names.iter().map(|name| root.join(name)).filter(|file| file.is_file()).collect()
}
