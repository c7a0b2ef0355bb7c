//! An API server that answers what a test tells it to.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc::UnboundedReceiver};

use crate::client::Cluster;

/// One answer.
pub(crate) enum Reply {
    /// A status and an object.
    Json(u16, Value),
    /// The lines of a watch, until there are no more.
    Lines(UnboundedReceiver<Value>),
    /// A watch in which nothing ever happens.
    Silence,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Reply {
    fn response(self) -> Response<Body> {
        let (status, body) = match self {
            Self::Json(status, value) => {
                (status, Full::new(Bytes::from(value.to_string())).boxed_unsync())
            }
            Self::Lines(lines) => {
                let frames = stream::unfold(lines, |mut lines| async {
                    let line = lines.recv().await?;
                    Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), lines))
                });
                (200, StreamBody::new(frames).boxed_unsync())
            }
            Self::Silence => (200, StreamBody::new(stream::pending().boxed()).boxed_unsync()),
        };
        let response = Response::builder().status(status);
        let response = response.header(header::CONTENT_TYPE, "application/json").body(body);
        response.expect("a status that exists")
    }
}

/// A client of a server that answers a request's path and query with `answer`.
pub(crate) async fn serve(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Cluster {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("the port is bound");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request| {
                let uri = hyper::Request::<hyper::body::Incoming>::uri(&request).clone();
                let reply = answer(uri.path(), uri.query().unwrap_or_default());
                async { Ok::<_, Infallible>(reply.response()) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"http://{address}\"}}}}]\n\
         users: [{{name: test, user: {{}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    );
    Cluster::from_kubeconfig(&kubeconfig).await.expect("the kubeconfig is whole")
}
