//! Random and hostile heads: what a server receives is what the decision saw.

use serde_json::{Value, json};
use weft_balance::Rng;

use weft_proxy::Reach;

use crate::world::{Client, Server, World, backend, brief, get, lines, ok, rule, server};

/// How many heads are tried.
const HEADS: usize = 600;

pub fn any<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len())]
}

pub fn several(rng: &mut Rng, most: usize, of: &[&str]) -> String {
    (0..rng.below(most + 1)).map(|_| any(rng, of)).collect()
}

pub const HOSTS: &[&str] = &[
    "a", "a", "a", "A", "a:80", "b", "a.", "", "a/x", "a b", "b@a", "a:80@b", "*.a", "a..",
    "[::1]", "a%00", "a,b", "a:b",
];
pub const SEGMENTS: &[&str] = &[
    "/x", "/X", "/..", "/.", "//", "/%2e%2e", "/.;", "/..;y", "/%78", "/%2578", "\\x", "/x%2Fy",
    "?q", "#f", "/%", ";p", "/y", "|", "%00",
];
pub const FIELDS: &[&str] = &[
    "content-length: 3",
    "content-length: 3",
    "content-length: 4",
    "Content-Length: +3",
    "transfer-encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "cookie: a=1",
    "cookie: b=2",
    "connection: close",
    "connection: x-a, host",
    "x-a: 1",
    "connection: upgrade",
    "upgrade: websocket",
    "upgrade: h2c",
    "upgrade: other",
    "host: b",
    "expect: 100-continue",
    "te: trailers",
    "x-envoy-original-path: /x",
    "x bad: 1",
    "keep-alive: 5",
];

/// A head, and a body that fits some readings of it.
pub fn request(rng: &mut Rng) -> String {
    let method = any(rng, &["GET", "POST", "PUT", "OPTIONS", "HEAD", "CONNECT"]);
    let path = format!("{}{}", any(rng, &["/", "/x", ""]), several(rng, 3, SEGMENTS));
    let target = match rng.below(6) {
        0 => format!("http://{}{path}", any(rng, HOSTS)),
        1 => format!("https://{}{path}", any(rng, HOSTS)),
        2 => any(rng, &["*", "a:80", "a", "?x"]).to_owned(),
        _ => format!("/{}", path.trim_start_matches('/')),
    };
    let version = any(rng, &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let mut head = format!("{method} {target} {version}\r\n");
    if rng.below(8) > 0 {
        head.push_str(&format!("host: {}\r\n", any(rng, HOSTS)));
    }
    for _ in 0..rng.below(5) {
        head.push_str(any(rng, FIELDS));
        head.push_str("\r\n");
    }
    let body = any(
        rng,
        &["", "abc", "3\r\nabc\r\n0\r\n\r\n", "0\r\n\r\nGET /x HTTP/1.1\r\nhost: b\r\n\r\n"],
    );
    // The rest satisfies whatever is still awaited, and is not a request.
    format!("{head}\r\n{body}{}\r\n\r\n", "z".repeat(64))
}

/// What is wrong with a request as a strict server reads it; `inside` says whether the
/// decision saw host `a` and a path below `/x`.
fn judge(raw: &str, inside: bool) -> Result<(), String> {
    let (head, _) = raw.split_once("\r\n\r\n").ok_or("no end of the head")?;
    let mut lines = head.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [_, target, "HTTP/1.1"] = line[..] else { return Err(format!("request line {line:?}")) };
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim())))
        .collect::<Option<_>>()
        .ok_or("a line without a colon")?;
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).collect()
    };
    let [host] = all("host")[..] else { return Err(format!("hosts {:?}", all("host"))) };
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    if lengths.len() + encodings.len() > 1 || !matches!(encodings[..], [] | ["chunked"]) {
        return Err(format!("framed by {lengths:?} and {encodings:?}"));
    }
    if all("cookie").len() > 1 {
        return Err("several cookies".to_owned());
    }
    if !all("upgrade").is_empty() && all("upgrade") != ["websocket"] {
        return Err(format!("upgrade to {:?}", all("upgrade")));
    }
    let path = target.split('?').next().unwrap_or_default();
    let odd = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
    if !path.starts_with('/') || path.split('/').any(odd) || path.contains(['\\', '#']) {
        return Err(format!("target {target}"));
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_lowercase();
    match (name == "a" && path.starts_with("/x")) == inside {
        true => Ok(()),
        false => Err(format!("{host} {target} went elsewhere")),
    }
}

