//! Flags in, rules as text out.

use super::*;
use crate::text::to_text;

/// `flags` are those of `istio-iptables`; `expected` is the text of the rules,
/// without the table around them.
#[track_caller]
fn check(flags: &str, expected: &str) {
    let arguments = split(flags);
    let tables = Capture::from_arguments(&arguments).expect("flags").tables();
    assert_eq!(rules_of(&to_text(&tables)), trimmed(expected));
}

#[track_caller]
fn refused(flags: &str, expected: &str) {
    let error = Capture::from_arguments(&split(flags)).expect_err("must be refused");
    assert_eq!(error.to_string(), expected);
}

fn split(flags: &str) -> Vec<String> {
    flags.split_whitespace().map(|flag| flag.trim_matches('"').to_owned()).collect()
}

fn rules_of(text: &str) -> Vec<String> {
    trimmed(text)
        .into_iter()
        .filter(|line| !line.starts_with("table") && !line.starts_with("delete") && line != "}")
        .collect()
}

fn trimmed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_injected_flags_capture_everything_but_the_proxy_and_its_ports() {
    check(
        r#"-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x "" -b * -d 15090,15021,15020 --log_output_level=default:info"#,
        r#"
        chain inbound {
            type nat hook prerouting priority -100;
            tcp dport 15008 return
            tcp dport 15090 return
            tcp dport 15021 return
            tcp dport 15020 return
            meta l4proto tcp redirect to :15006
        chain outbound {
            type nat hook output priority -100;
            oifname "lo" ip saddr 127.0.0.6 return
            oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            oifname "lo" meta skuid != 1337 return
            meta skuid 1337 return
            oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            oifname "lo" meta skgid != 1337 return
            meta skgid 1337 return
            ip daddr 127.0.0.1 return
            meta l4proto tcp redirect to :15001
        "#,
    );
}

#[test]
fn included_and_excluded_ports_ranges_and_interfaces_are_honoured() {
    check(
        "-u 7 -g 8 -b 80,443 -i 10.0.0.0/8,192.168.1.1 -x 10.9.0.0/16 -o 25 -q 9000 -c eth1 --redirect-dns",
        r#"
        chain inbound {
            type nat hook prerouting priority -100;
            iifname "eth1" return
            tcp dport 15008 return
            tcp dport 80 redirect to :15006
            tcp dport 443 redirect to :15006
        chain outbound {
            type nat hook output priority -100;
            oifname "eth1" return
            tcp dport 25 return
            udp dport 25 return
            oifname "lo" ip saddr 127.0.0.6 return
            oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 7 redirect to :15006
            oifname "lo" meta skuid != 7 return
            meta skuid 7 return
            oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 8 redirect to :15006
            oifname "lo" meta skgid != 8 return
            meta skgid 8 return
            tcp dport 53 redirect to :15053
            udp dport 53 redirect to :15053
            ip daddr 127.0.0.1 return
            ip daddr 10.9.0.0/16 return
            tcp dport 9000 redirect to :15001
            ip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001
            ip daddr 192.168.1.1 meta l4proto tcp redirect to :15001
        "#,
    );
}

#[test]
fn without_flags_nothing_is_redirected_but_the_proxys_own_loop() {
    let tables = Capture::default().excluding_mark(1337).tables();
    assert_eq!(
        rules_of(&to_text(&tables))[2..],
        trimmed(
            r#"
            tcp dport 15008 return
            chain outbound {
            type nat hook output priority -100;
            oifname "lo" ip saddr 127.0.0.6 return
            oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta mark 0x539 redirect to :15006
            oifname "lo" meta mark != 0x539 return
            meta mark 0x539 return
            ip daddr 127.0.0.1 return
            "#
        )
    );
}

#[test]
fn two_families_give_two_tables_with_their_own_addresses() {
    let tables = Capture::from_arguments(&split("-i * -x fd00::/8,10.0.0.0/8 --dual-stack"))
        .expect("flags")
        .tables();
    let text = to_text(&tables);
    let six = text.split("table ip6 weft {\n").nth(1).expect("a table for IPv6");
    assert!(six.contains("ip6 saddr ::6 return") && six.contains("ip6 daddr fd00::/8 return"));
    assert!(!six.contains("10.0.0.0"));
}

#[test]
fn a_mistaken_flag_is_named() {
    refused("-p http", r#"-p "http" is not a port number"#);
    refused(
        "-x 10.0.0.0/40",
        r#"-x "10.0.0.0/40" is not a list of address ranges such as 10.0.0.0/8"#,
    );
    refused(
        "-m TPROXY",
        r#"-m "TPROXY" is not REDIRECT, the only interception mode that is served"#,
    );
    refused("--frobnicate 1", "--frobnicate is not a flag of istio-iptables that is served here");
    refused("-b", "-b needs a value");
}
