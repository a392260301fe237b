//! Downloads from servers that stall, never end, or are interrupted.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::workspace::Workspace;

/// The file that the data set `fashion-mnist` downloads first.
const PART: &str = "data/.downloads/train-images-idx3-ubyte.gz.part";

/// A server that answers everyone with `head`, and then does `then`.
fn serve(head: &'static str, then: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                let _ = stream.write_all(head.as_bytes());
                then(&mut stream);
            });
        }
    });
    url
}

fn stall(_: &mut TcpStream) {
    thread::sleep(Duration::from_secs(60));
}

fn never_end(stream: &mut TcpStream) {
    while stream.write_all(&[7; 1 << 16]).is_ok() {}
}

/// The program that downloads a data set from `url`, with a patience of `timeout` seconds.
fn fetch(workspace: &Workspace, url: &str, timeout: u32) -> Command {
    let mut program = workspace.program();
    program.args(["data", "fetch", "fashion-mnist", "--url", url, "--timeout", &timeout.to_string()]);
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until `is_so`.
fn wait_until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never came");
        thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_server_that_stalls_is_given_up() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 26421880\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nsome"] {
        let workspace = Workspace::new();
        let started = Instant::now();
        let output = fetch(&workspace, &serve(head, stall), 1).output().unwrap();
        assert_eq!(output.status.code(), Some(66));
        assert!(told(&output).contains("the server sent nothing for 1 s"), "{}", told(&output));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
fn a_body_without_end_does_not_fill_the_disk() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 900000000000\r\n\r\n"] {
        let workspace = Workspace::new();
        let output = fetch(&workspace, &serve(head, never_end), 5).output().unwrap();
        assert_eq!(output.status.code(), Some(66));
        assert!(
            told(&output).contains("and the limit is 30000000 bytes; it was removed"),
            "{}",
            told(&output)
        );
        assert!(!workspace.path(PART).exists());
    }
}

#[test]
fn the_second_of_two_waits_and_ends_on_a_signal() {
    let workspace = Workspace::new();
    let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 26421880\r\n\r\nsome", stall);
    let mut first = fetch(&workspace, &url, 60).spawn().unwrap();
    wait_until(|| fs::metadata(workspace.path(PART)).is_ok_and(|part| part.len() == 4));
    let mut second = fetch(&workspace, &url, 60).spawn().unwrap();
    let line = BufReader::new(second.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.contains("another process is downloading fashion-mnist; waiting for it"), "{line}");
    signal(&second, Signal::INT);
    let started = Instant::now();
    assert!(!second.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(fs::read(workspace.path(PART)).unwrap(), b"some", "the first one's download is as it was");
    first.kill().unwrap();
    first.wait().unwrap();
}

/// The kernel releases the lock of a killed process, and the next one resumes and removes what was half unpacked.
#[test]
fn what_a_killed_process_left_is_used_or_removed() {
    let workspace = Workspace::new();
    let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 26421880\r\n\r\nsome", stall);
    let mut killed = fetch(&workspace, &url, 60).spawn().unwrap();
    wait_until(|| fs::metadata(workspace.path(PART)).is_ok_and(|part| part.len() == 4));
    signal(&killed, Signal::KILL);
    killed.wait().unwrap();
    let unpacking = workspace.path("data/.unpacking.fashion-mnist.aB3xY9");
    fs::create_dir_all(unpacking.join("half")).unwrap();
    let next = fetch(&workspace, &serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", stall), 1);
    let output = { next }.output().unwrap();
    assert!(told(&output).contains("the server answers 404"), "{}", told(&output));
    assert!(!unpacking.exists());
    assert_eq!(fs::read(workspace.path(PART)).unwrap(), b"some");
}

#[test]
fn a_linked_part_is_refused_and_its_target_stays() {
    let workspace = Workspace::new();
    workspace.write("precious", "precious");
    fs::create_dir_all(workspace.path("data/.downloads")).unwrap();
    symlink(workspace.path("precious"), workspace.path(PART)).unwrap();
    let output = fetch(&workspace, &serve("HTTP/1.1 200 OK\r\n\r\n", never_end), 1).output().unwrap();
    assert_eq!(output.status.code(), Some(66));
    let told = told(&output);
    assert!(told.contains("is a link or a special file") && told.contains("help: remove it"), "{told}");
    assert_eq!(fs::read(workspace.path("precious")).unwrap(), b"precious");
}
