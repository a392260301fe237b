//! `argd-pipe model`: converts single models from and to PyTorch, without a manifest.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::error::CliError;
use super::ui::Ui;
use crate::models::{self, Architecture, Format, Model, Spec};
use crate::shape::Shape;

const IMPORT_EXAMPLES: &str = "\
Examples:
  argd-pipe model import theirs.pth ours.safetensors --model wrn-16-1
  argd-pipe model import attack_result.pt ours.safetensors --model preactresnet18 --classes 43";

const EXPORT_EXAMPLES: &str = "\
Examples:
  argd-pipe model export ours.safetensors theirs.pth
  argd-pipe model export cache/v1/objects/3f/3f0c... theirs.safetensors";

/// Convert a model from or to PyTorch.
///
/// In a manifest, a stage of kind `checkpoint` imports a model.
#[derive(Debug, Args)]
pub(super) struct ModelCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Import(Import),
    Export(Export),
}

/// Check a PyTorch or safetensors file, and import its model.
///
/// The file must hold exactly the tensors of the network. Code in the file is never run.
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
struct Import {
    /// The file: a `state_dict`, or a dict that contains one.
    #[arg(value_name = "FILE")]
    from: PathBuf,

    /// The model file to write.
    #[arg(value_name = "MODEL")]
    to: PathBuf,

    /// The network: `wrn-16-1`, `resnet32-cifar`, `preactresnet18`, ...
    #[arg(long, value_name = "NAME")]
    model: Architecture,

    /// Height, width and channels of its input images.
    #[arg(long, value_name = "HxWxC", value_parser = shape, default_value = "32x32x3")]
    image: Shape,

    /// Number of classes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    classes: u16,
}

/// Write a model as a file that PyTorch reads.
///
/// The file is a bare `state_dict` with PyTorch's names and layout.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
struct Export {
    /// The model: a file from `argd-pipe model import`, or a model in the cache.
    #[arg(value_name = "MODEL")]
    from: PathBuf,

    /// The file to write.
    #[arg(value_name = "FILE")]
    to: PathBuf,

    /// The format [default: by the extension of FILE].
    #[arg(long, value_name = "FORMAT")]
    format: Option<As>,
}

/// A format by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum As {
    /// For `torch.load(.., weights_only=True)`: .pt, .pth, .tar, .ckpt
    Pytorch,
    /// For `safetensors.torch.load_file`: .safetensors
    Safetensors,
}

impl From<As> for Format {
    fn from(format: As) -> Self {
        match format {
            As::Pytorch => Self::PyTorch,
            As::Safetensors => Self::Safetensors,
        }
    }
}

impl ModelCommand {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        match &self.action {
            Action::Import(import) => import.perform(ui),
            Action::Export(export) => export.perform(ui),
        }
    }
}

impl Import {
    fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let classes = self.classes.into();
        let spec = Spec { architecture: self.model, image: self.image, classes, normalise: None };
        let model = models::import(&self.from, spec)?;
        model.replace(&self.to)?;
        ui.say(&format!("imported a {} from {} to {}", model.spec, self.from.display(), self.to.display()));
        Ok(())
    }
}

impl Export {
    fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let format = self.format.map(Format::from).or_else(|| Format::of(&self.to));
        let format = format.ok_or_else(|| CliError::Format(self.to.clone()))?;
        let model = Model::load(&self.from)?;
        models::export(&model, &self.to, format)?;
        ui.say(&format!("wrote {} to {}", model.spec.architecture, self.to.display()));
        if let Some(normalise) = &model.spec.normalise {
            let (mean, std) = (&normalise.mean, &normalise.std);
            ui.say(&format!(
                "its images must be normalized with mean {mean:?} and std {std:?}; the file does not record this"
            ));
        }
        Ok(())
    }
}

/// Reads `32x32x3`.
fn shape(text: &str) -> Result<Shape, String> {
    let sides = text.split('x').map(|side| side.parse::<u16>().ok().filter(|&side| side > 0));
    match sides.collect::<Option<Vec<_>>>().as_deref() {
        Some(&[height, width, channels]) => {
            Shape::try_from([height, width, channels].map(usize::from)).map_err(|error| error.to_string())
        }
        _ => Err("write height, width and channels, such as 32x32x3".to_owned()),
    }
}
