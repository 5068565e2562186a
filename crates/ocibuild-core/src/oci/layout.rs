//! The marker file of a layout.

use serde::{Deserialize, Serialize};

/// The content of a layout's `oci-layout` file
/// ([image-spec, layout](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#oci-layout-file)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageLayout {
    /// The version of the layout, always [`ImageLayout::VERSION`].
    pub image_layout_version: String,
}

impl ImageLayout {
    /// The only version there is.
    pub const VERSION: &str = "1.0.0";
    /// The name of the file.
    pub const FILE: &str = "oci-layout";
    /// The name of the file that lists what the layout holds.
    pub const INDEX: &str = "index.json";
    /// The name of the directory of blobs.
    pub const BLOBS: &str = "blobs";
}

impl Default for ImageLayout {
    fn default() -> Self {
        Self { image_layout_version: Self::VERSION.to_owned() }
    }
}
