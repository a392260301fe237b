//! Fetching from a server on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::download::md5_of;
use super::*;

/// How the server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Manners {
    /// Ignores `Range`.
    without_ranges: bool,
    /// Stops the first answers after this number of bytes.
    breaks_off: Option<(usize, usize)>,
    /// Answers 404.
    has_nothing: bool,
}

/// A server with one file; returns its URL and the `Range` of each request.
fn serve(content: Vec<u8>, manners: Manners) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/files", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(vec![]));
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &content, manners, &seen);
        }
    });
    (url, requests)
}

fn answer(mut stream: TcpStream, content: &[u8], manners: Manners, seen: &Mutex<Vec<Option<String>>>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.to_owned())
    });
    let requests = {
        let mut seen = seen.lock().unwrap();
        seen.push(range.clone());
        seen.len()
    };
    let start: usize = range
        .filter(|_| !manners.without_ranges)
        .map_or(0, |range| range["bytes=".len()..range.len() - 1].parse().unwrap());
    let (status, more) = match start {
        _ if manners.has_nothing => ("404 Not Found".to_owned(), String::new()),
        0 => ("200 OK".to_owned(), String::new()),
        _ if start >= content.len() => ("416 Range Not Satisfiable".to_owned(), String::new()),
        _ => {
            let (last, all) = (content.len() - 1, content.len());
            ("206 Partial Content".to_owned(), format!("Content-Range: bytes {start}-{last}/{all}\r\n"))
        }
    };
    let body = if status.starts_with('2') { &content[start..] } else { &[][..] };
    let sent = match manners.breaks_off {
        Some((answers, bytes)) if requests <= answers => &body[..bytes.min(body.len())],
        _ => body,
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// A tar archive with a folder `inside` and these files: name, content.
fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        // Set directly, because the builder rejects the paths that the tests need.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(vec![]));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn md5_in_hex(content: &[u8]) -> &'static str {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    md5_of(&path).unwrap().leak()
}

/// A data set of one archive.
fn dataset(content: &[u8], name: &'static str, packing: Packing) -> PublicDataset {
    let archive = Archive { name, md5: md5_in_hex(content), packing };
    PublicDataset {
        name: "tiny",
        about: "",
        folder: "tiny",
        source: "idx",
        files: if packing == Packing::None { &["tiny.gz"] } else { &["labels", "sub/images"] },
        inside: if packing == Packing::None { "" } else { "inside" },
        url: "http://127.0.0.1:1",
        archives: vec![archive].leak(),
    }
}

const FILES: [(&str, &[u8]); 2] = [("inside/labels", b"0 1"), ("inside/sub/images", &[7; 300_000])];

fn fetch(dataset: &PublicDataset, data: &Path, url: &str) -> Result<bool, FetchError> {
    dataset.fetch(data, &[url.to_owned()], &mut |_| {})
}

#[test]
fn md5_is_md5() {
    assert_eq!(md5_in_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(md5_in_hex(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
}

#[test]
fn a_data_set_is_fetched_once_and_leaves_nothing_else() {
    let kinds = [
        (tar_gz(&FILES), "tiny.tar.gz", Packing::TarGz),
        (zip(&FILES), "tiny.zip", Packing::Zip),
        (b"as it is".to_vec(), "tiny.gz", Packing::None),
    ];
    for (content, name, packing) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let dataset = dataset(&content, name, packing);
        let (url, requests) = serve(content, Manners::default());
        assert!(!dataset.is_present(&data));
        let mut steps = vec![];
        let servers = [format!("{url}/")];
        assert!(dataset.fetch(&data, &servers, &mut |step| steps.push(format!("{step:?}"))).unwrap());
        assert!(dataset.is_present(&data) && steps.len() >= 2, "{steps:?}");
        if packing != Packing::None {
            assert_eq!(fs::read(data.join("tiny/sub/images")).unwrap(), FILES[1].1);
        }
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tiny"]);
        assert!(!fetch(&dataset, &data, &url).unwrap(), "it exists");
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let dataset = dataset(&content, "tiny.gz", Packing::None);
    let (url, requests) =
        serve(content.clone(), Manners { breaks_off: Some((2, 300_000)), ..Manners::default() });
    assert!(fetch(&dataset, folder.path(), &url).unwrap());
    assert_eq!(fs::read(folder.path().join("tiny/tiny.gz")).unwrap(), content);
    let ranges = requests.lock().unwrap();
    assert_eq!(ranges[0], None);
    assert!(ranges.len() == 3 && ranges[1..].iter().all(Option::is_some), "{ranges:?}");
}

#[test]
fn a_later_command_goes_on_too_and_a_server_without_ranges_starts_again() {
    for without_ranges in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let content = vec![5; 1000];
        let dataset = dataset(&content, "tiny.gz", Packing::None);
        fs::create_dir(folder.path().join(".downloads")).unwrap();
        fs::write(folder.path().join(".downloads/tiny.gz.part"), &content[..400]).unwrap();
        let (url, requests) = serve(content.clone(), Manners { without_ranges, ..Manners::default() });
        assert!(fetch(&dataset, folder.path(), &url).unwrap());
        assert_eq!(fs::read(folder.path().join("tiny/tiny.gz")).unwrap(), content);
        assert_eq!(*requests.lock().unwrap(), [Some("bytes=400-".to_owned())]);
    }
}

#[test]
fn a_file_that_is_not_the_published_one_is_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(b"published", "tiny.gz", Packing::None);
    let (url, _) = serve(b"something else".to_vec(), Manners::default());
    let error = fetch(&dataset, folder.path(), &url).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with(&format!("{url}/tiny.gz: not the published file")), "{message}");
    assert!(error.help().unwrap().to_string().contains("--url"));
    assert!(!dataset.is_present(folder.path()));
    // The next attempt does not resume it.
    let (url, requests) = serve(b"published".to_vec(), Manners::default());
    assert!(fetch(&dataset, folder.path(), &url).unwrap());
    assert_eq!(*requests.lock().unwrap(), [None]);
}

