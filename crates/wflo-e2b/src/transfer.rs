//! `/files`: what is in files, in and out, as bytes or in forms.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use crate::access::{self, Operation, Signed, USER};
use crate::answer::{self, Body, flow};
use crate::ask::{self, Ask, FileSize, READ_FILE, ReadFile, WRITE_FILE, WriteFile};
use crate::audit::Audit;
use crate::body;
use crate::conversation::{ANSWER, Conversation, Said};
use crate::error::ApiError;
use crate::fault::Kind;
use crate::form::Form;
use crate::frame;
use crate::live::Live;
use crate::sandboxes::Sandboxes;

/// How many files one form may hold.
const FILES: usize = 1_000;

/// What an address of a file says.
#[derive(Debug, Default)]
pub(crate) struct Address {
    path: Option<String>,
    user: Option<String>,
    signature: Option<String>,
    until: Option<i64>,
}

impl Address {
    /// # Errors
    /// When its time is none.
    pub(crate) fn read(query: &str) -> Result<Address, ApiError> {
        let mut address = Address::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "path" => address.path = Some(value.into_owned()),
                "username" => address.user = Some(value.into_owned()),
                "signature" => address.signature = Some(value.into_owned()),
                "signature_expiration" => {
                    let wrong = |_| ApiError::Unclear(format!("`signature_expiration` cannot be `{value}`"));
                    address.until = Some(value.parse().map_err(wrong)?);
                }
                _ => {}
            }
        }
        Ok(address)
    }

    fn signed(&self) -> Option<Signed<'_>> {
        Some(Signed {
            path: self.path.as_deref().unwrap_or_default(),
            user: self.user.as_deref().unwrap_or_default(),
            signature: self.signature.as_deref()?,
            until: self.until,
        })
    }

    /// The sandbox that a signed address is of: its owner's signature alone says which.
    pub(crate) fn signer(&self, sandboxes: &Sandboxes, operation: Operation) -> Option<Arc<Live>> {
        let signed = self.signed()?;
        let now = sandboxes.clock.now().as_second();
        sandboxes.list().into_iter().find(|live| signed.is_of(&live.tokens, operation, now))
    }

    /// Whether a request may touch this file of this sandbox.
    pub(crate) fn opens(&self, live: &Live, headers: &HeaderMap, operation: Operation, now: i64) -> bool {
        live.tokens.open_files_and_programs(headers)
            || self.signed().is_some_and(|signed| signed.is_of(&live.tokens, operation, now))
    }

    fn check_user(&self) -> Result<(), ApiError> {
        match self.user.as_deref() {
            None | Some("" | USER) => Ok(()),
            Some(other) => Err(ApiError::NoUser(other.to_owned())),
        }
    }
}

