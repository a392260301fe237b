//! Downloads one file over HTTP: resumes an interrupted download, and checks the file.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::{Archive, FetchError, Step, Tried};

/// The least number of bytes between two [`Step::Downloading`].
const STEP: u64 = 1 << 18;

/// Downloads a file to `folder` from the first server that has it, unless it exists.
pub(super) fn download(
    archive: &Archive,
    folder: &Path,
    servers: &[String],
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<(), FetchError> {
    let path = folder.join(archive.name);
    if path.exists() && md5_of(&path)? == archive.md5 {
        return Ok(());
    }
    let part = folder.join(format!("{}.part", archive.name));
    let mut failures = vec![];
    for server in servers {
        let url = format!("{}/{}", server.trim_end_matches('/'), archive.name);
        match published(&url, archive, &part, on_step)? {
            Err(why) => failures.push(format!("{url}: {why}")),
            Ok(()) => return fs::rename(&part, &path).tried("create", &path),
        }
    }
    Err(FetchError::Servers(failures))
}

/// Downloads a file and checks it. The inner error: the server does not have the published file.
fn published(
    url: &str,
    archive: &Archive,
    part: &Path,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Result<(), String>, FetchError> {
    loop {
        let resumed = length(part)? > 0;
        if let Err(why) = persist(url, archive.name, part, on_step)? {
            return Ok(Err(why));
        }
        let (found, expected) = (md5_of(part)?, archive.md5);
        if found == expected {
            return Ok(Ok(()));
        }
        fs::remove_file(part).tried("remove", part)?;
        // The earlier part may be from another server: download once more from the start.
        if !resumed {
            let sums = format!("its MD5 sum is {found}, expected {expected}");
            return Ok(Err(format!("not the published file: {sums}; it was removed")));
        }
    }
}

/// Downloads a file, as long as each attempt makes progress. The inner error: a fault of the server.
fn persist(
    url: &str,
    file: &str,
    part: &Path,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Result<(), String>, FetchError> {
    loop {
        let before = length(part)?;
        let Err(why) = attempt(url, file, part, on_step)? else { return Ok(Ok(())) };
        if length(part)? <= before {
            return Ok(Err(why));
        }
        on_step(Step::Again { file });
    }
}

/// Requests the missing bytes of a file once, and appends them to `part`.
fn attempt(
    url: &str,
    name: &str,
    part: &Path,
    on_step: &mut dyn FnMut(Step<'_>),
) -> Result<Result<(), String>, FetchError> {
    let have = length(part)?;
    let response = match request(url, have) {
        Ok(response) => response,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut file = File::options().create(true).append(true).open(part).tried("write", part)?;
    let start = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response, have) => have,
        // The server has no more bytes; the check sum shows whether the file is complete.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Ok(())),
        StatusCode::OK => {
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).tried("write", part)?;
            0
        }
        status => return Ok(Err(format!("the server answers {status}"))),
    };
    let length = header(&response, "content-length").and_then(|length| length.parse::<u64>().ok());
    let total = length.map(|length| start + length);
    let (mut done, mut told) = (start, start);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(format!("the connection was lost: {error}"))),
        };
        file.write_all(&buffer[..read]).tried("write", part)?;
        done += read as u64;
        if done - told >= STEP {
            told = done;
            on_step(Step::Downloading { file: name, done, total });
        }
    }
    on_step(Step::Downloading { file: name, done, total });
    match total {
        Some(total) if done < total => {
            Ok(Err(format!("the connection was lost after {done} of {total} bytes")))
        }
        _ => file.sync_all().tried("write", part).map(Ok),
    }
}

/// Requests a file from byte `have`.
fn request(url: &str, have: u64) -> Result<Response<ureq::Body>, ureq::Error> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .user_agent(concat!("argd-pipe/", env!("CARGO_PKG_VERSION")));
    let request = Agent::from(config.build()).get(url);
    let request = if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
    request.call()
}

/// Whether the server sends the requested range.
fn starts_at(response: &Response<ureq::Body>, have: u64) -> bool {
    let range = header(response, "content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()) == Some(have)
}

fn header<'r>(response: &'r Response<ureq::Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn length(path: &Path) -> Result<u64, FetchError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        other => other.map(|metadata| metadata.len()).tried("read", path),
    }
}

/// The MD5 sum of a file, in hex.
pub(super) fn md5_of(path: &Path) -> Result<String, FetchError> {
    let mut sum = Hashing(Md5::new());
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut sum)).tried("read", path)?;
    Ok(sum.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Hashing(Md5);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
