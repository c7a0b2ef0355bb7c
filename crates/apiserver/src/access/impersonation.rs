//! Impersonation: requests as another user, by the headers that begin with `Impersonate-`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{Attempt, User, authorize};
use crate::{query, status::Status, store::Store};

const UNAUTHENTICATED: &str = "system:unauthenticated";
const AUTHENTICATED: &str = "system:authenticated";

/// Whom a caller wants to be.
#[derive(Debug, Default)]
struct Impersonated {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The user that a caller wants to be, by the headers of impersonation; the caller itself
/// when there are none.
///
/// Needs the verb `impersonate` for the user, the uid, each group and each value of what
/// else is known of a user, as on a cluster.
pub fn impersonate(store: &Store, caller: User, headers: &HeaderMap) -> Result<User, Status> {
    let Some(wanted) = Impersonated::of(headers)? else { return Ok(caller) };
    let account =
        wanted.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let may = |group: &str, (plural, subresource): (&str, &str), namespace: &str, name: &str| {
        let attempt = Attempt {
            verb: "impersonate".into(),
            group: group.into(),
            plural: plural.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            path: String::new(),
        };
        authorize(store, &caller, &attempt)
    };
    const GROUP: &str = "authentication.k8s.io";
    match account {
        Some((namespace, account)) => may("", ("serviceaccounts", ""), namespace, account)?,
        None => may("", ("users", ""), "", &wanted.user)?,
    }
    if !wanted.uid.is_empty() {
        may(GROUP, ("uids", ""), "", &wanted.uid)?;
    }
    for group in &wanted.groups {
        may("", ("groups", ""), "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(GROUP, ("userextras", key), "", value)?;
        }
    }
    let mut groups = wanted.groups;
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        let all = "system:serviceaccounts";
        groups = vec![all.to_owned(), format!("{all}:{namespace}")];
    }
    let has = |group: &str| groups.iter().any(|one| one == group);
    let everybody = match wanted.user.as_str() {
        "system:anonymous" => UNAUTHENTICATED,
        _ if has(UNAUTHENTICATED) => UNAUTHENTICATED,
        _ => AUTHENTICATED,
    };
    if !has(everybody) {
        groups.push(everybody.to_owned());
    }
    let extra = if wanted.extra.is_empty() { Value::Null } else { json!(wanted.extra) };
    Ok(User { name: wanted.user, uid: wanted.uid, groups, extra })
}

impl Impersonated {
    /// What the headers say; without any of them the caller is not another user.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let mut wanted = Self::default();
        // As on a cluster, an empty user or uid counts as absent.
        let mut any = false;
        for (name, value) in headers {
            let Some(what) = name.as_str().strip_prefix("impersonate-") else { continue };
            let value = text(name.as_str(), value)?;
            any |= !(value.is_empty() && matches!(what, "user" | "uid"));
            match what {
                "user" if wanted.user.is_empty() => wanted.user = value,
                "uid" if wanted.uid.is_empty() => wanted.uid = value,
                "user" | "uid" => {
                    let message = format!("header {name} is there more than once");
                    return Err(Status::bad_request(message));
                }
                "group" => wanted.groups.push(value),
                other => match other.strip_prefix("extra-") {
                    Some(key) => wanted.extra.entry(query::decode(key)).or_default().push(value),
                    None => {
                        let message = format!(
                            "header {name} is not known; send Impersonate-User, -Group, -Uid or -Extra-KEY"
                        );
                        return Err(Status::bad_request(message));
                    }
                },
            }
        }
        if any && wanted.user.is_empty() {
            let message =
                "headers of impersonation need Impersonate-User: who is to be impersonated?";
            return Err(Status::bad_request(message));
        }
        Ok(any.then_some(wanted))
    }
}

