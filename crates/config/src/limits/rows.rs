//! Limits as a table for people.

use std::time::Duration;

use super::{Limits, ProcessLimits};

/// One limit for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its field.
    pub name: &'static str,
    /// Its default where clients come from outside the mesh.
    pub edge: String,
    /// Its default where clients are of the mesh.
    pub sidecar: String,
    /// What the peer sees when the limit is reached.
    pub peer_sees: &'static str,
}

/// The limits of a listener.
pub fn rows() -> Vec<Row> {
    let (edge, sidecar) = (Limits::edge(), Limits::sidecar());
    let row = |name, peer_sees, of: fn(&Limits) -> String| Row {
        name,
        edge: of(&edge),
        sidecar: of(&sidecar),
        peer_sees,
    };
    vec![
        row("head", "408 where a request has begun, else the connection is closed", |it| {
            time(it.head)
        }),
        row("idle", "the connection is closed; HTTP/2: GOAWAY first", |it| time(it.idle)),
        row("keepAlive", "HTTP/2 PING", |it| time(it.keep_alive)),
        row("keepAliveAnswer", "the connection is closed", |it| time(it.keep_alive_answer)),
        row("stalled", "408 or 504 before the answer's head, else the body is cut", |it| {
            time(it.stalled)
        }),
        row("relayIdle", "the connection is closed", |it| time(it.relay_idle)),
        row("streams", "RST_STREAM with REFUSED_STREAM", |it| it.streams.to_string()),
        row("prematureResets", "GOAWAY; RST_STREAM with REFUSED_STREAM for new requests", |it| {
            it.premature_resets.to_string()
        }),
        row("headBytes", "431", |it| bytes(it.head_bytes.into())),
        row("buffer", "nothing is read until there is room again", |it| bytes(it.buffer.into())),
        row("streamWindow", "the HTTP/2 window of the stream is empty", |it| {
            bytes(it.stream_window.into())
        }),
        row("connections", "the idlest connection is closed; if none is idle, the new one", |it| {
            it.connections.to_string()
        }),
    ]
}

/// The limits of a proxy as a whole; edge and sidecar have the same.
pub fn process_rows() -> Vec<Row> {
    let limits = ProcessLimits::new();
    let row = |name, value: String, peer_sees| Row {
        name,
        edge: value.clone(),
        sidecar: value,
        peer_sees,
    };
    vec![
        row(
            "connections",
            limits.connections.to_string(),
            "the idlest connection is closed; if none is idle, the new one",
        ),
        row(
            "buffers",
            bytes(limits.buffers),
            "relays go on with small reads, so slower; requests with a body are not sent again",
        ),
        row(
            "reservedDescriptors",
            limits.reserved_descriptors.to_string(),
            "as `connections`, which is at most half of the descriptors beyond these",
        ),
        row("tcpKeepAlive", time(limits.tcp_keep_alive), "TCP keep-alive probes"),
        row("tcpUserTimeout", time(limits.tcp_user_timeout), "the connection is reset"),
    ]
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 3600 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Names of rows in the same order as fields, so that no field lacks a row.
    #[track_caller]
    fn check_names(rows: &[Row], limits: &impl serde::Serialize) {
        let Ok(Value::Object(fields)) = serde_json::to_value(limits) else { panic!("no fields") };
        let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        fields.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, fields);
    }

    #[test]
    fn every_limit_has_a_row() {
        check_names(&rows(), &Limits::edge());
        check_names(&process_rows(), &ProcessLimits::new());
    }

    #[test]
    fn the_documentation_has_these_rows_and_no_others() {
        let text = include_str!("../../../../docs/limits.md");
        let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let of_listeners = rows().into_iter().map(|row| {
            let Row { name, edge, sidecar, peer_sees } = row;
            format!("| `{name}` | {edge} | {sidecar} | {peer_sees} |")
        });
        let of_processes = process_rows()
            .into_iter()
            .map(|row| format!("| `{}` | {} | {} |", row.name, row.edge, row.peer_sees));
        let expected: Vec<String> = of_listeners.chain(of_processes).collect();
        assert_eq!(documented, expected, "expected:\n{}", expected.join("\n"));
    }

    #[test]
    fn an_edge_is_never_kinder_than_a_sidecar_to_slow_clients() {
        let (edge, sidecar) = (Limits::edge(), Limits::sidecar());
        assert!(edge.head <= sidecar.head && edge.idle <= sidecar.idle);
        assert!(edge.stalled <= sidecar.stalled && edge.relay_idle <= sidecar.relay_idle);
        assert!(edge.streams <= sidecar.streams);
        assert!(edge.premature_resets <= sidecar.premature_resets);
    }
}
