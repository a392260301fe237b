//! The backends of networks: the kernels, or candle on a device. Only this module names a device.

use candle_core::Device;

use crate::kernels::Level;

/// The device of the kernels.
static CPU: Device = Device::Cpu;

/// A backend of networks and losses, and the device of their tensors.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The project's own CPU kernels (f32), at a level of the processor. All levels give the same bits.
    Kernels(Level),
    /// candle's own operations: slow, any float type and device. The kernels are checked against them.
    Candle(Device),
}

impl Default for Backend {
    /// The kernels, at the best level of this processor.
    fn default() -> Self {
        Self::Kernels(Level::current())
    }
}

impl Backend {
    /// candle's operations on the CPU.
    pub fn candle() -> Self {
        Self::Candle(Device::Cpu)
    }

    /// The class of numerics that every key holds: results of one class are interchangeable.
    ///
    /// The kernels give the same bits on every CPU, so the instruction set is not a part of it.
    pub fn numerics(&self) -> &'static str {
        match self {
            Self::Kernels(_) => "cpu/f32/kernels-3",
            Self::Candle(Device::Cpu) => "cpu/f32/candle",
            Self::Candle(Device::Cuda(_)) => "cuda/f32/candle",
            Self::Candle(Device::Metal(_)) => "metal/f32/candle",
        }
    }

    /// The device of its tensors.
    pub fn device(&self) -> &Device {
        match self {
            Self::Kernels(_) => &CPU,
            Self::Candle(device) => device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, every cache is invalid. Do not raise a version; find the change.
    #[test]
    fn each_backend_has_a_class_of_its_own() {
        assert_eq!(Backend::default().numerics(), "cpu/f32/kernels-3");
        assert_eq!(Backend::Kernels(Level::Portable).numerics(), "cpu/f32/kernels-3");
        assert_eq!(Backend::candle().numerics(), "cpu/f32/candle");
    }
}
