//! What handlers read of a request; what can't be read is a [`Problem`].

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use secretscan_model::Timestamp;
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use serde::{Deserialize, Deserializer};

use super::Problem;
use crate::index::queries::MAX_LIMIT;

/// Rows of a page unless something else is asked for.
const DEFAULT_LIMIT: usize = 50;

/// The variables of the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|path| Self(path.0)).map_err(|rejection: PathRejection| rejection.into())
    }
}

/// The query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|query| Self(query.0)).map_err(|rejection: QueryRejection| rejection.into())
    }
}

/// The body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = axum::Json::<T>::from_request(request, state).await;
        read.map(|body| Self(body.0)).map_err(|rejection: JsonRejection| rejection.into())
    }
}

/// Several values of a parameter, with commas between them.
pub fn commas<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = |part: &str| {
        let part: value::StringDeserializer<value::Error> = part.to_owned().into_deserializer();
        T::deserialize(part).map_err(serde::de::Error::custom)
    };
    text.split(',').map(read).collect()
}

/// How many rows a page has.
///
/// # Errors
/// When that is none, or too many.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit is 1 to {MAX_LIMIT}, found {limit}"))),
    }
}

/// A time, as RFC 3339 writes it.
///
/// # Errors
/// When it is none.
pub fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        Problem::bad_request(format!("{name} must be a time such as 2027-04-01T12:00:00Z, found {text:?}"))
    })
}
