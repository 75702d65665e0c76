//! The backend refuses everybody: key, quota, address.

use std::{
    thread,
    time::{Duration, Instant},
};

use beluga_o11y::ExportErrorKind;
use beluga_o11y_pipeline::Pipeline;
use beluga_o11y_sandbox::{Fault, OpikCloud, Sandbox};

use crate::{
    alone::{self, Log},
    sockets::Mute,
    support::*,
};

const KEY: &str = "opik-key";

pub(crate) fn wrong_key() {
    alone::start("wrong key", &[]);
}

pub(crate) fn wrong_key_in_the_cloud() {
    alone::start("wrong key in the cloud", &[]);
}

pub(crate) fn quota_used_up() {
    alone::start("quota", &[]);
}

pub(crate) fn key(_: &[String]) {
    refused(401, &sandbox(), 3 * SECOND, |pipeline| {
        thread::sleep(20 * SECOND);
        // The first attempt; the next one would come after 60 s.
        assert_eq!(stats(pipeline).export_calls, 1);
    });
}

pub(crate) fn quota(_: &[String]) {
    refused(402, &sandbox(), 3 * SECOND, |_| thread::sleep(5 * SECOND));
}

/// The cloud takes the key as it is, which the exporter tries second, and once in 10 s.
pub(crate) fn cloud_key(_: &[String]) {
    let sandbox = Sandbox::builder()
        .with_cloud(OpikCloud::new(KEY))
        .start()
        .unwrap();
    refused(401, &sandbox, 13 * SECOND, |pipeline| {
        let start = Instant::now();
        while start.elapsed() < 20 * SECOND {
            // Each flush makes an attempt.
            assert_eq!(pipeline.flush_within(3 * SECOND).pending, 100);
        }
        let attempts = stats(pipeline).export_calls;
        assert!((5..=8).contains(&attempts), "{attempts} attempts");
        let requests = sandbox.requests();
        let bare = requests
            .iter()
            .filter(|request| request.header("authorization") == Some(KEY));
        let bare = bare.count();
        eprintln!("401 in the cloud: {attempts} attempts, {bare} requests with the bare key");
        assert!((1..=3).contains(&bare), "{bare} requests with the bare key");
    });
}

/// For a process of its own, since it counts the warnings. It has so long to deliver when all is right again.
fn refused(status: u16, sandbox: &Sandbox, limit: Duration, meanwhile: impl FnOnce(&Pipeline)) {
    let log = Log::capture();
    sandbox.inject(Fault::status(status).always());
    let exporter = opik_builder(sandbox.opik_url()).with_api_key(KEY);
    let pipeline = Pipeline::builder(exporter.build().unwrap())
        .with_max_batch_size(100)
        .with_max_batch_delay(PATIENCE)
        .spawn()
        .unwrap();
    let _watch = watch(&pipeline);
    let ids = submit(&pipeline, calls(100));
    wait_for("a first attempt", PATIENCE, || {
        pipeline.stats().last_error.is_some()
    });
    meanwhile(&pipeline);

    let error = stats(&pipeline).last_error.unwrap();
    assert_eq!(error.kind(), ExportErrorKind::Destination);
    assert_eq!(error.status(), Some(status));
    assert_eq!(stats(&pipeline).pending, 100);
    sandbox.clear_faults();
    // Each flush makes an attempt.
    let (report, took) = timed(|| {
        let start = Instant::now();
        loop {
            let report = pipeline.flush_within(SECOND);
            if report.pending == 0 || start.elapsed() > limit {
                return report;
            }
        }
    });
    eprintln!(
        "{status}: {} attempts, {} requests; delivered {took:?} after it was right",
        report.stats.export_calls,
        sandbox.request_count()
    );
    check(&report.stats);
    assert_eq!((report.pending, report.stats.delivered), (0, 100));
    assert!(took < limit, "{took:?}");
    let requests = sandbox.requests();
    for kind in ["traces", "spans"] {
        let sizes = batch_sizes(&requests, kind);
        assert!(sizes.iter().all(|size| *size == 100), "{sizes:?}");
    }
    let report = pipeline.shutdown(5 * SECOND);
    check(&report.stats);
    assert!(!report.stats.has_losses(), "{}", report.stats);
    assert_stored(sandbox, &ids);
    let warnings = log.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains(&status.to_string()), "{warnings:?}");
}

pub(crate) fn a_redirect_is_not_followed() {
    let (sandbox, elsewhere) = (sandbox(), Mute::start());
    sandbox.inject(Fault::redirect(elsewhere.url()).always());
    let exporter = opik_builder(sandbox.opik_url())
        .with_api_key(KEY)
        .with_header("x-gateway", "secret")
        .build()
        .unwrap();
    let pipeline = Pipeline::builder(exporter).spawn().unwrap();
    let _watch = watch(&pipeline);
    submit(&pipeline, calls(100));
    for _ in 0..3 {
        let (report, took) = timed(|| pipeline.flush_within(Duration::from_secs(1)));
        check(&report.stats);
        assert!(took < 2 * SECOND, "{took:?}");
        assert_eq!((report.pending, report.stats.pending), (100, 100));
        let error = report.stats.last_error.expect("it says why");
        assert_eq!(error.kind(), ExportErrorKind::Destination);
        let text = error.to_string();
        assert!(text.contains("307") && text.contains("127.0.0.1"), "{text}");
    }
    let report = pipeline.shutdown(SECOND);
    assert_eq!(report.pending, 100);
    assert!(sandbox.request_count() > 0);
    assert_eq!(elsewhere.connections(), 0);
}
