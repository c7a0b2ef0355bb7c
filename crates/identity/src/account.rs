//! Service accounts, as an API server names them.

use std::fmt;

/// A service account. Two are the same when both fields are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A user that is not a service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user `{0}` is not a service account")]
pub struct NotAnAccount(pub String);

impl Account {
    /// The account behind the user name that a token review gives,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub fn of_user(user: &str) -> Result<Self, NotAnAccount> {
        let mut parts = user.split(':');
        let fields = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        match fields {
            [Some("system"), Some("serviceaccount"), Some(namespace), Some(name), None]
                if !namespace.is_empty() && !name.is_empty() =>
            {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NotAnAccount(user.to_owned())),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, expected: Option<&str>) {
        let account = Account::of_user(user).ok().map(|account| account.to_string());
        assert_eq!(account.as_deref(), expected, "{user}");
    }

    #[test]
    fn only_service_accounts_are_accounts() {
        check("system:serviceaccount:shop:cart", Some("shop/cart"));
        check("system:serviceaccount:shop:", None);
        check("system:serviceaccount::cart", None);
        check("system:serviceaccount:shop:cart:more", None);
        check("system:node:shop:cart", None);
        check("admin", None);
        check("", None);
    }
}