/// A header's text. One that cannot be read is refused: without it, the caller would act
/// as another user than it asked for.
fn text(name: &str, value: &HeaderValue) -> Result<String, Status> {
    let text = std::str::from_utf8(value.as_bytes());
    let unreadable = |_| Status::bad_request(format!("header {name} is not UTF-8"));
    text.map(str::to_owned).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn ask(store: &Store, caller: User, headers: &[(&str, &str)]) -> Result<User, Status> {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        impersonate(store, caller, &map)
    }

    #[test]
    fn only_who_may_impersonate_acts_as_another_user() {
        let store = Store::new();
        crate::bootstrap::prepare(&store);
        let user = |name| [("Impersonate-User", name)];
        let account = user("system:serviceaccount:blue:web");
        let web = ask(&store, User::controllers(), &account).unwrap();
        assert!(!web.is_master() && web.groups.contains(&"system:serviceaccounts:blue".into()));
        let attempt =
            Attempt { verb: "list".into(), plural: "secrets".into(), ..Attempt::default() };
        assert!(!super::super::is_allowed(&store, &web, &attempt));
        let refused = ask(&store, web.clone(), &user("admin")).unwrap_err();
        assert_eq!(refused.code, 403, "{refused}");
        assert_eq!(ask(&store, web.clone(), &user("")), Ok(web.clone()));
        assert_eq!(ask(&store, web.clone(), &[]), Ok(web));
    }

    /// A store in which `web` may impersonate user `jane`, and what `rule` says besides.
    fn allowing(rule: Value) -> (Store, User) {
        let store = Store::new();
        crate::bootstrap::prepare(&store);
        let group = "rbac.authorization.k8s.io";
        let make = |plural: &str, object: Value| {
            store.create(&store.resource(group, plural).unwrap(), object).unwrap();
        };
        let users = json!({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]});
        make("clusterroles", json!({"metadata": {"name": "r"}, "rules": [users, rule]}));
        let subject = json!({"kind": "User", "name": "web"});
        let role = json!({"apiGroup": group, "kind": "ClusterRole", "name": "r"});
        make(
            "clusterrolebindings",
            json!({"metadata": {"name": "r"}, "roleRef": role, "subjects": [subject]}),
        );
        (store, User { name: "web".into(), ..User::default() })
    }

    #[test]
    fn a_uid_and_what_else_is_known_need_rights_of_their_own() {
        let rule = |resource: &str, name: &str| {
            json!({"apiGroups": ["authentication.k8s.io"], "resources": [resource],
                   "resourceNames": [name], "verbs": ["impersonate"]})
        };
        let jane = ("impersonate-user", "jane");
        let uid = [jane, ("impersonate-uid", "7")];
        let extra = [jane, ("impersonate-extra-example.com%2fscopes", "view")];

        let (store, web) = allowing(rule("uids", "7"));
        assert_eq!(ask(&store, web.clone(), &uid).unwrap().uid, "7");
        let other = ask(&store, web.clone(), &[jane, ("impersonate-uid", "8")]).unwrap_err();
        assert_eq!(
            (other.code, other.message.as_str()),
            (
                403,
                "uids.authentication.k8s.io \"8\" is forbidden: User \"web\" cannot impersonate \
                 resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope"
            )
        );
        assert_eq!(ask(&store, web, &extra).unwrap_err().code, 403);

        let (store, web) = allowing(rule("userextras/example.com/scopes", "view"));
        let found = ask(&store, web.clone(), &extra).unwrap();
        assert_eq!(found.extra, json!({"example.com/scopes": ["view"]}));
        assert_eq!(ask(&store, web.clone(), &uid).unwrap_err().code, 403);
        let more = [extra[0], extra[1], ("impersonate-extra-example.com%2fscopes", "edit")];
        assert_eq!(ask(&store, web, &more).unwrap_err().code, 403);
    }

    #[test]
    fn headers_that_say_nobody_or_cannot_be_read_are_refused() {
        let store = Store::new();
        let bad: &[&[(&str, &str)]] = &[
            &[("impersonate-group", "a")],
            &[("impersonate-uid", "7")],
            &[("impersonate-extra-scopes", "view")],
            &[("impersonate-user", ""), ("impersonate-group", "a")],
            &[("impersonate-user", "a"), ("impersonate-user", "b")],
            &[("impersonate-user", "a"), ("impersonate-other", "b")],
        ];
        for headers in bad {
            let refused = ask(&store, User::controllers(), headers).unwrap_err();
            assert_eq!(refused.code, 400, "{headers:?}: {refused}");
        }
        let mut map = HeaderMap::new();
        map.append("impersonate-user", HeaderValue::from_static("jane"));
        map.append("impersonate-group", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(impersonate(&store, User::controllers(), &map).unwrap_err().code, 400);
    }

    #[test]
    fn everybody_is_authenticated_unless_they_ask_not_to_be() {
        let store = Store::new();
        let groups =
            |headers: &[(&str, &str)]| ask(&store, User::controllers(), headers).unwrap().groups;
        let jane = ("impersonate-user", "jane");
        assert_eq!(groups(&[jane]), [AUTHENTICATED]);
        assert_eq!(groups(&[jane, ("impersonate-group", UNAUTHENTICATED)]), [UNAUTHENTICATED]);
        assert_eq!(groups(&[("impersonate-user", "system:anonymous")]), [UNAUTHENTICATED]);
        assert_eq!(groups(&[jane, ("impersonate-group", "a")]), ["a", AUTHENTICATED]);
    }
}
