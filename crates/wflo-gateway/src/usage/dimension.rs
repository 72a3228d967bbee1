//! What is counted and billed.
//!
//! Owns the list of dimensions, their names in records and output, and their units. What one costs is
//! `price`'s; which of them a provider's counts fall into is the dialect readers' beside this file.

/// The unit of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Tokens of the input: they make up the input's length, which thresholds are measured by.
    InputTokens,
    /// Tokens of the output.
    OutputTokens,
    /// Tokens billed beside the input and the output.
    OtherTokens,
    /// Anything counted one by one: searches, images, characters, pages.
    Count,
    /// Time, counted in milliseconds and priced by the second.
    Milliseconds,
}

impl Unit {
    /// Whether it is anything but tokens.
    pub const fn is_no_token(self) -> bool {
        matches!(self, Unit::Count | Unit::Milliseconds)
    }
}

macro_rules! dimensions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal: $unit:ident,)+) => {
        /// What is counted.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        pub enum Dimension {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Dimension {
            /// Every dimension, in the order in which bills list them.
            pub const ALL: [Dimension; [$($name),+].len()] = [$(Dimension::$variant),+];

            /// The name in records, JSON output and settings.
            pub const fn name(self) -> &'static str {
                match self { $(Dimension::$variant => $name),+ }
            }

            /// The unit of its count.
            pub const fn unit(self) -> Unit {
                match self { $(Dimension::$variant => Unit::$unit),+ }
            }
        }
    };
}

impl Dimension {
    /// Whether it counts searches that ground an answer.
    pub const fn is_search(self) -> bool {
        matches!(
            self,
            Dimension::WebSearches
                | Dimension::WebSearchesLow
                | Dimension::WebSearchesHigh
                | Dimension::MapSearches
        )
    }
}

dimensions! {
    /// Text tokens of the input that came from no cache.
    Input = "input": InputTokens,
    /// Input tokens read from the provider's prompt cache.
    CacheRead = "cache_read": InputTokens,
    /// Input tokens read from a cache that the request itself made, where priced apart (Qwen's explicit cache).
    CacheReadExplicit = "cache_read_explicit": InputTokens,
    /// Input tokens written to the prompt cache for its short time to live.
    CacheWrite = "cache_write": InputTokens,
    /// Input tokens written to the prompt cache for an hour.
    CacheWriteLong = "cache_write_long": InputTokens,
    /// Input tokens written to the prompt cache for twelve hours.
    CacheWriteLongest = "cache_write_longest": InputTokens,
    /// Audio tokens of the input.
    AudioInput = "audio_input": InputTokens,
    /// Audio tokens of the input, read from the prompt cache.
    AudioCacheRead = "audio_cache_read": InputTokens,
    /// Image tokens of the input.
    ImageInput = "image_input": InputTokens,
    /// Video tokens of the input.
    VideoInput = "video_input": InputTokens,
    /// Text tokens of the output.
    Output = "output": OutputTokens,
    /// Output tokens spent on reasoning.
    Reasoning = "reasoning": OutputTokens,
    /// Audio tokens of the output.
    AudioOutput = "audio_output": OutputTokens,
    /// Image tokens of the output.
    ImageOutput = "image_output": OutputTokens,
    /// Video tokens of the output.
    VideoOutput = "video_output": OutputTokens,
    /// Tokens of cited sources, at providers that bill them.
    Citations = "citations": OtherTokens,
    /// Characters of the input.
    Characters = "characters": Count,
    /// Characters of the output.
    OutputCharacters = "output_characters": Count,
    /// Images of the input.
    Images = "images": Count,
    /// Pixels of the input.
    Pixels = "pixels": Count,
    /// Seconds of audio in a multimodal input.
    AudioTime = "audio_seconds": Milliseconds,
    /// Seconds of video in a multimodal input.
    VideoTime = "video_seconds": Milliseconds,
    /// Seconds of the input, such as a recording to be transcribed.
    InputTime = "input_seconds": Milliseconds,
    /// Images of the output.
    OutputImages = "output_images": Count,
    /// Pixels of the output.
    OutputPixels = "output_pixels": Count,
    /// Seconds of the output.
    OutputTime = "output_seconds": Milliseconds,
    /// Seconds of video output, where priced apart from other output.
    OutputVideoTime = "output_video_seconds": Milliseconds,
    /// Seconds of output of 480 lines.
    OutputTime480 = "output_seconds_480p": Milliseconds,
    /// Seconds of output of 720 lines.
    OutputTime720 = "output_seconds_720p": Milliseconds,
    /// Seconds of output of 768 lines.
    OutputTime768 = "output_seconds_768p": Milliseconds,
    /// Seconds of output of 1,080 lines.
    OutputTime1080 = "output_seconds_1080p": Milliseconds,
    /// Seconds of output of 1,440 lines.
    OutputTime2k = "output_seconds_2k": Milliseconds,
    /// Seconds of output of 2,160 lines.
    OutputTime4k = "output_seconds_4k": Milliseconds,
    /// Seconds that the model ran, at providers that rent it by time.
    RunTime = "run_seconds": Milliseconds,
    /// Queries, or search units of a rerank.
    Queries = "queries": Count,
    /// Requests.
    Requests = "requests": Count,
    /// Text messages of a realtime session.
    Messages = "messages": Count,
    /// Pages that were read.
    Pages = "pages": Count,
    /// Pages that were annotated.
    AnnotatedPages = "annotated_pages": Count,
    /// Credits of document reading.
    Credits = "credits": Count,
    /// Web searches with the ordinary amount of context.
    WebSearches = "web_searches": Count,
    /// Web searches with little context.
    WebSearchesLow = "web_searches_low": Count,
    /// Web searches with much context.
    WebSearchesHigh = "web_searches_high": Count,
    /// Searches of a map.
    MapSearches = "map_searches": Count,
    /// Pages opened by a browser tool.
    PageVisits = "page_visits": Count,
    /// Searches of the customer's own files.
    FileSearches = "file_searches": Count,
    /// Sessions of a code interpreter.
    CodeSessions = "code_sessions": Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unlike_each_other_and_read_back() {
        let names: std::collections::BTreeSet<_> = Dimension::ALL.map(Dimension::name).into();
        assert_eq!(names.len(), Dimension::ALL.len());
        for dimension in Dimension::ALL {
            let text = serde_json::to_string(&dimension).unwrap();
            assert_eq!(text, format!("\"{}\"", dimension.name()));
            assert_eq!(serde_json::from_str::<Dimension>(&text).unwrap(), dimension);
        }
    }
}
