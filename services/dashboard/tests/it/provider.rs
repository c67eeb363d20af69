//! A stand-in for an identity provider, as strict as the standards want one: it checks the client, the redirect URL, PKCE
//! (S256) and that each code is used once, and signs its ID tokens (ES256).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, RawForm, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use secretscan_bus::now;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub const CLIENT: &str = "dashboard";

/// How it misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    OtherNonce,
    OtherAudience,
    OtherKey,
    Expired,
}

pub struct Provider {
    pub issuer: String,
    pub client_secret: String,
    /// What it is asked for, by the codes that it gave.
    asked: Mutex<HashMap<String, HashMap<String, String>>>,
    pub fault: Mutex<Fault>,
    pub groups: Mutex<Vec<String>>,
    key: EcdsaKeyPair,
    other_key: EcdsaKeyPair,
}

fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let written = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, written.as_ref(), &random).unwrap()
}

impl Provider {
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            client_secret: uuid::Uuid::new_v4().to_string(),
            asked: Mutex::default(),
            fault: Mutex::default(),
            groups: Mutex::default(),
            key: key(),
            other_key: key(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    fn sign(&self, claims: &Value) -> String {
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", encode(&json!({ "alg": "ES256", "kid": "1" })), encode(claims));
        let key = if *self.fault.lock().unwrap() == Fault::OtherKey { &self.other_key } else { &self.key };
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

async fn metadata(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    // An uncompressed point: 4, x, y.
    let point = provider.key.public_key().as_ref();
    let encode = |part: &[u8]| BASE64URL_NOPAD.encode(part);
    Json(json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1",
        "x": encode(&point[1..33]), "y": encode(&point[33..]),
    }] }))
}

/// The person has logged in and agrees: goes back with a code.
async fn authorize(
    State(provider): State<Arc<Provider>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|given| given == value);
    let is_complete = is("response_type", "code")
        && is("client_id", CLIENT)
        && is("code_challenge_method", "S256")
        && ["state", "nonce", "code_challenge", "redirect_uri"].iter().all(|name| asked.contains_key(*name))
        && asked["scope"].split(' ').any(|scope| scope == "openid");
    if !is_complete {
        return (StatusCode::BAD_REQUEST, format!("incomplete: {asked:?}")).into_response();
    }
    let code = uuid::Uuid::new_v4().to_string();
    let back = format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"]);
    provider.asked.lock().unwrap().insert(code, asked);
    Redirect::to(&back).into_response()
}

async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let expected = BASE64.encode(format!("{CLIENT}:{}", provider.client_secret).as_bytes());
    if headers
        .get("authorization")
        .is_none_or(|value| value.as_bytes() != format!("Basic {expected}").as_bytes())
    {
        return refuse("invalid_client");
    }
    let Some(asked) = provider.asked.lock().unwrap().remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(form["code_verifier"].as_bytes()));
    if challenge != asked["code_challenge"] || form["redirect_uri"] != asked["redirect_uri"] {
        return refuse("invalid_grant");
    }
    let (fault, seconds) = (*provider.fault.lock().unwrap(), now().0 / 1_000);
    let nonce = if fault == Fault::OtherNonce { "another" } else { asked["nonce"].as_str() };
    let audience = if fault == Fault::OtherAudience { "another" } else { CLIENT };
    let expires = if fault == Fault::Expired { seconds - 60 } else { seconds + 60 };
    let groups = provider.groups.lock().unwrap().clone();
    let claims = json!({
        "iss": provider.issuer, "sub": "1", "aud": audience, "iat": seconds - 1, "exp": expires, "nonce": nonce,
        "email": "ada@example.com", "groups": groups,
    });
    let id_token = provider.sign(&claims);
    Json(json!({ "access_token": "unused", "token_type": "Bearer", "id_token": id_token })).into_response()
}
