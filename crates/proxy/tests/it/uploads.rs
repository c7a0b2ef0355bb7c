//! Uploads of many connections that nobody reads.

use serde_json::json;

use crate::{
    frames::{
        ACK, DATA, END_HEADERS, Frame, HEADERS, PING, PREFACE, Peer, SETTINGS, WINDOW_UPDATE,
        frame, post,
    },
    streams::h2_server,
    world::World,
};

const CONNECTIONS: usize = 8;
const STREAMS: u32 = 30;
const MIB: usize = 1 << 20;
/// The window of a stream.
const STREAM: usize = MIB / 4;
/// A piece of an upload.
const PIECE: usize = 16 * 1024;

/// A client that uploads all it may, and that acknowledges no change of the windows of streams.
struct Uploader {
    peer: Peer,
    /// What it may send on the connection.
    window: usize,
    sent: usize,
}

impl Uploader {
    fn greet(mut peer: Peer) -> Self {
        peer.say(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        let mut this = Self { peer, window: 65_535, sent: 0 };
        let is_own = |frame: &Frame| (frame.kind, frame.flags) == (SETTINGS, 0);
        this.until(is_own);
        this.peer.say(&frame(SETTINGS, ACK, 0, &[]));
        this.hear();
        this
    }

    fn until(&mut self, is_last: impl Fn(&Frame) -> bool) {
        loop {
            let frame = self.peer.next().expect("the connection is open");
            if frame.kind == WINDOW_UPDATE && frame.stream == 0 {
                let more = u32::from_be_bytes(frame.payload.as_slice().try_into().unwrap());
                self.window += more as usize;
            }
            if is_last(&frame) {
                return;
            }
        }
    }

    /// Hears all that was said for what it has sent: windows are opened a turn after they are read.
    fn hear(&mut self) {
        for _ in 0..3 {
            self.peer.say(&frame(PING, 0, 0, &[7; 8]));
            self.until(|frame| (frame.kind, frame.flags) == (PING, ACK));
        }
    }

    /// How much it could send on all of its streams.
    fn upload(&mut self) -> usize {
        for stream in (0..STREAMS).map(|number| 2 * number + 1) {
            self.peer.say(&frame(HEADERS, END_HEADERS, stream, &post()));
            for _ in 0..STREAM / PIECE {
                if self.window < PIECE {
                    self.hear();
                }
                if self.window < PIECE {
                    return self.sent;
                }
                self.peer.say(&frame(DATA, 0, stream, &[b'x'; PIECE]));
                (self.window, self.sent) = (self.window - PIECE, self.sent + PIECE);
            }
        }
        self.sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_together_upload_little_more_than_may_wait() {
    let (address, _) = h2_server(0, |request, respond| async move {
        let _kept = (request, respond);
        std::future::pending().await
    })
    .await;
    let settings = json!({ "settings": {
        "workload": { "name": "tester", "namespace": "default" },
        "limits": { "buffers": 4 * MIB },
    } });
    let world = World::new().limits(json!({ "streamWindow": STREAM })).resource(settings);
    let proxy = world.spoken("http2", address).start();
    let greet = |_| Uploader::greet(Peer::to(proxy.at("test")));
    let mut uploaders: Vec<_> = (0..CONNECTIONS).map(greet).collect();
    let sent: Vec<usize> = uploaders.iter_mut().map(Uploader::upload).collect();
    let total: usize = sent.iter().sum();
    // Each has half a MiB at first.
    assert!(sent.iter().all(|sent| *sent >= MIB / 2 - PIECE), "{sent:?}");
    assert!(total < CONNECTIONS * MIB + 8 * MIB, "{sent:?}");
}
