//! Buckets on a server that believes any signature, as moto does. The libraries make none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Makes a bucket at a URL, unless it is there.
pub(crate) fn create_bucket(url: &str, bucket: &str) {
    let answer = ask(url, "PUT", bucket, b"");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains(" 200 ") || answer.contains("BucketAlreadyOwnedByYou"),
        "{answer}"
    );
}

/// Makes a request, and returns the answer with its head.
pub(crate) fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    // The service that it names is what such a server looks for.
    let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