/// Sends a file.
pub(crate) async fn download(
    live: &Arc<Live>,
    address: &Address,
    audit: &Audit,
    streams: &TaskTracker,
) -> Result<Response<Body>, ApiError> {
    address.check_user()?;
    let path = address.path.clone().unwrap_or_default();
    audit.record("file.read", &live.id, &json!({ "path": path }));
    let mut agent = live.ask(&Ask::new(READ_FILE, &ask::own(&ReadFile { path }))).await?;
    let told = agent.answer(ANSWER).await?;
    let told: FileSize = serde_json::from_slice(&told).map_err(|_| ApiError::Broken(live.id.clone()))?;
    let (fill, body) = flow();
    streams.spawn(async move {
        let mut left = told.size;
        while left > 0 {
            let said = tokio::select! {
                said = agent.next() => said,
                () = fill.closed() => return,
            };
            let part = match said {
                Ok(Said::Bytes(bytes)) if bytes.len() as u64 <= left => Ok(bytes),
                // The client must see that it has not all of it.
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            };
            left -= part.as_ref().map_or(left, |bytes| bytes.len() as u64);
            if fill.send(part).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(told.size));
    // A browser that opens a signed address shows nothing of a program's making.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(answer)
}

/// Takes one file as it is, or all that a form holds.
pub(crate) async fn upload(
    live: &Arc<Live>,
    address: &Address,
    headers: &HeaderMap,
    body: &mut Incoming,
    audit: &Audit,
) -> Result<Response<Body>, ApiError> {
    address.check_user()?;
    let kind = access::text(headers, "content-type").unwrap_or_default();
    let upload = Upload { live, audit, metadata: metadata(headers) };
    let written = match multer::parse_boundary(kind) {
        Ok(boundary) => upload.form(address, boundary, body).await?,
        Err(_) => {
            let Some(path) = address.path.clone() else {
                return Err(ApiError::Unclear("the file's path is missing".to_owned()));
            };
            let gzip = match access::text(headers, "content-encoding").unwrap_or("identity") {
                "identity" => false,
                "gzip" => true,
                other => return Err(ApiError::Unclear(format!("the encoding `{other}` is not understood"))),
            };
            let mut file = upload.begin(path, gzip).await?;
            while let Some(part) = body::next(body).await? {
                send(&mut file, &part).await?;
            }
            vec![upload.end(file).await?]
        }
    };
    Ok(answer::message(StatusCode::OK, &written))
}

/// Errors of files have a status of their own where a disk is full.
pub(crate) fn failed(error: &ApiError) -> Response<Body> {
    let mut answer = answer::error(error);
    if matches!(error, ApiError::Fault(fault) if fault.code == Kind::ResourceExhausted) {
        let full = StatusCode::INSUFFICIENT_STORAGE;
        answer = answer::message(full, &json!({ "code": full.as_u16(), "message": error.told() }));
    }
    answer
}

async fn send(file: &mut Conversation, part: &[u8]) -> Result<(), ApiError> {
    for chunk in part.chunks(frame::CHUNK) {
        file.send(frame::Kind::Bytes, chunk).await?;
    }
    Ok(())
}

/// What a client stores with the files of a request: headers that begin so.
fn metadata(headers: &HeaderMap) -> BTreeMap<String, String> {
    let own = |(name, value): (&HeaderName, &HeaderValue)| {
        let key = name.as_str().strip_prefix("x-metadata-")?;
        Some((key.to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(own).collect()
}

struct Upload<'a> {
    live: &'a Arc<Live>,
    audit: &'a Audit,
    metadata: BTreeMap<String, String>,
}

impl Upload<'_> {
    async fn begin(&self, path: String, gzip: bool) -> Result<Conversation, ApiError> {
        self.audit.record("file.written", &self.live.id, &json!({ "path": path }));
        let metadata = self.metadata.clone();
        let asked = ask::own(&WriteFile { path, gzip, metadata });
        self.live.ask(&Ask::new(WRITE_FILE, &asked)).await
    }

    async fn end(&self, mut file: Conversation) -> Result<Box<RawValue>, ApiError> {
        file.send(frame::Kind::End, b"").await?;
        let told = file.answer(ANSWER).await?;
        serde_json::from_slice(&told).map_err(|_| ApiError::Broken(self.live.id.clone()))
    }

    /// The parts of a form that are files; their names are their paths, where the address has none.
    async fn form(
        &self,
        address: &Address,
        boundary: String,
        body: &mut Incoming,
    ) -> Result<Vec<Box<RawValue>>, ApiError> {
        let mut form = Form::new(body, boundary);
        let (mut written, mut length) = (Vec::new(), 0);
        while let Some(mut part) = form.next().await? {
            if part.name() != Some("file") {
                while part.chunk().await?.is_some() {}
                continue;
            }
            if written.len() == FILES {
                return Err(ApiError::Unclear(format!("a form may hold {FILES} files")));
            }
            let path = address.path.clone().or_else(|| part.file_name().map(str::to_owned));
            let Some(path) = path else {
                return Err(ApiError::Unclear("a file of the form has no path".to_owned()));
            };
            let mut file = self.begin(path, false).await?;
            while let Some(chunk) = part.chunk().await? {
                send(&mut file, &chunk).await?;
            }
            let told = self.end(file).await?;
            length += told.get().len();
            // What an agent tells of files is a little for each.
            if length > frame::MOST {
                return Err(ApiError::Broken(self.live.id.clone()));
            }
            written.push(told);
        }
        match written.is_empty() {
            true => Err(ApiError::Unclear("the form holds no file".to_owned())),
            false => Ok(written),
        }
    }
}
