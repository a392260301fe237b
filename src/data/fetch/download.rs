//! Downloads one file over HTTP: resumes an interrupted download, and checks the file.
//!
//! No server is trusted: each wait has a time limit, a body has a size limit, and only a file with the published MD5 sum
//! gets its final name.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::part::{Part, md5_at};
use super::{Archive, FetchError, Servers, Step};

/// The least number of bytes between two [`Step::Downloading`].
const STEP: u64 = 1 << 18;
/// How often a download from a server that breaks off is resumed.
const ATTEMPTS: usize = 100;

/// Downloads a file to `folder` from the first server that has it, unless it exists.
pub(super) fn download(
    archive: &Archive,
    folder: &Path,
    servers: &Servers<'_>,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<(), FetchError> {
    let path = folder.join(archive.name);
    if md5_at(&path)?.is_some_and(|sum| sum == archive.md5) {
        return Ok(());
    }
    let mut part = Part::open(folder.join(format!("{}.part", archive.name)))?;
    let mut failures = vec![];
    for server in servers.urls {
        let url = format!("{}/{}", server.trim_end_matches('/'), archive.name);
        let source = Source { url: &url, archive, patience: servers.patience };
        match source.published(&mut part, on_step)? {
            Err(why) => failures.push(format!("{url}: {why}")),
            Ok(()) => return part.finish(&path),
        }
    }
    part.remove_if_empty();
    Err(FetchError::Servers(failures))
}

/// A file on a server.
struct Source<'a> {
    url: &'a str,
    archive: &'a Archive,
    patience: Duration,
}

impl Source<'_> {
    /// Downloads the file and checks it. The inner error: the server does not have the published file.
    fn published(
        &self,
        part: &mut Part,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<Result<(), String>, FetchError> {
        loop {
            let resumed = part.len()? > 0;
            if let Err(why) = self.persist(part, on_step)? {
                return Ok(Err(why));
            }
            let (found, expected) = (part.md5()?, self.archive.md5);
            if found == expected {
                return Ok(Ok(()));
            }
            part.clear()?;
            // The earlier part may be from another server: download once more from the start.
            if !resumed {
                let sums = format!("its MD5 sum is {found}, expected {expected}");
                return Ok(Err(format!("not the published file: {sums}; it was removed")));
            }
        }
    }

    /// Downloads the file, as long as each attempt makes progress. The inner error: a fault of the server.
    fn persist(
        &self,
        part: &mut Part,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<Result<(), String>, FetchError> {
        for attempt in 1.. {
            let before = part.len()?;
            let Err(why) = self.attempt(part, on_step)? else { break };
            if part.len()? <= before || attempt == ATTEMPTS {
                return Ok(Err(why));
            }
            on_step(Step::Again { file: self.archive.name });
        }
        Ok(Ok(()))
    }

    /// Requests the missing bytes of the file once, and appends them to `part`.
    fn attempt(
        &self,
        part: &mut Part,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<Result<(), String>, FetchError> {
        let have = part.len()?;
        let response = match self.request(have) {
            Ok(response) => response,
            Err(error) => return Ok(Err(self.told(&error))),
        };
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, have) => have,
            // The server has no more bytes; the check sum shows whether the file is complete.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Ok(())),
            StatusCode::OK => {
                part.clear()?;
                0
            }
            status => return Ok(Err(format!("the server answers {status}"))),
        };
        let length = header(&response, "content-length").and_then(|length| length.parse::<u64>().ok());
        let total = length.map(|length| start.saturating_add(length));
        if let Some(total) = total.filter(|total| *total > self.archive.max_bytes) {
            return self.too_long(part, &format!("it has {total} bytes"));
        }
        let (mut done, mut told) = (start, start);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<ureq::Error>());
                    let is_late = matches!(cause, Some(ureq::Error::Timeout(_)));
                    let lost = || format!("the connection was lost: {error}");
                    return Ok(Err(if is_late { self.nothing_came() } else { lost() }));
                }
            };
            done += read as u64;
            if done > self.archive.max_bytes {
                return self.too_long(part, "it does not end");
            }
            part.append(&buffer[..read])?;
            if done - told >= STEP {
                told = done;
                on_step(Step::Downloading { file: self.archive.name, done, total });
            }
        }
        on_step(Step::Downloading { file: self.archive.name, done, total });
        match total {
            Some(total) if done < total => {
                Ok(Err(format!("the connection was lost after {done} of {total} bytes")))
            }
            _ => part.sync().map(Ok),
        }
    }

    /// Requests the file from byte `have`. No single wait is longer than the patience.
    fn request(&self, have: u64) -> Result<Response<ureq::Body>, ureq::Error> {
        let limit = Some(self.patience);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_send_request(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .user_agent(concat!("argd-pipe/", env!("CARGO_PKG_VERSION")));
        let request = Agent::from(config.build()).get(self.url);
        let request = if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
        request.call()
    }

    /// Refuses a body that is longer than the published file.
    fn too_long(&self, part: &Part, found: &str) -> Result<Result<(), String>, FetchError> {
        part.clear()?;
        let limit = self.archive.max_bytes;
        Ok(Err(format!("not the published file: {found}, and the limit is {limit} bytes; it was removed")))
    }

    fn told(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(_) => self.nothing_came(),
            other => other.to_string(),
        }
    }

    fn nothing_came(&self) -> String {
        format!("the server sent nothing for {} s", self.patience.as_secs_f64())
    }
}

/// Whether the server sends the requested range.
fn starts_at(response: &Response<ureq::Body>, have: u64) -> bool {
    let range = header(response, "content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()) == Some(have)
}

fn header<'r>(response: &'r Response<ureq::Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}
