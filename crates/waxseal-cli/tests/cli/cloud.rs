//! Keys in emulators of AWS KMS and of Google Cloud KMS, by URI and by environment variables alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use pollster::block_on;
use waxseal::backend::aws_kms::{AwsAdmin, Client, Config};
use waxseal::{key::KekAdmin, key::KekTemplate};

use crate::servers::{address, unique};
use crate::tool::{PAIR, Run, Tool, bytes};

const REGION: &str = "eu-central-1";
const SECRET: &str = "c4n4ry-s3cr3t-4cc355-k3y";
/// What every AWS program reads.
const AWS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
    ("AWS_REGION", REGION),
];

fn aws_admin(endpoint: &str) -> AwsAdmin {
    let config = Config::new()
        .with_region(REGION)
        .with_endpoint(endpoint)
        .with_credentials("test", SECRET.into(), None);
    block_on(Client::connect(config)).unwrap().admin()
}

/// The alias and the ARN of a new key.
fn aws_key(endpoint: &str, what: &str) -> (String, String) {
    let name = unique(what);
    let made = block_on(aws_admin(endpoint).create(&KekTemplate::new(&name), &name)).unwrap();
    (format!("alias/{name}"), made.kek.id().to_owned())
}

fn run(tool: &Tool, variables: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Run {
    let run = tool.run_with(variables, arguments, stdin);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    run
}

/// Seals by URI and opens by variables; another context opens nothing.
fn by_uri_and_by_variables(credentials: &[(&str, &str)], uri: &str, selected: &[(&str, &str)]) -> Vec<u8> {
    let tool = Tool::new();
    let sealed = run(
        &tool,
        credentials,
        &["seal", "--kek", uri, "--context", PAIR],
        &bytes(200_000),
    );
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    let both: Vec<(&str, &str)> = credentials.iter().chain(selected).copied().collect();
    let opened = run(&tool, &both, &["open", "--context", PAIR], &sealed.stdout);
    assert!(opened.stdout == bytes(200_000), "{}", opened.stderr);
    let by_uri: Vec<(&str, &str)> = credentials
        .iter()
        .copied()
        .chain([("WAXSEAL_KMS_URI", uri)])
        .collect();
    let opened = run(&tool, &by_uri, &["open", "--context", PAIR], &sealed.stdout);
    assert!(opened.stdout == bytes(200_000), "{}", opened.stderr);
    let wrong = run(
        &tool,
        &by_uri,
        &["open", "--context", "tenant=other"],
        &sealed.stdout,
    );
    assert_eq!((wrong.code, wrong.stdout.len()), (3, 0));
    assert!(wrong.stderr.contains("does not open"), "{}", wrong.stderr);
    sealed.stdout
}

fn kek_id(envelope: &[u8]) -> String {
    let envelope = waxseal::Envelope::parse(envelope).unwrap();
    let wraps = envelope.header().wrap_section().unwrap();
    wraps.stanzas().next().unwrap().kek_id.to_owned()
}

#[test]
fn a_key_of_aws_by_uri_and_by_variables_is_the_same_key() {
    let Some(moto) = address("moto") else { return };
    let (alias, arn) = aws_key(&moto, "aws");
    for form in ["pairs", "digest"] {
        let uri = format!("aws-kms:{alias}?endpoint={moto}&context={form}");
        // The variables select the form with the key, as an option.
        let key = format!("{alias}?context={form}");
        let selected = [
            ("WAXSEAL_KMS_BACKEND", "aws-kms"),
            ("WAXSEAL_KMS_KEY_ID", key.as_str()),
            ("WAXSEAL_KMS_ENDPOINT", moto.as_str()),
            // Left from another backend.
            ("WAXSEAL_KMS_MOUNT", "transit"),
        ];
        let sealed = by_uri_and_by_variables(&AWS, &uri, &selected);
        assert_eq!(kek_id(&sealed), arn);
    }
    // An ARN says its region itself.
    let uri = format!("aws-kms:{arn}?endpoint={moto}");
    by_uri_and_by_variables(&AWS[..2], &uri, &[("WAXSEAL_KMS_URI", &uri)]);
}

/// The region that a request was signed for, of a server that only listens.
fn asked_as(variables: &[(&str, &str)], key: &str) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("aws-kms:{key}?endpoint=http://{}", server.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (stream, _) = server.accept().unwrap();
        let head = BufReader::new(stream).lines().map_while(Result::ok);
        let mut head = head.take_while(|line| !line.is_empty());
        head.find(|line| line.to_ascii_lowercase().starts_with("authorization:"))
            .unwrap()
    });
    let more = [("AWS_EC2_METADATA_DISABLED", "true")];
    let variables: Vec<(&str, &str)> = AWS[..2].iter().chain(variables).chain(&more).copied().collect();
    let run = run(&Tool::new(), &variables, &["seal", "--kek", &uri], b"hello");
    // Without a region nobody would be asked, and this would wait for ever.
    assert!(!run.stderr.contains("no region"), "{}", run.stderr);
    // Credential=ID/DAY/REGION/kms/aws4_request
    asked.join().unwrap().split('/').nth(2).unwrap().to_owned()
}

