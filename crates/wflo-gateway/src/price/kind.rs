//! What a model is called for.
//!
//! Owns the kinds, their names, and what the map calls them. The build compiles it, too.

/// What a model is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Text, tools, perhaps audio and images.
    Chat,
    /// Vectors.
    Embedding,
    /// The order of documents by a query.
    Rerank,
    /// Pictures.
    Image,
    /// Spoken text.
    Speech,
    /// The text of a recording.
    Transcription,
    /// Moving pictures.
    Video,
    /// A spoken conversation.
    Realtime,
    /// Whether something may be said.
    Moderation,
    /// The text of a document.
    Documents,
    /// Results of a search.
    Search,
    /// Anything else that the map prices.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 12] = [
        Kind::Chat,
        Kind::Embedding,
        Kind::Rerank,
        Kind::Image,
        Kind::Speech,
        Kind::Transcription,
        Kind::Video,
        Kind::Realtime,
        Kind::Moderation,
        Kind::Documents,
        Kind::Search,
        Kind::Other,
    ];

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Chat => "chat",
            Kind::Embedding => "embedding",
            Kind::Rerank => "rerank",
            Kind::Image => "image",
            Kind::Speech => "speech",
            Kind::Transcription => "transcription",
            Kind::Video => "video",
            Kind::Realtime => "realtime",
            Kind::Moderation => "moderation",
            Kind::Documents => "documents",
            Kind::Search => "search",
            Kind::Other => "other",
        }
    }

    pub(super) fn of(mode: Option<&str>) -> Kind {
        match mode {
            Some("chat" | "completion" | "responses") => Kind::Chat,
            Some("embedding") => Kind::Embedding,
            Some("rerank") => Kind::Rerank,
            Some("image_generation" | "image_edit") => Kind::Image,
            Some("audio_speech") => Kind::Speech,
            Some("audio_transcription") => Kind::Transcription,
            Some("video_generation") => Kind::Video,
            Some("realtime") => Kind::Realtime,
            Some("moderation") => Kind::Moderation,
            Some("ocr" | "extraction") => Kind::Documents,
            Some("search" | "vector_store") => Kind::Search,
            _ => Kind::Other,
        }
    }
}
