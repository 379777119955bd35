//! `waxseal page`: a ring and its audit logs in a browser.

use std::future::pending;
use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime;
use waxseal_page::{Access, Page, serve};

use crate::arguments::Page as Options;
use crate::audit::{NamedLog, named_logs};
use crate::failure::{Failure, Result, printable};
use crate::ring::{keys, open, path_of};
use crate::{report, warnings};

/// How many views are made at once.
const VIEWS: usize = 8;

pub(crate) fn run(options: &Options) -> Result<()> {
    let address: SocketAddr = options.listen.parse().map_err(|_| {
        Failure::usage("--listen is an address and a port, such as 127.0.0.1:8080 or [::1]:0")
    })?;
    let access = match &options.token_file {
        Some(file) => Access::token_file(file).map_err(|error| Failure::usage_of("--token-file", &error))?,
        None if !address.ip().is_loopback() => {
            return Err(Failure::usage(format!(
                "--listen: {address} can be reached from other machines, and names of scopes may be names of tenants: give --token-file"
            )));
        }
        None => Access::loopback(),
    };
    let receipts = keys::receipts(&options.receipt)?;
    let logs = named_logs(&options.log, &options.trust)?;
    let ring = open(&path_of(&options.ring))?;
    // What is wrong with the configuration is said now, and not in a browser.
    let view = crate::ring::wait(ring.reader.scopes(&[]))?;
    keys::verified(&receipts, &view, true)?;
    ring.end()?;
    let mut page = Page::builder(ring.reader);
    for NamedLog { path, key, kept, .. } in logs {
        page = match key {
            Some(key) => page.log_signed_by(path, key, kept),
            None if kept.is_some() => {
                return Err(Failure::usage(printable(&format!(
                    "--checkpoint: give the --log-key of {}, too",
                    path.display()
                ))));
            }
            None => page.log(path),
        };
    }
    let page = receipts
        .into_iter()
        .fold(page, |page, receipt| page.receipt(receipt))
        .build();
    let page = page.map_err(|error| Failure::usage_of("--receipt", &error))?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(VIEWS)
        .enable_all()
        .build()
        .map_err(|error| Failure::of_io("begin", "threads", error))?;
    runtime.block_on(async {
        let failed = |error| Failure::of_io("listen on", address, error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let url = format!("http://{}/", listener.local_addr().map_err(failed)?);
        if !address.ip().is_loopback() {
            warnings::warning("the token and the page are sent as they are: put a proxy with TLS before it")?;
        }
        if report::is_json() {
            report::result(
                &json!({ "schema": report::SCHEMA, "command": "page", "url": url }),
                false,
            )?;
        } else {
            report::print(&format!("{url}\n"))?;
        }
        serve(&page, listener, access, pending()).await.map_err(failed)
    })
}
