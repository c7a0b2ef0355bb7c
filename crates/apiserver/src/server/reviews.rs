//! Questions about callers: whose token this is, who may do what, a new token.

use std::time::{Duration, SystemTime};

use http::{Method, Response, header};
use serde_json::{Value, json};
use weft_controllers::object::{self, items};

use super::{
    ApiRequest, Server,
    reply::{self, Body},
};
use crate::{
    access::{self, Attempt, User},
    authority::TokenRequest,
    media,
    status::Status,
    target::Objects,
};

/// How long a token counts that asks for no time of its own.
const LIFETIME: Duration = Duration::from_secs(3600);

/// The shortest and the longest time that a token may ask for.
const LIFETIMES: (u64, u64) = (600, 86_400);

/// POST of a review.
pub fn answer(server: &Server, at: &Objects, asked: &ApiRequest) -> Result<Response<Body>, Status> {
    let mut review = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    review["apiVersion"] = at.resource.api_version().into();
    review["kind"] = at.resource.kind.clone().into();
    review["status"] = match at.resource.plural.as_str() {
        "tokenreviews" => token_review(server, &review["spec"]),
        "selfsubjectreviews" => json!({"userInfo": asked.user.to_value()}),
        "selfsubjectrulesreviews" => {
            let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
            access::rules_of(&server.store, &asked.user, namespace)
        }
        "selfsubjectaccessreviews" => verdict(server, &asked.user, &review["spec"]),
        _ => verdict(server, &subject(&review["spec"]), &review["spec"]),
    };
    Ok(reply::short(201, &review, &[]))
}

fn token_review(server: &Server, spec: &Value) -> Value {
    let token = spec["token"].as_str().unwrap_or_default();
    let audiences: Vec<String> =
        items(&spec["audiences"]).filter_map(Value::as_str).map(str::to_owned).collect();
    match access::by_token(&server.authority, &server.store, token, &audiences) {
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
        }
        None => json!({
            "authenticated": false, "user": {},
            "error": "the token is not this cluster's, has expired, is for another audience, \
                      or its account or pod is gone",
        }),
    }
}

fn subject(spec: &Value) -> User {
    let groups = items(&spec["groups"]).filter_map(Value::as_str).map(str::to_owned).collect();
    User { name: spec["user"].as_str().unwrap_or_default().to_owned(), groups, ..User::default() }
}

fn verdict(server: &Server, user: &User, spec: &Value) -> Value {
    let wish = &spec["resourceAttributes"];
    let text = |field: &str| wish[field].as_str().unwrap_or_default().to_owned();
    let paths = &spec["nonResourceAttributes"];
    let attempt = match wish.is_object() {
        true => Attempt {
            verb: text("verb"),
            group: text("group"),
            plural: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            path: String::new(),
        },
        false => Attempt {
            verb: paths["verb"].as_str().unwrap_or_default().to_owned(),
            path: paths["path"].as_str().unwrap_or_default().to_owned(),
            ..Attempt::default()
        },
    };
    json!({"allowed": access::is_allowed(&server.store, user, &attempt)})
}

/// POST to a service account's `token`.
pub fn token(server: &Server, at: &Objects, asked: &ApiRequest) -> Result<Response<Body>, Status> {
    if asked.method != Method::POST {
        return Err(Status::method_not_allowed("tokens can only be created"));
    }
    let mut review = media::object(asked.header(header::CONTENT_TYPE), &asked.body)?;
    let (namespace, name) = (at.within(), at.name.as_deref().unwrap_or_default());
    let account = server
        .store
        .get(&at.resource, namespace, name)
        .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
    let spec = &review["spec"];
    let (least, most) = LIFETIMES;
    let lifetime = spec["expirationSeconds"]
        .as_u64()
        .map_or(LIFETIME, |seconds| Duration::from_secs(seconds.clamp(least, most)));
    let now = SystemTime::now();
    let request = TokenRequest {
        namespace: namespace.to_owned(),
        account: name.to_owned(),
        account_uid: object::uid(&account).to_owned(),
        pod: bound_pod(server, (namespace, name), &spec["boundObjectRef"])?,
        audiences: items(&spec["audiences"]).filter_map(Value::as_str).map(str::to_owned).collect(),
        lifetime,
    };
    let token = server
        .authority
        .service_account_token(&request, now)
        .map_err(|error| Status::internal(error.to_string()))?;
    let end = jiff::Timestamp::try_from(now + lifetime).unwrap_or(jiff::Timestamp::MAX);
    let end = jiff::Timestamp::from_second(end.as_second()).unwrap_or(end);
    review["apiVersion"] = "authentication.k8s.io/v1".into();
    review["kind"] = "TokenRequest".into();
    review["status"] = json!({"token": token, "expirationTimestamp": end.to_string()});
    Ok(reply::short(201, &review, &[]))
}

fn bound_pod(
    server: &Server,
    (namespace, account): (&str, &str),
    reference: &Value,
) -> Result<Option<(String, String)>, Status> {
    if !reference.is_object() {
        return Ok(None);
    }
    if reference["kind"] != "Pod" {
        let message = "tokens can be bound to pods only; leave out boundObjectRef or name a Pod";
        return Err(Status::bad_request(message));
    }
    let name = reference["name"].as_str().unwrap_or_default();
    let pod = server
        .store
        .resource("", "pods")
        .and_then(|pods| server.store.get(&pods, namespace, name))
        .ok_or_else(|| Status::not_found("", "pods", name))?;
    if !access::runs_as(&pod, account) {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different \
             serviceaccount name."
        )));
    }
    let uid = object::uid(&pod);
    match reference["uid"].as_str().filter(|wanted| !wanted.is_empty() && *wanted != uid) {
        None => Ok(Some((name.to_owned(), uid.to_owned()))),
        Some(wanted) => Err(Status::conflict(
            "",
            "pods",
            name,
            &format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in \
                 record. The object might have been deleted and then recreated"
            ),
        )),
    }
}
