//! What an asset can be, and how the library and the file system call it.

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    Heic,
    Live,
    /// A JPEG with its RAW.
    RawPair,
    Screenshot,
    Panorama,
    Video,
    SlowMotion,
    ScreenRecording,
}

impl Kind {
    /// `ZKIND`: 1 for what moves.
    pub(super) fn is_video(self) -> bool {
        matches!(self, Self::Video | Self::SlowMotion | Self::ScreenRecording)
    }

    /// `ZKINDSUBTYPE`.
    pub(super) fn subtype(self) -> i64 {
        match self {
            Self::Jpeg | Self::Heic | Self::RawPair | Self::Video => 0,
            Self::Panorama => 1,
            Self::Live => 2,
            Self::Screenshot => 10,
            Self::SlowMotion => 101,
            Self::ScreenRecording => 103,
        }
    }

    /// The original's extension.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Jpeg | Self::RawPair | Self::Panorama => "JPG",
            Self::Heic | Self::Live => "HEIC",
            Self::Screenshot => "PNG",
            Self::Video | Self::SlowMotion => "MOV",
            Self::ScreenRecording => "MP4",
        }
    }

    /// The original's uniform type.
    pub(super) fn uniform_type(self) -> &'static str {
        match self.extension() {
            "JPG" => "public.jpeg",
            "HEIC" => "public.heic",
            "PNG" => "public.png",
            "MP4" => "public.mpeg-4",
            _ => "com.apple.quicktime-movie",
        }
    }
}