#[test]
fn an_arn_gives_its_region_and_that_of_a_multi_region_key_only_where_none_is_set() {
    let one = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let many = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    let set = [("AWS_REGION", "us-east-1")];
    assert_eq!(asked_as(&[], one), REGION);
    assert_eq!(asked_as(&set, one), REGION);
    assert_eq!(asked_as(&[], many), REGION);
    assert_eq!(asked_as(&set, many), "us-east-1");
}

#[test]
fn what_is_missing_for_aws_is_said() {
    let Some(moto) = address("moto") else { return };
    let tool = Tool::new();
    let (alias, _) = aws_key(&moto, "missing");
    let nowhere = [("AWS_EC2_METADATA_DISABLED", "true")];
    let uri = format!("aws-kms:{alias}?endpoint={moto}");
    let refused = run(&tool, &nowhere, &["seal", "--kek", &uri], b"hello");
    assert_eq!((refused.code, refused.stdout.len()), (4, 0), "{}", refused.stderr);
    assert!(refused.stderr.contains("AWS_REGION"), "{}", refused.stderr);

    let uri = format!("{uri}&region={REGION}");
    let refused = run(&tool, &nowhere, &["seal", "--kek", &uri], b"hello");
    assert_eq!((refused.code, refused.stdout.len()), (5, 0), "{}", refused.stderr);
    assert!(refused.stderr.contains("credentials"), "{}", refused.stderr);

    let missing = format!("aws-kms:alias/nobody-made-this?endpoint={moto}");
    let refused = run(&tool, &AWS, &["seal", "--kek", &missing], b"hello");
    assert!(refused.stderr.contains("no such key"), "{}", refused.stderr);

    let down = format!("aws-kms:{alias}?endpoint=http://127.0.0.1:1");
    let refused = run(&tool, &AWS, &["seal", "--kek", &down], b"hello");
    assert_eq!((refused.code, refused.stdout.len()), (6, 0), "{}", refused.stderr);
}

