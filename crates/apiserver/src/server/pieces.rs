//! Answers that are written while they are taken.
//!
//! An answer holds the objects that it shows, which the store holds anyway, and a piece of
//! their text. So clients that ask for much and take nothing cost little.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use hyper::body::{Frame, SizeHint};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

/// Bytes of a body that are given to hyper at a time: what it has taken it keeps until
/// the client reads it.
pub const FRAME: usize = 32 << 10;

/// Bytes that are written at a time. An object that is longer is written again from its
/// start for each further piece, which costs time rather than memory.
const PIECE: usize = 128 << 10;

/// An object, and the text around it.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The text before it.
    pub before: String,
    /// The object, if there is one.
    pub object: Option<Arc<Value>>,
    /// Whether its type is left out.
    pub is_bare: bool,
    /// The text behind it.
    pub after: &'static str,
}

impl Part {
    /// An object and nothing else.
    pub fn whole(object: Arc<Value>) -> Self {
        Self { object: Some(object), ..Self::default() }
    }

    /// Text and nothing else.
    pub fn text(before: String) -> Self {
        Self { before, ..Self::default() }
    }

    /// The bytes from `start` on, as many as are written at a time, and whether these are
    /// the last.
    fn piece(&self, start: usize) -> (Bytes, bool) {
        let mut window = Window { skip: start, kept: Vec::new() };
        let written = self.write(&mut window);
        (window.kept.into(), written.is_ok())
    }

    fn write(&self, to: &mut Window) -> io::Result<()> {
        use io::Write as _;
        to.write_all(self.before.as_bytes())?;
        match self.object.as_deref() {
            Some(object) if self.is_bare => serde_json::to_writer(&mut *to, &Bare(object))?,
            Some(object) => serde_json::to_writer(&mut *to, object)?,
            None => {}
        }
        to.write_all(self.after.as_bytes())
    }
}

/// An object without its type.
struct Bare<'v>(&'v Value);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.0.as_object() else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields {
            if name != "kind" && name != "apiVersion" {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Keeps a piece of what is written to it, and ends the writing behind that.
struct Window {
    skip: usize,
    kept: Vec<u8>,
}

impl io::Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.skip >= bytes.len() {
            self.skip -= bytes.len();
            return Ok(bytes.len());
        }
        let start = std::mem::take(&mut self.skip);
        let end = bytes.len().min(start + PIECE - self.kept.len());
        if end == start {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.kept.extend_from_slice(&bytes[start..end]);
        Ok(end)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of parts.
pub struct Pieces<S> {
    parts: Pin<Box<S>>,
    /// The part that is being written, and how much of it has been.
    current: Option<(Part, usize)>,
    /// What has been written of it, and not been taken.
    ready: Bytes,
}

impl<S: Stream<Item = Part>> Pieces<S> {
    /// A body of these parts, one after the other.
    pub fn new(parts: S) -> Self {
        Self { parts: Box::pin(parts), current: None, ready: Bytes::new() }
    }
}

impl<S: Stream<Item = Part>> hyper::body::Body for Pieces<S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        while self.ready.is_empty() {
            let (part, written) = match self.current.take() {
                Some(current) => current,
                None => match ready!(self.parts.as_mut().poll_next(context)) {
                    Some(part) => (part, 0),
                    None => return Poll::Ready(None),
                },
            };
            let (piece, is_last) = part.piece(written);
            if !is_last {
                self.current = Some((part, written + piece.len()));
            }
            self.ready = piece;
        }
        let length = self.ready.len().min(FRAME);
        Poll::Ready(Some(Ok(Frame::data(self.ready.split_to(length)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_is_written_in_pieces_is_what_is_written_at_once() {
        for length in [0, 1, PIECE - 14, PIECE - 12, PIECE, 3 * PIECE + 7] {
            let object =
                Arc::new(json!({"kind": "K", "text": "é".repeat(length / 2), "z": length % 2}));
            let part = |is_bare| Part {
                before: "[".into(),
                object: Some(Arc::clone(&object)),
                is_bare,
                after: "]",
            };
            let parts = vec![part(false), Part::text(",".into()), part(true)];
            let body = Pieces::new(stream::iter(parts)).collect().await.unwrap().to_bytes();
            let bare = json!({"text": object["text"], "z": object["z"]});
            assert_eq!(body, format!("[{object}],[{bare}]"), "{length}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_taken_holds_a_piece() {
        let object = Arc::new(json!({"text": "x".repeat(1 << 20)}));
        let mut body = Pieces::new(stream::iter(vec![Part::whole(object); 100]));
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame.len(), FRAME);
        assert!(body.ready.len() <= PIECE);
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(FRAME + rest.len(), 100 * ((1 << 20) + r#"{"text":""}"#.len()));
    }
}
