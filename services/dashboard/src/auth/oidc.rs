//! Login at an identity provider: OpenID Connect, the authorization code flow with PKCE, state and nonce.
//!
//! What the provider publishes about itself is read anew at each login: its keys change, and logins are rare.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::http::{Response, header};
use openidconnect::{
    AdditionalClaims, AsyncHttpClient, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use secretscan_bus::chain;
use secretscan_http::{Call, Http, Trouble};
use secretscan_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;
use thiserror::Error;
use url::Url;

use super::session::Login;
use super::settings::OidcSettings;
use super::{AuthError, Role};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long somebody may take at the provider.
const FLOW_MS: i64 = 10 * 60 * 1_000;

/// All claims but the standard ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MoreClaims(HashMap<String, Value>);

impl AdditionalClaims for MoreClaims {}

type Fields = IdTokenFields<
    MoreClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type OidcClient = Client<
    MoreClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a login at the provider fails, in words for who logs in.
#[derive(Debug, Error)]
pub enum OidcError {
    /// The provider can't be asked, or answers what it should not.
    #[error("the identity provider can't be used: {reason}")]
    Provider {
        /// Why not.
        reason: String,
    },
    /// The way back does not belong to a login that this browser has begun.
    #[error("this login was not begun here, or too long ago; begin again")]
    NotBegun,
    /// The provider has refused.
    #[error("the identity provider refuses: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
    /// What the provider says of the person does not hold.
    #[error("what the identity provider says can't be trusted: {reason}")]
    Untrusted {
        /// Why not.
        reason: String,
    },
    /// No group of the person is in the configuration.
    #[error("none of your groups may use this dashboard; ask who runs it to add one to auth.oidc.groups")]
    NoGroup,
}

fn provider(reason: impl std::error::Error + 'static) -> OidcError {
    OidcError::Provider { reason: chain(&reason) }
}

/// A login that has begun: kept in a cookie until the way back.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    state: String,
    nonce: String,
    verifier: String,
    /// The page to show then.
    pub next: String,
    until: Timestamp,
}

/// What comes back with the person.
#[derive(Debug, Default, Deserialize)]
pub struct Callback {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    error: Option<String>,
    error_description: Option<String>,
}

#[derive(Debug, Error)]
#[error("{0}")]
struct HttpFailure(String);

/// Our HTTP client, as the protocol's crate wants one.
struct ProviderHttp(Http);

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = HttpFailure;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpFailure>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        exchange(self.0.clone(), request).boxed()
    }
}

/// The provider.
pub(super) struct Oidc {
    settings: OidcSettings,
    issuer: IssuerUrl,
    secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    http: ProviderHttp,
}

impl Oidc {
    pub fn new(settings: OidcSettings, public_url: &str) -> Result<Self, AuthError> {
        let wrong = |key: &'static str, reason: String| AuthError::Setting { key: key.into(), reason };
        secretscan_http::check_url("auth.oidc.issuer", &settings.issuer, false)
            .map_err(|error| wrong("auth.oidc.issuer", error.to_string()))?;
        let issuer = IssuerUrl::new(settings.issuer.clone())
            .map_err(|error| wrong("auth.oidc.issuer", error.to_string()))?;
        let secret = match &settings.client_secret_file {
            Some(file) => {
                let text = fs::read_to_string(file)
                    .map_err(|source| AuthError::File { path: file.clone(), source })?;
                Some(ClientSecret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let redirect = RedirectUrl::new(format!("{public_url}/login/oidc/callback"))
            .map_err(|error| wrong("dashboard.public_url", error.to_string()))?;
        let http = Http::new(TIMEOUT).map_err(|error| wrong("auth.oidc", chain(&error)))?;
        Ok(Self { settings, issuer, secret, redirect, http: ProviderHttp(http) })
    }

    /// Where to send the person, and what to remember meanwhile.
    pub async fn begin(&self, next: String, now: Timestamp) -> Result<(Url, Flow), OidcError> {
        let client = self.client().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let asked = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        );
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let (url, state, nonce) = asked.add_scopes(scopes).set_pkce_challenge(challenge).url();
        let flow = Flow {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            next,
            until: Timestamp(now.0 + FLOW_MS),
        };
        Ok((url, flow))
    }

    /// Who has come back.
    pub async fn finish(&self, flow: Flow, back: Callback, now: Timestamp) -> Result<Login, OidcError> {
        let is_ours = flow.state.as_bytes().ct_eq(back.state.as_bytes());
        if !bool::from(is_ours) || now >= flow.until {
            return Err(OidcError::NotBegun);
        }
        if let Some(error) = back.error {
            return Err(OidcError::Refused { reason: back.error_description.unwrap_or(error) });
        }
        let client = self.client().await?;
        let ask = client.exchange_code(AuthorizationCode::new(back.code)).map_err(provider)?;
        let answer = ask
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier))
            .request_async(&self.http)
            .await
            .map_err(provider)?;
        let untrusted = |reason: String| OidcError::Untrusted { reason };
        let id_token = answer.id_token().ok_or_else(|| untrusted("it sent no ID token".into()))?;
        let claims = id_token
            .claims(&client.id_token_verifier(), &Nonce::new(flow.nonce))
            .map_err(|error| untrusted(chain(&error)))?;
        let all = serde_json::to_value(claims).map_err(provider)?;
        let name = all[&self.settings.name_claim].as_str().unwrap_or(claims.subject().as_str());
        let groups = all[&self.settings.groups_claim].as_array().into_iter().flatten();
        let groups: Vec<&str> = groups.filter_map(Value::as_str).collect();
        let (role, teams) = grant(&self.settings, &groups).ok_or(OidcError::NoGroup)?;
        Ok(Login::Person { name: name.to_owned(), role, teams })
    }

