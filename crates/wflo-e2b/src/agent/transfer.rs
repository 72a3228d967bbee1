//! Files in and out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rustix::fs::{OFlags, XattrFlags};
use serde::Serialize;

use super::entry::{METADATA, name};
use super::{Request, files, place};
use crate::ask::{FileSize, ReadFile, WriteFile};
use crate::fault::{Fault, Kind};
use crate::frame;

/// A file of so many bytes is read at once.
const AT_ONCE: u64 = 1 << 20;

/// What is told of a file that was written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    name: String,
    r#type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    metadata: &'a std::collections::BTreeMap<String, String>,
}

/// Sends a file's size, then what is in it.
pub(super) fn read(request: &mut Request, asked: &ReadFile) -> Result<(), Fault> {
    let path = place::absolute(&asked.path)?;
    let failed = |error| Fault::of_io(&format!("the file {} cannot be read", path.display()), &error);
    // Opening a FIFO would wait for somebody who writes.
    let mut file = regular(OpenOptions::new().read(true), &path, failed)?;
    let mut size = file.metadata().map_err(failed)?.len();
    let mut file: Box<dyn Read> = match size <= AT_ONCE {
        // What is small is read before its size is told: others may write it meanwhile.
        true => {
            let mut all = Vec::new();
            file.by_ref().take(AT_ONCE).read_to_end(&mut all).map_err(failed)?;
            size = all.len() as u64;
            Box::new(io::Cursor::new(all))
        }
        false => Box::new(file),
    };
    request.answer(&FileSize { name: name(&path), size })?;
    let mut chunk = vec![0; frame::CHUNK];
    let mut left = size;
    // What is added meanwhile is not in the length that was told.
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(frame::CHUNK);
        let got = file.read(chunk.get_mut(..wanted).unwrap_or_default()).map_err(failed)?;
        if got == 0 {
            return Err(Fault::new(Kind::FailedPrecondition, "the file became shorter while it was read"));
        }
        left = left.saturating_sub(got as u64);
        let bytes = chunk.get(..got).unwrap_or_default();
        frame::write(&mut request.stream, frame::Kind::Bytes, bytes)
            .map_err(|error| Fault::of_io("nobody listens", &error))?;
    }
    Ok(())
}

/// Writes a file in its place, with the folders it is in.
pub(super) fn write(request: &mut Request, asked: WriteFile) -> Result<(), Fault> {
    let path = place::absolute(&asked.path)?;
    let failed = |error| Fault::of_io(&format!("the file {} cannot be written", path.display()), &error);
    files::parents(&path)?;
    let mut options = OpenOptions::new();
    let mut file = regular(options.write(true).create(true), &path, failed)?;
    file.set_len(0).map_err(failed)?;
    let mut body = Body { request, rest: Vec::new(), at: 0, ended: false };
    let copied = match asked.gzip {
        true => io::copy(&mut MultiGzDecoder::new(&mut body), &mut file),
        false => io::copy(&mut body, &mut file),
    };
    copied.map_err(failed)?;
    for (key, value) in &asked.metadata {
        let attribute = format!("{METADATA}{key}");
        rustix::fs::fsetxattr(&file, attribute, value.as_bytes(), XattrFlags::empty()).map_err(|error| {
            Fault::of_io(&format!("the file's metadata `{key}` cannot be stored"), &error.into())
        })?;
    }
    let shown = path.display().to_string();
    request.answer(&Written { name: name(&path), r#type: "file", path: shown, metadata: &asked.metadata })
}

fn regular(
    options: &mut OpenOptions,
    path: &Path,
    failed: impl Fn(io::Error) -> Fault,
) -> Result<File, Fault> {
    let no_wait = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = options.custom_flags(no_wait as i32).open(path).map_err(&failed)?;
    match file.metadata().map_err(&failed)?.is_file() {
        true => Ok(file),
        false => Err(Fault::invalid(format!("the path {} is not a regular file", path.display()))),
    }
}

/// The bytes of an upload.
struct Body<'a> {
    request: &'a mut Request,
    rest: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.rest.len() && !self.ended {
            match frame::read(&mut self.request.stream)? {
                Some(frame::Frame { kind: frame::Kind::Bytes, payload }) => {
                    (self.rest, self.at) = (payload, 0);
                }
                Some(frame::Frame { kind: frame::Kind::End, .. }) => self.ended = true,
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off")),
            }
        }
        let rest = self.rest.get(self.at..).unwrap_or_default();
        let taken = rest.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..taken), rest.get(..taken)) {
            into.copy_from_slice(from);
        }
        self.at += taken;
        Ok(taken)
    }
}
