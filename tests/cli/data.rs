//! `data`: public data sets, without a network.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::workspace::Workspace;

/// A server that answers every request with the same content.
fn serve(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content));
        }
    });
    url
}

#[test]
fn data_sets_are_listed_and_found() {
    let workspace = Workspace::new();
    let told = workspace.run("data ls").with(0, &[]);
    for word in
        ["cifar10", "cifar100", "fashion-mnist", "gtsrb", "data/cifar-10-batches-bin", "not downloaded"]
    {
        assert!(told.stdout.contains(word), "{}", told.stdout);
    }
    workspace
        .run("data path cifar10")
        .with(66, &["cifar10 has not been downloaded", "`argd-pipe data fetch cifar10`"]);
    let command = "`argd-pipe -C . data fetch cifar10 --data-dir 'my data'` downloads it";
    workspace.run_with("-C . data path cifar10 --data-dir", &["my data"]).with(66, &[command]);
    workspace.run("data path cifar").with(2, &["did you mean `cifar10`?"]);
    workspace.run("data fetch nothing").with(2, &["data sets: `cifar10`, `cifar100`"]);

    let folder = workspace.path("d/cifar-100-binary");
    fs::create_dir_all(&folder).unwrap();
    for name in ["fine_label_names.txt", "coarse_label_names.txt", "train.bin", "test.bin"] {
        fs::write(folder.join(name), "").unwrap();
    }
    assert_eq!(workspace.run("data path cifar100 --data-dir d").with(0, &[]).stdout, "d/cifar-100-binary\n");
    let told = workspace
        .run("data fetch cifar100 --data-dir d")
        .with(0, &["was already downloaded", "source: cifar100"]);
    assert_eq!(told.stdout, "d/cifar-100-binary\n");
}

#[test]
fn what_cannot_be_fetched_leaves_nothing_that_looks_like_data() {
    let workspace = Workspace::new();
    let nobody = "http://127.0.0.1:1";
    let words = [&format!("{nobody}/cifar-10-binary.tar.gz: "), "--url"];
    workspace.run(&format!("data fetch cifar10 --url {nobody}")).with(66, &words.map(|word| word as &str));
    let url = serve(b"not the data");
    let words = ["not the published file", "c32a1d4ab5d03f1284b67883e8d87530", "it was removed"];
    workspace.run(&format!("data fetch cifar10 --url {url}")).with(66, &words);
    workspace.run("data path cifar10").with(66, &[]);
    let left = fs::read_dir(workspace.path("data/.downloads")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn a_manifest_without_its_data_says_how_to_get_it() {
    let workspace = Workspace::new();
    for (source, name) in
        [("cifar10", "cifar10"), ("cifar100", "cifar100"), ("gtsrb", "gtsrb"), ("idx", "fashion-mnist")]
    {
        let text = format!(
            "name: x\nstages:\n  images: {{kind: dataset, with: {{source: {source}, path: gone}}}}\n"
        );
        workspace.write("x.yaml", &text);
        workspace
            .run("run x.yaml")
            .with(66, &["gone: not found", &format!("help: `argd-pipe data fetch {name}`")]);
    }

    // A folder of images can be any data set: its name tells which, or nothing does.
    let folder = |path| {
        format!(
            "name: x\nstages:\n  images: {{kind: dataset, with: {{source: image-folder, path: {path}}}}}\n"
        )
    };
    let words = [
        "help: `argd-pipe data fetch cifar10` downloads cifar10",
        "`--set stages.images.with.source=cifar10 --set stages.images.with.path=$(argd-pipe data path cifar10)`",
    ];
    workspace.write("x.yaml", &folder("data/cifar10"));
    workspace.run("plan x.yaml").with(66, &words);
    workspace.run("run x.yaml").with(66, &words).with(66, &["data/cifar10: not found"]);
    fs::create_dir_all(workspace.path("data/cifar10/train/cat")).unwrap();
    workspace.run("run x.yaml").with(66, &words).with(66, &["data/cifar10/test: not found"]);
    workspace.write("x.yaml", &folder("mine"));
    workspace.run("run x.yaml").with(66, &["mine: not found", "help: `argd-pipe data ls`"]);
}
