//! HTTP/2 on a connection to a server.
//!
//! One task drives the connection. A stream is polled by the exchange that opened it: no
//! task, channel or queue stands between.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    Reason,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::JoinHandle,
};
use weft_config::Limits;
use weft_decide::arrive::fields::MOST_FIELDS;

use super::{
    BROKEN_STREAMS, FRAME_BUDGET, MOST_STREAMS, REMEMBERED_RESETS, RESETS_OF_SERVERS,
    UPSTREAM_STREAMS, connection_window,
    incoming_body::{Bodies, Owed, ReceivedBody},
    keep_alive::KeepAlive,
    outgoing_body::{Outgoing, Sending, Share, Unsent},
    windows::Windows,
};
use crate::http::{
    body::Incoming,
    error::Error,
    headers,
    metered_stream::{Greeting, Meter, MeteredStream},
    pause::Pause,
};
use crate::io::tally::Tally;

/// A connection to a server, for many streams.
pub struct Client {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<ConnectionState>,
}

/// What the driver and the streams know of the connection.
#[derive(Debug)]
struct ConnectionState {
    meter: Arc<Meter>,
    bodies: Bodies,
    open: Cell<usize>,
    /// Streams that the server allows at a time.
    allowed: Cell<usize>,
    ended: Cell<bool>,
    /// Whether windows are small since much that came is not read.
    crowded: Cell<bool>,
    /// Streams that its backend allows at a time.
    most_open: Cell<usize>,
    /// Streams after which no more are opened.
    most_streams: Cell<u32>,
    /// Streams so far.
    streams: Cell<u32>,
    /// Those that did not end in order.
    broken: Cell<u32>,
    limits: Limits,
    /// What waits for a stream, where connections are limited.
    waiting: RefCell<Option<Rc<Notify>>>,
    /// Uploads are of many clients: what waits for the server has no limit of its own.
    share: Rc<Share>,
}

/// A stream that may be opened, or is.
pub struct StreamSlot {
    client: Rc<Client>,
    /// Whether the exchange is over, and nothing of it is still to come.
    complete: bool,
}

/// A request that was sent, and the body that still is.
pub struct Sent {
    /// The head of the answer, and its body as far as it comes.
    pub response: Response<Incoming>,
    /// Sends the rest of the request's body; ends with the exchange.
    pub upload: Option<Upload>,
}

