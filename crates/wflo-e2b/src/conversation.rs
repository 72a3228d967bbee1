//! One request, as the server has it with a sandbox's agent.

use std::time::Duration;

use bytes::Bytes;

use crate::error::ApiError;
use crate::frame::{self, Frames};

/// How long an agent has to begin its answer, where nothing else is said.
pub(crate) const ANSWER: Duration = Duration::from_secs(120);

/// One request, at the agent.
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) frames: Frames<tokio::net::unix::OwnedReadHalf>,
    pub(crate) writing: tokio::net::unix::OwnedWriteHalf,
}

/// What an agent has said.
#[derive(Debug)]
pub(crate) enum Said {
    Message(Bytes),
    Bytes(Bytes),
    End,
}

impl Conversation {
    /// What is said next. May be given up and called again.
    ///
    /// # Errors
    /// What the agent said went wrong, or that it makes no sense.
    pub(crate) async fn next(&mut self) -> Result<Said, ApiError> {
        let broken = || ApiError::Broken(self.id.clone());
        let frame = self.frames.next().await.map_err(|_| broken())?.ok_or_else(broken)?;
        match frame.kind {
            frame::Kind::Message => Ok(Said::Message(frame.payload)),
            frame::Kind::Bytes => Ok(Said::Bytes(frame.payload)),
            frame::Kind::End => Ok(Said::End),
            frame::Kind::Failed => Err(match serde_json::from_slice(&frame.payload) {
                Ok(fault) => ApiError::Fault(fault),
                Err(_) => broken(),
            }),
        }
    }

    /// The one message of an answer.
    ///
    /// # Errors
    /// As [`Conversation::next`].
    pub(crate) async fn answer(&mut self, within: Duration) -> Result<Bytes, ApiError> {
        let said = tokio::time::timeout(within, self.next()).await;
        match said.map_err(|_| ApiError::late(&self.id, within))?? {
            Said::Message(message) => Ok(message),
            Said::Bytes(_) | Said::End => Err(ApiError::Broken(self.id.clone())),
        }
    }

    /// Sends more of the request. Where the agent takes no more of it, it says why.
    ///
    /// # Errors
    /// What the agent said.
    pub(crate) async fn send(&mut self, kind: frame::Kind, payload: &[u8]) -> Result<(), ApiError> {
        let sent = tokio::time::timeout(ANSWER, frame::send(&mut self.writing, kind, payload)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => {
                let said = tokio::time::timeout(ANSWER, self.next()).await;
                Err(match said {
                    Ok(Err(error)) => error,
                    Ok(Ok(_)) | Err(_) => ApiError::Broken(self.id.clone()),
                })
            }
            Err(_) => Err(ApiError::late(&self.id, ANSWER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::fault::Kind;
    use crate::room::Room;

    /// What the server makes of an agent that says this.
    async fn said(bytes: &[u8]) -> Result<Said, ApiError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.try_write(bytes).unwrap();
        drop(theirs);
        let (reading, writing) = ours.into_split();
        Conversation { id: "i".to_owned(), frames: Frames::new(reading, Room::new()), writing }.next().await
    }

    #[tokio::test]
    async fn an_agent_that_says_what_makes_no_sense_ends_its_request_alone() {
        for broken in [
            &b""[..],
            b"M",
            b"?\0\0\0\0",
            b"M\xff\xff\xff\xff",
            b"M\0\0\0\x05{}",
            b"F\0\0\0\x02{}",
            b"F\0\0\0\x04\xff\xff\xff\xff",
        ] {
            let found = said(broken).await;
            assert!(matches!(found, Err(ApiError::Broken(_))), "{broken:?}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_fault_of_the_agents_is_told() {
        let fault = serde_json::to_vec(&crate::fault::Fault::new(Kind::NotFound, "gone")).unwrap();
        let mut bytes = Vec::new();
        frame::write(&mut bytes, frame::Kind::Failed, &fault).unwrap();
        let found = said(&bytes).await.unwrap_err();
        assert_eq!((found.status(), found.told().as_str()), (404, "gone"));
    }
}