#[test]
fn servers_are_tried_in_order_and_all_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(b"published", "tiny.gz", Packing::None);
    let (empty, _) = serve(vec![], Manners { has_nothing: true, ..Manners::default() });
    let nobody = "http://127.0.0.1:1".to_owned();
    let error = dataset.fetch(folder.path(), &[empty.clone(), nobody.clone()], &mut |_| {}).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&format!("{empty}/tiny.gz: the server answers 404")), "{message}");
    assert!(message.contains(&format!("{nobody}/tiny.gz: ")), "{message}");
    let (good, _) = serve(b"published".to_vec(), Manners::default());
    assert!(dataset.fetch(folder.path(), &[empty, good], &mut |_| {}).unwrap());
}

#[test]
fn a_server_with_another_file_is_passed_over() {
    let published = b"published".to_vec();
    let dataset = dataset(&published, "tiny.gz", Packing::None);
    let (wrong, _) = serve(b"something else".to_vec(), Manners::default());
    let (good, _) = serve(published.clone(), Manners::default());
    let folder = tempfile::tempdir().unwrap();
    let error = dataset.fetch(folder.path(), &[wrong.clone(), wrong.clone()], &mut |_| {}).unwrap_err();
    let named = format!("{wrong}/tiny.gz: not the published file");
    assert_eq!(error.to_string().matches(&named).count(), 2, "{error}");
    assert!(dataset.fetch(folder.path(), &[wrong, good.clone()], &mut |_| {}).unwrap());

    // The partial file of a failed server may be the start of another file, too.
    let folder = tempfile::tempdir().unwrap();
    let broken = Manners { breaks_off: Some((usize::MAX, 4)), without_ranges: true, ..Manners::default() };
    let (broken, _) = serve(b"something else".to_vec(), broken);
    assert!(dataset.fetch(folder.path(), &[broken, good], &mut |_| {}).unwrap());
    assert_eq!(fs::read(folder.path().join("tiny/tiny.gz")).unwrap(), published);
}

#[test]
fn an_archive_that_would_write_elsewhere_is_refused() {
    let link = || {
        let mut builder = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "inside/link", "/etc").unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    };
    let cases = [
        (tar_gz(&[("../outside", b"x")]), Packing::TarGz, "leads out of its folder"),
        (tar_gz(&[("/tmp/outside", b"x")]), Packing::TarGz, "leads out of its folder"),
        (tar_gz(&[("inside/../../outside", b"x")]), Packing::TarGz, "leads out of its folder"),
        (link(), Packing::TarGz, "is a link"),
        (zip(&[("../outside", b"x")]), Packing::Zip, "leads out of its folder"),
        (zip(&[("a\\..\\outside", b"x")]), Packing::Zip, "leads out of its folder"),
        (b"no archive".to_vec(), Packing::Zip, "it is damaged"),
        (tar_gz(&FILES)[..200].to_vec(), Packing::TarGz, "it is damaged"),
        (tar_gz(&FILES[..1]), Packing::TarGz, "it contains no `sub/images`"),
    ];
    for (content, packing, why) in cases {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let dataset = dataset(&content, "tiny.archive", packing);
        let (url, _) = serve(content, Manners::default());
        let error = fetch(&dataset, &data, &url).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".downloads"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written elsewhere");
    }
}

#[test]
fn what_is_in_the_way_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(b"published", "tiny.gz", Packing::None);
    fs::create_dir(folder.path().join("tiny")).unwrap();
    let error = fetch(&dataset, folder.path(), "http://127.0.0.1:1").unwrap_err();
    assert!(matches!(error, FetchError::InTheWay { missing: "tiny.gz", .. }), "{error}");
}

#[test]
fn the_catalog_names_sources_that_there_are() {
    for dataset in CATALOG {
        let with = serde_json::json!({"source": dataset.source, "path": "x"});
        let source: super::super::readers::Source = serde_json::from_value(with).unwrap();
        assert_eq!(source.get().public().map(|public| public.name), Some(dataset.name));
        assert!(dataset.archives.iter().all(|archive| archive.md5.len() == 32));
    }
    assert_eq!(find("gtsrb").map(|dataset| dataset.folder), Some("gtsrb"));
    assert!(find("mnist").is_none());
}
