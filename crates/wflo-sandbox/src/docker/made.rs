//! Containers as they are made: one for an order, and one ahead of the next.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ::bollard::Docker as Api;
use ::bollard::container::{AttachContainerResults, LogOutput};
use ::bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptions};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::container::{self, Daemon, Shape};
use super::{Error, Native, Shared, api, image, janitor, own_kernel};
use crate::remote::Around;
use crate::remote::bridge::{self, Bridge, Connection, Lost, Piece};
use crate::remote::hushed::Hushed;
use crate::remote::kept::too_late;

/// How long a container may take to come up.
const START: Duration = Duration::from_secs(60);

/// The container that is made ahead.
#[derive(Debug, Default)]
pub(super) struct Spare {
    made: Option<(Shape, Made)>,
    /// Who makes one now.
    maker: Option<std::thread::JoinHandle<()>>,
    /// None is wanted any more.
    closed: bool,
}

/// A container that waits for an order, or has one.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) bridge: Bridge,
    pub(super) around: Container,
    /// Who its program is to be, where its keeper is somebody else.
    pub(super) user: Option<u32>,
}

/// A container that exists: dropping it removes it.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    docker: Api,
    runtime: Handle,
}

impl Around for Container {
    fn name(&self) -> String {
        format!("container {}", self.id.get(..12).unwrap_or(&self.id))
    }

    fn end(&self, limit: Duration) -> std::io::Result<()> {
        let removed = async { tokio::time::timeout(limit, janitor::remove(&self.docker, &self.id)).await };
        self.runtime.block_on(removed).map_err(|_| too_late())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
        self.runtime.spawn(async move { janitor::remove(&docker, &id).await });
    }
}

impl Shared {
    /// A container of this shape: the one that was made ahead, if it is one.
    pub(super) fn take(self: &Arc<Self>, shape: &Shape) -> Result<Made, Native> {
        let spare = self.spare().made.take();
        if let Some((known, made)) = spare
            && known == *shape
            && made.bridge.ready(Duration::ZERO).is_ok()
        {
            return Ok(made);
        }
        Ok(self.make(shape)?)
    }

    fn make(&self, shape: &Shape) -> Result<Made, Error> {
        let daemon = Daemon { maps_users: self.daemon.maps_users, own_kernel: own_kernel(&self.options) };
        let mut bytes = [0; 4];
        let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        drawn.map_err(|error| Error::Io { what: "drawing a user", source: error.into() })?;
        let user = container::user(daemon, u32::from_le_bytes(bytes));
        let mut body = shape.body(daemon, &self.keeper, janitor::labels(&self.life, &self.store), user);
        if shape.image.name.is_empty()
            && let Some(masked) = body.host_config.as_mut().and_then(|host| host.masked_paths.as_mut())
        {
            masked.extend(image::host::covered().iter().map(|path| path.display().to_string()));
        }
        let made = self.handle.block_on(async {
            let created = self.api.create_container(None::<CreateContainerOptions>, body).await;
            let id = created.map_err(|error| api::failed("create", &error))?.id;
            let attach = AttachContainerOptionsBuilder::default();
            let attach = attach.stream(true).stdin(true).stdout(true).stderr(true).build();
            let attached = self.api.attach_container(&id, Some(attach)).await;
            let begun = match attached {
                Ok(attached) => match Bridge::new(connection(attached, &self.handle), &self.handle) {
                    Ok(bridge) => Ok(bridge),
                    Err(source) => Err(Error::Io { what: "reading from it", source }),
                },
                Err(error) => Err(api::failed("attach to", &error)),
            };
            let bridge = match begun {
                Ok(bridge) => bridge,
                Err(error) => {
                    janitor::remove(&self.api, &id).await;
                    return Err(error);
                }
            };
            let (docker, runtime) = (self.api.clone(), self.handle.clone());
            let user = daemon.own_kernel.then_some(user);
            let made = Made { bridge, around: Container { id, docker, runtime }, user };
            let started = self.api.start_container(&made.around.id, None).await;
            started.map_err(|error| api::failed("start", &error))?;
            Ok(made)
        })?;
        match made.bridge.ready(START) {
            Ok(_) => Ok(made),
            Err(Lost::Gone(words)) => Err(Error::Keeper { what: "ended at once", words }),
            Err(_) => Err(Error::Keeper { what: "did not come up in time", words: String::new() }),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next container of this shape ahead, beside whatever else happens; one at a time.
    pub(super) fn make_spare(self: &Arc<Self>, shape: Shape) {
        let mut spare = self.spare();
        if spare.closed || spare.maker.as_ref().is_some_and(|maker| !maker.is_finished()) {
            return;
        }
        let shared = Arc::clone(self);
        let make = move || {
            // The next one will meet the same obstacle, and say so.
            if let Ok(made) = shared.make(&shape) {
                let was = shared.spare().made.replace((shape, made));
                drop(was);
            }
        };
        spare.maker = std::thread::Builder::new().name("spare".to_owned()).spawn(make).ok();
    }

    pub(super) fn make_none_ahead(&self) {
        self.spare().closed = true;
    }

    /// Removes the one that was made ahead; one that is being made is removed, not forgotten.
    pub(super) fn drop_spare(&self) {
        let maker = {
            let mut spare = self.spare();
            spare.closed = true;
            spare.maker.take()
        };
        if let Some(maker) = maker {
            let _ = maker.join();
        }
        let made = self.spare().made.take();
        drop(made);
    }
}

/// A container's standard streams, as a bridge takes them.
fn connection(attached: AttachContainerResults, runtime: &Handle) -> Connection {
    let AttachContainerResults { mut output, input } = attached;
    let (pieces, incoming) = mpsc::channel(bridge::QUEUE);
    runtime.spawn(async move {
        while let Some(Ok(piece)) = output.next().await {
            let piece = match piece {
                LogOutput::StdOut { message } => Piece::Frames(message),
                LogOutput::StdErr { message } => Piece::Words(message),
                _ => continue,
            };
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
    });
    Connection { input, output: incoming, hushed: Hushed::default() }
}
