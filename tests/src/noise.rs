//! What a machine does that has nothing to do, so that CPU time can be told for requests alone.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::CpuTime;

const LISTENING: Duration = Duration::from_secs(3);

/// CPU time a second of a machine without load, all rigs included, as they stand by.
#[derive(Clone, Copy, Debug)]
pub struct Noise(pub f64);

impl Noise {
    /// Above this, CPU time is somebody else's.
    const MOST: f64 = 0.2;

    /// Measures it, in some seconds.
    ///
    /// # Errors
    /// As [`CpuTime::start`].
    pub fn listen() -> Result<Self> {
        let meter = CpuTime::start()?;
        thread::sleep(LISTENING);
        Ok(Self(meter.spent()?.as_secs_f64() / meter.elapsed().as_secs_f64()))
    }

    /// Whether CPU times mean nothing.
    #[must_use]
    pub fn is_too_much(self) -> bool {
        self.0 > Self::MOST
    }

    /// Microseconds that each of `requests` took of the whole machine since the meter's start, without the noise.
    ///
    /// # Errors
    /// As [`CpuTime::spent`].
    pub fn cpu_us(self, meter: &CpuTime, requests: u64) -> Result<f64> {
        let spent = meter.spent()?.as_secs_f64() - self.0 * meter.elapsed().as_secs_f64();
        Ok(spent * 1e6 / requests as f64)
    }
}
