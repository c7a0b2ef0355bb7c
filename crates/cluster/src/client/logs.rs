//! What a container wrote.

use futures::TryStreamExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{ClientError, Cluster, Container, bytes_of, encode, kube_error, refused};

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Stay and show what is written from now on.
    pub follow: bool,
    /// The log of the run before the last restart.
    pub previous: bool,
    /// With the time of each line.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only what was written in the last so many seconds.
    pub since_seconds: Option<u64>,
}

impl LogQuery {
    fn path(&self, container: &Container) -> String {
        let Container { namespace, pod, name, .. } = container;
        let mut path =
            format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={}", encode(name));
        let flags =
            [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)];
        for (flag, _) in flags.iter().filter(|(_, set)| *set) {
            path += &format!("&{flag}=true");
        }
        if let Some(lines) = self.tail {
            path += &format!("&tailLines={lines}");
        }
        if let Some(seconds) = self.since_seconds {
            path += &format!("&sinceSeconds={seconds}");
        }
        path
    }
}

impl Cluster {
    /// Writes a container's log to `out` as it comes.
    pub async fn logs(
        &self,
        container: &Container,
        query: &LogQuery,
        out: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<(), ClientError> {
        let path = query.path(container);
        let request = Request::builder()
            .method(Method::GET)
            .uri(&path)
            .body(Body::empty())
            .map_err(|error| ClientError::Usage(format!("{path}: {error}")))?;
        let response = self.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status.as_u16(), &bytes_of(response).await?));
        }
        let mut chunks = response.into_body().into_data_stream();
        let broken = |source| ClientError::Stream { what: "writing the log", source };
        while let Some(chunk) = chunks.try_next().await.map_err(kube_error)? {
            out.write_all(&chunk).await.map_err(broken)?;
            out.flush().await.map_err(broken)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_query() {
        let own = str::to_owned;
        let container =
            Container { namespace: own("a"), pod: own("b"), name: own("c"), remark: None };
        let query = LogQuery { follow: true, tail: Some(5), ..LogQuery::default() };
        assert_eq!(
            query.path(&container),
            "/api/v1/namespaces/a/pods/b/log?container=c&follow=true&tailLines=5"
        );
    }
}