    async fn client(&self) -> Result<OidcClient, OidcError> {
        let asked = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http);
        let metadata = asked.await.map_err(provider)?;
        let id = ClientId::new(self.settings.client_id.clone());
        let client = OidcClient::from_provider_metadata(metadata, id, self.secret.clone());
        Ok(client.set_redirect_uri(self.redirect.clone()))
    }
}

/// What groups give: the highest role, where the groups that give this role have it. Not the repositories of the others:
/// who may only look at them would have that role there too.
fn grant(settings: &OidcSettings, groups: &[&str]) -> Option<(Role, Vec<String>)> {
    let given: Vec<_> = groups.iter().filter_map(|group| settings.groups.get(*group)).collect();
    let role = given.iter().map(|group| group.role).max()?;
    let with_role: Vec<_> = given.iter().filter(|group| group.role == role).collect();
    if with_role.iter().any(|group| group.teams.is_empty()) {
        return Some((role, Vec::new()));
    }
    Some((role, with_role.iter().flat_map(|group| group.teams.clone()).collect()))
}

async fn exchange(http: Http, request: HttpRequest) -> Result<HttpResponse, HttpFailure> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let mut call = match parts.method.as_str() {
        "GET" => Call::get(url),
        _ => Call::post_form(url, body),
    };
    for (name, key) in [(header::ACCEPT, "accept"), (header::AUTHORIZATION, "authorization")] {
        if let Some(value) = parts.headers.get(name) {
            call = call.with(key, value.as_bytes());
        }
    }
    let answer = http.send(call).await.map_err(|trouble| match trouble {
        Trouble::NotSent(reason) | Trouble::NoAnswer(reason) => HttpFailure(reason),
    })?;
    Response::builder()
        .status(answer.status)
        .body(answer.body)
        .map_err(|error| HttpFailure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_give_the_highest_role_where_they_have_it() {
        let settings: OidcSettings = serde_json::from_value(serde_json::json!({
            "issuer": "https://login.example", "client_id": "c", "groups": {
                "all": { "role": "viewer" }, "shop": { "role": "triager", "teams": ["shop"] },
                "app": { "role": "triager", "teams": ["app"] }, "root": { "role": "admin" },
            },
        }))
        .unwrap();
        assert_eq!(grant(&settings, &["unknown"]), None);
        assert_eq!(grant(&settings, &["all"]), Some((Role::Viewer, vec![])));
        assert_eq!(grant(&settings, &["all", "shop"]), Some((Role::Triager, vec!["shop".into()])));
        let both = Some((Role::Triager, vec!["shop".into(), "app".into()]));
        assert_eq!(grant(&settings, &["shop", "app"]), both);
        assert_eq!(grant(&settings, &["shop", "root"]), Some((Role::Admin, vec![])));
    }
}
