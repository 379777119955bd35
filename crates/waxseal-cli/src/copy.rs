//! Moving bytes in constant memory.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::stream::Name;

const BUFFER: usize = 64 * 1024;

/// Copies to the end of the input, and says how much it was. Names the side that failed.
pub(crate) fn copy(
    from: &mut impl Read,
    from_name: &Name,
    to: &mut impl Write,
    to_name: &Name,
    mut progress: Progress,
) -> Result<u64> {
    let mut buffer = Zeroizing::new(vec![0; BUFFER]);
    let mut copied = 0;
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::of_io("read", from_name, error)),
        };
        to.write_all(buffer.get(..got).unwrap_or_default())
            .map_err(|error| Failure::of_io("write", to_name, error))?;
        copied += got as u64;
        progress.advance(got as u64);
    }
}