#[test]
fn doctor_tells_what_is_disabled_and_what_is_about_to_be_deleted() {
    let Some(ministack) = address("ministack") else {
        return;
    };
    let tool = Tool::new();
    let admin = aws_admin(&ministack);
    let day = Duration::from_secs(86_400);
    let keys: Vec<(String, String)> = ["good", "disabled", "deleted"]
        .iter()
        .map(|what| aws_key(&ministack, what))
        .collect();
    let kek = |at: usize| waxseal::envelope::KekRef::new("aws-kms", &keys[at].1, "").unwrap();
    block_on(admin.disable(&kek(1))).unwrap();
    block_on(admin.schedule_destroy(&kek(2), 20 * day)).unwrap();
    let uris: Vec<String> = keys
        .iter()
        .map(|(alias, _)| format!("aws-kms:{alias}?endpoint={ministack}"))
        .collect();
    let arguments: Vec<&str> = std::iter::once("doctor")
        .chain(uris.iter().flat_map(|uri| ["--kek", uri]))
        .collect();
    let found = run(&tool, &AWS, &arguments, b"");
    let table = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.code, 10, "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[1].matches("works").count() == 2 && lines[1].ends_with("enabled"),
        "{table}"
    );
    assert!(
        lines[2].contains("fails") && lines[2].ends_with("disabled"),
        "{table}"
    );
    assert!(
        lines[3].contains("fails") && lines[3].contains("destroyed in "),
        "{table}"
    );
    assert!(
        found.stderr.contains("2 of 3 keys need attention"),
        "{}",
        found.stderr
    );
}

fn gcp_key(address: &str) -> String {
    let post = |target: &str, body: &str| {
        let host = address.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /v1/{target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let rings = "projects/p/locations/global/keyRings";
    let ring = unique("ring");
    post(&format!("{rings}?keyRingId={ring}"), "{}");
    let keys = format!("{rings}/{ring}/cryptoKeys");
    post(
        &format!("{keys}?cryptoKeyId=k"),
        r#"{"purpose":"ENCRYPT_DECRYPT"}"#,
    );
    format!("{keys}/k")
}

#[test]
fn a_key_of_google_cloud_by_uri_and_by_variables_is_the_same_key() {
    let Some(drongo) = address("drongo") else { return };
    let key = gcp_key(&drongo);
    let uri = format!("gcp-kms:{key}?endpoint={drongo}&credentials=anonymous");
    let named = format!("{key}?credentials=anonymous");
    let selected = [
        ("WAXSEAL_KMS_BACKEND", "gcp-kms"),
        ("WAXSEAL_KMS_KEY_ID", named.as_str()),
        ("WAXSEAL_KMS_ENDPOINT", drongo.as_str()),
    ];
    let sealed = by_uri_and_by_variables(&[], &uri, &selected);
    assert_eq!(kek_id(&sealed), key);
}

#[test]
fn a_former_target_of_an_alias_opens_while_it_is_named() {
    let Some(moto) = address("moto") else { return };
    let tool = Tool::new();
    let (alias, old) = aws_key(&moto, "old");
    let (_, new) = aws_key(&moto, "new");
    let uri = format!("aws-kms:{alias}?endpoint={moto}");
    let sealed = run(
        &tool,
        &AWS,
        &["seal", "--kek", &uri, "--context", PAIR],
        b"before the move",
    );
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);

    // The alias moves: what AWS calls a manual rotation.
    let raw = r#"{"AliasName":"ALIAS","TargetKeyId":"KEY"}"#;
    let body = raw.replace("ALIAS", &alias).replace("KEY", &new);
    let host = moto.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: TrentService.UpdateAlias\r\ncontent-type: \
         application/x-amz-json-1.1\r\nauthorization: AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/kms/aws4_request, \
         SignedHeaders=host, Signature=0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut variables = AWS.to_vec();
    variables.push(("WAXSEAL_KMS_URI", &uri));
    let lost = run(&tool, &variables, &["open", "--context", PAIR], &sealed.stdout);
    assert_eq!(lost.code, 4, "{}", lost.stderr);
    assert!(lost.stderr.contains(&old), "{}", lost.stderr);
    let former = format!("aws-kms:{old}?endpoint={moto}");
    variables.push(("WAXSEAL_KMS_ALSO_OPEN", &former));
    let opened = run(&tool, &variables, &["open", "--context", PAIR], &sealed.stdout);
    assert!(opened.stdout == b"before the move", "{}", opened.stderr);
    let again = run(&tool, &variables, &["seal", "--context", PAIR], b"after it");
    assert_eq!(kek_id(&again.stdout), new, "{}", again.stderr);
}
