//! The part of a URL behind the question mark, and what it asks for.
//!
//! Parsing is total: a value that makes no sense is a clear refusal, not a guess.

use std::time::Duration;

use crate::{
    patch::Validation,
    selector::{FieldSelector, Labels},
    status::Status,
    store::Mode,
};

/// The parameters of a request, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
            })
            .collect();
        Self { pairs }
    }

    /// One parameter; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(known, _)| known == name)?;
        Some(pair.1.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter that may be repeated.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Whether a switch is on.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.text(name), Some("true" | "1" | "t" | "T" | "True" | "TRUE"))
    }

    /// A number that may be absent. Those of Kubernetes have 64 bits, and a sign.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        let wrong = |_| Status::bad_request(format!("{name}={number} may not be negative"));
        u64::try_from(number).map(Some).map_err(wrong)
    }

    /// A number that may be negative, or absent.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = |_| {
            let most = i64::MAX;
            Status::bad_request(format!("{name}={text:?} is not a number of at most {most}"))
        };
        text.parse().map(Some).map_err(wrong)
    }

    /// Seconds that may be absent.
    pub fn seconds(&self, name: &str) -> Result<Option<Duration>, Status> {
        Ok(self.number(name)?.map(Duration::from_secs))
    }

    /// The label selector.
    pub fn labels(&self) -> Result<Labels, Status> {
        Labels::parse(self.text("labelSelector").unwrap_or_default())
    }

    /// The field selector.
    pub fn fields(&self) -> Result<FieldSelector, Status> {
        FieldSelector::parse(self.text("fieldSelector").unwrap_or_default())
    }

    /// Whether the write is a trial.
    pub fn mode(&self) -> Result<Mode, Status> {
        match self.text("dryRun") {
            None => Ok(Mode::Commit),
            Some("All") => Ok(Mode::DryRun),
            Some(other) => {
                Err(Status::bad_request(format!("dryRun={other:?} is not served; use All")))
            }
        }
    }

    /// What happens to unknown fields.
    pub fn validation(&self) -> Result<Validation, Status> {
        match self.text("fieldValidation") {
            None | Some("Warn") => Ok(Validation::Warn),
            Some("Strict") => Ok(Validation::Strict),
            Some("Ignore") => Ok(Validation::Ignore),
            Some(other) => Err(Status::bad_request(format!(
                "fieldValidation={other:?} must be Ignore, Warn or Strict"
            ))),
        }
    }
}

/// Resolves `%XX`; what is not valid is kept as it stands.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[index], digit(index + 1), digit(index + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                index += 3;
            }
            (byte, ..) => {
                out.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_nonsense_is_refused() {
        let query =
            Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&command=sh&command=-c&limit=x");
        assert_eq!(query.text("labelSelector"), Some("app=web,tier in (a)"));
        assert_eq!(query.all("command"), ["sh", "-c"]);
        assert_eq!(query.number("limit").unwrap_err().code, 400);
        let large = Query::parse("limit=9223372036854775808&timeoutSeconds=-1");
        assert_eq!(large.number("limit").unwrap_err().code, 400);
        assert_eq!(large.number("timeoutSeconds").unwrap_err().code, 400);
        assert_eq!(decode("100%zz%2"), "100%zz%2");
    }
}
