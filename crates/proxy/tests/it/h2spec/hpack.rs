//! RFC 7541: header compression.

use super::{COMPRESSION_ERROR, Must, check};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, frame, get};

/// A request whose fields are followed by these bytes.
fn followed(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&get()[..], bytes].concat())]
}

#[test]
fn broken_blocks_end_the_connection() {
    const BROKEN: Must = Must::End(&[COMPRESSION_ERROR]);
    check(&[
        ("2.3.3 an index beyond the tables", followed(&[0xc6]), BROKEN),
        ("2.3.3 a name's index beyond the tables", followed(&[0x7f, 0x80, 1, 1, b'x']), BROKEN),
        ("4.2 a size update at the end", followed(&[0x20]), BROKEN),
        ("5.2 padding over seven bits", followed(&[0, 0x82, 0xff, 0xff, 1, b'x']), BROKEN),
        ("5.2 padding that is not the end's", followed(&[0, 0x81, 0, 1, b'x']), BROKEN),
        ("5.2 the end itself", followed(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']), BROKEN),
        ("6.1 index zero", followed(&[0x80]), BROKEN),
        (
            "6.3 a table above the limit",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe2, 0x1f][..], &get()].concat(),
            )],
            BROKEN,
        ),
    ]);
}