/// A task that is aborted with this.
#[derive(Debug)]
pub struct Upload(JoinHandle<()>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Begins HTTP/2 on `stream`, and waits for what the server allows. Bytes of bodies that
    /// wait are counted in `tally`.
    pub async fn begin<S>(stream: S, limits: &Limits, tally: &Rc<Tally>) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (stream, meter) = MeteredStream::in_turns(stream, 0);
        meter.begin_turn();
        let windows = Windows::begin_small(limits.stream_window);
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(windows.size())
            .initial_connection_window_size(connection_window(
                UPSTREAM_STREAMS,
                limits.stream_window,
            ))
            .max_header_list_size(limits.head_bytes)
            .max_send_buffer_size(limits.buffer as usize)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .max_local_error_reset_streams(Some(RESETS_OF_SERVERS))
            .data_frame_budget(FRAME_BUDGET)
            .handshake::<_, Bytes>(stream)
            .await?;
        poll_fn(|context| {
            meter.begin_turn();
            match Pin::new(&mut connection).poll(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(Error::Http2(error))),
                Poll::Ready(Ok(())) => Poll::Ready(Err(Error::Http2(Reason::NO_ERROR.into()))),
                Poll::Pending if meter.greeting() == Greeting::Complete => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let allowed = Cell::new(connection.max_concurrent_send_streams());
        let bodies = Bodies::counted_in(tally);
        let state = Rc::new(ConnectionState {
            meter,
            bodies,
            open: Cell::new(0),
            allowed,
            ended: Cell::new(false),
            crowded: Cell::new(false),
            most_open: Cell::new(UPSTREAM_STREAMS as usize),
            most_streams: Cell::new(MOST_STREAMS),
            streams: Cell::new(0),
            broken: Cell::new(0),
            limits: *limits,
            waiting: RefCell::default(),
            share: Share::of(usize::MAX),
        });
        tokio::task::spawn_local(drive(connection, Rc::clone(&state), windows));
        Ok(Self { sender: RefCell::new(sender), state })
    }

    /// Whether no stream can be opened any more.
    pub fn has_ended(&self) -> bool {
        let ready = || {
            let mut context = Context::from_waker(std::task::Waker::noop());
            self.sender.borrow_mut().poll_ready(&mut context)
        };
        self.state.ended.get() || matches!(ready(), Poll::Ready(Err(_)))
    }

    /// Whether the connection takes no new streams, since it would not last much longer.
    /// Those that are open go on.
    pub fn is_worn_out(&self) -> bool {
        self.state.broken.get() >= BROKEN_STREAMS
            || self.state.streams.get() >= self.state.most_streams.get()
    }

    /// At most `open` streams at a time, and `all` of them, where these are less than for every
    /// connection.
    pub fn limit_streams(&self, open: Option<u32>, all: Option<u32>) {
        let ConnectionState { most_open, most_streams, .. } = &*self.state;
        if let Some(open) = open.and_then(|open| usize::try_from(open).ok()) {
            most_open.set(most_open.get().min(open.max(1)));
        }
        most_streams.set(most_streams.get().min(all.unwrap_or(u32::MAX).max(1)));
    }

    /// Wakes as many of those that are `waiting` as there are streams for them, now and whenever
    /// the server allows more.
    pub fn wake_by_room(&self, waiting: &Rc<Notify>) {
        self.state.waiting.replace(Some(Rc::clone(waiting)));
        self.state.wake_by_room();
    }

    fn begin_stream(
        &self,
        head: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, h2::SendStream<Bytes>), Error> {
        let mut sender = self.sender.borrow_mut();
        let mut context = Context::from_waker(std::task::Waker::noop());
        if sender.poll_ready(&mut context)?.is_pending() {
            // A handle opens one stream at a time; another one does not wait for the first.
            *sender = sender.clone();
        }
        Ok(sender.send_request(head, end)?)
    }

    /// Whether its streams have small windows since much that came on others is not read.
    pub fn is_crowded(&self) -> bool {
        self.state.crowded.get()
    }

    /// Bytes that have come and were not read.
    #[cfg(test)]
    pub fn unread(&self) -> usize {
        self.state.bodies.unread()
    }

    /// As if much that came were not read, until the connection is driven again.
    #[cfg(test)]
    pub fn make_crowded(&self) {
        self.state.crowded.set(true);
    }

    /// Streams that are open.
    pub fn open(&self) -> usize {
        self.state.open.get()
    }

    /// A slot for one more stream, if there is room. A server that allows none for a while
    /// must not have one connection after another made.
    pub fn slot(self: &Rc<Self>) -> Option<StreamSlot> {
        let ConnectionState { open, streams, .. } = &*self.state;
        if self.is_worn_out() || open.get() >= self.state.most_now() {
            return None;
        }
        open.set(open.get() + 1);
        streams.set(streams.get() + 1);
        Some(StreamSlot { client: Rc::clone(self), complete: false })
    }
}

impl ConnectionState {
    /// Streams that may be open at a time.
    fn most_now(&self) -> usize {
        self.allowed.get().clamp(1, self.most_open.get())
    }

    /// The server allows so many streams now.
    fn allow(&self, streams: usize) {
        let before = self.allowed.replace(streams);
        if before < streams {
            self.wake_by_room();
        }
    }

    /// Wakes as many that wait as there are streams for them.
    fn wake_by_room(&self) {
        let Some(waiting) = &*self.waiting.borrow() else { return };
        let left = self.most_streams.get().saturating_sub(self.streams.get());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        for _ in 0..self.most_now().saturating_sub(self.open.get()).min(left) {
            waiting.notify_one();
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let ConnectionState { open, broken, .. } = &*self.client.state;
        open.set(open.get().saturating_sub(1));
        if !self.complete {
            broken.set(broken.get().saturating_add(1));
        }
    }
}

impl StreamSlot {
    /// The exchange is over, and nothing of it is still to come.
    pub fn complete(mut self) {
        self.complete = true;
    }

    /// Whether a request can be sent on the connection. If not, nothing of it is.
    pub fn is_ready(&self) -> bool {
        !self.client.has_ended()
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Sent, Error>
    where
        B: Outgoing<Error = Error> + 'static,
    {
        let (parts, body) = request.into_parts();
        let end = body.is_end_stream();
        let head = Request::from_parts(parts, ());
        let (response, stream) = self.client.begin_stream(head, end)?;
        let limits = &self.client.state.limits;
        let tally = self.client.state.bodies.tally();
        let share = &self.client.state.share;
        let sending = (!end).then(|| Sending::new(stream, body, limits.stalled, tally, share));
        let mut exchange = Exchange { response, sending };
        let response = poll_fn(|context| exchange.poll(context)).await?;
        if response.headers().len() > MOST_FIELDS {
            return Err(Error::TooManyFields);
        }
        let upload = exchange.sending.take().map(|mut sending| {
            Upload(tokio::task::spawn_local(async move {
                let sent = poll_fn(|context| sending.poll(context)).await;
                if let Err(Unsent::Body(_) | Unsent::Expired | Unsent::Peer(Error::Stalled)) = sent
                {
                    sending.reset(Reason::CANCEL);
                }
            }))
        });
        let state = &self.client.state;
        let response = response.map(|stream| match stream.is_end_stream() {
            true => None,
            false => Some(stream),
        });
        let (parts, stream) = response.into_parts();
        let body = match stream {
            None => Incoming::empty(),
            Some(stream) => {
                let owed = Owed::Nothing.or_bytes(headers::announced(&parts.headers));
                let body = ReceivedBody::new(stream, owed, &state.bodies, limits.stalled);
                Incoming::http2(body)
            }
        };
        Ok(Sent { response: Response::from_parts(parts, body), upload })
    }
}

/// A request whose body is sent while the answer is waited for.
struct Exchange<B> {
    response: ResponseFuture,
    sending: Option<Sending<B>>,
}

impl<B: Outgoing<Error = Error>> Exchange<B> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Response<h2::RecvStream>, Error>> {
        if let Some(sending) = &mut self.sending {
            match sending.poll(context) {
                Poll::Pending => {}
                // What the server says about it is more than that it takes nothing more.
                Poll::Ready(Ok(()) | Err(Unsent::Peer(Error::Http1(_) | Error::Http2(_)))) => {
                    self.sending = None;
                }
                Poll::Ready(Err(Unsent::Peer(error) | Unsent::Body(error))) => {
                    sending.reset(Reason::CANCEL);
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Err(Unsent::Expired)) => {
                    sending.reset(Reason::CANCEL);
                    return Poll::Ready(Err(Error::Stalled));
                }
            }
        }
        Pin::new(&mut self.response).poll(context).map_err(Error::Http2)
    }
}

/// Reads and writes until the connection has ended.
async fn drive<S>(
    mut connection: Connection<MeteredStream<S>, Bytes>,
    state: Rc<ConnectionState>,
    mut windows: Windows,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut keep_alive = KeepAlive::new(connection.ping_pong(), &state.limits, None);
    let mut pause = Pause::default();
    let ended = poll_fn(|context| {
        let meter = &state.meter;
        if !pause.is_under_way() {
            meter.begin_turn();
        }
        // Before the heads of new requests are sent, so that it holds for their answers.
        change_windows(&mut connection, &mut windows, &state);
        let polled = Pin::new(&mut connection).poll(context);
        state.bodies.after_turn(meter);
        if change_windows(&mut connection, &mut windows, &state) {
            context.waker().wake_by_ref();
        }
        if meter.is_exhausted() && !pause.is_under_way() {
            pause.begin(context);
        }
        state.allow(connection.max_concurrent_send_streams());
        match polled {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => keep_alive.poll(context, meter, state.open.get() > 0).map(|_| Ok(())),
        }
    })
    .await;
    state.ended.set(true);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a server broke");
    }
}

/// Tells the server of other windows, if they change; whether it will be told. It fails until the
/// server has confirmed the last change.
fn change_windows<S>(
    connection: &mut Connection<MeteredStream<S>, Bytes>,
    windows: &mut Windows,
    state: &ConnectionState,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if state.bodies.are_large() {
        windows.may_grow();
    }
    let change = windows.change(state.bodies.tally(), state.bodies.unread());
    state.crowded.set(windows.is_crowded());
    let Some(size) = change else { return false };
    let told = connection.set_initial_window_size(size).is_ok();
    if told {
        windows.changed(size);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncWriteExt, duplex},
        task::LocalSet,
    };

    #[tokio::test]
    async fn before_stream_numbers_run_out_no_more_are_opened_and_open_ones_stay() {
        let test = async {
            let (near, mut far) = duplex(1024);
            // Empty SETTINGS.
            far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let client = Client::begin(near, &Limits::default(), &Rc::default()).await.unwrap();
            let client = Rc::new(client);
            client.state.streams.set(MOST_STREAMS - 1);
            let last = client.slot().expect("one more");
            assert!(client.is_worn_out() && client.slot().is_none());
            assert!(last.is_ready(), "it can still be opened");
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn only_streams_that_did_not_end_in_order_wear_a_connection_out() {
        let test = async {
            let (near, mut far) = duplex(1024);
            far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let client =
                Rc::new(Client::begin(near, &Limits::default(), &Rc::default()).await.unwrap());
            for _ in 0..2 * BROKEN_STREAMS {
                client.slot().expect("there is room").complete();
            }
            for _ in 0..BROKEN_STREAMS {
                drop(client.slot().expect("there is room"));
            }
            assert!(client.is_worn_out());
        };
        LocalSet::new().run_until(test).await;
    }
}
