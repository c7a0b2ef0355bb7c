//! Explanations for people: aligned, rule by rule.

use std::fmt::{self, Write};

use weft_api::visible_in_line;

use crate::explanation::{
    Because, Destination, DnsAnswer, Explanation, Hop, Ignored, Mirror, Outcome, Unresolved,
};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(unresolved) = &self.unresolved {
            writeln!(f, "{unresolved}\n")?;
        }
        for (index, hop) in self.hops.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{}. {hop}", index + 1)?;
        }
        for ignored in &self.ignored {
            write!(f, "\n{ignored}")?;
        }
        if !self.ignored.is_empty() {
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: warning: {}: {}",
            visible_in_line(&self.source),
            visible_in_line(&self.object),
            Self::MESSAGE
        )
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, why) = (visible_in_line(&self.host), visible_in_line(&self.why));
        match self.answer {
            DnsAnswer::NoSuchName => writeln!(f, "`{host}` does not resolve: {why}.")?,
            DnsAnswer::NoAddress => writeln!(f, "`{host}` has no address: {why}.")?,
            DnsAnswer::Outside => {
                return write!(
                    f,
                    "`{host}` is for DNS outside the mesh: {why}. If it does not resolve there, the \
                     application fails\nbefore any proxy sees the request; if it does, this happens \
                     (--to ADDRESS:PORT asks about a certain address):"
                );
            }
        }
        write!(
            f,
            "The application fails before any proxy sees the request. If it dials an address outside \
             the mesh\nall the same, this happens (--to ADDRESS:PORT asks about a certain address):"
        )
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.at, self.headline())?;
        for destination in &self.destinations {
            writeln!(f, "   to       {destination}")?;
        }
        for Mirror { percent, destination } in &self.mirrors {
            writeln!(f, "   copies   {percent} % to {destination}")?;
        }
        if let Some(request) = &self.request {
            writeln!(
                f,
                "   sends    {} {} {} (authority {})",
                request.method,
                request.path,
                request.protocol.as_str(),
                request.authority
            )?;
        }
        if let Some(timeout) = &self.timeout {
            writeln!(f, "   timeout  {timeout}")?;
        }
        if let Some(retries) = &self.retries {
            writeln!(f, "   retries  {}", retries_in_words(retries))?;
        }
        for (index, line) in table(&self.because).lines().enumerate() {
            let label = if index == 0 { "because" } else { "" };
            writeln!(f, "   {label:<8} {line}")?;
        }
        Ok(())
    }
}

impl Hop {
    fn headline(&self) -> String {
        let mut line = match (self.outcome, self.status) {
            (Outcome::Forward, _) => "forwarded".to_owned(),
            (Outcome::Passthrough, _) => "passed on as it is".to_owned(),
            (Outcome::Respond, Some(status)) => format!("answered {status}"),
            (Outcome::Respond, None) => "answered".to_owned(),
            (Outcome::Refuse, _) => "connection closed".to_owned(),
        };
        let causes = [&self.flags, &self.details];
        for cause in causes.into_iter().flatten() {
            let _ = write!(line, ", {}", visible_in_line(cause));
        }
        if let Some(body) = &self.body {
            let _ = write!(line, " ({body:?})");
        }
        line
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{}:{}", visible_in_line(service), self.port)?,
            None => write!(f, "port {}", self.port)?,
        }
        if let Some(subset) = &self.subset {
            write!(f, " subset {}", visible_in_line(subset))?;
        }
        if let Some(weight) = self.weight {
            write!(f, " weight {weight}")?;
        }
        match self.endpoints.is_empty() {
            true => write!(f, " -> no endpoint"),
            false => write!(f, " -> {}", self.endpoints.join(", ")),
        }
    }
}

fn retries_in_words(retries: &weft_config::Retries) -> String {
    let on: Vec<String> = retries
        .on
        .iter()
        .filter_map(|on| Some(serde_json::to_value(on).ok()?.as_str()?.to_owned()))
        .collect();
    let limit = match retries.per_try_timeout {
        Some(limit) => format!(", {}s each", limit.as_secs_f64()),
        None => String::new(),
    };
    format!("{} on {}{limit}", retries.attempts, on.join(","))
}

/// What was looked at, in columns.
fn table(because: &[Because]) -> String {
    let rows: Vec<[String; 4]> = because
        .iter()
        .map(|one| {
            let what = match one.rule.is_empty() {
                true => one.object.clone(),
                false => format!("{} {}", one.object, one.rule),
            };
            let place = one.source.clone().unwrap_or_default();
            // These are names and texts of objects.
            [one.verdict.clone(), what, place, one.why.clone()]
                .map(|cell| visible_in_line(&cell).into_owned())
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for [verdict, what, place, why] in &rows {
        let [first, second, third] = widths;
        let gap = if third == 0 { "" } else { "  " };
        let _ = writeln!(text, "{verdict:<first$}  {what:<second$}  {place:<third$}{gap}{why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let because = Because {
            object: "VirtualService/evil/\x1b]52;c;aGk=\x07".into(),
            rule: String::new(),
            verdict: "matched".into(),
            why: "a\nb".into(),
            source: None,
        };
        let text = table(&[because]);
        assert!(!text.contains('\x1b') && text.contains("\\x1b]52;c;aGk=\\x07"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
