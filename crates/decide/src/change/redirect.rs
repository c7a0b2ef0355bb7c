//! Where clients are sent instead.

use std::{borrow::Cow, fmt::Write};

use http::HeaderValue;
use weft_config::{Redirect, TextMatch, change::NotAChange};

use super::path::{CompiledPath, absolute};
use crate::{
    arrive::{Arrived, split_authority},
    failure::Failure,
    reply::Reply,
};

/// A redirect, ready to be sent.
#[derive(Debug)]
pub(crate) struct CompiledRedirect {
    data: Redirect,
    path: Option<CompiledPath>,
}

impl CompiledRedirect {
    pub(crate) fn new(redirect: &Redirect) -> Result<Self, NotAChange> {
        let path = redirect.path.as_ref().map(CompiledPath::new).transpose()?;
        Ok(Self { data: redirect.clone(), path })
    }

    /// Where the client of `arrived` is sent, as Envoy puts it together.
    pub(crate) fn reply(&self, arrived: &Arrived, matched: Option<&TextMatch>) -> Reply {
        let request = arrived.request();
        let was_https = request.scheme().eq_ignore_ascii_case(b"https");
        let scheme = match &self.data.scheme {
            Some(scheme) => scheme.as_str(),
            None => {
                if was_https {
                    "https"
                } else {
                    "http"
                }
            }
        };
        let default = |scheme: &str| if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let old_port = if was_https { 443 } else { 80 };
        let (host, said) = match &self.data.authority {
            Some(authority) if self.data.port.is_none() => (authority.as_str(), None),
            Some(authority) => (split_authority(authority).0, None),
            None => {
                let (host, port) = split_authority(request.authority);
                let stays = self.data.port.is_none()
                    && (default(scheme) == old_port || port.parse() != Ok(old_port));
                (host, Some(port).filter(|port| stays && !port.is_empty()))
            }
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = said {
            let _ = write!(location, ":{port}");
        }
        if let Some(port) = self.data.port.filter(|port| *port != default(scheme)) {
            let _ = write!(location, ":{port}");
        }
        let target = request.path_and_query;
        let target = match &self.path {
            None => Some(Cow::Borrowed(target)),
            Some(CompiledPath::Whole(whole)) if whole.contains('?') => {
                Some(Cow::Owned(absolute(whole)))
            }
            Some(path) => path.changed(target, matched).map(Cow::Owned),
        };
        let location = target.and_then(|target| {
            location.push_str(&target);
            HeaderValue::try_from(location).ok()
        });
        match location {
            Some(location) => {
                let fields = vec![(http::header::LOCATION, location)];
                Reply::new(self.data.status, "direct_response").with_fields(fields)
            }
            None => Failure::BadRewrite.reply(),
        }
    }
}
