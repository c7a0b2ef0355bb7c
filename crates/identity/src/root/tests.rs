//! Roots are made, written down and read again; time is given.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn leaf(chain_pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(chain_pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn a_root_survives_being_written_down() {
    let root = Root::generate("cluster.local", now()).unwrap();
    let back = Root::from_pem(root.certificate_pem(), root.key_pem()).unwrap();
    assert_eq!(back.certificate_pem(), root.certificate_pem());
    assert_eq!(seconds(back.not_after()), seconds(now() + ROOT_LIFETIME));
    back.serving(&["istiod.istio-system.svc"], now()).unwrap();
}

#[test]
fn a_served_certificate_is_signed_by_the_root_and_has_the_names() {
    let root = Root::generate("cluster.local", now()).unwrap();
    let served = root.serving(&["istiod.istio-system.svc", "10.0.0.1"], now()).unwrap();
    let (leaf, signer) = (leaf(&served.chain_pem), leaf(root.certificate_pem()));
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let (_, signer) = x509_parser::parse_x509_certificate(&signer).unwrap();
    assert_eq!(leaf.issuer(), signer.subject());
    assert!(!leaf.is_ca());
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["DNSName(istiod.istio-system.svc)", "IPAddress(0a:00:00:01)"]);
    assert_eq!(leaf.validity().not_before.timestamp(), seconds(now() - CLOCK_SKEW));
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(now() + SERVING_LIFETIME));
    assert_eq!(served.renew_at, now() + SERVING_LIFETIME / 2);
}

#[test]
fn a_served_certificate_never_outlives_the_root() {
    let root =
        Root::generate("cluster.local", now() - 10 * YEAR + Duration::from_secs(60)).unwrap();
    let served = root.serving(&["a"], now()).unwrap();
    assert_eq!(seconds(served.not_after), seconds(root.not_after()));
    let late = root.not_after() + Duration::from_secs(1);
    assert!(matches!(root.serving(&["a"], late), Err(RootError::Expired)));
}

#[test]
fn what_is_no_root_is_refused_by_name() {
    let one = Root::generate("one", now()).unwrap();
    let other = Root::generate("other", now()).unwrap();
    let served = one.serving(&["a"], now()).unwrap();
    let check = |certificate: &str, key: &str, expected: &str| {
        let error = Root::from_pem(certificate, key).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        one.certificate_pem(),
        other.key_pem(),
        "the root's private key does not belong to its certificate",
    );
    check(
        &served.chain_pem,
        &served.key_pem,
        "the root certificate is not one of a certificate authority",
    );
    check("", one.key_pem(), "reading the root certificate (ca-cert.pem)");
    check(one.certificate_pem(), "rubbish", "reading the root's private key (ca-key.pem)");
}

#[test]
fn a_key_is_never_shown_by_debug() {
    let root = Root::generate("one", now()).unwrap();
    let served = root.serving(&["a"], now()).unwrap();
    assert!(!format!("{root:?} {served:?}").contains("PRIVATE"));
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    let root = Root::generate("one", now()).unwrap();
    let error = root.serving(&["istiod\u{e9}"], now()).unwrap_err();
    assert_eq!(error.to_string(), "`istiod\u{e9}` cannot be in a certificate");
}
