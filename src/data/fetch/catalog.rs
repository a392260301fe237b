//! The public data sets: the URLs and the MD5 sums of their publishers.

/// A public data set.
#[derive(Debug)]
pub struct PublicDataset {
    /// Its name here.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its folder in the data folder.
    pub folder: &'static str,
    /// The `source` of a manifest for it.
    pub source: &'static str,
    /// Files in its folder that its reader needs.
    pub files: &'static [&'static str],
    /// The folder of the data set in the unpacked archives.
    pub inside: &'static str,
    /// The URL of the folder that has the archives.
    pub url: &'static str,
    /// The files to download.
    pub archives: &'static [Archive],
}

/// A file to download.
#[derive(Debug)]
pub struct Archive {
    /// Its name on the server.
    pub name: &'static str,
    /// Its MD5 sum in hex, as published.
    pub md5: &'static str,
    /// A little more than its size: a longer file is another one.
    pub max_bytes: u64,
    /// How it is packed.
    pub packing: Packing,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not packed.
    None,
    /// A tar archive, compressed by gzip.
    TarGz,
    /// A zip archive.
    Zip,
}

/// All public data sets.
pub const CATALOG: &[PublicDataset] = &[
    PublicDataset {
        name: "cifar10",
        about: "CIFAR-10, binary version: 60,000 images of 32x32, 10 classes (170 MB)",
        folder: "cifar-10-batches-bin",
        source: "cifar10",
        files: &["batches.meta.txt", "data_batch_1.bin", "data_batch_5.bin", "test_batch.bin"],
        inside: "cifar-10-batches-bin",
        url: "https://www.cs.toronto.edu/~kriz",
        archives: &[Archive {
            name: "cifar-10-binary.tar.gz",
            md5: "c32a1d4ab5d03f1284b67883e8d87530",
            max_bytes: 180_000_000,
            packing: Packing::TarGz,
        }],
    },
    PublicDataset {
        name: "cifar100",
        about: "CIFAR-100, binary version: 60,000 images of 32x32, 100 classes (169 MB)",
        folder: "cifar-100-binary",
        source: "cifar100",
        files: &["fine_label_names.txt", "coarse_label_names.txt", "train.bin", "test.bin"],
        inside: "cifar-100-binary",
        url: "https://www.cs.toronto.edu/~kriz",
        archives: &[Archive {
            name: "cifar-100-binary.tar.gz",
            md5: "03b5dce01913d631647c71ecec9e9cb8",
            max_bytes: 180_000_000,
            packing: Packing::TarGz,
        }],
    },
    PublicDataset {
        name: "fashion-mnist",
        about: "Fashion-MNIST: 70,000 gray images of 28x28, 10 classes (31 MB)",
        folder: "fashion-mnist",
        source: "idx",
        files: &[
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ],
        inside: "",
        url: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        archives: &[
            Archive {
                name: "train-images-idx3-ubyte.gz",
                md5: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                max_bytes: 30_000_000,
                packing: Packing::None,
            },
            Archive {
                name: "train-labels-idx1-ubyte.gz",
                md5: "25c81989df183df01b3e8a0aad5dffbe",
                max_bytes: 100_000,
                packing: Packing::None,
            },
            Archive {
                name: "t10k-images-idx3-ubyte.gz",
                md5: "bef4ecab320f06d8554ea6380940ec79",
                max_bytes: 5_000_000,
                packing: Packing::None,
            },
            Archive {
                name: "t10k-labels-idx1-ubyte.gz",
                md5: "bb300cfdad3c16e7a12a480ee83cd310",
                max_bytes: 100_000,
                packing: Packing::None,
            },
        ],
    },
    PublicDataset {
        name: "gtsrb",
        about: "German traffic signs (GTSRB): 51,839 images of many sizes, 43 classes (365 MB)",
        folder: "gtsrb",
        source: "gtsrb",
        files: &["GTSRB/Final_Training/Images", "GTSRB/Final_Test/Images", "GT-final_test.csv"],
        inside: "",
        url: "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370",
        archives: &[
            Archive {
                name: "GTSRB_Final_Training_Images.zip",
                md5: "f33fd80ac59bff73c82d25ab499e03a3",
                max_bytes: 300_000_000,
                packing: Packing::Zip,
            },
            Archive {
                name: "GTSRB_Final_Test_Images.zip",
                md5: "c7e4e6327067d32654124b0fe9e82185",
                max_bytes: 100_000_000,
                packing: Packing::Zip,
            },
            Archive {
                name: "GTSRB_Final_Test_GT.zip",
                md5: "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
                max_bytes: 1_000_000,
                packing: Packing::Zip,
            },
        ],
    },
];

/// Finds a data set by its name.
pub fn find(name: &str) -> Option<&'static PublicDataset> {
    CATALOG.iter().find(|dataset| dataset.name == name)
}