fn to(backend: &str, conditions: Value) -> Value {
    json!({
        "conditions": conditions,
        "action": { "forward": [{ "backend": backend, "weight": 1 }] },
        "origin": { "object": "VirtualService/default/test" },
    })
}

#[test]
fn a_server_receives_what_the_decision_saw_or_nothing() {
    let [inside, outside] = [(); 2].map(|()| server(&[&ok("")]));
    let below = json!({ "path": { "prefix": "/x" } });
    let proxy = World::new()
        .backend("inside", &[inside.address])
        .backend("outside", &[outside.address])
        .route(&["a"], json!([to("inside", below), to("outside", json!({}))]))
        .route(&["*"], json!([to("outside", json!({}))]))
        .start();
    let mut rng = Rng::new(20_261_130);
    let (mut seen, mut served) = ([0, 0], [0, 0]);
    for number in 0..HEADS {
        let request = request(&mut rng);
        let mut client = Client::to(proxy.at("test"));
        client.say(&request);
        client.rest();
        for (at, server) in [&inside, &outside].into_iter().enumerate() {
            let heard: Vec<String> = Server::heard(server).split_off(seen[at]);
            seen[at] += heard.len();
            served[at] += heard.len();
            for raw in heard {
                if let Err(why) = judge(&raw, at == 0) {
                    panic!("head {number} {request:?} was sent on as {raw:?}: {why}");
                }
            }
        }
    }
    assert!(served.iter().all(|served| *served > 20), "{served:?} of {HEADS} were served");
}

/// What users' objects say is dialled as the proxy, so its own machine is not theirs to reach.
#[test]
fn backends_on_the_proxys_own_machine_are_not_dialled() {
    let server = server(&[&ok("secret")]);
    let port = server.address.port();
    let named = |name: &str, host: &str| {
        let discovery = json!({ "dns": { "host": host, "port": port } });
        json!({ "backend": backend(name, discovery) })
    };
    let to = |name: &str| json!([rule(name)]);
    let (world, log) = World::new().log("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%");
    let mut world = world
        .backend("slice", &[server.address])
        .resource(named("name", "localhost"))
        .resource(named("literal", "127.0.0.1"))
        .resource(named("mapped", "::ffff:127.0.0.1"))
        .resource(named("metadata", "169.254.169.254"));
    let names = ["slice", "name", "literal", "mapped", "metadata"];
    for name in names {
        world = world.route(&[&format!("{name}.example")], to(name));
    }
    world.options.reach = Reach::Mesh;
    let proxy = world.start();
    for name in names {
        let answer = proxy.ask(&get(&format!("{name}.example"), "/"));
        let says = "503 the destination's address is the proxy's own, loopback, or link-local";
        assert_eq!(brief(&answer), says, "{name}");
    }
    let expected = vec!["UH upstream_address_not_allowed"; names.len()];
    assert_eq!(lines(&log, names.len()), expected);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_relay_to_the_proxys_own_machine_is_closed() {
    let server = server(&[&ok("secret")]);
    let tcp = json!([{ "backends": [["own", 1]], "origin": { "object": "Service/default/tcp" } }]);
    let (mut world, log) = World::new()
        .server("protocol", json!("tcp"))
        .server("tcp", tcp)
        .backend("own", &[server.address])
        .log("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%");
    world.options.reach = Reach::Mesh;
    let proxy = world.start();
    assert_eq!(proxy.client().ask(&get("x", "/")), "");
    assert_eq!(lines(&log, 1), ["UH -"]);
    assert_eq!(server.connections(), 0);
}
