//! Fetching from a server on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::part::md5_at;
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
    md5_at(&path).unwrap().unwrap().leak()
}

/// A data set of one archive.
fn dataset(content: &[u8], name: &'static str, packing: Packing) -> PublicDataset {
    let archive = Archive { name, md5: md5_in_hex(content), max_bytes: content.len() as u64 + 10, packing };
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
    fetch_from(dataset, data, &[url.to_owned()])
}

fn fetch_from(dataset: &PublicDataset, data: &Path, urls: &[String]) -> Result<bool, FetchError> {
    dataset.fetch(data, patient(urls), &mut |_| {})
}

fn patient(urls: &[String]) -> Servers<'_> {
    Servers { urls, patience: Duration::from_secs(20) }
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
        assert!(
            dataset.fetch(&data, patient(&servers), &mut |step| steps.push(format!("{step:?}"))).unwrap()
        );
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
    let error = fetch_from(&dataset, folder.path(), &[empty.clone(), nobody.clone()]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&format!("{empty}/tiny.gz: the server answers 404")), "{message}");
    assert!(message.contains(&format!("{nobody}/tiny.gz: ")), "{message}");
    let (good, _) = serve(b"published".to_vec(), Manners::default());
    assert!(fetch_from(&dataset, folder.path(), &[empty, good]).unwrap());
}

#[test]
fn a_server_with_another_file_is_passed_over() {
    let published = b"published".to_vec();
    let dataset = dataset(&published, "tiny.gz", Packing::None);
    let (wrong, _) = serve(b"something else".to_vec(), Manners::default());
    let (good, _) = serve(published.clone(), Manners::default());
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&dataset, folder.path(), &[wrong.clone(), wrong.clone()]).unwrap_err();
    let named = format!("{wrong}/tiny.gz: not the published file");
    assert_eq!(error.to_string().matches(&named).count(), 2, "{error}");
    assert!(fetch_from(&dataset, folder.path(), &[wrong, good.clone()]).unwrap());

    // The partial file of a failed server may be the start of another file, too.
    let folder = tempfile::tempdir().unwrap();
    let broken = Manners { breaks_off: Some((usize::MAX, 4)), without_ranges: true, ..Manners::default() };
    let (broken, _) = serve(b"something else".to_vec(), broken);
    assert!(fetch_from(&dataset, folder.path(), &[broken, good]).unwrap());
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
        (link(), Packing::TarGz, "is a link or a special file"),
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

/// A server that sends `start` to everyone and then, as `then` says, nothing or ever more.
fn misbehave(start: &'static str, then: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let _ = stream.write_all(start.as_bytes());
                then(&mut stream);
            });
        }
    });
    url
}

fn sleep(_: &mut TcpStream) {
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_server_that_stalls_is_given_up() {
    for start in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nab",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(b"published", "tiny.gz", Packing::None);
        let urls = [misbehave(start, sleep)];
        let servers = Servers { urls: &urls, patience: Duration::from_millis(200) };
        let error = dataset.fetch(folder.path(), servers, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("the server sent nothing for 0.2 s"), "{error}");
    }
}

#[test]
fn a_body_that_is_longer_than_the_file_is_refused_and_not_kept() {
    let endless = |stream: &mut TcpStream| while stream.write_all(&[7; 4096]).is_ok() {};
    let cases = [
        ("HTTP/1.1 200 OK\r\n\r\n", "it does not end, and the limit is 19 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", "it has 9000000000 bytes, and the limit"),
    ];
    for (start, why) in cases {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(b"published", "tiny.gz", Packing::None);
        let error = fetch(&dataset, folder.path(), &misbehave(start, endless)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn two_at_once_download_once() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(b"published", "tiny.gz", Packing::None);
    let slowly = |stream: &mut TcpStream| {
        std::thread::sleep(Duration::from_millis(300));
        let _ = stream.write_all(b"published");
    };
    let urls = [misbehave("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", slowly)];
    let one = || {
        let mut steps = vec![];
        let new = dataset.fetch(folder.path(), patient(&urls), &mut |step| steps.push(format!("{step:?}")));
        (new.unwrap(), steps.contains(&"Waiting".to_owned()))
    };
    let mut both =
        std::thread::scope(|scope| [scope.spawn(one), scope.spawn(one)].map(|one| one.join().unwrap()));
    both.sort();
    assert_eq!(both, [(false, true), (true, false)]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_an_interrupted_unpacking_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(b"published", "tiny.gz", Packing::None);
    let left = [".unpacking.aB3xY9", ".unpacking.tiny.aB3xY9", ".unpacking.other.aB3xY9"]
        .map(|name| folder.path().join(name));
    left.iter().for_each(|path| fs::create_dir_all(path.join("sub")).unwrap());
    let (url, _) = serve(b"published".to_vec(), Manners::default());
    assert!(fetch(&dataset, folder.path(), &url).unwrap());
    assert_eq!(left.map(|path| path.exists()), [false, false, true], "another data set has its own lock");
}

#[test]
fn nothing_is_written_through_a_link() {
    let content = b"published";
    let (url, _) = serve(content.to_vec(), Manners::default());
    for name in ["tiny.gz.part", "tiny.gz", "tiny.lock"] {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "precious").unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join(DOWNLOADS)).unwrap();
        std::os::unix::fs::symlink(&theirs, data.join(DOWNLOADS).join(name)).unwrap();
        fetch(&dataset(content, "tiny.gz", Packing::None), &data, &url).unwrap_err();
        assert_eq!(fs::read(&theirs).unwrap(), b"precious", "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let (theirs, data) = (folder.path().join("theirs"), folder.path().join("data"));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&theirs).unwrap();
    std::os::unix::fs::symlink(&theirs, data.join(DOWNLOADS)).unwrap();
    let error = fetch(&dataset(content, "tiny.gz", Packing::None), &data, &url).unwrap_err();
    assert!(error.to_string().ends_with(".downloads` is a link or a special file"), "{error}");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}

#[test]
fn a_part_with_another_name_or_of_another_type_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, part) = (folder.path().join("theirs"), folder.path().join("x.part"));
    fs::write(&theirs, "precious").unwrap();
    fs::hard_link(&theirs, &part).unwrap();
    assert!(matches!(part::Part::open(part.clone()), Err(FetchError::Special { .. })));
    fs::remove_file(&part).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &part, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(part::Part::open(part), Err(FetchError::Special { .. })));
}

#[test]
fn a_tar_archive_with_a_long_name_or_a_device_is_refused() {
    let with = |kind: tar::EntryType| {
        let mut builder = tar::Builder::new(GzEncoder::new(vec![], Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(3);
        builder.append_data(&mut header, "inside/x", &b"abc"[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    };
    for kind in
        [tar::EntryType::GNULongName, tar::EntryType::Char, tar::EntryType::Fifo, tar::EntryType::GNUSparse]
    {
        let folder = tempfile::tempdir().unwrap();
        let content = with(kind);
        let dataset = dataset(&content, "tiny.tar.gz", Packing::TarGz);
        let (url, _) = serve(content, Manners::default());
        let error = fetch(&dataset, folder.path(), &url).unwrap_err().to_string();
        assert!(error.contains("`inside/x` is a link or a special file"), "{error}");
    }
}
