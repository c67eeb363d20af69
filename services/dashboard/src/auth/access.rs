//! Tokens, and the repositories of teams.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER_PERMISSIVE;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use secretscan_model::RepositoryId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::settings::{AuthSettings, TokenSettings};
use super::{AuthError, Role, Scope};
use crate::index::{Index, IndexError};

/// The tokens, with their hashes decoded.
pub(super) struct Tokens(Vec<(Vec<u8>, TokenSettings)>);

impl Tokens {
    pub fn new(settings: &AuthSettings) -> Result<Self, AuthError> {
        let mut names = BTreeSet::new();
        let checked = settings.tokens.iter().map(|token| {
            let wrong = |reason: &str| AuthError::Setting {
                key: format!("auth.tokens: {}", token.name),
                reason: reason.to_owned(),
            };
            if token.name.is_empty() || !names.insert(&token.name) {
                return Err(wrong("each needs a name of its own"));
            }
            let hash = HEXLOWER_PERMISSIVE.decode(token.sha256.as_bytes()).unwrap_or_default();
            if hash.len() != 32 {
                return Err(wrong("sha256 must be 64 hexadecimal digits: printf %s TOKEN | sha256sum"));
            }
            Ok((hash, token.clone()))
        });
        Ok(Self(checked.collect::<Result<_, _>>()?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token this is.
    pub fn find(&self, token: &str) -> Option<&TokenSettings> {
        let shown = Sha256::digest(token.trim().as_bytes());
        let is_it = |(hash, _): &&(Vec<u8>, TokenSettings)| bool::from(hash.as_slice().ct_eq(&shown));
        self.0.iter().find(is_it).map(|(_, token)| token)
    }

    pub fn named(&self, name: &str) -> Option<&TokenSettings> {
        self.0.iter().map(|(_, token)| token).find(|token| token.name == name)
    }
}

/// The repositories of some teams together, and which state of the repositories they are of.
type Known = HashMap<Vec<String>, (u64, Arc<BTreeSet<RepositoryId>>)>;

/// Which names of repositories belong to which team.
pub(super) struct Teams {
    globs: Vec<(String, GlobSet)>,
    known: Mutex<Known>,
}

impl Teams {
    pub fn new(settings: &AuthSettings) -> Result<Self, AuthError> {
        let globs = settings
            .teams
            .iter()
            .map(|(name, team)| {
                let mut globs = GlobSetBuilder::new();
                for pattern in &team.repositories {
                    globs.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
                }
                Ok((name.clone(), globs.build()?))
            })
            .collect::<Result<_, globset::Error>>()
            .map_err(|error| AuthError::Setting { key: "auth.teams".into(), reason: error.to_string() })?;
        let of_tokens = settings.tokens.iter().flat_map(|token| &token.teams);
        let groups = settings.oidc.iter().flat_map(|oidc| oidc.groups.values());
        for team in of_tokens.chain(groups.flat_map(|group| &group.teams)) {
            if !settings.teams.contains_key(team) {
                let reason = format!("there is no team {team:?}; add [auth.teams.{team}]");
                return Err(AuthError::Setting { key: "teams".into(), reason });
            }
        }
        Ok(Self { globs, known: Mutex::default() })
    }

    /// The repositories of these teams, by the names that are known now. Every one if there are no teams.
    pub async fn scope(&self, teams: &[String], index: &Index) -> Result<Scope, IndexError> {
        if teams.is_empty() {
            return Ok(Scope::All);
        }
        // Asked for before they are read: what changes meanwhile makes them old.
        let state = index.state_of_repositories();
        let is_current = |(of, _): &&(u64, Arc<BTreeSet<RepositoryId>>)| *of == state;
        if let Some((_, known)) = self.known().get(teams).filter(is_current) {
            return Ok(Scope::Only(known.clone()));
        }
        let globs =
            self.globs.iter().filter(|(name, _)| teams.contains(name)).map(|(_, globs)| globs.clone());
        let globs: Vec<GlobSet> = globs.collect();
        let found = index.read(move |db| {
            let mut asked = db.prepare_cached("SELECT id, name FROM repositories")?;
            let rows = asked.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            rows.filter(|row| {
                row.as_ref().map_or(true, |(_, name)| globs.iter().any(|globs| globs.is_match(name)))
            })
            .collect::<Result<Vec<_>, _>>()
        });
        let ids = found.await?.into_iter().filter_map(|(id, _)| id.parse::<RepositoryId>().ok());
        let ids = Arc::new(ids.collect::<BTreeSet<_>>());
        self.known().insert(teams.to_vec(), (state, ids.clone()));
        Ok(Scope::Only(ids))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Role {
    /// Whether this role may do what asks for that one.
    pub fn may(self, needed: Self) -> bool {
        self >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> AuthSettings {
        #[derive(serde::Deserialize)]
        struct File {
            auth: AuthSettings,
        }
        secretscan_service::parse::<File>(text, []).unwrap().auth
    }

    #[test]
    fn tokens_are_known_by_their_hashes() {
        // Of "correct horse".
        let hash = HEXLOWER_PERMISSIVE.encode(&Sha256::digest(b"correct horse"));
        let text =
            format!("[[auth.tokens]]\nname = 'ada'\nsha256 = '{}'\nrole = 'admin'", hash.to_uppercase());
        let tokens = Tokens::new(&settings(&text)).unwrap();
        assert_eq!(tokens.find("correct horse\n").unwrap().name, "ada");
        assert!(tokens.find(&hash).is_none(), "the hash is no token");
        assert!(tokens.find("").is_none());
    }

    #[test]
    fn mistakes_are_told() {
        let short = settings("[[auth.tokens]]\nname = 'ada'\nsha256 = 'ab'\nrole = 'admin'");
        let told = Tokens::new(&short).err().unwrap().to_string();
        assert!(told.contains("ada") && told.contains("sha256sum"), "{told}");
        let zeros = "0".repeat(64);
        let text =
            format!("[[auth.tokens]]\nname = 'a'\nsha256 = '{zeros}'\nrole = 'viewer'\nteams = ['shop']");
        let told = Teams::new(&settings(&text)).err().unwrap().to_string();
        assert!(told.contains("[auth.teams.shop]"), "{told}");
    }

    #[test]
    fn one_star_stops_at_a_slash() {
        let teams =
            Teams::new(&settings("[auth.teams.shop]\nrepositories = ['h/acme/*', 'h/all/**']")).unwrap();
        let is_match = |name: &str| teams.globs[0].1.is_match(name);
        assert!(is_match("h/acme/shop") && is_match("h/all/a/b"));
        assert!(!is_match("h/acme/a/b") && !is_match("x/h/acme/shop"));
    }
}
